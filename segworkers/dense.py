"""Objects of dense models: connected components of the class map, exact across any number of work tiles.

1. label the core of each work tile on its own (`label_core`);
2. a component that touches no internal face of the core is finished; the others are fragments, and the core's faces
   remember which fragment lies where;
3. fragments of neighbouring cores that touch, by the model's connectivity, belong together (`touching_pairs`);
4. the transitive closure of those pairs gives the objects (`join_fragments`).

Adjacency splits into pairs inside a core and pairs across cores, and components are the transitive closure of their
union: the result equals labelling the whole image at once, for every tiling.
"""
# cc3d has no type stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx, zyx
from segworkers.lattice import Lattice
from segworkers.objects import Objects, seen_whole
from segworkers.runs import RunTable, label_runs
from segworkers.splitting import cells_touched

PROBABILITY_UNIT = 1 << 20
"""Probabilities are summed in integers of 1/2^20: the sum does not depend on the order, nor on the tiles."""

_ORDER = {4: 1, 8: 3, 6: 1, 18: 2, 26: 3}
"""Connectivity to the number of coordinates in which neighbours may differ.

In space 8 means 26, in a plane 26 means 8.
"""

Face = tuple[int, int]
"""Axis (0 = z, 1 = y, 2 = x) and side (0 = near, 1 = far) of a core."""


@dataclass(frozen=True, slots=True, eq=False)
class Fragments:
    """Components of one core that touch an internal face; open until their neighbours are known."""

    label: NDArray[np.int64]
    """(n,) index into the model's classes."""
    score_sum: NDArray[np.int64]
    """(n,) sum of probabilities in units of 1/2^20; -1 where the model gives none."""
    masks: RunTable
    """Owners 0..n-1."""
    faces: Mapping[Face, NDArray[np.int32]]
    """For each internal face the plane of voxels on it, (1, y, x), (z, 1, x) or (z, y, 1): fragment + 1, 0 = none."""

    def __len__(self) -> int:
        return len(self.label)


def label_core(
    classes: NDArray[np.unsignedinteger[Any]],
    probability: NDArray[np.float32] | None,
    core: Box,
    lattice: Lattice,
    connectivity: int,
) -> tuple[Objects, Fragments]:
    """Finished objects and open fragments of one core.

    classes: (z, y, x) of the core's shape, 0 = background; probability: the same shape, of the winning class.
    """
    labels = _components(classes, connectivity)
    masks = label_runs(labels, core.start)
    count = int(labels.max(initial=0))
    first = masks.offsets(count)[:-1]
    z, x, y = (masks.runs[first, column] for column in (0, 1, 2))
    label = classes[z - core.start[0], y - core.start[1], x - core.start[2]].astype(np.int64) - 1
    score_sum = _score_sums(labels, probability, count)
    faces = {face: labels[_face_slice(face)] for face in _internal_faces(core, lattice.extent)}
    is_open = np.zeros(count + 1, bool)
    for plane in faces.values():
        is_open[plane.ravel()] = True
    is_open = is_open[1:]
    finished = _finish(label, score_sum, masks, ~is_open, lattice)
    name = np.full(count, -1, np.int64)
    name[is_open] = np.arange(np.count_nonzero(is_open))
    face_name = np.concatenate(([0], name + 1)).astype(np.int32)
    fragments = Fragments(
        label[is_open],
        score_sum[is_open],
        masks.renumber(name),
        {face: face_name[plane] for face, plane in faces.items()},
    )
    return finished, fragments


def forward_neighbours(connectivity: int) -> Iterator[Zyx]:
    """Offsets to the neighbours that come later in (z, y, x) order and that may touch; each pair of tiles once."""
    for offset in product((0, 1), (-1, 0, 1), (-1, 0, 1)):
        if offset > (0, 0, 0) and sum(map(abs, offset)) <= _ORDER[connectivity]:
            yield zyx(offset)


