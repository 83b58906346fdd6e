"""The page of an evaluation: one HTML file with its pictures inside, readable offline, without scripts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from math import isnan
from pathlib import Path
from typing import Any

from jobs.evaluation.evaluating import Evaluation
from jobs.evaluation.pictures import Picture
from jobs.report import STYLE, table_html

MOST_IMAGES = 200
"""Images that are listed, those with the most mistakes first."""

_MORE_STYLE = """
.grid{display:flex;flex-wrap:wrap;gap:1rem} .grid figure{margin:0;width:15rem}
.grid img{width:100%;image-rendering:pixelated} figcaption{font-size:.82rem;overflow-wrap:anywhere}
.figure{white-space:nowrap} .key{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em}
"""
_KEYS = (
    '<p class="quiet"><span class="key" style="background:#ff7800"></span>found by the run'
    '<span class="key" style="background:#00dcff"></span>truth</p>'
)


def write_page(evaluation: Evaluation, pictures: Sequence[Picture], target: Path, *, title: str, quiet: str) -> Path:
    """Write the page; the path of it. quiet: a line below the title."""
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="quiet">{escape(quiet)}</p>',
        *(f"<p>{_unbroken(line)}</p>" for line in headline(evaluation)),
        *(f'<p class="bad">{escape(line)}</p>' for line in warnings(evaluation)),
        "<h2>By threshold</h2>",
        _by_threshold(evaluation),
        *_by_group(evaluation, "class", "label", "By class"),
        *_by_group(evaluation, "size", "size", "By size"),
        *_by_group(evaluation, "class and size", "label", "By class and size"),
        "<h2>False positives</h2>",
        _grid([each for each in pictures if each.example.is_prediction], "highest scores first"),
        "<h2>Misses</h2>",
        _grid([each for each in pictures if not each.example.is_prediction], "largest first"),
        "<h2>By image</h2>",
        _by_image(evaluation),
        *_method(evaluation),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}{_MORE_STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )
    target.write_text(page, encoding="utf-8")
    return target


def headline(evaluation: Evaluation) -> list[str]:
    """What was found, in plain lines, at each threshold."""
    lines: list[str] = []
    first = evaluation.metrics[0]
    images = len({row["source_uri"] for row in evaluation.images})
    error = first["count_error"]
    share = "" if first["count_error_share"] is None else f" ({first['count_error_share']:+.1%})"
    lines.append(
        f"{_counted(first['true_count'], 'true object')} and {first['predicted_count']:,} found in "
        f"{_counted(images, 'image')}: "
        f"{'' if error is None else f'{error:+,.0f}'}{share}"
    )
    for row in evaluation.metrics:
        if row["scope"] == "all":
            told = ", ".join(f"{name} {_figure(row, key)}" for name, key in _FIGURES if row[key] is not None)
            lines.append(f"IoU {row['iou']:g}: {told or 'no objects on either side'}")
    return lines


_FIGURES = (("F1", "f1"), ("precision", "precision"), ("recall", "recall"), ("AP", "ap"), ("PQ", "pq"))


def warnings(evaluation: Evaluation) -> list[str]:
    """What is missing on one side, unknown or not counted."""
    lines = list(evaluation.notes)
    first = evaluation.metrics[0]
    for names, noun, what in (
        (evaluation.unused, "part", "of the truth that no source of the run belongs to"),
        (evaluation.without, "image", "of the run without truth, not counted"),
        (evaluation.failed, "image", "failed in the run, truth unknown"),
    ):
        if names:
            shown = ", ".join(name.rsplit("/", 1)[-1] for name in names[:5])
            lines.append(f"{_counted(len(names), noun)} {what}: {shown}{', …' if len(names) > 5 else ''}")
    for key, noun, what in (
        ("unknown_truth", "true object", "where the image failed or is not valid: unknown, not missed"),
        ("unknown_predictions", "object", "found that touched what failed and matched nothing: unknown, not false"),
        ("ignored_truth", "true object", "in regions that are to be ignored"),
        ("ignored_predictions", "object", "found in regions that are to be ignored, matching nothing"),
    ):
        if first[key]:
            lines.append(f"{_counted(first[key], noun)} {what}")
    return lines


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _figure(row: dict[str, Any], name: str) -> str:
    value, _, interval = _cell(row, name).partition("\n")
    return f"{value} ({interval})" if interval else value


def _cell(row: dict[str, Any], name: str) -> str:
    """A figure, and below it its interval, as `table_html` sets them."""
    if row[name] is None:
        return "unknown"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return f"{row[name]:.3f}" + (f"\n{low:.3f}–{high:.3f}" if low is not None else "")


_FIGURE = re.compile(r"\d\.\d{3}(?: \(\d\.\d{3}–\d\.\d{3}\))?")


def _unbroken(text: str) -> str:
    """The text, escaped; its figures stay on one line with their intervals."""
    return _FIGURE.sub(lambda found: f'<span class="figure">{found[0]}</span>', escape(text))


_HEADS = ["true", "found", "matched", "false", "missed", "precision", "recall", "F1", "AP", "mean IoU"]


def _cells(row: dict[str, Any]) -> list[str]:
    counts = [f"{row[name]:,}" for name in ("true_count", "predicted_count", "matched", "false_positives", "misses")]
    return counts + [_cell(row, name) for name in ("precision", "recall", "f1", "ap", "mean_iou")]


def _by_threshold(evaluation: Evaluation) -> str:
    rows = [row for row in evaluation.metrics if row["scope"] == "all"]
    table = table_html(["IoU", *_HEADS], [[f"{row['iou']:g}", *_cells(row)] for row in rows], numbers_from=1)
    first = rows[0]
    panoptic = ", ".join(f"{name.upper()} {_figure(first, name)}" for name in ("pq", "sq", "rq"))
    return f"{table}<p>Panoptic quality (IoU above 0.5): {_unbroken(panoptic)}</p>"


def _by_group(evaluation: Evaluation, scope: str, key: str, title: str) -> Iterable[str]:
    """Rows of one kind at the first threshold; nothing where there is only one of them."""
    first = evaluation.scheme.thresholds[0]
    rows = [row for row in evaluation.metrics if row["scope"] == scope and row["iou"] == first]
    if len({row["label"] for row in rows}) < 2 and scope != "size":
        return
    names = [row[key] if scope != "class and size" else f"{row['label']}, {row['size']}" for row in rows]
    yield f"<h2>{escape(title)}, IoU {first:g}</h2>"
    lines = [[name or "all", *_cells(row), _cell(row, "pq")] for name, row in zip(names, rows, strict=True)]
    yield table_html([scope, *_HEADS, "PQ"], lines, numbers_from=1)


def _by_image(evaluation: Evaluation) -> str:
    first = evaluation.scheme.thresholds[0]
    rows = [row for row in evaluation.images if row["iou"] == first]
    rows.sort(key=lambda row: (-(row["false_positives"] + row["misses"]), row["source_uri"]))
    errors = [abs(row["count_error"]) for row in rows]
    lines = [[row["source_uri"].rsplit("/", 1)[-1], *_cells(row | {"ap": None})] for row in rows[:MOST_IMAGES]]
    heads = ["image", *_HEADS]
    for line in (heads, *lines):
        del line[9]  # average precision of one image says little
    told = f"<p>Mean error of the count, signs dropped: {sum(errors) / len(errors):,.1f} objects an image.</p>"
    return told + table_html(heads, lines, numbers_from=1)


def _grid(pictures: Sequence[Picture], order: str) -> str:
    if not pictures:
        return "<p>None.</p>"
    made = [f'<p class="quiet">{len(pictures)} shown, {order}.</p>{_KEYS}<div class="grid">']
    for picture in pictures:
        each = picture.example
        z, y, x = (round((each.box[k] + each.box[k + 3]) / 2) for k in range(3))
        place = f"{each.target.name}, row {y:,}, column {x:,}" + (f", slice {z}" if each.target.shape[0] > 1 else "")
        what = f"{each.label}" + (f", score {each.score:.2f}" if not isnan(each.score) else "")
        told = f"{what}; best IoU {each.best_iou:.2f}; {place}; {each.name}"
        note = f'<br><span class="bad">{escape(picture.note)}</span>' if picture.note else ""
        made.append(
            f'<figure><img src="{picture.data_uri}" alt="{escape(told)}">'
            f"<figcaption>{escape(told)}{note}</figcaption></figure>"
        )
    return "".join([*made, "</div>"])


def _method(evaluation: Evaluation) -> Iterable[str]:
    yield "<h2>How this was counted</h2>"
    yield (
        "<p>One prediction matches at most one true object of its class, with an IoU of at least the threshold; of all "
        "sets of matches the largest counts, then the one with the largest sum of IoU. Average precision takes "
        "predictions by falling score and is interpolated at 101 recalls, as COCO does; it is unknown where the model "
        "gives no scores. AP and PQ of several classes are means over classes, the other figures are of all objects "
        "together.</p>"
    )
    yield f"<p>Intervals: {escape(evaluation.metrics[0]['intervals'])}.</p>"
