"""This project's merge beside the oracle linker and beside the best of the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.seams.intervals import Interval, Verdict, verdict
from benchmarks.seams.noise import EVERY_NOISE
from benchmarks.seams.records import (
    COUNT,
    F1_50,
    F1_90,
    ORACLE,
    OURS,
    BySeed,
    Cell,
    Cells,
    Metric,
    Record,
    best,
    competes,
    is_peer,
    rules_of,
)
from benchmarks.seams.tables import (
    NOTHING,
    bold,
    fraction,
    fraction_signed,
    interval,
    percent,
    places,
    shown,
    signed,
    sized,
    table,
)

EVERY_METRIC = (COUNT, F1_50, F1_90)
HEAD = [
    "world, window/overlap",
    "noise",
    "metric",
    "ours",
    "best other",
    "its",
    "ours − its (95 %)",
    "verdict",
    "oracle's",
]


@dataclass(frozen=True, slots=True)
class Rivalry:
    """This project and one other rule in one cell, by one metric."""

    cell: Cell
    metric: Metric
    rival: str
    ours: BySeed
    theirs: BySeed
    oracle: BySeed
    """What the oracle linker makes of the same detections; empty where it has no result."""
    difference: Interval
    """Of ours - theirs, over the seeds of both."""

    @property
    def verdict(self) -> Verdict:
        """What the paired interval says."""
        return verdict(self.difference, lower_is_better=self.metric.lower_is_better)

    def row(self) -> list[str]:
        """What stands under `HEAD`."""
        place = [f"{self.cell.world} {self.cell.grid}", self.cell.noise, self.metric.name]
        figures = [shown(self.metric, self.ours), self.rival, shown(self.metric, self.theirs)]
        judged = [interval(self.difference, self.metric), bold(self.verdict, when=self.verdict == "worse")]
        return [*place, *figures, *judged, shown(self.metric, self.oracle) if self.oracle else NOTHING]


def rivalry(cell: Cell, found: dict[str, BySeed], metric: Metric, rival: str | None) -> Rivalry | None:
    """Ours beside `rival`; None where one of them has no result or they share no seed."""
    if rival is None or OURS not in found or rival not in found:
        return None
    difference = metric.difference(found[OURS], found[rival])
    oracle = found.get(ORACLE, {})
    return Rivalry(cell, metric, rival, found[OURS], found[rival], oracle, difference) if difference else None


def beside_best_peer(cells: Cells, metric: Metric) -> Iterator[Rivalry]:
    """Ours beside the peer with the best mean of each cell: another one in each, so the hardest comparison."""
    for cell, found in cells.items():
        one = rivalry(cell, found, metric, best([rule for rule in found if is_peer(rule)], found, metric))
        if one:
            yield one


def verdicts(cells: Cells) -> str:
    """A row for each cell and metric: ours, the best peer, the paired difference and its verdict."""
    found = [one for metric in (COUNT, F1_50) for one in beside_best_peer(cells, metric)]
    return table(HEAD, [one.row() for one in found], left=3)


def verdict_counts(cells: Cells) -> str:
    """How often ours is better than, within or worse than the best peer, in words."""
    lines: list[str] = []
    for metric in (COUNT, F1_50):
        found = list(beside_best_peer(cells, metric))
        if not found:
            continue
        better, within, worse = _verdicts(found)
        lost = [one for one in found if one.verdict == "worse" and one.oracle]
        no_better = sum(metric.better(metric.mean(one.theirs), metric.mean(one.oracle)) for one in lost)
        also = f"; in {no_better} of these the oracle linker is worse than that peer, too" if lost else ""
        parts = f"better in {better}, within the interval in {within}, worse in {worse} of {len(found)} cells{also}"
        lines.append(f"- {metric.name}, beside the best peer of each cell: {parts}.\n")
    return "".join(lines)


def beside_each_peer(cells: Cells, rules: Sequence[str]) -> str:
    """A row for each peer: in how many of the cells in which it has a result ours is better, within and worse."""
    head = ["rule", "cells"] + [
        f"{metric.name}: {v}" for metric in (COUNT, F1_50) for v in ("better", "within", "worse")
    ]
    rows: list[list[str]] = []
    for rule in filter(is_peer, rules):
        beside = [
            [one for cell, found in cells.items() if (one := rivalry(cell, found, metric, rule))]
            for metric in (COUNT, F1_50)
        ]
        rows.append([rule, str(len(beside[0])), *(str(n) for found in beside for n in _verdicts(found))])
    return table(head, rows)


def _verdicts(found: Sequence[Rivalry]) -> tuple[int, int, int]:
    """How many are better, within and worse."""
    count = Counter(one.verdict for one in found)
    return count["better"], count["within"], count["worse"]


def worse(cells: Cells) -> str:
    """Every cell and metric in which another rule's mean is better than ours, the certain ones first."""
    found: list[Rivalry] = []
    for cell, rules in cells.items():
        others = [rule for rule in rules if competes(rule) and not rule.startswith(OURS)]
        for metric in EVERY_METRIC:
            one = rivalry(cell, rules, metric, best(others, rules, metric))
            if one and metric.better(metric.mean(one.theirs), metric.mean(one.ours)):
                found.append(one)
    if not found:
        return "None.\n"
    found.sort(key=lambda one: one.verdict != "worse")
    return table(HEAD, [one.row() for one in found], left=3)


