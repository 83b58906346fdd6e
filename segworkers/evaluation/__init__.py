"""Predictions against ground truth: overlaps, matching, metrics and their intervals. Arrays in, arrays out."""
