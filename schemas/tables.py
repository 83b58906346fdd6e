"""Arrow schemas of the tables that a run publishes: columns, types, units, meaning, version.

A column is declared once, here; `docs/tables.md` is tested against it. Every field's metadata carries `description`
and, where the values have one, `unit`; every table's metadata carries `segworkers.schema_version`.
"""
# pyarrow ships no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import pyarrow as pa

from schemas.fields import BBOX, PIXEL_BOX, PSEUDONYMS, SOURCE, column, table_schema
from schemas.patient_tables import SERIES, SLIDE_MEASURES, VOLUME_MEASURES

TABLES = ("instances", "images", "series", "seams", "tiles", "failures")
"""The published tables, in the order in which they are usually read."""


INSTANCES = table_schema(
    "instances",
    [
        column("instance_id", pa.string(), "identity: a hash of source, label and mask; 32 hexadecimal digits"),
        *SOURCE,
        column("label", pa.string(), "class name"),
        column(
            "score",
            pa.float64(),
            "model's score, by convention in 0..1: maximum over linked views, mean for dense models",
            nullable=True,
        ),
        column("pixel_count", pa.int64(), "pixels of the mask", "pixel"),
        *PIXEL_BOX,
        *(
            column(
                f"centroid_{axis}_px", pa.float64(), f"mean {axis} of the pixel centres; pixel 0 covers 0..1", "pixel"
            )
            for axis in ("z", "y", "x")
        ),
        column("touches_border", pa.bool_(), "whether the mask reaches the edge of the source"),
        column(
            "is_complete",
            pa.bool_(),
            "false where the mask touches pixels that could not be processed; in volumes also where it is at the edge "
            "of the volume, or slices are missing within or beside it",
        ),
        column("n_parts", pa.int32(), "windows' cells that the mask lies in"),
        column("n_views", pa.int32(), "windows whose detections were linked into this object"),
        column("assembled", pa.bool_(), "whether no single window saw the object whole"),
        column(
            "min_link_overlap",
            pa.float64(),
            "smallest overlap (IoU) among the links that hold it together",
            nullable=True,
        ),
        column(
            "mask_value",
            pa.int64(),
            "pixel value in the stitched mask of its source, 1 and up; on overlaps the higher score is on top, then "
            "the smaller object",
        ),
        column(
            "mask_rle",
            pa.string(),
            "mask in its pixel box as COCO compressed RLE (height = depth × height, column-major)",
        ),
        column(
            "geometry",
            pa.binary(),
            "polygon along pixel edges, OGC:CRS84, as WKB; null without a georeference",
            "degree",
            nullable=True,
        ),
        column(
            "bbox",
            BBOX,
            "bounds of `geometry`; xmin > xmax where it crosses the antimeridian",
            "degree",
            nullable=True,
        ),
        column(
            "polygon_px",
            pa.binary(),
            "polygon along pixel edges in pixel corners (x, y), as WKB; only without a georeference",
            "pixel",
            nullable=True,
        ),
        column("centroid_lon", pa.float64(), "longitude of the centroid", "degree", nullable=True),
        column("centroid_lat", pa.float64(), "latitude of the centroid", "degree", nullable=True),
        column("area_m2", pa.float64(), "ground area on the ellipsoid", "square metre", nullable=True),
        column("length_m", pa.float64(), "long side of the minimum-area rectangle", "metre", nullable=True),
        column("width_m", pa.float64(), "short side of the minimum-area rectangle", "metre", nullable=True),
        column(
            "angle_deg",
            pa.float64(),
            "direction of the long side, clockwise from north, 0 up to 180",
            "degree",
            nullable=True,
        ),
        column("length_px", pa.float64(), "long side of the minimum-area rectangle", "pixel", nullable=True),
        column("width_px", pa.float64(), "short side of the minimum-area rectangle", "pixel", nullable=True),
        *SLIDE_MEASURES,
        *PSEUDONYMS,
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

IMAGES = table_schema(
    "images",
    [
        *SOURCE,
        column("status", pa.string(), "`done`, `partial` (some pixels failed) or `failed` (none could be processed)"),
        column(
            "reason", pa.string(), "reason code where the status is not `done`, or the count unknown", nullable=True
        ),
        column(
            "is_lower_bound",
            pa.bool_(),
            "whether counts and sizes may be too small because pixels failed, slices are missing or the organ to look "
            "in was not found",
        ),
        column("object_count", pa.int64(), "objects of all classes; null where unknown", nullable=True),
        column("mean_score", pa.float64(), "mean score of the objects that have one", nullable=True),
        column(
            "classes", _CLASS_COUNTS, "one entry for each class of the model, also for those never seen", nullable=True
        ),
        column("pixels", pa.int64(), "all pixels of the source", "pixel", nullable=True),
        column(
            "pixels_done", pa.int64(), "valid pixels in cells in which the model saw an object", "pixel", nullable=True
        ),
        column("pixels_empty", pa.int64(), "valid pixels in cells in which it saw none", "pixel", nullable=True),
        column("pixels_nodata", pa.int64(), "pixels that the dataset mask calls invalid", "pixel", nullable=True),
        column(
            "pixels_failed", pa.int64(), "pixels in cells that could not be read or segmented", "pixel", nullable=True
        ),
        column(
            "valid_area_m2", pa.float64(), "ground area of the done and empty pixels", "square metre", nullable=True
        ),
        column("objects_per_km2", pa.float64(), "objects divided by the valid area", "1/km²", nullable=True),
        column(
            "capped_windows",
            pa.int64(),
            "windows in which the model reached its own limit of detections",
            nullable=True,
        ),
        column(
            "seam_verdict",
            pa.string(),
            "`flat`, `excess near borders`, `lack near borders`, `too few objects`, `cannot tell` (several windows saw "
            "every place) or `no borders` (one window)",
            nullable=True,
        ),
        column(
            "seam_ratio",
            pa.float64(),
            "density of objects near windows' borders divided by that elsewhere; 1 without a seam",
            nullable=True,
        ),
        column("seam_ratio_low", pa.float64(), "lower end of its 95 % confidence interval", nullable=True),
        column("seam_ratio_high", pa.float64(), "upper end of its 95 % confidence interval", nullable=True),
        column(
            "object_size_p95_px",
            pa.int64(),
            "length that 95 % of the objects do not exceed, in pixels of the model's grid; beyond the overlap, objects "
            "are assembled from several windows",
            "pixel",
            nullable=True,
        ),
        column(
            "assembled_count", pa.int64(), "objects that no single window saw whole; null where unknown", nullable=True
        ),
        column("depth", pa.int64(), "planes", "pixel", nullable=True),
        column("height", pa.int64(), "rows", "pixel", nullable=True),
        column("width", pa.int64(), "columns", "pixel", nullable=True),
        column("dtype", pa.string(), "NumPy type of the pixels", nullable=True),
        column("bands", pa.list_(pa.string()), "band names", nullable=True),
        column(
            "georeference",
            pa.string(),
            "`affine`, `gcps`, `rpcs` or `none`; only `affine` with a CRS is measured",
            nullable=True,
        ),
        column("crs", pa.string(), "coordinate reference system as WKT", nullable=True),
        *PSEUDONYMS,
        column("subject_id", pa.string(), "pseudonym of the patient", nullable=True),
        column("modality", pa.string(), "CT, MR, PT …; null for rasters", nullable=True),
        column(
            "valid_volume_mm3", pa.float64(), "volume of the done and empty voxels", "cubic millimetre", nullable=True
        ),
        *(
            column(
                f"pixel_um_{axis}",
                pa.float64(),
                f"distance of pixels along {axis}; null but for whole-slide images and `raster.pixel_size`",
                "micrometre",
                nullable=True,
            )
            for axis in ("y", "x")
        ),
        column(
            "valid_area_mm2",
            pa.float64(),
            "area of a whole-slide image's done and empty pixels",
            "square millimetre",
            nullable=True,
        ),
        column("objects_per_mm2", pa.float64(), "objects divided by that area", "1/mm²", nullable=True),
        column("model", pa.string(), "model name"),
        column("model_kind", pa.string(), "`dense` (a class for each pixel) or `instance` (masks)"),
        column("model_digest", pa.string(), "hash of the model's code, weights and options"),
    ],
)

SEAMS = table_schema(
    "seams",
    [
        *SOURCE,
        column(
            "zone",
            pa.string(),
            "`near`, in a strip that several windows saw, and `far`, which the verdict compares; or `margin`: what "
            "lies along the image's edge up to the first whole period of windows",
        ),
        column(
            "distance_min_px",
            pa.int64(),
            "least distance to the nearest strip that several windows saw, on the model's grid, along axes with at "
            "least one whole period of windows: 0 beside the strip, -1 beside its border in it, and less further in",
            "pixel",
            nullable=True,
        ),
        column("distance_max_px", pa.int64(), "one past the greatest such distance", "pixel", nullable=True),
        column("pixels", pa.int64(), "done and empty pixels of the source at that distance", "pixel"),
        column("object_count", pa.int64(), "objects with their centroid at that distance"),
        column(
            "objects_per_mpx", pa.float64(), "objects in a million pixels; null without pixels", "1/Mpx", nullable=True
        ),
        column(
            "ratio",
            pa.float64(),
            "that density divided by that of the near and far zones together",
            nullable=True,
        ),
    ],
)

TILES = table_schema(
    "tiles",
    [
        *SOURCE,
        column("tile", pa.string(), "index of the work tile, z-y-x"),
        *PIXEL_BOX,
        column("status", pa.string(), "`done`, `empty`, `nodata` or `failed` (any pixel of it failed)"),
        column("reason", pa.string(), "reason code of the failure", nullable=True),
        column("message", pa.string(), "what failed and what to do", nullable=True),
        column("pixels", pa.int64(), "pixels of the tile's core", "pixel"),
        column("pixels_done", pa.int64(), "as in `images`", "pixel"),
        column("pixels_empty", pa.int64(), "as in `images`", "pixel"),
        column("pixels_nodata", pa.int64(), "as in `images`", "pixel"),
        column("pixels_failed", pa.int64(), "as in `images`", "pixel"),
        column("windows", pa.int32(), "windows that the model was shown"),
        column("detections", pa.int64(), "detections or components before the merge"),
        column("capped_windows", pa.int32(), "windows in which the model reached its own limit of detections"),
        column("read_s", pa.float64(), "time spent reading", "second"),
        column("predict_s", pa.float64(), "time spent in the model", "second"),
        column("encode_s", pa.float64(), "time spent on fragments, links and the shard", "second"),
        column("shard", pa.string(), "the tile's durable result, relative to the run folder"),
        column("shard_sha256", pa.string(), "checksum of the shard"),
    ],
)

FAILURES = table_schema(
    "failures",
    [
        column("source_id", pa.string(), "identity of the source"),
        column("source_uri", pa.string(), "what could not be processed, without credentials"),
        column(
            "scope",
            pa.string(),
            "`input` (all of it), `tile` (the box), `skipped` (never opened) or `output` (an object of a volume)",
        ),
        column("tile", pa.string(), "index of the work tile, z-y-x", nullable=True),
        *(field.with_nullable(True) for field in PIXEL_BOX),
        column("reason", pa.string(), "stable reason code"),
        column("message", pa.string(), "what was expected and what was found"),
        column("hint", pa.string(), "what to do", nullable=True),
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
