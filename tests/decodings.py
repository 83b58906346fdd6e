"""Counting how often the slices of volumes are decoded, stage by stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from jobs import stages
from segworkers.dicom import reader
from segworkers.dicom.decoding import PixelFile
from segworkers.dicom.planes import Kept

STAGES = {"with_priors": "first stage", "segment": "segment", "merge_sources": "rows"}
"""Functions of `jobs.stages`, and what the stage is called here."""


@dataclass
class Decodings:
    """Of each stage the slices that were decoded, by z, with how often."""

    by_stage: dict[str, Counter[int]] = field(default_factory=dict[str, Counter[int]])
    calls: int = 0
    """Calls of the decoder."""

    def of(self, stage: str) -> dict[int, int]:
        return dict(sorted(self.by_stage.get(stage, Counter[int]()).items()))


def count_decodings(monkeypatch: pytest.MonkeyPatch, kept_slices: int, slice_bytes: int) -> Decodings:
    """Count from now on, in this process; readers that are made from now on keep `kept_slices` decoded slices."""
    told, stage = Decodings(), [""]
    made: Callable[..., None] = vars(Kept)["__init__"]
    opened, stored = vars(reader.DicomReader)["_opened"], PixelFile.stored

    def counted(self: Any, stack: Any, at: range, group: list[int]) -> Iterator[Any]:
        for k, plane in opened(self, stack, at, group):
            told.by_stage.setdefault(stage[0], Counter())[at[k]] += 1
            yield k, plane

    def called(self: PixelFile, frame: int) -> Any:
        told.calls += 1
        return stored(self, frame)

    def within(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            stage[0] = name
            try:
                return real(*args, **kwargs)
            finally:
                stage[0] = ""

        return run

    def few(self: Kept[Any], _limit_bytes: int) -> None:
        made(self, kept_slices * slice_bytes)

    monkeypatch.setattr(Kept, "__init__", few)
    monkeypatch.setattr(reader.DicomReader, "_opened", counted)
    monkeypatch.setattr(PixelFile, "stored", called)
    for function, name in STAGES.items():
        monkeypatch.setattr(stages, function, within(name, getattr(stages, function)))
    return told
