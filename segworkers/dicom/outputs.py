"""Standard objects of finished volumes: SEG, SR, NIfTI and pictures, one task a series, from the published rows.

    OUT/dicom/GENERATION.KEY/SERIES-seg.dcm, SERIES-report.dcm, SERIES-labels.nii.gz, SERIES-INSTANCE.png

What cannot be written for a series is told with its reason, whatever a library raised, and the rest goes on; the
tables are complete without it.
"""
# duckdb and pyarrow are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.errors import InputError
from schemas.sources import Source
from schemas.volumes import VolumeFacts
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.derived import Algorithm, ObjectOptions, guarded
from segworkers.dicom.lesions import Lesion, overlap
from segworkers.dicom.montage import write_montages
from segworkers.dicom.nifti import write_nifti
from segworkers.dicom.report import write_sr
from segworkers.dicom.segmentation import write_seg
from segworkers.dicom.terms import ClassTerms
from segworkers.publishing import Published, put_local
from segworkers.readers.base import Reader
from segworkers.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is made of each volume."""

    seg: Literal["none", "binary", "labelmap"] = "none"
    sr: bool = False
    nifti: bool = False
    montages: bool = False

    def __bool__(self) -> bool:
        return self.seg != "none" or self.nifti or self.montages


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTask:
    """Write the objects of one volume."""

    source: Source
    files: tuple[str, ...]
    """Published files that hold its rows, among others."""
    wanted: Wanted
    mode: Literal["research", "clinical"]
    generation: str
    made_at: str
    """ISO 8601: when the run began, so that a resumed run writes the same bytes."""
    algorithm: Algorithm
    terms: Mapping[str, ClassTerms] = field(default_factory=dict[str, ClassTerms])
    """Codes by label; others have the default."""
    name: str
    """Folder of the objects, relative to the run folder: one for each choice of what is wanted, and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFailure:
    """An object that was asked for and could not be written."""

    reason: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What was written for one volume, and what could not be."""

    source_id: str
    source_uri: str
    files: tuple[Published, ...] = ()
    failures: tuple[OutputFailure, ...] = ()
    warnings: tuple[str, ...] = ()


class OutputWorker:
    """Writes the objects of volumes. What is there is found, not made again."""

    def __init__(self, store: Store, reader: Reader, crosswalk: Crosswalk) -> None:
        self._store = store
        self._reader = reader
        self._crosswalk = crosswalk

    def __call__(self, task: OutputTask) -> Outputs:
        """Write what is wanted of the task's volume."""
        note = f"publish/{task.name}/{task.source.source_id}.json"
        if self._store.exists(note):
            raw = json.loads(self._store.read(note))
            files = tuple(Published(**each) for each in raw["files"])
            return _outputs(task, files, (), tuple(raw["warnings"]))
        with self._store.scratch() as scratch:
            lesions = list(self._lesions(task, scratch))
            written, failures = self._write(task, lesions, scratch)
            files = tuple(put_local(self._store, f"{task.name}/{path.name}", path, 0) for path in written)
        made = _outputs(task, files, tuple(failures), tuple(_warnings(task, lesions)))
        if not failures:  # else the next run tries again
            self._store.create(note, json.dumps(asdict(made)).encode())
        return made

    def _lesions(self, task: OutputTask, scratch: Path) -> Iterator[Lesion]:
        if not task.files:
            return
        files = [str(self._store.local_copy(name, scratch)) for name in task.files]
        with duckdb.connect() as connection:
            connection.execute("SET threads = 1")
            found = connection.sql(
                "SELECT * EXCLUDE (geometry, bbox, polygon_px) FROM read_parquet(?) WHERE source_id = ? "
                "ORDER BY mask_value",
                params=[files, task.source.source_id],
            )
            for batch in found.to_arrow_reader(1_000):
                for row in batch.to_pylist():
                    yield Lesion.from_row(row)

    def _write(self, task: OutputTask, lesions: list[Lesion], folder: Path) -> tuple[list[Path], list[OutputFailure]]:
        """Each object by itself: what one of them fails on is no reason to lose the others."""
        facts = _facts(task)
        stack = self._crosswalk.stack(facts.series_id, task.source.fingerprint)
        options = self._options(task)
        written: list[Path] = []
        failures: list[OutputFailure] = []

        def attempt(what: str, make: Callable[[], list[Path]]) -> list[Path]:
            try:
                with guarded(facts, what):
                    made = make()
            except InputError as error:
                failures.append(OutputFailure(reason=error.reason, message=error.message, hint=error.hint))
                return []
            written.extend(made)
            return made

        wanted = task.wanted
        if wanted.seg != "none":
            segments = attempt("segmentation", lambda: write_seg(stack, facts, lesions, options, folder))
            if wanted.sr and segments:
                attempt("report", lambda: write_sr(stack, facts, lesions, segments, options, folder))
        if wanted.nifti:
            attempt("label map", lambda: write_nifti(facts, lesions, folder))
        if wanted.montages:
            attempt("montages", lambda: self._montages(task.source, facts, lesions, folder))
        return written, failures

    def _options(self, task: OutputTask) -> ObjectOptions:
        return ObjectOptions(
            generation=task.generation,
            made_at=datetime.fromisoformat(task.made_at).replace(tzinfo=None),
            algorithm=task.algorithm,
            mode=task.mode,
            pseudonyms=self._crosswalk.pseudonyms() if task.mode == "research" else None,
            terms=task.terms,
            segmentation="binary" if task.wanted.seg == "none" else task.wanted.seg,
        )

    def _montages(self, source: Source, facts: VolumeFacts, lesions: list[Lesion], folder: Path) -> list[Path]:
        def read(box: Box) -> NDArray[Any]:
            block = self._reader.read(source, box, (0,))
            return np.asarray(block.pixels[0])

        return write_montages(facts, lesions, read, folder)


def _facts(task: OutputTask) -> VolumeFacts:
    assert task.source.volume is not None, "only volumes have these outputs"
    return task.source.volume


def _outputs(
    task: OutputTask, files: tuple[Published, ...], failures: tuple[OutputFailure, ...], warnings: tuple[str, ...]
) -> Outputs:
    source = task.source
    return Outputs(source_id=source.source_id, source_uri=source.uri, files=files, failures=failures, warnings=warnings)


def _warnings(task: OutputTask, lesions: list[Lesion]) -> Iterator[str]:
    """What is written otherwise than it was asked for."""
    if task.wanted.seg == "labelmap" and overlap(lesions):
        yield f"series {_facts(task).series_id}: objects overlap, so the SEG is binary, not a label map."
