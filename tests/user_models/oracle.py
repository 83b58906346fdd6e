"""Models as users write them, for rasters whose pixel values are object numbers. Loaded by path, never imported."""

import os
import time

import numpy as np
from scipy.ndimage import find_objects


class Oracle:
    """A perfect instance model: one mask for each number above 0, however many parts; class = number modulo classes."""

    kind = "instance"

    def __init__(self, device, side=64, overlap=16, classes=2, batch=1, pause=0.0, stuff=()):
        self.window = (1, side, side)
        self.overlap = (0, overlap, overlap)
        self.classes = tuple(f"class_{k}" for k in range(classes))
        self.stuff = tuple(stuff)
        self.batch = (1, batch, batch)
        self.pause = pause

    def predict(self, windows, valid):
        time.sleep(self.pause)
        return [self.masks(window[0], real) for window, real in zip(windows, valid, strict=True)]

    def masks(self, ids, real):
        ids = np.where(real, ids, 0)
        present = np.zeros(int(ids.max()) + 1, bool)
        present[ids] = True
        present[0] = False
        values = np.flatnonzero(present)
        compact = np.zeros(len(present), np.int32)
        compact[values] = np.arange(1, len(values) + 1)
        numbered = compact[ids]
        crops = []
        for number, place in enumerate(find_objects(numbered, len(values)), start=1):
            box = [s.start for s in place] + [s.stop for s in place]
            crops.append((box, numbered[place] == number))
        scores = 0.5 + (values % 50) / 100
        return values % len(self.classes), scores, crops


class Blobs(Oracle):
    """An imperfect one: whatever is brighter than `level` and connected within the window is an object."""

    def __init__(self, device, level=0.5, **options):
        super().__init__(device, **options)
        self.level = level

    def masks(self, ids, real):
        from scipy.ndimage import label

        numbered, _ = label((ids > self.level) & real, np.ones((3, 3, 3)))
        return super().masks(numbered, real)


class Fragile(Oracle):
    """Misbehaves in windows that hold the pixel value `poison`, in the way that `how` says."""

    def __init__(self, device, poison=60_000, how="raise", marker="", **options):
        super().__init__(device, **options)
        self.poison, self.how, self.marker = poison, how, marker

    def masks(self, ids, real):
        poisoned = bool((ids == self.poison).any())
        labels, scores, crops = super().masks(np.where(ids == self.poison, 0, ids), real)
        if not poisoned:
            return labels, scores, crops
        if self.how == "raise":
            raise RuntimeError("cannot stand this window")
        if self.how == "nan":
            return [0], [float("nan")], [([0, 0, 0, 1, 1, 1], np.ones((1, 1, 1), bool))]
        if self.how == "shape":
            return [0], [1.0], np.ones((1, 3, 3), bool)
        if self.how == "exit":
            os._exit(13)
        if self.how == "exit once":
            try:
                os.close(os.open(self.marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return labels, scores, crops
            os.kill(os.getpid(), 9)
        return labels, scores, crops


class FragileClasses:
    """A perfect dense model, class = value, that raises, or says NaN or a wrong shape, where it sees `poison`."""

    kind = "dense"
    overlap = (0, 0, 0)

    def __init__(self, device, side=64, poison=9, how="raise"):
        self.window = (1, side, side)
        self.classes = ("one", "two")
        self.poison, self.how = poison, how

    def predict(self, windows):
        values = windows[:, 0]
        probabilities = np.stack([values == k for k in range(3)], axis=1).astype(np.float32)
        if (values == self.poison).any():
            if self.how == "raise":
                raise RuntimeError("cannot stand this window")
            if self.how == "nan":
                probabilities[:] = np.nan
            else:
                return probabilities[:, :, :, 1:]
        return probabilities
