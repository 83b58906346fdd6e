"""The catalog of DICOM on real files: what becomes a source, what is told, and that nothing is read twice."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pydicom
import pytest
from moto.server import ThreadedMotoServer
from pydicom.fileset import FileSet

from jobs import dicom_batches, dicom_catalog
from jobs.dicom_catalog import DicomCatalog, catalog_dicom, holds_dicom, is_dicom_input
from schemas.boxes import Box
from schemas.errors import InputError, StoreError
from segworkers.dicom import processes, scanning
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.header_cache import HeaderCache
from segworkers.dicom.places import Places
from segworkers.dicom.processes import Processes
from segworkers.dicom.reader import DicomReader
from tests import dicom_variants
from tests.dicom_files import SENTINEL, UID_ROOT, Layout, ct_series, save


@pytest.fixture
def crosswalk(tmp_path: Path) -> Crosswalk:
    return Crosswalk.open(str(tmp_path / "crosswalk"))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def catalog(crosswalk: Crosswalk, *inputs: Path | str, workers: int = 1) -> DicomCatalog:
    return catalog_dicom([str(each) for each in inputs], crosswalk, workers)


def names_in(crosswalk: Crosswalk) -> str:
    return "".join(sorted(path.read_text() for path in (Path(crosswalk.folder) / "names").iterdir()))


def reasons(found: DicomCatalog) -> Counter[str]:
    return Counter(each.reason for each in found.skipped)


def comparable(found: DicomCatalog) -> tuple[Any, ...]:
    return found.sources, found.skipped, found.series, found.files


def test_a_series_becomes_a_source_whose_stack_is_in_the_crosswalk(archive: Path, crosswalk: Crosswalk) -> None:
    made = save(ct_series(), archive / "a" / "b")
    found = catalog(crosswalk, archive)
    (source,) = found.sources
    assert source.volume is not None
    assert (source.uri, source.grid.shape) == (f"dicom:{source.volume.series_id}", (24, 40, 48))
    assert (source.dtype, source.bands, source.bytes_per_pixel) == ("int16", ("value",), 2)
    assert (found.files, found.reused, found.skipped, found.found_in) == (24, 0, (), {str(archive)})
    assert [row["status"] for row in found.series] == ["accepted"]
    stack = crosswalk.stack(source.volume.series_id, source.fingerprint)
    assert [each.place for each in stack.slices] == [str(file) for file in made.files]
    state = Places().state(str(made.files[0]))
    assert (stack.slices[0].size, stack.slices[0].stamp) == (state.size, state.stamp)
    names = [json.loads(line) for line in names_in(crosswalk).splitlines()]
    assert {"kind": "subject", "original": "HOSPITAL|P1"}.items() <= next(
        name.items() for name in names if name["kind"] == "subject"
    )


@pytest.mark.parametrize(
    ("name", "volumes", "told", "rejected"),
    [
        ("scout_in_series", 1, {}, {"localizer": 2}),  # pitfall 3
        ("two_phases", 2, {}, {}),
        ("enhanced_ct", 1, {}, {}),  # 7
        ("enhanced_two_stacks", 2, {}, {}),
        ("enhanced_concatenation", 1, {}, {}),
        ("transfer_jpeg_2000", 1, {}, {}),  # 14
        ("with_other_objects", 1, {}, None),  # 16
        ("missing_position", 0, {"missing_position": 1}, {"missing_position": 1}),  # 17
        ("zero_byte_file", 1, {"empty_file": 1}, {}),  # 24
        ("truncated_file", 0, {"truncated_file": 1}, {"truncated_file": 1}),
        ("duplicate_sop_uid", 0, {"duplicate_sop_instance": 1}, {"duplicate_sop_instance": 1}),
        ("identical_duplicates", 1, {}, {}),
    ],
)
def test_pitfalls_end_in_volumes_and_reasons(
    archive: Path,
    crosswalk: Crosswalk,
    name: str,
    volumes: int,
    told: dict[str, int],
    rejected: dict[str, int] | None,
) -> None:
    dicom_variants.make(name, archive)
    found = catalog(crosswalk, archive)
    assert len(found.sources) == volumes
    assert reasons(found) == told
    refused = Counter(row["reason"] for row in found.series if row["status"] == "rejected")
    if rejected is None:
        assert set(refused) == {"not_an_image_volume"}
    else:
        assert set(refused) == set(rejected)


def test_the_transfer_syntax_is_in_the_row(archive: Path, crosswalk: Crosswalk) -> None:
    dicom_variants.make("transfer_jpeg_ls", archive)
    (row,) = catalog(crosswalk, archive).series
    assert row["transfer_syntaxes"] == ["1.2.840.10008.1.2.4.80"]


def test_a_second_catalog_reads_no_header_and_says_the_same(
    archive: Path, crosswalk: Crosswalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    dicom_variants.make("enhanced_mr", archive / "mr")
    dicom_variants.make("pet", archive / "pt")
    dicom_variants.make("zero_byte_file", archive / "ct")
    (archive / "notes").write_text("not DICOM")
    (archive / "broken.dcm").write_text("not DICOM")
    first = catalog(crosswalk, archive)
    assert reasons(first) == {"empty_file": 1, "not_dicom": 1}
    names = names_in(crosswalk)

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(scanning, "read_headers", never)
    second = catalog(crosswalk, archive)
    assert comparable(second) == comparable(first)
    assert (first.reused, second.reused) == (0, 1 + 24 + 24 + 3)
    assert names_in(crosswalk) == names


def test_only_what_changed_is_read_again(archive: Path, crosswalk: Crosswalk, monkeypatch: pytest.MonkeyPatch) -> None:
    made = save(ct_series(), archive)
    first = catalog(crosswalk, archive)
    made.files[3].unlink()
    os.utime(made.files[5], ns=(1, 1))
    extra = save(ct_series(Layout(shape=(3, 40, 48)), study="2"), archive, ["n1", "n2", "n3"])
    read: list[str] = []
    before = scanning.read_headers

    def watched(places: Places, candidate: Any) -> Any:
        read.append(candidate.place)
        return before(places, candidate)

    monkeypatch.setattr(scanning, "read_headers", watched)
    second = catalog(crosswalk, archive)
    assert sorted(read) == sorted(str(file) for file in (made.files[5], *extra.files))
    assert sorted(source.grid.shape[0] for source in second.sources) == [3, 23]
    (whole,) = first.sources
    assert whole.fingerprint not in {source.fingerprint for source in second.sources}
    assert whole.uri in {source.uri for source in second.sources}


def test_a_torn_cache_is_read_again(archive: Path, crosswalk: Crosswalk) -> None:
    save(ct_series(), archive)
    first = catalog(crosswalk, archive)
    for file in (Path(crosswalk.folder) / "headers").rglob("*.gz"):
        file.write_bytes(file.read_bytes()[:-20])
        assert file.stat().st_mode & 0o077 == 0
    assert comparable(catalog(crosswalk, archive)) == comparable(first)


def test_headers_that_vanish_before_they_are_decided_on_are_told(
    archive: Path, crosswalk: Crosswalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(ct_series(), archive)
    before = HeaderCache.store

    def store(self: HeaderCache, key: str, found: Any) -> None:
        before(self, key, list(found)[1:])

    monkeypatch.setattr(HeaderCache, "store", store)
    with pytest.raises(
        StoreError, match=r"2[0-3] of 24 headers"
    ):  # names decide how many chunks there are, each lacks one
        catalog(crosswalk, archive)


def test_inputs_that_overlap_count_once(archive: Path, crosswalk: Crosswalk, tmp_path: Path) -> None:
    made = save(ct_series(), archive / "a")
    save(ct_series(study="2"), archive / "b")
    (archive / "list.txt").write_text("a\nb/IM0001\n")
    alone = catalog(crosswalk, archive)
    both = catalog(crosswalk, archive / "a", archive, made.files[0], archive / "a" / "IM*", archive / "list.txt")
    assert both.sources == alone.sources and both.series == alone.series
    assert both.found_in == {
        *(str(path) for path in (archive, archive / "a", made.files[0], archive / "a" / "IM*")),
        str(archive / "b" / "IM0001"),
    }


def test_processes_change_nothing(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(4):
        save(ct_series(Layout(shape=(20, 8, 8)), values=np.zeros((20, 8, 8)), study=str(k)), archive / str(k))
    (archive / "x.dcm").write_bytes(b"x")
    crosswalk = Crosswalk.open(str(tmp_path / "one"))
    alone = catalog(crosswalk, archive)
    monkeypatch.setattr(scanning, "CHUNK_FILES", 8)
    monkeypatch.setattr(dicom_catalog, "FEW_CHUNKS", 0)
    monkeypatch.setattr(dicom_catalog, "FEW_TASKS", 0)
    monkeypatch.setattr(dicom_batches, "BATCH_FRAMES", 25)
    other = Crosswalk.open(str(tmp_path / "two"))
    (Path(other.folder) / "key").write_text((Path(crosswalk.folder) / "key").read_text())
    together = catalog(other, archive, workers=2)
    assert comparable(together) == comparable(alone)
    for source in alone.sources:
        assert source.volume is not None
        kept = [each.stack(source.volume.series_id, source.fingerprint) for each in (other, crosswalk)]
        assert kept[0] == kept[1]


def test_a_script_without_a_guard_may_use_processes(archive: Path, tmp_path: Path) -> None:
    save(ct_series(), archive)
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom jobs import dicom_catalog\nfrom segworkers.dicom.crosswalk import Crosswalk\n"
        "dicom_catalog.FEW_CHUNKS = 0\nprint('begun')\n"
        "print(len(dicom_catalog.catalog_dicom([sys.argv[1]], Crosswalk.open(sys.argv[2]), 2).sources))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(archive), str(tmp_path / "cw")],
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout.split(), done.stderr) == (["begun", "1"], "")


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The processes that are started."""
    started: list[Any] = []
    start = processes._start

    def watched(module: str) -> Any:
        started.append(start(module))
        return started[-1]

    monkeypatch.setattr(processes, "_start", watched)
    return started


