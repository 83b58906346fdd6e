"""Which inserted lesions the liver-lesion model finds: `python -m benchmarks.liver_insertions SCAN`.

SCAN is the CT `lung2` of the sources of pyradiomics 3.0.1 (BSD-3-Clause): the archive pyradiomics-3.0.1.tar.gz, or
lung2_image.nrrd out of it. No published package holds a CT with true liver lesions to measure on, so spheres of lower
HU are added to its liver, at random places that keep clear of its border and of each other, blurred by the thickness of
the slices. What is printed is the sensitivity for **inserted** lesions in **one** patient. It says nothing of real
ones, which are neither spheres nor even.

Both stages run as in a job: the same windows on the same lattice, put together in one process.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (scipy has no complete types)

from __future__ import annotations

import argparse
import gzip
import os
import platform
import tarfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from schemas.boxes import Box, Zyx, zyx
from schemas.models import ModelManifest
from segworkers.lattice import Lattice
from segworkers.orientation import Flips, flipped
from segworkers.readers.base import PixelBlock
from segworkers.resampling import reduce_block, volume_shape
from segworkers.segmenters.base import DenseProbabilities, Segmenter
from segworkers.segmenters.loading import ModelSpec, load_model, resolve_model
from segworkers.segmenters.turned import flipped_back
from segworkers.segmenters.two_stage import OrganMap, find_organ
from segworkers.windows import Batch, crop_to_cell, cut_windows

MEMBER = "pyradiomics-3.0.1/data/lung2_image.nrrd"
SPACING_MM = (5.0, 0.62695310000000004, 0.62695310000000004)
TO_RAS: Flips = (False, True, True)
"""The scan is stored left, posterior, superior."""
CLEARANCE_MM = 5.0
"""From the liver's border and the ends of the scan, to the sphere."""
GAP_MM = 15.0
"""Between spheres: slices are 5 mm apart, and what touches counts as one lesion."""
FOUND_IOU = 0.1
"""An inserted lesion is found where a predicted one overlaps it by this much."""

Volume = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Sphere:
    """An inserted lesion."""

    centre: tuple[float, float, float]
    """Millimetres (z, y, x) from the first voxel's centre."""
    radius_mm: float
    contrast_hu: float


def read_scan(path: Path) -> Volume:
    """(z, y, x) HU of lung2, from the archive or the NRRD file."""
    if path.suffix == ".nrrd":
        content = path.read_bytes()
    else:
        with tarfile.open(path) as archive:
            member = archive.extractfile(MEMBER)
            assert member is not None, f"{path} holds no {MEMBER}"
            content = member.read()
    header, _, body = content.partition(b"\n\n")
    assert b"encoding: gzip" in header and b"sizes: 512 512 61" in header, "expected lung2_image.nrrd of pyradiomics"
    return np.frombuffer(gzip.decompress(body), np.int16).reshape(61, 512, 512)


def on_grid(volume: Volume, shape: Zyx) -> Volume:
    """The volume on the model's grid."""
    block = PixelBlock(volume[None], np.ones(volume.shape, bool), Box.of_shape(volume.shape))
    return reduce_block(block, Box.of_shape(shape), zyx(volume.shape), shape).pixels[0]


def liver_of(volume: Volume, spec: ModelSpec, first: Segmenter) -> OrganMap:
    """The first stage, in the scan's own orientation."""
    assert spec.prior is not None and spec.prior.manifest.spacing is not None
    shape = volume_shape(zyx(volume.shape), SPACING_MM, spec.prior.manifest.spacing)
    z, y, x = (mm * n / m for mm, n, m in zip(SPACING_MM, volume.shape, shape, strict=True))
    values = flipped(on_grid(volume, shape), TO_RAS)
    found = find_organ(spec.prior, first, values, np.ones(shape, bool), (z, y, x))
    return OrganMap(flipped(found.organ, TO_RAS), found.margin)


