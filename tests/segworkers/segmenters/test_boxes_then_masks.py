"""Detect, then segment inside: with stages that say the truth the masks are the truth, whatever is beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from jobs.cli import main
from schemas.boxes import Box, Zyx
from schemas.bundles import Card, ModelBundle
from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseAnswer, DenseMaps, DenseProbabilities, WindowMasks
from segworkers.segmenters.boxes_then_masks import TwoStageSegmenter
from segworkers.segmenters.bundles import weights_file, write_bundle
from segworkers.segmenters.loading import resolve_model
from segworkers.segmenters.stages import Stage, TwoStages, join_bundles, read_stages

WINDOW: Zyx = (1, 64, 80)
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
CARD = Card(
    summary="a test",
    licence="CC0-1.0",
    attribution="nobody",
    training_data="none",
    accuracy="none",
    use="tests",
    limits="all",
)


def manifest(kind: Any, window: Zyx = WINDOW, classes: tuple[str, ...] = ("thing",), **more: Any) -> ModelManifest:
    return ModelManifest(name="m", kind=kind, window=window, overlap=(0, 0, 0), classes=classes, **more)


class Numbers:
    """A detector whose images hold the numbers of objects: boxes of channel 0, in an order of its own."""

    def __init__(self, window: Zyx = WINDOW, reverse: bool = False) -> None:
        self.manifest = manifest("instance", window)
        self.step = -1 if reverse else 1

    def predict(self, windows: Any, valid: Any) -> Sequence[WindowMasks]:
        answers = []
        for window in windows:
            ids = window[0].astype(int)
            found = [(n, place) for n, place in enumerate(ndimage.find_objects(ids), 1) if place][:: self.step]
            crops = [
                (
                    Box(*(tuple(getattr(s, end) for s in place) for end in ("start", "stop"))),
                    np.ones(ids[place].shape, bool),
                )
                for _, place in found
            ]
            scores = np.array([1 / (1 + n) for n, _ in found])
            answers.append(WindowMasks(np.zeros(len(found), np.int64), scores, crops))
        return answers


class Bright:
    """A dense model: what is above a half, as a map or as probabilities. Counts what it was shown."""

    def __init__(self, window: Zyx, probabilities: bool = False, levels: Sequence[float] = (0.5,)) -> None:
        self.manifest = manifest("dense", window, tuple(f"c{n}" for n in range(len(levels))))
        self.probabilities, self.levels = probabilities, levels
        self.batches: list[tuple[np.ndarray, np.ndarray]] = []

    def predict(self, windows: Any, valid: Any) -> DenseAnswer:
        self.batches.append((windows.copy(), valid.copy()))
        classes = sum((windows[:, 0] > level).astype(np.uint8) for level in self.levels) * valid
        if not self.probabilities:
            return DenseMaps(classes.astype(np.uint8), None)
        values = np.stack([classes == n for n in range(len(self.levels) + 1)], 1).astype(np.float32)
        return DenseProbabilities(values)


def stages(**more: Any) -> TwoStages:
    stage = Stage(family="any", manifest=manifest("dense"), parameters={}, folder="any")
    choices: dict[str, Any] = {
        "margin": 0.1,
        "fit": "native",
        "part": "largest",
        "labels": "detector",
        "detector_bands": None,
        "segmenter_bands": None,
        "batch": 4,
    }
    return TwoStages(detector=stage, segmenter=stage, **{**choices, **more})


def scene(seed: int, window: Zyx = WINDOW, count: int = 9) -> np.ndarray:
    """Numbers of blobs that do not touch, in no order of place."""
    random = np.random.default_rng(seed)
    grid = np.indices(window).astype(float)
    ids = np.zeros(window, int)
    for number in random.permutation(count) + 1:
        centre = [random.uniform(0, side) for side in window]
        size = random.uniform(3, 9)
        distance = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
        blob = distance < size**2
        near = distance < (size + 3) ** 2
        if blob.any() and not ids[near].any():
            ids[blob] = number
    return ids


def masks_of(answer: WindowMasks, window: Zyx = WINDOW) -> list[np.ndarray]:
    whole = []
    for box, crop in answer.crops:
        mask = np.zeros(window, bool)
        mask[box.within((0, 0, 0))] = crop
        whole.append(mask)
    return whole


def run(ids: np.ndarray, detector: Any, segmenter: Any, chosen: TwoStages, window: Zyx = WINDOW) -> WindowMasks:
    model = TwoStageSegmenter(detector, segmenter, chosen, manifest("instance", window))
    (answer,) = model.predict(ids[None, None].astype(np.float32), np.ones((1, *window), bool))
    return answer


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 9999),
    view=st.sampled_from([(1, 32, 32), (1, 24, 40), (1, 64, 80), (1, 100, 100)]),
    probabilities=st.booleans(),
    margin=st.sampled_from([0.0, 0.1, 0.15]),
)
def test_at_the_images_scale_the_masks_are_the_truth(seed: int, view: Zyx, probabilities: bool, margin: float) -> None:
    ids = scene(seed)
    answer = run(ids, Numbers(), Bright(view, probabilities), stages(margin=margin))
    numbers = [n for n in range(1, 10) if (ids == n).any()]
    assert answer.scores.tolist() == [1 / (1 + n) for n in numbers], "the detector's order and scores"
    assert all((mask == (ids == n)).all() for n, mask in zip(numbers, masks_of(answer), strict=True))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999))
def test_volumes(seed: int) -> None:
    window = (10, 30, 34)
    ids = scene(seed, window)
    answer = run(ids, Numbers(window), Bright((8, 20, 20)), stages(), window)
    numbers = [n for n in range(1, 10) if (ids == n).any()]
    for number, mask in zip(numbers, masks_of(answer, window), strict=True):
        union = np.count_nonzero(mask | (ids == number))
        fits = all(
            s.stop - s.start <= v
            for s, v in zip(ndimage.find_objects((ids == number).astype(int))[0], (6, 16, 16), strict=True)
        )
        assert (mask == (ids == number)).all() if fits else np.count_nonzero(mask & (ids == number)) > 0.4 * union


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), probabilities=st.booleans())
def test_resized_boxes_give_nearly_the_truth(seed: int, probabilities: bool) -> None:
    ids = scene(seed)
    answer = run(ids > 0, Bound(ids), Bright((1, 96, 96), probabilities), stages(fit="resize"))
    numbers = [n for n in range(1, 10) if (ids == n).any()]
    for number, mask in zip(numbers, masks_of(answer), strict=True):
        both, either = np.count_nonzero(mask & (ids == number)), np.count_nonzero(mask | (ids == number))
        assert both >= 0.8 * either or either - both <= 12


class Bound(Numbers):
    """The detector for images that show objects without their numbers."""

    def __init__(self, ids: np.ndarray) -> None:
        super().__init__(zyx(ids.shape))
        self.ids = ids

    def predict(self, windows: Any, valid: Any) -> Sequence[WindowMasks]:
        return super().predict(self.ids[None, None], valid)


def zyx(shape: Any) -> Zyx:
    z, y, x = shape
    return (z, y, x)


def test_a_whole_factor_loses_nothing() -> None:
    ids = np.zeros(WINDOW, int)
    ids[0, 10:26, 20:36] = 1
    ids[0, 12:14, 22:30] = 0
    answer = run(
        ids,
        Bound(np.pad(np.ones((1, 16, 16), int), ((0, 0), (10, 38), (20, 44)))),
        Bright((1, 48, 48)),
        stages(fit="resize", margin=0),
    )
    assert (masks_of(answer)[0] == (ids == 1)).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), batch=st.integers(1, 12))
def test_neither_the_batch_nor_the_detectors_order_matters(seed: int, batch: int) -> None:
    ids = scene(seed)
    one = run(ids, Numbers(), Bright((1, 32, 32)), stages(batch=3))
    other = run(ids, Numbers(reverse=True), Bright((1, 32, 32)), stages(batch=batch))
    assert other.scores.tolist() == one.scores.tolist()[::-1]
    for a, b in zip(masks_of(one), masks_of(other)[::-1], strict=True):
        assert (a == b).all()


def test_batches_are_of_one_size_and_in_the_order_of_places() -> None:
    ids = scene(3)
    shown = [Bright((1, 32, 32)), Bright((1, 32, 32))]
    for reverse, segmenter in zip((False, True), shown, strict=True):
        run(ids, Numbers(reverse=reverse), segmenter, stages(batch=4))
    boxes = len(np.unique(ids)) - 1
    assert boxes > 4 and boxes % 4
    for segmenter in shown:
        assert [len(windows) for windows, _ in segmenter.batches] == [4] * -(-boxes // 4)
        windows, valid = segmenter.batches[-1]
        assert not windows[boxes % 4 :].any() and not valid[boxes % 4 :].any(), "filled up with what is not real"
    for (a, b), (c, d) in zip(shown[0].batches, shown[1].batches, strict=True):
        assert (a == c).all() and (b == d).all()


def test_what_one_window_shows_does_not_reach_another() -> None:
    first, second = scene(1), scene(2)
    model = TwoStageSegmenter(Numbers(), Bright((1, 32, 32)), stages(), manifest("instance"))
    valid = np.ones((2, *WINDOW), bool)
    together = model.predict(np.stack([first, second])[:, None].astype(np.float32), valid)
    for ids, both in zip((first, second), together, strict=True):
        alone = run(ids, Numbers(), Bright((1, 32, 32)), stages())
        assert all((a == b).all() for a, b in zip(masks_of(both), masks_of(alone), strict=True))


def test_the_largest_part_or_all_of_them() -> None:
    ids, seen = np.zeros(WINDOW, int), np.zeros(WINDOW)
    ids[0, 10:30, 10:40] = 1
    seen[0, 12:20, 12:20] = 1
    seen[0, 22:24, 30:34] = 1
    for part, count in (("largest", 64), ("all", 72)):
        answer = run(seen, Bound(ids), Bright((1, 40, 40)), stages(part=part))
        assert masks_of(answer)[0].sum() == count


def test_a_larger_neighbour_in_the_margin_is_not_taken() -> None:
    ids, box = np.zeros(WINDOW, int), np.zeros(WINDOW, int)
    ids[0, 10:18, 10:18], ids[0, 5:40, 20:40] = 1, 2
    box[ids == 1] = 1
    answer = run(ids, Bound(box), Bright((1, 40, 40)), stages(margin=1.0))
    assert (masks_of(answer)[0] == (ids == 1)).all()


def test_boxes_without_a_mask_are_left_out() -> None:
    ids = scene(5)
    dark = np.where(ids == ids.max(), 0, ids)
    answer = run(dark, Bound(ids), Bright((1, 32, 32)), stages())
    assert len(answer.crops) == len(np.unique(ids)) - 2


def test_the_segmenters_classes() -> None:
    ids, seen = np.zeros(WINDOW, int), np.zeros(WINDOW)
    ids[0, 5:15, 5:15], ids[0, 30:40, 30:40] = 1, 2
    seen[ids == 1], seen[ids == 2] = 0.6, 0.9
    seen[0, 30, 30:35] = 0.6
    answer = run(seen, Bound(ids), Bright((1, 32, 32), levels=(0.5, 0.8)), stages(labels="segmenter"))
    assert answer.labels.tolist() == [0, 1]


def test_channels_of_each_stage() -> None:
    ids = scene(7)
    model = TwoStageSegmenter(
        Numbers(), Bright((1, 32, 32)), stages(detector_bands=(1,), segmenter_bands=(2,)), manifest("instance")
    )
    windows = np.stack([np.zeros(WINDOW), ids, ids > 0])[None].astype(np.float32)
    (answer,) = model.predict(windows, np.ones((1, *WINDOW), bool))
    assert sum(mask.sum() for mask in masks_of(answer)) == np.count_nonzero(ids)


def test_what_is_not_real_is_shown_as_such() -> None:
    ids = np.zeros(WINDOW, int)
    ids[0, 10:20, 10:20] = 1
    valid = np.ones((1, *WINDOW), bool)
    valid[0, 0, 15:] = False
    segmenter = Bright((1, 32, 32))
    model = TwoStageSegmenter(Numbers(), segmenter, stages(), manifest("instance"))
    (answer,) = model.predict(ids[None, None].astype(np.float32), valid)
    assert masks_of(answer)[0].sum() == 50
    assert segmenter.batches[0][1][0].sum() == 15 * 32


class Ids(torch.nn.Module):
    """Label map: the image itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Foreground(torch.nn.Module):
    """Logits of background and of what is above 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - x, x - 0.5], dim=1)


def bundle(folder: Path, network: torch.nn.Module, of: ModelManifest, head: dict[str, Any]) -> str:
    folder.mkdir()
    torch.jit.save(torch.jit.script(network), str(folder / "model.pt"))
    files = (weights_file(folder, "model.pt"),)
    write_bundle(
        ModelBundle(name="m", family="torchscript", manifest=of, card=CARD, weights=files, parameters={"head": head}),
        folder,
    )
    return str(folder)


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-stage bundle of two TorchScript ones: ids of objects in a raster, and what is not 0 in it."""
    folder = tmp_path_factory.mktemp("joined")
    numbers = replace(manifest("instance", (1, 128, 128)), overlap=(0, 32, 32))
    detector = bundle(folder / "a", Ids(), numbers, {"type": "labels"})
    segmenter = bundle(folder / "b", Foreground(), manifest("dense", (1, 64, 64)), {"type": "semantic"})
    join_bundles("pair", detector, segmenter, folder / "out", CARD, {"fit": "native"})
    return folder / "out"


