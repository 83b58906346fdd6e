"""Series with known lesions, for tests of the standard outputs: files, the stack, its facts, the lesions' bitmaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from schemas.masks import to_runs
from schemas.volumes import VolumeFacts, VolumeGeometry
from segworkers.dicom.derived import Algorithm, ObjectOptions
from segworkers.dicom.lesions import Lesion
from segworkers.dicom.stack import Slice, Stack
from segworkers.pseudonyms import Pseudonyms
from tests.dicom_files import Layout, ct_series, save

PSEUDONYMS = Pseudonyms(b"0123456789abcdef0123456789abcdef")
MADE_AT = datetime(2031, 5, 6, 7, 8, 9)  # noqa: DTZ001 - DICOM's local time


@dataclass(frozen=True, kw_only=True)
class Series:
    """A series on disk and what the catalog would say of it."""

    stack: Stack
    facts: VolumeFacts
    datasets: tuple[Dataset, ...]
    """One for each slice, or the one that holds them all."""


def geometry_of(layout: Layout) -> VolumeGeometry:
    """The true geometry, as the catalog would describe it."""
    origins = layout.origins()
    steps = np.diff(origins, axis=0)
    varies = len(steps) > 1 and not np.allclose(steps, steps[0])
    step = steps.mean(axis=0) if len(steps) else layout.step
    xyz = [tuple(float(v) for v in each) for each in origins]
    return VolumeGeometry(
        shape=(len(origins), *layout.shape[1:]),
        origin=xyz[0],
        slice_step=tuple(float(v) for v in step),
        row_step=tuple(float(v) for v in layout.column * layout.spacing[1]),
        column_step=tuple(float(v) for v in layout.row * layout.spacing[2]),
        slice_origins=tuple(xyz) if varies else (),
    )


def series(
    folder: Path,
    layout: Layout | None = None,
    *,
    files: Sequence[Dataset] | None = None,
    places: Sequence[tuple[int, int]] | None = None,
    word: str | None = None,
    **facts: Any,
) -> Series:
    """Write a CT series. `files` (datasets of several frames) with `places` (file, frame) of each slice replace it."""
    layout = layout or Layout()
    slices = ct_series(layout)
    kept = list(files or slices)
    made = save(kept, folder, word=word)
    places = places or [(k, 0) for k in range(len(kept))]
    first = kept[0]
    stack = Stack(
        series_id=PSEUDONYMS.of("series", first.SeriesInstanceUID),
        study_uid=first.StudyInstanceUID,
        series_uid=first.SeriesInstanceUID,
        frame_of_reference_uid=first.get("FrameOfReferenceUID", ""),
        transfer_syntaxes=(first.file_meta.TransferSyntaxUID,),
        rows=layout.shape[1],
        columns=layout.shape[2],
        bits_stored=12,
        signed=False,
        dtype="int16",
        padding=None,
        slices=tuple(
            Slice(
                place=str(made.files[file]),
                frame=frame,
                uid=kept[file].SOPInstanceUID,
                size=made.files[file].stat().st_size,
                stamp=str(made.files[file].stat().st_mtime_ns),
            )
            for file, frame in places
        ),
    )
    known = {"modality": "CT", "unit": "HU"} | facts
    return Series(
        stack=stack,
        facts=VolumeFacts(
            geometry=geometry_of(layout),
            series_id=stack.series_id,
            study_id=PSEUDONYMS.of("study", first.StudyInstanceUID),
            subject_id=PSEUDONYMS.of("subject", first.PatientID),
            frame_of_reference_id="f" * 32,
            **known,
        ),
        datasets=tuple(kept),
    )


def options(**changes: Any) -> ObjectOptions:
    """Research, binary."""
    given = {
        "generation": "g1",
        "made_at": MADE_AT,
        "algorithm": Algorithm(name="threshold", version="1.2", digest="ab" * 32),
        "pseudonyms": PSEUDONYMS,
    }
    return ObjectOptions(**(given | changes))


def bitmaps(shape: tuple[int, ...], count: int = 3, *, overlapping: bool = False) -> NDArray[np.bool_]:
    """(count, z, y, x): ragged blobs without symmetry, apart from each other unless they are to overlap."""
    rng = np.random.default_rng(7)
    z, y, x = np.indices(shape)
    nearest = np.zeros(shape, int)
    best = np.full(shape, np.inf)
    masks = np.zeros((count, *shape), bool)
    for k in range(count):
        centre = [rng.uniform(0.15 * n, 0.85 * n) for n in shape]
        away = sum(((p - c) / (0.3 * n)) ** 2 for p, c, n in zip((z, y, x), centre, shape, strict=True))
        masks[k] = (away < 1) & (rng.random(shape) < 0.8)
        masks[k][tuple(int(c) for c in centre)] = True
        closer = away < best
        nearest[closer], best[closer] = k, away[closer]
    return masks if overlapping else masks & (nearest == np.arange(count)[:, None, None, None])


def lesions(masks: NDArray[np.bool_], **columns: Any) -> list[Lesion]:
    """One for each bitmap, with columns of its own where they are lists."""
    return [
        Lesion(
            instance_id=f"{0xABC0 + k:032x}",
            label="liver_lesion",
            runs=to_runs(mask),
            mask_value=k + 1,
            **{name: value[k] if isinstance(value, list) else value for name, value in columns.items()},
        )
        for k, mask in enumerate(masks)
    ]
