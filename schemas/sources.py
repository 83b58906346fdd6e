"""Source: one raster file, or one DICOM volume or slide, as its header describes it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from schemas.grids import PixelGrid
from schemas.volumes import SeriesFacts, VolumeFacts

DICOM_SCHEME = "dicom:"
"""Begins the URI of a DICOM source: `dicom:` and the pseudonym of its series, which only the crosswalk can resolve."""


def source_id_of(uri: str) -> str:
    """16 hexadecimal digits from a URI: the same file keeps its identity when it is touched or copied back."""
    return hashlib.blake2b(uri.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a header read tells about one input; no pixels."""

    uri: str
    """Absolute path or URL as the reader opens it, without credentials."""
    fingerprint: str
    """ETag, or size and modification time: changes when the bytes change."""
    grid: PixelGrid
    dtype: str
    """NumPy name of the bands' common type, such as `uint8`."""
    bands: tuple[str, ...]
    """One name for each band: its description, else its colour interpretation, else `band_1`…; unique."""
    alpha_band: int | None = None
    """0-based index of the alpha band; it becomes validity and is never shown to a model."""
    block: tuple[int, int] = (1, 1)
    """Height and width of a storage block: strips have the image's width."""
    nodata: float | None = None
    overviews: tuple[int, ...] = ()
    """Reduction factors of the stored overviews."""
    bytes_per_pixel: int = 1
    """All bands together, decoded."""
    parts: tuple[str, ...] = ()
    """Absolute paths of the files that a mosaic (VRT) is made of; their pixels are its pixels."""
    warnings: tuple[str, ...] = ()
    """What a careful person would want to know before a run, one line each."""
    volume: VolumeFacts | None = None
    """Where a DICOM volume lies in the patient, and its pseudonyms; None for rasters and slides."""
    slide: SeriesFacts | None = None
    """Pseudonyms of a whole-slide image; None for all else."""
    pixel_um: tuple[float, float] | None = None
    """Micrometres between the centres of neighbouring (rows, columns), where the file tells them but no map: slides."""

    @property
    def source_id(self) -> str:
        """See `source_id_of`."""
        return source_id_of(self.uri)

    @property
    def series(self) -> SeriesFacts | None:
        """What a DICOM source belongs to; None for rasters."""
        return self.volume or self.slide

    @property
    def colour_bands(self) -> tuple[str, ...]:
        """The bands without alpha."""
        return tuple(name for index, name in enumerate(self.bands) if index != self.alpha_band)
