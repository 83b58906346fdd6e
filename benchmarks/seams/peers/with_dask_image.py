"""dask-image: labels of the foreground, computed block by block.

Source: `dask_image.ndmeasure.label` (`block_ndi_label_delayed`, `label_adjacency_graph`, `relabel_blocks`). It knows
foreground only: every window's cell is a chunk, and what touches is one object, neighbours included.
"""
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# The peers are not installed in the project's environment.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dask.array as da
import numpy as np
from dask_image import ndmeasure
from numpy.typing import NDArray

from benchmarks.seams.cases import Case, Outcome
from benchmarks.seams.peers.arrays import Index, Labels, Tiling, by_class
from benchmarks.seams.peers.meter import Meter


def merge(case: Case) -> Outcome:
    """`dask_image.ndmeasure.label` with its default structure (faces) on the cells' foreground."""
    return by_class(case, _stitch)


def _stitch(tiling: Tiling, windows: Mapping[Index, Labels], meter: Meter) -> NDArray[Any]:
    with meter.constructing():
        foreground = np.zeros(tiling.shape, bool)
        for index, labels in windows.items():
            foreground[tiling.cell(index)] = labels[tiling.core(index)] > 0
    with meter.merging():
        chunks = tuple(tuple(np.diff(edges).tolist()) for edges in tiling.edges)
        return ndmeasure.label(da.from_array(foreground, chunks=chunks))[0].compute()
