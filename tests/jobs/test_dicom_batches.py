"""Archives whose series lie mixed: the same decisions, each header moved once; UIDs that two series claim."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from jobs import dicom_batches, dicom_catalog
from jobs.dicom_batches import HeaderIndex
from jobs.dicom_catalog import DicomCatalog, catalog_dicom
from schemas.errors import StoreError
from segworkers.dicom import scanning
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.header_cache import HeaderCache
from segworkers.dicom.partitions import Stretch, partition, partition_of
from segworkers.dicom.processes import Processes
from segworkers.dicom.scanning import Scanned
from segworkers.dicom.volumes import SeriesBatch
from tests.dicom_files import Layout, ct_series, save

KEY = "5" * 64


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks, batches and tasks of a few files."""
    monkeypatch.setattr(scanning, "CHUNK_FILES", 4)
    monkeypatch.setattr(scanning, "LARGEST_CHUNK", 4)
    monkeypatch.setattr(dicom_batches, "BATCH_FRAMES", 20)
    monkeypatch.setattr(dicom_batches, "CHUNKS_AT_ONCE", 5)
    monkeypatch.setattr(dicom_batches, "FEW_TASKS", 0)
    monkeypatch.setattr(dicom_catalog, "FEW_TASKS", 0)


def crosswalk_at(folder: Path) -> Crosswalk:
    made = Crosswalk.open(str(folder))
    (folder / "key").write_text(KEY)
    return made


def archive_of(folder: Path, count: int, *, mixed: bool) -> Path:
    """Series of six small slices, in folders of their own or thrown together under random names."""
    rng = random.Random(5)
    for k in range(count):
        slices = ct_series(Layout(shape=(6, 8, 8)), values=np.zeros((6, 8, 8)), study=str(k))
        names = [f"{rng.random():.15f}" for _ in slices] if mixed else None
        save(slices, folder if mixed else folder / f"{k:03d}", names)
    return folder


def comparable(found: DicomCatalog) -> list[tuple[str | None, str | None, int]]:
    return sorted((row["series_id"], row["status"], row["slices"]) for row in found.series)


@pytest.mark.parametrize("workers", [1, 2])
def test_mixed_series_give_what_neighbours_give_and_every_header_moves_once(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: Counter[str] = Counter()
    lines = HeaderCache.lines

    def counted(self: HeaderCache, key: str) -> list[bytes]:
        loaded[key] += 1
        return lines(self, key)

    monkeypatch.setattr(HeaderCache, "lines", counted)
    apart = catalog_dicom([str(archive_of(tmp_path / "apart", 24, mixed=False))], crosswalk_at(tmp_path / "a"), workers)
    assert len(apart.sources) == 24
    loaded.clear()
    # Where chunks end depends on the folder's name: twice as many reads as chunks, now above the default and now below.
    monkeypatch.setattr(dicom_batches, "MIXED", 1)
    crosswalk = crosswalk_at(tmp_path / "m")
    mixed = catalog_dicom([str(archive_of(tmp_path / "mixed", 24, mixed=True))], crosswalk, workers)
    assert comparable(mixed) == comparable(apart)
    if workers == 1:  # what children read is counted there
        assert len(loaded) >= 24 * 6 // 4
        assert set(loaded.values()) <= {2}, "once by the scan, which looks for known headers, and once to be moved"
    assert not list(Path(crosswalk.folder).glob("partitions*")), "nothing is left of the partitions"


def test_a_failure_leaves_no_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_catalog, "decide_series", lambda *_: 1 / 0)
    crosswalk = crosswalk_at(tmp_path / "m")
    with pytest.raises(StoreError, match="ZeroDivisionError"):
        catalog_dicom([str(archive_of(tmp_path / "mixed", 24, mixed=True))], crosswalk, 1)
    assert not list(Path(crosswalk.folder).glob("partitions*"))


def test_partitions_hold_each_line_once_and_all_of_a_series_in_one(tmp_path: Path) -> None:
    crosswalk = crosswalk_at(tmp_path / "m")
    catalog_dicom([str(archive_of(tmp_path / "mixed", 9, mixed=True))], crosswalk, 1)
    cache = HeaderCache(crosswalk.folder)
    keys = [path.name.partition(".")[0] for path in Path(crosswalk.folder).glob("headers/*/*")]
    files = [partition(cache, some, 7, str(tmp_path)) for some in (keys[:3], keys[3:], ())]
    places: Counter[str] = Counter()
    for number in range(7):
        stretches: Sequence[Stretch] = [file.of(number) for file in files]
        for outcome in (each for stretch in stretches for each in stretch.outcomes()):
            assert isinstance(outcome, tuple)
            assert partition_of(outcome[0].series_uid, 7) == number
            places[outcome[0].place] += 1
    assert set(places.values()) == {1}
    assert len(places) == 54


def test_an_archive_of_neighbours_is_not_moved(tmp_path: Path) -> None:
    index = HeaderIndex()
    for chunk in range(40):
        index.add(Scanned("x", str(chunk), {str(chunk): 10, str(chunk + 1): 10}, frozenset()))
    crosswalk = crosswalk_at(tmp_path / "m")
    with Processes(1) as workers, index.batches(crosswalk, workers) as batches:
        found: list[SeriesBatch] = list(batches)
    assert sum((Counter(batch.series) for batch in found), Counter()) == Counter(index.frames)
    assert all(batch.chunks and not batch.stretches for batch in found)
    assert sum(len(batch.chunks) for batch in found) <= 2 * 40


def test_uids_that_two_series_claim_are_refused_in_both_and_nowhere_else(tmp_path: Path) -> None:
    layout = Layout(shape=(6, 8, 8))
    made = [ct_series(layout, values=np.zeros((6, 8, 8)), study=str(k)) for k in range(3)]
    made[1][2].SOPInstanceUID = made[1][2].file_meta.MediaStorageSOPInstanceUID = made[0][4].SOPInstanceUID
    for k, slices in enumerate(made):
        save(slices, tmp_path / "in" / str(k))
    found = catalog_dicom([str(tmp_path / "in")], crosswalk_at(tmp_path / "m"), 1)
    assert Counter(row["reason"] for row in found.series) == Counter({"duplicate_sop_instance": 2, None: 1})
    assert {each.reason for each in found.skipped} == {"duplicate_sop_instance"}
    assert all("1 of 6 images" in each.message and "another series" in each.message for each in found.skipped)


def test_the_same_files_found_twice_claim_nothing(tmp_path: Path) -> None:
    archive_of(tmp_path / "in", 3, mixed=False)
    inputs = [str(tmp_path / "in"), str(tmp_path / "in" / "001")]
    found = catalog_dicom(inputs, crosswalk_at(tmp_path / "m"), 1)
    assert (len(found.sources), found.skipped) == (3, ())
