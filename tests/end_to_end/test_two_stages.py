"""Models of two stages in whole jobs, with stand-ins for both networks: the organ once a series, then lesions in it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from jobs.results import open_results
from jobs.stages import RunSummary
from jobs.verify import verify
from jobs.verify_ledger import counts
from schemas.models import ModelManifest
from segworkers import model_pixels
from segworkers.priors import box_in
from segworkers.segmenters import bundles, loading
from segworkers.segmenters.base import DenseMaps, Segmenter
from segworkers.segmenters.model_spec import BundlePlace, ModelSpec
from segworkers.segmenters.two_stage import ORGAN, OUTSIDE
from tests import runs
from tests.decodings import count_decodings
from tests.dicom_files import Layout, Phantom
from tests.volume_truth import World, painted

LESION, ELSEWHERE = 150, -80
SHAPE = (20, 44, 48)
LAYOUT = Layout(shape=SHAPE)

FIRST = ModelManifest(
    name="tiny-organ",
    kind="dense",
    window=(30, 40, 40),
    overlap=(0, 0, 0),
    context=(1, 1, 1),
    classes=("organ",),
    spacing=(2.5, 2.0, 2.0),
    orientation="RAS",
    modalities=("CT",),
)
SECOND = ModelManifest(
    name="tiny-lesions",
    kind="dense",
    window=(4, 10, 10),
    overlap=(0, 0, 0),
    context=(1, 2, 2),
    classes=("lesion",),
    orientation="RAS",
    modalities=("CT",),
    connectivity=26,
)


@dataclass
class Calls:
    """What the stand-ins were asked."""

    first: int = 0
    second: int = 0
    outside: int = 0
    """Windows shown to the second model that hold nothing of the organ's surroundings."""


@dataclass
class Organ:
    """Whatever is brighter than air."""

    manifest: ModelManifest
    calls: Calls

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> DenseMaps:
        self.calls.first += 1
        return DenseMaps(((windows[:, 0] > 0) & valid)[:, 1:-1, 1:-1, 1:-1].astype(np.uint8), None)


@dataclass
class Lesions:
    """What is bright within the organ."""

    manifest: ModelManifest
    calls: Calls

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> DenseMaps:
        assert windows.shape[1:] == (2, *self.manifest.shown)
        values, codes = windows[:, 0], windows[:, 1]
        self.calls.second += len(windows)
        self.calls.outside += int((codes == OUTSIDE).all(axis=(1, 2, 3)).sum())
        found = (values > 100) & (codes == ORGAN) & valid
        return DenseMaps(found[:, 1:-1, 2:-2, 2:-2].astype(np.uint8), None)


