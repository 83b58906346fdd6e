"""SEG and SR of the phantom in awkward series, as the catalog decides on them, read back by pydicom alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from highdicom.sr import srread
from pydicom import dcmread
from pydicom.dataset import Dataset

from schemas.masks import to_runs
from segworkers.dicom.lesions import Lesion
from segworkers.dicom.report import write_sr
from segworkers.dicom.segmentation import write_seg
from tests.dicom_decisions import decided, measured, values_of, volumes
from tests.dicom_outputs import options

NAMES = [
    "shuffled_instance_numbers", "reversed_normal", "coronal", "sagittal", "oblique", "non_square_pixels",
    "missing_slices", "two_spacings", "gantry_tilt", "two_phases", "missing_frame_of_reference", "overlong_position",
    "pet", "j2k_sign_mismatch", "lossy", "no_preamble", "enhanced_ct", "enhanced_mr", "enhanced_concatenation",
]  # fmt: skip


def position_of(source: Dataset, frame: int | None) -> np.ndarray:
    """ImagePositionPatient of an image, or of its 1-based frame."""
    if frame is None:
        return np.array(source.ImagePositionPatient, float)
    groups = source.PerFrameFunctionalGroupsSequence[frame - 1]
    return np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)


def positions_in(seg: Dataset) -> np.ndarray:
    """LPS of all voxels of a segmentation, through its own attributes."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    rows, columns = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    frames = bits[: seg.NumberOfFrames * seg.Rows * seg.Columns].reshape(-1, seg.Rows, seg.Columns)
    found = []
    for groups, frame in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        y, x = np.nonzero(frame)
        corner = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        found.append(corner + np.outer(x * columns, cosines[:3]) + np.outer(y * rows, cosines[3:]))
    return np.concatenate(found)


def in_order(points: np.ndarray) -> np.ndarray:
    """Sorted, rounded to 1 µm so that rounding errors do not decide the order."""
    return np.array(sorted((np.round(points, 3) + 0.0).tolist()))


@pytest.mark.parametrize("name", NAMES)
def test_outputs_lie_on_the_slices_that_they_name(name: str, tmp_path: Path) -> None:
    made, decisions, phantom = decided(name, tmp_path / "in")
    for number, decision in enumerate(volumes(decisions)):
        assert decision.facts and decision.stack
        values, valid = values_of(decision.stack)
        level = (phantom.inside + phantom.outside) / 2
        mask = (values > level) & valid
        volume, _ = measured(decision, level)
        lesion = Lesion(instance_id=f"{number:032x}", label="phantom", runs=to_runs(mask), volume_mm3=volume)
        chosen = options(mode="clinical")
        (path,) = write_seg(decision.stack, decision.facts, [lesion], chosen, tmp_path)
        seg = dcmread(path)
        # Where the file says that its voxels are, is where the series says that they are.
        expected = decision.facts.geometry.positions(np.argwhere(mask))
        np.testing.assert_allclose(in_order(positions_in(seg)), in_order(expected), atol=2e-3)
        by_uid = {one.SOPInstanceUID: one for one in made.slices}
        for groups in seg.PerFrameFunctionalGroupsSequence:
            (item,) = groups.DerivationImageSequence[0].SourceImageSequence
            source = by_uid[item.ReferencedSOPInstanceUID]
            assert item.ReferencedSOPClassUID == source.SOPClassUID
            place = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
            np.testing.assert_allclose(position_of(source, item.get("ReferencedFrameNumber")), place, atol=1e-6)
        (report,) = write_sr(decision.stack, decision.facts, [lesion], [path], chosen, tmp_path)
        content: Any = srread(report).content
        (group,) = content.get_volumetric_roi_measurement_groups()
        assert group.get_measurements()[0].value == pytest.approx(volume, rel=1e-9)
