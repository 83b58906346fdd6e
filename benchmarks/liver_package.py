"""The second stage beside the package's own: `python -m benchmarks.liver_package SCAN` (see `liver_insertions`).

SCAN gets three inserted spheres, so that there is something to find. The liver is the one that our first stage finds,
for both. Printed is

- whether the windows are the package's: its tiling, restated, over the very image that our second stage makes, must
  show a network the same windows, value by value, and put answers together in the same way;
- how far that image is from the one that the package makes of the scan (other resampling, clipped before it);
- how the masks agree, ours and those of the package's whole second stage with the same weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.liver_insertions import (
    SPACING_MM,
    TO_RAS,
    SecondStage,
    compare,
    inserted,
    lesions_of,
    liver_of,
    place_spheres,
    read_scan,
    second_stage,
)
from benchmarks.support import package_liver
from schemas.boxes import Box, zyx
from segworkers.orientation import flipped
from segworkers.segmenters.loading import load_model, resolve_model
from segworkers.segmenters.morphology import EDGES, dilated
from segworkers.segmenters.torch_liver import MARGIN, LesionSegmenter, lesion_input
from segworkers.segmenters.two_stage import ORGAN, OrganMap
from tests.package_tiling import predict


class Recorder(nn.Module):
    """Remembers what it is shown, and answers with a part of it."""

    def __init__(self, window: tuple[int, int, int]) -> None:
        super().__init__()
        self.window = window
        self.shown: list[NDArray[np.float32]] = []

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, z, y, x): the middle, moved to 0..1."""
        self.shown.append(x[0, 0].numpy().copy())
        return self.middle(x[0, 0])[None, None] + 0.5

    def middle(self, x: Any) -> Any:
        """As large as a window."""
        return x[tuple(slice((n - w) // 2, (n + w) // 2) for n, w in zip(x.shape, self.window, strict=True))]


def image_of(stage: SecondStage) -> NDArray[np.float32]:
    """What a network would be shown of the whole grid, as the model sees it: nothing outside the organ's box."""
    hu, codes = (np.pad(channel, [(m, m) for m in MARGIN]) for channel in stage.pixels)
    liver = dilated(codes == ORGAN, EDGES, MARGIN[0])
    return flipped(lesion_input(hu, codes, liver), TO_RAS)


def box_of(stage: SecondStage) -> tuple[slice, ...]:
    """The organ's box, as the model sees it."""
    sides = zip(stage.lattice.visible.within((0, 0, 0)), stage.lattice.extent, TO_RAS, strict=True)
    return tuple(slice(n - side.stop, n - side.start) if flip else side for side, n, flip in sides)


def same_windows(stage: SecondStage) -> None:
    """Print whether our windows are those of the package's tiling of our own image."""
    ours, theirs = Recorder(stage.manifest.window), Recorder(stage.manifest.window)
    answer = stage.ask(LesionSegmenter(ours, stage.manifest, "cpu"))

    def network(shown: NDArray[np.float32]) -> NDArray[Any]:
        return theirs(torch.from_numpy(shown)[None, None])[0, 0].numpy()

    image = np.ascontiguousarray(image_of(stage)[box_of(stage)])
    whole = predict(image, network, package_liver.INPUT_SIZE, package_liver.OUTPUT_SIZE) > 0.5
    different = int((flipped(whole, TO_RAS) != answer[stage.lattice.visible.within((0, 0, 0))]).sum())
    known = {each.tobytes() for each in theirs.shown}
    common = sum(each.tobytes() in known for each in ours.shown)
    print(f"box {image.shape} at {stage.manifest.spacing} mm: the package asks {len(theirs.shown)} times, ", end="")
    print(f"we {len(ours.shown)} times, {common} of them with exactly the same values; ", end="")
    print(f"{different} voxels get another window's answer")


def image_difference(stage: SecondStage, hu: NDArray[Any], liver: NDArray[Any]) -> None:
    """Print how far our image is from the package's."""
    whole, own = image_of(stage), box_of(stage)
    crop, box, shape = package_liver.shown_to_lesions(hu, liver, SPACING_MM)
    ours, theirs = (np.full(extent, -0.5, np.float32) for extent in (whole.shape, shape))  # as if around the liver
    ours[own], theirs[box] = whole[own], crop
    print(f"the package's grid has {shape} voxels, its box {_places(box)}; ", end="")
    print(f"ours {ours.shape} and {_places(own)}")
    common = tuple(slice(0, min(a, b)) for a, b in zip(ours.shape, theirs.shape, strict=True))
    inside = (ours[common] > -0.5) & (theirs[common] > -0.5)
    apart = np.abs(ours[common] - theirs[common])[inside] * 400
    median, most = np.median(apart), np.percentile(apart, 95)
    print(f"where both see liver: median difference {median:.1f} HU, 95 % below {most:.1f} HU")


def _places(box: tuple[slice, ...]) -> str:
    return " ".join(f"{side.start}..{side.stop}" for side in box)


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> str:
    """Dice and the voxels that differ."""
    total = int(a.sum() + b.sum())
    return f"Dice {2 * int((a & b).sum()) / total if total else 1:.3f}, {int((a ^ b).sum())} of {total} voxels differ"


def main() -> None:
    """Print it all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--windows-only", action="store_true", help="without the lesion network: minutes")
    chosen = parser.parse_args()
    volume = read_scan(chosen.scan)
    manifest, spec = resolve_model("liver-lesions", {}, chosen.device, chosen.threads)
    assert spec.first is not None
    first, second = load_model(spec.first), load_model(spec)
    assert isinstance(second, LesionSegmenter)
    liver = native_liver(liver_of(volume, spec, first), volume)
    spheres = place_spheres(liver, [9.0, 12.0, 16.0], [-45.0], np.random.default_rng(0))
    changed, truth = inserted(volume, spheres)
    organ = liver_of(changed, spec, first)
    liver = native_liver(organ, changed)
    stage = second_stage(changed, organ, manifest)
    same_windows(stage)
    hu = flipped(changed, TO_RAS).astype(np.float64)
    image_difference(stage, hu, flipped(liver, TO_RAS))
    if chosen.windows_only:
        return
    started = time.perf_counter()
    ours = lesions_of(changed, organ, second)
    print(f"ours in {time.perf_counter() - started:.0f} s: {compare(ours, truth, len(spheres))}", flush=True)
    started = time.perf_counter()
    found = package_liver.lesions(hu, flipped(liver, TO_RAS), SPACING_MM, asked(second, chosen.device))
    nearest, zoomed = (flipped(each, TO_RAS) for each in found)
    print(f"package in {time.perf_counter() - started:.0f} s: {compare(nearest, truth, len(spheres))}")
    print(f"ours and the package's, mapped back the same way: {dice(ours, nearest)}")
    print(f"ours and the package's, mapped back by its zoom: {dice(ours, zoomed)}")


def native_liver(organ: OrganMap, volume: NDArray[Any]) -> NDArray[np.bool_]:
    """The liver on the scan's grid."""
    return OrganMap(organ.organ, (0, 0, 0)).codes(Box.of_shape(volume.shape), zyx(volume.shape)) == ORGAN


def asked(second: LesionSegmenter, device: str) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
    """The lesion network by itself."""
    network: nn.Module = second._network  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    place = next(network.parameters()).device if device == "auto" else torch.device(device)

    def run(shown: NDArray[np.float32]) -> NDArray[Any]:
        with torch.inference_mode():
            return network(torch.from_numpy(shown)[None, None].to(place))[0, 0].cpu().numpy()

    return run


if __name__ == "__main__":
    main()
