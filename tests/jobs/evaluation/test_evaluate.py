from __future__ import annotations

import base64
import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rasterio.transform import Affine
from scipy.ndimage import label

from jobs.cli import main
from tests.jobs.evaluation.scenes import (
    SIDE,
    WHERE,
    coco_of,
    found_labels,
    frame_of,
    segmented,
    true_labels,
    write_raster,
    write_truth,
)
from tests.runs import rows as table_rows
from tests.runs import run, user_model
from tests.segworkers.evaluation.worlds import best_total, dense_iou

TRUTH = true_labels()
FOUND = found_labels(TRUTH)


def evaluated(out: Path, truth: Path | list[Path], folder: Path, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and the rows of metrics."""
    paths = [str(path) for path in (truth if isinstance(truth, list) else [truth])]
    code = main(["evaluate", str(out), *paths, "-o", str(folder), *options])
    made = folder / "metrics.json"
    return code, json.loads(made.read_text()) if made.exists() else []


def of_all(rows: list[dict[str, Any]], iou: float = 0.5) -> dict[str, Any]:
    (row,) = [row for row in rows if row["scope"] == "all" and row["iou"] == iou]
    return row


def objects(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "objects.parquet").to_pylist()


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of most tests are looked at by nobody."""
    monkeypatch.setattr("jobs.evaluation.examples.MOST_PICTURES", 3)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT of a run over one image on the map."""
    return segmented(tmp_path_factory.mktemp("scene"), {"scene.tif": FOUND})


@pytest.fixture(scope="module")
def expected(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("expected")
    code, rows = evaluated(scene, write_truth(folder, "tiff32", TRUTH), folder / "made")
    assert code == 0
    return rows


def test_figures_are_those_of_whole_images(expected: list[dict[str, Any]]):
    compact = [np.unique(image, return_inverse=True)[1].reshape(1, SIDE, SIDE) for image in (FOUND, TRUTH)]
    iou = dense_iou(compact[0], compact[1])
    for threshold in (0.5, 0.7, 0.8, 0.9):
        matched, total = best_total(iou, threshold)
        row = of_all(expected, threshold)
        assert (row["predicted_count"], row["true_count"], row["matched"]) == (*iou.shape, matched)
        assert row["precision"] == pytest.approx(matched / iou.shape[0])
        assert row["recall"] == pytest.approx(matched / iou.shape[1])
        assert row["mean_iou"] == (None if not matched else pytest.approx(total / matched))
    assert 0.3 < of_all(expected)["f1"] < 0.95 and of_all(expected)["count_error"] == iou.shape[0] - iou.shape[1]


@pytest.mark.parametrize("kind", ["png16", "coco string", "coco counts", "geojson", "geojson utm", "gpkg"])
def test_every_format_gives_the_same_figures(kind: str, scene: Path, expected: list[dict[str, Any]], tmp_path: Path):
    options = ["--any-class"] if kind.startswith("geo") or kind == "gpkg" else []
    code, rows = evaluated(scene, write_truth(tmp_path, kind, TRUTH), tmp_path / "made", *options)
    assert code == 0 and rows == expected


def test_polygons_of_coco_are_filled(scene: Path, tmp_path: Path):
    filled = TRUTH.copy()
    for value in np.unique(TRUTH)[1:]:
        y, x = np.nonzero(value == TRUTH)
        filled[y.min() : y.max() + 1, x.min() : x.max() + 1] = value
    _, rows = evaluated(scene, write_truth(tmp_path, "coco polygon", TRUTH), tmp_path / "a")
    _, same = evaluated(scene, write_truth(tmp_path, "tiff32", filled), tmp_path / "b")
    assert rows == same


def test_boxes_are_compared_where_only_boxes_are_known(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write_truth(tmp_path, "coco box", TRUTH)
    assert evaluated(scene, path, tmp_path / "no")[0] == 2
    assert "--boxes" in capsys.readouterr().err
    code, rows = evaluated(scene, path, tmp_path / "a", "--boxes", "--iou", "0.4")
    assert code == 0 and [row["iou"] for row in rows if row["scope"] == "all"] == [0.4]
    _, same = evaluated(scene, write_truth(tmp_path, "png16", TRUTH), tmp_path / "b", "--boxes", "--iou", "0.4")
    assert rows == same, "boxes of masks"
    found, true = (
        np.array(
            [
                [y.min(), x.min(), y.max() + 1, x.max() + 1]
                for k in np.unique(image)[1:]
                for y, x in [np.nonzero(image == k)]
            ]
        )
        for image in (FOUND, TRUTH)
    )
    low, high = np.maximum(found[:, None, :2], true[None, :, :2]), np.minimum(found[:, None, 2:], true[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    area = [np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (found, true)]
    assert of_all(rows, 0.4)["matched"] == best_total(shared / (area[0][:, None] + area[1] - shared), 0.4)[0]


def test_tables_say_what_became_of_each_object(scene: Path, tmp_path: Path):
    _, rows = evaluated(scene, write_truth(tmp_path, "tiff32", TRUTH), tmp_path / "made")
    listed = objects(tmp_path / "made")
    row = of_all(rows)
    for side, state, count in (
        ("prediction", "matched", row["matched"]),
        ("truth", "matched", row["matched"]),
        ("prediction", "false positive", row["false_positives"]),
        ("truth", "missed", row["misses"]),
    ):
        assert sum((each["side"], each["state"]) == (side, state) for each in listed) == count
    ids = {each["instance_id"] for each in table_rows(scene, "instances")}
    assert {each["name"] for each in listed if each["side"] == "prediction"} == ids
    partners = {each["name"]: each["partner"] for each in listed if each["partner"]}
    assert all(partners[partner] == name for name, partner in partners.items())
    assert {each["name"] for each in listed if each["side"] == "truth"} == {str(k) for k in np.unique(TRUTH)[1:]}
    (false,) = [each for each in listed if each["area_px"] == 200 and each["state"] == "false positive"]
    assert (false["y_min"], false["x_min"], false["y_max"], false["x_max"]) == (200, 5, 210, 25)
    with (tmp_path / "made" / "metrics.csv").open() as file:
        text = list(csv.DictReader(file))
    parquet = pq.read_table(tmp_path / "made" / "metrics.parquet").to_pylist()
    assert parquet == rows and [each["scope"] for each in text] == [each["scope"] for each in rows]
    assert [float(each["f1"]) if each["f1"] else None for each in text] == [each["f1"] for each in rows]


class Page(HTMLParser):
    """Addresses and texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_mistakes_and_needs_no_other_file(scene: Path, tmp_path: Path):
    _, rows = evaluated(scene, write_truth(tmp_path, "tiff32", TRUTH), tmp_path / "made")
    page = Page()
    page.feed((tmp_path / "made" / "index.html").read_text())
    row = of_all(rows)
    assert "script" not in page.tags and all(each.startswith("data:image/png") for each in page.addresses)
    assert len(page.addresses) == min(row["false_positives"], 3) + min(row["misses"], 3) > 2
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(each.partition(",")[2])))) for each in page.addresses]
    orange, cyan = (
        [(picture == colour).all(axis=2).any() for picture in pictures] for colour in ((255, 120, 0), (0, 220, 255))
    )
    shown = min(row["false_positives"], 3)
    assert all(orange[:shown]) and all(cyan[shown:])
    assert "False positives" in page.text and f"{row['f1']:.3f}" in page.text and "scene.tif" in page.text


