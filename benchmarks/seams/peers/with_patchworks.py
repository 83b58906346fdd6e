"""patchworks: labels of neighbouring tiles are joined where they touch, or where both views of the overlap agree.

Source: `patchworks._merge.zarr_native_merge`, which `merge_tile_labels` and `tile_process` call, on tiles and halos
as `patchworks._distributed.stage_tile` leaves them (`_save_halo`, `relabel_sequential_array`). Joining is transitive
(`_build_relabel_lut`); the image is relabelled at last.

Two things are put in patchworks's place. Its tiles are all of one size, so its first window is shorter than the case's;
`chunk_slices` and `_boundary_face_specs` are replaced by the case's cells and their borders. And arrays and halos are
kept in memory instead of in zarr stores and files, so that its time is that of its arithmetic. What decides and what
relabels is its own. A case whose overlap is odd has no halo of one width, and is skipped.
"""
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# The peers are not installed in the project's environment.

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from patchworks import _distributed, _merge

from benchmarks.seams.cases import Case, Outcome
from benchmarks.seams.peers.arrays import Index, Labels, Slices, Tiling, by_class
from benchmarks.seams.peers.meter import Meter


class Memory:
    """What the merge uses of a zarr array, in memory."""

    def __init__(self, shape: Index, chunks: Index, dtype: Any) -> None:
        self.data = np.zeros(shape, dtype)
        self.shape, self.chunks, self.dtype, self.ndim = shape, chunks, self.data.dtype, len(shape)
        self.attrs = dict[str, Any]()

    def __getitem__(self, key: Slices) -> NDArray[Any]:
        return self.data[key]

    def __setitem__(self, key: Slices, value: NDArray[Any]) -> None:
        self.data[key] = value


class Group(dict[str, Memory]):
    """What the merge uses of a zarr group."""

    metadata = SimpleNamespace(zarr_format=3)

    def create_array(self, name: str, *, shape: Index, chunks: Index, dtype: Any, **_: Any) -> Memory:
        """A new array of zeros."""
        self[name] = Memory(shape, chunks, dtype)
        return self[name]


def merge(case: Case, *, iou: bool) -> Outcome:
    """patchworks's merge: by IoU >= 0.5 in the halo, or by touch, its default."""
    if any(o % 2 for o in case.overlap):
        return Meter().outcome([], [], skipped="patchworks has halos of one width; the case's overlap is odd")
    return by_class(case, partial(_stitch, iou=iou))


def _stitch(tiling: Tiling, windows: Mapping[Index, Labels], meter: Meter, *, iou: bool) -> NDArray[Any]:
    with meter.constructing():
        first = tuple(edges[1] for edges in tiling.edges)
        # Only the number of tiles is taken from the shape; no first cell is smaller than any other.
        shape = tuple(n * size for n, size in zip(tiling.grid, first, strict=True))
        staged = Memory(shape, first, np.int32)
        counts = _stage(tiling, windows, staged, offset=not iou)
        halos = _halos(tiling, windows) if iou else {}
        groups = {"staged": Group(labels=staged), "out": Group()}
    with meter.merging(), _in_place(tiling, groups, halos, sum(counts)):
        _merge.zarr_native_merge(
            "staged",
            "labels",
            "out",
            "labels",
            n_workers=1,
            label_counts=counts if iou else None,
            halo_dir="halos" if iou else None,
            iou_threshold=0.5,
        )
    return groups["out"]["labels"].data


def _stage(tiling: Tiling, windows: Mapping[Index, Labels], staged: Memory, *, offset: bool) -> list[int]:
    """Puts the cells' labels, 1..n in each, in their places; with `offset` they go on from cell to cell."""
    counts = list[int]()
    for index in np.ndindex(tiling.grid):
        core = _distributed.relabel_sequential_array(windows[index][tiling.core(index)]).astype(np.int32)
        n = int(core.max(initial=0))
        if offset:
            core[core > 0] += sum(counts)
        staged[tiling.cell(index)] = core
        counts.append(n)
    return counts


def _halos(tiling: Tiling, windows: Mapping[Index, Labels]) -> dict[int, dict[str, NDArray[Any]]]:
    """What each tile saw beyond its faces, by the tile's number."""
    halos = dict[int, dict[str, NDArray[Any]]]()
    with tempfile.TemporaryDirectory() as folder:
        for number, index in enumerate(np.ndindex(tiling.grid)):
            both = zip(tiling.core(index), windows[index].shape, strict=True)
            trims = [(core.start, n - core.stop) for core, n in both]
            _distributed._save_halo(windows[index], tiling.core(index), trims, folder, number)  # noqa: SLF001
            halos[number] = _merge._load_halo(folder, number)  # noqa: SLF001
            (Path(folder) / f"{number}.npz").unlink()
    return halos


@contextmanager
def _in_place(
    tiling: Tiling, groups: Mapping[str, Group], halos: Mapping[int, dict[str, NDArray[Any]]], largest: int
) -> Generator[None]:
    """patchworks with the case's cells as its tiles, and with arrays and halos in memory."""
    cells = [tiling.cell(index) for index in itertools.product(*map(range, tiling.grid))]
    faces = [(axis, edge) for axis, edges in enumerate(tiling.edges) for edge in edges[1:-1]]
    with mock.patch.multiple(
        _merge,
        zarr=SimpleNamespace(open_group=lambda path, **_: groups[path]),
        chunk_slices=lambda *_: cells,
        _boundary_face_specs=lambda *_: faces,
        _load_halo=lambda _, number: halos[number],
        _make_globally_unique=lambda *_: largest,  # they are: see _stage
    ):
        yield
