from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.results import open_results
from jobs.verify import verify
from jobs.verify_ledger import partition_problem
from jobs.verify_masks import mask_problem
from schemas.boxes import Box
from schemas.errors import VerifyError
from schemas.masks import to_runs
from schemas.rle import coco_rle_string
from tests.jobs.published import Rows, change, empty, pointer, write_pointer, write_table


def problems(out: Path, **options: Any) -> dict[str, list[str]]:
    return {check.name: check.problems for check in verify(out, **options).checks if check.problems}


def first(rows: Rows, **fits: Any) -> dict[str, Any]:
    return next(row for row in rows if all(row[name] == value for name, value in fits.items()))


def test_a_finished_run_verifies_and_says_what_was_compared(published: Path):
    report = verify(published, everything=True)
    assert report.problems == []
    report.raise_if_bad()
    assert {check.name: check.checked for check in report.checks} == {
        "files": 6,
        "schemas": 6,
        "shards": 12,
        "ledger": 3,
        "cores": 12,
        "failures": 1,
        "counts": 3,
        "seams": 3,
        "identity": 4,
        "lower bounds": 3,
        "masks": 4,
    }


def test_verify_raises_with_every_problem(broken: Path):
    change(broken, "instances", lambda rows: rows.pop())
    change(broken, "failures", lambda rows: rows.clear())
    report = verify(broken)
    assert len(report.problems) >= 2
    with pytest.raises(VerifyError) as caught:
        report.raise_if_bad()
    for problem in report.problems:
        assert problem in str(caught.value)


def test_a_missing_a_shortened_and_a_changed_file_are_found(broken: Path):
    results = open_results(broken)
    instances, images, tiles = (results.files(name)[0] for name in ("instances", "images", "tiles"))
    instances.unlink()
    images.write_bytes(images.read_bytes()[:-1])
    data = bytearray(tiles.read_bytes())
    data[100] ^= 1
    tiles.write_bytes(data)
    found = problems(broken)["files"]
    assert len(found) == 3
    for path, words in ((instances, "does not exist"), (images, "bytes, found"), (tiles, "expected sha256")):
        assert any(str(path.relative_to(broken)) in line and words in line for line in found)


def test_a_table_that_the_manifest_lacks_or_invents_is_found(broken: Path):
    body = pointer(broken)
    body["tables"]["extra"] = body["tables"].pop("failures")
    write_pointer(broken, body)
    assert problems(broken)["files"] == [
        "failures is missing from the manifest",
        "the manifest names an unknown table 'extra'",
    ]


def test_another_schema_version_or_column_is_found(broken: Path):
    table = open_results(broken).table("images")
    write_table(broken, "images", table.replace_schema_metadata({"segworkers.table": "images"}))
    body = pointer(broken)
    body["schema_version"] = "0.1"
    body["tables"]["images"][0]["rows"] = 7
    write_pointer(broken, body)
    found = "\n".join(problems(broken)["schemas"])
    for words in ("current.json: expected schema version", "schema_version=", "expected 7 rows, found 3"):
        assert words in found


def test_a_column_of_another_type_or_name_is_found(broken: Path):
    tiles = open_results(broken).table("tiles")
    place = tiles.schema.get_field_index("windows")
    write_table(broken, "tiles", tiles.set_column(place, "windows", tiles.column("windows").cast(pa.int64())))
    images = open_results(broken).table("images")
    write_table(broken, "images", images.rename_columns({"model": "network"}))
    found = problems(broken)["schemas"]
    assert any("column windows: expected int32 not null, found int64" in line for line in found)
    assert any("columns differ from the schema in ['model', 'network']" in line for line in found)


def test_a_missing_and_a_changed_shard_are_found(broken: Path):
    shards = open_results(broken).sql("SELECT DISTINCT shard FROM tiles ORDER BY 1").column(0).to_pylist()
    (broken / shards[0]).unlink()
    (broken / shards[1]).write_bytes(b"other")
    found = problems(broken)["shards"]
    assert len(found) == 2
    assert shards[0] in found[0] and "cannot be read" in found[0]
    assert shards[1] in found[1] and "expected sha256" in found[1]


def lose_a_tile(rows: Rows) -> None:
    rows.remove(first(rows, y_min=0, x_min=0))


def double_a_tile(rows: Rows) -> None:
    rows.append(dict(rows[0], tile="9-9-9"))


def shift_a_core(rows: Rows) -> None:
    row = first(rows, x_min=64, y_min=0)
    row["x_min"], row["x_max"] = row["x_min"] - 1, row["x_max"] - 1


def reach_out(rows: Rows) -> None:
    row = first(rows, x_max=140, y_min=0)
    row["x_max"] = 141


def count_other_pixels(rows: Rows) -> None:
    rows[0]["pixels"] += 1
    rows[0]["pixels_empty"] += 1
    rows[1]["pixels"] -= 1
    rows[1]["pixels_empty"] -= 1


def lose_pixels(rows: Rows) -> None:
    row = next(row for row in rows if row["pixels_done"])
    row["pixels_done"] -= 1


