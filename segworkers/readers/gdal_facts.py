"""Facts taken out of an open rasterio dataset. Does not import rasterio: `geotiff` hands the dataset in."""

from __future__ import annotations

from typing import Any, Literal

from segworkers.readers.headers import RasterHeader

MaskKind = Literal["band", "alpha", "nodata", "none"]
"""Where validity is written: a mask band (inside the file or beside it), an alpha band, nodata values, nowhere."""


def mask_kind(dataset: Any) -> MaskKind:
    """Where the validity of pixels is written."""
    flags = [{flag.name for flag in band} for band in dataset.mask_flag_enums]
    if "per_dataset" in flags[0] and "alpha" not in flags[0]:
        return "band"
    if alpha_band(dataset) is not None:
        return "alpha"
    return "nodata" if any("nodata" in band for band in flags) else "none"


def alpha_band(dataset: Any) -> int | None:
    """1-based alpha band, by colour interpretation; None where no band is called so."""
    colours = [colour.name for colour in dataset.colorinterp]
    return colours.index("alpha") + 1 if "alpha" in colours else None


def header_of(dataset: Any) -> RasterHeader:
    """Everything the header says, as plain values."""
    count = dataset.count
    tags = dataset.tags(ns="IMAGE_STRUCTURE")
    nbits = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS") if count else None
    wkt, geographic = _crs(dataset)
    # GDAL makes up the identity where there is no transform.
    affine = tuple(dataset.transform)[:6] if count and not dataset.transform.is_identity else None
    return RasterHeader(
        driver=dataset.driver,
        shape=(dataset.height, dataset.width),
        dtypes=tuple(dataset.dtypes),
        descriptions=tuple(dataset.descriptions),
        colours=tuple(colour.name for colour in dataset.colorinterp),
        nodata=tuple(dataset.nodatavals),
        block=tuple(dataset.block_shapes[0]) if count else (1, 1),
        overviews=tuple(dataset.overviews(1)) if count else (),
        affine=affine,
        crs_wkt=wkt,
        is_geographic=geographic,
        gcps=len(dataset.gcps[0]),
        has_rpcs=dataset.rpcs is not None,
        has_mask_band=bool(count) and mask_kind(dataset) == "band",
        compression=tags.get("COMPRESSION", "JPEG" if dataset.driver == "JPEG" else "").upper(),
        nbits=None if nbits is None else int(nbits),
        scales=tuple(dataset.scales),
        offsets=tuple(dataset.offsets),
        orientation=int(dataset.tags().get("EXIF_Orientation", "1") or 1),
        subdatasets=tuple(dataset.subdatasets),
    )


def _crs(dataset: Any) -> tuple[str | None, bool]:
    try:
        crs = dataset.crs
        return (crs.to_wkt(), bool(crs.is_geographic)) if crs else (None, False)
    except ValueError:  # a coordinate system that PROJ cannot make sense of
        return None, False
