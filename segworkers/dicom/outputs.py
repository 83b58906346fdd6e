"""Standard objects of finished volumes: SEG, SR, NIfTI and pictures, one task a series, from the published rows.

    OUT/dicom/GENERATION.KEY/SERIES-seg.dcm, SERIES-report.dcm, SERIES-labels.nii.gz, SERIES-INSTANCE.png

What cannot be written for a series is told with its reason; the tables are complete without it.
"""
# duckdb and pyarrow are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
from segworkers.dicom.derived import Algorithm, ObjectOptions
from segworkers.dicom.lesions import Lesion
from segworkers.dicom.montage import write_montages
from segworkers.dicom.nifti import write_nifti
from segworkers.dicom.report import write_sr
from segworkers.dicom.segmentation import segmentation_type, write_seg
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
class Outputs:
    """What was written for one volume, and what could not be."""

    source_id: str
    files: tuple[Published, ...]
    problems: tuple[str, ...] = ()


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
            return Outputs(source_id=raw["source_id"], files=files, problems=tuple(raw["problems"]))
        with self._store.scratch() as scratch:
            lesions = list(self._lesions(task, scratch))
            written, problems = self._write(task, lesions, scratch)
            files = tuple(put_local(self._store, f"{task.name}/{path.name}", path, 0) for path in written)
        made = Outputs(source_id=task.source.source_id, files=files, problems=tuple(problems))
        if not problems:  # else the next run tries again
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

    def _write(self, task: OutputTask, lesions: list[Lesion], folder: Path) -> tuple[list[Path], list[str]]:
        facts = task.source.volume
        assert facts is not None, "only volumes have these outputs"
        stack = self._crosswalk.stack(facts.series_id, task.source.fingerprint)
        options = ObjectOptions(
            generation=task.generation,
            made_at=datetime.fromisoformat(task.made_at).replace(tzinfo=None),
            algorithm=task.algorithm,
            mode=task.mode,
            pseudonyms=self._crosswalk.pseudonyms() if task.mode == "research" else None,
            terms=task.terms,
            segmentation="binary" if task.wanted.seg == "none" else task.wanted.seg,
        )
        written: list[Path] = []
        problems: list[str] = []
        try:
            if task.wanted.seg != "none":
                segmentations = write_seg(stack, facts, lesions, options, folder)
                written += segmentations
                if segmentation_type(lesions, options) != task.wanted.seg:
                    problems.append(
                        f"series {facts.series_id}: objects overlap, so the SEG is binary, not a label map."
                    )
                if task.wanted.sr:
                    written += write_sr(stack, facts, lesions, segmentations, options, folder)
        except InputError as error:
            problems.append(str(error))
        for wanted, make in (
            (task.wanted.nifti, lambda: write_nifti(facts, lesions, folder)),
            (task.wanted.montages, lambda: self._montages(task.source, facts, lesions, folder)),
        ):
            try:
                written += make() if wanted else []
            except InputError as error:
                problems.append(str(error))
        return written, problems

    def _montages(self, source: Source, facts: VolumeFacts, lesions: list[Lesion], folder: Path) -> list[Path]:
        def read(box: Box) -> NDArray[Any]:
            block = self._reader.read(source, box, (0,))
            return np.asarray(block.pixels[0])

        return write_montages(facts, lesions, read, folder)
