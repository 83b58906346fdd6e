"""One reader in front of several: each source goes to the reader of its kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.boxes import Box
from schemas.sources import DICOM_SCHEME, Source
from segworkers.readers.base import PixelBlock, Reader


class DicomReader(Reader, Protocol):
    """A reader of volumes and slides, which knows the images that slices come from."""

    def instance_ids(self, source: Source) -> Sequence[str]:
        """Pseudonym of the SOP instance of each slice z."""
        ...


@dataclass(frozen=True, slots=True)
class RoutedReader:
    """Rasters and DICOM behind one port."""

    rasters: Reader
    dicom: DicomReader

    def describe(self, uri: str) -> Source:
        """The header of a raster; DICOM sources come from the catalog, which sees whole series."""
        return self.rasters.describe(uri)

    def read(self, source: Source, box: Box, bands: tuple[int, ...]) -> PixelBlock:
        """See `Reader.read`."""
        return self._reader(source).read(source, box, bands)

    def thumbnail(self, source: Source, bands: tuple[int, ...], max_side: int) -> PixelBlock:
        """See `Reader.thumbnail`."""
        return self._reader(source).thumbnail(source, bands, max_side)

    def instance_ids(self, source: Source) -> Sequence[str]:
        """Pseudonym of the SOP instance of each slice z of a volume."""
        return self.dicom.instance_ids(source)

    def _reader(self, source: Source) -> Reader:
        return self.dicom if source.uri.startswith(DICOM_SCHEME) else self.rasters
