"""The page of an evaluation in a real browser: its pictures, what it asks the network for, how its tables look."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.cli import main
from tests.browsers import look_at, needs_chromium
from tests.jobs.evaluation.scenes import found_labels, segmented, true_labels, write_truth


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    truth = true_labels()
    out = segmented(folder / "run", {"scene.tif": found_labels(truth)})
    assert main(["evaluate", str(out), str(write_truth(folder, "tiff32", truth)), "-o", str(folder / "made")]) == 0
    return folder / "made" / "index.html"


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("width", [1280, 1000])
def test_a_browser_shows_every_picture_and_every_figure_unbroken_and_asks_for_nothing(page: Path, width: int):
    seen = look_at(page, width)
    assert seen.pictures == page.read_text().count("<img ") > 4 and seen.broken == 0
    assert seen.requested == [] and seen.complaints == []
    assert seen.figures > 20 and seen.torn == [] and seen.too_wide <= 0


@pytest.mark.slow
@needs_chromium
def test_the_browser_notices_what_is_wrong_with_a_page(tmp_path: Path):
    stream = io.BytesIO()
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(stream, "PNG")
    good, torn = (base64.b64encode(png).decode() for png in (stream.getvalue(), stream.getvalue()[:40]))
    (tmp_path / "bad.html").write_text(
        f'<!doctype html><img src="data:image/png;base64,{good}"><img src="data:image/png;base64,{torn}">'
        '<img src="http://127.0.0.1:9/x.png"><script>console.log(1); nothing()</script>'
        '<p style="width:4em">F1 <span class="figure">0.967 (0.893–1.000)</span></p><div style="width:3000px">x</div>'
    )
    seen = look_at(tmp_path / "bad.html")
    assert (seen.pictures, seen.broken, seen.requested) == (3, 2, ["http://127.0.0.1:9/x.png"])
    assert len(seen.complaints) >= 3 and seen.torn == ["0.967 (0.893–1.000)"] and seen.too_wide > 1000


def test_intervals_stand_below_their_figures(page: Path):
    text = page.read_text()
    assert "<small>0." in text and "images" not in text.split("<h2>")[0] and "in 1 image:" in text
