"""The benchmark's page, `docs/benchmarks/seams.md`, from its records.

`read_records`, `write_records` and `plots` are here for those who make the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.seams import costs, rivals
from benchmarks.seams.plots import SCORES, file_name, noises_of, plots
from benchmarks.seams.records import (
    COUNT,
    F1_50,
    F1_90,
    OURS,
    BySeed,
    Cells,
    Part,
    Record,
    cells_of,
    is_peer,
    read_records,
    rules_of,
    write_records,
)
from benchmarks.seams.tables import by_rule, kinds, table, worst_of_perfect

__all__ = ["Record", "markdown", "plots", "read_records", "write_records"]

TITLES: dict[Part, str] = {"synthetic": "Synthetic worlds", "nuclei": "Real nuclei"}

READING = """\
A world is an image whose objects are known exactly. A model says what it sees of each window; a rule makes whole
objects of that; what the rule adds to the model's own errors is what is compared. `oracle linker` joins the same
detections by their true identity, so its errors are the model's. `no merge` reports every detection as an object.

- **count error**: objects found less true objects, in % of the true ones. Tables show the mean size over the seeds,
  so that seeds cannot cancel; the sign is that of all seeds, ± where they differ.
- **F1@0.5, F1@0.9**: one-to-one matches of the same class with IoU > 0.5, or ≥ 0.9. Digits are cut, not rounded:
  1.000 is exactly 1.
- **split, merged, duplicates, missed, false positives**: objects found less true objects is split + duplicates + false
  positives − merged − missed, without remainder, so errors that cancel in the count are seen.
