"""What only DICOM has: columns of `instances` for volumes and slides, and the table `series`."""
# pyarrow ships no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import pyarrow as pa

from schemas.fields import PSEUDONYMS, column, table_schema

_MM_AXES = (("x", "left"), ("y", "back"), ("z", "head"))

VOLUME_MEASURES = [
    column("voxel_count", pa.int64(), "voxels of the mask; null for images", "voxel", nullable=True),
    column(
        "volume_mm3",
        pa.float64(),
        "voxels times |det| of the affine; where slices are unevenly spaced, area times half the way to either "
        "neighbour, summed over slices",
        "cubic millimetre",
        nullable=True,
    ),
    *(
        column(
            f"centroid_{axis}_mm",
            pa.float64(),
            f"centroid in the patient, LPS: {axis} grows to the {side}",
            "millimetre",
            nullable=True,
        )
        for axis, side in _MM_AXES
    ),
    column(
        "long_axis_mm",
        pa.float64(),
        "longest diameter within one slice, between voxel centres (RECIST 1.1 style, automatic); null below 2 voxels",
        "millimetre",
        nullable=True,
    ),
    column(
        "short_axis_mm",
        pa.float64(),
        "largest extent perpendicular to it, in the same slice",
        "millimetre",
        nullable=True,
    ),
    column("long_axis_slice", pa.int32(), "z index of that slice", nullable=True),
    column("plane", pa.string(), "plane of the slices: `axial`, `coronal`, `sagittal` or `oblique`", nullable=True),
    column(
        "max_diameter_mm", pa.float64(), "longest diameter in space, between voxel centres", "millimetre", nullable=True
    ),
    column(
        "surface_mm2", pa.float64(), "area of the mesh around the mask (IBSI C0JK)", "square millimetre", nullable=True
    ),
    column("value_unit", pa.string(), "unit of the values, such as HU or BQML; null where unknown", nullable=True),
    *(
        column(f"value_{name}", pa.float64(), f"{meaning} of the calibrated values in the mask", nullable=True)
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
    column(
        "suv_mean", pa.float64(), "mean SUVbw; null unless every attribute it needs is there", "g/ml", nullable=True
    ),
    column("suv_max", pa.float64(), "greatest SUVbw", "g/ml", nullable=True),
    column("first_sop_id", pa.string(), "pseudonym of the image with the mask's first slice", nullable=True),
    column("last_sop_id", pa.string(), "pseudonym of the image with the mask's last slice", nullable=True),
    column(
        "unknown_reason", pa.string(), "why measurements of the volume are null: codes, comma separated", nullable=True
    ),
]
"""Columns of `instances` with measurements that only volumes have."""

VOLUME_COLUMNS = tuple(field.name for field in (*PSEUDONYMS, *VOLUME_MEASURES))
"""Columns of `instances` that are null for rasters."""

SLIDE_MEASURES = [
    column(
        "area_um2",
        pa.float64(),
        "pixels times the area of one; null but for whole-slide images and `raster.pixel_size`",
        "square micrometre",
        nullable=True,
    ),
    column("length_um", pa.float64(), "long side of the minimum-area rectangle", "micrometre", nullable=True),
    column("width_um", pa.float64(), "short side of the minimum-area rectangle", "micrometre", nullable=True),
    *(
        column(
            f"centroid_{axis}_um",
            pa.float64(),
            f"centroid along {axis} from the outer corner of the first pixel",
            "micrometre",
            nullable=True,
        )
        for axis in ("x", "y")
    ),
]
"""Columns of `instances` with measurements of whole-slide images and of images whose pixel size is told."""

SERIES = table_schema(
    "series",
    [
        *PSEUDONYMS,
        column("subject_id", pa.string(), "pseudonym of the patient", nullable=True),
        column("frame_of_reference_id", pa.string(), "pseudonym; only equal ones share coordinates", nullable=True),
        column("source_id", pa.string(), "identity of the source; null where it was left out", nullable=True),
        column("status", pa.string(), "`accepted`, `repaired` (see decisions) or `rejected`"),
        column("reason", pa.string(), "reason code where it was rejected", nullable=True),
        column("message", pa.string(), "what was expected and what was found", nullable=True),
        column("decisions", pa.list_(pa.string()), "codes of what was noticed and repaired; see docs/dicom.md"),
        column("modality", pa.string(), "CT, MR, PT …", nullable=True),
        column("value_unit", pa.string(), "unit of the calibrated values", nullable=True),
        column(
            "stack_kind", pa.string(), "`regular`, `sheared` (gantry tilt) or `variable` (steps differ)", nullable=True
        ),
        column("plane", pa.string(), "`axial`, `coronal`, `sagittal` or `oblique`", nullable=True),
        column("files", pa.int64(), "files that belong to it"),
        column("slices", pa.int64(), "slices of the volume", nullable=True),
        column("rows", pa.int64(), "voxels down a slice", nullable=True),
        column("columns", pa.int64(), "voxels along a row", nullable=True),
        column("missing_slices", pa.int64(), "slices that are not there between others", nullable=True),
        column(
            "duplicate_slices", pa.int64(), "slices with the same content and place that were dropped", nullable=True
        ),
        *(
            column(f"spacing_{axis}_mm", pa.float64(), f"voxel spacing along {axis}", "millimetre", nullable=True)
            for axis in ("z", "y", "x")
        ),
        column("affine", pa.list_(pa.float64()), "16 numbers, row by row: voxel (x, y, z, 1) to LPS mm", nullable=True),
        column("transfer_syntaxes", pa.list_(pa.string()), "transfer syntax UIDs of the files"),
        column("is_lossy", pa.bool_(), "whether the pixels were compressed with loss", nullable=True),
        column("manufacturer", pa.string(), "technical attribute", nullable=True),
        column("model_name", pa.string(), "technical attribute", nullable=True),
        column("kvp", pa.float64(), "tube voltage", "kilovolt", nullable=True),
        column("slice_thickness_mm", pa.float64(), "nominal; not the spacing", "millimetre", nullable=True),
        column("kernel", pa.string(), "convolution kernel", nullable=True),
        column("contrast", pa.bool_(), "whether a contrast agent was given", nullable=True),
    ],
)
