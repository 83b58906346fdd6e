"""The catalog of whole-slide images: which files make a slide, which level is read, and what is never looked at."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from jobs import dicom_catalog
from jobs.dicom_catalog import DicomCatalog, catalog_dicom
from schemas.boxes import Box
from segworkers.dicom import file_headers
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.places import Places
from segworkers.dicom.reader import DicomReader
from tests.dicom_files import SENTINEL, UID_ROOT, ct_series, save, uid
from tests.dicom_slides import Tiling, level, picture, pyramid, unreadable

LEVELS = [
    Tiling(pixel_um=(0.25, 0.25)),
    Tiling(pixel_um=(0.5, 0.5), sparse=True),
    Tiling(pixel_um=(1.0, 1.0), jpeg=True),
]


@pytest.fixture
def crosswalk(tmp_path: Path) -> Crosswalk:
    return Crosswalk.open(str(tmp_path / "crosswalk"))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def catalog(crosswalk: Crosswalk, *inputs: Path, um: float | None = None) -> DicomCatalog:
    return catalog_dicom([str(each) for each in inputs], crosswalk, 1, um)


def slide_rows(found: DicomCatalog) -> list[dict[str, Any]]:
    """Rows of `series` without those of labels and overviews."""
    return [row for row in found.series if row["reason"] != "not_a_slide_level"]


def whole(source: Any, crosswalk: Crosswalk) -> np.ndarray:
    block = DicomReader(crosswalk).read(source, Box.of_shape(source.grid.shape), (0, 1, 2))
    return np.moveaxis(block.pixels[:, 0], 0, -1)


def test_a_slide_is_a_source_a_row_and_an_entry_of_the_crosswalk(archive: Path, crosswalk: Crosswalk) -> None:
    save(pyramid(LEVELS), archive)
    found = catalog(crosswalk, archive)
    (source,) = found.sources
    assert source.slide is not None and source.volume is None and source.series is source.slide
    assert source.uri == f"dicom:{source.slide.series_id}" and source.slide.modality == "SM"
    assert (source.grid.shape, source.dtype, source.bands) == ((1, 70, 100), "uint8", ("red", "green", "blue"))
    assert source.pixel_um == (0.25, 0.25)
    assert (found.files, found.skipped, found.found_in) == (3, (), {str(archive)})
    (row,) = found.series
    facts = source.slide
    assert (row["series_id"], row["study_id"], row["subject_id"]) == (facts.series_id, facts.study_id, facts.subject_id)
    assert (row["status"], row["reason"], row["source_id"]) == ("accepted", None, source.source_id)
    assert (row["rows"], row["columns"], row["files"], row["modality"]) == (70, 100, 3, "SM")
    assert row["decisions"] == ["icc_profile"]
    assert row["transfer_syntaxes"] == ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"]
    for name in ("slices", "stack_kind", "plane", "affine", "value_unit", "spacing_z_mm", "missing_slices"):
        assert row[name] is None
    levels = crosswalk.slide(facts.series_id, source.fingerprint).levels
    assert [each.pixel_um[0] for each in levels] == [0.25, 0.5, 1.0]
    assert np.array_equal(whole(source, crosswalk), picture())
    assert UID_ROOT not in repr(found) and "Muster" not in repr(found)


@pytest.mark.parametrize(("um", "read", "decided"), [(0.5, 0.5, True), (0.4, 0.25, False), (20.0, 1.0, True)])
def test_the_level_that_is_wanted(um: float, read: float, decided: bool, archive: Path, crosswalk: Crosswalk) -> None:
    save(pyramid(LEVELS), archive)
    found = catalog(crosswalk, archive, um=um)
    (source,), (row,) = found.sources, found.series
    assert source.pixel_um == (read, read)
    assert (row["rows"], row["columns"]) == source.grid.shape[1:]
    assert ("coarser_level" in row["decisions"]) is decided
    assert source.uri == catalog(crosswalk, archive).sources[0].uri
    assert source.fingerprint == catalog(crosswalk, archive, um=um).sources[0].fingerprint


def test_a_slide_that_is_too_coarse_is_refused(archive: Path, crosswalk: Crosswalk) -> None:
    save(pyramid(LEVELS), archive)
    found = catalog(crosswalk, archive, um=0.2)
    assert (found.sources, [each.reason for each in found.skipped]) == ((), ["too_coarse"])
    (row,) = found.series
    assert (row["status"], row["reason"], row["rows"]) == ("rejected", "too_coarse", None)
    assert found.skipped[0].uri == f"dicom:{row['series_id']}" and row["series_id"] in found.skipped[0].message


def test_labels_and_overviews_are_counted_and_nothing_of_them_is_read_but_the_first_bytes(
    archive: Path, crosswalk: Crosswalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pyramid(LEVELS)
    for flavour in ("LABEL", "OVERVIEW", "THUMBNAIL"):
        label = unreadable(flavour, flavour)
        label.PixelData = encapsulate([SENTINEL.encode() * 20_000] * int(label.NumberOfFrames))
        made.append(label)
    names = ["0", "1", "2", "LABEL", "OVERVIEW", "THUMBNAIL"]
    save(made, archive, names)
    read: dict[str, int] = {}
    real = Places.read

    def counted(self: Places, place: str, start: int = 0, stop: int | None = None) -> bytes:
        data = real(self, place, start, stop)
        read[Path(place).name] = max(read.get(Path(place).name, 0), start + len(data))
        return data

    monkeypatch.setattr(Places, "read", counted)
    found = catalog(crosswalk, archive)
    assert len(found.sources) == 1 and found.skipped == () and found.files == 6
    assert max(read[name] for name in names[3:]) <= file_headers.FIRST_BYTES
    (other,) = (row for row in found.series if row["reason"] == "not_a_slide_level")
    assert (other["files"], other["status"], other["source_id"]) == (3, "rejected", None)
    assert other["study_id"] == slide_rows(found)[0]["study_id"]
    slide = crosswalk.slide(slide_rows(found)[0]["series_id"], found.sources[0].fingerprint)
    assert {Path(file.place).name for each in slide.levels for file in each.files} == {"0", "1", "2"}


def test_a_series_of_labels_only_is_no_failure(archive: Path, crosswalk: Crosswalk) -> None:
    save([unreadable("LABEL", "a")], archive)
    found = catalog(crosswalk, archive)
    assert (found.sources, found.skipped) == ((), ())
    assert [row["reason"] for row in found.series] == ["not_a_slide_level"]


def test_a_second_catalog_reads_no_header_and_a_changed_file_changes_the_fingerprint(
    archive: Path, crosswalk: Crosswalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = save([*pyramid(LEVELS), unreadable("LABEL", "a")], archive)
    first = catalog(crosswalk, archive)
    with monkeypatch.context() as patched:
        patched.setattr(Places, "read", None)
        again = catalog(crosswalk, archive)
    assert (again.sources, again.series, again.reused) == (first.sources, first.series, 4)
    made.slices[0].save_as(made.files[0])
    other = catalog(crosswalk, archive).sources[0]
    assert other.fingerprint != first.sources[0].fingerprint and other.uri == first.sources[0].uri
    shutil.move(archive, archive.with_name("elsewhere"))
    assert catalog(crosswalk, archive.with_name("elsewhere")).sources == (other,)


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-2000])


@pytest.mark.parametrize(
    ("which", "um", "read"),
    [(0, None, None), (0, 0.5, 0.5), (1, None, 0.25), (1, 0.5, None), (1, 1.0, 1.0), (2, 0.5, 0.5), (2, 1.0, None)],
)
def test_a_level_that_cannot_be_read_is_left_out_unless_it_is_the_wanted_one(
    which: int, um: float | None, read: float | None, archive: Path, crosswalk: Crosswalk
) -> None:
    truncated(save(pyramid(LEVELS), archive).files[which])
    found = catalog(crosswalk, archive, um=um)
    (row,) = found.series
    if read is None:
        assert found.sources == () and [each.reason for each in found.skipped] == ["truncated_file"]
        assert (row["status"], row["reason"]) == ("rejected", "truncated_file")
    else:
        assert found.sources[0].pixel_um == (read, read) and found.skipped == ()
        assert row["status"] == "repaired" and row["decisions"][:2] == ["level_left_out", "truncated_file"]
        assert len(crosswalk.slide(row["series_id"], found.sources[0].fingerprint).levels) == 2


def without_spacing(made: Dataset) -> None:
    del made.SharedFunctionalGroupsSequence


def without_pixels(made: Dataset) -> None:
    del made.PixelData


def without_uid(made: Dataset) -> None:
    made.StudyInstanceUID = ""


def of_another_patient(made: Dataset) -> None:
    made.PatientID = "P2"


def part_of_two(made: Dataset) -> None:
    made.ConcatenationUID, made.InConcatenationNumber, made.InConcatenationTotalNumber = uid("c"), 1, 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_spacing, "slide_spacing_missing"),
        (without_pixels, "read_failed"),
        (without_uid, "missing_uid"),
        (of_another_patient, "mixed_patients"),
        (part_of_two, "incomplete_concatenation"),
    ],
)
def test_headers_that_are_refused(change: Any, reason: str, archive: Path, crosswalk: Crosswalk) -> None:
    made = pyramid(LEVELS)
    change(made[0])
    save(made, archive)
    found = catalog(crosswalk, archive)
    assert found.sources == () and [each.reason for each in found.skipped] == [reason]
    assert [(row["status"], row["reason"], row["files"]) for row in found.series] == [("rejected", reason, 3)]


def test_copies_are_dropped_and_other_files_under_one_uid_are_refused(archive: Path, crosswalk: Crosswalk) -> None:
    made = save(pyramid(LEVELS), archive / "a")
    shutil.copytree(archive / "a", archive / "b")
    (source,), (row,) = catalog(crosswalk, archive).sources, catalog(crosswalk, archive).series
    assert (row["status"], row["decisions"][0], row["files"]) == ("repaired", "duplicates_dropped", 6)
    assert np.array_equal(whole(source, crosswalk), picture())
    data = bytearray((archive / "b" / made.files[0].name).read_bytes())
    data[-5] ^= 1
    (archive / "b" / made.files[0].name).write_bytes(data)
    assert [each.reason for each in catalog(crosswalk, archive).skipped] == ["duplicate_sop_instance"]


@pytest.mark.parametrize("keyword", ["PyramidUID", "FrameOfReferenceUID"])
def test_several_slides_in_one_series_stay_apart(keyword: str, archive: Path, crosswalk: Crosswalk) -> None:
    one, other = pyramid(LEVELS[:2]), pyramid(LEVELS[:1], 255 - picture())
    other[0].SOPInstanceUID = other[0].file_meta.MediaStorageSOPInstanceUID = uid("other")
    for number, slide in enumerate((one, other)):
        for made in slide:
            setattr(made, keyword, uid("shared", number))
    save([*one, *other], archive)
    found = catalog(crosswalk, archive)
    assert len(found.sources) == 2 and {row["decisions"][0] for row in found.series} == {"several_slides"}
    assert len({row["dicom_series_id"] for row in found.series}) == 1
    seen = [whole(source, crosswalk) for source in found.sources]
    assert {bool(np.array_equal(each, picture())) for each in seen} == {True, False}
    assert {bool(np.array_equal(each, 255 - picture())) for each in seen} == {True, False}


def with_own_frames(slide: list[Dataset], container: str = "GLASS 1") -> list[Dataset]:
    """As converters write it that make an object of each level: no PyramidUID, a frame of reference each."""
    for made in slide:
        made.ContainerIdentifier, made.FrameOfReferenceUID = container, uid("frame of", made.SOPInstanceUID)
    return slide


def test_levels_of_one_glass_with_frames_of_reference_of_their_own_are_one_slide(
    archive: Path, crosswalk: Crosswalk
) -> None:
    slide = with_own_frames(pyramid(LEVELS))
    save(slide, archive)
    found = catalog(crosswalk, archive, um=1.0)
    (source,), (row,) = found.sources, found.series
    assert row["decisions"][:2] == ["frames_of_reference_differ", "coarser_level"]
    assert source.pixel_um == (1.0, 1.0)
    names = crosswalk.pseudonyms()
    read = names.of("frame_of_reference", slide[2].FrameOfReferenceUID)
    assert row["frame_of_reference_id"] == read


def other_glass(slide: list[Dataset]) -> None:
    slide[1].ContainerIdentifier = "GLASS 2"


def no_glass(slide: list[Dataset]) -> None:
    for made in slide:
        del made.ContainerIdentifier


def other_extent(slide: list[Dataset]) -> None:
    slide[1].SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = ["0.0015", "0.0015"]


def one_size(slide: list[Dataset]) -> None:
    again = pyramid(LEVELS[:1])[0]
    again.ContainerIdentifier, again.FrameOfReferenceUID = "GLASS 1", uid("frame of", "again")
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = uid("again")
    slide.append(again)


def pyramids_of_their_own(slide: list[Dataset]) -> None:
    for number, made in enumerate(slide):
        made.PyramidUID = uid("pyramid", number)


@pytest.mark.parametrize("change", [other_glass, no_glass, other_extent, one_size, pyramids_of_their_own])
def test_what_may_be_two_slides_stays_apart(change: Any, archive: Path, crosswalk: Crosswalk) -> None:
    slide = with_own_frames(pyramid(LEVELS[:2]))
    change(slide)
    save(slide, archive)
    found = catalog(crosswalk, archive)
    assert len(found.sources) == len(slide)
    assert {row["decisions"][0] for row in found.series} == {"several_slides"}


def test_slides_and_volumes_of_one_archive_and_a_zip(archive: Path, crosswalk: Crosswalk) -> None:
    made = save(pyramid(LEVELS), archive)
    with zipfile.ZipFile(archive / "slide.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in made.files:
            zipped.write(file, file.name)
            file.unlink()
    save(ct_series(patient="P2"), archive / "ct")
    found = catalog(crosswalk, archive)
    assert sorted(source.series.modality for source in found.sources if source.series) == ["CT", "SM"]
    (slide,) = (source for source in found.sources if source.slide)
    assert np.array_equal(whole(slide, crosswalk), picture())


def test_what_a_slide_is_told_of_in_other_processes(
    archive: Path, crosswalk: Crosswalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(pyramid(LEVELS), archive)
    alone = catalog(crosswalk, archive, um=0.5)
    monkeypatch.setattr(dicom_catalog, "FEW_CHUNKS", 0)
    monkeypatch.setattr(dicom_catalog, "FEW_TASKS", 0)
    other = Crosswalk.open(crosswalk.folder + "2")
    (Path(other.folder) / "key").write_bytes((Path(crosswalk.folder) / "key").read_bytes())
    found = catalog_dicom([str(archive)], other, 2, 0.5)
    assert (found.sources, found.series) == (alone.sources, alone.series)


def test_a_burned_in_annotation_is_noticed(archive: Path, crosswalk: Crosswalk) -> None:
    made = level(picture(), Tiling(jpeg=True))
    made.BurnedInAnnotation = "YES"
    save([made], archive)
    (row,) = catalog(crosswalk, archive).series
    assert row["decisions"] == ["icc_profile", "lossy", "burned_in_annotation"]
