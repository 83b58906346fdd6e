"""The report of a run: one static HTML page with pictures, readable offline, without scripts or foreign addresses."""
# pyarrow has no type information.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from jobs.doubtful import count_doubtful, doubtful_line
from jobs.preview import preview
from jobs.results import Results
from jobs.seams import verdict_line
from schemas.errors import SegworkersError
from segworkers.readers.base import Reader

MOST_PICTURES = 24
"""Sources that are shown as pictures; the page says how many there are in all."""

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2430;background:#fff}
h1{font-size:1.6rem;margin-bottom:.2rem} h2{font-size:1.15rem;margin-top:2.2rem} .quiet{color:#5c6675}
table{border-collapse:collapse;width:100%} th,td{padding:.35rem .7rem;border-bottom:1px solid #dfe3ea;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap} td{overflow-wrap:anywhere}
td small{display:block;font-size:.75rem;color:#5c6675} @media(max-width:72rem){table{display:block;overflow-x:auto}}
figure{margin:1.2rem 0} img{max-width:100%;height:auto}
code{background:#f1f3f7;padding:.1rem .3rem;border-radius:3px} .bad{color:#a11d1d}
"""
"""Style of every page."""

_IMAGES = """
SELECT source_uri, status, object_count, pixels, pixels_nodata, pixels_failed, valid_area_m2, objects_per_km2
FROM images ORDER BY source_uri LIMIT 1000
"""


def write_report(
    results: Results, reader: Reader, folder: Path, *, title: str, truth: Mapping[str, int] | None = None
) -> Path:
    """Write `index.html` and its pictures into `folder`; the path of the page.

    truth: known numbers of objects by source URI, shown beside the counted ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = results.sql(_IMAGES).to_pylist()
    total = results.sql("SELECT count(*) AS images, sum(object_count) AS objects FROM images").to_pylist()[0]
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="quiet">{total["objects"] or 0:,} objects in {total["images"]:,} images · '
        f"generation {escape(results.generation)}</p>",
        *_evidence(results),
        "<h2>Classes</h2>",
        _table(results.sql("SELECT label, sum(object_count) AS objects FROM classes GROUP BY ALL ORDER BY label")),
        "<h2>Images</h2>",
        _images(rows, truth or {}),
        "<h2>Pictures</h2>",
        *_pictures(results, reader, folder, rows),
        "<h2>Not processed</h2>",
        _failures(results),
        "<h2>Ask the tables</h2>",
        f"<p><code>segworkers query {escape(results.out)} "
        '"SELECT label, count(*) FROM instances GROUP BY label"</code></p>',
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )
    target = folder / "index.html"
    target.write_text(page, encoding="utf-8")
    return target


def _evidence(results: Results) -> Iterable[str]:
    """What is known about the merge: the seam verdict, and how many merges are doubtful."""
    if results.seam is not None:
        yield f"<p>{escape(verdict_line(results.seam))}</p>"
    yield f'<p class="quiet">{escape(doubtful_line(count_doubtful(results)))}</p>'


def _images(rows: Sequence[Mapping[str, Any]], truth: Mapping[str, int]) -> str:
    heads = ["image", "status", "objects", *(["true"] if truth else []), "Mpx", "nodata", "failed", "km²", "per km²"]
    lines: list[list[str]] = []
    for row in rows:
        area = row["valid_area_m2"]
        line = [Path(row["source_uri"]).name, row["status"], _number(row["object_count"])]
        if truth:
            line.append(_number(truth.get(row["source_uri"])))
        line += [_number((row["pixels"] or 0) / 1e6, 1), _share(row, "pixels_nodata"), _share(row, "pixels_failed")]
        line += [_number(area / 1e6 if area else None, 4), _number(row["objects_per_km2"], 0)]
        lines.append(line)
    return table_html(heads, lines, numbers_from=2)


def _pictures(results: Results, reader: Reader, folder: Path, rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    shown = [row["source_uri"] for row in rows if row["object_count"] is not None][:MOST_PICTURES]
    if len(rows) > len(shown):
        yield f'<p class="quiet">{len(shown)} of {len(rows):,} images are shown.</p>'
    for number, uri in enumerate(shown):
        picture = folder / f"picture-{number:03d}.png"
        name = escape(Path(uri).name)
        try:
            preview(results, reader, uri, box=None, max_side=1400, path=picture)
        except SegworkersError as error:
            yield f'<p class="bad">{name}: {escape(str(error))}</p>'
            continue
        image = f'<img src="{picture.name}" alt="{name} with its objects">'
        yield f"<figure>{image}<figcaption>{name}</figcaption></figure>"


def _failures(results: Results) -> str:
    table = results.sql("SELECT source_uri, scope, tile, reason, message, hint FROM failures LIMIT 200")
    return _table(table) if table.num_rows else "<p>Every pixel of every input was processed.</p>"


def _table(table: Any) -> str:
    lines = [
        [_number(value) if isinstance(value, int) else str(value or "") for value in row.values()]
        for row in table.to_pylist()
    ]
    return table_html(table.column_names, lines, numbers_from=1 if table.num_columns == 2 else 99)


def table_html(heads: Sequence[str], lines: Sequence[Sequence[str]], *, numbers_from: int) -> str:
    """A table; texts are escaped. Columns from `numbers_from` on are numbers, set to the right.

    What follows a line break in a cell is set smaller below it.
    """

    def cells(tag: str, values: Sequence[str]) -> str:
        opening = [f"<{tag}>" if k < numbers_from else f'<{tag} class="n">' for k in range(len(values))]
        return "".join(f"{start}{_lines(value)}</{tag}>" for start, value in zip(opening, values, strict=True))

    body = "".join(f"<tr>{cells('td', line)}</tr>" for line in lines)
    return f"<table><thead><tr>{cells('th', heads)}</tr></thead><tbody>{body}</tbody></table>"


def _lines(value: str) -> str:
    first, _, below = value.partition("\n")
    return escape(first) + (f"<small>{escape(below)}</small>" if below else "")


def _number(value: float | None, digits: int = 0) -> str:
    return "unknown" if value is None else f"{value:,.{digits}f}"


def _share(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name] / row['pixels']:.1%}" if row["pixels"] else "unknown"
