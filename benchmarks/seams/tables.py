"""Pieces of the benchmark's page: numbers and tables in Markdown.

Numbers never look better than they are: F1 is cut, not rounded, so 1.000 is exactly 1; an error that is not 0 is not
written as 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from benchmarks.seams.intervals import Interval
from benchmarks.seams.records import COUNT, BySeed, Cell, Cells, Metric, best, competes

NOTHING = "–"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; the first `left` columns are text, the others numbers."""
    sides = ["---" if i < left else "---:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, sides, *rows)) + "\n"


def percent(value: float) -> str:
    """A number of per cent or points, unsigned: 12.3, 1.23, 0.0012, 0."""
    if value == 0:
        return "0"
    size = abs(value)
    return f"{size:.1f}" if size >= 10 else f"{size:.2f}" if size >= 0.01 else f"{size:.1g}"


def signed(value: float) -> str:
    """`percent` with its sign; 0 has none."""
    return ("" if value == 0 else "+" if value > 0 else "−") + percent(value)


def fraction(value: float) -> str:
    """F1 or IoU: three digits, cut."""
    return f"{math.floor(value * 1000 + 1e-9) / 1000:.3f}"


def fraction_signed(value: float) -> str:
    """A difference of F1: four digits."""
    return "0" if value == 0 else ("+" if value > 0 else "−") + f"{abs(value):.4f}"


def sized(values: Sequence[float]) -> str:
    """The mean of the sizes of `values`, so that they cannot cancel, with the sign that all of them share, else ±."""
    if not any(values):
        return "0"
    sign = "+" if min(values) >= 0 else "−" if max(values) <= 0 else "±"
    return sign + percent(math.fsum(map(abs, values)) / len(values))


def shown(metric: Metric, seeds: BySeed) -> str:
    """What stands in a table for a rule: the mean over seeds, of a count error as `sized`."""
    if metric is COUNT:
        return sized([100 * record.count_error for record in seeds.values()])
    return fraction(metric.mean(seeds))


def interval(difference: Interval, metric: Metric) -> str:
    """A difference with its interval."""
    show = signed if metric is COUNT else fraction_signed
    if math.isinf(difference.low):
        return f"{show(difference.mean)} (one seed)"
    return f"{show(difference.mean)} ({show(difference.low)} to {show(difference.high)})"


def bold(text: str, *, when: bool) -> str:
    """`text`, in bold where it is the best."""
    return f"**{text}**" if when else text


def places(cells: Iterable[Cell]) -> dict[Cell, str]:
    """World and windows of each cell, for the first column: `cells 512/64`."""
    return {cell: f"{cell.world} {cell.grid}" for cell in cells}


def by_rule(cells: Cells, rules: Sequence[str], metric: Metric) -> str:
    """A row for each cell, a column for each rule; the best is bold, and so are its equals."""
    rows: list[list[str]] = []
    for cell, place in places(cells).items():
        found = cells[cell]
        first = best([rule for rule in rules if competes(rule)], found, metric)
        top = metric.mean(found[first]) if first else math.nan
        rows.append([place])
        for rule in rules:
            if rule not in found:
                rows[-1].append(NOTHING)
                continue
            is_best = competes(rule) and metric.mean(found[rule]) == top
            rows[-1].append(bold(shown(metric, found[rule]), when=is_best))
    return table(["world, window/overlap", *rules], rows)


def kinds(cells: Cells, rules: Sequence[str]) -> str:
    """Errors by kind: split/merged/duplicates/missed/false positives/wrong label, means over the seeds."""
    rows = [[place, *(_kinds(cells[cell].get(rule)) for rule in rules)] for cell, place in places(cells).items()]
    return table(["world, window/overlap", *rules], rows)


def _kinds(seeds: BySeed | None) -> str:
    if seeds is None:
        return NOTHING
    names = ("split", "merged", "duplicates", "missed", "false_positives", "wrong_label")
    means = [sum(getattr(record, name) for record in seeds.values()) / len(seeds) for name in names]
    if not any(means):
        return "0"
    return "/".join(_amount(mean) for mean in means)


def _amount(mean: float) -> str:
    """A mean of counts; a single error in many seeds does not vanish."""
    return f"{mean:.0f}" if mean == 0 or mean >= 10 or mean.is_integer() else f"{mean:.1f}" if mean >= 0.1 else "<0.1"


def worst_of_perfect(cells: Cells, rules: Sequence[str]) -> str:
    """A row for each cell, a column for each rule: the largest count error over the seeds and the lowest F1@0.9."""
    rows: list[list[str]] = []
    for cell, place in places(cells).items():
        texts: list[str] = []
        for rule in rules:
            seeds = cells[cell].get(rule)
            if seeds is None:
                texts.append(NOTHING)
                continue
            error = max((record.count_error for record in seeds.values()), key=abs)
            lowest = min(record.f1_90 for record in seeds.values())
            exact = error == 0 and lowest == 1
            texts.append(bold(f"{signed(100 * error)} · {fraction(lowest)}", when=exact))
        most = max(len(seeds) for seeds in cells[cell].values())
        rows.append([place, str(most), *texts])
    return table(["world, window/overlap", "seeds", *rules], rows)