def test_a_child_that_dies_is_told(children: list[Any]) -> None:
    with Processes(2) as workers:
        running = workers.run(time.sleep, ((0.02,) for _ in range(10**9)))
        next(running)
        children[0].kill()
        with pytest.raises(StoreError, match="ended: is there enough memory"):
            list(running)
    assert all(child.returncode is not None for child in children)


def test_work_that_fails_is_told_without_its_text(children: list[Any]) -> None:
    for count in (1, 2):
        with pytest.raises(StoreError, match=r"failed \(FileNotFoundError\)") as told:
            list(Processes(count).run(os.stat, [("/nowhere/ZZPHI",)] * 9))
        assert SENTINEL not in str(told.value)
    assert len(children) == 2


def test_every_task_is_done_once_and_endless_work_can_be_left(children: list[Any]) -> None:
    def slowly() -> Iterator[tuple[int]]:
        for k in range(100):
            time.sleep(0.02)
            yield (-k,)

    with Processes(3) as workers:
        for _ in range(2):
            assert sorted(workers.run(abs, slowly())) == list(range(100))
        assert list(workers.run(abs, [(-1,)], alone=True)) == [1]
        running = workers.run(abs, ((k,) for k in range(10**9)))
        assert next(running) >= 0
        running.close()
    assert len(children) == 3 and all(child.returncode is not None for child in children)


