"""Writes docs/cli.md from the commands and the spec: `make docs`. A generated page cannot miss an option."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import typer.models

from jobs.cli import app
from jobs.config import JobSpec, json_schema

PAGE = Path(__file__).parent / "cli.md"

INTRODUCTION = """\
# Command line and job spec

<!-- Written by `make docs` from jobs/cli.py and jobs/config.py. Change it there, or in docs/make_cli.py. -->

`segworkers COMMAND` and `python -m jobs COMMAND` are the same. Results go to standard output, progress and messages to
standard error: a bar on a terminal, else one plain line every few seconds.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | error; `verify`: something does not agree |
| 2 | bad usage, spec or query; nothing was run |
| 3 | finished, but inputs or pixels failed: `failures` says which and why; `evaluate`: something lacks a counterpart |
| 130 | interrupted; the same command with `--resume` goes on |

`--debug` anywhere in the command shows tracebacks.

```sh
segworkers plan 'survey/*.tif' --model threshold
segworkers segment 'survey/*.tif' --model threshold -o out --set model.options.value=128 --engine inline
segworkers query out "SELECT label, count(*) AS objects, sum(area_m2) AS area_m2 FROM instances GROUP BY label"
segworkers query out "SELECT * FROM instances WHERE label = 'object'" -o objects.parquet
segworkers query out "SELECT geometry, label, score, area_m2 FROM instances" -o objects.geojson
segworkers verify out
segworkers preview out survey.tif --box 0,0,500,500 -o survey.png
segworkers evaluate out truth.geojson -o evaluation
```

Queries are one `SELECT` (also `FROM`, `WITH`, `DESCRIBE`, `SUMMARIZE`) over [`instances`, `images`, `seams`, `tiles`,
`failures`](tables.md) and `classes`, one row for each image and class. Nothing else can be read, and nothing written.
`geometry` (OGC:CRS84) and `polygon_px` are shown as WKT; in Parquet they are WKB, and the file is GeoParquet.

A file has all rows or does not appear. `.geojson` (RFC 7946) is for QGIS and web maps: a Feature for each row, its
place from `geometry` in longitude and latitude, all other columns its properties; `.geojsonl` is the same with a
Feature a line and nothing around them. Objects of images off the map have no such place, and a query that gives some is
refused: leave them out with `WHERE geometry IS NOT NULL`.

`.gpkg` (GeoPackage) and `.fgb` (FlatGeobuf) hold the same rows for desktop GIS and large maps, with a spatial index, in
one layer named like the file. Geometry is the table's own, where GeoJSON is rounded to 10⁻⁹ degrees. Integers, numbers,
text, true and false keep their types; lists and structs are JSON, dates with times are cut to the millisecond, NaN and
infinity are null. FlatGeobuf orders rows by place; GeoPackage keeps the query's order.

Columns of the same name are told apart: `label`, `label_1`.
"""

SPEC = """\
## The job spec

`segworkers run job.yaml` does what `segment` does with a file that can be checked in. Unknown keys are refused, all
problems are reported at once, `segworkers validate job.yaml` reports them without running, and `segworkers schema`
prints the JSON schema for editors.

```yaml
inputs: [survey/*.tif]
model:  # or only its reference, `model: threshold`
  reference: threshold
  options: {value: 128}
output:
  path: out
  min_pixels: 20
dicom: {mode: research}
raster: {pixel_size: 0.1}  # metres, of images off the map
tiling: {memory: 2GB}
engine: {kind: ray, workers: 4}
```

Relative paths in a file are relative to the file, those given by options to the working directory. Paths are `inputs`,
`output.path`, the file of a `python:file.py:Class` model, and options of the model that name an existing file.
`--set key=value` overrides one key, the value read as YAML: `--set model.bands=[red,green,blue]`. Options such as
`--engine` and `-o` win over `--set`.

A run may be resumed with other `tiling`, `engine` or pictures (`output.masks`, `seg`, `sr`, `nifti`, `montages`); other
inputs, model, filters, `raster` or level of slides make another run.

