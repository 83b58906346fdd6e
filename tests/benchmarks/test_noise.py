"""Each noise does what it says, and depends on nothing but what it names."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.seams.cases import Case, Detection, World, Zyx
from benchmarks.seams.draws import smooth_field, stream, uniform
from benchmarks.seams.noise import NOISES, Noise, say
from benchmarks.seams.worlds import PLANE, SPACE
from segworkers.lattice import Lattice

WINDOW, OVERLAP = (1, 200, 200), (0, 64, 64)


@cache
def world(name: str, seed: int = 0) -> World:
    return PLANE[name](np.random.default_rng(seed), 600)


def hand(truth: np.ndarray, label: list[int] | None = None) -> World:
    truth = truth.astype(np.int32).reshape((-1, *truth.shape[-2:]))
    return World("hand", truth, np.array([0, *(label or [0] * int(truth.max()))], np.int64))


def lattice_of(case: Case) -> Lattice:
    z, y, x = case.world.truth.shape
    return Lattice(case.window, case.overlap, (z, y, x))


def painted(case: Case, index: Zyx) -> np.ndarray:
    """What a window says, as ids of objects; masks of a window never overlap."""
    box = lattice_of(case).real_box(index)
    image = np.zeros(case.world.truth.shape, np.int32)
    for d in case.windows[index]:
        assert not image[d.mask.place][d.mask.pixels].any()
        image[d.mask.place][d.mask.pixels] = d.truth
    inside = tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))
    assert np.count_nonzero(image) == np.count_nonzero(image[inside])
    return image[inside]


def truth_in(case: Case, index: Zyx) -> np.ndarray:
    box = lattice_of(case).real_box(index)
    return case.world.truth[tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))]


def views(case: Case) -> dict[tuple[Zyx, int], Detection]:
    return {(index, d.truth): d for index, said in case.windows.items() for d in said}


def same(a: Case, b: Case) -> bool:
    return a.windows.keys() == b.windows.keys() and all(
        len(p) == len(q) and all(alike(d, e) for d, e in zip(p, q, strict=True))
        for p, q in ((a.windows[i], b.windows[i]) for i in a.windows)
    )


def alike(d: Detection, e: Detection) -> bool:
    return (
        (d.score, d.label, d.truth, d.mask.start) == (e.score, e.label, e.truth, e.mask.start)
        and d.mask.pixels.shape == e.mask.pixels.shape
        and bool((d.mask.pixels == e.mask.pixels).all())
    )


@pytest.mark.parametrize("name", PLANE)
def test_a_perfect_model_says_the_truth_in_every_window(name: str) -> None:
    case = say(world(name), WINDOW, OVERLAP, "perfect", 0)
    assert len(case.windows) == np.prod(lattice_of(case).shape)
    for index, said in case.windows.items():
        assert np.array_equal(painted(case, index), truth_in(case, index))
        assert len(said) == len(np.unique(truth_in(case, index)[truth_in(case, index) > 0]))
        assert all(0.999 - 1e-9 <= d.score <= 1 and d.label == case.world.label[d.truth] for d in said)
        edges = [np.take(d.mask.pixels, end, axis) for d in said for axis in range(3) for end in (0, -1)]
        assert all(edge.any() for edge in edges)


@given(st.integers(1, 3), st.integers(10, 50), st.integers(8, 30), st.integers(0, 12), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_perfect_model_says_the_truth_of_any_image(
    depth: int, side: int, window: int, overlap: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 5, (depth, -(-side // 4), -(-side // 4))).repeat(4, 1).repeat(4, 2)
    _, truth = np.unique(np.r_[0, truth.reshape(-1)], return_inverse=True)
    shape = (depth, -(-side // 4) * 4, -(-side // 4) * 4)
    case = say(hand(truth[1:].reshape(shape)), (2, window, window), (1, min(overlap, window // 2), 0), "perfect", seed)
    for index in case.windows:
        assert np.array_equal(painted(case, index), truth_in(case, index))


@pytest.mark.parametrize("name", NOISES)
def test_every_noise_depends_on_the_seed_alone(name: str) -> None:
    for truth, window, overlap in (
        (world("car_parks"), (1, 340, 340), (0, 80, 80)),
        (SPACE["blobs3d"](np.random.default_rng(0), (24, 64, 64)), (16, 40, 40), (8, 16, 16)),
    ):
        one, again = (say(truth, window, overlap, name, 3) for _ in range(2))
        assert one.noise == name and one.seed == 3
        assert same(one, again)
        assert not same(one, say(truth, window, overlap, name, 4))
        for index, said in one.windows.items():
            painted(one, index)
            assert all(d.mask.pixels.any() and 0 <= d.score <= 1 for d in said)


def test_a_window_says_the_same_whatever_lies_outside_it() -> None:
    noise = replace(NOISES["mixed"], short=0, scores=0.0)
    whole = world("cells")
    part = World("part", np.ascontiguousarray(whole.truth[:, :200, :200]), whole.label)
    one, other = (say(w, WINDOW, OVERLAP, noise, 1).windows[0, 0, 0] for w in (whole, part))
    assert len(one) == len(other) > 30 and all(alike(d, e) for d, e in zip(one, other, strict=True))


def test_noises_do_not_disturb_one_another() -> None:
    plain = say(world("car_parks"), WINDOW, OVERLAP, "miss5", 2)
    scored = say(world("car_parks"), WINDOW, OVERLAP, Noise(miss=0.05, scores=0.5), 2)
    assert views(plain).keys() == views(scored).keys()


def test_a_noise_of_ones_own_has_its_own_name() -> None:
    assert say(world("cells"), WINDOW, OVERLAP, Noise(miss=0.05), 0).noise == "miss5"
    assert "miss=0.07" in say(world("cells"), WINDOW, OVERLAP, Noise(miss=0.07), 0).noise


def test_misses_are_as_many_as_said_and_independent_between_windows() -> None:
    truth = world("cells")
    every = views(say(truth, WINDOW, OVERLAP, "perfect", 0)).keys()
    seen = [views(say(truth, WINDOW, OVERLAP, "miss5", seed)).keys() for seed in range(6)]
    assert all(s <= every for s in seen)
    missed = np.array([[view not in s for view in every] for s in seen])
    assert missed.mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / missed.size))
    row = {view: k for k, view in enumerate(every)}
    pairs = [(row[i, o], row[j, o]) for i, o in every for j, p in every if o == p and i < j]
    both = np.array([missed[:, a] & missed[:, b] for a, b in pairs])
    assert len(pairs) > 200 and both.mean() < 0.02


def test_masks_stop_short_of_internal_borders_only() -> None:
    truth, gaps = hand(np.ones((600, 600))), []
    for seed in range(8):
        case = say(truth, WINDOW, OVERLAP, "short20", seed)
        lattice = lattice_of(case)
        for index in case.windows:
            (view,) = case.windows[index]
            assert view.mask.pixels.all()
            box, inside = lattice.real_box(index), lattice.internal_borders(index)
            for axis in (1, 2):
                near, far = view.mask.start[axis] - box.start[axis], box.stop[axis] - view.mask.stop[axis]
                for gap, internal in ((near, inside[axis][0]), (far, inside[axis][1])):
                    assert internal or gap == 0
                    gaps += [gap] * internal
    assert min(gaps) == 0 and max(gaps) == 20
    assert np.mean(gaps) == pytest.approx(10, abs=1.5)


def test_masks_never_stop_so_short_that_no_window_sees_a_pixel() -> None:
    for seed in range(10):
        case = say(hand(np.ones((300, 300))), (1, 100, 100), (0, 17, 17), "short20", seed)
        seen = np.zeros(case.world.truth.shape, bool)
        for (view,) in case.windows.values():
            seen[view.mask.place] |= view.mask.pixels
        assert seen.all()


def edges(case: Case, index: Zyx) -> np.ndarray:
    """Position of the border between two half planes in each row of a window, in the image."""
    box = lattice_of(case).real_box(index)
    return box.start[2] + (painted(case, index)[0] == 1).sum(1)


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_jitter_moves_outlines_smoothly_and_by_as_much_as_said(sigma: float) -> None:
    truth = np.ones((400, 300))
    truth[:, 150:] = 2
    moved, between, steps, far = [], [], [], []
    for seed in range(20):
        case = say(hand(truth), (1, 400, 200), (0, 0, 100), Noise(jitter=sigma), seed)
        a, b = edges(case, (0, 0, 0)), edges(case, (0, 0, 1))
        moved += [a - 150, b - 150]
        between.append(np.abs(a - b))
        steps.append(np.abs(np.diff(a)))
        far.append(np.mean((a[:-100] - 150) * (b[100:] - 150)))
    assert np.std(moved) == pytest.approx(sigma, rel=0.15)
    assert np.mean(moved) == pytest.approx(0, abs=0.15 * sigma)
    assert np.mean(between) == pytest.approx(2 / np.sqrt(np.pi) * sigma, rel=0.2)
    assert np.mean(steps) < 0.2 * sigma
    assert abs(np.mean(far)) < 0.2 * sigma**2


def test_a_shift_moves_a_window_as_a_whole() -> None:
    case = say(world("sparse_cars"), WINDOW, OVERLAP, "shift1", 0)
    moves = set()
    for index in case.windows:
        said, true = painted(case, index)[0], truth_in(case, index)[0]
        fits = [
            (dy, dx)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if np.array_equal(said[1:-1, 1:-1], true[1 + dy : dy - 1 or None, 1 + dx : dx - 1 or None])
        ]
        moves |= set(fits)
        assert len(fits) == 1
    assert len(moves) > 3


def pairs_world(count: int, gap: int) -> World:
    """Pairs of 5 x 10 px and 5 x 6 px objects, `gap` px between the two of a pair."""
    truth = np.zeros((20 * count, 40), int)
    for k in range(count):
        truth[20 * k + 5 : 20 * k + 10, 5:15] = 2 * k + 1
        truth[20 * k + 5 : 20 * k + 10, 15 + gap : 21 + gap] = 2 * k + 2
    return hand(truth)


@pytest.mark.parametrize(("gap", "glued"), [(0, True), (2, True), (3, False)])
def test_close_neighbours_are_glued_and_the_larger_one_is_its_truth(gap: int, glued: bool) -> None:
    (said,) = say(pairs_world(1, gap), (1, 64, 64), (0, 0, 0), Noise(glue=1.0), 0).windows.values()
    assert [(d.truth, int(d.mask.pixels.sum())) for d in said] == ([(1, 80)] if glued else [(1, 50), (2, 30)])


def test_neighbours_of_other_classes_are_not_glued() -> None:
    pair = pairs_world(1, 0)
    (said,) = say(replace(pair, label=np.array([0, 1, 2])), (1, 64, 64), (0, 0, 0), Noise(glue=1.0), 0).windows.values()
    assert [(d.truth, d.label) for d in said] == [(1, 1), (2, 2)]


def test_neighbours_across_slices_and_corners_are_glued_too() -> None:
    truth = np.zeros((3, 8, 8), int)
    truth[0, :4, :4], truth[1, 4:, 4:], truth[2, :, 0] = 1, 2, 3
    (said,) = say(hand(truth), (3, 8, 8), (0, 0, 0), Noise(glue=1.0), 0).windows.values()
    assert [d.mask.pixels.sum() for d in said] == [16 + 16 + 8]


def test_glue_is_as_frequent_as_said_and_chains_are_one_mask() -> None:
    (said,) = say(pairs_world(2000, 1), (1, 40_000, 40), (0, 0, 0), Noise(glue=0.1), 0).windows.values()
    assert 4000 - len(said) == pytest.approx(200, abs=60)
    row = np.arange(1, 9).repeat(5)[None].repeat(6, 0)
    (said,) = say(hand(row), (1, 64, 64), (0, 0, 0), Noise(glue=1.0), 0).windows.values()
    assert [d.mask.pixels.sum() for d in said] == [row.size]


def test_scores_vary_between_views_and_fall_where_objects_are_cut() -> None:
    case = say(world("buildings"), WINDOW, OVERLAP, "scores", 0)
    size = np.bincount(case.world.truth.reshape(-1))
    share = np.array([d.mask.pixels.sum() / size[d.truth] for d in views(case).values()])
    score = np.array([d.score for d in views(case).values()])
    assert len(np.unique(score)) == len(score)
    assert score[share < 0.3].mean() < score[share > 0.7].mean() - 0.1
    perfect = say(world("buildings"), WINDOW, OVERLAP, "perfect", 0)
    for index in case.windows:
        assert np.array_equal(painted(case, index), painted(perfect, index))


def test_slivers_are_missed_where_asked_for() -> None:
    truth = world("car_parks")
    size = np.bincount(truth.truth.reshape(-1))
    every = views(say(truth, WINDOW, OVERLAP, "perfect", 0))
    pixels = views(say(truth, WINDOW, OVERLAP, Noise(min_pixels=100), 0)).keys()
    share = views(say(truth, WINDOW, OVERLAP, Noise(min_share=0.5), 0)).keys()
    assert pixels == {v for v, d in every.items() if d.mask.pixels.sum() >= 100} != every.keys()
    assert share == {v for v, d in every.items() if d.mask.pixels.sum() >= 0.5 * size[d.truth]} != every.keys()


def test_parts_are_said_apart_where_asked_for() -> None:
    truth = np.zeros((30, 60))
    truth[[5, 25], 5:55], truth[5:26, 54] = 1, 1  # two arms that meet on the right
    case = say(hand(truth), (1, 30, 40), (0, 0, 10), "perfect_parts", 0)
    assert [len(said) for said in case.windows.values()] == [2, 1]
    left = case.windows[0, 0, 0]
    assert [d.truth for d in left] == [1, 1] and left[0].score != left[1].score
    assert [len(said) for said in say(hand(truth), (1, 30, 40), (0, 0, 10), "perfect", 0).windows.values()] == [1, 1]


def test_a_part_of_a_glued_mask_keeps_its_own_truth() -> None:
    (said,) = say(pairs_world(1, 2), (1, 64, 64), (0, 0, 0), Noise(glue=1.0, parts=True), 0).windows.values()
    assert [(d.truth, int(d.mask.pixels.sum())) for d in said] == [(1, 50), (2, 30)]


def test_hashed_numbers_are_uniform_and_independent() -> None:
    ids = np.arange(20_000)
    streams = [uniform(key, ids) for key in ((0, 0, 0), (0, 0, 1), (1, 0, 0), (0, 1, 0))]
    assert np.abs(np.corrcoef(streams) - np.eye(4)).max() < 0.04
    for u in streams:
        assert u.min() >= 0 and u.max() < 1
        assert np.abs(np.histogram(u, 10, (0, 1))[0] - 2000).max() < 200
        assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.04
    assert np.array_equal(uniform((0, 0, 0), ids[::-1]), streams[0][::-1])


@pytest.mark.parametrize("shape", [(1, 200, 300), (40, 60, 80)])
def test_smooth_fields_have_unit_spread_everywhere(shape: tuple[int, int, int]) -> None:
    fields = np.stack([smooth_field(stream([k]), shape) for k in range(60)])
    assert fields.shape[1:] == shape
    spread = fields.std(axis=0)
    assert spread.mean() == pytest.approx(1, abs=0.1) and spread[:, :3, :3].mean() == pytest.approx(1, abs=0.35)
    lag = [np.mean(fields[..., :-n] * fields[..., n:]) for n in (5, 20, 60)]
    assert lag[0] > 0.85 and lag[1] == pytest.approx(np.exp(-1), abs=0.15) and abs(lag[2]) < 0.15