@dataclass(frozen=True, slots=True)
class SecondStage:
    """What the second stage works on: the scan on the model's grid, with the organ, and where its windows lie."""

    pixels: NDArray[np.int16]
    """(2, z, y, x) HU and codes."""
    lattice: Lattice
    manifest: ModelManifest

    def ask(self, second: Segmenter) -> NDArray[np.bool_]:
        """(z, y, x) lesions on the model's grid, window by window."""
        shape, context = self.lattice.extent, self.manifest.context
        answer = np.zeros(shape, bool)
        for index in self.lattice.indices((0, 0, 0), self.lattice.shape):
            if not self.lattice.sees(index):
                continue
            batch = Batch((index,), (0,), 1)
            windows, real = cut_windows(self.pixels, np.ones(shape, bool), (0, 0, 0), self.lattice, batch, context)
            told = second.predict(flipped(windows, TO_RAS), flipped(real, TO_RAS))
            maps = flipped_back(told, TO_RAS, self.manifest.window)
            assert isinstance(maps, DenseProbabilities)
            inside, cell = crop_to_cell(index, self.lattice)
            answer[cell.within((0, 0, 0))] = maps.winners().classes[0][inside] == 1
        return answer


def second_stage(volume: Volume, organ: OrganMap, manifest: ModelManifest) -> SecondStage:
    """The same as a job lays it out."""
    assert manifest.spacing is not None
    shape = volume_shape(zyx(volume.shape), SPACING_MM, manifest.spacing)
    pixels = np.stack([on_grid(volume, shape), organ.codes(Box.of_shape(shape), shape).astype(np.int16)])
    lattice = Lattice(manifest.window, manifest.overlap, shape, organ.box(shape), TO_RAS)
    return SecondStage(pixels, lattice, manifest)


def lesions_of(volume: Volume, organ: OrganMap, second: Segmenter) -> NDArray[np.bool_]:
    """The second stage: lesions on the scan's own grid."""
    answer = second_stage(volume, organ, second.manifest).ask(second)
    return answer[np.ix_(*(_nearest(n, m) for n, m in zip(volume.shape, answer.shape, strict=True)))]


def _nearest(native: int, model: int) -> NDArray[np.int64]:
    """The model voxel that the centre of each native voxel lies in."""
    return (2 * np.arange(native) + 1) * model // (2 * native)


def place_spheres(
    liver: NDArray[np.bool_], radii: list[float], contrasts: list[float], rng: np.random.Generator
) -> list[Sphere]:
    """One sphere of each radius and contrast, large ones first, where there is room for it."""
    depth = ndimage.distance_transform_edt(np.pad(liver, 1), sampling=SPACING_MM)[1:-1, 1:-1, 1:-1]
    placed: list[Sphere] = []
    for radius in sorted(radii, reverse=True):
        for contrast in contrasts:
            room = np.argwhere(depth > radius + CLEARANCE_MM)
            if not len(room):
                continue
            centre = room[rng.integers(len(room))] * np.array(SPACING_MM)
            placed.append(Sphere((float(centre[0]), float(centre[1]), float(centre[2])), radius, contrast))
            gap = distance_mm(zyx(liver.shape), placed[-1], 0.0) - radius - GAP_MM + CLEARANCE_MM
            depth = np.minimum(depth, gap)
    return placed


def distance_mm(shape: Zyx, sphere: Sphere, rise_mm: float) -> NDArray[np.float64]:
    """Distance of each voxel's centre, raised by `rise_mm`, from the sphere's centre."""
    offsets = (np.arange(n) * mm - c for n, mm, c in zip(shape, SPACING_MM, sphere.centre, strict=True))
    z, y, x = np.ix_(*offsets)
    return np.sqrt((z + rise_mm) ** 2 + y**2 + x**2)


