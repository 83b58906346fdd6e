"""Cellpose's distributed stitching: labels that touch across a face after shrinking by a pixel are one object.

Source: `cellpose.contrib.distributed_segmentation`, steps of `process_block` and `distributed_eval` after the model:
`global_segment_ids`, `block_faces`, `determine_merge_relabeling` (`adjacent_faces`, `block_face_adjacency_graph`,
`shrink_labels`). Three things differ. Windows are trimmed to the case's cells, since `remove_overlaps` assumes
Cellpose's own lattice, whose first block is shorter. Arrays stay in memory, where Cellpose writes zarr. A source of
one block is left as it is, where Cellpose fails.

On images `shrink_labels` takes the norm of a one-dimensional gradient over its only axis, a number, and removes every
label if that is above 0: nothing is ever merged. With `planes` = 3 the image is handed over as a stack of equal planes,
on which the rule works as it does on volumes.
"""
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# The peers are not installed in the project's environment.

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from cellpose.contrib import distributed_segmentation as cellpose
from numpy.typing import NDArray

from benchmarks.seams.cases import Case, Outcome
from benchmarks.seams.peers.arrays import Index, Labels, Tiling, by_class
from benchmarks.seams.peers.meter import Meter


def merge(case: Case, planes: int = 0) -> Outcome:
    """Cellpose's stitching of the cells' labels; an image as a stack of `planes` equal ones, if any."""
    return by_class(case, partial(_stitch, planes=planes))


def _stitch(tiling: Tiling, windows: Mapping[Index, Labels], meter: Meter, planes: int) -> NDArray[Any]:
    with meter.constructing():
        cores = {index: labels[tiling.core(index)] for index, labels in windows.items()}
        if planes:
            cores = {(0, *index): np.repeat(core[None], planes, axis=0) for index, core in cores.items()}
        grid = (1, *tiling.grid) if planes else tiling.grid
        out = np.zeros((planes, *tiling.shape) if planes else tiling.shape, np.uint32)
    with meter.merging():
        faces, used = list[Any](), list[NDArray[Any]]()
        for index, core in cores.items():
            labels, ids = cellpose.global_segment_ids(core, index, grid)
            out[(slice(None), *tiling.cell(index[1:])) if planes else tiling.cell(index)] = labels
            faces.append(cellpose.block_faces(labels))
            used.append(np.array(ids[1:] if ids[0] == 0 else ids, np.int64))
        numbers = np.concatenate(used)
        if len(cores) > 1 and len(numbers):
            out = cellpose.determine_merge_relabeling(list(cores), faces, numbers)[out]
    return out[0] if planes else out
