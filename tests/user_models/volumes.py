"""Models as users write them, for volumes. Loaded by path, never imported by the jobs under test."""

import os
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import find_objects

from segworkers.dicom.decoding import PixelFile


class Contrast:
    """A dense model whose answer depends on all that it is shown: on the window's mean, and on where x, y, z point.

    Class `dark` or `bright` where a voxel is far from the mean of the window's real voxels, context included.
    """

    kind = "dense"
    classes = ("dark", "bright")

    def __init__(
        self,
        device,
        window=(4, 12, 14),
        overlap=(2, 4, 6),
        context=(0, 0, 0),
        spacing=None,
        orientation=None,
        connectivity=26,
        blend="none",
        batch=(1, 1, 1),
        pause=0.0,
    ):
        self.window, self.overlap, self.context, self.batch = (tuple(v) for v in (window, overlap, context, batch))
        self.spacing = None if spacing is None else tuple(spacing)
        self.orientation, self.connectivity, self.blend = orientation, connectivity, blend
        self.pause = pause

    def predict(self, windows, valid):
        time.sleep(self.pause)
        return np.stack(
            [self.probabilities(one[0].astype(np.float64), real) for one, real in zip(windows, valid, strict=True)]
        )

    def probabilities(self, values, real):
        mean = values[real].sum() / max(real.sum(), 1)
        z, y, x = np.indices(values.shape)
        score = ((values - mean) / 100 + 0.02 * x - 0.03 * y + 0.1 * z).clip(-4, 4)
        inner = tuple(slice(c, n - c) for c, n in zip(self.context, values.shape, strict=True))
        likely = np.stack([np.ones_like(score), np.exp(-score - 0.8), np.exp(score - 0.8)])[:, *inner]
        return (likely / likely.sum(axis=0)).astype(np.float32)


class Above:
    """A dense model with a spacing: brighter than a level."""

    kind = "dense"
    classes = ("bright",)
    connectivity = 26

    def __init__(
        self,
        device,
        level=0.0,
        window=(8, 24, 24),
        overlap=(0, 0, 0),
        context=(0, 0, 0),
        spacing=None,
        orientation=None,
    ):
        self.window, self.overlap, self.context = tuple(window), tuple(overlap), tuple(context)
        self.spacing, self.orientation = spacing, orientation
        self.level = level

    def predict(self, windows):
        inner = tuple(slice(c, c + w) for c, w in zip(self.context, self.window, strict=True))
        return (windows[:, 0, *inner] > self.level).astype(np.uint8)


class Counted(Above):
    """`Above`, whose process notes each slice that it decodes, as a line with the file's path in the folder `notes`."""

    def __init__(self, device, notes, **options):
        super().__init__(device, **options)
        stored = PixelFile.stored

        def noted(self, frame):
            with (Path(notes) / str(os.getpid())).open("a") as lines:
                lines.write(f"{self._file.name}\n")
            return stored(self, frame)

        PixelFile.stored = noted


class Truth:
    """A perfect instance model in space: a mask for each value above 0, however many parts; class = number modulo 2."""

    kind = "instance"
    classes = ("even", "odd")

    def __init__(self, device, window=(6, 16, 18), overlap=(2, 4, 5), batch=(1, 1, 1), orientation=None, pause=0.0):
        self.window, self.overlap, self.batch = tuple(window), tuple(overlap), tuple(batch)
        self.orientation = orientation
        self.pause = pause

    def predict(self, windows, valid):
        time.sleep(self.pause)
        return [self.masks(np.where(real, one[0], 0)) for one, real in zip(windows, valid, strict=True)]

    def masks(self, numbers):
        values, compact = np.unique(np.append(numbers.ravel().clip(0), 0), return_inverse=True)
        compact = compact[:-1].reshape(numbers.shape)
        crops = [
            ([s.start for s in place] + [s.stop for s in place], compact[place] == k)
            for k, place in enumerate(find_objects(compact), start=1)
        ]
        return values[1:] % 2, np.ones(len(crops)), crops
