"""Writes docs/tables.md from `schemas.tables`: `make docs`. The page is generated, so it cannot say anything else."""
# pyarrow ships no type stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from schemas.fields import SCHEMA_VERSION
from schemas.tables import SCHEMAS

PAGE = Path(__file__).parent / "tables.md"

INTRODUCTION = f"""\
# Tables

<!-- Written by `make docs` from schemas/tables.py. Change it there, or in docs/make_tables.py. -->

Schema version {SCHEMA_VERSION}. A run publishes six tables below `OUT/tables/GENERATION/`; `OUT/current.json` lists
the files of the live generation, with rows, bytes and SHA-256. Every file's metadata carries `segworkers.table` and
`segworkers.schema_version`, every column's carries `description` and, where it has one, `unit`. The major number of the
version goes up when a column changes its meaning or goes, the minor number when one comes.

Pixel indices are 0-based in the order z, y, x; boxes are half-open; positions count from the corner of pixel 0, so its
centre is 0.5. An image has z = 0 and depth 1. **Null means unknown or not applicable, never 0.**

`instances`, `images`, `series` and `seams` depend on inputs, model and filters only: whatever the work tiles, engine,
number of workers, order of arrival and retries, they are the same byte for byte. `tiles` and `failures`
tell how the work went.
"""

ABOUT = {
    "instances": """\
One row for each object. GeoParquet 1.1 (WKB, OGC:CRS84, `bbox` covering), sorted by source and along a Hilbert curve
within it, zstd, 30,000 rows a row group. `mask_rle` is the object; geometry is a view of it.""",
    "images": "One row for each source, and one, mostly null, for each input that could not be used.",
    "series": """\
One row for each DICOM volume that was found, accepted, repaired or rejected, and for other stacks of images that were
passed over, with its geometry and every decision ([what the codes mean](dicom.md)). All identities are pseudonyms.""",
    "seams": """\
The seam profile of each source: valid pixels and objects by their distance from the nearest strip that several windows
saw, negative inside it; the least is the strip's middle. Without a seam the density is flat; `seam_verdict` in `images`
says whether it is.""",
    "tiles": "The ledger: one row for each work tile; its pixels add up to the source's (`segworkers verify`).",
    "failures": "One row for each input, or part of one, that was not processed, with what to do.",
}

QUERIES: list[tuple[str, str]] = [
    ("Objects by class", "SELECT label, count(*) AS objects FROM instances GROUP BY label ORDER BY label"),
    (
        "Counts of each image; `classes` is a view with one row for each image and class, 0 included",
        "SELECT source_uri, label, object_count, is_lower_bound FROM classes ORDER BY ALL",
    ),
    (
        "Objects in a box of one image, in pixels",
        "SELECT instance_id, score FROM instances WHERE x_max > 100 AND x_min < 300 AND y_max > 100 AND y_min < 300",
    ),
    (
        "Objects in a box on the map: the `bbox` column lets the reader skip row groups",
        "SELECT instance_id, area_m2 FROM instances\n"
        "WHERE bbox.xmax > 11.0 AND bbox.xmin < 11.1 AND bbox.ymax > 48.0 AND bbox.ymin < 48.2",
    ),
    (
        "The largest objects that are certainly whole",
        "SELECT instance_id, area_m2, length_m, width_m FROM instances\n"
        "WHERE is_complete AND NOT touches_border ORDER BY pixel_count DESC LIMIT 10",
    ),
    (
        "Objects whose outline rests on weak agreement between windows",
        "SELECT instance_id, n_views, min_link_overlap FROM instances WHERE assembled AND min_link_overlap < 0.5",
    ),
    (
        "Is there a seam? Density of objects by distance from the strips that windows share, over all images",
        "SELECT zone, distance_min_px, 1e6 * sum(object_count) / sum(pixels) AS objects_per_mpx FROM seams\n"
        "WHERE zone <> 'margin' GROUP BY ALL HAVING sum(pixels) > 0 ORDER BY distance_min_px",
    ),
    (
        "Lesions of each study; `per_series` and `per_study` are views over DICOM volumes",
        "SELECT study_id, object_count, volume_mm3, longest_axis_mm, is_lower_bound FROM per_study",
    ),
    (
        "Measurable lesions: at least 10 mm, whole",
        "SELECT series_id, instance_id, long_axis_mm, short_axis_mm, volume_mm3, value_mean FROM instances\n"
        "WHERE long_axis_mm >= 10 AND is_complete AND NOT touches_border",
    ),
    ("What was not processed, and why", "SELECT source_uri, scope, reason, message, hint FROM failures"),
    (
        "Where the time went",
        "SELECT sum(read_s) AS read, sum(predict_s) AS predict, sum(encode_s) AS encode FROM tiles",
    ),
]
"""What each query answers, and the query; a test runs them all."""

ELSEWHERE = """\
## Reading them elsewhere

```python
import geopandas, polars

objects = geopandas.read_parquet("out/tables/GENERATION/instances")
counts = polars.read_parquet("out/tables/GENERATION/images/*.parquet")
```

A mask is COCO's compressed run-length code of its pixel box. With height `y_max - y_min` and width `x_max - x_min`,
`pycocotools.mask.decode({"size": [height, width], "counts": mask_rle})` gives the crop of an image's object;
`schemas.rle.from_coco_rle` does the same without pycocotools, for volumes too:

```python
from schemas import boxes, masks, rle

row = objects.iloc[0]
box = boxes.Box((row.z_min, row.y_min, row.x_min), (row.z_max, row.y_max, row.x_max))
mask = masks.to_array(rle.from_coco_rle(row.mask_rle, box), box)  # bool (z, y, x); mask[0] is an image's crop
```
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for name, schema in SCHEMAS.items():
        parts.append(f"## `{name}`\n\n{ABOUT[name]}\n\n{_columns(schema)}")
    shown = "\n\n".join(f"{text}:\n\n```sql\n{query}\n```" for text, query in QUERIES)
    parts.append(f'## Questions\n\nEach runs as `segworkers query OUT "..."`.\n\n{shown}\n')
    parts.append(ELSEWHERE)
    return "\n".join(parts)


def _columns(schema: pa.Schema) -> str:
    rows = ["| column | type | unit | null | meaning |", "|---|---|---|---|---|"]
    for field in schema:
        metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        cells = (
            f"`{field.name}`",
            _kind(field.type),
            metadata.get("unit", ""),
            "yes" if field.nullable else "",
            metadata["description"],
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_struct(kind):
        inner = ", ".join(f"{field.name} {_kind(field.type)}{'?' if field.nullable else ''}" for field in kind)
        return f"struct({inner})"
    if pa.types.is_list(kind):
        return f"list of {_kind(kind.value_type)}"
    return str(kind)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
