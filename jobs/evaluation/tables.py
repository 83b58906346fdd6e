"""Tables of an evaluation: metrics as Parquet, CSV and JSON, and what became of each object as Parquet."""
# pyarrow has no type information.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.evaluation.comparing import Compared
from jobs.query import write_csv, write_json
from jobs.truth.base import Target
from segworkers.evaluation.outcomes import MATCHED, Outcome, Side
from segworkers.evaluation.summary import COUNTS, NAMES, Row, image_figures
from segworkers.evaluation.tally import Scheme

STATES = {True: ("matched", "false positive", "ignored", "unknown"), False: ("matched", "missed", "ignored", "unknown")}
"""Names of the states of predictions and of true objects."""

_NUMBERS = [(name, pa.float64()) for figure in NAMES for name in (figure, f"{figure}_low", f"{figure}_high")]
METRICS = pa.schema(
    [
        ("scope", pa.string()),
        ("source_uri", pa.string()),
        ("label", pa.string()),
        ("size", pa.string()),
        ("size_min_px", pa.float64()),
        ("size_max_px", pa.float64()),
        ("iou", pa.float64()),
        ("true_count", pa.int64()),
        ("predicted_count", pa.int64()),
        *((name, pa.int64()) for name in COUNTS),
        *_NUMBERS,
        ("intervals", pa.string()),
    ]
)
"""Columns of the table of metrics; what they mean is in docs/evaluate.md."""

OBJECTS = pa.schema(
    [
        ("source_id", pa.string()),
        ("source_uri", pa.string()),
        ("side", pa.string()),
        ("name", pa.string()),
        ("label", pa.string()),
        ("state", pa.string()),
        ("partner", pa.string()),
        ("iou", pa.float64()),
        ("best_iou", pa.float64()),
        ("score", pa.float64()),
        ("area_px", pa.float64()),
        *((f"{axis}_{side}", pa.float64()) for side in ("min", "max") for axis in "zyx"),
    ]
)
"""Columns of the table of objects."""


def metric_rows(rows: Sequence[Row], classes: Sequence[str], scheme: Scheme, units: int) -> list[dict[str, Any]]:
    """Rows as the table has them; classes that neither side has are left out."""
    seen = {row.label for row in rows if sum(row.counts.values())}
    made: list[dict[str, Any]] = []
    for row in rows:
        if row.label is not None and row.label not in seen:
            continue
        low, high = size_range(scheme, row.size)
        body = _empty() | {
            "scope": _scope(row),
            "label": None if row.label is None else classes[row.label],
            "size": size_name(scheme, row.size),
            "size_min_px": low,
            "size_max_px": high,
            "iou": scheme.thresholds[row.threshold],
            "intervals": _method(row.method, scheme, units),
        }
        body |= _counts(row.counts)
        for name, figure in row.figures.items():
            body[name] = _known(figure.value)
            body[f"{name}_low"], body[f"{name}_high"] = (_known(value) for value in figure.interval)
        made.append(body)
    return made


def image_row(target: Target, threshold: float, numbers: NDArray[np.float64]) -> dict[str, Any]:
    """One image at one threshold, all classes and sizes together."""
    figures = image_figures(numbers)
    shown = {name: value if isinstance(value, int) else _known(value) for name, value in figures.items()}
    counts = _counts({name: int(figures[name]) for name in COUNTS})
    return (
        _empty() | {"scope": "image", "source_uri": target.uri, "iou": threshold, "intervals": "none"} | shown | counts
    )


def _empty() -> dict[str, Any]:
    return dict.fromkeys(METRICS.names)


def _counts(counts: Any) -> dict[str, int]:
    true, predicted = counts["matched"] + counts["misses"], counts["matched"] + counts["false_positives"]
    return {"true_count": true, "predicted_count": predicted, **counts}


def _scope(row: Row) -> str:
    parts = [name for name, value in (("class", row.label), ("size", row.size)) if value is not None]
    return " and ".join(parts) or "all"


