from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from schemas.errors import InputError
from schemas.volumes import VolumeFacts
from segworkers.dicom.nifti import write_nifti
from tests.dicom_files import AXIAL_REVERSED, CORONAL, OBLIQUE, SAGITTAL, Layout
from tests.dicom_outputs import bitmaps, geometry_of, lesions

SHAPE = (7, 11, 13)
LAYOUTS = {
    "axial": Layout(shape=SHAPE),
    "reversed": Layout(shape=SHAPE, iop=AXIAL_REVERSED),
    "coronal": Layout(shape=SHAPE, iop=CORONAL),
    "sagittal": Layout(shape=SHAPE, iop=SAGITTAL, spacing=(2.0, 0.5, 0.8)),
    "oblique": Layout(shape=SHAPE, iop=OBLIQUE, spacing=(1.7, 0.5, 0.8)),
    "tilted": Layout(shape=SHAPE, tilt_deg=20.0),
}


def facts_of(layout: Layout) -> VolumeFacts:
    return VolumeFacts(
        geometry=geometry_of(layout),
        series_id="a" * 32,
        study_id="b" * 32,
        subject_id="c" * 32,
        frame_of_reference_id="d" * 32,
        modality="CT",
    )


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_voxel_lies_where_it_lies_in_the_patient(name: str, tmp_path: Path) -> None:
    facts = facts_of(LAYOUTS[name])
    masks = bitmaps(SHAPE)
    (path,) = write_nifti(facts, lesions(masks), tmp_path)
    image = nib.load(path)
    labels = np.asanyarray(image.dataobj)
    for k, mask in enumerate(masks):
        voxels = np.argwhere(labels == k + 1)
        assert len(voxels) == mask.sum()
        ras = nib.affines.apply_affine(image.affine, voxels)
        lps = ras * [-1, -1, 1]
        expected = facts.geometry.positions(np.argwhere(mask))
        order, other = np.lexsort(np.round(lps, 3).T), np.lexsort(np.round(expected, 3).T)
        np.testing.assert_allclose(lps[order], expected[other], atol=1e-4)
    volume = abs(np.linalg.det(image.affine[:3, :3]))
    assert volume == pytest.approx(facts.geometry.voxel_volume_mm3, rel=1e-6)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_quaternion_agrees_or_is_not_given(name: str, tmp_path: Path) -> None:
    (path,) = write_nifti(facts_of(LAYOUTS[name]), lesions(bitmaps(SHAPE)), tmp_path)
    header = nib.load(path).header
    assert header.get_xyzt_units()[0] == "mm"
    assert int(header["sform_code"]) == 1
    if name == "tilted":
        assert int(header["qform_code"]) == 0
    else:
        assert int(header["qform_code"]) == 1
        np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)


def test_files_hold_no_text_and_are_the_same_every_time(tmp_path: Path) -> None:
    facts = facts_of(LAYOUTS["axial"])
    (first,) = write_nifti(facts, lesions(bitmaps(SHAPE)), tmp_path)
    before = first.read_bytes()
    (again,) = write_nifti(facts, lesions(bitmaps(SHAPE))[::-1], tmp_path)
    assert before == again.read_bytes()
    assert before[3] == 0 and before[4:8] == b"\0\0\0\0"  # no name, no time
    header = nib.load(first).header
    for name in ("descrip", "db_name", "aux_file", "intent_name"):
        assert bytes(header[name]).strip(b"\0") == b"", name
    assert len(gzip.decompress(before)) == 352 + np.prod(SHAPE)
    assert not list(tmp_path.glob(".*"))


def test_values_are_those_of_stitched_masks_and_the_better_is_on_top(tmp_path: Path) -> None:
    facts = facts_of(LAYOUTS["axial"])
    masks = np.zeros((3, *SHAPE), bool)
    masks[0, 2, 2:8, 2:8] = masks[1, 2, 4:10, 4:10] = masks[2, 2, 5:7, 5:7] = True
    found = lesions(masks, score=[0.9, 0.4, None])
    labels = np.asanyarray(nib.load(write_nifti(facts, found, tmp_path)[0]).dataobj).T
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels == 1, masks[0])
    np.testing.assert_array_equal(labels == 2, masks[1] & ~masks[0])
    found = lesions(masks)  # without scores the smallest is on top
    labels = np.asanyarray(nib.load(write_nifti(facts, found, tmp_path)[0]).dataobj).T
    np.testing.assert_array_equal(labels == 3, masks[2])


def test_many_lesions_need_wider_numbers_and_none_make_an_empty_map(tmp_path: Path) -> None:
    facts = facts_of(LAYOUTS["axial"])
    masks = np.zeros((300, *SHAPE), bool)
    for k in range(300):
        masks[k].flat[k] = True
    labels = np.asanyarray(nib.load(write_nifti(facts, lesions(masks), tmp_path)[0]).dataobj).T
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels.ravel()[:300], np.arange(1, 301))
    empty = np.asanyarray(nib.load(write_nifti(facts, [], tmp_path)[0]).dataobj)
    assert empty.shape == SHAPE[::-1] and not empty.any()


def test_uneven_steps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write_nifti(facts_of(Layout(shape=SHAPE, at=(0, 1, 2, 4, 5, 6, 7))), lesions(bitmaps(SHAPE)), tmp_path)
    assert caught.value.reason == "nifti_variable_spacing"
    assert not list(tmp_path.iterdir())