@pytest.mark.parametrize(
    ("detector", "segmenter", "parameters", "expected"),
    [
        ((1,), (4,), {"detector_bands": [0]}, (4,)),
        ((1,), (1,), {"detector_bands": [0], "segmenter_bands": [1]}, ()),
        ((1, 3), (3,), {}, (3,)),
        ((), (), {}, ()),
    ],
)
def test_a_pair_takes_what_both_take_and_not_what_the_detector_says_of_itself(
    tmp_path: Path,
    detector: tuple[int, ...],
    segmenter: tuple[int, ...],
    parameters: dict[str, Any],
    expected: tuple[int, ...],
) -> None:
    first = bundle(tmp_path / "a", Ids(), replace(manifest("instance"), channels=detector), {"type": "labels"})
    second = replace(manifest("dense", (1, 32, 32)), channels=segmenter)
    inside = bundle(tmp_path / "b", Foreground(), second, {"type": "semantic"})
    join_bundles("pair", first, inside, tmp_path / "out", CARD, parameters)
    assert resolve_model(str(tmp_path / "out"), {})[0].channels == expected


def counted(image: Path, model: Path, out: Path, **options: Any) -> list[tuple[float, ...]]:
    sets = [part for name, value in options.items() for part in ("--set", f"{name.replace('__', '.')}={value}")]
    arguments = ["segment", str(image), "--model", str(model), "-o", str(out), "--engine", "inline", *sets]
    assert main(arguments) == 0
    tables = [pq.read_table(path) for path in (out / "tables").rglob("instances/*.parquet")]
    rows = [row for table in tables for row in table.to_pylist()]
    return sorted((row["pixel_count"], row["centroid_y_px"], row["centroid_x_px"]) for row in rows)