def excess_of(found: dict[str, BySeed], rule: str) -> list[float]:
    """Count error of `rule` less the oracle linker's, in points, seed by seed; empty where they share no seed."""
    ours, truth = found.get(rule, {}), found.get(ORACLE, {})
    return [100 * (ours[seed].count_error - truth[seed].count_error) for seed in ours if seed in truth]


def excess(cells: Cells) -> str:
    """A row for each cell: count error less the oracle linker's for each rule, and F1@0.5 likewise for ours."""
    rules = [rule for rule in rules_of(_records(cells)) if competes(rule)]
    rows: list[list[str]] = []
    for cell, place in places(cells).items():
        found = cells[cell]
        texts = [sized(values) if (values := excess_of(found, rule)) else NOTHING for rule in rules]
        f1 = F1_50.difference(found.get(OURS, {}), found.get(ORACLE, {}))
        rows.append([place, cell.noise, *texts, fraction_signed(f1.mean) if f1 else NOTHING])
    return table(["world, window/overlap", "noise", *rules, "F1@0.5, ours"], rows, left=2)


def at_a_glance(cells: Cells, rules: Sequence[str]) -> str:
    """A row for each rule: all perfect models, then all noisy ones."""
    rows: list[list[str]] = []
    for rule in rules:
        exact = [found[rule] for cell, found in cells.items() if cell.noise == "perfect" and rule in found]
        noisy = {cell: found for cell, found in cells.items() if not cell.perfect and rule in found}
        rows.append([rule, *_exact(exact), *_noisy(noisy, rule)])
    head = ["rule", "perfect model: exact cells", "worst count error, %", "noisy models: cells"]
    head += ["mean count error, %", "worst cell", "F1@0.5", "F1@0.9"]
    return table([*head, "largest excess of one kind of noise, points", "of all at once (`mixed`)"], rows)


def _exact(found: Sequence[BySeed]) -> list[str]:
    if not found:
        return [NOTHING, NOTHING]
    right = sum(all(r.count_error == 0 and r.f1_90 == 1 for r in seeds.values()) for seeds in found)
    worst = max((record.count_error for seeds in found for record in seeds.values()), key=abs)
    return [f"{right} of {len(found)}", signed(100 * worst)]


def _noisy(cells: Cells, rule: str) -> list[str]:
    if not cells:
        return [NOTHING] * 7
    mean = {metric.name: _mean([metric.mean(found[rule]) for found in cells.values()]) for metric in EVERY_METRIC}
    worst = max(cells, key=lambda cell: COUNT.mean(cells[cell][rule]))
    texts = [str(len(cells)), percent(mean[COUNT.name]), f"{shown(COUNT, cells[worst][rule])} ({_short(worst)})"]
    texts += [fraction(mean[metric.name]) for metric in (F1_50, F1_90)]
    alone, together = (
        {c: f for c, f in cells.items() if (c.noise == EVERY_NOISE) == at_once} for at_once in (False, True)
    )
    return [*texts, _largest_excess(alone, rule), _largest_excess(together, rule)]


def _largest_excess(cells: Cells, rule: str) -> str:
    over = {cell: values for cell, found in cells.items() if (values := excess_of(found, rule))}
    if not over or not competes(rule):
        return NOTHING
    most = max(over, key=lambda cell: _mean([abs(value) for value in over[cell]]))
    return f"{sized(over[most])} ({_short(most)})"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _short(cell: Cell) -> str:
    return f"{cell.world}, {cell.noise}"


def _records(cells: Cells) -> Iterator[Record]:
    return (record for found in cells.values() for seeds in found.values() for record in seeds.values())
