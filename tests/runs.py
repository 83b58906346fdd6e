"""Whole runs, in this process or as the command line, and what they published."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs import stages
from jobs.cli import main
from jobs.loading import load_spec
from jobs.results import open_results
from jobs.verify import verify
from schemas.rle import from_coco_rles

ROOT = Path(__file__).parent.parent
USER_MODELS = ROOT / "tests" / "user_models" / "oracle.py"


def user_model(name: str) -> str:
    """The reference of a class in `tests/user_models`."""
    return f"python:{USER_MODELS}:{name}"


@dataclass(slots=True)
class Recorder:
    """Progress that is only remembered."""

    warnings: list[str] = field(default_factory=list[str])
    stages: list[str] = field(default_factory=list[str])

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def planned(self, **_: Any) -> None:
        """Nothing to remember."""

    def tile_done(self, **_: Any) -> None:
        """Nothing to remember."""

    def warning(self, message: str) -> None:
        self.warnings.append(message)


def run(
    inputs: Sequence[Path | str],
    out: Path | str,
    model: str = "threshold",
    options: Mapping[str, object] | None = None,
    *,
    resume: bool = False,
    events: Recorder | None = None,
    **sets: object,
) -> stages.RunSummary:
    """A run in this process, on the inline engine unless told otherwise.

    options: of the model; sets: keys of the spec with `__` for the dot, such as `tiling__tile=256`.
    """
    spec = load_spec(
        values={"inputs": [str(each) for each in inputs], "model": {"reference": model}, "output": {"path": str(out)}},
        overrides=overrides(options, {"engine__kind": "inline"} | sets),
    )
    return stages.run(spec, events=events or Recorder(), resume=resume)


def segment(
    inputs: Sequence[Path],
    out: Path,
    model: str = "threshold",
    options: Mapping[str, object] | None = None,
    **sets: object,
) -> int:
    """The exit code of the command line, of a run whose ledger closes whatever else happens."""
    code = main(command(inputs, out, model, options, **sets)[3:])
    verify(out, everything=True).raise_if_bad()
    kinds = ("pixels_done", "pixels_empty", "pixels_nodata", "pixels_failed")
    for name in ("images", "tiles"):
        for row in rows(out, name):
            assert row["pixels"] is None or sum(row[kind] for kind in kinds) == row["pixels"]
    return code


def overrides(options: Mapping[str, object] | None, sets: Mapping[str, object]) -> list[str]:
    """`--set` texts."""
    keys = {f"model.options.{name}": value for name, value in (options or {}).items()}
    keys |= {name.replace("__", "."): value for name, value in sets.items()}
    return [f"{name}={json.dumps(value)}" for name, value in keys.items()]


def command(
    inputs: Sequence[Path | str],
    out: Path | str,
    model: str = "threshold",
    options: Mapping[str, object] | None = None,
    *,
    resume: bool = False,
    **sets: object,
) -> list[str]:
    """The same as arguments of a new process."""
    arguments = [sys.executable, "-m", "jobs", "segment", *map(str, inputs), "--model", model, "-o", str(out)]
    for text in overrides(options, {"engine__kind": "inline"} | sets):
        arguments += ["--set", text]
    return [*arguments, "--resume"] if resume else arguments


def environment() -> dict[str, str]:
    """Of a command: it must find the checkout from any folder."""
    return os.environ | {"PYTHONPATH": str(ROOT)}


def table(out: Path | str, name: str) -> pa.Table:
    """A published table."""
    return open_results(out).table(name)


def rows(out: Path | str, name: str) -> list[dict[str, Any]]:
    """A published table, row by row."""
    return table(out, name).to_pylist()


def files(out: Path | str, *names: str) -> dict[str, list[bytes]]:
    """The bytes of the published files of some tables, by default of those that law 2 is about."""
    results = open_results(out)
    wanted = names or ("instances", "images", "seams")
    return {name: [path.read_bytes() for path in results.files(name)] for name in wanted}


def mask_of(row: dict[str, Any], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The row's RLE as an image (y, x)."""
    text = np.frombuffer(row["mask_rle"].encode(), np.uint8)
    box = np.array([[row[f"{axis}_{side}"] for side in ("min", "max") for axis in "zyx"]])
    image = np.zeros(shape, bool)
    for _, x, y0, y1 in from_coco_rles(text, np.array([0, len(text)]), box)[0]:
        assert not image[y0:y1, x].any()
        image[y0:y1, x] = True
    return image
