"""A dense 3-D model's answer for a whole volume at once: its canonical windows, assembled here, then labelled.

Written without the pipeline's windows, tiles, encoding and merge; only resampling and the weights of blending are its.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from schemas.boxes import Box, Zyx, zyx
from schemas.rle import from_coco_rles
from segworkers.blending import importance_map
from segworkers.readers.base import PixelBlock
from segworkers.resampling import reduce_block
from tests.dicom_files import Layout, Made, Pixels, ct_series, save

NODATA = -1024
"""Value of stored 0 where it is padding."""

_ORDER = {6: 1, 18: 2, 26: 3}


@dataclass(frozen=True, kw_only=True)
class World:
    """A volume that was written as DICOM."""

    values: NDArray[np.int64]
    layout: Layout
    padding: bool = False
    name: str = ""
    study: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Where it is no padding."""
        return (self.values != NODATA) | (not self.padding)

    def save(self, folder: Path) -> Made:
        """As explicit VR little endian."""
        return save(self.slices(), folder)

    def slices(self) -> list[Any]:
        """Its datasets."""
        made = ct_series(self.layout, self.values.astype(np.float64), pixels=Pixels(), name=self.name, **self.study)
        for one in made if self.padding else ():
            one.add_new("PixelPaddingValue", "US", 0)
        return made


def noise(shape: Zyx, spacing: tuple[float, float, float], seed: int) -> World:
    """Blobs of every size, and padding that hides whole windows."""
    rough = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(rough, (0.7, 1.1, 1.1))
    values = np.rint(smooth / smooth.std() * 150).astype(np.int64).clip(-900, 900)
    values[:5, 7:21, :15] = NODATA
    return World(values=values, layout=Layout(shape=shape, spacing=spacing), padding=True)


def ellipsoids(shape: Zyx, count: int, seed: int) -> World:
    """Ellipsoids, the later over the earlier, so that some touch and some are bent; a number for each part."""
    rng = np.random.default_rng(seed)
    values, place = np.zeros(shape, np.int64), np.indices(shape)
    for number in range(1, count + 1):
        centre, axes = (rng.uniform(0, n) for n in shape), (rng.uniform(1, 9), rng.uniform(2, 16), rng.uniform(2, 16))
        away = sum(((p - c) / a) ** 2 for p, c, a in zip(place, centre, axes, strict=True))
        values[away <= 1] = number
    return World(values=components(values, 26), layout=Layout(shape=shape))


def class_map(model: Any, world: World, model_shape: Zyx | None = None, flips: Sequence[int] = ()) -> NDArray[np.int64]:
    """(z, y, x) classes on the model's grid of `model_shape`. model: a class of tests/user_models; flips: axes."""
    native = zyx(world.values.shape)
    shape, box = model_shape or native, Box.of_shape(native)
    block = PixelBlock(world.values.astype(np.int16)[None], world.valid, box)
    if shape != native:
        block = reduce_block(block, Box.of_shape(shape), native, shape)
    values, valid = block.pixels[0], block.valid
    sums = np.zeros((len(model.classes) + 1, *shape), np.float32)
    for start, cell in _windows(model, shape):
        answer = _answer(model, np.where(valid, values, 0), valid, start, flips)
        if answer is None:
            continue
        real = tuple(slice(0, min(w, n - a)) for a, w, n in zip(start, model.window, shape, strict=True))
        there = tuple(slice(a, a + r.stop) for a, r in zip(start, real, strict=True))
        if model.blend == "none":
            sums[:, *cell] = answer[:, *(slice(c.start - a, c.stop - a) for a, c in zip(start, cell, strict=True))]
        else:
            # float32 sums in lattice order
            sums[:, *there] += importance_map(model.window)[real] * answer[:, *real]
    classes = sums.argmax(axis=0)
    classes[~valid] = 0
    return classes


def _windows(model: Any, shape: Zyx) -> Any:
    """Start and cell of every window, in lattice order."""
    axes: list[list[tuple[int, slice]]] = []
    for window, overlap, extent in zip(model.window, model.overlap, shape, strict=True):
        stride = window - overlap
        starts = [0]
        while starts[-1] + window < extent:
            starts.append(starts[-1] + stride)
        edges = [0, *(start + overlap // 2 for start in starts[1:]), extent]
        axes.append([(a, slice(b, c)) for a, b, c in zip(starts, edges[:-1], edges[1:], strict=True)])
    for sides in product(*axes):
        yield tuple(a for a, _ in sides), tuple(cell for _, cell in sides)


def _answer(
    model: Any, values: NDArray[Any], valid: NDArray[np.bool_], start: Sequence[int], flips: Sequence[int]
) -> NDArray[np.float32] | None:
    """Probabilities of a window, None where nothing of what the model would be shown is valid."""
    sides = [
        (max(a - c, 0), min(a + w + c, n), a - c, a + w + c)
        for a, w, c, n in zip(start, model.window, model.context, values.shape, strict=True)
    ]
    part = tuple(slice(a, b) for a, b, _, _ in sides)
    beyond = [(a - first, last - b) for a, b, first, last in sides]
    real = np.pad(valid[part], beyond)
    if not real.any():
        return None
    shown = np.pad(values[part], beyond, mode="reflect")
    answer = model.predict(np.flip(shown, flips)[None, None], np.flip(real, flips)[None])[0]
    return np.flip(answer, [axis + 1 for axis in flips])


def components(classes: NDArray[np.int64], connectivity: int) -> NDArray[np.int64]:
    """Numbered components of each class."""
    structure = ndimage.generate_binary_structure(3, _ORDER[connectivity])
    numbered, count = np.zeros(classes.shape, np.int64), 0
    for label in range(1, int(classes.max(initial=0)) + 1):
        found, more = ndimage.label(classes == label, structure)
        numbered[found > 0] = found[found > 0] + count
        count += more
    return numbered


def on_native(image: NDArray[Any], native: Zyx) -> NDArray[Any]:
    """Each native voxel takes the model voxel that its centre lies in."""
    axes = [((2 * np.arange(n) + 1) * m) // (2 * n) for n, m in zip(native, image.shape, strict=True)]
    return image[np.ix_(*axes)]


def painted(rows: Sequence[dict[str, Any]], shape: Zyx) -> NDArray[np.int64]:
    """Masks of `instances` as a label image, `mask_value` each; raises where two share a voxel."""
    image = np.zeros(shape, np.int64)
    for row in rows:
        text = np.frombuffer(row["mask_rle"].encode(), np.uint8)
        box = np.array([[row[f"{axis}_{side}"] for side in ("min", "max") for axis in "zyx"]])
        for z, x, y0, y1 in from_coco_rles(text, np.array([0, len(text)]), box)[0]:
            assert not image[z, y0:y1, x].any(), "two objects share a voxel"
            image[z, y0:y1, x] = row["mask_value"]
    return image


def original_names(crosswalk: Path, kind: str) -> dict[str, str]:
    """Pseudonyms by their originals."""
    lines = (json.loads(line) for path in (crosswalk / "names").iterdir() for line in path.read_text().splitlines())
    return {line["original"]: line["pseudonym"] for line in lines if line["kind"] == kind}