def test_results_go_to_stdout_and_nothing_is_written_unless_asked(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = write_truth(tmp_path, "tiff32", TRUTH)
    before = sorted(scene.rglob("*"))
    assert main(["evaluate", str(scene), str(path)]) == 0
    said = capsys.readouterr().out
    assert "IoU 0.5: F1 0." in said and "true objects" in said
    assert sorted(scene.rglob("*")) == before and list(tmp_path.iterdir()) == [path]


def test_classes_are_kept_apart_and_may_have_other_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = segmented(tmp_path / "run", {"scene.tif": TRUTH}, classes=2)
    frame = frame_of(TRUTH, "OGC:CRS84")
    frame["kind"] = ["odd" if number % 2 else "Even" for number in frame["number"]]
    frame.to_file(tmp_path / "truth.gpkg", driver="GPKG")
    truth = tmp_path / "truth.gpkg"
    assert evaluated(out, truth, tmp_path / "a")[0] == 2 and "--class-field" in capsys.readouterr().err
    assert evaluated(out, truth, tmp_path / "b", "--class-field", "kind")[0] == 2
    assert "Even, odd" in capsys.readouterr().err
    right = ["--class", "even=class_0", "--class", "odd=class_1"]
    code, rows = evaluated(out, truth, tmp_path / "c", "--class-field", "kind", *right)
    assert code == 0 and of_all(rows)["f1"] == of_all(rows)["pq"] == 1
    assert {row["label"] for row in rows} == {None, "class_0", "class_1"}
    swapped = ["--class", "even=class_1", "--class", "odd=class_0"]
    _, rows = evaluated(out, truth, tmp_path / "d", "--class-field", "kind", *swapped)
    assert of_all(rows)["f1"] == of_all(rows)["pq"] == 0
    _, rows = evaluated(out, truth, tmp_path / "e", "--any-class")
    assert of_all(rows)["f1"] == 1
    _, rows = evaluated(out, truth, tmp_path / "f", "--class-field", "kind", "--class", "odd=class_1")
    assert of_all(rows)["recall"] == pytest.approx((frame["number"] % 2).mean()), "the others are misses"
    assert "(no class of the run)" in {row["label"] for row in rows}


def test_images_without_counterpart_are_told_and_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = segmented(tmp_path / "run", {"a.tif": TRUTH, "b.tif": FOUND}, where={})
    (tmp_path / "truth").mkdir()
    for name in ("a.tif", "c.tif"):
        write_raster(tmp_path / "truth" / name, TRUTH)
    code, rows = evaluated(out, tmp_path / "truth", tmp_path / "made")
    said = capsys.readouterr().out
    assert code == 3 and of_all(rows)["f1"] == 1 and of_all(rows)["true_count"] == len(np.unique(TRUTH)) - 1
    assert "1 part of the truth that no source of the run belongs to: c.tif" in said
    assert "1 image of the run without truth, not counted: b.tif" in said
    write_raster(tmp_path / "truth" / "b.tif", TRUTH)
    (tmp_path / "truth" / "c.tif").unlink()
    code, rows = evaluated(out, tmp_path / "truth", tmp_path / "more")
    assert code == 0 and [Path(r["source_uri"]).name for r in rows if r["scope"] == "image" and r["iou"] == 0.5] == [
        "a.tif",
        "b.tif",
    ]


def test_truth_of_another_image_or_size_is_refused(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    coco = tmp_path / "other.json"
    coco.write_text(json.dumps(coco_of({"elsewhere.tif": TRUTH}, "string")))
    assert evaluated(scene, coco, tmp_path / "a")[0] == 2
    assert "elsewhere.tif" in capsys.readouterr().err
    small = write_raster(tmp_path / "scene.tif", TRUTH[:100])
    assert evaluated(scene, small, tmp_path / "b")[0] == 2
    assert "100 x 260" in capsys.readouterr().err
    assert evaluated(scene, tmp_path / "absent.tif", tmp_path / "c")[0] == 2
    coloured = tmp_path / "scene.png"
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(coloured)
    assert evaluated(scene, coloured, tmp_path / "d")[0] == 2
    assert "one band" in capsys.readouterr().err


def test_regions_to_ignore_and_what_was_annotated(scene: Path, tmp_path: Path):
    truth = write_truth(tmp_path, "tiff32", np.where(np.indices(TRUTH.shape)[1] < 130, TRUTH, 0).astype(np.uint16))
    right, left = np.zeros((2, *TRUTH.shape), np.uint8)
    right[:, 130:], left[:, :130] = 1, 1
    (tmp_path / "r").mkdir()
    (tmp_path / "l").mkdir()
    ignore, within = write_raster(tmp_path / "r" / "scene.tif", right), write_raster(tmp_path / "l" / "scene.tif", left)
    _, plain = evaluated(scene, truth, tmp_path / "a")
    _, ignored = evaluated(scene, truth, tmp_path / "b", "--ignore", str(ignore))
    _, restricted = evaluated(scene, truth, tmp_path / "c", "--within", str(within))
    assert ignored == restricted
    assert of_all(ignored)["matched"] == of_all(plain)["matched"]
    gone = of_all(plain)["false_positives"] - of_all(ignored)["false_positives"]
    assert gone == of_all(ignored)["ignored_predictions"] > 5
    for each in objects(tmp_path / "b"):
        mask_middle = (each["x_min"] + each["x_max"]) / 2
        if each["state"] == "ignored":
            assert mask_middle > 120
        if each["state"] == "false positive":
            assert mask_middle < 140


def test_an_image_that_no_plot_reaches_does_not_count(tmp_path: Path):
    out = segmented(tmp_path / "run", {"a.tif": FOUND, "b.tif": FOUND}, where={})
    for folder, names in (("truth", ("a.tif", "b.tif")), ("plots", ("a.tif",))):
        (tmp_path / folder).mkdir()
        for name in names:
            write_raster(tmp_path / folder / name, TRUTH if folder == "truth" else np.ones(TRUTH.shape, np.uint8))
    truth, plots = tmp_path / "truth", str(tmp_path / "plots")
    both = of_all(evaluated(out, truth, tmp_path / "x")[1])
    for options in ((), ("--boxes",)):
        rows = evaluated(out, truth, tmp_path / "made", "--within", plots, *options)[1]
        counted = {Path(row["source_uri"]).name: row["true_count"] for row in rows if row["scope"] == "image"}
        assert counted == {"a.tif": both["true_count"] / 2, "b.tif": 0}
        assert of_all(rows)["ignored_truth"] == both["true_count"] / 2 and of_all(rows)["misses"] > 0


def test_crowds_are_ignored_and_no_objects(scene: Path, tmp_path: Path, expected: list[dict[str, Any]]):
    body = coco_of({"scene.tif": TRUTH}, "string")
    crowd = coco_of({"scene.tif": (FOUND == 999).astype(np.uint16)}, "string")["annotations"][0]
    whole = coco_of({"scene.tif": ((FOUND == 999) | (TRUTH > 0)).astype(np.uint16)}, "string")["annotations"][0]
    body["annotations"] += [crowd | {"id": 9_999, "iscrowd": 1}, whole | {"id": 10_000, "iscrowd": 1, "category_id": 8}]
    body["categories"].append({"id": 8, "name": "another"})
    path = tmp_path / "crowd.json"
    path.write_text(json.dumps(body))
    code, rows = evaluated(scene, path, tmp_path / "made")
    row, before = of_all(rows), of_all(expected)
    assert code == 0 and row["ignored_predictions"] == 1 and row["true_count"] == before["true_count"]
    assert row["false_positives"] == before["false_positives"] - 1
    body["annotations"][-1]["category_id"] = 7
    path.write_text(json.dumps(body))
    row = of_all(evaluated(scene, path, tmp_path / "all")[1])
    assert row["true_count"] == before["true_count"] and row["ignored_truth"] == 0, "the truth there was told apart"


def test_nothing_found_and_nothing_there(tmp_path: Path):
    empty = np.zeros((40, 40), np.uint16)
    out = segmented(tmp_path / "run", {"scene.tif": empty})
    code, rows = evaluated(out, write_truth(tmp_path, "tiff32", empty), tmp_path / "made")
    row = of_all(rows)
    assert code == 0 and (row["true_count"], row["predicted_count"], row["count_error"]) == (0, 0, 0)
    unknown = ("precision", "recall", "f1", "ap", "pq", "sq", "rq", "mean_iou", "count_error_share", "f1_low")
    assert all(row[name] is None for name in unknown)
    assert (tmp_path / "made" / "index.html").exists()


def test_pieces_of_a_binary_mask_become_objects(tmp_path: Path):
    blobs = np.zeros((60, 60), np.uint16)
    blobs[5:15, 5:15], blobs[30:40, 30:50], blobs[50:55, 2:9] = 1, 2, 3
    out = segmented(tmp_path / "run", {"scene.tif": blobs})
    truth = write_truth(tmp_path, "png16", (blobs > 0) * 255)
    assert of_all(evaluated(out, truth, tmp_path / "a")[1])["true_count"] == 1
    row = of_all(evaluated(out, truth, tmp_path / "b", "--components")[1])
    assert (row["true_count"], row["f1"]) == (3, 1)


def test_a_map_is_about_every_image_that_it_reaches_into(tmp_path: Path):
    right = WHERE | {"transform": Affine(0.5, 0, 650_065, 0, -0.5, 5_330_000)}
    (tmp_path / "images").mkdir()
    paths = [
        write_raster(tmp_path / "images" / "left.tif", TRUTH[:, :130], **WHERE),
        write_raster(tmp_path / "images" / "right.tif", TRUTH[:, 130:], **right),
    ]
    run(paths, tmp_path / "out", user_model("Oracle"), {"classes": 1, "side": 320})
    code, rows = evaluated(tmp_path / "out", write_truth(tmp_path, "gpkg", TRUTH), tmp_path / "made", "--any-class")
    assert code == 0 and of_all(rows)["f1"] == 1
    across = [k for k in np.unique(TRUTH)[1:] if (TRUTH[:, :130] == k).any() and (TRUTH[:, 130:] == k).any()]
    assert of_all(rows)["true_count"] == len(np.unique(TRUTH)) - 1 + len(across), "the parts of each in either image"


def test_all_maps_that_reach_an_image_count_and_those_that_reach_none_are_told(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    second = WHERE | {"transform": Affine(0.5, 0, 650_065, 0, -0.5, 5_330_000)}
    (tmp_path / "images").mkdir()
    paths = [
        write_raster(tmp_path / "images" / "left.tif", TRUTH[:, :130], **WHERE),
        write_raster(tmp_path / "images" / "right.tif", TRUTH[:, 130:], **second),
    ]
    run(paths, out := tmp_path / "out", user_model("Oracle"), {"classes": 1, "side": 320})
    frame, maps = frame_of(TRUTH, "EPSG:32632"), tmp_path / "maps"
    maps.mkdir()
    frame.to_file(tmp_path / "all.gpkg")
    odd = frame.number % 2 == 1
    for name, part in (("north", frame[odd]), ("south", frame[~odd]), ("far", frame.translate(50_000))):
        part.to_file(maps / f"{name}.gpkg")
    whole = of_all(evaluated(out, tmp_path / "all.gpkg", tmp_path / "a", "--any-class")[1])
    code, rows = evaluated(out, maps, tmp_path / "b", "--any-class")
    assert code == 3 and of_all(rows) == whole and whole["f1"] == 1
    assert "belongs to: far.gpkg" in capsys.readouterr().out
    names = {each["name"] for each in objects(tmp_path / "b") if each["side"] == "truth"}
    assert len(names) == len(frame) and {name.partition("/")[0] for name in names} == {"north.gpkg", "south.gpkg"}
    alone = of_all(evaluated(scene, [maps / "north.gpkg", maps / "south.gpkg"], tmp_path / "c", "--any-class")[1])
    assert alone["true_count"] == len(frame), "also of the only image"
    row = of_all(evaluated(out, tmp_path / "all.gpkg", tmp_path / "d", "--any-class", "--components")[1])
    halves = [half == k for half in (TRUTH[:, :130], TRUTH[:, 130:]) for k in np.unique(TRUTH)[1:]]
    assert row["true_count"] == sum(label(half, np.ones((3, 3)))[1] for half in halves), "pieces of maps too"
    frame[odd].to_file(maps / "left_crowns.gpkg")
    assert evaluated(out, maps, tmp_path / "e", "--any-class")[0] == 2
    assert "north.gpkg: reaches into left.tif, for which there is other truth" in capsys.readouterr().err


def test_what_lies_in_failed_tiles_or_nodata_is_unknown_and_not_missed(tmp_path: Path):
    truth = np.zeros((128, 256), np.uint16)
    for number, (y, x) in enumerate([(10, 10), (10, 80), (10, 150), (80, 10), (94, 222)], start=1):
        truth[y : y + 12, x : x + 12] = number
    image = truth.copy()
    image[100, 230] = 60_000  # poison for the model
    image[70:100, 0:40] = 65_535  # nodata over number 4
    image[10:22, 80:92] = 0  # number 2 is a true miss
    path = write_raster(tmp_path / "scene.tif", image, nodata=65_535)
    run([path], tmp_path / "out", user_model("Fragile"), {"classes": 1}, tiling__tile=64)
    (tmp_path / "t").mkdir()
    code, rows = evaluated(tmp_path / "out", write_truth(tmp_path / "t", "tiff32", truth), tmp_path / "made")
    row = of_all(rows)
    assert code == 3
    assert (row["matched"], row["misses"], row["unknown_truth"], row["false_positives"]) == (2, 1, 2, 0)
    states = {each["name"]: each["state"] for each in objects(tmp_path / "made") if each["side"] == "truth"}
    assert states == {"1": "matched", "2": "missed", "3": "matched", "4": "unknown", "5": "unknown"}


def test_sources_that_failed_are_told(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "images").mkdir()
    good = write_raster(tmp_path / "images" / "good.tif", TRUTH)
    broken = tmp_path / "images" / "broken.tif"
    broken.write_bytes(b"II*\0 no raster")
    run([good, broken], tmp_path / "out", user_model("Oracle"), {"classes": 1})
    body = coco_of({"good.tif": TRUTH, "broken.tif": TRUTH}, "string")
    (tmp_path / "t.json").write_text(json.dumps(body))
    code, rows = evaluated(tmp_path / "out", tmp_path / "t.json", tmp_path / "made")
    assert code == 3 and of_all(rows)["f1"] == 1
    said = capsys.readouterr().out
    assert "1 image failed in the run, truth unknown: broken.tif" in said and "belongs to" not in said


@pytest.mark.parametrize(
    "options", [["--iou", "1.5"], ["--sizes", "9,5"], ["--sizes", "x"], ["--class", "a"], ["--class", "a=b"]]
)
def test_options_that_make_no_sense_are_refused(options: list[str], scene: Path, tmp_path: Path):
    assert evaluated(scene, write_truth(tmp_path, "tiff32", TRUTH), tmp_path / "made", *options)[0] == 2
    assert not (tmp_path / "made").exists()


def test_sizes_are_counted_apart(scene: Path, tmp_path: Path, expected: list[dict[str, Any]]):
    _, rows = evaluated(scene, write_truth(tmp_path, "tiff32", TRUTH), tmp_path / "made", "--sizes", "150,400")
    sizes = [row for row in rows if row["scope"] == "size" and row["iou"] == 0.5]
    assert [row["size"] for row in sizes] == ["below 150 px", "150 to 400 px", "400 px and above"]
    areas = np.bincount(TRUTH.ravel())[1:]
    assert [row["true_count"] for row in sizes] == [
        int(((areas > 0) & (areas < 150)).sum()), int(((areas >= 150) & (areas < 400)).sum()), int((areas >= 400).sum())
    ]  # fmt: skip
    for name in ("matched", "false_positives", "misses"):
        assert sum(row[name] for row in sizes) == of_all(expected)[name]


def test_blocks_change_nothing(
    scene: Path, tmp_path: Path, expected: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
):
    _, boxed = evaluated(scene, write_truth(tmp_path, "tiff32", TRUTH), tmp_path / "a", "--boxes")
    monkeypatch.setattr("segworkers.evaluation.blocks.SIDE", 90)
    for kind in ("tiff32", "geojson"):
        folder = tmp_path / kind
        folder.mkdir()
        _, rows = evaluated(scene, write_truth(folder, kind, TRUTH), folder / "made", "--any-class")
        assert rows == expected
    _, rows = evaluated(scene, write_truth(tmp_path, "tiff32", TRUTH), tmp_path / "b", "--boxes")
    assert rows == boxed


def test_polygons_are_pixels_where_the_image_is_not_on_the_map(tmp_path: Path):
    out = segmented(tmp_path / "run", {"scene.tif": TRUTH}, where={})
    frame_of(TRUTH).to_file(tmp_path / "scene.geojson", driver="GeoJSON")
    code, rows = evaluated(out, tmp_path / "scene.geojson", tmp_path / "made", "--any-class")
    assert code == 0 and of_all(rows, 0.9)["f1"] == 1 and of_all(rows)["sq"] == 1


def test_a_map_reaches_images_that_lie_on_it_and_no_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "images").mkdir()
    paths = [
        write_raster(tmp_path / "images" / "on.tif", TRUTH, **WHERE),
        write_raster(tmp_path / "images" / "off.tif", TRUTH),
    ]
    run(paths, out := tmp_path / "out", user_model("Oracle"), {"classes": 1, "side": 320})
    code, rows = evaluated(out, write_truth(tmp_path, "geojson", TRUTH), tmp_path / "a", "--any-class")
    row = of_all(rows)
    assert code == 3 and row["f1"] == 1 and row["true_count"] == len(np.unique(TRUTH)) - 1
    assert "1 image of the run without truth, not counted: off.tif" in capsys.readouterr().out
    named = (tmp_path / "truth.geojson").rename(tmp_path / "off.geojson")
    assert evaluated(out, named, tmp_path / "b", "--any-class")[0] == 2
    said = capsys.readouterr().err
    assert "smaller than a pixel" in said and "off.tif has no georeference" in said


def test_maps_of_the_only_image_are_in_its_pixels_where_it_lies_on_no_map(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = segmented(tmp_path / "run", {"scene.tif": TRUTH}, where={})
    assert evaluated(out, write_truth(tmp_path, "geojson", TRUTH), tmp_path / "a", "--any-class")[0] == 2
    assert "smaller than a pixel" in capsys.readouterr().err
    frame = frame_of(TRUTH)
    odd = frame.number % 2 == 1
    for name, part in (("odd", frame[odd]), ("even", frame[~odd])):
        part.to_file(tmp_path / f"{name}.geojson", driver="GeoJSON")
    pair = [tmp_path / "odd.geojson", tmp_path / "even.geojson"]
    code, rows = evaluated(out, pair, tmp_path / "b", "--any-class")
    assert code == 0 and of_all(rows)["f1"] == 1


@pytest.mark.parametrize("name", ["truth.geojson", "scene_truth.geojson"])
@pytest.mark.parametrize("wrong", ["another zone", "no CRS"])
def test_polygons_that_miss_the_image_are_refused(
    wrong: str, name: str, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    frame = frame_of(TRUTH, "EPSG:32632")
    frame = frame.set_crs("EPSG:32633" if wrong == "another zone" else None, allow_override=True)
    frame.to_file(tmp_path / name, driver="GeoJSON")
    assert evaluated(scene, tmp_path / name, tmp_path / "made", "--any-class")[0] == 2
    said = capsys.readouterr().err
    assert f"none of its {len(frame)} polygons lies on scene.tif" in said and "650" in said
    assert ("EPSG:32633" if wrong == "another zone" else "OGC:CRS84") in said


@pytest.mark.parametrize("name", ["truth.gpkg", "scene.gpkg"])
def test_polygons_off_the_images_are_told(
    name: str, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], expected: list[dict[str, Any]]
):
    frame = frame_of(TRUTH, "EPSG:32632")
    far = frame.assign(geometry=frame.translate(50_000))
    both = frame.iloc[[*range(len(frame)), *range(7)]].copy()
    both.geometry = [*frame.geometry, *far.geometry[:7]]
    both.to_file(tmp_path / name)
    code, rows = evaluated(scene, tmp_path / name, tmp_path / "made", "--any-class")
    assert code == 3 and rows == expected
    assert f"belongs to: 7 of the {len(both)} polygons of {name}" in capsys.readouterr().out
    code, _ = evaluated(scene, write_truth(tmp_path, "tiff32", TRUTH), tmp_path / "b", "--within", str(tmp_path / name))
    assert code == 0, "regions may be larger than the images"


def test_a_file_without_polygons_says_that_nothing_is_there(scene: Path, tmp_path: Path):
    for name in ("truth.geojson", "scene.geojson"):
        (tmp_path / name).write_text(json.dumps({"type": "FeatureCollection", "features": []}))
        code, rows = evaluated(scene, tmp_path / name, tmp_path / name[:2], "--any-class")
        assert code == 0 and of_all(rows)["true_count"] == 0 and of_all(rows)["precision"] == 0


def test_a_list_says_what_belongs_together(tmp_path: Path):
    out = segmented(tmp_path / "run", {"a.tif": TRUTH, "b.tif": FOUND}, where={})
    for name, image in (("first.tif", FOUND), ("second.tif", TRUTH)):
        write_raster(tmp_path / name, image)
    (tmp_path / "pairs.csv").write_text("source,truth\na.tif,second.tif\nb.tif,first.tif\n")
    code, rows = evaluated(out, tmp_path / "pairs.csv", tmp_path / "made")
    assert code == 0 and of_all(rows)["f1"] == 1
    (tmp_path / "pairs.csv").write_text("source,truth\nabsent.tif,second.tif\n")
    assert evaluated(out, tmp_path / "pairs.csv", tmp_path / "no")[0] == 2