def inserted(volume: Volume, spheres: list[Sphere]) -> tuple[Volume, NDArray[np.uint8]]:
    """The scan with the spheres added, averaged over a slice's thickness, and their labels from 1."""
    values, truth = volume.astype(np.float64), np.zeros(volume.shape, np.uint8)
    rises = (np.arange(5) - 2) * SPACING_MM[0] / 5
    for label, sphere in enumerate(spheres, 1):
        inside = sum(distance_mm(zyx(volume.shape), sphere, rise) <= sphere.radius_mm for rise in rises) / len(rises)
        values += sphere.contrast_hu * inside
        truth[inside >= 0.5] = label
    return np.rint(values).astype(np.int16), truth


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the lesions of one scan."""

    dice: list[float]
    """Of each inserted lesion with the predicted one that overlaps it most."""
    found: list[bool]
    false_ml: list[float]
    """Volumes of predicted lesions that touch no inserted one, largest first."""


def compare(predicted: NDArray[np.bool_], truth: NDArray[np.uint8], count: int) -> Outcome:
    """Predicted lesions (26 neighbours) against the inserted ones."""
    labels, number = ndimage.label(predicted, np.ones((3, 3, 3)))
    sizes, true = np.bincount(labels.ravel(), minlength=number + 1), np.bincount(truth.ravel(), minlength=count + 1)
    table = np.zeros((number + 1, count + 1), np.int64)
    np.add.at(table, (labels[truth > 0], truth[truth > 0]), 1)
    dice, found = list[float](), list[bool]()
    for lesion in range(1, count + 1):
        best = 1 + int(np.argmax(table[1:, lesion])) if number else 0
        common = int(table[best, lesion]) if number else 0
        dice.append(2 * common / (sizes[best] + true[lesion]) if common else 0.0)
        found.append(common > 0 and common / (sizes[best] + true[lesion] - common) >= FOUND_IOU)
    alone = [label for label in range(1, number + 1) if not table[label, 1:].any()]
    voxel_ml = float(np.prod(SPACING_MM)) / 1000
    return Outcome(dice, found, sorted((sizes[label] * voxel_ml for label in alone), reverse=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("--radii", type=float, nargs="+", default=[4, 6, 9, 12, 16], help="millimetres")
    parser.add_argument("--contrasts", type=float, nargs="+", default=[-25, -45], help="HU")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", type=Path, help="folder for the masks of each scan (.npz)")
    chosen = parser.parse_args()
    volume = read_scan(chosen.scan)
    manifest, spec = resolve_model("liver-lesions", {}, chosen.device, chosen.threads)
    assert spec.first is not None
    first, second = load_model(spec.first), load_model(spec)
    print(f"liver-lesions {manifest.digest[:8]}, inserted lesions in one CT; real lesions: not measured")
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, device {chosen.device}, {chosen.threads} threads, ", end="")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}")
    started = time.perf_counter()
    organ = liver_of(volume, spec, first)
    liver = OrganMap(organ.organ, (0, 0, 0)).codes(Box.of_shape(volume.shape), zyx(volume.shape)) == 2
    liver_ml = float(liver.sum() * np.prod(SPACING_MM)) / 1000
    print(f"untouched scan: liver {liver_ml:.0f} ml in {time.perf_counter() - started:.0f} s, ", end="", flush=True)
    _report_false(compare(lesions_of(volume, organ, second), np.zeros(volume.shape, np.uint8), 0))
    rows: dict[tuple[float, float], list[tuple[bool, float]]] = defaultdict(list)
    for seed in chosen.seeds:
        started = time.perf_counter()
        spheres = place_spheres(liver, chosen.radii, chosen.contrasts, np.random.default_rng(seed))
        changed, truth = inserted(volume, spheres)
        predicted = lesions_of(changed, liver_of(changed, spec, first), second)
        if chosen.save:
            np.savez_compressed(chosen.save / f"seed{seed}.npz", predicted=predicted, truth=truth, liver=liver)
        outcome = compare(predicted, truth, len(spheres))
        for sphere, found, dice in zip(spheres, outcome.found, outcome.dice, strict=True):
            rows[sphere.radius_mm, sphere.contrast_hu].append((found, dice))
        took = time.perf_counter() - started
        print(f"seed {seed}: {sum(outcome.found)} of {len(spheres)} found in {took:.0f} s, ", end="")
        _report_false(outcome)
    _table(rows)


def _report_false(outcome: Outcome) -> None:
    largest = ", ".join(f"{ml:.2f}" for ml in outcome.false_ml[:3])
    print(f"{len(outcome.false_ml)} other lesions reported{f', largest {largest} ml' if largest else ''}", flush=True)


def _table(rows: dict[tuple[float, float], list[Any]]) -> None:
    print("\nradius mm volume ml contrast HU inserted found Dice of found (median)")
    for (radius, contrast), each in sorted(rows.items()):
        dice = [value for found, value in each if found]
        middle = f"{np.median(dice):.2f}" if dice else "-"
        volume = 4 / 3 * np.pi * radius**3 / 1000
        print(f"{radius:9g} {volume:9.2f} {contrast:11g} {len(each):8d} {len(dice):5d} {middle:>13s}")


if __name__ == "__main__":
    main()
