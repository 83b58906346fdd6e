"""Which cases the benchmark runs, and which rules see them.

perfect   every world at windows of 128 to 1024 px and overlaps from 16 px, 2-D and 3-D; models without error
noise     plane worlds, every kind of noise, five seeds: this project beside its peers
space     the same in 3-D
nuclei    real pixels
cost      time alone, on a large world of touching cells
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.seams.cases import Case, World, Zyx
from benchmarks.seams.noise import NOISES, Noise, say
from benchmarks.seams.peers.rules import RULES
from benchmarks.seams.records import ALONE, ORACLE, OURS, Part
from benchmarks.seams.worlds import PLANE, SPACE

PARTS = ("noise", "space", "nuclei", "perfect", "others", "cost")
MAIN_RULES = (OURS, ORACLE, "none", "sahi", "patchworks_iou")
"""Rules that see every case. The others, far worse or far slower, see the noises of `FEW`."""
FEW = ("perfect", "mixed", "jitter2")
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
    makers = {
        "perfect": _perfect,
        "noise": _noise,
        "space": _space,
        "nuclei": _nuclei,
        "others": _others,
        "cost": _cost,
    }
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
        yield Block("synthetic", names, seeds, *_flat(window, overlap), MAIN_RULES[:2], _plane_maker(side))
    for lattice in SPACE_WINDOWS[:: 2 if not quick else 3]:
        yield Block(
            "synthetic", tuple((world, "perfect") for world in SPACE), seeds, *lattice, MAIN_RULES[:2], space_case
        )


def _noise(seeds: tuple[int, ...], quick: bool) -> Iterator[Block]:
    for world in PLANE:
        yield _main(_plane(world, tuple(NOISES), seeds, quick))


def _space(seeds: tuple[int, ...], quick: bool) -> Iterator[Block]:
    for world in SPACE:
        yield _main(_volume(world, tuple(NOISES) if not quick else ("mixed",), seeds))


def _nuclei(seeds: tuple[int, ...], quick: bool) -> Iterator[Block]:
    from benchmarks.seams import nuclei

    for lattice in nuclei.LATTICES[: 1 if quick else None]:
        names = tuple(("nuclei", noise) for noise in nuclei.NOISES)
        # Other layouts than those with which the rule was tried while it was made.
        unseen = tuple(seed + 100 for seed in seeds)
        yield _main(Block("nuclei", names, unseen, *lattice, (), nuclei.case))


def _others(seeds: tuple[int, ...], quick: bool) -> Iterator[Block]:
    for world in PLANE:
        yield _rest(_plane(world, FEW, seeds, quick))
    for world in SPACE:
        yield _rest(_volume(world, FEW, seeds))


def _plane(world: str, noises: tuple[str, ...], seeds: tuple[int, ...], quick: bool) -> Block:
    side, window, overlap = (1024, 256, 64) if quick else (1536, 512, 96)
    names = tuple((world, noise) for noise in noises)
    return Block("synthetic", names, seeds, *_flat(window, overlap), (), _plane_maker(side))


def _volume(world: str, noises: tuple[str, ...], seeds: tuple[int, ...]) -> Block:
    return Block("synthetic", tuple((world, noise) for noise in noises), seeds, *SPACE_WINDOWS[1], (), space_case)


def _main(block: Block) -> Block:
    return replace(block, rules=tuple(rule for rule in MAIN_RULES if rule not in RULES or _able(rule, block)))


def _rest(block: Block) -> Block:
    others = (rule for rule in RULES if rule not in MAIN_RULES and _able(rule, block))
    return replace(block, rules=("oracle of all views", *others))


def _able(rule: str, block: Block) -> bool:
    return (2 if block.window[0] == 1 else 3) in RULES[rule].dims


def _cost(seeds: tuple[int, ...], quick: bool) -> Iterator[Block]:
    side = 1536 if quick else 3072
    names = (("cells", "jitter1"), ("car_parks", "jitter1"))
    yield Block("cost", names, seeds[:3], *_flat(256, 64), (OURS, ALONE, *COST_PEERS), _plane_maker(side))


def _flat(window: int, overlap: int) -> tuple[Zyx, Zyx]:
    return (1, window, window), (0, overlap, overlap)


def _plane_maker(side: int) -> Maker:
    def make(world: str, noise: str, seed: int, window: Zyx, overlap: Zyx) -> Case:
        return say(PLANE[world](np.random.default_rng(seed), side), window, overlap, noise, seed)

    return make


def space_case(world: str, noise: str | Noise, seed: int, window: Zyx, overlap: Zyx) -> Case:
    """A case of a volume."""
    made: World = SPACE[world](np.random.default_rng(seed))
    return say(made, window, overlap, noise, seed)
