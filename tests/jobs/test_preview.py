from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from jobs import bootstrap
from jobs import preview as module
from jobs.preview import find_source, parse_box, preview
from jobs.results import open_results
from schemas.boxes import Box
from schemas.errors import InputError, SpecError
from schemas.sources import Source
from segworkers.readers.base import PixelBlock, Reader
from tests.jobs.published import change
from tests.runs import run


def picture(
    out: Path, path: Path, source: str | None = None, box: str | None = None, max_side: int = 1600
) -> np.ndarray:
    made = preview(open_results(out), bootstrap.reader(), source, box=box, max_side=max_side, path=path)
    return np.asarray(Image.open(made.path))


def coloured(pixels: np.ndarray) -> np.ndarray:
    return pixels.max(axis=-1).astype(int) - pixels.min(axis=-1) > 30


def test_objects_are_coloured_exactly_where_they_are(published: Path, tmp_path: Path):
    found = coloured(picture(published, tmp_path / "a.png", "field.tif")[:120])
    expected = np.zeros((120, 140), bool)
    for y0, x0, y1, x1 in ((10, 10, 30, 40), (50, 60, 90, 70), (100, 5, 101, 6)):
        expected[y0:y1, x0:x1] = True
    np.testing.assert_array_equal(found, expected)


def test_a_box_shows_its_part_pixel_for_pixel(published: Path, tmp_path: Path):
    pixels = picture(published, tmp_path / "a.png", "field.tif", "20,30,60,130")
    assert pixels.shape[1] == 100
    found = coloured(pixels[:40])
    assert found[:10, :10].all() and found[30:40, 30:40].all() and found.sum() == 200


def test_a_reduced_picture_shows_the_same_objects(published: Path, tmp_path: Path):
    pixels = picture(published, tmp_path / "a.png", "field.tif", max_side=35)
    found = coloured(pixels[:30])
    assert pixels.shape[1] == 35
    assert found[4:6, 4:9].all() and found[14:21, 16].all()
    assert found[25, 1], "one pixel of the source, kept where the picture has none for it"


def test_what_was_shown_is_reported(published: Path, tmp_path: Path):
    results = open_results(published)
    made = preview(
        results, bootstrap.reader(), "field.tif", box="0,0,40,140", max_side=1600, path=tmp_path / "new" / "a.png"
    )
    assert made.path == tmp_path / "new" / "a.png" and made.path.is_file()
    assert (made.box, made.counts, made.drawn) == (Box((0, 0, 0), (1, 40, 140)), {"object": 1}, 1)


