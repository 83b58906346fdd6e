from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

import segworkers.dicom.segmentation as module
from schemas.errors import InputError
from segworkers.dicom.lesions import Lesion
from segworkers.dicom.segmentation import parts_of, segmentation_type, tracking_uid, write_seg
from segworkers.dicom.terms import class_terms
from tests.dicom_files import AXIAL_REVERSED, CORONAL, OBLIQUE, SAGITTAL, SENTINEL, UID_ROOT, Layout, ct_series
from tests.dicom_multiframe import concatenation, enhanced
from tests.dicom_outputs import MADE_AT, PSEUDONYMS, bitmaps, geometry_of, lesions, options, series

SHAPE = (8, 21, 27)
LAYOUTS = {
    "axial": Layout(shape=SHAPE),
    "reversed": Layout(shape=SHAPE, iop=AXIAL_REVERSED),
    "coronal": Layout(shape=SHAPE, iop=CORONAL),
    "sagittal": Layout(shape=SHAPE, iop=SAGITTAL),
    "oblique": Layout(shape=SHAPE, iop=OBLIQUE, spacing=(1.7, 0.5, 0.8)),
    "non_square": Layout(shape=SHAPE, spacing=(2.5, 0.5, 0.8)),
    "tilted": Layout(shape=SHAPE, tilt_deg=13.5),
    "missing_slice": Layout(shape=SHAPE, at=(0, 1, 2, 4, 5, 6, 7, 8)),
    "two_spacings": Layout(shape=SHAPE, at=(0, 1, 2, 3, 5, 7, 9, 11)),
    "one_slice": Layout(shape=(1, 21, 27)),
}


def as_table(path: Path) -> dict[int, dict[tuple[float, ...], np.ndarray]]:
    """Segment to position of a frame (its upper left voxel) to its bitmap: what the file says, by pydicom alone."""
    seg = dcmread(path)
    frames = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    frames = frames[: seg.NumberOfFrames * seg.Rows * seg.Columns].reshape(-1, seg.Rows, seg.Columns).astype(bool)
    found: dict[int, dict[tuple[float, ...], np.ndarray]] = {}
    shared = seg.SharedFunctionalGroupsSequence[0]
    for groups, frame in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        identification = (groups if "SegmentIdentificationSequence" in groups else shared).SegmentIdentificationSequence
        number = identification[0].ReferencedSegmentNumber
        place = tuple(float(v) for v in groups.PlanePositionSequence[0].ImagePositionPatient)
        found.setdefault(number, {})[place] = frame
    return found


def centroid_from_file(path: Path, number: int) -> np.ndarray:
    """Centroid in LPS of one segment, from the geometry in the file and nothing else."""
    seg = dcmread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    rows, columns = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    points = []
    for place, frame in as_table(path)[number].items():
        y, x = np.nonzero(frame)
        points.append(np.array(place) + np.outer(x * columns, cosines[:3]) + np.outer(y * rows, cosines[3:]))
    return np.concatenate(points).mean(axis=0)