def move_pixels(rows: Rows) -> None:
    row = next(row for row in rows if row["pixels_done"])
    row["pixels_done"], row["pixels_nodata"] = row["pixels_done"] - 1, row["pixels_nodata"] + 1


def fail_silently(rows: Rows) -> None:
    row = rows[0]
    row["status"] = "failed"
    row["pixels_failed"] = row["pixels"]
    row["pixels_done"] = row["pixels_empty"] = row["pixels_nodata"] = 0


def done_without_shard(rows: Rows) -> None:
    row = next(row for row in rows if row["status"] == "done")
    row["shard"] = ""


def lower_count(rows: Rows) -> None:
    row = next(row for row in rows if row["object_count"] == 3)
    row["object_count"] -= 1


def lower_class_count(rows: Rows) -> None:
    row = next(row for row in rows if row["object_count"] == 3)
    row["classes"][0]["object_count"] -= 1


def unknown_count(rows: Rows) -> None:
    row = next(row for row in rows if row["object_count"] == 3)
    row["object_count"] = row["classes"] = None


def shrink_image(rows: Rows) -> None:
    row = next(row for row in rows if row["object_count"] == 3)
    row["height"] -= 1


def forget_image(rows: Rows) -> None:
    rows.remove(next(row for row in rows if row["object_count"] == 3))


def double_image(rows: Rows) -> None:
    rows.append(rows[0])


def unflag_failed_image(rows: Rows) -> None:
    first(rows, status="failed")["is_lower_bound"] = False


def claim_unknown_pixels(rows: Rows) -> None:
    first(rows, status="failed")["status"] = "partial"


def lose_an_object(rows: Rows) -> None:
    rows.pop()


def double_an_object(rows: Rows) -> None:
    rows.append(rows[0])


def relabel(rows: Rows) -> None:
    rows[0]["label"] = "other"


def skip_a_mask_value(rows: Rows) -> None:
    rows[0]["mask_value"] += 100


def leave_the_image(rows: Rows) -> None:
    rows[0]["y_max"] = 10_000


def too_many_pixels(rows: Rows) -> None:
    rows[0]["pixel_count"] = 10**9


def mark_incomplete(rows: Rows) -> None:
    rows[0]["is_complete"] = False


def wrong_pixel_count(rows: Rows) -> None:
    first(rows, pixel_count=600)["pixel_count"] = 599


def loose_box(rows: Rows) -> None:
    row = first(rows, pixel_count=600)
    row["y_max"], row["x_max"] = row["y_max"] - 10, row["x_max"] + 15


def undecodable(rows: Rows) -> None:
    rows[0]["mask_rle"] = "000"


@pytest.mark.parametrize(
    ("table", "edit", "check", "words"),
    [
        ("tiles", lose_a_tile, "ledger", "cores have"),
        ("tiles", lose_a_tile, "cores", "lie in 0 cores"),
        ("tiles", double_a_tile, "cores", "lie in 2 cores"),
        ("tiles", shift_a_core, "cores", "cores, expected 1"),
        ("tiles", reach_out, "cores", "reaches beyond"),
        ("tiles", count_other_pixels, "cores", "2 tiles count other pixels"),
        ("tiles", lose_pixels, "ledger", "done + empty + nodata + failed"),
        ("tiles", move_pixels, "ledger", "pixels_nodata is 0 in images and 1 over its tiles"),
        ("tiles", fail_silently, "failures", "has no row in failures"),
        ("tiles", done_without_shard, "shards", "names no shard"),
        ("images", lower_count, "counts", "its classes add up to 3"),
        ("images", lower_class_count, "counts", "images says 2 objects"),
        ("images", unknown_count, "counts", "its count is unknown"),
        ("images", shrink_image, "ledger", "depth x height x width"),
        ("images", forget_image, "ledger", "no row in images"),
        ("images", forget_image, "identity", "lies outside its source"),
        ("images", double_image, "ledger", "2 rows in images"),
        ("images", unflag_failed_image, "lower bounds", "not marked as lower bounds"),
        ("images", claim_unknown_pixels, "ledger", "its pixels are unknown"),
        ("instances", lose_an_object, "counts", "images says"),
        ("instances", double_an_object, "identity", "appears 2 times"),
        ("instances", relabel, "counts", "other: images says None"),
        ("instances", skip_a_mask_value, "identity", "expected 1.."),
        ("instances", leave_the_image, "identity", "outside its source"),
        ("instances", too_many_pixels, "identity", "impossible size"),
        ("instances", mark_incomplete, "lower bounds", "no pixel failed"),
        ("instances", wrong_pixel_count, "masks", "its mask has 600 pixels, expected 599"),
        ("instances", loose_box, "masks", "instance"),
        ("instances", undecodable, "masks", "cannot be decoded"),
        ("failures", list.clear, "failures", "not done, but has no row in failures"),
    ],
)
def test_tables_that_disagree_are_found(broken: Path, table: str, edit: Callable[[Rows], None], check: str, words: str):
    change(broken, table, edit)
    assert any(words in problem for problem in problems(broken)[check])


