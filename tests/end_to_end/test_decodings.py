"""Work tiles of volumes are slabs, and each slice is decoded once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segworkers import model_pixels
from segworkers.dicom.decoding import PixelFile
from tests import runs
from tests.decodings import count_decodings
from tests.dicom_files import Layout
from tests.volume_truth import World, noise

SHAPE = (24, 26, 30)
SLICE_BYTES = 26 * 30 * 2
MODEL = f"python:{runs.ROOT / 'tests' / 'user_models' / 'volumes.py'}:Above"
SLABS = "500.4MB"
"""Memory in which one step of windows across the whole plane fits, and not two."""


def world() -> World:
    """Two boxes of 400 in a few slices, and nothing else."""
    values = np.zeros(SHAPE, np.int64)
    values[5:8, 4:9, 5:11] = 400
    values[14, 3:20, 22:28] = 400
    return World(values=values, layout=Layout(shape=SHAPE))


def slabs_of(out: Path) -> list[tuple[int, int]]:
    """z of the work tiles, which must be as wide as the volume."""
    tiles = runs.rows(out, "tiles")
    assert {(row["y_min"], row["y_max"], row["x_min"], row["x_max"]) for row in tiles} == {(0, 26, 0, 30)}
    return sorted((row["z_min"], row["z_max"]) for row in tiles)


def run(folder: Path, out: Path, memory: str = SLABS, **options: Any) -> None:
    world().save(folder / "in")
    told = {"level": 100, "window": [4, 8, 8], "context": [3, 2, 2], **options}
    runs.run([folder / "in"], out, MODEL, told, dicom__crosswalk=str(folder / "ids"), tiling__memory=memory)


def test_a_slice_is_decoded_once_where_a_halo_is_kept_and_once_more_where_objects_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = count_decodings(monkeypatch, 6, SLICE_BYTES)
    run(tmp_path, tmp_path / "out")
    assert len(slabs_of(tmp_path / "out")) >= 3
    assert told.of("segment") == dict.fromkeys(range(24), 1)
    assert told.of("rows") == dict.fromkeys([5, 6, 7, 14], 1)
    assert told.calls == 24 + 4


def test_a_cache_smaller_than_a_halo_costs_decoding_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, tmp_path / "whole")
    told = count_decodings(monkeypatch, 3, SLICE_BYTES)
    run(tmp_path, tmp_path / "out")
    found = told.of("segment")
    assert list(found) == list(range(24)) and max(found.values()) > 1
    assert runs.files(tmp_path / "out") == runs.files(tmp_path / "whole")


def test_a_model_with_a_spacing_reads_planes_and_still_decodes_a_slice_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_pixels, "READ_VOXELS", 3 * 26 * 30)
    told = count_decodings(monkeypatch, 16, SLICE_BYTES)
    run(tmp_path, tmp_path / "out", "500.13MB", spacing=[5.0, 1.5, 1.5], window=[2, 8, 8])
    assert len(slabs_of(tmp_path / "out")) >= 3
    assert told.of("segment") == dict.fromkeys(range(24), 1)


@pytest.mark.usefixtures("ray_engine")
@pytest.mark.parametrize("volumes", [*(pytest.param(n, marks=pytest.mark.long) for n in (1, 3)), 2])
def test_processes_share_no_volume_but_the_last(volumes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice of a shared volume is decoded by both processes at most, and only around the one place of its parting."""
    monkeypatch.setattr(PixelFile, "stored", PixelFile.stored)  # this process loads the model too, which replaces it
    (tmp_path / "notes").mkdir()
    for k in range(volumes):
        made = noise(SHAPE, (2.5, 1.0, 1.0), seed=k)
        replace(made, study={"series": str(k)}).save(tmp_path / "in" / str(k))
    runs.run(
        [tmp_path / "in"],
        tmp_path / "out",
        f"python:{runs.ROOT / 'tests' / 'user_models' / 'volumes.py'}:Counted",
        {"level": 9000, "window": [4, 8, 8], "context": [1, 0, 0], "notes": str(tmp_path / "notes")},
        dicom__crosswalk=str(tmp_path / "ids"),
        tiling__memory=SLABS,
        engine__kind="ray",
        engine__address="auto",
        engine__workers=2,
        engine__gpus_per_worker=0,
    )
    assert len(runs.rows(tmp_path / "out", "tiles")) >= 3 * volumes
    told = Counter(line for notes in (tmp_path / "notes").iterdir() for line in notes.read_text().splitlines())
    assert len(told) == volumes * SHAPE[0]
    twice = [file for file, times in told.items() if times > 1]
    assert max(told.values()) <= 2
    assert len({Path(file).parent for file in twice}) <= volumes % 2
    assert len(twice) <= 2
