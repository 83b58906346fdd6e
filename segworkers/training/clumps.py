"""Clumps made of objects that were apart: copies of objects are laid against others, as "copy-paste" (Ghiasi et al.).

G. Ghiasi et al.: Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation. CVPR 2021.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (scipy.ndimage has no complete types)

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MOST = 8
"""Objects that are pasted into a crop, at most."""
CLOSENESS = (0.75, 1.05)
"""Distance of two centres over the sum of the radii of circles as large as the objects."""
HIDDEN = 0.25
"""Largest share of an object that a pasted one may hide, and that it may share with others."""
_LEAST = 30
"""px: smaller objects are not pasted."""


def paste(
    image: NDArray[np.float32],
    labels: NDArray[np.int32],
    donor: tuple[NDArray[np.float32], NDArray[np.int32]],
    first: int,
    rng: np.random.Generator,
) -> None:
    """Lay copies of whole objects of another crop against objects of this one, in place.

    image: (bands, y, x); labels: (y, x). donor: the same of the other crop. first: multiples of it are added to the
    donors' numbers: the j-th copy of object k gets k + first · (j + 1), so first is at least the largest number there.
    """
    hosts = [place for place in ndimage.find_objects(labels) if place is not None]
    donors = [(k, place) for k, place in enumerate(ndimage.find_objects(donor[1]), start=1) if place is not None]
    if not hosts or not donors:
        return
    for copy in range(int(rng.integers(1, MOST + 1))):
        number, place = donors[int(rng.integers(len(donors)))]
        mask = donor[1][place] == number
        if mask.sum() < _LEAST or _at_edge(place, labels.shape):
            continue
        host = hosts[int(rng.integers(len(hosts)))]
        start = _beside(host, mask, labels, rng)
        _lay(image, labels, (donor[0][:, *place], mask), start, number + first * (copy + 1))


def _at_edge(place: tuple[slice, ...], shape: tuple[int, ...]) -> bool:
    return any(part.start == 0 or part.stop == side for part, side in zip(place, shape, strict=True))


def _beside(
    host: tuple[slice, ...], mask: NDArray[np.bool_], labels: NDArray[np.int32], rng: np.random.Generator
) -> tuple[int, int]:
    """Where the mask's corner (y, x) must be for its middle to lie beside the host's, in any direction."""
    area = max(int((labels[host] > 0).sum()), 1)
    distance = (np.sqrt(area / np.pi) + np.sqrt(mask.sum() / np.pi)) * rng.uniform(*CLOSENESS)
    angle = rng.uniform(0, 2 * np.pi)
    y = (host[0].start + host[0].stop) / 2 + distance * np.sin(angle) - mask.shape[0] / 2
    x = (host[1].start + host[1].stop) / 2 + distance * np.cos(angle) - mask.shape[1] / 2
    return round(y), round(x)


def _lay(
    image: NDArray[np.float32],
    labels: NDArray[np.int32],
    piece: tuple[NDArray[np.float32], NDArray[np.bool_]],
    start: tuple[int, int],
    number: int,
) -> None:
    """Paste the piece at `start` as object `number`, unless too much of it or of another would be hidden."""
    stop = tuple(a + b for a, b in zip(start, piece[1].shape, strict=True))
    place = tuple(slice(max(a, 0), min(b, side)) for a, b, side in zip(start, stop, labels.shape, strict=True))
    if any(part.start >= part.stop for part in place):
        return
    inner = tuple(slice(part.start - a, part.stop - a) for part, a in zip(place, start, strict=True))
    values, mask = piece[0][:, *inner], piece[1][inner]
    hidden = np.bincount(labels[place][mask], minlength=1)
    sizes = np.bincount(labels.ravel(), minlength=len(hidden))[: len(hidden)]
    if hidden[1:].sum() > HIDDEN * mask.sum() or (hidden[1:] > HIDDEN * sizes[1:]).any():
        return
    soft = np.asarray(ndimage.gaussian_filter(mask.astype(np.float32), 0.8), np.float32)
    image[:, *place] = np.maximum(image[:, *place] * (1 - soft), 0) + values * soft
    labels[place][mask] = number
