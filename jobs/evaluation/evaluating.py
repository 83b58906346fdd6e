"""The comparison of a run with truth: how many of its objects are right, and how many are missing.

1. Find out which truth is about which source (`jobs.truth.opening`).
2. Source by source: overlaps block by block (`jobs.evaluation.comparing`), matches at each
   threshold (`segworkers.evaluation`).
3. Sum up, with intervals; write tables and a page where a folder is given.

What lies in places that failed or are not valid is unknown and reported apart. What has no counterpart at all, truth
without a source or a source without truth, is not counted, and reported.
"""
# pyarrow has no type information.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.evaluation.comparing import Compared, compare
from jobs.evaluation.examples import Example, Examples
from jobs.evaluation.gathering import Surroundings, Valid
from jobs.evaluation.predictions import Predictions
from jobs.evaluation.tables import ObjectWriter, image_row, metric_rows
from jobs.results import Results
from jobs.truth.base import Target, Truth
from jobs.truth.classes import Classes
from jobs.truth.opening import TruthOptions, TruthSet, open_truth
from schemas import discretion
from schemas.boxes import Box
from schemas.errors import InputError, SpecError
from schemas.sources import Source
from segworkers.evaluation.summary import summarise
from segworkers.evaluation.tally import Scheme, Tally, numbers_of
from segworkers.readers.base import Reader

THRESHOLDS = (0.5, 0.7, 0.8, 0.9)
SIZES = (32.0**2, 96.0**2)
"""COCO's borders between small, medium and large objects, in pixels."""
MANY_SOURCES = 10
"""Sources from which on they are what is resampled; of fewer, blocks are."""

_SOURCES = """SELECT source_id, source_uri, depth, height, width, images.series_id AS series_id, pixels_nodata, affine
    FROM images LEFT JOIN (SELECT source_id, any_value(affine) AS affine FROM series
    WHERE source_id IS NOT NULL GROUP BY source_id) USING (source_id) ORDER BY source_uri, source_id"""
_FAILED = """SELECT z_min, y_min, x_min, z_max, y_max, x_max FROM failures WHERE scope = 'tile' AND source_id = ?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """What is compared, and how."""

    thresholds: tuple[float, ...] = THRESHOLDS
    sizes: tuple[float, ...] = SIZES
    boxes: bool = False
    """Boxes are compared instead of masks."""
    any_class: bool = False
    """Classes are not looked at."""
    class_map: Mapping[str, str] = field(default_factory=dict[str, str])
    """Classes of the truth and what the run calls them."""
    ignore: tuple[Path, ...] = ()
    within: tuple[Path, ...] = ()
    truth: TruthOptions = field(default_factory=TruthOptions)

    def __post_init__(self) -> None:
        if not self.thresholds or any(not 0 < each < 1 for each in self.thresholds):
            raise SpecError(f"--iou: expected thresholds between 0 and 1, found {list(self.thresholds)}")
        if list(self.sizes) != sorted(set(self.sizes)) or any(each <= 0 for each in self.sizes):
            raise SpecError(f"--sizes: expected borders in pixels that ascend, found {list(self.sizes)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was found."""

    classes: tuple[str, ...]
    scheme: Scheme
    units: int
    metrics: list[dict[str, Any]]
    """Rows of the table of metrics: of everything, and of each class and size."""
    images: list[dict[str, Any]]
    """Rows of each image by itself."""
    unused: tuple[str, ...]
    """Truth that is about no source of the run."""
    without: tuple[str, ...]
    """Sources that no truth is about."""
    failed: tuple[str, ...]
    """Sources that the run could not process; their truth is unknown."""
    notes: tuple[str, ...]
    examples: tuple[Example, ...]
    opened: TruthSet = field(repr=False)
    """The truth, to be looked at again."""

    @property
    def is_complete(self) -> bool:
        """Whether truth and run are about the same sources, and nothing is unknown."""
        unknown = self.metrics[0]["unknown_truth"] + self.metrics[0]["unknown_predictions"] if self.metrics else 0
        return not (self.unused or self.without or self.failed or unknown)


def evaluate(
    results: Results, truth: Sequence[Path], reader: Reader, options: EvaluateOptions, objects: Path | None = None
) -> Evaluation:
    """Compare a run with truth.

    reader: of the run's rasters. objects: Parquet file for what became of each object; None writes none.
    Raises SpecError where nothing can be compared, InputError where truth can no longer be read.
    """
    listed = list_sources(results, reader)
    if not all(target.is_raster for target in listed.targets):
        discretion.begin()
    opened = open_truth(truth, listed.targets, reader, options.truth)
    labels = results.sql("SELECT DISTINCT label FROM classes UNION SELECT DISTINCT label FROM instances ORDER BY 1")
    classes = Classes(labels.column(0).to_pylist(), options.class_map, any_class=options.any_class)
    targets = [target for target in listed.targets if opened.is_about(target)]
    if not targets:
        raise _about_nothing(results, listed, opened)
    blocks = len(targets) < MANY_SOURCES
    tally = Tally(Scheme(len(classes.all), options.thresholds, options.sizes, blocks=blocks))
    examples, images = Examples(), list[dict[str, Any]]()
    with closing(results.connect()) as connection, ObjectWriter(objects, classes.all) as writer:
        regions = _regions(listed, reader, options)
        compare_one = _Comparison(connection, opened, regions, classes, options, listed.valid)
        for target in targets:
            compared = compare_one(target)
            outcomes = tally.add(compared.pairs, compared.predictions, compared.truth, target.shape)
            images += [image_row(target, options.thresholds[t], numbers_of(each)) for t, each in enumerate(outcomes)]
            writer.write(compared, outcomes[0])
            examples.add(compared, outcomes[0], classes.all)
    classes.check()
    met = {target.source_id for target in targets}
    return Evaluation(
        classes=classes.all,
        scheme=tally.scheme,
        units=tally.units,
        metrics=metric_rows(summarise(tally), classes.all, tally.scheme, tally.units),
        images=images,
        unused=(
            *(each for each in opened.unused if each.rsplit("/", 1)[-1] not in listed.lost),
            # Where sources failed nobody knows what lies on them.
            *(opened.off() if not listed.failed else ()),
        ),
        without=tuple(each.uri for each in listed.targets if each.source_id not in met),
        failed=listed.failed,
        notes=(*classes.notes(), *opened.notes(), *_unused(regions)),
        examples=tuple(examples.best()),
        opened=opened,
    )


