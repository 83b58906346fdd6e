"""The demo's images: truth that matches the pixels, built once. Offline, on a small archive made here."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from jobs import demo_data
from jobs.demo_data import prepare_aerial, prepare_demo, prepare_mosaic
from jobs.demo_mosaic import DUPLICATES, WHITE, arrange, label_mask, read_images, scale
from schemas.errors import InputError

VOC = "<annotation>{}</annotation>"
TREE = "<object><name>Tree</name><bndbox><xmin>3</xmin><ymin>1</ymin><xmax>9</xmax><ymax>6</ymax></bndbox></object>"


def encoded(array: NDArray[np.generic], kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind)
    return out.getvalue()


def mask_of(shape: tuple[int, int], squares: list[tuple[int, int]]) -> NDArray[np.uint8]:
    """RGBA, opaque 5 x 5 squares."""
    rgba = np.zeros((*shape, 4), np.uint8)
    for y, x in squares:
        rgba[y : y + 5, x : x + 5] = 255
    return rgba


@pytest.fixture
def microscopy(tmp_path: Path) -> Path:
    """Two images of the training and test splits with 2 and 3 nuclei, and the known duplicate."""
    members = {
        "mnfinder/training-data/day/images/1.tif": ((40, 50), [(2, 2), (20, 30)]),
        "mnfinder/test-data/day/images/a.lif - 1.tif": ((30, 30), [(0, 0), (0, 6), (25, 25)]),
        DUPLICATES[0]: ((40, 50), [(2, 2)]),
    }
    path = tmp_path / "microscopy.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, (shape, squares) in members.items():
            rgba = mask_of(shape, squares)
            image = np.where(rgba[..., 3] > 0, 5000, 300).astype(np.uint16)
            archive.writestr(name, encoded(image, "TIFF"))
            archive.writestr(name.replace("images", "nucleus_masks").replace(".tif", ".png"), encoded(rgba, "PNG"))
    return path


def test_truth_lies_under_the_nuclei_of_the_mosaic_and_is_numbered_without_gaps(
    microscopy: Path, tmp_path: Path
) -> None:
    image, placements = prepare_mosaic(microscopy, tmp_path / "out", lambda line: None)
    assert image.truth_count == 5
    assert [(p.split, p.count) for p in placements] == [("training", 2), ("test", 3)]
    with rasterio.open(image.uri) as mosaic, rasterio.open(image.truth_uri) as truth:
        pixels, labels = mosaic.read(1), truth.read(1)
        assert mosaic.crs is None
        assert mosaic.block_shapes == truth.block_shapes == [(512, 512)]
        assert (mosaic.dtypes[0], truth.dtypes[0]) == ("uint16", "uint32")
    assert sorted(np.unique(labels)) == [0, 1, 2, 3, 4, 5]
    assert np.array_equal(pixels == WHITE, labels > 0)
    assert ndimage.label(labels > 0)[1] == 5
    for placement in placements:
        _, rows, columns = placement.box.within((0, 0, 0))
        assert len(np.unique(labels[rows, columns])) == placement.count + 1


def test_the_mosaic_is_built_once_and_again_after_an_interruption(microscopy: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    folder = tmp_path / "out"
    first = prepare_mosaic(microscopy, folder, lines.append)
    assert prepare_mosaic(microscopy, folder, lines.append) == first
    assert len(lines) == 1
    (folder / "mosaic.json").unlink()
    assert prepare_mosaic(microscopy, folder, lines.append) == first
    assert len(lines) == 2
    assert sorted(p.name for p in folder.iterdir()) == ["mosaic.json", "nuclei_mosaic.tif", "nuclei_truth.tif"]


def test_an_older_recipe_is_built_anew(microscopy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    prepare_mosaic(microscopy, tmp_path / "out", lines.append)
    monkeypatch.setattr(demo_data, "_RECIPE", -1)
    prepare_mosaic(microscopy, tmp_path / "out", lines.append)
    assert len(lines) == 2


def test_a_diagonal_gap_keeps_touching_nuclei_apart() -> None:
    rgba = np.full((4, 4, 4), 255, np.uint8)
    rgba[np.arange(4), np.arange(4)] = 0
    assert label_mask(rgba)[1] == 2


def test_images_come_by_split_then_name_without_the_duplicate(microscopy: Path) -> None:
    assert [image.name for image in read_images(microscopy)] == [
        "mnfinder/training-data/day/images/1.tif",
        "mnfinder/test-data/day/images/a.lif - 1.tif",
    ]


@given(st.lists(st.tuples(st.integers(1, 90), st.integers(1, 80)), min_size=1, max_size=12))
def test_images_keep_their_margins(shapes: list[tuple[int, int]]) -> None:
    boxes, extent = arrange(shapes, width=100, margin=4)
    assert [box.shape[1:] for box in boxes] == shapes
    for k, box in enumerate(boxes):
        assert box.grow((0, 4, 4)) in extent
        assert all(box.grow((0, 4, 4)) & other is None for other in boxes[:k])


def test_an_image_wider_than_the_mosaic_is_refused() -> None:
    with pytest.raises(ValueError, match="wider than the mosaic"):
        arrange([(10, 95)], width=100, margin=4)


def test_scaling_uses_the_images_own_percentiles() -> None:
    ramp = np.arange(1001, dtype=np.uint16).reshape(7, 143) * 3 + 40
    scaled = scale(ramp)
    assert (scaled.min(), scaled.max()) == (0, WHITE)
    assert np.array_equal(scaled, scale(ramp * 2 + 7))
    assert not scale(np.full((3, 3), 9, np.uint8)).any()


def test_aerial_images_are_unpacked_as_they_are_with_their_counts(tmp_path: Path) -> None:
    path = tmp_path / "aerial.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for k, entry in enumerate(demo_data._AERIAL):
            archive.writestr(f"deepforest/data/{entry.image}", f"image {k}")
            archive.writestr(f"deepforest/data/{entry.annotations}", VOC.format(TREE * (k + 1)))
        archive.writestr("deepforest/data/unrelated.txt", "")
    images = prepare_aerial(path, tmp_path / "out")
    assert [image.truth_count for image in images] == [1, 2, 3, 4]
    assert [Path(image.uri).read_text() for image in images] == ["image 0", "image 1", "image 2", "image 3"]
    assert demo_data.read_crowns(Path(images[0].truth_uri)) == [(1, 3, 6, 9)]
    assert not (tmp_path / "out" / "unrelated.txt").exists()


def test_without_network_the_demo_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(InputError, match=demo_data.DEEPFOREST.filename) as caught:
        prepare_demo(tmp_path / "cache", lambda line: None)
    assert str(tmp_path / "cache" / "archives") in str(caught.value)


@pytest.mark.network
def test_the_published_packages_hold_what_the_documentation_says(tmp_path: Path) -> None:
    data = prepare_demo(tmp_path)
    counts = {image.name: image.truth_count for image in data.images}
    assert counts == {"OSBS_029": 61, "SOAP_061": 37, "YELL_541000": 279, "YELL_528000": 574, "nuclei_mosaic": 2898}
    assert len(data.placements) == 48
    with rasterio.open(data.mosaic.uri) as mosaic, rasterio.open(data.aerial[0].uri) as aerial:
        assert mosaic.shape == (6016, 6144)
        assert aerial.crs.to_epsg() == 32617


def test_the_documentation_names_the_pinned_packages() -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    for archive in demo_data.ARCHIVES:
        assert f"| `{archive.filename}` | {archive.size:,} B | `{archive.sha256}` |" in text
    for entry in demo_data._AERIAL:
        assert f"`{entry.image}`" in text