def test_through_the_job_with_any_tiles(joined: Path, tmp_path: Path) -> None:
    ids = np.zeros((1, 320, 416), int)  # whole windows: in a mirrored margin a number would show twice
    random = np.random.default_rng(0)
    grid = np.indices(ids.shape)
    for number in range(1, 80):
        centre = [0, random.uniform(0, 320), random.uniform(0, 416)]
        size = random.uniform(3, 14)
        distance = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
        if not ids[distance < (size + 3) ** 2].any():
            ids[distance < size**2] = number
    with rasterio.open(
        tmp_path / "ids.tif", "w", driver="GTiff", height=320, width=416, count=1, dtype="uint8"
    ) as file:
        file.write(ids[0].astype(np.uint8), 1)
    truth = sorted(np.unique(ids[ids > 0], return_counts=True)[1].tolist())
    small = counted(tmp_path / "ids.tif", joined, tmp_path / "small", tiling__tile=128)
    large = counted(tmp_path / "ids.tif", joined, tmp_path / "large", tiling__tile=512)
    assert [row[0] for row in small] == truth
    assert small == large


def test_the_bundle_holds_both(joined: Path) -> None:
    manifest, _ = resolve_model(str(joined), {"margin": 0.2})
    assert manifest.kind == "instance" and manifest.window == (1, 128, 128)
    with pytest.raises(SpecError, match="no such option"):
        resolve_model(str(joined), {"fit": "resize"})