@pytest.mark.parametrize("name", LAYOUTS)
def test_masks_and_centroids_survive_every_geometry(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    given = series(tmp_path / "in", layout)
    geometry = given.facts.geometry
    masks = bitmaps(geometry.shape, overlapping=True)
    (path,) = write_seg(given.stack, given.facts, lesions(masks), options(), tmp_path)
    found = as_table(path)
    assert sorted(found) == [1, 2, 3]
    for k, mask in enumerate(masks):
        origins = geometry.origins()
        assert len(found[k + 1]) == mask.any(axis=(1, 2)).sum()  # no empty frame
        for z in np.flatnonzero(mask.any(axis=(1, 2))):
            (frame,) = [f for at, f in found[k + 1].items() if np.allclose(at, origins[z], atol=1e-6)]
            np.testing.assert_array_equal(frame, mask[z])
        expected = geometry.positions(np.argwhere(mask)).mean(axis=0)
        np.testing.assert_allclose(centroid_from_file(path, k + 1), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_highdicom_reads_the_same_volume(kind: str, tmp_path: Path) -> None:
    given = series(tmp_path / "in", LAYOUTS["oblique"])
    masks = bitmaps(given.facts.geometry.shape)
    (path,) = write_seg(given.stack, given.facts, lesions(masks), options(segmentation=kind), tmp_path)
    seg = hd.seg.segread(path)
    assert seg.segment_numbers == [1, 2, 3]
    volume = seg.get_volume(combine_segments=True)
    voxels = np.argwhere(volume.array)
    values = volume.array[tuple(voxels.T)]
    in_patient = volume.map_indices_to_reference(voxels)
    affine = np.linalg.inv(given.facts.geometry.affine())
    back = np.rint((affine @ np.c_[in_patient, np.ones(len(in_patient))].T).T[:, :3]).astype(int)
    assert len(back) == masks.sum()
    assert masks[(values - 1, *back.T)].all()


def test_a_label_map_is_written_only_without_overlap(tmp_path: Path) -> None:
    given = series(tmp_path / "in", LAYOUTS["axial"])
    apart = lesions(bitmaps(given.facts.geometry.shape))
    over = lesions(bitmaps(given.facts.geometry.shape, overlapping=True))
    wanted = options(segmentation="labelmap")
    assert segmentation_type(apart, wanted) == "labelmap"
    assert segmentation_type(over, wanted) == "binary"
    (path,) = write_seg(given.stack, given.facts, over, wanted, tmp_path)
    assert dcmread(path).SegmentationType == "BINARY"
    assert dcmread(path).SegmentsOverlap == "YES"
    (path,) = write_seg(given.stack, given.facts, apart, wanted, tmp_path)
    assert (dcmread(path).SegmentationType, dcmread(path).SegmentsOverlap) == ("LABELMAP", "NO")


def test_frames_name_their_source_slices(tmp_path: Path) -> None:
    given = series(tmp_path / "in", LAYOUTS["tilted"])
    masks = bitmaps(given.facts.geometry.shape)
    (path,) = write_seg(given.stack, given.facts, lesions(masks), options(mode="clinical"), tmp_path)
    by_place = {tuple(map(float, one.ImagePositionPatient)): one.SOPInstanceUID for one in given.datasets}
    seg = dcmread(path)
    for groups in seg.PerFrameFunctionalGroupsSequence:
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        at = tuple(float(v) for v in groups.PlanePositionSequence[0].ImagePositionPatient)
        (expected,) = [uid for place, uid in by_place.items() if np.allclose(place, at)]
        assert source.ReferencedSOPInstanceUID == expected
        assert "ReferencedFrameNumber" not in source
    (referenced,) = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == given.stack.series_uid
    assert {each.ReferencedSOPInstanceUID for each in referenced.ReferencedInstanceSequence} == set(by_place.values())
    assert seg.FrameOfReferenceUID == given.stack.frame_of_reference_uid


@pytest.mark.parametrize("parts", [1, 3])
def test_frames_of_enhanced_sources_are_named_by_number(parts: int, tmp_path: Path) -> None:
    layout = LAYOUTS["axial"]
    slices = ct_series(layout)
    order = [5, 0, 7, 2, 1, 6, 3, 4]
    if parts == 1:
        files = [enhanced(slices, order)]
        places = [(0, order.index(z)) for z in range(len(order))]
    else:
        files = concatenation(slices, parts)
        places = [(file, k) for file, some in enumerate(np.array_split(np.arange(8), parts)) for k in range(len(some))]
    given = series(tmp_path / "in", layout, files=files, places=places)
    masks = bitmaps(given.facts.geometry.shape)
    (path,) = write_seg(given.stack, given.facts, lesions(masks), options(mode="clinical"), tmp_path)
    seg = dcmread(path)
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == parts
    assert seg.SourceImageSequence[0].ReferencedSOPClassUID == files[0].SOPClassUID
    for groups in seg.PerFrameFunctionalGroupsSequence:
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        (file,) = [one for one in files if one.SOPInstanceUID == source.ReferencedSOPInstanceUID]
        frame = file.PerFrameFunctionalGroupsSequence[source.ReferencedFrameNumber - 1]
        expected = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float), expected)


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_research_objects_hold_nothing_of_the_source(kind: str, tmp_path: Path) -> None:
    given = series(tmp_path / "in", LAYOUTS["axial"], word=SENTINEL)
    found = lesions(bitmaps(given.facts.geometry.shape))
    (path,) = write_seg(given.stack, given.facts, found, options(segmentation=kind), tmp_path)
    data = path.read_bytes()
    for word in (SENTINEL, UID_ROOT, "Muster", "P1 ", "20210305", "19500203", "4711", "Klinik", str(tmp_path)):
        assert word.encode() not in data, word
    seg = dcmread(path)
    assert seg.PatientID == seg.PatientName == given.facts.subject_id
    assert (seg.PatientIdentityRemoved, seg.LongitudinalTemporalInformationModified) == ("YES", "REMOVED")
    assert len(seg.DeidentificationMethod) <= 64
    assert seg.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert seg.StudyInstanceUID == PSEUDONYMS.uid("study", given.stack.study_uid)
    assert seg.FrameOfReferenceUID == PSEUDONYMS.uid("frame_of_reference", given.stack.frame_of_reference_uid)
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == PSEUDONYMS.uid("series", given.stack.series_uid)
    remapped = {PSEUDONYMS.uid("instance", each.uid) for each in given.stack.slices}
    assert {each.ReferencedSOPInstanceUID for each in seg.SourceImageSequence} == remapped


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_clinical_objects_belong_to_the_patient(tmp_path: Path) -> None:
    layout = LAYOUTS["axial"]
    slices = ct_series(layout)
    for one in slices:
        one.SpecificCharacterSet, one.PatientName = "ISO_IR 100", "Müller^Jörg"
        one.PatientSex = "X?"  # what some devices write; it is copied, not judged
    given = series(tmp_path / "in", layout, files=slices)
    (path,) = write_seg(given.stack, given.facts, lesions(bitmaps(SHAPE)), options(mode="clinical"), tmp_path)
    seg = dcmread(path)
    assert (seg.PatientName, seg.PatientID, seg.PatientSex) == ("Müller^Jörg", "P1", "X?")
    assert (seg.StudyInstanceUID, seg.StudyDate) == (given.stack.study_uid, "20210305")
    assert (seg.AccessionNumber, seg.StudyDescription) == ("ACC4711", "Abdomen of Erika")
    assert "PatientIdentityRemoved" not in seg
    assert seg.Modality == "SEG"
    assert (seg.SeriesDescription, seg.Manufacturer) == ("Segmentation (automatic)", "segworkers")
    assert seg.SOPInstanceUID == seg.file_meta.MediaStorageSOPInstanceUID != given.datasets[0].SOPInstanceUID


