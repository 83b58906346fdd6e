"""The page's tables of time and memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from benchmarks.seams.records import ALONE, OURS, Cell, Cells, Record, competes, is_peer
from benchmarks.seams.tables import NOTHING, bold, table

Groups = dict[tuple[str, str], dict[str, list[Record]]]
"""World and windows to rule to records, whatever the noise and seed."""


def seconds(cells: Cells, rules: Sequence[str]) -> str:
    """A row for each world and windows: merge time in seconds, the median over noises and seeds; the least is bold."""
    return _medians(cells, rules, lambda record: record.seconds)


def megabytes(cells: Cells, rules: Sequence[str]) -> str:
    """A row for each world and windows: growth of resident memory in MB, likewise; 0 was not measured."""
    return _medians(cells, rules, lambda record: record.peak_bytes / 1e6)


def slower(cells: Cells) -> str:
    """In how many cells each peer merges faster than this project, in words, with the largest ratio."""
    ratios: dict[str, dict[Cell, float]] = {}
    for cell, found in cells.items():
        for rule in found:
            if is_peer(rule) and OURS in found:
                ours, theirs = (median(r.seconds for r in found[name].values()) for name in (OURS, rule))
                if theirs > 0:
                    ratios.setdefault(rule, {})[cell] = ours / theirs
    lines: list[str] = []
    for rule, ratio in ratios.items():
        count = sum(value > 1 for value in ratio.values())
        worst = max(ratio, key=lambda cell: ratio[cell])
        where = f"{worst.world} {worst.grid}, {worst.noise}"
        lines.append(
            f"- {rule} is faster than this project in {count} of {len(ratio)} cells; this project takes "
            f"{_significant(median(ratio.values()))} × its time in the median, {_significant(ratio[worst])} × at worst "
            f"({where}).\n"
        )
    return "".join(lines)


def per_cut_detection(records: Sequence[Record]) -> str:
    """Part `cost`: a row for each case and rule, medians over the repetitions, and how many times ours it takes.

    Peers are timed from masks in memory to objects in memory, as the rule alone is.
    """
    groups: dict[tuple[str, str, str], dict[str, list[Record]]] = {}
    for record in records:
        place = Cell(record.part, record.world, record.noise, record.window, record.overlap)
        groups.setdefault((record.world, place.grid, record.noise), {}).setdefault(record.rule, []).append(record)
    rows: list[list[str]] = []
    for (world, grid, noise), found in groups.items():
        ours = [_seconds(found[each]) if each in found else 0.0 for each in (ALONE, OURS)]
        for rule, runs in found.items():
            taken, cut = _seconds(runs), runs[0].cut
            each = _significant(1e6 * taken / cut) if cut else NOTHING
            times = [_significant(taken / each) if each else NOTHING for each in ours]
            growth = median(run.peak_bytes for run in runs)
            peak = _significant(growth / 1e6) if growth else NOTHING
            rows.append([f"{world} {grid}", noise, rule, str(cut), _significant(taken), each, *times, peak])
    head = ["world, window/overlap", "noise", "rule", "cut detections", "s", "µs per cut detection"]
    return table([*head, "× our rule alone", "× our whole path", "MB"], rows, left=3)


def scale(records: Sequence[Record]) -> str:
    """Part `scale`: a row for each rule and number of objects, medians over the repetitions."""
    groups: dict[tuple[str, int], list[Record]] = {}
    for record in sorted(records, key=lambda record: (record.rule, record.truth_count)):
        groups.setdefault((record.rule, record.truth_count), []).append(record)
    rows: list[list[str]] = []
    first: dict[str, float] = {}
    for (rule, count), runs in groups.items():
        each = _seconds(runs) / max(count, 1)
        least = first.setdefault(rule, each)
        peak = _significant(median(run.peak_bytes for run in runs) / 1e6)
        ratio = _significant(each / least) if least else NOTHING
        rows.append([rule, f"{count:,}", _significant(_seconds(runs)), _significant(1e6 * each), ratio, peak])
    head = ["rule", "objects", "CPU s", "µs per object", "× the fewest objects'", "growth of the driver, MB"]
    return table(head, rows)


def _medians(cells: Cells, rules: Sequence[str], of: Callable[[Record], float]) -> str:
    groups: Groups = {}
    for cell, found in cells.items():
        group = groups.setdefault((cell.world, cell.grid), {})
        for rule, seeds in found.items():
            group.setdefault(rule, []).extend(seeds.values())
    rows: list[list[str]] = []
    for (world, grid), found in groups.items():
        values = {rule: median(map(of, found[rule])) for rule in rules if rule in found}
        # No rule is the best at what was not measured, and the oracle links nothing by itself.
        least = min((value for rule, value in values.items() if competes(rule) and value > 0), default=None)
        texts = [
            bold(_significant(values[r]), when=competes(r) and values[r] == least) if r in values else NOTHING
            for r in rules
        ]
        rows.append([f"{world} {grid}", *texts])
    return table(["world, window/overlap", *rules], rows)


def _seconds(runs: Sequence[Record]) -> float:
    return median(run.seconds for run in runs)


def _significant(value: float) -> str:
    """Three digits."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
