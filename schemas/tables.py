"""Arrow schemas of the tables that a run publishes: columns, types, units, meaning, version.

A column is declared once, here; `docs/tables.md` is tested against it. Every field's metadata carries `description`
and, where the values have one, `unit`; every table's metadata carries `segworkers.schema_version`.
"""
# pyarrow ships no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = "1.2"
"""Major: a column changed its meaning or went. Minor: a column came."""

TABLES = ("instances", "images", "series", "seams", "tiles", "failures")
"""The published tables, in the order in which they are usually read."""


def _field(name: str, kind: pa.DataType, description: str, unit: str = "", *, nullable: bool = False) -> pa.Field:
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


def _schema(name: str, fields: list[pa.Field]) -> pa.Schema:
    return pa.schema(fields, metadata={"segworkers.table": name, "segworkers.schema_version": SCHEMA_VERSION})


_BBOX = pa.struct([pa.field(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])

_SOURCE = [
    _field("source_id", pa.string(), "identity of the source: a hash of its URI"),
    _field("source_uri", pa.string(), "where the source was read from, without credentials"),
]

_PIXEL_BOX = [
    _field(
        f"{axis}_{side}",
        pa.int64(),
        f"{'first' if side == 'min' else 'one past the last'} {axis} index of the pixel box",
        "pixel",
    )
    for side in ("min", "max")
    for axis in ("z", "y", "x")
]

_PSEUDONYMS = [
    _field("series_id", pa.string(), "pseudonym of the DICOM volume; null for rasters", nullable=True),
    _field("study_id", pa.string(), "pseudonym of its study", nullable=True),
]

_MM_AXES = (("x", "left"), ("y", "back"), ("z", "head"))

VOLUME_MEASURES = [
    _field("voxel_count", pa.int64(), "voxels of the mask; null for images", "voxel", nullable=True),
    _field(
        "volume_mm3",
        pa.float64(),
        "voxels times |det| of the affine; where slices are unevenly spaced, area times half the way to either "
        "neighbour, summed over slices",
        "cubic millimetre",
        nullable=True,
    ),
    *(
        _field(
            f"centroid_{axis}_mm",
            pa.float64(),
            f"centroid in the patient, LPS: {axis} grows to the {side}",
            "millimetre",
            nullable=True,
        )
        for axis, side in _MM_AXES
    ),
    _field(
        "long_axis_mm",
        pa.float64(),
        "longest diameter within one slice, between voxel centres (RECIST 1.1 style, automatic); null below 2 voxels",
        "millimetre",
        nullable=True,
    ),
    _field(
        "short_axis_mm",
        pa.float64(),
        "largest extent perpendicular to it, in the same slice",
        "millimetre",
        nullable=True,
    ),
    _field("long_axis_slice", pa.int32(), "z index of that slice", nullable=True),
    _field("plane", pa.string(), "plane of the slices: `axial`, `coronal`, `sagittal` or `oblique`", nullable=True),
    _field(
        "max_diameter_mm", pa.float64(), "longest diameter in space, between voxel centres", "millimetre", nullable=True
    ),
    _field(
        "surface_mm2", pa.float64(), "area of the mesh around the mask (IBSI C0JK)", "square millimetre", nullable=True
    ),
    _field("value_unit", pa.string(), "unit of the values, such as HU or BQML; null where unknown", nullable=True),
    *(
        _field(f"value_{name}", pa.float64(), f"{meaning} of the calibrated values in the mask", nullable=True)
        for name, meaning in (
            ("mean", "mean"),
            ("sd", "population standard deviation"),
            ("median", "median"),
            ("p10", "10th percentile"),
            ("p90", "90th percentile"),
            ("min", "least"),
            ("max", "greatest"),
        )
    ),
    _field(
        "suv_mean", pa.float64(), "mean SUVbw; null unless every attribute it needs is there", "g/ml", nullable=True
    ),
    _field("suv_max", pa.float64(), "greatest SUVbw", "g/ml", nullable=True),
    _field("first_sop_id", pa.string(), "pseudonym of the image with the mask's first slice", nullable=True),
    _field("last_sop_id", pa.string(), "pseudonym of the image with the mask's last slice", nullable=True),
    _field(
        "unknown_reason", pa.string(), "why measurements of the volume are null: codes, comma separated", nullable=True
    ),
]
"""Columns of `instances` with measurements that only volumes have."""

VOLUME_COLUMNS = tuple(field.name for field in (*_PSEUDONYMS, *VOLUME_MEASURES))
"""Columns of `instances` that are null for rasters."""

SLIDE_MEASURES = [
    _field(
        "area_um2",
        pa.float64(),
        "pixels times the area of one; null but for whole-slide images",
        "square micrometre",
        nullable=True,
    ),
    _field("length_um", pa.float64(), "long side of the minimum-area rectangle", "micrometre", nullable=True),
    _field("width_um", pa.float64(), "short side of the minimum-area rectangle", "micrometre", nullable=True),
    *(
        _field(
            f"centroid_{axis}_um",
            pa.float64(),
            f"centroid along {axis} from the outer corner of the first pixel",
            "micrometre",
            nullable=True,
        )
        for axis in ("x", "y")
    ),
]
"""Columns of `instances` with measurements that only whole-slide images have."""

INSTANCES = _schema(
    "instances",
    [
        _field("instance_id", pa.string(), "identity: a hash of source, label and mask; 32 hexadecimal digits"),
        *_SOURCE,
        _field("label", pa.string(), "class name"),
        _field(
            "score",
            pa.float64(),
            "model's score in 0..1: maximum over linked views, mean for dense models",
            nullable=True,
        ),
        _field("pixel_count", pa.int64(), "pixels of the mask", "pixel"),
        *_PIXEL_BOX,
        *(
            _field(
                f"centroid_{axis}_px", pa.float64(), f"mean {axis} of the pixel centres; pixel 0 covers 0..1", "pixel"
            )
            for axis in ("z", "y", "x")
        ),
        _field("touches_border", pa.bool_(), "whether the mask reaches the edge of the source"),
        _field(
            "is_complete",
            pa.bool_(),
            "false where the mask touches pixels that could not be processed; in volumes also where it is at the edge "
            "of the volume, or slices are missing within or beside it",
        ),
        _field("n_parts", pa.int32(), "windows' cells that the mask lies in"),
        _field("n_views", pa.int32(), "windows whose detections were linked into this object"),
        _field("assembled", pa.bool_(), "whether no single window saw the object whole"),
        _field(
            "min_link_overlap",
            pa.float64(),
            "smallest overlap (IoU) among the links that hold it together",
            nullable=True,
        ),
        _field(
            "mask_value",
            pa.int64(),
            "pixel value in the stitched mask of its source, 1 and up; on overlaps the higher score is on top, then "
            "the smaller object",
        ),
        _field(
            "mask_rle",
            pa.string(),
            "mask in its pixel box as COCO compressed RLE (height = depth × height, column-major)",
        ),
        _field(
            "geometry",
            pa.binary(),
            "polygon along pixel edges, OGC:CRS84, as WKB; null without a georeference",
            "degree",
            nullable=True,
        ),
        _field(
            "bbox",
            _BBOX,
            "bounds of `geometry`; xmin > xmax where it crosses the antimeridian",
            "degree",
            nullable=True,
        ),
        _field(
            "polygon_px",
            pa.binary(),
            "polygon along pixel edges in pixel corners (x, y), as WKB; only without a georeference",
            "pixel",
            nullable=True,
        ),
        _field("centroid_lon", pa.float64(), "longitude of the centroid", "degree", nullable=True),
        _field("centroid_lat", pa.float64(), "latitude of the centroid", "degree", nullable=True),
        _field("area_m2", pa.float64(), "ground area on the ellipsoid", "square metre", nullable=True),
        _field("length_m", pa.float64(), "long side of the minimum-area rectangle", "metre", nullable=True),
        _field("width_m", pa.float64(), "short side of the minimum-area rectangle", "metre", nullable=True),
        _field(
            "angle_deg",
            pa.float64(),
            "direction of the long side, clockwise from north, 0 up to 180",
            "degree",
            nullable=True,
        ),
        _field("length_px", pa.float64(), "long side of the minimum-area rectangle", "pixel", nullable=True),
        _field("width_px", pa.float64(), "short side of the minimum-area rectangle", "pixel", nullable=True),
        *SLIDE_MEASURES,
        *_PSEUDONYMS,
        *VOLUME_MEASURES,
    ],
)

_CLASS_COUNTS = pa.list_(
    pa.field(
        "element",
        pa.struct(
            [
                pa.field("label", pa.string(), nullable=False),
                pa.field("object_count", pa.int64(), nullable=False),
                pa.field("mean_score", pa.float64()),
                pa.field("pixel_count", pa.int64(), nullable=False),
                pa.field("area_m2", pa.float64()),
                pa.field("objects_per_km2", pa.float64()),
            ]
        ),
        nullable=False,
    )
)

IMAGES = _schema(
    "images",
    [
        *_SOURCE,
        _field("status", pa.string(), "`done`, `partial` (some pixels failed) or `failed` (none could be processed)"),
        _field("reason", pa.string(), "reason code where the status is not `done`", nullable=True),
        _field(
            "is_lower_bound",
            pa.bool_(),
            "whether counts and sizes may be too small because pixels failed or slices are missing",
        ),
        _field("object_count", pa.int64(), "objects of all classes; null where unknown", nullable=True),
        _field("mean_score", pa.float64(), "mean score of the objects that have one", nullable=True),
        _field(
            "classes", _CLASS_COUNTS, "one entry for each class of the model, also for those never seen", nullable=True
        ),
        _field("pixels", pa.int64(), "all pixels of the source", "pixel", nullable=True),
        _field(
            "pixels_done", pa.int64(), "valid pixels in cells in which the model saw an object", "pixel", nullable=True
        ),
        _field("pixels_empty", pa.int64(), "valid pixels in cells in which it saw none", "pixel", nullable=True),
        _field("pixels_nodata", pa.int64(), "pixels that the dataset mask calls invalid", "pixel", nullable=True),
        _field(
            "pixels_failed", pa.int64(), "pixels in cells that could not be read or segmented", "pixel", nullable=True
        ),
        _field(
            "valid_area_m2", pa.float64(), "ground area of the done and empty pixels", "square metre", nullable=True
        ),
        _field("objects_per_km2", pa.float64(), "objects divided by the valid area", "1/km²", nullable=True),
        _field(
            "capped_windows",
            pa.int64(),
            "windows in which the model reached its own limit of detections",
            nullable=True,
        ),
        _field(
            "seam_verdict",
            pa.string(),
            "`flat`, `excess near borders`, `lack near borders`, `too few objects`, `cannot tell` (several windows saw "
            "every place) or `no borders` (one window)",
            nullable=True,
        ),
        _field(
            "seam_ratio",
            pa.float64(),
            "density of objects near windows' borders divided by that elsewhere; 1 without a seam",
            nullable=True,
        ),
        _field("seam_ratio_low", pa.float64(), "lower end of its 95 % confidence interval", nullable=True),
        _field("seam_ratio_high", pa.float64(), "upper end of its 95 % confidence interval", nullable=True),
        _field(
            "object_size_p95_px",
            pa.int64(),
            "length that 95 % of the objects do not exceed, in pixels of the model's grid; beyond the overlap, objects "
            "are assembled from several windows",
            "pixel",
            nullable=True,
        ),
        _field(
            "assembled_count", pa.int64(), "objects that no single window saw whole; null where unknown", nullable=True
        ),
        _field("depth", pa.int64(), "planes", "pixel", nullable=True),
        _field("height", pa.int64(), "rows", "pixel", nullable=True),
        _field("width", pa.int64(), "columns", "pixel", nullable=True),
        _field("dtype", pa.string(), "NumPy type of the pixels", nullable=True),
        _field("bands", pa.list_(pa.string()), "band names", nullable=True),
        _field(
            "georeference",
            pa.string(),
            "`affine`, `gcps`, `rpcs` or `none`; only `affine` with a CRS is measured",
            nullable=True,
        ),
        _field("crs", pa.string(), "coordinate reference system as WKT", nullable=True),
        *_PSEUDONYMS,
        _field("subject_id", pa.string(), "pseudonym of the patient", nullable=True),
        _field("modality", pa.string(), "CT, MR, PT …; null for rasters", nullable=True),
        _field(
            "valid_volume_mm3", pa.float64(), "volume of the done and empty voxels", "cubic millimetre", nullable=True
        ),
        *(
            _field(
                f"pixel_um_{axis}",
                pa.float64(),
                f"distance of pixels along {axis}; null but for whole-slide images",
                "micrometre",
                nullable=True,
            )
            for axis in ("y", "x")
        ),
        _field(
            "valid_area_mm2",
            pa.float64(),
            "area of a whole-slide image's done and empty pixels",
            "square millimetre",
            nullable=True,
        ),
        _field("objects_per_mm2", pa.float64(), "objects divided by that area", "1/mm²", nullable=True),
        _field("model", pa.string(), "model name"),
        _field("model_kind", pa.string(), "`dense` (a class for each pixel) or `instance` (masks)"),
        _field("model_digest", pa.string(), "hash of the model's code, weights and options"),
    ],
)

SEAMS = _schema(
    "seams",
    [
        *_SOURCE,
        _field(
            "zone",
            pa.string(),
            "`near`, in a strip that several windows saw, and `far`, which the verdict compares; or `margin`: what "
            "lies along the image's edge up to the first whole period of windows",
        ),
        _field(
            "distance_min_px",
            pa.int64(),
            "least distance to the nearest strip that several windows saw, on the model's grid, along axes with at "
            "least one whole period of windows: 0 beside the strip, -1 beside its border in it, and less further in",
            "pixel",
            nullable=True,
        ),
        _field("distance_max_px", pa.int64(), "one past the greatest such distance", "pixel", nullable=True),
        _field("pixels", pa.int64(), "done and empty pixels of the source at that distance", "pixel"),
        _field("object_count", pa.int64(), "objects with their centroid at that distance"),
        _field(
            "objects_per_mpx", pa.float64(), "objects in a million pixels; null without pixels", "1/Mpx", nullable=True
        ),
        _field(
            "ratio",
            pa.float64(),
            "that density divided by that of the near and far zones together",
            nullable=True,
        ),
    ],
)

SERIES = _schema(
    "series",
    [
        *_PSEUDONYMS,
        _field("subject_id", pa.string(), "pseudonym of the patient", nullable=True),
        _field("frame_of_reference_id", pa.string(), "pseudonym; only equal ones share coordinates", nullable=True),
        _field("source_id", pa.string(), "identity of the source; null where it was left out", nullable=True),
        _field("status", pa.string(), "`accepted`, `repaired` (see decisions) or `rejected`"),
        _field("reason", pa.string(), "reason code where it was rejected", nullable=True),
        _field("message", pa.string(), "what was expected and what was found", nullable=True),
        _field("decisions", pa.list_(pa.string()), "codes of what was noticed and repaired; see docs/dicom.md"),
        _field("modality", pa.string(), "CT, MR, PT …", nullable=True),
        _field("value_unit", pa.string(), "unit of the calibrated values", nullable=True),
        _field(
            "stack_kind", pa.string(), "`regular`, `sheared` (gantry tilt) or `variable` (steps differ)", nullable=True
        ),
        _field("plane", pa.string(), "`axial`, `coronal`, `sagittal` or `oblique`", nullable=True),
        _field("files", pa.int64(), "files that belong to it"),
        _field("slices", pa.int64(), "slices of the volume", nullable=True),
        _field("rows", pa.int64(), "voxels down a slice", nullable=True),
        _field("columns", pa.int64(), "voxels along a row", nullable=True),
        _field("missing_slices", pa.int64(), "slices that are not there between others", nullable=True),
        _field(
            "duplicate_slices", pa.int64(), "slices with the same content and place that were dropped", nullable=True
        ),
        *(
            _field(f"spacing_{axis}_mm", pa.float64(), f"voxel spacing along {axis}", "millimetre", nullable=True)
            for axis in ("z", "y", "x")
        ),
        _field("affine", pa.list_(pa.float64()), "16 numbers, row by row: voxel (x, y, z, 1) to LPS mm", nullable=True),
        _field("transfer_syntaxes", pa.list_(pa.string()), "transfer syntax UIDs of the files"),
        _field("is_lossy", pa.bool_(), "whether the pixels were compressed with loss", nullable=True),
        _field("manufacturer", pa.string(), "technical attribute", nullable=True),
        _field("model_name", pa.string(), "technical attribute", nullable=True),
        _field("kvp", pa.float64(), "tube voltage", "kilovolt", nullable=True),
        _field("slice_thickness_mm", pa.float64(), "nominal; not the spacing", "millimetre", nullable=True),
        _field("kernel", pa.string(), "convolution kernel", nullable=True),
        _field("contrast", pa.bool_(), "whether a contrast agent was given", nullable=True),
    ],
)

TILES = _schema(
    "tiles",
    [
        *_SOURCE,
        _field("tile", pa.string(), "index of the work tile, z-y-x"),
        *_PIXEL_BOX,
        _field("status", pa.string(), "`done`, `empty`, `nodata` or `failed` (any pixel of it failed)"),
        _field("reason", pa.string(), "reason code of the failure", nullable=True),
        _field("message", pa.string(), "what failed and what to do", nullable=True),
        _field("pixels", pa.int64(), "pixels of the tile's core", "pixel"),
        _field("pixels_done", pa.int64(), "as in `images`", "pixel"),
        _field("pixels_empty", pa.int64(), "as in `images`", "pixel"),
        _field("pixels_nodata", pa.int64(), "as in `images`", "pixel"),
        _field("pixels_failed", pa.int64(), "as in `images`", "pixel"),
        _field("windows", pa.int32(), "windows that the model was shown"),
        _field("detections", pa.int64(), "detections or components before the merge"),
        _field("capped_windows", pa.int32(), "windows in which the model reached its own limit of detections"),
        _field("read_s", pa.float64(), "time spent reading", "second"),
        _field("predict_s", pa.float64(), "time spent in the model", "second"),
        _field("encode_s", pa.float64(), "time spent on fragments, links and the shard", "second"),
        _field("shard", pa.string(), "the tile's durable result, relative to the run folder"),
        _field("shard_sha256", pa.string(), "checksum of the shard"),
    ],
)

FAILURES = _schema(
    "failures",
    [
        _field("source_id", pa.string(), "identity of the source"),
        _field("source_uri", pa.string(), "what could not be processed, without credentials"),
        _field("scope", pa.string(), "`input` (all of it), `tile` (the box) or `skipped` (never opened)"),
        _field("tile", pa.string(), "index of the work tile, z-y-x", nullable=True),
        *(field.with_nullable(True) for field in _PIXEL_BOX),
        _field("reason", pa.string(), "stable reason code"),
        _field("message", pa.string(), "what was expected and what was found"),
        _field("hint", pa.string(), "what to do", nullable=True),
    ],
)

SCHEMAS: dict[str, pa.Schema] = {
    "instances": INSTANCES,
    "images": IMAGES,
    "series": SERIES,
    "seams": SEAMS,
    "tiles": TILES,
    "failures": FAILURES,
}
"""Table name to schema."""
