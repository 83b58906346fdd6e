"""The benchmark's plots: one heat map of count errors for each noise, and F1 over the noises."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.seams.records import (
    COUNT,
    F1_50,
    F1_90,
    NO_MERGE,
    ORACLE,
    OURS,
    BySeed,
    Cells,
    Metric,
    Part,
    Record,
    cells_of,
    is_peer,
    rules_of,
)
from benchmarks.seams.svg import heat_map, line_plot
from benchmarks.seams.tables import percent

STEPS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Limits of the heat map's shades, in per cent."""
SCORES: dict[str, Metric] = {"f1_50": F1_50, "f1_90": F1_90}


def file_name(part: Part, subject: str) -> str:
    """Name of a plot's file."""
    return re.sub(r"[^a-z0-9_]+", "_", f"{part}_{subject}".lower()) + ".svg"


def plots(records: Iterable[Record], folder: Path) -> list[Path]:
    """Write every plot that the records allow; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    cells = cells_of(records)
    written: list[Path] = []
    parts: list[Part] = list(dict.fromkeys(cell.part for cell in cells))
    for part in parts:
        own = {cell: found for cell, found in cells.items() if cell.part == part}
        drawn = {noise: count_errors(own, noise) for noise in noises_of(own)}
        drawn |= {name: scores_by_noise(own, metric) for name, metric in SCORES.items()}
        for subject, source in drawn.items():
            written.append(folder / file_name(part, subject))
            written[-1].write_text(source, encoding="utf-8")
    return written


def noises_of(cells: Cells) -> list[str]:
    """Noises as they appear, those of perfect models first."""
    return sorted(dict.fromkeys(cell.noise for cell in cells), key=lambda noise: not noise.startswith("perfect"))


def count_errors(cells: Cells, noise: str) -> str:
    """Rules by worlds: the absolute count error in per cent, a mean over seeds and windows."""
    own = {cell: found for cell, found in cells.items() if cell.noise == noise}
    rules = rules_of(record for found in own.values() for seeds in found.values() for record in seeds.values())
    worlds = list(dict.fromkeys(cell.world for cell in own))
    gathered: dict[tuple[str, str], list[float]] = {}
    for cell, found in own.items():
        for rule, seeds in found.items():
            gathered.setdefault((rule, cell.world), []).append(COUNT.mean(seeds))
    values = {place: math.fsum(means) / len(means) for place, means in gathered.items()}
    texts = {place: percent(value) for place, value in values.items()}
    note = "Absolute count error in % of the true objects, mean over seeds and windows; 0 is best, – is no result"
    return heat_map(f"Objects too many or too few: {noise}", note, rules, worlds, values, STEPS, texts)


def scores_by_noise(cells: Cells, metric: Metric) -> str:
    """A line for each rule over the noises: 1 - F1, since rules worth comparing are all close to 1."""
    rules = [rule for rule in rules_of(_all(cells)) if rule in {OURS, ORACLE, *NO_MERGE} or is_peer(rule)]
    names = noises_of(cells)
    by_noise = {noise: _comparable([found for cell, found in cells.items() if cell.noise == noise]) for noise in names}
    series = {rule: [_mean(by_noise[noise], rule, metric) for noise in names] for rule in rules}
    lost = {rule: [None if v is None else 1 - v for v in values] for rule, values in series.items()}
    note = (
        f"1 − {metric.name}, log scale, 0 is best; mean over seeds and over the worlds in which every rule has a result"
    )
    return line_plot(f"What is lost of {metric.name} with each kind of model error", note, names, lost)


def _comparable(found: Sequence[dict[str, BySeed]]) -> Sequence[dict[str, BySeed]]:
    """Cells in which every rule has a result: means over different worlds say nothing. All where there are none."""
    rules = {rule for rules in found for rule in rules}
    return [rules_found for rules_found in found if rules_found.keys() == rules] or found


def _mean(found: Sequence[dict[str, BySeed]], rule: str, metric: Metric) -> float | None:
    values = [metric.mean(rules[rule]) for rules in found if rule in rules]
    return math.fsum(values) / len(values) if values else None


def _all(cells: Cells) -> Sequence[Record]:
    return [record for found in cells.values() for seeds in found.values() for record in seeds.values()]