- **better, within, worse**: by the 95 % interval of the mean difference over the seeds, pair by pair (Student's t).
- **bold**: the best of a row, and its equals, but for the oracle. **–**: no result, or not measured.

The constants of this project's rule were chosen with seeds 11, 12, 21, 22 and 31 to 40 of these worlds, and seeds 101
and 102 of the nuclei; none of those is reported here. In volumes seeds 101 to 103 were looked at, too, while an earlier
form of the rule was made.
Peers run with their defaults, or with the options that their rows name. The oracle counts a detection that glues two
objects for the larger one, and puts masks together as this project does. It also joins pieces of one object that end
far from each other because a window between them missed it, though nothing in the image says so. Over more worlds than
are shown here that is most of its lead in `vessels` with the noise `mixed` (`benchmarks.seams.reach`, decision 12).
"""


def markdown(
    records: Sequence[Record],
    machine: Mapping[str, object],
    images: str | None = None,
    rules: Mapping[str, str] | None = None,
) -> str:
    """The whole page.

    `machine` says what the figures were measured on and with: names to values, in the order to be shown. `images` is
    the folder of `plots`, relative to the page; without it no plots are shown. `rules` says of
    rules what they do, one line each.
    """
    cells = cells_of(records)
    parts = [
        "# Seams: the errors that merging adds\n",
        _origin(len(records), images),
        table(["measured on", ""], [[name, str(value)] for name, value in machine.items()], left=2),
        "## How to read it\n",
        READING,
        *([table(["rule", "what it does"], rules.items(), left=2)] if rules else []),
        *(text for part, title in TITLES.items() for text in _scored(_of_part(cells, part), part, title, images)),
        "## Where this project is worse\n",
        "Every cell and score in which the mean of any other rule, `no merge` included, is better than this project's, "
        "with the best of them. `worse`: the paired interval excludes 0; `within`: it does not. Where the oracle's "
        "figure is worse than the other's, too, errors of that one cancel: it doubles some and misses others.\n",
        rivals.worse(cells) if any(OURS in found for found in cells.values()) else "No results of this project.\n",
        *_costs(records, cells),
        *_failures(records),
    ]
    return "\n".join(parts)


def _origin(records: int, images: str | None) -> str:
    where = f" in [records.parquet]({images}/records.parquet)" if images else ""
    return f"Made by `benchmarks/seams` from the {records} records{where}; no figure is entered by hand.\n"


def _of_part(cells: Cells, part: Part) -> Cells:
    return {cell: found for cell, found in cells.items() if cell.part == part}


def _rules(cells: Cells) -> list[str]:
    return rules_of(record for found in cells.values() for seeds in found.values() for record in seeds.values())


def _scored(cells: Cells, part: Part, title: str, images: str | None) -> Iterator[str]:
    if not cells:
        return
    rules = _rules(cells)
    seeds = sorted({len(seeds) for found in cells.values() for seeds in found.values()})
    noisy = {cell: found for cell, found in cells.items() if not cell.perfect}
    yield f"## {title}\n"
    yield f"Number of seeds in each cell: {seeds[0]}" + (f" to {seeds[-1]}" if len(seeds) > 1 else "") + ".\n"
    yield "Means are over the cells in which a rule has a result; compare rules only where these are the same cells.\n"
    yield rivals.at_a_glance(cells, rules)
    yield rivals.verdict_counts(noisy)
    if images:
        yield from (f"![{metric.name} by noise]({images}/{file_name(part, name)})\n" for name, metric in SCORES.items())
    for noise in noises_of(cells):
        own = {cell: found for cell, found in cells.items() if cell.noise == noise}
        yield from _noise(own, part, f"{title}, {noise}", noise, images)
    if any(rivals.excess_of(found, OURS) for found in noisy.values()):
        yield f"### {title}: excess over the oracle linker\n"
        yield "Count error less the oracle linker's on the same detections, in points; F1@0.5 likewise.\n"
        yield rivals.excess(noisy)
    if any(is_peer(rule) for rule in rules):
        yield f"### {title}: beside the best peer\n"
        yield "Ours beside each peer alone, over the cells in which it has a result, by the 95 % interval:\n"
        yield rivals.beside_each_peer(noisy, rules)
        yield "Ours beside the peer with the best mean of each cell, another one in each.\n"
        yield rivals.verdicts(noisy)


def _noise(cells: Cells, part: Part, title: str, noise: str, images: str | None) -> Iterator[str]:
    rules = _rules(cells)
    yield f"### {title}\n"
    if images:
        yield f"![Count errors]({images}/{file_name(part, noise)})\n"
    if noise.startswith("perfect"):
        yield "The worst of the seeds: the largest count error in %, and the lowest F1@0.9. Bold: no error at all.\n"
        yield worst_of_perfect(cells, rules)
    else:
        for metric in (COUNT, F1_50, F1_90):
            yield f"{metric.name[0].upper()}{metric.name[1:]}\n"
            yield by_rule(cells, rules, metric)
    yield "<details><summary>Kinds of errors</summary>\n"
    yield "Split/merged/duplicates/missed/false positives/wrong class, objects, means over the seeds; 0: none of any.\n"
    yield kinds(cells, rules)
    yield "</details>\n"


def _costs(records: Sequence[Record], cells: Cells) -> Iterator[str]:
    done = [record for record in records if not record.failure]
    yield "## Time and memory\n"
    rules = _rules(cells)
    if cells:
        yield (
            "Seconds of merging, from detections to whole objects in memory; medians over noises and seeds. Other "
            "cases may have run on the machine's other core meanwhile.\n"
        )
        yield costs.seconds(cells, rules)
        yield costs.slower(cells)
    if measured := {cell: found for cell, found in cells.items() if _has_peaks(found)}:
        yield "Growth of resident memory while merging, MB; medians likewise, 0 was not measured\n"
        yield costs.megabytes(measured, _rules(measured))
    if cost := [record for record in done if record.part == "cost"]:
        yield "### The same work for every rule\n"
        yield (
            "`segworkers` encodes masks, writes shards and reads them, tile after tile with nothing beside it; "
            "`rule alone` and the others stay in memory. The benchmark runs nothing beside them.\n"
        )
        yield costs.per_cut_detection(cost)
    if scale := [record for record in done if record.part == "scale"]:
        yield "### Many objects\n"
        yield (
            "One image of touching cells, merged and published on two Ray workers (`python -m benchmarks.scale`). "
            "Small runs are merged in the driver, which then holds the libraries and the image's objects itself.\n"
        )
        yield costs.scale(scale)


def _has_peaks(found: Mapping[str, BySeed]) -> bool:
    return any(record.peak_bytes for seeds in found.values() for record in seeds.values())


def _failures(records: Sequence[Record]) -> Iterator[str]:
    failed: dict[tuple[str, str, str, str], list[int]] = {}
    for record in records:
        if record.failure:
            failed.setdefault((record.rule, record.world, record.noise, record.failure), []).append(record.seed)
    if not failed:
        return
    yield "## What did not finish\n"
    yield "Left out of every table above.\n"
    rows = [
        [rule, world, noise, ", ".join(map(str, seeds)), why] for (rule, world, noise, why), seeds in failed.items()
    ]
    yield table(["rule", "world", "noise", "seeds", "why"], rows, left=5)