@pytest.mark.parametrize("mode", ["research", "clinical"])
@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_the_same_run_writes_the_same_bytes(mode: str, kind: str, tmp_path: Path) -> None:
    given = series(tmp_path / "in", LAYOUTS["axial"])
    found = lesions(bitmaps(given.facts.geometry.shape))
    written = []
    for folder, order in (("a", found), ("b", found[::-1])):
        (tmp_path / folder).mkdir()
        chosen = options(mode=mode, segmentation=kind)
        written.append(write_seg(given.stack, given.facts, order, chosen, tmp_path / folder)[0])
    assert written[0].read_bytes() == written[1].read_bytes()
    seg = dcmread(written[0])
    assert (seg.ContentDate, seg.ContentTime) == (MADE_AT.strftime("%Y%m%d"), MADE_AT.strftime("%H%M%S"))
    assert not list(tmp_path.glob("*/.*"))


def test_other_content_has_another_uid(tmp_path: Path) -> None:
    given = series(tmp_path / "in", LAYOUTS["axial"])
    found = lesions(bitmaps(SHAPE))
    cases = [
        (options(), found),
        (options(generation="g2"), found),
        (options(mode="clinical"), found),
        (options(segmentation="labelmap"), found),
        (options(), found[:2]),
    ]
    uids = set()
    for chosen, some in cases:
        (path,) = write_seg(given.stack, given.facts, some, chosen, tmp_path)
        uids.add(dcmread(path).SOPInstanceUID)
    assert len(uids) == len(cases)


def test_segments_say_what_and_which_they_are(tmp_path: Path) -> None:
    given = series(tmp_path / "in", LAYOUTS["axial"])
    liver = {"value": "10200004", "scheme": "SCT", "meaning": "Liver"}
    terms = class_terms({"liver_lesion": {"sites": [liver]}})
    found = lesions(bitmaps(SHAPE))
    (path,) = write_seg(given.stack, given.facts, found, options(terms=terms), tmp_path)
    items = hd.seg.segread(path).SegmentSequence
    for item, lesion in zip(items, found, strict=True):
        assert item.SegmentAlgorithmType == "AUTOMATIC"
        assert item.segmented_property_category.value == "49755003"
        assert item.segmented_property_type.value == "52988006"
        assert item.AnatomicRegionSequence[0].CodeValue == "10200004"
        assert (item.TrackingID, item.TrackingUID) == (lesion.instance_id, tracking_uid(lesion))
        algorithm = item.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("threshold", "1.2")
        assert "ab" * 32 in algorithm.AlgorithmParameters