| key | type | default | meaning |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument or option as its annotation declares it."""

    names: tuple[str, ...]
    """Of an option; empty for an argument."""
    metavar: str
    """Stands for the value; empty for a flag."""
    help: str
    required: bool
    choices: tuple[str, ...]
    default: object
    repeatable: bool

    @property
    def usage(self) -> str:
        """How it stands in the usage line."""
        if not self.names:
            return self.metavar if self.required else f"[{self.metavar}]"
        name = next((name for name in self.names if len(name) == 2), self.names[0])
        text = f"{name} {self.metavar}".strip()
        return text if self.required else f"[{text}]{'...' if self.repeatable else ''}"

    @property
    def row(self) -> str:
        """Its row in the table."""
        choices = f" One of {', '.join(self.choices)}." if self.choices else ""
        default = f" Default: {self.default}." if self.default not in (None, False) else ""
        names = ", ".join(f"`{name}`" for name in self.names) or f"`{_escape(self.metavar)}`"
        return f"| {names} | {_escape(self.help + choices + default)} |"


def page() -> str:
    """The whole page."""
    sections = [_section(command.callback) for command in app.registered_commands]
    return "\n".join([INTRODUCTION, *sections, SPEC + "\n".join(_keys()) + "\n"])


def parameters(command: Callable[..., Any]) -> list[Parameter]:
    """Arguments and options of a command, in their order."""
    hints = get_type_hints(command, include_extras=True)
    defaults = inspect.signature(command).parameters
    return [_parameter(name, hints[name], defaults[name].default) for name in defaults]


def _parameter(name: str, hint: Any, default: object) -> Parameter:
    kind, declared = get_args(hint)
    values = [each for each in (get_args(kind) or [kind]) if each is not type(None)]
    enum = next((each for each in values if isinstance(each, type) and issubclass(each, Enum)), None)
    choices = tuple(str(each.value) for each in enum) if enum else ()
    is_option = isinstance(declared, typer.models.OptionInfo)
    # In an annotation the first name stands where a default value stood before typer knew annotations.
    names = tuple(map(str, (declared.default, *(declared.param_decls or ())))) if is_option else ()
    fallback = "" if kind is bool else "|".join(choices) or name.upper().replace("_", "-")
    return Parameter(
        names=names,
        metavar=declared.metavar or fallback,
        help=declared.help or "",
        required=default is inspect.Parameter.empty,
        choices=choices,
        default=None if default is inspect.Parameter.empty else getattr(default, "value", default),
        repeatable=any(get_origin(each) is list for each in values),
    )


def _section(command: Any) -> str:
    declared = parameters(command)
    usage = " ".join(["segworkers", command.__name__, *(each.usage for each in declared)])
    lines = [f"## segworkers {command.__name__}", "", inspect.getdoc(command) or "", "", "```text", usage, "```", ""]
    return "\n".join([*lines, *(["| | |", "|---|---|", *(each.row for each in declared), ""] if declared else [])])


def _keys() -> Iterator[str]:
    schema = json_schema()
    for name in JobSpec.model_fields:
        section = schema["$defs"].get(f"{name.title()}Spec")
        if section is None:
            yield _key(name, schema["properties"][name], name in schema["required"])
            continue
        for key, value in section["properties"].items():
            yield _key(f"{name}.{key}", value, key in section.get("required", []))


def _key(name: str, value: dict[str, Any], required: bool) -> str:
    default = "required" if required else f"`{_plain(value.get('default'))}`"
    return f"| `{name}` | {_escape(_type(value))} | {default} | {_escape(value['description'])} |"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _type(value: dict[str, Any]) -> str:
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_type(each) for each in value["anyOf"] if each.get("type") != "null"))
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if value.get("type") == "array":
        return f"list of {_type(value['items'])}"
    kind = value.get("type", "any")
    return {"object": "mapping"}.get(kind, kind) if isinstance(kind, str) else " or ".join(kind)


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
