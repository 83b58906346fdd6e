"""Stacks and sources of DICOM files that a test has written, without the catalog: the truth of the maker is used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from schemas.grids import PixelGrid
from schemas.sources import DICOM_SCHEME, Source
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.places import Places
from segworkers.dicom.reader import DicomReader
from segworkers.dicom.stack import Slice, Stack

SERIES = "5e" * 16


def slice_of(place: str | Path, one: Dataset, frame: int = 0, **changes: Any) -> Slice:
    """What the catalog would keep of a file as it is now."""
    state = Places().state(str(place))
    facts: dict[str, Any] = {
        "slope": float(one.get("RescaleSlope", 1)),
        "intercept": float(one.get("RescaleIntercept", 0)),
    }
    facts |= {"uid": one.SOPInstanceUID, "size": state.size, "stamp": state.stamp}
    return Slice(place=str(place), frame=frame, **(facts | changes))


def open_stack(
    slices: Sequence[Slice], one: Dataset, folder: Path, *, dtype: str = "int16", cache_mb: int = 16, **changes: Any
) -> tuple[DicomReader, Source]:
    """A reader whose crosswalk (in `folder`) knows these slices, and their source."""
    low = one.get("PixelPaddingValue")
    facts: dict[str, Any] = {
        "series_id": SERIES,
        "study_uid": one.StudyInstanceUID,
        "series_uid": one.SeriesInstanceUID,
        "frame_of_reference_uid": one.FrameOfReferenceUID,
        "transfer_syntaxes": (str(one.file_meta.TransferSyntaxUID),),
        "rows": one.Rows,
        "columns": one.Columns,
        "bits_stored": one.BitsStored,
        "signed": bool(one.PixelRepresentation),
        "dtype": dtype,
        "padding": None if low is None else tuple(sorted((low, one.get("PixelPaddingRangeLimit", low)))),
        "slices": tuple(slices),
    }
    stack = Stack(**(facts | changes))
    crosswalk = Crosswalk.open(str(folder / "crosswalk"))
    crosswalk.put(stack, "f")
    grid = PixelGrid(shape=(len(slices), stack.rows, stack.columns))
    source = Source(uri=f"{DICOM_SCHEME}{stack.series_id}", fingerprint="f", grid=grid, dtype=dtype, bands=("value",))
    return DicomReader(crosswalk, cache_mb=cache_mb), source


def open_files(
    files: Sequence[str | Path], slices: Sequence[Dataset], folder: Path, **changes: Any
) -> tuple[DicomReader, Source]:
    """The same for single-frame files, in their order."""
    return open_stack(
        [slice_of(file, one) for file, one in zip(files, slices, strict=True)], slices[0], folder, **changes
    )
