"""Resuming after failures and after damage to the run folder: the tables become those of a run without either."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from jobs.verify import verify
from segworkers import rows as rows_module
from segworkers.publishing import PublishWorker
from tests.runs import files, rows, run

FLAKY = """
from pathlib import Path

class Flaky:
    kind, window, overlap, classes = "dense", (1, 64, 64), (0, 0, 0), ("bright",)

    def __init__(self, device, trouble=""):
        self.trouble = Path(trouble) / "now"

    def predict(self, windows):
        if self.trouble.exists() and (windows == 7).any():
            raise RuntimeError("out of memory")
        return (windows[:, 0] > 100).astype("uint8")
"""


@pytest.fixture
def job(tmp_path: Path) -> dict[str, object]:
    """An image of 9 tiles, one of which the model fails on while the file `trouble/now` is there."""
    image = (np.random.default_rng(0).random((192, 192)) < 0.3).astype(np.uint8) * 200
    image[image == 7] = 0
    image[70:74, 70:74] = 7
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", height=192, width=192, count=1, dtype="uint8") as file:
        file.write(image, 1)
    (tmp_path / "flaky.py").write_text(FLAKY)
    return {
        "inputs": [tmp_path / "a.tif"],
        "model": f"python:{tmp_path / 'flaky.py'}:Flaky",
        "options": {"trouble": str(tmp_path / "trouble")},
        "tiling__tile": 64,
    }


def contents(out: Path) -> object:
    """Bytes of the files of `instances` and `images`."""
    return files(out)


def test_what_failed_is_tried_again_and_then_everything_is_there(tmp_path: Path, job: dict[str, object]) -> None:
    run(out=tmp_path / "whole", **job)  # type: ignore[arg-type]
    trouble = tmp_path / "trouble" / "now"
    trouble.parent.mkdir()
    trouble.touch()
    for resume in (False, True, True):  # it fails as often as the cause is there
        summary = run(out=tmp_path / "out", resume=resume, **job)  # type: ignore[arg-type]
        assert summary.pixels_failed == 64 * 64
        assert summary.tiles_resumed == (8 if resume else 0)
        verify(tmp_path / "out", everything=True).raise_if_bad()
    trouble.unlink()
    assert run(out=tmp_path / "out", resume=True, **job).pixels_failed == 0  # type: ignore[arg-type]
    verify(tmp_path / "out", everything=True).raise_if_bad()
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert rows(tmp_path / "out", "failures") == []


@pytest.mark.parametrize("lost", ["ledger", "shards", "both"])
def test_what_was_lost_of_the_run_folder_is_found_or_made_again(
    tmp_path: Path, job: dict[str, object], lost: str
) -> None:
    out = tmp_path / "out"
    run(out=out, **job)  # type: ignore[arg-type]
    before = contents(out)
    shards, ledgers = sorted(out.rglob("shards/*/*.zip")), sorted(out.rglob("ledger/*"))
    for path in [*(shards[:2] if lost != "ledger" else []), *(ledgers if lost != "shards" else [])]:
        path.unlink()
    for _ in range(2):
        summary = run(out=out, resume=True, **job)  # type: ignore[arg-type]
        verify(out, everything=True).raise_if_bad()
        assert contents(out) == before
    assert summary.tiles_resumed == 9


def test_a_finished_run_is_found_not_measured_again(
    tmp_path: Path, job: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(out=tmp_path / "out", **job)  # type: ignore[arg-type]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("measured or sorted again")

    monkeypatch.setattr(rows_module, "rows_of", refuse)
    monkeypatch.setattr(PublishWorker, "_files", refuse)
    assert run(out=tmp_path / "out", resume=True, **job).objects > 0  # type: ignore[arg-type]


def test_where_only_nodata_was_left_counts_are_unknown_not_zero(tmp_path: Path, job: dict[str, object]) -> None:
    """Half of the image is nodata, all the rest fails."""
    image = np.zeros((64, 128), np.uint8)
    image[:, :64] = 7
    with rasterio.open(
        tmp_path / "b.tif", "w", driver="GTiff", height=64, width=128, count=1, dtype="uint8", nodata=0
    ) as file:
        file.write(image, 1)
    trouble = tmp_path / "trouble" / "now"
    trouble.parent.mkdir()
    trouble.touch()
    run(out=tmp_path / "out", **(job | {"inputs": [tmp_path / "b.tif"]}))  # type: ignore[arg-type]
    (row,) = rows(tmp_path / "out", "images")
    assert (row["object_count"], row["classes"], row["valid_area_m2"]) == (None, None, None)
    assert (row["pixels_nodata"], row["pixels_failed"], row["is_lower_bound"]) == (64 * 64, 64 * 64, True)


def test_a_run_folder_inside_the_input_folder_is_no_input(tmp_path: Path, job: dict[str, object]) -> None:
    inputs = {"inputs": [tmp_path]}
    first = run(out=tmp_path / "out", **(job | inputs), output__masks="labels")  # type: ignore[arg-type]
    again = run(out=tmp_path / "out", resume=True, **(job | inputs), output__masks="labels")  # type: ignore[arg-type]
    assert first.sources == again.sources == 1
