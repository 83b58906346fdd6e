from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.seams.cases import Case, Detection, Mask, World
from benchmarks.seams.noise import say
from benchmarks.seams.peers import client
from benchmarks.seams.peers.arrays import Tiling, by_class, masks_of, painted
from benchmarks.seams.peers.rules import RULES
from benchmarks.seams.peers.tiny import tiny
from benchmarks.seams.score import score
from benchmarks.seams.worlds import PLANE
from segworkers.lattice import Lattice

HERE = Path(__file__).parent
installed = pytest.mark.skipif(client.peers_python() is None, reason="the peers' environment is not there")


def a_program(folder: Path, body: str) -> Path:
    """A file that stands in for the peers' Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_the_cases_and_the_process_import_nothing_of_the_project():
    names = "benchmarks.seams.cases", "benchmarks.seams.peers.run", "benchmarks.seams.peers.arrays"
    code = f"import sys, {', '.join(names)}; print(*{{name.split('.')[0] for name in sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": str(client.ROOT)}
    out = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert not {"segworkers", "schemas", "jobs", "tests"} & set(out.stdout.split())


def test_outcomes_come_back_from_the_other_process_in_order():
    flat, cube = client.run("none", [tiny(), tiny(3)])
    for case, outcome in ((tiny(), flat), (tiny(3), cube)):
        said = [d for detections in case.windows.values() for d in detections]
        assert [mask.start for mask in outcome.masks] == [d.mask.start for d in said]
        assert all((a.pixels == d.mask.pixels).all() for a, d in zip(outcome.masks, said, strict=True))
        assert outcome.label.tolist() == [0] * len(said)
        assert outcome.seconds > 0
        assert outcome.peak_bytes >= 0
        assert outcome.notes["peer"] == "segworkers"
    assert client.run("none", []) == []


def test_a_case_that_takes_too_long_is_skipped_and_says_so():
    outcomes = client.run("none", [tiny(), tiny()], seconds=1e-6)
    assert [o.notes["skipped"] for o in outcomes] == ["took longer than 1e-06 s"] * 2
    assert all(len(o.masks) == len(o.label) == 0 and math.isnan(o.seconds) for o in outcomes)


def test_a_killed_process_skips_its_case_and_goes_on_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setenv(client.VARIABLE, str(a_program(tmp_path, "kill -9 $$")))
    outcomes = client.run("sahi", [tiny(), tiny()])
    assert [o.notes["skipped"] for o in outcomes] == ["its process was killed by signal 9"] * 2


def test_what_was_answered_before_a_kill_is_kept(tmp_path):
    answers = tmp_path / "answers"
    whole = pickle.dumps(client.skipped("whole"))
    answers.write_bytes(whole + whole[: len(whole) // 2])
    client._process(a_program(tmp_path, "kill -9 $$"), ["sahi"], answers)
    assert [o.notes["skipped"] for o in client._read(answers)] == ["whole", "its process was killed by signal 9"]


@pytest.mark.parametrize(
    ("body", "message"), [("echo a broken peer; exit 3", "a broken peer"), ("true", "ended after 0 without a word")]
)
def test_a_process_that_fails_is_an_error_with_its_last_words(tmp_path, monkeypatch, body, message):
    monkeypatch.setenv(client.VARIABLE, str(a_program(tmp_path, body)))
    with pytest.raises(client.PeerError, match=message):
        client.run("sahi", [tiny()])


def test_a_missing_environment_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv(client.VARIABLE, str(tmp_path / "none"))
    with pytest.raises(client.PeerError, match="does not exist"):
        client.peers_python()
    monkeypatch.delenv(client.VARIABLE)
    monkeypatch.setattr(client, "ROOT", tmp_path)
    assert client.peers_python() is None
    with pytest.raises(client.PeerError, match=r"requirements\.txt"):
        client.run("sahi", [tiny()])


@pytest.mark.parametrize(
    ("window", "overlap"), [((1, 32, 36), (0, 0, 12)), ((1, 16, 20), (0, 5, 8)), ((1, 40, 70), (0, 8, 8))]
)
def test_cells_and_windows_are_the_lattice_s(window, overlap):
    lattice = Lattice(window, overlap, (1, 32, 60))
    indices = list(lattice.indices((0, 0, 0), lattice.shape))
    case = Case(tiny().world, "perfect", 0, window, overlap, {index: [] for index in indices})
    tiling = Tiling.of(case)
    for index in indices:
        cell, real = lattice.cell_box(index), lattice.real_box(index)
        assert tiling.cell(index[1:]) == tuple(map(slice, cell.start[1:], cell.stop[1:]))
        assert tiling.real(index[1:]) == tuple(map(slice, real.start[1:], real.stop[1:]))
        canvas = np.arange(60 * 32).reshape(32, 60)
        assert (canvas[tiling.real(index[1:])][tiling.core(index[1:])] == canvas[tiling.cell(index[1:])]).all()


def test_the_better_scored_of_two_overlapping_detections_is_on_top_and_classes_are_painted_apart():
    square = np.ones((1, 4, 4), bool)
    said = [
        Detection(Mask((0, 2, 2), square), 0.9, 0, 1),
        Detection(Mask((0, 4, 4), square), 0.5, 0, 2),
        Detection(Mask((0, 3, 3), square[:, :2, :2]), 0.1, 0, 3),
        Detection(Mask((0, 2, 2), square), 0.2, 7, 4),
    ]
    world = World("four", np.zeros((1, 10, 10), np.int32), np.zeros(1, np.int64))
    case = Case(world, "perfect", 0, (1, 10, 10), (0, 0, 0), {(0, 0, 0): said})
    labels = painted(case, Tiling.of(case), (0, 0, 0), 0)
    assert {int(n): int((labels == n).sum()) for n in np.unique(labels)} == {0: 100 - 16 - 12, 2: 12, 3: 16}

    outcome = by_class(case, lambda tiling, windows, meter: windows[0, 0])
    assert outcome.label.tolist() == [0, 0, 7]
    assert [int(mask.pixels.sum()) for mask in outcome.masks] == [12, 16, 16]
    assert outcome.notes["hidden"] == 1


def test_objects_of_a_label_array_are_tight_whatever_their_numbers():
    labels = np.zeros((6, 8), np.uint32)
    labels[1:3, 2:5] = 4_000_000_000
    labels[5, 7] = 3
    masks = masks_of(labels)
    assert [(m.start, m.pixels.shape, bool(m.pixels.all())) for m in masks] == [
        ((0, 5, 7), (1, 1, 1), True),
        ((0, 1, 2), (1, 2, 3), True),
    ]
    assert masks_of(np.zeros((2, 3, 4), int)) == []
    assert [m.start for m in masks_of(np.ones((2, 3), int))] == [(0, 0, 0)]


@installed
@pytest.mark.slow
@pytest.mark.parametrize(("rule", "dims"), [(r.name, dims) for r in RULES.values() if r.package for dims in r.dims])
def test_each_peer_makes_whole_objects_of_a_tiny_case(rule, dims):
    case = tiny(dims)
    outcome, other = client.run(rule, [case, tiny(5 - dims)])
    found = score(outcome, case.world)
    if rule == "cellpose" and dims == 2:  # its rule has no effect on images: the box across the seam stays cut
        assert (found.found_count, found.split, found.duplicates) == (4, 1, 0)
    else:
        assert (found.found_count, found.f1_90) == (3, 1.0)
    assert outcome.notes["peer"].startswith(RULES[rule].package)
    assert outcome.seconds > 0
    assert ("skipped" in other.notes) == (5 - dims not in RULES[rule].dims)


@installed
@pytest.mark.slow
@pytest.mark.parametrize(("world", "noise"), [("cells", "mixed"), ("car_parks", "jitter2")])
def test_adapters_find_what_the_peers_own_entry_points_find(tmp_path, world, noise):
    case = say(PLANE[world](np.random.default_rng(3), 320), (1, 192, 192), (0, 64, 64), noise, 5)
    assert len(case.windows) == 4
    (tmp_path / "case").write_bytes(pickle.dumps(case, protocol=5))
    command = [str(client.peers_python()), str(HERE / "native_peers.py"), str(tmp_path / "case")]
    environment = {**os.environ, "PYTHONPATH": str(client.ROOT)}
    out = subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    same = json.loads(out.splitlines()[-1])
    assert len(same) == 6
    assert all(count > 20 and equal for count, equal in same.values()), same


@installed
@pytest.mark.slow
def test_memory_that_a_peer_may_not_have_skips_the_case():
    case = say(PLANE["cells"](np.random.default_rng(3), 1024), (1, 256, 256), (0, 64, 64), "perfect", 5)
    outcome, after = client.run("supervision", [case, tiny()], memory_bytes=400 * 2**20)
    assert outcome.notes["skipped"] == "ran out of memory"
    assert len(after.masks) == 3