def touching_pairs(
    here: Fragments, there: Fragments, offset: Zyx, connectivity: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Fragments of one class of two neighbouring cores that touch: (i of here, j of there), unique.

    offset: position of the second tile relative to the first, -1, 0 or 1 in each axis.
    """
    mine = _contact(here.faces, offset)
    theirs = _contact(there.faces, zyx([-d for d in offset]))
    slack = _ORDER[connectivity] - sum(map(abs, offset))
    pairs: list[NDArray[np.int64]] = []
    for shift in product(*((0,) if d else (-1, 0, 1) for d in offset)):
        if sum(map(abs, shift)) > slack:
            continue
        a = mine[tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(shift, mine.shape, strict=True))]
        b = theirs[tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(shift, mine.shape, strict=True))]
        both = (a > 0) & (b > 0)
        pairs.append(np.stack((a[both], b[both]), axis=1).astype(np.int64) - 1)
    found = np.unique(np.concatenate(pairs), axis=0)
    found = found[here.label[found[:, 0]] == there.label[found[:, 1]]]
    return found[:, 0], found[:, 1]


def join_fragments(
    label: NDArray[np.int64],
    score_sum: NDArray[np.int64],
    masks: RunTable,
    group: NDArray[np.int64],
    lattice: Lattice,
) -> Objects:
    """Whole objects from fragments; group (n,) numbers the objects 0.. without gaps, one for each fragment."""
    count = int(group.max(initial=-1)) + 1
    whole = masks.renumber(group).canonical()
    label_of = np.zeros(count, np.int64)
    label_of[group] = label
    total = np.zeros(count, np.int64)
    np.add.at(total, group, score_sum)
    total[total < 0] = -1
    return _finish(label_of, total, whole, np.ones(count, bool), lattice)


def _finish(
    label: NDArray[np.int64],
    score_sum: NDArray[np.int64],
    masks: RunTable,
    keep: NDArray[np.bool_],
    lattice: Lattice,
) -> Objects:
    name = np.full(len(keep), -1, np.int64)
    name[keep] = np.arange(np.count_nonzero(keep))
    kept = masks.renumber(name)
    count = int(np.count_nonzero(keep))
    pixels = kept.pixel_counts(count)
    sums = score_sum[keep]
    score = np.where(sums >= 0, sums / PROBABILITY_UNIT / np.maximum(pixels, 1), np.nan)
    views = cells_touched(kept, count, lattice)
    return Objects(label[keep], score, kept, views, np.full(count, np.nan), ~seen_whole(kept, count, lattice))


def _components(classes: NDArray[np.unsignedinteger[Any]], connectivity: int) -> NDArray[np.int32]:
    """Labels (z, y, x) of the components, 0 = background; planes know 4 and 8 neighbours, solids 6, 18 and 26."""
    columns = np.ascontiguousarray(classes.transpose(0, 2, 1))  # no copy where memory runs along y already
    plane = len(columns) == 1
    neighbours: Any = {6: 4, 18: 8, 26: 8} if plane else {4: 6, 8: 26}
    labels = cc3d.connected_components(
        columns[0] if plane else columns,
        connectivity=neighbours.get(connectivity, connectivity),
        out_dtype=np.uint32,
    )
    return np.asarray(labels).reshape(columns.shape).view(np.int32).transpose(0, 2, 1)


def _score_sums(labels: NDArray[np.int32], probability: NDArray[np.float32] | None, count: int) -> NDArray[np.int64]:
    if probability is None:
        return np.full(count, -1, np.int64)
    units = np.rint(probability.astype(np.float64) * PROBABILITY_UNIT)
    # float64 holds integers exactly to 2^53: more than 2^32 pixels of probability 1 in one core.
    return np.bincount(_columns(labels), weights=_columns(units), minlength=count + 1)[1:].astype(np.int64)


def _columns(volume: NDArray[Any]) -> NDArray[Any]:
    """The values along y, then x, then z; no copy where memory runs along y."""
    return volume.transpose(0, 2, 1).ravel()


def _internal_faces(core: Box, extent: Zyx) -> Iterator[Face]:
    for axis in range(3):
        if core.start[axis] > 0:
            yield axis, 0
        if core.stop[axis] < extent[axis]:
            yield axis, 1


def _face_slice(face: Face) -> tuple[slice, ...]:
    axis, side = face
    end = slice(-1, None) if side else slice(0, 1)
    return tuple(end if a == axis else slice(None) for a in range(3))


def _contact(faces: Mapping[Face, NDArray[np.int32]], direction: Zyx) -> NDArray[np.int32]:
    """The voxels nearest to the neighbour in `direction`: a face, an edge or a corner of the core."""
    axis = next(a for a in range(3) if direction[a])
    plane = faces[(axis, int(direction[axis] > 0))]
    cut = tuple(
        slice(None) if a == axis or d == 0 else (slice(-1, None) if d > 0 else slice(0, 1))
        for a, d in enumerate(direction)
    )
    return plane[cut]
