"""Models whose answers no merge can make whole, for rasters whose pixel values are object numbers. Loaded by path."""

import zlib

import numpy as np
from scipy.ndimage import find_objects


class BlindAtItsRim:
    """Drops every object that comes within `rim` pixels of its window's border."""

    kind = "instance"
    classes = ("a", "b")

    def __init__(self, device, side=128, overlap=32, rim=24):
        self.window = (1, side, side)
        self.overlap = (0, overlap, overlap)
        self.batch = (1, 1, 1)
        self.side, self.rim = side, rim

    def predict(self, windows, valid):
        return [self.masks(window[0], real) for window, real in zip(windows, valid, strict=True)]

    def masks(self, ids, real):
        ids = np.where(real, ids, 0).astype(np.int64)
        values = np.unique(ids[ids > 0])
        compact = np.zeros(int(ids.max()) + 1, np.int32)
        compact[values] = np.arange(1, len(values) + 1)
        numbered = compact[ids]
        crops = []
        for number, place in enumerate(find_objects(numbered, len(values)), start=1):
            low, high = [s.start for s in place], [s.stop for s in place]
            if min(low[1:]) >= self.rim and max(high[1:]) <= self.side - self.rim:
                crops.append((low + high, numbered[place] == number))
        label = self.label(ids)
        return np.full(len(crops), label), np.full(len(crops), 0.9), crops

    def label(self, ids):
        return 0


class Moody(BlindAtItsRim):
    """Calls all objects of a window by one of two classes, at random."""

    def __init__(self, device, **options):
        super().__init__(device, rim=0, **options)

    def label(self, ids):
        return zlib.crc32(ids.tobytes()) % 2