def declared(**more: Any) -> dict[str, Any]:
    planes = {"overlap": [0, 0, 0], "classes": ["thing"]}
    return {
        "detector": {
            "family": "torchscript",
            "manifest": {"kind": "instance", "window": [1, 64, 80], **planes},
            "parameters": {"head": {"type": "labels"}},
        },
        "segmenter": {
            "family": "torchscript",
            "manifest": {"kind": "dense", "window": [1, 32, 32], **planes},
            "parameters": {"head": {"type": "semantic"}},
        },
        **more,
    }


def test_stages_are_read_and_follow_the_jobs_window() -> None:
    read = read_stages(manifest("instance", (1, 96, 96)), declared())
    assert read.detector.manifest.window == (1, 96, 96) and read.segmenter.manifest.window == (1, 32, 32)
    assert read.detector.folder == "detector" and read.batch == 8


WRONG: dict[str, tuple[dict[str, Any], ModelManifest, str]] = {
    "no segmenter": ({"segmenter": None}, manifest("instance"), "segmenter: expected family"),
    "kinds": ({"detector": declared()["segmenter"]}, manifest("instance"), "expected a detector of kind instance"),
    "dense": ({}, manifest("dense"), "give instances"),
    "classes": ({}, manifest("instance", classes=("other",)), "expected the detector's"),
    "normalise": ({}, manifest("instance", normalise="unit"), "both stages need the same"),
    "folder": ({"detector": declared()["detector"] | {"folder": "../x"}}, manifest("instance"), "in the bundle"),
    "nested": (
        {"detector": declared()["detector"] | {"family": "two-stage"}},
        manifest("instance"),
        "two stages itself",
    ),
    "a stage's own parameters": (
        {"detector": declared()["detector"] | {"parameters": {"head": {"type": "labelz"}}}},
        manifest("instance"),
        "labelz",
    ),
    "unknown": ({"margins": 1}, manifest("instance"), "did you mean 'margin'"),
    "volumes": ({}, manifest("instance", (2, 64, 80)), "both stages must see planes"),
}


@pytest.mark.parametrize("what", WRONG)
def test_stages_that_do_not_fit_are_refused(what: str) -> None:
    more, of, message = WRONG[what]
    with pytest.raises(SpecError, match=message):
        read_stages(of, declared(**more))