def test_the_picture_is_named_after_the_source_unless_told(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    made = preview(open_results(published), bootstrap.reader(), "no where.tif", box=None, max_side=100, path=None)
    assert made.path == Path("no where.preview.png")


def test_only_the_largest_objects_are_drawn_where_there_are_too_many(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "MOST_INSTANCES", 1)
    made = preview(
        open_results(published), bootstrap.reader(), "field.tif", box=None, max_side=200, path=tmp_path / "a.png"
    )
    assert made.drawn == 1 and made.counts == {"object": 3}
    assert coloured(np.asarray(Image.open(made.path))[:120]).sum() == 600
    frame = module.Frame(0, 0, 1, 1, 120, 140)
    assert "the 1 largest are drawn" in module._caption("a.tif", frame, {"object": 3}, 1)


def test_a_source_is_found_by_id_uri_name_or_end(published: Path):
    results = open_results(published)
    rows = results.sql("SELECT source_id, source_uri FROM images WHERE source_uri LIKE '%field.tif'").to_pylist()
    uri = rows[0]["source_uri"]
    for name in (rows[0]["source_id"], uri, "field.tif", "ield.tif", f"run0/{Path(uri).name}"):
        assert find_source(results, name) == uri
    assert find_source(results, None) == uri, "the first that did not fail"


def test_an_unknown_source_is_told_with_known_ones(published: Path):
    with pytest.raises(SpecError, match=r"no source is called 'nope'.*field\.tif"):
        find_source(open_results(published), "nope")


def test_an_ambiguous_end_is_refused_and_a_whole_name_wins(broken: Path):
    def rename(rows):
        for row, name in zip(rows, ("/a/x.tif", "/b/x.tif", "/c/yx.tif"), strict=True):
            row["source_uri"] = name

    change(broken, "images", rename)
    results = open_results(broken)
    with pytest.raises(SpecError, match=r"/a/x\.tif, /b/x\.tif; name one in full"):
        find_source(results, "x.tif")
    assert find_source(results, "yx.tif") == "/c/yx.tif"


def test_a_source_that_is_gone_is_an_input_error(published: Path):
    with pytest.raises(InputError):
        preview(open_results(published), bootstrap.reader(), "gone.tif", box=None, max_side=100, path=None)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,x", "5,5,5,9", "9,0,1,9", "1,2,3,4,5"])
def test_a_box_that_is_none_is_refused(text: str):
    with pytest.raises(SpecError, match="expected y0,x0,y1,x1"):
        parse_box(text, (1, 100, 200))


def test_a_box_is_cut_at_the_edges_and_refused_outside():
    assert parse_box("-5,190,20,300", (1, 100, 200)) == Box((0, 0, 190), (1, 20, 200))
    with pytest.raises(SpecError, match="100 rows x 200 columns"):
        parse_box("100,0,120,10", (1, 100, 200))


class Counting:
    """A reader that counts the pixels it was asked for."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.most_read = 0
        self.thumbnails: list[int] = []

    def describe(self, uri: str) -> Source:
        return self.reader.describe(uri)

    def read(self, source: Source, box: Box, bands: tuple[int, ...]) -> PixelBlock:
        self.most_read = max(self.most_read, box.volume)
        return self.reader.read(source, box, bands)

    def thumbnail(self, source: Source, bands: tuple[int, ...], max_side: int) -> PixelBlock:
        self.thumbnails.append(max_side)
        return self.reader.thumbnail(source, bands, max_side)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT of a run over 1,000 x 1,500 RGB pixels with one bright square."""
    folder = tmp_path_factory.mktemp("wide")
    pixels = np.full((3, 1000, 1500), 20, np.uint8)
    pixels[:, 400:500, 600:900] = 200
    with rasterio.open(
        folder / "rgb.tif", "w", driver="GTiff", height=1000, width=1500, count=3, dtype="uint8", tiled=True
    ) as file:
        file.write(pixels)
    run([folder / "rgb.tif"], folder / "out", options={"value": 100}, model__bands=[0])
    return folder / "out"


def test_the_whole_source_and_large_boxes_come_from_the_overviews(wide: Path, tmp_path: Path):
    reader = Counting(bootstrap.reader())
    for box, part in ((None, (slice(80, 100), slice(120, 180))), ("0,500,600,1000", (slice(133, 166), slice(34, 133)))):
        made = preview(
            open_results(wide), reader, None, box=box, max_side=300 if box is None else 200, path=tmp_path / "a.png"
        )
        pixels = np.asarray(Image.open(made.path))
        assert coloured(pixels)[part].all() and coloured(pixels).mean() < 0.4
    assert reader.most_read == 0 and reader.thumbnails == [300, 500]


def test_a_small_box_of_a_large_source_is_read_exactly_and_in_strips(
    wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_STRIP_PIXELS", 3000)
    reader = Counting(bootstrap.reader())
    made = preview(open_results(wide), reader, None, box="350,550,550,800", max_side=50, path=tmp_path / "a.png")
    pixels = np.asarray(Image.open(made.path))[:40]
    assert reader.thumbnails == [] and reader.most_read == 250 * 10
    found = coloured(pixels)
    assert pixels.shape == (40, 50, 3) and found[10:30, 10:].all() and found.sum() == 20 * 40
