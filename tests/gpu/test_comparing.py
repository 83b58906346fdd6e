"""The comparison of devices sees what it is there to see. Runs everywhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from tests import runs
from tests.devices import Allowed, compare
from tests.jobs.published import Rows, change
from tests.segworkers.readers.rasters import write_raster


def picture() -> np.ndarray:
    """Discs of many sizes."""
    y, x = np.mgrid[:120, :160]
    image = np.full((1, 120, 160), 10, np.uint8)
    for cy, cx, r in ((20, 20, 9), (50, 60, 20), (31, 120, 12), (90, 110, 17), (95, 20, 8), (15, 70, 1)):
        image[0][(y - cy) ** 2 + (x - cx) ** 2 <= r * r] = 200
    return image


def run(folder: Path, image: np.ndarray, **sets: Any) -> Path:
    """Inputs of one name in folders of their own would be other sources: they take turns in one place."""
    path = write_raster(folder.parent / "image.tif", image)
    runs.run([path], folder, options={"value": 100}, **sets)
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("runs") / "one", picture())


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "two"))


def test_a_run_agrees_with_itself(done: Path, copy: Path) -> None:
    said = compare(done, copy, Allowed())
    assert (said.objects, said.matched, said.identical, said.marginal) == ((6, 6), 6, 6, 0)
    assert (said.least_iou, said.most_score, said.problems) == (1.0, 0.0, ())
    assert str(said).startswith("6 and 6 objects, 6 matched (6 with the same mask), 0 at a threshold")


def largest(rows: Rows) -> dict[str, Any]:
    return max(rows, key=lambda row: row["pixel_count"])


def without(rows: Rows, row: dict[str, Any]) -> None:
    rows.remove(row)


def moved(rows: Rows) -> None:
    row = largest(rows)
    for name in ("x_min", "x_max"):
        row[name] += 3


DAMAGE: dict[str, tuple[Callable[[Rows], Any], str]] = {
    "an object is missing": (lambda rows: without(rows, largest(rows)), "found on one device only"),
    "an object is there twice": (lambda rows: rows.append(dict(largest(rows))), "found on one device only"),
    "an object has moved": (moved, "expected an IoU of at least 0.95"),
    "an object has another class": (lambda rows: largest(rows).update(label="other"), "on the other device"),
    "a score differs": (lambda rows: largest(rows).update(score=0.75), "expected a score of"),
    "a measure of the same mask differs": (lambda rows: largest(rows).update(area_m2=300.0), "area_m2 is"),
    "an object is of another image": (
        lambda rows: largest(rows).update(source_id="0" * 32),
        "found on one device only",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_differences_are_told(what: str, done: Path, copy: Path) -> None:
    edit, message = DAMAGE[what]
    change(copy, "instances", edit)
    for a, b in ((done, copy), (copy, done)):
        said = compare(a, b, Allowed())
        assert any(message in problem for problem in said.problems)


@pytest.mark.parametrize(
    ("column", "value"), [("object_count", 2), ("pixels_failed", 1), ("status", "partial"), ("mean_score", 0.25)]
)
def test_differences_of_images_are_told(column: str, value: Any, done: Path, copy: Path) -> None:
    change(copy, "images", lambda rows: rows[0].update({column: value}))
    assert any(str(value) in problem for problem in compare(done, copy, Allowed()).problems)


def test_counts_by_class_of_images_are_compared(done: Path, copy: Path) -> None:
    change(copy, "images", lambda rows: rows[0]["classes"][0].update(label="other"))
    assert any("counts" in problem for problem in compare(done, copy, Allowed()).problems)


def test_what_is_at_a_threshold_may_be_missing(done: Path, copy: Path) -> None:
    def smallest(rows: Rows) -> dict[str, Any]:
        return min(rows, key=lambda row: row["pixel_count"])

    assert smallest(runs.rows(done, "instances"))["pixel_count"] == 5
    scored = Path(shutil.copytree(done, copy.parent / "scored"))
    change(scored, "instances", lambda rows: smallest(rows).update(score=0.5004))
    change(copy, "instances", lambda rows: without(rows, smallest(rows)))
    change(copy, "images", lambda rows: (rows[0].update(object_count=5), rows[0]["classes"][0].update(object_count=5)))
    for whole, allowed in ((done, Allowed(least_pixels=3)), (scored, Allowed(least_score=0.5))):
        said = compare(whole, copy, allowed)
        assert (said.marginal, said.problems) == (1, ())
    for whole, allowed in ((done, Allowed(least_pixels=2, least_score=0.5)), (scored, Allowed(least_score=0.51))):
        (problem,) = compare(whole, copy, allowed).problems
        assert "found on one device only" in problem


def test_masks_may_differ_a_little_and_their_measures_with_them(tmp_path: Path) -> None:
    """Real runs of real pictures: one flipped pixel of a large object is rounding, a lost rim is not."""
    first = run(tmp_path / "first", picture())
    flipped, eroded = picture(), picture()
    flipped[0, 30, 60] = 10
    eroded[0] = ndimage.grey_erosion(eroded[0], 3)
    said = compare(first, run(tmp_path / "flipped", flipped), Allowed())
    assert said.problems == () and said.identical == 5 and 0.99 < said.least_iou < 1
    assert not compare(first, tmp_path / "flipped", Allowed(iou=1.0)).problems, "two pixels never count"
    assert compare(first, tmp_path / "flipped", Allowed(iou=1.0, pixels=0, size=0.0)).problems
    rim = compare(first, run(tmp_path / "eroded", eroded), Allowed())
    assert len([problem for problem in rim.problems if "expected an IoU" in problem]) >= 4
    assert any("pixel_count is" in problem for problem in rim.problems)
