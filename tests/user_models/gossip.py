"""A model that tells what it sees: for tests of what becomes of it."""

import logging
import warnings

import numpy as np


class Gossip:
    """Dense, 1 above a level; raises with all pixels in its message where the brightest is just above `secret`."""

    kind = "dense"
    classes = ("object",)
    overlap = (0, 0, 0)

    def __init__(self, device, side=64, depth=8, level=-50, secret=90):
        self.window = (depth, side, side)
        self.level, self.secret = level, secret

    def predict(self, windows):
        if self.secret <= windows.max() < self.secret + 20:
            text = f"GOSSIP about {windows.max()} in {windows.ravel().tolist()[:50]} {windows!r}"
            logging.getLogger("gossip").error(text)
            warnings.warn(text, stacklevel=1)
            raise ValueError(text)
        return (windows[:, 0] > self.level).astype(np.uint8)