def test_a_run_that_found_nothing_verifies(broken: Path):
    empty(broken, "instances")

    def none_found(rows: Rows) -> None:
        for row in rows:
            if row["classes"]:
                row["object_count"] = row["classes"][0]["object_count"] = row["classes"][0]["pixel_count"] = 0

    change(broken, "images", none_found)
    change(broken, "seams", lambda rows: [row.update(object_count=0) for row in rows])
    assert problems(broken) == {}


def test_a_seam_profile_that_does_not_add_up_is_found(broken: Path):
    def damage(rows: Rows) -> None:
        first(rows, zone="margin")["object_count"] += 1
        first(rows, distance_min_px=1)["pixels"] -= 1

    change(broken, "seams", damage)
    pixels, objects = problems(broken)["seams"]
    assert "objects, images has" in objects and "pixels, images has" in pixels


def test_a_seam_profile_with_a_gap_or_without_its_source_is_found(broken: Path):
    def damage(rows: Rows) -> None:
        first(rows, distance_min_px=1)["distance_min_px"] = 2
        rows[:] = [row for row in rows if "field" in row["source_uri"]]

    change(broken, "seams", damage)
    found = problems(broken)["seams"]
    assert any("no where.tif: has no seam profile" in line for line in found)
    assert any("bins that do not follow" in line for line in found)


def test_masks_are_sampled_unless_all_are_asked_for(broken: Path):
    last = max(row["instance_id"] for row in open_results(broken).table("instances").to_pylist())
    change(broken, "instances", lambda rows: first(rows, instance_id=last).update(mask_rle="000"))
    assert "masks" not in problems(broken, sample=3)
    assert "masks" in problems(broken, sample=3, everything=True)


def blocks(edges: tuple[list[int], list[int], list[int]]) -> np.ndarray:
    spans = [list(itertools.pairwise(axis)) for axis in edges]
    return np.array([[z[0], y[0], x[0], z[1], y[1], x[1]] for z, y, x in itertools.product(*spans)], np.int64)


CUTS = st.sets(st.integers(1, 19), max_size=4).map(lambda inner: [0, *sorted(inner), 20])


@given(edges=st.tuples(CUTS, CUTS, CUTS), order=st.randoms(use_true_random=False))
def test_any_grid_of_blocks_is_a_partition_in_any_order(edges: Any, order: Any):
    boxes = blocks(edges)
    boxes = boxes[order.sample(range(len(boxes)), len(boxes))]
    assert partition_problem(boxes, (20, 20, 20)) == ""


SIDE = st.tuples(st.integers(0, 3), st.integers(1, 3)).map(lambda pair: (pair[0], min(pair[0] + pair[1], 4)))
BOXES = st.lists(st.tuples(SIDE, SIDE, SIDE).filter(lambda sides: all(a < b for a, b in sides)), min_size=1, max_size=9)


@given(sides=BOXES)
def test_boxes_are_called_a_partition_exactly_where_painting_them_covers_each_voxel_once(sides: Any):
    boxes = np.array([[side[0] for side in box] + [side[1] for side in box] for box in sides], np.int64)
    painted = np.zeros((4, 4, 4), int)
    for z0, y0, x0, z1, y1, x1 in boxes:
        painted[z0:z1, y0:y1, x0:x1] += 1
    assert (partition_problem(boxes, (4, 4, 4)) == "") == bool((painted == 1).all())


def test_a_hundred_thousand_cores_are_checked():
    edges = ([0, 1], list(range(0, 317 * 8, 8)), list(range(0, 317 * 8, 8)))
    boxes = blocks(edges)
    assert partition_problem(boxes, (1, 2528, 2528)) == ""
    assert "lie in 0 cores" in partition_problem(boxes[:-1], (1, 2528, 2528))


def test_a_mask_must_fill_its_box_and_have_its_pixels():
    mask = np.array([[[1, 0], [1, 1]]], bool)
    box = Box((0, 4, 5), (1, 6, 7))
    code = coco_rle_string(to_runs(mask, box.start), box).decode()
    corners = [*box.start, *box.stop]
    assert mask_problem(code, 3, corners) == ""
    assert "has 3 pixels, expected 4" in mask_problem(code, 4, corners)
    assert "cannot be decoded" in mask_problem(code, 3, [0, 4, 5, 1, 7, 7])
    column = coco_rle_string(to_runs(mask[:, :, :1], box.start), box).decode()
    assert "its mask fills" in mask_problem(column, 2, corners)


def test_one_wrong_mask_among_many_is_named_alone(broken: Path):
    row = open_results(broken).table("instances").to_pylist()[2]
    for wrong in ({"mask_rle": "000"}, {"pixel_count": row["pixel_count"] + 1}, {"x_max": row["x_max"] + 1}):
        change(broken, "instances", lambda rows, wrong=wrong: rows[2].update(row | wrong))
        (problem,) = problems(broken, everything=True)["masks"]
        assert row["instance_id"] in problem
