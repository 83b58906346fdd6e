"""Real pixels: a layout that keeps every image whole, and cases that hold what a model says and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.seams import nuclei, ours
from benchmarks.seams.cases import Case, Detection
from benchmarks.seams.microscopy import MARGIN, Answer, Answers, Model, Mosaic, ask, ask_all, lay_out
from benchmarks.seams.noise import say
from benchmarks.seams.nuclei import REACH, as_said, perturbed
from benchmarks.seams.score import score
from jobs.demo_mosaic import WHITE, NucleiImage
from segworkers.lattice import Lattice

Labels = NDArray[np.int32]
WINDOW, OVERLAP = (1, 96, 96), (0, 32, 32)


def microscopy(seed: int, shapes: list[tuple[int, int]]) -> tuple[NucleiImage, ...]:
    """Images of round nuclei, each of a brightness of its own, on a dim and noisy background."""
    rng, images = np.random.default_rng(seed), list[NucleiImage]()
    for k, (height, width) in enumerate(shapes):
        y, x = np.mgrid[:height, :width]
        labels = np.zeros((height, width), np.int32)
        for cy in range(20, height - 12, 40):
            for cx in range(20, width - 12, 40):
                labels[np.hypot(y - cy, x - cx) < rng.uniform(9, 16)] = labels.max() + 1
        level = np.concatenate([[0.05], rng.uniform(0.5, 1, int(labels.max()))])[labels]
        pixels = np.clip(WHITE * (level + rng.normal(0, 0.01, labels.shape)), 1, WHITE).astype(np.uint16)
        images.append(NucleiImage(f"{k}.tif", "training", pixels, labels, int(labels.max())))
    return tuple(images)


IMAGES = microscopy(0, [(90, 130), (128, 90), (100, 100), (60, 140), (70, 70), (140, 60)])


def written(truth: Labels) -> Mosaic:
    """A mosaic whose pixels are the ids of its nuclei, so that models made here know what they see."""
    return Mosaic(truth.astype(np.uint16), truth, int(truth.max()))


def painted_by(labels: Labels, scores: list[float] | None = None) -> Answer:
    numbers = [k for k, place in enumerate(ndimage.find_objects(labels), 1) if place is not None]
    places = [place for place in ndimage.find_objects(labels) if place is not None]
    masks = [(place, labels[place] == k) for k, place in zip(numbers, places, strict=True)]
    return Answer(labels.shape, masks, scores or [0.9] * len(masks))


def sees_all(pixels: NDArray[np.uint16]) -> Answer:
    return painted_by(pixels.astype(np.int32))


def lattice_of(mosaic: Mosaic) -> Lattice:
    return Lattice(WINDOW, OVERLAP, (1, *mosaic.truth.shape))


def perturbed_by(mosaic: Mosaic, model: Model) -> Case:
    return perturbed(mosaic, ask_all(mosaic.pixels, lattice_of(mosaic), model), 0, WINDOW, OVERLAP)


def said_by(mosaic: Mosaic, model: Model) -> Case:
    return as_said(ask_all(mosaic.pixels, lattice_of(mosaic), model), 0, WINDOW, OVERLAP)


def everything(case: Case) -> list[tuple[object, ...]]:
    return [
        (index, d.mask.start, d.mask.pixels.tobytes(), d.label, d.truth)
        for index, said in case.windows.items()
        for d in said
    ]


def painted(detection: Detection, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    image = np.zeros((1, *shape), bool)
    image[detection.mask.place] = detection.mask.pixels
    return image[0]


def disc(side: int = 90, radius: float = 20) -> Labels:
    y, x = np.mgrid[:side, :side]
    return (np.hypot(y - side // 2, x - side // 2) <= radius).astype(np.int32)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_layout_keeps_images_whole_apart_and_with_their_nuclei(seed: int) -> None:
    mosaic = lay_out(IMAGES, seed, 600)
    regions = ndimage.find_objects(ndimage.label(mosaic.pixels > 0)[0])
    found = {(mosaic.pixels[place].tobytes(), mosaic.pixels[place].shape): mosaic.truth[place] for place in regions}
    used = 0
    for image in IMAGES:
        ways = [
            (turn(image.pixels), turn(image.labels))
            for flip in (lambda a: a, np.transpose)
            for y in (1, -1)
            for x in (1, -1)
            for turn in (lambda a, flip=flip, y=y, x=x: np.ascontiguousarray(flip(a)[::y, ::x]),)
        ]
        truth = [(found[key], labels) for p, labels in ways if (key := (p.tobytes(), p.shape)) in found]
        for there, labels in truth:
            used += 1
            first = int(there[labels == 1][0])
            np.testing.assert_array_equal(there, np.where(labels > 0, labels + first - 1, 0))
    assert used == len(regions) >= 3, "every region is an image that was put there, unchanged"
    assert set(np.unique(mosaic.truth)) == set(range(mosaic.count + 1))
    taken = np.zeros(mosaic.pixels.shape, bool)
    for place in regions:
        margin = tuple(slice(max(s.start - MARGIN // 2, 0), s.stop + MARGIN // 2) for s in place)
        assert not taken[margin].any(), "images keep a margin"
        taken[margin] = True


def test_a_layout_follows_from_the_seed_alone_and_differs_between_seeds() -> None:
    a, b, c = (lay_out(IMAGES, seed, 600) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.pixels, b.pixels)
    np.testing.assert_array_equal(a.truth, b.truth)
    assert (a.pixels != c.pixels).any()


@pytest.mark.parametrize("shape", [(400, 90), (90, 400)])
def test_a_layout_refuses_images_larger_than_itself(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected images at most"):
        lay_out(microscopy(0, [shape, shape, shape]), 0, 300)


def test_the_model_says_different_things_of_one_nucleus_in_windows_of_different_contrast() -> None:
    faint = WHITE // 20 + (disc() * 0.1 * WHITE).astype(np.uint16)
    beside = np.concatenate([faint, WHITE // 20 + (disc() * 0.95 * WHITE).astype(np.uint16)], axis=1)
    assert len(ask(faint).masks) == 1
    assert len(ask(beside).masks) == 1 and not ask(beside).painted()[:, :90].any()


def test_the_model_finds_nothing_in_the_dark() -> None:
    noise = np.random.default_rng(0).integers(0, WHITE // 200, (200, 200)).astype(np.uint16)
    assert not ask(noise).masks
    assert not ask(np.zeros((64, 64), np.uint16)).masks


def test_a_window_is_asked_about_its_own_pixels_and_no_others() -> None:
    mosaic, asked = lay_out(IMAGES, 0, 500), list[NDArray[np.uint16]]()

    def remember(pixels: NDArray[np.uint16]) -> Answer:
        asked.append(pixels)
        return Answer(pixels.shape, [], [])

    answers, lattice = ask_all(mosaic.pixels, lattice_of(mosaic), remember), lattice_of(mosaic)
    assert list(answers.windows) == list(lattice.indices((0, 0, 0), lattice.shape))
    for index, pixels in zip(answers.windows, asked, strict=False):
        _, rows, columns = lattice.real_box(index).within((0, 0, 0))
        np.testing.assert_array_equal(pixels, mosaic.pixels[rows, columns])
    np.testing.assert_array_equal(asked[-1], mosaic.pixels)


def test_with_a_model_that_sees_the_truth_every_noise_is_truth_in_the_window() -> None:
    mosaic = written(lay_out(IMAGES, 3, 500).truth)
    perfect = say(nuclei._world(mosaic.truth), WINDOW, OVERLAP, "perfect", 0)
    for case in (perturbed_by(mosaic, sees_all), said_by(mosaic, sees_all)):
        assert case.world.count == mosaic.count > 20
        np.testing.assert_array_equal(case.world.truth, perfect.world.truth)
        assert everything(case) == everything(perfect)


@pytest.mark.parametrize("by", [-12, -3, 3, 12])
def test_outlines_are_the_models_as_far_as_they_are_near_the_true_ones(by: int) -> None:
    truth = disc()

    def draws(pixels: NDArray[np.uint16]) -> Answer:
        inside = ndimage.distance_transform_edt(pixels) - ndimage.distance_transform_edt(pixels == 0)
        return painted_by((inside > -by).astype(np.int32))

    case = perturbed_by(written(truth), draws)
    ((detection,),) = case.windows.values()
    inside = ndimage.distance_transform_edt(truth) - ndimage.distance_transform_edt(truth == 0)
    expected = inside >= -REACH if by > REACH else inside > min(-by, REACH)
    np.testing.assert_array_equal(painted(detection, truth.shape), expected)


def test_what_no_window_finds_is_no_truth_and_what_one_window_misses_is() -> None:
    truth = lay_out(IMAGES, 5, 500).truth
    mosaic, lost = written(truth), 3
    (y, *_), (x, *_) = np.nonzero(truth == 5)

    def careless(pixels: NDArray[np.uint16]) -> Answer:
        seen = pixels.astype(np.int32)
        seen[seen == lost] = 0
        if pixels.shape == (96, 96) and pixels[0, 0] == 0:
            seen[seen == 5] = 0
        return painted_by(seen)

    assert (truth[y, x]) == 5
    for case in (perturbed_by(mosaic, careless), said_by(mosaic, careless)):
        assert case.world.count == mosaic.count - 1
        assert set(np.unique(case.world.truth)) == set(range(mosaic.count))
        for said in case.windows.values():
            for d in said:
                assert (case.world.truth[d.mask.place][d.mask.pixels] == d.truth).all()


def test_glued_nuclei_are_one_mask_of_the_larger_and_masks_of_background_are_none() -> None:
    truth = np.zeros((90, 90), np.int32)
    truth[10:30, 10:20], truth[10:30, 22:50] = 1, 2
    mosaic = written(truth)

    def glues(pixels: NDArray[np.uint16]) -> Answer:
        seen = np.zeros(pixels.shape, np.int32)
        seen[10:30, 10:50], seen[60:70, 60:70] = 1, 2
        return painted_by(seen, [0.7, 0.8])

    case = perturbed_by(mosaic, glues)
    ((detection,),) = case.windows.values()
    assert detection.score == 0.7
    assert case.world.count == 1 and (case.world.truth[0] == (truth == 2)).all()
    np.testing.assert_array_equal(painted(detection, truth.shape)[10:30, 10:50], True)


def test_a_split_nucleus_is_found_once_but_said_twice() -> None:
    mosaic = written(disc())
    halves = mosaic.truth.copy()
    halves[:40] *= 2
    answers = Answers({(0, 0, 0): painted_by(halves)}, sees_all(mosaic.pixels))
    (found,) = perturbed(mosaic, answers, 0, WINDOW, OVERLAP).windows[0, 0, 0]
    assert found.truth == 1
    inner = ndimage.distance_transform_edt(mosaic.truth) > REACH
    np.testing.assert_array_equal(painted(found, mosaic.truth.shape), inner | (halves == 1))
    assert [d.truth for d in as_said(answers, 0, WINDOW, OVERLAP).windows[0, 0, 0]] == [1, 1]


@given(seed=st.integers(0, 2**32 - 1), side=st.integers(2, 30))
@settings(max_examples=50, deadline=None)
def test_whatever_a_model_says_masks_are_disjoint_inside_their_window_and_known(seed: int, side: int) -> None:
    mosaic = written(lay_out(IMAGES[:4], seed % 7, 500).truth[:200, :200])

    def babbles(pixels: NDArray[np.uint16]) -> Answer:
        rng = np.random.default_rng([seed, int(pixels.sum())])
        coarse = rng.integers(0, 6, [-(-n // side) for n in pixels.shape]).astype(np.int32)
        blocks = coarse.repeat(side, 0).repeat(side, 1)[: pixels.shape[0], : pixels.shape[1]]
        return painted_by(np.unique(blocks, return_inverse=True)[1].reshape(pixels.shape).astype(np.int32))

    for case in (perturbed_by(mosaic, babbles), said_by(mosaic, babbles)):
        said = [d.truth for found in case.windows.values() for d in found]
        assert set(said) == set(range(1, case.world.count + 1)) == set(np.unique(case.world.truth)) - {0}
        for index, start in case.starts():
            image = np.zeros(case.world.truth.shape, np.int32)
            for d in case.windows[index]:
                image[d.mask.place] += d.mask.pixels
                assert d.mask.pixels.any()
                assert all(a >= b for a, b in zip(d.mask.start, start, strict=True))
                assert all(a <= b + w for a, b, w in zip(d.mask.stop, start, WINDOW, strict=True))
            assert image.max(initial=0) <= 1


def test_cases_are_every_noise_of_every_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nuclei, "load", lambda folder: IMAGES)
    monkeypatch.setattr(nuclei, "SIDE", 500)
    made = list(nuclei.cases(tmp_path, WINDOW, OVERLAP, (1, 2)))
    assert [(case.seed, case.noise) for case in made] == [(s, n) for s in (1, 2) for n in nuclei.NOISES]
    for case in made:
        assert case.world.name == nuclei.NAME and case.world.truth.shape == (1, 500, 500)
        mosaic = lay_out(IMAGES, case.seed, 500)
        if case.noise == "perfect":
            np.testing.assert_array_equal(case.world.truth[0], mosaic.truth)
        assert mosaic.count - 3 < case.world.count <= mosaic.count, "these nuclei are easily found"
        assert all(d.truth > 0 and 0 < d.score <= 1 for said in case.windows.values() for d in said)


@pytest.mark.parametrize(("world", "noise"), [("cells", "model"), ("nuclei", "jitter1")])
def test_unknown_worlds_and_noises_are_refused(world: str, noise: str) -> None:
    with pytest.raises(ValueError, match="expected world 'nuclei' and a noise of perfect, perturbed, model"):
        nuclei.case(world, noise, 0, WINDOW, OVERLAP)


@pytest.mark.network
def test_real_nuclei_are_rebuilt_by_a_perfect_model() -> None:
    case = nuclei.case("nuclei", "perfect", 1, *nuclei.LATTICES[0])
    result = score(ours.merge(case), case.world)
    assert result.truth_count > 500
    assert (result.count_error, result.f1_90) == (0, 1)
