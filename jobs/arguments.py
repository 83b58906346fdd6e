"""Arguments that several commands take, and the exit codes of all."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DONE, ERROR, BAD_USAGE, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130


class EngineKind(StrEnum):
    """Values of --engine."""

    ray = "ray"
    inline = "inline"


class QueryFormat(StrEnum):
    """Values of --format."""

    table = "table"
    csv = "csv"
    json = "json"
    geojson = "geojson"
    geojsonl = "geojsonl"
    gpkg = "gpkg"
    fgb = "fgb"
    parquet = "parquet"


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...", help="Files, folders, globs, manifests or URLs of rasters or DICOM.", show_default=False
    ),
]
SpecFile = Annotated[Path, typer.Argument(metavar="JOB.YAML", help="Spec of the job; see `segworkers schema`.")]
Out = Annotated[str, typer.Argument(metavar="OUT", help="Run folder of a finished run.")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="A model's name, path of a bundle, python:path/to/file.py:Class or python:package.module:Class.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the spec, such as tiling.tile=2048; repeatable."),
]
Engine = Annotated[
    EngineKind | None, typer.Option("--engine", help="Where work runs; ray unless the spec says otherwise.")
]
Address = Annotated[str | None, typer.Option("--address", help="Running Ray cluster to use instead of a private one.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an earlier run in the same run folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