def lesions(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbered: those in the organ."""
    organ, _ = ndimage.label(values > 0)
    largest = np.bincount(organ.ravel())[1:].argmax() + 1
    numbered, _ = ndimage.label((values == LESION) & (organ == largest), np.ones((3, 3, 3)))
    return numbered


def body() -> NDArray[np.int64]:
    """Calibrated values (z, y, x): an organ with two lesions, and something as bright that is no part of it."""
    places = LAYOUT.positions()
    values = Phantom(centre=(14.0, -45.0, 80.0), semi_axes=(15.0, 12.0, 17.0)).values(places)
    for centre, axes in (((8, -45, 78), (5, 4, 6)), ((19, -48, 84), (3, 5, 4)), ((14, -64, 80), (3, 2, 4))):
        lesion = Phantom(centre=centre, semi_axes=axes, inside=1, outside=0).values(places)
        values[lesion > 0] = LESION
    return np.rint(values).astype(np.int64)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    """Registers the stand-ins as published models; what they are asked is counted."""
    told = Calls()
    prior = {"reference": FIRST.name, "region": "whole", "opened": False, "margin": [1, 2, 2]}
    for manifest, like, parameters in ((SECOND, "liver-lesions", {"prior": prior}), (FIRST, "liver", {})):
        own, folder = bundles.open_bundle(like).definition, tmp_path / "bundles" / manifest.name
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(manifest.name.encode())
        stand_in = replace(
            own,
            name=manifest.name,
            manifest=manifest,
            parameters={"weights": "weights", **parameters},
            weights=(bundles.weights_file(folder, "weights"),),
            codes={},
        )
        bundles.write_bundle(stand_in, folder)
    monkeypatch.setattr(bundles, "SHIPPED", tmp_path / "bundles")

    def loaded(_place: BundlePlace, spec: ModelSpec, manifest: ModelManifest) -> Segmenter:
        return (Organ if spec.reference == FIRST.name else Lesions)(manifest, told)

    monkeypatch.setattr(loading, "load_bundle", loaded)
    return told


def archive(folder: Path, **layouts: Layout) -> Path:
    """The body as a CT series for each study."""
    for study, layout in layouts.items():
        values = body() if layout.shape == SHAPE else np.full(layout.shape, ELSEWHERE)
        World(values=values, layout=layout, study={"study": study}).save(folder / study)
    return folder


def run(folder: Path, out: Path, *, resume: bool = False, **sets: Any) -> RunSummary:
    return runs.run([folder], out, SECOND.name, resume=resume, dicom__crosswalk=str(folder) + ".ids", **sets)


def windows_at_the_organ(path: Path) -> int:
    """How many windows it takes to cover the box around the organ that is kept there."""
    around = box_in(path.read_bytes())
    assert around is not None
    return prod(-(-side // window) for side, window in zip(around.shape, SECOND.window, strict=True))


def test_lesions_are_found_in_the_organ_which_is_found_once(calls: Calls, tmp_path: Path) -> None:
    folder = archive(tmp_path / "in", one=LAYOUT, two=LAYOUT)
    run(folder, tmp_path / "cells", tiling__tile=1)
    assert calls.first == 2
    windows = [windows_at_the_organ(path) for path in (tmp_path / "cells" / "priors").iterdir()]
    assert calls.second == sum(windows) < 2 * 5 * 5 * 5
    assert sum(row["windows"] for row in runs.rows(tmp_path / "cells", "tiles")) == sum(windows)
    assert calls.outside == 0
    run(folder, tmp_path / "whole")
    assert runs.files(tmp_path / "cells") == runs.files(tmp_path / "whole")
    rows = runs.rows(tmp_path / "whole", "instances")
    truth = lesions(body())
    for source in {row["source_id"] for row in rows}:
        image = painted([row for row in rows if row["source_id"] == source], SHAPE)
        # The organ's mask comes from a coarser grid, so that its outermost voxels may differ: lesions lie deeper.
        assert np.array_equal(image > 0, truth > 0)
        assert len(np.unique(image)) == len(np.unique(truth)) == 3
    verify(tmp_path / "cells", everything=True).raise_if_bad()


def test_a_resumed_run_does_not_look_for_the_organ_again(calls: Calls, tmp_path: Path) -> None:
    folder = archive(tmp_path / "in", one=LAYOUT, two=LAYOUT)
    run(folder, tmp_path / "out", tiling__tile=1)
    organs = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "priors").iterdir()}
    assert len(organs) == 2
    tables = runs.files(tmp_path / "out")
    summary = run(folder, tmp_path / "out", resume=True)  # other tiles: everything but the organ is done again
    assert (summary.tiles_resumed, calls.first) == (0, 2)
    next(iter(organs)).unlink()
    run(folder, tmp_path / "out", resume=True)
    assert calls.first == 3
    assert {path.name for path in organs} == {path.name for path in (tmp_path / "out" / "priors").iterdir()}
    assert runs.files(tmp_path / "out") == tables


def test_a_volume_whose_organ_cannot_be_looked_for_fails_alone(calls: Calls, tmp_path: Path) -> None:
    tall = Layout(shape=(34, 44, 48))
    sagittal = Layout(shape=(20, 30, 30), iop=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
    folder = archive(tmp_path / "in", one=LAYOUT, tall=tall, sagittal=sagittal)
    summary = run(folder, tmp_path / "out")
    assert (summary.failed_inputs, summary.objects) == (2, 2)
    failures = {row["reason"]: row for row in runs.rows(tmp_path / "out", "failures")}
    assert set(failures) == {"region_too_large", "wrong_orientation"}
    assert all(row["scope"] == "input" for row in failures.values())
    statuses = [(row["status"], row["reason"], row["pixels"]) for row in runs.rows(tmp_path / "out", "images")]
    assert sorted(statuses, key=repr) == sorted(
        [("done", None, 20 * 44 * 48), ("failed", "region_too_large", None), ("failed", "wrong_orientation", None)],
        key=repr,
    )
    verify(tmp_path / "out", everything=True).raise_if_bad()


def test_a_first_stage_that_breaks_fails_its_volume(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Organ, windows: NDArray[Any], _valid: NDArray[np.bool_]) -> DenseMaps:
        raise RuntimeError(f"{windows.shape}: no memory left")

    folder = archive(tmp_path / "in", one=LAYOUT)
    monkeypatch.setattr(Organ, "predict", broken)
    summary = run(folder, tmp_path / "out")
    assert (summary.failed_inputs, summary.objects, calls.second) == (1, 0, 0)
    (failure,) = runs.rows(tmp_path / "out", "failures")
    assert (failure["scope"], failure["reason"]) == ("input", "worker_error")


def bodies(folder: Path) -> Path:
    """A series with organ and lesions, one with an organ that has none, and two without an organ."""
    values = body()
    clean = np.where(values == LESION, values[values > 0].min(), values)
    nothing = np.full(SHAPE, ELSEWHERE)
    for study, shown in {"found": values, "clean": clean, "head": nothing, "foot": nothing}.items():
        World(values=shown, layout=LAYOUT, study={"study": study}).save(folder / study)
    return folder


def test_a_series_without_the_organ_is_told_from_one_with_a_clean_organ(calls: Calls, tmp_path: Path) -> None:
    events = runs.Recorder()
    summary = run(bodies(tmp_path / "in"), tmp_path / "out", events=events)
    assert (summary.failed_inputs, summary.objects, calls.first) == (0, 2, 4), "a head scan is no failure"
    known = ("status", "reason", "is_lower_bound", "object_count", "mean_score", "seam_verdict", "assembled_count")
    images = runs.rows(tmp_path / "out", "images")
    lacking = [row for row in images if row["reason"] == "no_organ"]
    assert sorted(row["object_count"] for row in images if row not in lacking) == [0, 2]
    assert all((row["reason"], row["is_lower_bound"]) == (None, False) for row in images if row not in lacking)
    assert [[row[name] for name in known] for row in lacking] == [["done", "no_organ", True, *[None] * 4]] * 2
    assert [row["classes"] for row in lacking] == [None, None]
    assert [row["pixels_empty"] for row in lacking] == [int(np.prod(SHAPE))] * 2
    said = [text for text in events.warnings if "no_organ" in text]
    assert len(said) == 1 and said[0].startswith("2 of 4 volumes: ")
    assert runs.rows(tmp_path / "out", "failures") == []
    query = "SELECT object_count, volume_mm3 > 0 AS any FROM per_series ORDER BY ALL"
    series: list[dict[str, Any]] = open_results(tmp_path / "out").sql(query).to_pylist()
    unknown = {"object_count": None, "any": None}
    assert series == [{"object_count": 0, "any": False}, {"object_count": 2, "any": True}, unknown, unknown]
    verify(tmp_path / "out", everything=True).raise_if_bad()


def test_a_series_without_the_organ_is_said_again_by_a_resumed_run_and_by_other_tiles(
    calls: Calls, tmp_path: Path
) -> None:
    folder, again = bodies(tmp_path / "in"), runs.Recorder()
    run(folder, tmp_path / "out")
    tables = runs.files(tmp_path / "out")
    run(folder, tmp_path / "out", resume=True, events=again)
    assert calls.first == 4
    assert [text for text in again.warnings if "no_organ" in text] != []
    run(folder, tmp_path / "cells", tiling__tile=1)
    assert runs.files(tmp_path / "out") == runs.files(tmp_path / "cells") == tables


def test_no_files_say_that_a_series_without_the_organ_has_no_lesions(calls: Calls, tmp_path: Path) -> None:
    run(bodies(tmp_path / "in"), tmp_path / "out", output__nifti=True, output__seg="binary", output__sr=True)
    lacking = {row["source_id"] for row in runs.rows(tmp_path / "out", "images") if row["reason"] == "no_organ"}
    written = {entry["source_id"] for entry in json.loads((tmp_path / "out" / "current.json").read_text())["outputs"]}
    assert len(lacking) == 2 and written and not written & lacking


def test_verify_finds_a_count_that_nobody_can_know(calls: Calls, tmp_path: Path) -> None:
    run(bodies(tmp_path / "in"), tmp_path / "out")
    connection = open_results(tmp_path / "out").connect()
    connection.execute(
        "CREATE TABLE forged AS SELECT * REPLACE (CASE WHEN reason = 'no_organ' THEN 0 ELSE object_count END AS "
        "object_count) FROM images"
    )
    connection.execute("CREATE OR REPLACE VIEW images AS SELECT * FROM forged")
    problems: list[str] = []
    counts(connection, problems)
    assert sum("no_organ" in problem for problem in problems) == 2


def test_slices_are_decoded_once_for_each_stage(calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_pixels, "READ_VOXELS", 1)
    told = count_decodings(monkeypatch, 2 * SECOND.context[0] + 1, SHAPE[1] * SHAPE[2] * 2)
    folder = archive(tmp_path / "in", one=LAYOUT)
    run(folder, tmp_path / "out", tiling__memory="500.7MB")
    tiles = runs.rows(tmp_path / "out", "tiles")
    assert {(row["y_min"], row["y_max"], row["x_min"], row["x_max"]) for row in tiles} == {(0, 44, 0, 48)}
    assert len(tiles) > 2 and calls.second > 0
    assert told.of("first stage") == told.of("segment") == dict.fromkeys(range(SHAPE[0]), 1)
    held = [(row["z_min"], row["z_max"]) for row in runs.rows(tmp_path / "out", "instances")]
    assert told.of("rows") == dict.fromkeys(sorted({z for low, high in held for z in range(low, high)}), 1)
    assert len(told.of("rows")) < SHAPE[0]
