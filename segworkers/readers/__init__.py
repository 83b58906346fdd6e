"""Readers: one adapter for each family of files, all with the port in `base`."""
