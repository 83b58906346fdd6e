"""The benchmark's records, tables, page and plots."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.seams import tables
from benchmarks.seams.cases import Case, Outcome, World
from benchmarks.seams.pages import Record, markdown, plots, read_records, write_records
from benchmarks.seams.plan import Block
from benchmarks.seams.records import (
    ALONE,
    COUNT,
    F1_50,
    ORACLE,
    OURS,
    Cell,
    best,
    cells_of,
    failure_of,
    is_peer,
    latest,
    publish_records,
    record_of,
    rules_of,
    scale_of,
)
from benchmarks.seams.rivals import beside_best_peer, beside_each_peer, excess_of, verdict_counts
from benchmarks.seams.score import Score

PEER, OTHER = "patchworks_iou", "sahi"


def record(rule: str = OURS, error: float = 0.0, f1: float = 1.0, seed: int = 0, **changes: object) -> Record:
    """One of a world with 1000 objects; errors are splits or misses."""
    found = 1000 + round(1000 * error)
    kinds = {"split": max(found - 1000, 0), "missed": max(1000 - found, 0)}
    base = Record(
        part="synthetic", world="cells", noise="jitter1", seed=seed, window=(1, 512, 512), overlap=(1, 64, 64),
        rule=rule, truth_count=1000, found_count=found, count_error=error, merged=0, duplicates=0,
        false_positives=0, f1_50=f1, f1_90=f1, mean_iou=1.0, wrong_label=0, seconds=1.0, peak_bytes=0, **kinds,
    )  # fmt: skip
    return replace(base, **changes)


def seeds(rule: str, errors: list[float], f1: float = 1.0, **changes: object) -> list[Record]:
    return [record(rule, error, f1, seed, **changes) for seed, error in enumerate(errors)]


def lines_with(page: str, *texts: str) -> list[str]:
    return [line for line in page.splitlines() if all(text in line for text in texts)]


def section(page: str, heading: str) -> str:
    """From a heading to the next of any level."""
    return page.split(f"# {heading}\n", 1)[1].split("\n#", 1)[0]


CASE = Case(World("cells", np.ones((1, 4, 4), np.int32), np.array([0, 0])), "jitter1", 7, (1, 4, 4), (1, 2, 2), {})
SCORE = Score(1, 2, 1.0, 1, 0, 0, 0, 0, 0.5, 0.25, 0.75, 0)
NOISY = [
    *seeds(OURS, [0.010, 0.012, 0.011], 0.99),
    *seeds(ORACLE, [0.010, 0.010, 0.010], 0.995),
    *seeds(PEER, [0.030, 0.031, 0.033], 0.98),
    *seeds(OTHER, [-0.2, -0.3, 0.1], 0.9),
]


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write_records(path, NOISY[:2])
    write_records(path, NOISY[2:], append=True)
    assert read_records(path) == NOISY


def test_records_are_published_as_parquet(tmp_path: Path) -> None:
    path = tmp_path / "records.parquet"
    publish_records(path, [*NOISY, failure_of("nuclei", CASE, PEER, "out of memory")])
    assert read_records(path) == [*NOISY, failure_of("nuclei", CASE, PEER, "out of memory")]
    worst = duckdb.sql(f"select rule, count_error from '{path}' order by abs(count_error) desc limit 1").fetchall()
    assert worst == [(OTHER, -0.3)]


def test_a_row_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "records.parquet"
    rows = [asdict(record) for record in NOISY[:2]]
    pq.write_table(pa.Table.from_pylist([rows[0], rows[1] | {"part": "real"}]), path)
    with pytest.raises(ValueError, match=r"row 2: expected a part of .*'real'"):
        read_records(path)
    pq.write_table(pa.Table.from_pylist(rows).drop_columns("seed"), path)
    with pytest.raises(ValueError, match=r"row 1: expected a record.*seed"):
        read_records(path)


def test_of_records_of_the_same_work_the_last_counts() -> None:
    old, other, new = record(error=0.1), record(seed=1), record(error=0.2)
    assert latest([old, other, new]) == [new, other]
    failed = failure_of("synthetic", CASE, OURS, "slow")
    done = record_of("synthetic", CASE, OURS, Outcome([], np.zeros(0, np.int64), 2.5), SCORE)
    assert latest([failed, new, done]) == [done, new]
    assert latest([done, failed]) == [failed]
    small, large = scale_of(10, 1.0, 1), scale_of(100, 1.0, 1)
    assert latest([small, large]) == [small, large]


def test_what_is_done_is_known_by_its_key() -> None:
    """As the benchmark asks whether a case was measured, and as its record answers."""
    block = Block("synthetic", (("cells", "jitter1"),), (7,), CASE.window, CASE.overlap, (OURS,), lambda *_: CASE)
    made = failure_of("synthetic", CASE, OURS, "slow").key
    assert block.keys(OURS) == {made}
    assert block.key(CASE, OURS) == made


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write_records(path, NOISY[:1])
    good = path.read_text()
    for bad in ("{}", "[1]", "oops", good.replace('"seed"', '"seeds"'), good.replace("synthetic", "real")):
        path.write_text(good + bad.strip() + "\n")
        with pytest.raises(ValueError, match="line 2: expected a"):
            read_records(path)


def test_a_record_holds_its_case_and_score() -> None:
    made = record_of("nuclei", CASE, OURS, Outcome([], np.zeros(0, np.int64), 2.5, 100), SCORE, cut=9)
    assert (made.world, made.seed, made.split, made.f1_90, made.seconds, made.peak_bytes) == (
        "cells",
        7,
        1,
        0.25,
        2.5,
        100,
    )
    assert (made.cut, made.failure) == (9, "")
    assert failure_of("nuclei", CASE, PEER, "out of memory").failure == "out of memory"


def test_one_case_counts_once() -> None:
    with pytest.raises(ValueError, match=r"one record of 'segworkers'.*found two"):
        cells_of([record(), record()])


def test_rules_in_order_and_who_is_a_peer() -> None:
    order = ["segworkers", "segworkers, tiles of 1", "oracle linker", "sahi", "patchworks_iou", "none"]
    seen = ["none", "sahi", "segworkers, tiles of 1", "oracle linker", "patchworks_iou", "segworkers"]
    assert rules_of(record(rule) for rule in seen) == order
    assert [rule for rule in order if is_peer(rule)] == ["sahi", "patchworks_iou"]


def test_count_errors_of_opposite_sign_do_not_cancel() -> None:
    (found,) = cells_of(NOISY).values()
    assert COUNT.mean(found[OTHER]) == pytest.approx(20.0)
    assert tables.shown(COUNT, found[OTHER]) == "±20.0"
    assert tables.shown(COUNT, found[PEER]) == "+3.13"
    assert best([PEER, OTHER], found, COUNT) == best([PEER, OTHER], found, F1_50) == PEER


def test_the_best_of_a_row_is_bold_and_the_oracle_does_not_compete() -> None:
    text = tables.by_rule(cells_of(NOISY), [OURS, ORACLE, PEER, "absent"], COUNT)
    assert lines_with(text, "cells 512/64") == ["| cells 512/64 | **+1.10** | +1.00 | +3.13 | – |"]
    text = tables.by_rule(cells_of(NOISY), [OURS, ORACLE, PEER], F1_50)
    assert lines_with(text, "cells 512/64") == ["| cells 512/64 | **0.990** | 0.995 | 0.980 |"]


def test_the_best_peer_is_compared_seed_by_seed() -> None:
    (one,) = beside_best_peer(cells_of(NOISY), COUNT)
    # Differences -2.0, -1.9, -2.2; standard deviation 0.1528, t(0.975, 2) = 4.303.
    assert (one.rival, one.verdict) == (PEER, "better")
    assert one.difference.mean == pytest.approx(-6.1 / 3)
    assert one.difference.half == pytest.approx(4.303 * 0.1528 / 3**0.5, rel=1e-3)
    lost = [r for r in NOISY if r.rule != PEER or r.seed == 0]
    (one,) = beside_best_peer(cells_of(lost), COUNT)
    assert (one.difference.mean, one.verdict) == (pytest.approx(-2.0), "within")
    assert "one seed" in " ".join(one.row())


def test_beside_each_peer_alone_verdicts_are_counted_cell_by_cell() -> None:
    lines = beside_each_peer(cells_of(NOISY), [OURS, ORACLE, PEER, OTHER, "none"]).splitlines()[2:]
    assert lines == ["| patchworks_iou | 1 | 1 | 0 | 0 | 1 | 0 | 0 |", "| sahi | 1 | 0 | 1 | 0 | 1 | 0 | 0 |"]


def test_where_a_peer_is_better_it_is_said_whether_the_oracle_is_worse_too() -> None:
    assert "these" not in verdict_counts(cells_of(NOISY))
    turned = [replace(r, rule={OURS: PEER, PEER: OURS}.get(r.rule, r.rule)) for r in NOISY if r.rule != OTHER]
    assert "worse in 1 of 1 cells; in 0 of these the oracle" in verdict_counts(cells_of(turned)).splitlines()[0]
    blind = [replace(r, count_error=r.count_error + 0.05) if r.rule == ORACLE else r for r in turned]
    assert "worse in 1 of 1 cells; in 1 of these the oracle" in verdict_counts(cells_of(blind)).splitlines()[0]


def test_excess_is_over_the_oracle_on_the_same_seeds() -> None:
    (found,) = cells_of(NOISY).values()
    assert excess_of(found, OURS) == pytest.approx([0.0, 0.2, 0.1])
    assert excess_of({OURS: found[OURS]}, OURS) == []
    page = markdown(NOISY, {})
    assert lines_with(section(page, "Synthetic worlds: excess over the oracle linker"), "cells 512/64 | jitter1") == [
        "| cells 512/64 | jitter1 | +0.10 | +2.13 | ±20.3 | −0.0050 |"
    ]


def test_every_cell_in_which_another_is_better_is_listed() -> None:
    assert "None." in section(markdown(NOISY, {}), "Where this project is worse")
    turned = [replace(r, rule={OURS: PEER, PEER: OURS}.get(r.rule, r.rule)) for r in NOISY]
    listed = lines_with(section(markdown(turned, {}), "Where this project is worse"), "cells 512/64")
    difference = "+2.03 (+1.65 to +2.41) | **worse** | +1.00 |"
    assert listed[0] == f"| cells 512/64 | jitter1 | count error, % | +3.13 | patchworks_iou | +1.10 | {difference}"
    assert [line.split("|")[3].strip() for line in listed] == ["count error, %", "F1@0.5", "F1@0.9"]
    # A rule that merges nothing is listed too where it is better by accident; the oracle never is.
    both = [*seeds(OURS, [0.2, 0.1]), *seeds("none", [0.0, 0.1]), *seeds(ORACLE, [0.0, 0.0])]
    (line,) = lines_with(section(markdown(both, {}), "Where this project is worse"), "cells 512/64")
    assert "| none | +5.00 |" in line and "within" in line


def test_perfect_models_show_the_worst_seed() -> None:
    small = {"window": (1, 128, 128), "overlap": (1, 16, 16)}
    records = [
        *seeds(OURS, [0.0, 0.0], noise="perfect"),
        *seeds(PEER, [0.01, -0.02], 0.9, noise="perfect"),
        *seeds(OURS, [0.0, 0.0], noise="perfect", **small),
        *seeds(OURS, [0.0, 0.0], noise="perfect", window=(32, 64, 64), overlap=(8, 16, 16)),
    ]
    page = markdown(records, {})
    assert lines_with(section(page, "Synthetic worlds, perfect"), "·") == [
        "| cells 512/64 | 2 | **0 · 1.000** | −2.00 · 0.900 |",
        "| cells 128/16 | 2 | **0 · 1.000** | – |",
        "| cells 32×64×64/8×16×16 | 2 | **0 · 1.000** | – |",
    ]
    assert lines_with(section(page, "Synthetic worlds"), "| segworkers |")[0].startswith("| segworkers | 3 of 3 | 0 |")


def test_kinds_of_errors_are_means_over_seeds() -> None:
    page = markdown(NOISY, {})
    assert lines_with(page, "cells 512/64 | 11/0/0/0/0/0 | 10/0/0/0/0/0 | 31/0/0/0/0/0 | 33/0/0/167/0/0")


def test_time_memory_and_what_did_not_finish() -> None:
    records = [
        *seeds(OURS, [0.0] * 3, seconds=2.0, peak_bytes=30_000_000),
        *seeds(PEER, [0.0] * 3, seconds=1.0, peak_bytes=60_000_000),
        record(OTHER, seed=4, failure="more than 600 s"),
        *[record(OURS, seed=s, part="cost", seconds=t, cut=1000) for s, t in enumerate([0.5, 0.1, 0.2])],
        record(ALONE, part="cost", seconds=0.1, cut=1000),
        record(OTHER, part="cost", seconds=4.0, cut=1000),
        *[record(part="scale", truth_count=10**n, seconds=10.0 ** (n - 5)) for n in (7, 5)],
    ]
    page = markdown(records, {"CPU": "a small one"}, rules={PEER: "IoU 0.5 in the halo"})
    time = section(page, "Time and memory")
    assert "| cells 512/64 | 2 | **1** |" in time and "| cells 512/64 | **30** | 60 |" in time
    assert "patchworks_iou is faster than this project in 1 of 1 cells; this project takes 2 × its time" in time
    cost = section(page, "The same work for every rule")
    assert (
        "| segworkers | 1000 | 0.2 | 200 | 2 | 1 | – |" in cost and "| sahi | 1000 | 4 | 4,000 | 40 | 20 | – |" in cost
    )
    scale = lines_with(section(page, "Many objects"), OURS)
    assert scale == ["| segworkers | 100,000 | 1 | 10 | 1 | 0 |", "| segworkers | 10,000,000 | 100 | 10 | 1 | 0 |"]
    assert "| sahi | cells | jitter1 | 4 | more than 600 s |" in section(page, "What did not finish")
    assert "| CPU | a small one |" in page and "| patchworks_iou | IoU 0.5 in the halo |" in page


def test_tables_are_rectangular() -> None:
    rows = [line for line in markdown(NOISY, {"a": 1}, "seams").splitlines() if line.startswith("|")]
    blocks: list[list[int]] = []
    for before, line in zip(["", *rows], rows, strict=False):
        columns = line.count(" | ")
        if line.startswith("| ---"):
            assert columns == before.count(" | ")
            blocks.append([])
        if blocks:
            blocks[-1].append(columns)
    assert all(set(block[:-1]) == {block[0]} for block in blocks)


def test_plots_are_written_where_the_page_looks_for_them(tmp_path: Path) -> None:
    records = [*NOISY, *seeds(OURS, [0.0], noise="perfect"), *seeds(PEER, [0.0], part="nuclei", world="tissue <1>")]
    files = plots(records, tmp_path / "seams")
    page = markdown(records, {}, "seams")
    assert sorted(f"(seams/{file.name})" for file in files) == sorted(
        part[part.index("(") :] for part in page.splitlines() if part.startswith("![")
    )
    for file in files:
        assert ElementTree.parse(file).getroot().tag.endswith("svg")
    texts = [e.text for e in ElementTree.parse(tmp_path / "seams" / "synthetic_jitter1.svg").iter() if e.text]
    assert {"Objects too many or too few: jitter1", OURS, PEER, "cells", "1.10", "3.13", "20.0"} <= set(texts)


def test_lines_compare_rules_on_the_same_worlds(tmp_path: Path) -> None:
    # The peer has no result in the hard world: without it both lose 0.01.
    records = [record(OURS, f1=0.99), record(PEER, f1=0.99), record(OURS, f1=0.5, world="hard")]
    plots(records, tmp_path)
    drawing = ElementTree.parse(tmp_path / "synthetic_f1_50.svg")
    markers = [e.attrib for e in drawing.iter() if e.tag.endswith(("circle", "polygon"))]
    assert len(markers) == 4  # one point and one key for each rule
    circle = next(m for m in markers if "cy" in m)
    square = next(m for m in markers if "points" in m)
    ys = [float(point.split(",")[1]) for point in square["points"].split()]
    assert float(circle["cy"]) == pytest.approx((min(ys) + max(ys)) / 2, abs=0.2)


@given(st.floats(0, 1))
def test_f1_never_looks_better_than_it_is(value: float) -> None:
    text = tables.fraction(value)
    assert float(text) <= value + 1e-9 and value - float(text) < 0.001 + 1e-9
    assert (text == "1.000") == (value > 1 - 1e-11)


@given(st.lists(st.integers(-2000, 2000), min_size=1, max_size=6))
def test_no_count_error_looks_like_none(errors: list[int]) -> None:
    text = tables.sized([error / 1000 for error in errors])
    assert (text == "0") == (not any(errors))
    if any(errors):
        mean = sum(map(abs, errors)) / len(errors) / 1000
        assert float(text[1:]) == pytest.approx(mean, rel=0.5, abs=0.006) and float(text[1:]) > 0
        assert (text[0] == "±") == (min(errors) < 0 < max(errors))


def test_names_of_windows() -> None:
    assert Cell("synthetic", "w", "n", (1, 512, 512), (1, 64, 64)).grid == "512/64"
    assert Cell("synthetic", "w", "n", (1, 512, 256), (0, 64, 32)).grid == "512×256/64×32"
    assert Cell("synthetic", "w", "n", (32, 64, 64), (0, 16, 16)).grid.startswith("32×64×64/")
