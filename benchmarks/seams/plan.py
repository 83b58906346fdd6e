"""Which cases the benchmark runs, and which rules see them.

perfect   every world at windows of 128 to 1024 px and overlaps from 16 px, 2-D and 3-D; models without error
noise     plane worlds, every kind of noise, five seeds: this project beside its peers
space     the same in 3-D
nuclei    real pixels
cost      time alone, on a large world of touching cells
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.seams.cases import Case, World, Zyx
from benchmarks.seams.noise import NOISES, say
from benchmarks.seams.peers.rules import RULES
from benchmarks.seams.records import ORACLE, OURS, Part
from benchmarks.seams.worlds import PLANE, SPACE

ALWAYS = (OURS, ORACLE, "oracle of all views")
MAIN_PEERS = ("none", "sahi", "supervision_ios", "patchworks_iou", "cellpose_stacked")
"""Rules that see every case. The others, far worse or far slower, see the noises of `ALL_RULES`."""
ALL_RULES = ("perfect", "mixed", "jitter2")
COST_PEERS = ("sahi", "patchworks_iou", "supervision", "cellpose_stacked", "dask_image")
WINDOWS: tuple[tuple[int, int], ...] = (
    (128, 16),
    (128, 64),
    (192, 17),
    (256, 33),
    (512, 16),
    (1024, 16),
    (1024, 200),
)
"""Window and overlap in px of the perfect models."""
SPACE_WINDOWS: tuple[tuple[Zyx, Zyx], ...] = (
    ((32, 128, 128), (16, 16, 16)),
    ((48, 128, 128), (16, 32, 32)),
    ((64, 192, 192), (24, 17, 40)),
)


Maker = Callable[[str, str, int, Zyx, Zyx], Case]
"""World, noise, seed, window and overlap to the case."""


@dataclass(frozen=True, slots=True)
class Block:
    """Cases that one process of each rule runs after another."""

    part: Part
    names: tuple[tuple[str, str], ...]
    """World and noise of each case."""
    seeds: tuple[int, ...]
    window: Zyx
    overlap: Zyx
    rules: tuple[str, ...]
    make: Maker

    def cases(self) -> Iterator[Case]:
        """The cases, made anew each time."""
        for world, noise in self.names:
            for seed in self.seeds:
                yield self.make(world, noise, seed, self.window, self.overlap)

    def key(self, case: Case, rule: str) -> tuple[object, ...]:
        """What the record of a rule and case is known by."""
        return (self.part, case.world.name, case.noise, case.seed, self.window, self.overlap, rule)

    def keys(self, rule: str) -> set[tuple[object, ...]]:
        """What the records of a rule are known by."""
        return {
            (self.part, world, noise, seed, self.window, self.overlap, rule)
            for world, noise in self.names
            for seed in self.seeds
        }


def blocks(parts: Sequence[str], seeds: Sequence[int], *, quick: bool) -> Iterator[Block]:
    """The blocks of the named parts; raises ValueError for an unknown one."""
    makers = {"perfect": _perfect, "noise": _noise, "space": _space, "nuclei": _nuclei, "cost": _cost}
    unknown = [part for part in parts if part not in makers]
    if unknown:
        raise ValueError(f"parts must be of {', '.join(makers)}, found {', '.join(unknown)}")
    for part in parts:
        yield from makers[part](tuple(seeds), quick)


def cut_detections(case: Case) -> int:
    """Detections that touch a border of their window inside the image."""
    shape = case.world.truth.shape
    cut = 0
    for index, start in case.starts():
        stop = tuple(a + w for a, w in zip(start, case.window, strict=True))
        for found in case.windows[index]:
            sides = zip(found.mask.start, found.mask.stop, start, stop, shape, strict=True)
            cut += any((a == low and a > 0) or (b == high and b < extent) for a, b, low, high, extent in sides)
    return cut


def _perfect(seeds: tuple[int, ...], quick: bool) -> Iterator[Block]:
    names = tuple((world, noise) for world in PLANE for noise in ("perfect", "perfect_parts"))
    for window, overlap in WINDOWS[: 2 if quick else None]:
        side = max(1024 if quick else 1536, 2 * window)
        yield Block("synthetic", names, seeds, *_flat(window, overlap), ALWAYS[:2], _plane_maker(side))
    for lattice in SPACE_WINDOWS[:: 2 if not quick else 3]:
        yield Block("synthetic", tuple((world, "perfect") for world in SPACE), seeds, *lattice, ALWAYS[:2], _space_case)


def _noise(seeds: tuple[int, ...], quick: bool) -> Iterator[Block]:
    side, window, overlap = (1024, 256, 64) if quick else (1536, 512, 96)
    for world in PLANE:
        yield from _beside_peers("synthetic", world, tuple(NOISES), seeds, _flat(window, overlap), _plane_maker(side))


def _space(seeds: tuple[int, ...], quick: bool) -> Iterator[Block]:
    noises = tuple(NOISES) if not quick else ("mixed",)
    for world in SPACE:
        yield from _beside_peers("synthetic", world, noises, seeds, SPACE_WINDOWS[1], _space_case)


def _nuclei(seeds: tuple[int, ...], quick: bool) -> Iterator[Block]:
    from benchmarks.seams import nuclei

    for lattice in nuclei.LATTICES[: 1 if quick else None]:
        yield from _beside_peers("nuclei", "nuclei", nuclei.NOISES, seeds, lattice, nuclei.case)


def _beside_peers(
    part: Part, world: str, noises: tuple[str, ...], seeds: tuple[int, ...], lattice: tuple[Zyx, Zyx], make: Maker
) -> Iterator[Block]:
    dims = 2 if lattice[0][0] == 1 else 3
    able = [name for name, rule in RULES.items() if dims in rule.dims]
    main = (*ALWAYS, *(name for name in able if name in MAIN_PEERS))
    rest = tuple(name for name in able if name not in MAIN_PEERS)
    yield Block(part, tuple((world, noise) for noise in noises), seeds, *lattice, main, make)
    few = tuple((world, noise) for noise in noises if noise in ALL_RULES or part == "nuclei")
    yield Block(part, few, seeds, *lattice, rest, make)


def _cost(seeds: tuple[int, ...], quick: bool) -> Iterator[Block]:
    side = 1536 if quick else 3072
    names = (("cells", "jitter1"), ("car_parks", "jitter1"))
    yield Block("cost", names, seeds[:3], *_flat(256, 64), (OURS, *COST_PEERS), _plane_maker(side))


def _flat(window: int, overlap: int) -> tuple[Zyx, Zyx]:
    return (1, window, window), (0, overlap, overlap)


def _plane_maker(side: int) -> Maker:
    def make(world: str, noise: str, seed: int, window: Zyx, overlap: Zyx) -> Case:
        return say(PLANE[world](np.random.default_rng(seed), side), window, overlap, noise, seed)

    return make


def _space_case(world: str, noise: str, seed: int, window: Zyx, overlap: Zyx) -> Case:
    made: World = SPACE[world](np.random.default_rng(seed))
    return say(made, window, overlap, noise, seed)