def _about_nothing(results: Results, listed: Sources, opened: TruthSet) -> SpecError:
    return SpecError(
        f"the truth is about none of the {len(listed.targets)} sources of {results.out} "
        f"({_some([each.name for each in listed.targets]) or 'which has none'}); it is about "
        f"{'; '.join([_some(opened.unused) or 'nothing', *opened.notes()])}. Files belong to the source whose name "
        "they have"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The sources of a run."""

    targets: tuple[Target, ...]
    failed: tuple[str, ...]
    """URIs of those that failed as a whole, so that not even their size is known."""
    valid: Mapping[str, Valid]
    """By source_id, of those with pixels that are not valid: how to look up which."""

    @property
    def lost(self) -> set[str]:
        """File names of those that failed."""
        return {uri.rsplit("/", 1)[-1] for uri in self.failed}


def list_sources(results: Results, reader: Reader) -> Sources:
    """What truth may be about."""
    targets: list[Target] = []
    failed: list[str] = []
    valid: dict[str, Valid] = {}
    for row in results.sql(_SOURCES).to_pylist():
        if row["height"] is None:
            failed.append(row["source_uri"])
            continue
        target = Target(
            source_id=row["source_id"],
            uri=row["source_uri"],
            shape=(row["depth"], row["height"], row["width"]),
            series_id=row["series_id"],
            affine=tuple(row["affine"] or ()),
        )
        targets.append(target)
        if row["pixels_nodata"] and target.is_raster:
            valid[target.source_id] = _Validity(reader, target.uri)
    return Sources(targets=tuple(targets), failed=tuple(failed), valid=valid)


def _regions(listed: Sources, reader: Reader, options: EvaluateOptions) -> tuple[TruthSet | None, TruthSet | None]:
    """What is to be ignored, and what was annotated."""
    how = TruthOptions(crosswalk=options.truth.crosswalk)
    ignore, within = (
        open_truth(paths, listed.targets, reader, how) if paths else None for paths in (options.ignore, options.within)
    )
    return ignore, within


def _unused(regions: tuple[TruthSet | None, TruthSet | None]) -> Iterator[str]:
    for option, each in zip(("--ignore", "--within"), regions, strict=True):
        if each is not None and each.unused:
            yield f"{option}: no image that was compared is meant by {', '.join(each.unused[:5])}"


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Compares one source after the other."""

    connection: Any
    opened: TruthSet
    regions: tuple[TruthSet | None, TruthSet | None]
    classes: Classes
    options: EvaluateOptions
    valid: Mapping[str, Valid]

    def __call__(self, target: Target) -> Compared:
        truth = self.opened.of(target)
        assert truth is not None, "sources without truth are left out"
        found = Predictions.of(self.connection, target.source_id)
        ignore, within = (_about(region, target) for region in self.regions)
        failed: list[tuple[int, ...]] = self.connection.execute(_FAILED, [target.source_id]).fetchall()
        around = Surroundings(
            ignore=ignore or (),
            within=within,
            failed=tuple(Box((z0, y0, x0), (z1, y1, x1)) for z0, y0, x0, z1, y1, x1 in failed),
            valid=self.valid.get(target.source_id),
        )
        places = np.array([self.classes.of_run(each) for each in found.labels], np.int64)
        return compare(
            target,
            truth,
            found,
            around,
            (places, self.classes.of_truth),
            boxes_only=self.options.boxes,
            least=min(self.options.thresholds),
        )


@dataclass(slots=True)
class _Validity:
    """Which pixels of an image are valid, as long as it can be read; it is opened once."""

    reader: Reader
    uri: str
    _source: Source | None = None

    def __call__(self, box: Box) -> NDArray[np.bool_] | None:
        try:
            if self._source is None:
                self._source = self.reader.describe(self.uri)
            return self.reader.read(self._source, box, (0,)).valid
        except InputError:
            return None


def _about(opened: TruthSet | None, target: Target) -> tuple[Truth, ...] | None:
    """The regions about a source, () where they reach none of it; None where no regions were given."""
    if opened is None:
        return None
    found = opened.of(target)
    return () if found is None else (found,)