def _method(method: str, scheme: Scheme, units: int) -> str:
    if method == "bootstrap":
        return f"95 %, bootstrap over {units} {'blocks' if scheme.blocks else 'images'}"
    return "95 %, Wilson, of precision and recall only" if method == "wilson" else "none"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def size_range(scheme: Scheme, size: int | None) -> tuple[float | None, float | None]:
    """Least size and the one that is no longer reached, in pixels; None is unbounded."""
    if size is None:
        return None, None
    borders = (None, *scheme.sizes, None)
    return borders[size], borders[size + 1]


def size_name(scheme: Scheme, size: int | None) -> str | None:
    """How a size is called: `below 1,024 px`; None for all sizes."""
    low, high = size_range(scheme, size)
    if size is None or (low is None and high is None):
        return None
    if low is None:
        return f"below {high:,.0f} px"
    return f"{low:,.0f} px and above" if high is None else f"{low:,.0f} to {high:,.0f} px"


def write_metrics(folder: Path, rows: Sequence[dict[str, Any]]) -> list[Path]:
    """`metrics.parquet`, `metrics.csv` and `metrics.json` in `folder`; the same rows in each."""
    table = pa.Table.from_pylist(list(rows), schema=METRICS)
    paths = [folder / f"metrics.{suffix}" for suffix in ("parquet", "csv", "json")]
    pq.write_table(table, paths[0], compression="zstd")
    for path, write in ((paths[1], write_csv), (paths[2], write_json)):
        with path.open("w", encoding="utf-8", newline="") as stream:
            write(table.to_reader(), stream)
    return paths


class ObjectWriter:
    """Writes the table of objects source by source; without a path nothing."""

    def __init__(self, path: Path | None, classes: Sequence[str]) -> None:
        self._path, self._classes = path, list(classes)
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            self._writer = pq.ParquetWriter(self._path, OBJECTS, compression="zstd")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, compared: Compared, outcome: Outcome) -> None:
        """What became of the objects of one source at one threshold."""
        if self._writer is None:
            return
        matches = outcome.matches
        names = [name.decode() for name in compared.names]
        true_names = [item.name for item in compared.items]
        for is_prediction, side, state, own, ids, other, theirs in (
            (True, compared.predictions, outcome.prediction, matches.prediction, names, matches.truth, true_names),
            (False, compared.truth, outcome.truth, matches.truth, true_names, matches.prediction, names),
        ):
            partner: list[str | None] = [None] * len(side)
            for k, j in zip(own.tolist(), other.tolist(), strict=True):
                partner[k] = theirs[j]
            iou = np.full(len(side), np.nan)
            iou[own] = matches.iou
            best = np.zeros(len(side))
            at = compared.pairs.prediction if is_prediction else compared.pairs.truth
            np.maximum.at(best, at, compared.pairs.iou)
            self._writer.write_table(self._table(compared.target, is_prediction, side, state, ids, partner, iou, best))

    def _table(
        self,
        target: Target,
        is_prediction: bool,
        side: Side,
        state: NDArray[np.int8],
        names: Sequence[str],
        partner: Sequence[str | None],
        iou: NDArray[np.float64],
        best: NDArray[np.float64],
    ) -> Any:
        assert ((state == MATCHED) == ~np.isnan(iou)).all(), "what is matched has an IoU"
        count = len(side)
        score = side.score if is_prediction else np.full(count, np.nan)
        columns: dict[str, Any] = {
            "source_id": [target.source_id] * count,
            "source_uri": [target.uri] * count,
            "side": ["prediction" if is_prediction else "truth"] * count,
            "name": list(names),
            "label": [self._classes[k] for k in side.label],
            "state": [STATES[is_prediction][k] for k in state],
            "partner": list(partner),
            "iou": pa.array(iou, from_pandas=True),
            "best_iou": best,
            "score": pa.array(score, from_pandas=True),
            "area_px": side.area,
        }
        sides = [f"{axis}_{end}" for end in ("min", "max") for axis in "zyx"]
        columns |= {name: side.boxes[:, k] for k, name in enumerate(sides)}
        return pa.table(columns, schema=OBJECTS)
