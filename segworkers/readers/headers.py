"""From what a raster's header says to a Source: names, georeference, and the warnings a careful person wants. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from schemas.errors import InputError
from schemas.grids import Affine2D, Georeference, PixelGrid
from schemas.sources import Source

SMALL_IMAGE_PX = 1024 * 1024
"""Up to this many pixels the storage layout of an image does not matter."""
LARGE_SIDE_PX = 8192
"""Above this side statistics and previews take long without overviews."""

IDENTITY: Affine2D = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterHeader:
    """The facts, as GDAL reports them. Sequences have one entry for each band."""

    driver: str
    shape: tuple[int, int]
    """Height and width."""
    dtypes: tuple[str, ...]
    descriptions: tuple[str | None, ...]
    colours: tuple[str, ...]
    """Colour interpretations: `red`, `alpha`, `undefined`…"""
    nodata: tuple[float | None, ...]
    block: tuple[int, int]
    overviews: tuple[int, ...]
    affine: Affine2D | None
    """None where the file has none, whatever GDAL makes up."""
    crs_wkt: str | None
    is_geographic: bool
    gcps: int
    """Number of ground control points."""
    has_rpcs: bool
    has_mask_band: bool
    compression: str
    nbits: int | None
    """Significant bits of a sample where fewer than its type has."""
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    orientation: int
    """EXIF orientation; 1 = as stored."""
    subdatasets: tuple[str, ...]


def source_of(
    header: RasterHeader, uri: str, fingerprint: str, notes: tuple[str, ...] = (), parts: tuple[str, ...] = ()
) -> Source:
    """The Source that a header describes; `notes` are further warnings, `parts` the files of a mosaic.

    Raises InputError: `subdatasets` (a container without an image of its own), `no_bands`, `unsupported_dtype`.
    """
    _check(header, uri)
    alpha = header.colours.index("alpha") if "alpha" in header.colours else None
    return Source(
        uri=uri,
        fingerprint=fingerprint,
        grid=_grid(header),
        dtype=str(np.result_type(*header.dtypes)),
        bands=_names(header),
        alpha_band=alpha,
        block=header.block,
        nodata=None if header.nodata[0] is None else float(header.nodata[0]),
        overviews=header.overviews,
        bytes_per_pixel=sum(np.dtype(name).itemsize for name in header.dtypes),
        parts=parts,
        warnings=(*_warnings(header, alpha), *notes),
    )


def _check(header: RasterHeader, uri: str) -> None:
    if not header.dtypes:
        if header.subdatasets:
            names = ", ".join(header.subdatasets[:5]) + (", …" if len(header.subdatasets) > 5 else "")
            raise InputError(
                "subdatasets",
                f"{uri}: a {header.driver} container of {len(header.subdatasets)} datasets, not an image.",
                f"Give one of them as the input: {names}",
            )
        raise InputError("no_bands", f"{uri}: expected at least one band, found none ({header.driver}).", "Remove it.")
    for band, name in enumerate(header.dtypes):
        if name.startswith("complex"):
            raise InputError(
                "unsupported_dtype",
                f"{uri}: expected real pixels, band {band} is {name}.",
                "Convert it first, to amplitude for instance.",
            )


def _names(header: RasterHeader) -> tuple[str, ...]:
    """Description, else colour, else band_1…; a name already taken gets the smallest free suffix _2, _3…"""
    names: list[str] = []
    for band, (text, colour) in enumerate(zip(header.descriptions, header.colours, strict=True), start=1):
        base = (text or "").strip() or (colour if colour != "undefined" else f"band_{band}")
        name, count = base, 1
        while name in names:
            count += 1
            name = f"{base}_{count}"
        names.append(name)
    return tuple(names)


def _grid(header: RasterHeader) -> PixelGrid:
    kind = _georeference(header)
    return PixelGrid(
        shape=(1, *header.shape),
        affine=header.affine if kind == "affine" and header.affine is not None else IDENTITY,
        crs_wkt=header.crs_wkt,
        georeference=kind,
    )


def _georeference(header: RasterHeader) -> Georeference:
    if header.affine is not None and _is_invertible(header.affine):
        return "affine"
    if header.gcps:
        return "gcps"
    return "rpcs" if header.has_rpcs else "none"


def _is_invertible(affine: Affine2D) -> bool:
    a, b, _, d, e, _ = affine
    return all(math.isfinite(value) for value in affine) and a * e - b * d != 0


def _warnings(header: RasterHeader, alpha: int | None) -> tuple[str, ...]:
    return (*_place_warnings(header), *_value_warnings(header, alpha), *_layout_warnings(header))


def _place_warnings(header: RasterHeader) -> Iterator[str]:
    kind = _georeference(header)
    if kind == "gcps":
        yield f"gcps: placed by {header.gcps} ground control points only; results stay in pixels"
    elif kind == "rpcs":
        yield "rpcs: placed by a rational polynomial camera model only; results stay in pixels"
    elif kind == "none" and header.crs_wkt is not None:
        yield "no_transform: a coordinate system but no usable transform; results stay in pixels"
    elif header.crs_wkt is None:
        yield "no_crs: no coordinate reference system; results stay in pixels"
    if kind == "affine" and header.affine is not None:
        a, b, _, d, e, _ = header.affine
        if header.is_geographic:
            yield "geographic: pixels are in degrees; metres per pixel differ in x and y and with latitude"
        if b or d:
            yield "rotated: the grid is rotated or sheared against the map"
        elif e > 0:
            yield "south_up: rows run north"
        if not (b or d) and a < 0:
            yield "mirrored: columns run west"
    if header.orientation != 1:
        yield (
            f"exif_orientation: the camera's orientation flag is {header.orientation}; "
            "pixels and boxes stay in the stored order, unturned, as is the georeference"
        )


def _value_warnings(header: RasterHeader, alpha: int | None) -> Iterator[str]:
    if alpha is not None:
        yield f"alpha: band {alpha} ({_names(header)[alpha]}) is marked alpha; it is taken as validity, not as colour"
    if "palette" in header.colours:
        yield "palette: pixel values are indices of a colour table, not brightness"
    if any(scale != 1 for scale in header.scales) or any(offset != 0 for offset in header.offsets):
        yield "scale_offset: the file declares scales or offsets; models see the stored values"
    if header.nbits is not None:
        yield f"nbits: values use {header.nbits} bits of {header.dtypes[0]}"
    if len(set(header.dtypes)) > 1:
        yield f"mixed_dtypes: bands of {', '.join(header.dtypes)} are read as one common type"
    if len({str(value) for value in header.nodata}) > 1:
        yield "nodata_per_band: bands differ in nodata; a pixel is valid where any band is"
    masked = header.has_mask_band or alpha is not None
    if not masked and header.nodata[0] == 0 and header.dtypes[0] == "uint8":
        yield "nodata_zero: 0 is nodata in 8-bit imagery; real blacks count as missing"
    if not masked and header.nodata[0] is not None and "JPEG" in header.compression:
        yield "jpeg_nodata: lossy compression blurs nodata; pixels along its edge may pass as valid"


def _layout_warnings(header: RasterHeader) -> Iterator[str]:
    height, width = header.shape
    rows, columns = header.block
    if columns >= width and rows < height and height * width > SMALL_IMAGE_PX:
        yield f"untiled: stored in strips of {rows} full rows; reading windows is slow, convert to tiled GeoTIFF"
    if max(height, width) > LARGE_SIDE_PX and not header.overviews:
        yield "no_overviews: none stored; statistics and previews read the whole image"
    if header.subdatasets:
        yield f"pages: {len(header.subdatasets)} datasets in one file, only the first is read"