def test_no_lesion_makes_no_object(tmp_path: Path) -> None:
    given = series(tmp_path / "in", LAYOUTS["axial"])
    assert write_seg(given.stack, given.facts, [], options(), tmp_path) == []
    assert not list(tmp_path.glob("*.dcm"))


def test_a_series_without_frame_of_reference_gets_one_of_its_own(tmp_path: Path) -> None:
    given = series(tmp_path / "in", LAYOUTS["axial"])
    stack = replace(given.stack, frame_of_reference_uid="")
    found = lesions(bitmaps(SHAPE))
    uids = set()
    for mode in ("research", "clinical"):
        (path,) = write_seg(stack, given.facts, found, options(mode=mode), tmp_path)
        uids.add(dcmread(path).FrameOfReferenceUID)
    assert len(uids) == 2 and all(uid.startswith("2.25.") for uid in uids)


def test_objects_are_cut_where_they_are_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = series(tmp_path / "in", LAYOUTS["axial"])
    found = lesions(bitmaps(SHAPE, 7, overlapping=True))
    monkeypatch.setattr(module, "MAX_SEGMENTS", 3)
    paths = write_seg(given.stack, given.facts, found, options(), tmp_path)
    assert [path.name[33:] for path in paths] == ["seg.dcm", "seg-2.dcm", "seg-3.dcm"]
    headers = [dcmread(path) for path in paths]
    assert [[s.SegmentNumber for s in each.SegmentSequence] for each in headers] == [[1, 2, 3], [1, 2, 3], [1]]
    named = [s.TrackingID for each in headers for s in each.SegmentSequence]
    assert named == [lesion.instance_id for lesion in found]
    assert len({each.SOPInstanceUID for each in headers}) == 3
    assert len({each.SeriesInstanceUID for each in headers}) == 1
    assert [each.InstanceNumber for each in headers] == [1, 2, 3]


def test_parts_keep_within_frames_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = geometry_of(Layout(shape=(10, 16, 16)))
    one = np.zeros((10, 16, 16), bool)
    one[:4, 3, 3] = True
    found = lesions(np.stack([one] * 5))
    monkeypatch.setattr(module, "MAX_FRAMES", 8)
    assert [len(part) for part in parts_of(found, geometry, "binary")] == [2, 2, 1]
    assert [len(part) for part in parts_of(found, geometry, "labelmap")] == [5]
    monkeypatch.setattr(module, "MAX_PIXEL_BYTES", 4 * 32)
    assert [len(part) for part in parts_of(found, geometry, "binary")] == [1] * 5


def test_a_mask_of_another_volume_is_refused(tmp_path: Path) -> None:
    given = series(tmp_path / "in", LAYOUTS["axial"])
    runs = np.array([[SHAPE[0], 0, 0, 1]], np.int32)
    stray = Lesion(instance_id="1" * 32, label="a", runs=runs)
    with pytest.raises(InputError) as caught:
        write_seg(given.stack, given.facts, [stray], options(), tmp_path)
    assert caught.value.reason == "output_failed"
    assert not list(tmp_path.glob("*.dcm"))


def test_a_changed_or_missing_source_is_refused_without_its_name(tmp_path: Path) -> None:
    given = series(tmp_path / "in", LAYOUTS["axial"], word=SENTINEL)
    found = lesions(bitmaps(SHAPE))
    first = Path(given.stack.slices[0].place)
    first.write_bytes(first.read_bytes() + b"\0\0")
    for reason in ("changed", "missing_file"):
        with pytest.raises(InputError) as caught:
            write_seg(given.stack, given.facts, found, options(), tmp_path)
        assert caught.value.reason == reason
        assert given.facts.series_id in str(caught.value)
        assert SENTINEL not in str(caught.value) and str(tmp_path) not in str(caught.value)
        first.unlink(missing_ok=True)


def test_memory_follows_the_masks_not_the_volume(tmp_path: Path) -> None:
    given = series(tmp_path / "in", Layout(shape=(24, 160, 160)))
    runs = lesions(bitmaps((2, 8, 8), 1))[0].runs
    many = [
        Lesion(instance_id=f"{k:032x}", label="a", runs=runs + np.array([k % 20, k, 0, 0], np.int32)) for k in range(60)
    ]
    write_seg(given.stack, given.facts, many[:1], options(), tmp_path)  # tables of the libraries are loaded once
    tracemalloc.start()
    write_seg(given.stack, given.facts, many, options(), tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12e6  # as an array 37 MB
