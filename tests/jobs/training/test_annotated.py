"""Annotated folders become samples: each format gives the same masks, and what is wrong is said before training."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jobs import bootstrap
from jobs.training.annotated import ReadOptions, cut, parted, read_annotated
from jobs.training.finding import find_annotated
from schemas.boxes import Box
from schemas.errors import SpecError
from tests.annotated import coco, discs, drawn, write_discs


@pytest.mark.parametrize(("kind", "classes"), [("coco", ("small",)), ("geojson", ("small",)), ("labels", ("object",))])
def test_every_format_gives_the_masks_that_were_annotated(tmp_path, kind, classes):
    maps = write_discs(tmp_path, kind=kind)
    read = read_annotated(tmp_path, (), bootstrap.reader(), ReadOptions())
    assert read.classes == classes and read.normalise == "unit" and read.images == len(read.samples) == 4
    assert read.objects == sum(int(labels.max()) for labels in maps)
    for sample, labels in zip(read.samples, maps, strict=True):
        # a polygon of 32 corners is a little smaller than its disc
        assert np.mean((sample.labels > 0) != (labels > 0)) < 0.01
        assert len(np.unique(sample.labels)) == len(np.unique(labels))
        assert sample.image.shape == (1, 128, 128) and sample.image.min() >= 0 and sample.image.max() <= 1


def test_label_rasters_may_lie_beside_their_images(tmp_path):
    picture, labels = drawn(discs(np.random.default_rng(1)), np.random.default_rng(1))
    for name in ("a", "a_2"):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
        Image.fromarray(labels.astype(np.uint8)).save(tmp_path / f"{name}_mask.png")
    images, annotations = find_annotated(tmp_path, ())
    assert [each.name for each in images] == ["a.png", "a_2.png"]
    assert [each.name for each in annotations] == ["a_2_mask.png", "a_mask.png"]
    read = read_annotated(tmp_path, (), bootstrap.reader(), ReadOptions())
    assert all(np.array_equal(sample.labels > 0, labels > 0) for sample in read.samples)


def test_models_and_runs_in_the_folder_are_no_annotations(tmp_path):
    write_discs(tmp_path)
    expected = find_annotated(tmp_path, ())
    for name, mark in (("cells", "model.json"), ("out", "run.json")):
        (tmp_path / name / "masks").mkdir(parents=True)
        for file in (mark, "training.csv", "masks/a.geojson"):
            (tmp_path / name / file).write_text("{}")
    assert find_annotated(tmp_path, ()) == expected


def test_an_image_without_annotations_is_named(tmp_path):
    write_discs(tmp_path, kind="labels")
    (tmp_path / "plate_2_labels.tif").unlink()
    with pytest.raises(SpecError, match=r"no annotations for 1 of 4 images: .*plate_2\.png"):
        read_annotated(tmp_path, (), bootstrap.reader(), ReadOptions())


def test_an_image_that_coco_lists_without_objects_is_background(tmp_path):
    write_discs(tmp_path)
    path = tmp_path / "annotations.json"
    body = json.loads(path.read_text())
    body["annotations"] = [each for each in body["annotations"] if each["image_id"] != 3]
    path.write_text(json.dumps(body))
    read = read_annotated(tmp_path, (), bootstrap.reader(), ReadOptions())
    assert not read.samples[3].labels.any() and read.samples[2].labels.any()


def test_classes_that_were_not_asked_for_are_refused(tmp_path):
    rng = np.random.default_rng(2)
    (tmp_path / "images").mkdir()
    placed = discs(rng)
    Image.fromarray(drawn(placed, rng)[0]).save(tmp_path / "images" / "a.png")
    kinds = [1 + k % 2 for k in range(len(placed))]
    (tmp_path / "a.json").write_text(json.dumps(coco(["a.png"], [placed], [kinds])))
    with pytest.raises(SpecError, match=r"name the classes large, expected small; add them to --classes"):
        read_annotated(tmp_path, (), bootstrap.reader(), ReadOptions(classes=("small",)))
    read = read_annotated(tmp_path, (), bootstrap.reader(), ReadOptions(classes=("small", "large")))
    (sample,) = read.samples
    assert sample.classes is not None and sorted(sample.classes) == sorted(kind - 1 for kind in kinds)


def test_polygons_outside_their_image_are_refused(tmp_path):
    write_discs(tmp_path)
    path = tmp_path / "annotations.json"
    body = json.loads(path.read_text())
    body["annotations"][0] |= {"id": 77, "segmentation": [[500, 500, 520, 500, 520, 520]]}
    path.write_text(json.dumps(body))
    with pytest.raises(SpecError, match=r"plate_0\.png: 1 annotations have no pixel of the image's 128 x 128.*: 77"):
        read_annotated(tmp_path, (), bootstrap.reader(), ReadOptions())


def test_crowds_teach_nothing(tmp_path):
    write_discs(tmp_path, images=1)
    path = tmp_path / "annotations.json"
    body = json.loads(path.read_text())
    body["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(body))
    (sample,) = read_annotated(tmp_path, (), bootstrap.reader(), ReadOptions()).samples
    assert sample.ignored is not None and sample.ignored.sum() > 100 and not sample.labels[sample.ignored].any()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "annotations.json").unlink(), "expected annotations beside the images"),
        (lambda folder: [each.unlink() for each in (folder / "images").iterdir()], "expected images"),
        (lambda folder: (folder / "annotations.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "images" / "plate_1.png").write_bytes(b"no png"), "plate_1.png"),
    ],
)
def test_broken_folders_are_refused(tmp_path, break_it, message):
    write_discs(tmp_path)
    break_it(tmp_path)
    with pytest.raises(SpecError, match=message):
        read_annotated(tmp_path, (), bootstrap.reader(), ReadOptions())


def test_a_file_is_no_folder(tmp_path):
    with pytest.raises(SpecError, match="expected a folder with images and annotations, found nothing"):
        read_annotated(tmp_path / "none", (), bootstrap.reader(), ReadOptions())


@given(st.integers(1, 5000), st.integers(1, 5000), st.one_of(st.none(), st.floats(0.05, 0.95)))
def test_pieces_cover_the_image_and_no_piece_crosses_a_cut(height, width, share):
    whole = Box.of_shape((1, height, width))
    if share is not None and max(height, width) < 40:
        share = None
    seen = [np.zeros(side, bool) for side in (height, width)]
    for part in parted(whole, share):
        for box in cut(part):
            assert box in part and max(box.shape) <= 1024
            for axis in (0, 1):
                seen[axis][box.start[axis + 1] : box.stop[axis + 1]] = True
    assert all(each.all() for each in seen)
    if share is not None:
        first, second = parted(whole, share)
        assert (first & second) is None
