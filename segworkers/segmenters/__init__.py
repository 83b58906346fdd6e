"""Segmenters: one adapter for each way to get masks from windows, all with the port in `base`."""
