"""What no rule can join: how many pieces of true objects end far from each other, which the oracle linker joins.

    python -m benchmarks.seams.reach --worlds vessels --noises mixed --seeds 51-70

A model that misses an object in the window between two others leaves a gap in it. The oracle linker knows that both
sides are one object. Nothing in the image says so: each pixel of the gap lies in the cell of a window that says
nothing of it. Counted are the objects of an oracle that joins views of one true object only where their masks come
within some pixels of each other in every axis; the first distance is the merge's own tolerance
(`segworkers.views.near_by`).

And what no rule can keep apart: `benchmarks.seams.alike`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer

from benchmarks.seams import oracle, ours
from benchmarks.seams.alike import alike_objects
from benchmarks.seams.cases import Case, Zyx
from benchmarks.seams.noise import NOISES, Noise
from benchmarks.seams.plan import SPACE_WINDOWS, space_case
from benchmarks.seams.tables import signed, table
from segworkers.components import groups_of
from segworkers.lattice import Lattice
from segworkers.overlaps import near_pixels
from segworkers.views import near_by

DISTANCES = (8, 16, 32)
"""px beyond the tolerance; the largest one is the overlap of the benchmark's volumes in a plane."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Objects in a case, or in several."""

    truth: int
    oracle: int
    """What the oracle linker makes of the detections."""
    near: tuple[int, ...]
    """What an oracle makes of them that joins what comes near: within the tolerance, then within each of `DISTANCES`.
    """
    ours: int
    alike: int
    """True objects that the oracle keeps apart and ours does not, since all windows show them as one."""

    def __add__(self, other: Reach) -> Reach:
        """Both together."""
        near = tuple(a + b for a, b in zip(self.near, other.near, strict=True))
        alike = self.alike + other.alike
        return Reach(self.truth + other.truth, self.oracle + other.oracle, near, self.ours + other.ours, alike)


def reach(case: Case, steady: Case | None = None) -> Reach:
    """Counts of one case. steady: see `alike_objects`."""
    distances = (near_by(Lattice(case.window, case.overlap, case.world.truth.shape)), *((d, d, d) for d in DISTANCES))
    near = tuple(near_objects(case, distances))
    found = len(ours.merge_alone(case).masks)
    return Reach(case.world.count, len(oracle.merge(case).masks), near, found, alike_objects(case, steady))


def near_objects(case: Case, distances: Iterable[Zyx]) -> Iterator[int]:
    """Objects by true identity, where only views whose masks come within a distance (z, y, x) are joined."""
    known = oracle.identified(case)
    views, (i, j) = known.views, known.pairs()
    for distance in distances:
        close = near_pixels(views.masks, views.extents, i, j, np.tile(np.array(distance), (len(i), 1))) > 0
        yield len(np.unique(groups_of(len(views), i[close], j[close])))


def _reach_of(world: str, noise: Noise, seed: int) -> Reach:
    def said(how: Noise) -> Case:
        return space_case(world, how, seed, *SPACE_WINDOWS[1])

    return reach(said(noise), None if noise.steady() == noise else said(noise.steady()))


def row(name: Sequence[str], found: Reach) -> list[str]:
    """What stands under `HEAD`."""
    others = (found.oracle, found.near[0], found.oracle - found.alike)
    over = [signed(100 * (found.ours - other) / max(found.truth, 1)) for other in others]
    return [*name, *map(str, (found.truth, found.oracle, *found.near, found.ours, found.alike)), *over]


HEAD = [
    "world",
    "noise",
    "true objects",
    "oracle linker",
    "within the tolerance",
    *(f"within {distance} px" for distance in DISTANCES),
    "segworkers",
    "alike in all windows",
    "over the oracle, %",
    "over what comes near, %",
    "over the oracle less what is alike, %",
]


def main(
    worlds: Annotated[str, typer.Option(help="of three dimensions, with commas between them")] = "vessels",
    noises: Annotated[str, typer.Option(help=f"of: {', '.join(NOISES)}")] = "mixed",
    seeds: Annotated[str, typer.Option(help="first and last")] = "51-70",
) -> None:
    """Count what the oracle linker joins over a distance."""
    first, last = (int(seed) for seed in seeds.split("-"))
    rows: list[list[str]] = []
    for world in worlds.split(","):
        for noise in noises.split(","):
            total = Reach(0, 0, (0,) * (1 + len(DISTANCES)), 0, 0)
            for seed in range(first, last + 1):
                total += _reach_of(world, NOISES[noise], seed)
            rows.append(row((world, noise), total))
    print(table(HEAD, rows, left=2))


if __name__ == "__main__":
    typer.run(main)
