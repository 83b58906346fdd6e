"""Runs in the peers' environment: adapters beside the peers' own unaltered entry points, on a case of 2 x 2 windows.

    python tests/benchmarks/native_peers.py CASE

On such a lattice patchworks's own tiles see what the case's windows see. Prints a line of JSON: for each rule, how many
objects the adapter found, and whether the entry point found the same ones.
"""

from __future__ import annotations

import json
import pickle
import sys
import tempfile
from pathlib import Path

import dask.array as da
import numpy as np
import supervision as sv
from patchworks import tile_process

from benchmarks.seams.cases import Case, Mask
from benchmarks.seams.peers import with_patchworks, with_supervision
from benchmarks.seams.peers.arrays import Tiling, masks_of, painted


def main() -> None:
    with Path(sys.argv[1]).open("rb") as file:
        case: Case = pickle.load(file)
    same = {}
    for iou in (False, True):
        ours = with_patchworks.merge(case, iou=iou).masks
        same[f"patchworks iou={iou}"] = len(ours), keys(ours) == keys(patchworks_itself(case, iou=iou))
    for kind in ("non_max_suppression", "non_max_merge"):
        for metric in ("IOU", "IOS"):
            ours = with_supervision.merge(case, kind, metric).masks
            same[f"supervision {kind} {metric}"] = len(ours), keys(ours) == keys(supervision_itself(case, kind, metric))
    sys.stdout.write(json.dumps(same) + "\n")


def keys(masks: list[Mask]) -> list[tuple]:
    return sorted((m.start, m.pixels.shape, m.pixels.tobytes()) for m in masks)


def patchworks_itself(case: Case, *, iou: bool) -> list[Mask]:
    """`tile_process` over an image of positions; the function that it calls answers from the case."""
    tiling = Tiling.of(case)
    position = np.arange(np.prod(tiling.shape)).reshape(tiling.shape)
    answers = {int(position[tiling.real(index[1:])][0, 0]): painted(case, tiling, index, 0) for index in case.windows}
    with tempfile.TemporaryDirectory() as folder:
        merged = tile_process(
            da.from_array(position),
            lambda tile: answers[int(tile[0, 0])],
            tile_shape=tuple(edges[1] for edges in tiling.edges),
            overlap=tiling.overlap[0] // 2,
            stitch="iou" if iou else "touch",
            write_to=str(Path(folder) / "labels.zarr"),
        )
        return masks_of(np.asarray(merged))


def supervision_itself(case: Case, kind: str, metric: str) -> list[Mask]:
    """The slicer on an image of positions, with a dense mask of the window for each detection."""
    tiling = Tiling.of(case)
    position = np.stack(np.indices(tiling.shape), axis=-1)

    def answer(pixels: np.ndarray) -> sv.Detections:
        top, left = pixels[0, 0].tolist()
        index = (0, *(a // (w - o) for a, w, o in zip((top, left), tiling.window, tiling.overlap, strict=True)))
        said = case.windows[index]
        masks = np.zeros((len(said), *pixels.shape[:2]), bool)
        for canvas, (_, y, x), detection in zip(masks, (d.mask.start for d in said), said, strict=True):
            _, height, width = detection.mask.pixels.shape
            canvas[y - top : y - top + height, x - left : x - left + width] = detection.mask.pixels[0]
        return sv.Detections(
            xyxy=sv.mask_to_xyxy(masks).astype(float),
            mask=masks,
            confidence=np.array([d.score for d in said]),
            class_id=np.array([d.label for d in said]),
        )

    slicer = sv.InferenceSlicer(
        answer,
        slice_wh=tiling.window[::-1],
        overlap_wh=tiling.overlap[::-1],
        overlap_filter=kind,
        overlap_metric=metric,
    )
    found = []
    for mask in slicer(position).mask:
        (y0, x0), (y1, x1) = np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0) + 1
        found.append(Mask((0, int(y0), int(x0)), mask[None, y0:y1, x0:x1]))
    return found


if __name__ == "__main__":
    main()