def test_a_zip_and_a_dicomdir_give_what_the_folder_gives(archive: Path, tmp_path: Path, crosswalk: Crosswalk) -> None:
    made = save(ct_series(), archive)
    (from_folder,) = catalog(crosswalk, archive).sources
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for file in made.files:
            packed.write(file, f"ct/{file.name}")
    files = FileSet()
    for file in made.files:
        files.add(file)
    files.write(tmp_path / "medium")
    for path in (tmp_path / "study.zip", tmp_path / "medium" / "DICOMDIR", tmp_path / "medium"):
        found = catalog(crosswalk, path)
        (source,) = found.sources
        assert (source.uri, source.volume, found.skipped) == (from_folder.uri, from_folder.volume, ())
        assert source.volume is not None
        places = Places()
        for each in crosswalk.stack(source.volume.series_id, source.fingerprint).slices:
            assert places.state(each.place).size == each.size and places.read(each.place, 128, 132) == b"DICM"
    next(file for file in (tmp_path / "medium").rglob("IM*")).unlink()
    found = catalog(crosswalk, tmp_path / "medium" / "DICOMDIR")
    assert reasons(found) == {"missing_file": 1}
    assert found.sources[0].grid.shape[0] == 23


def test_empty_files_without_an_ending_count_only_beside_dicom(archive: Path, crosswalk: Crosswalk) -> None:
    save(ct_series()[:2], archive / "ct")
    (archive / "other").mkdir()
    for name in ("ct/IM0009", "ct/LOG.txt", "other/LOCK", "other/x.dcm"):
        (archive / name).write_bytes(b"")
    assert reasons(catalog(crosswalk, archive)) == {"empty_file": 2}


