"""A second model around an organ answers as in the package's own tiling of the organ's box, whatever the tiles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx, zyx
from schemas.models import ModelManifest
from segworkers.lattice import Lattice
from segworkers.orientation import Flips, flipped
from segworkers.plans import SourcePlan
from segworkers.priors import to_bytes
from segworkers.segmenters.base import DenseMaps
from segworkers.segmenters.two_stage import ORGAN, OUTSIDE, OrganMap
from segworkers.tiling import TilePlan
from tests.fakes import ArrayReader, MemoryStore
from tests.package_tiling import predict
from tests.pipeline import paint, plan_for, run_plan, same_partition
from tests.volume_truth import components

BESIDE = -5
"""What a network sees between the organ and the border of its box."""


def network(shown: NDArray[np.float32], window: Zyx, context: Zyx) -> NDArray[np.int64]:
    """Classes 0 to 2 of the middle, each of which depends on all that is shown and on where it is shown."""
    values = np.rint(shown).astype(np.int64)
    place = np.arange(values.size).reshape(values.shape) % 11 + 1
    middle = tuple(slice(c, c + w) for c, w in zip(context, window, strict=True))
    return (values[middle] * 3 + place[middle] + (values * place).sum()) % 5 % 3


@dataclass
class Second:
    """The network behind the port."""

    manifest: ModelManifest
    asked: int = 0

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> DenseMaps:
        self.asked += len(windows)
        codes = np.where(valid, windows[:, 1], OUTSIDE)
        shown = np.where(codes == OUTSIDE, 0, np.where(codes == ORGAN, windows[:, 0], BESIDE)).astype(np.float32)
        answers = [network(each, self.manifest.window, self.manifest.context) for each in shown]
        return DenseMaps(np.stack(answers).astype(np.uint8), None)


@dataclass(frozen=True)
class Case:
    values: NDArray[np.int16]
    organ: OrganMap
    manifest: ModelManifest
    flips: Flips

    @property
    def extent(self) -> Zyx:
        return zyx(self.values.shape)

    def expected(self, around: Box) -> NDArray[np.int64]:
        """Classes as the package gives them: of the box, as the model sees it, and nothing elsewhere."""
        codes = self.organ.codes(around, self.extent)
        image = np.where(codes == ORGAN, self.values[around.within((0, 0, 0))], BESIDE)
        window, context = self.manifest.window, self.manifest.context
        answer = predict(
            flipped(image, self.flips), lambda shown: network(shown, window, context), self.manifest.shown, window
        )
        classes = np.zeros(self.extent, np.int64)
        classes[around.within((0, 0, 0))] = flipped(answer, self.flips)
        return classes

    def plan(self, around: Box | None, group: Zyx, segmenter: Second) -> SourcePlan:
        plain = plan_for(ArrayReader(self.values), segmenter, group)
        lattice = Lattice(self.manifest.window, (0, 0, 0), self.extent, around, self.flips)
        tiles = TilePlan(lattice, group, (1, 1, 1), (0, 0, 0), self.manifest.context)
        return replace(plain, tiles=tiles, flips=self.flips, prior="priors/one.npz")


@st.composite
def cases(draw: st.DrawFn) -> Case:
    extent = draw(st.tuples(st.integers(1, 9), st.integers(1, 17), st.integers(1, 17)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = zyx([draw(st.integers(1, n)) for n in extent])
    organ = rng.random(coarse) < draw(st.sampled_from([0.0, 0.01, 0.2]))
    manifest = ModelManifest(
        name="second",
        kind="dense",
        window=(draw(st.integers(1, 4)), draw(st.integers(1, 7)), draw(st.integers(1, 7))),
        overlap=(0, 0, 0),
        context=(draw(st.integers(0, 2)), draw(st.integers(0, 4)), draw(st.integers(0, 4))),
        classes=("one", "two"),
        connectivity=draw(st.sampled_from([6, 18, 26])),
    )
    return Case(
        values=rng.integers(-9, 9, extent).astype(np.int16),
        organ=OrganMap(organ, draw(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)))),
        manifest=manifest,
        flips=draw(st.tuples(st.booleans(), st.booleans(), st.booleans())),
    )


@given(
    case=cases(),
    group=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    seed=st.integers(0, 99),
)
def test_windows_around_an_organ_are_the_packages_own(case: Case, group: Zyx, seed: int) -> None:
    around = case.organ.box(case.extent)
    segmenter, store = Second(case.manifest), MemoryStore()
    store.create("priors/one.npz", to_bytes(case.organ, around))
    plan = case.plan(around, group, segmenter)
    objects, receipts = run_plan(ArrayReader(case.values), segmenter, plan, store, seed)
    window = case.manifest.window
    asked = 0 if around is None else prod(-(-a // b) for a, b in zip(around.shape, window, strict=True))
    assert segmenter.asked == sum(receipt.windows for receipt in receipts) == asked
    expected = np.zeros(case.extent, np.int64) if around is None else case.expected(around)
    assert same_partition(paint(objects, case.extent), components(expected, case.manifest.connectivity))
    counts = [receipt.counts for receipt in receipts]
    assert sum(each.total for each in counts) == case.values.size
    assert sum(each.done + each.empty for each in counts) == case.values.size


@given(case=cases(), group=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)), seed=st.integers(0, 99))
def test_what_cannot_be_read_costs_the_cells_that_need_it(case: Case, group: Zyx, seed: int) -> None:
    around = case.organ.box(case.extent)
    segmenter, store = Second(case.manifest), MemoryStore()
    store.create("priors/one.npz", to_bytes(case.organ, around))
    plan = case.plan(around, group, segmenter)
    rng = np.random.default_rng(seed)
    voxel = zyx([int(rng.integers(n)) for n in case.extent])
    broken = Box(voxel, zyx([a + 1 for a in voxel]))
    objects, receipts = run_plan(ArrayReader(case.values, broken=[broken]), segmenter, plan, store, seed)
    lattice = plan.tiles.lattice
    needed = np.zeros(case.extent, bool)
    for index in lattice.indices((0, 0, 0), lattice.shape):
        seen = lattice.window_box(index).grow(case.manifest.context) & lattice.visible
        is_asked = around is not None and lattice.sees(index) and seen is not None and (seen & broken) is not None
        if is_asked or lattice.cell_box(index) & broken is not None:
            needed[lattice.cell_box(index).within((0, 0, 0))] = True
    found = paint(objects, case.extent)
    assert not found[needed].any()
    counts = [receipt.counts for receipt in receipts]
    assert sum(each.total for each in counts) == case.values.size
    assert sum(each.failed for each in counts) == needed.sum() or around is None
    if around is not None:
        expected = np.where(needed, 0, case.expected(around))
        assert same_partition(found, components(expected, case.manifest.connectivity))