def test_only_files_that_no_raster_reader_knows_are_claimed(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = save(ct_series()[:1], archive)
    for name in ("DICOMDIR", "x.zip", "y.dcm", "z.tif", "list.txt", "other", "s.IMA"):
        (archive / name).write_bytes(b"1")
    claimed = {name for name in os.listdir(archive) if is_dicom_input(str(archive / name))}
    assert claimed == {made.files[0].name, "DICOMDIR", "x.zip", "y.dcm", "s.IMA"}
    assert not is_dicom_input(str(archive))
    assert not is_dicom_input(str(archive / "absent.dcm"))
    assert is_dicom_input("s3://b/x.dcm") and not is_dicom_input("s3://b/x") and not is_dicom_input("ftp://x/y.dcm")


def test_whether_there_is_dicom_is_found_by_content(archive: Path, tmp_path: Path) -> None:
    for name in ("a/notes.txt", "a/x.tif", "a/LOCK", "a/list.csv"):
        (archive / name).parent.mkdir(parents=True, exist_ok=True)
        (archive / name).write_bytes(b"")
    assert not holds_dicom([str(archive), str(archive / "a" / "*"), "s3:", str(tmp_path / "absent")])
    dicom_variants.make("no_preamble", archive / "old")
    assert holds_dicom([str(archive / "a"), str(archive / "old")])
    with zipfile.ZipFile(tmp_path / "torn.zip", "w") as packed:
        packed.writestr("x", b"x")
    assert holds_dicom([str(tmp_path / "torn.zip")])  # whatever is in it, this catalog tells of it
    assert not holds_dicom([str(archive / "a"), str(tmp_path / "*.zip")])


def test_a_source_of_changed_files_fails_and_reads_no_new_values(archive: Path, crosswalk: Crosswalk) -> None:
    made = save(ct_series(), archive)
    (old,) = catalog(crosswalk, archive).sources
    box = Box.of_shape(old.grid.shape)
    before = DicomReader(crosswalk).read(old, box, (0,)).pixels.copy()
    for file in made.files:
        one = pydicom.dcmread(file)
        one.RescaleIntercept = float(one.RescaleIntercept) + 7
        one.save_as(file)
    (new,) = catalog(crosswalk, archive).sources
    assert old.uri == new.uri and old.fingerprint != new.fingerprint
    reader = DicomReader(crosswalk)
    for _ in range(2):  # also after the new version was read by the same reader
        with pytest.raises(InputError) as caught:
            reader.read(old, box, (0,))
        assert caught.value.reason == "changed"
        np.testing.assert_array_equal(reader.read(new, box, (0,)).pixels, before + 7)


def test_no_identity_leaves_the_crosswalk(archive: Path, crosswalk: Crosswalk, capfd: Any, caplog: Any) -> None:
    told = b""
    for name in ("truncated_header", "missing_position", "with_other_objects"):
        dicom_variants.make(name, archive / name, word=SENTINEL)
        (archive / name / f"{SENTINEL}.dcm").write_bytes(b"x")
        found = catalog(crosswalk, archive / name)
        assert (name == "missing_position") == (not found.sources)
        assert len(found.skipped) == (1 if name == "with_other_objects" else 2)
        told += pickle.dumps((found.sources, found.skipped, found.series)) + repr(found.series).encode()
    told += "".join((*capfd.readouterr(), caplog.text)).encode()
    for original in (SENTINEL, UID_ROOT, "Erika", str(archive.parent)):
        assert original.encode() not in told
    assert SENTINEL in names_in(crosswalk)
    assert all(path.stat().st_mode & 0o077 == 0 for path in Path(crosswalk.folder).rglob("*"))


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            patch.setenv(name, "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        client = boto3.client("s3")
        client.create_bucket(Bucket="archive")
        yield client
    server.stop()


def test_objects_and_zips_of_a_bucket(bucket: Any, archive: Path, crosswalk: Crosswalk, tmp_path: Path) -> None:
    slices = ct_series(Layout(shape=(5, 40, 48)))
    block = slices[2].private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", b"x" * 100_000)  # one header that takes two requests
    made = save(slices, archive)
    (local,) = catalog(crosswalk, archive).sources
    for file in made.files:
        bucket.upload_file(str(file), "archive", f"ct/a/{file.name}")
    for name in (".hidden", "run/run.json", "run/tables/IM1", "x.tif", "DICOMDIR", "notes"):
        bucket.put_object(Bucket="archive", Key=f"ct/{name}", Body=b"x")
    found = catalog(crosswalk, "s3://archive/ct/")
    (source,) = found.sources
    assert (source.uri, source.volume, found.files, found.skipped) == (local.uri, local.volume, 5, ())
    assert source.volume is not None
    places = Places()
    for each, file in zip(crosswalk.stack(source.volume.series_id, source.fingerprint).slices, made.files, strict=True):
        assert each.place == f"s3://archive/ct/a/{file.name}"
        assert (each.size, each.stamp) == (places.state(each.place).size, places.state(each.place).stamp)
        assert places.read(each.place) == file.read_bytes()
    assert catalog(crosswalk, "s3://archive/ct").reused == 0  # another input
    assert catalog(crosswalk, "s3://archive/ct").reused == 6
    assert catalog(crosswalk, "s3://archive/ct/*/IM000[12]").files == 2
    assert catalog(crosswalk, f"s3://archive/ct/a/{made.files[0].name}").files == 1
    assert reasons(catalog(crosswalk, "s3://nowhere/ct/")) == {"missing_file": 1}
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for file in made.files:
            packed.write(file, file.name)
    bucket.upload_file(str(tmp_path / "study.zip"), "archive", "zips/study.zip")
    (source,) = catalog(crosswalk, "s3://archive/zips/").sources
    assert source.uri == local.uri and source.volume is not None
    slice_ = crosswalk.stack(source.volume.series_id, source.fingerprint).slices[0]
    assert slice_.place == f"s3://archive/zips/study.zip!{made.files[0].name}"
    assert places.read(slice_.place) == made.files[0].read_bytes()
