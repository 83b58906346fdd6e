"""Writes docs/cli.md from the commands and the spec: `make docs`. The page is generated, so it cannot miss an option."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

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
| 3 | finished, but some inputs or pixels failed: the table `failures` says which and why |
| 130 | interrupted; the same command with `--resume` goes on |

`--debug` anywhere in the command shows tracebacks.

```sh
segworkers plan 'survey/*.tif' --model threshold
segworkers segment 'survey/*.tif' --model threshold -o out --set model.options.value=128 --engine inline
segworkers query out "SELECT label, count(*) AS objects, sum(area_m2) AS area_m2 FROM instances GROUP BY label"
segworkers query out "SELECT * FROM instances WHERE label = 'object'" -o objects.parquet
segworkers verify out
segworkers preview out survey.tif --box 0,0,500,500 -o survey.png
```

Queries are one `SELECT` (also `FROM`, `WITH`, `DESCRIBE`, `SUMMARIZE`) over [`instances`, `images`, `tiles`,
`failures`](tables.md) and `classes`, one row for each image and class. Nothing else can be read, and nothing written.
`geometry` (OGC:CRS84) and `polygon_px` are shown as WKT; in Parquet they are WKB, and the file is GeoParquet.
"""

SPEC = """\
## The job spec

`segworkers run job.yaml` does what `segment` does with a file that can be checked in. Unknown keys are refused, all
problems are reported at once, `segworkers validate job.yaml` reports them without running, and `segworkers schema`
prints the JSON schema for editors.

```yaml
inputs: [survey/*.tif]
model:
  reference: threshold
  options: {value: 128}
output:
  path: out
  min_pixels: 20
tiling: {memory: 2GB}
engine: {kind: ray, workers: 4}
```

Relative paths in a file are relative to the file, those given by options to the working directory. Paths are `inputs`,
`output.path`, the file of a `python:file.py:Class` model, and options of the model that name an existing file.
`--set key=value` overrides one key, the value read as YAML: `--set model.bands=[red,green,blue]`. Options such as
`--engine` win over `--set`.

A run may be resumed with other `tiling`, `engine` or `output.masks`; other inputs, model or filters make another run.

| key | type | default | meaning |
|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    commands = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    sections = [_section(name, command) for name, command in commands.items()]
    return "\n".join([INTRODUCTION, *sections, SPEC + "\n".join(_keys()) + "\n"])


def _section(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    usage = " ".join([_usage(each) for each in arguments] + [_option(each) for each in options])
    lines = [f"## segworkers {name}", "", command.help, "", "```text", f"segworkers {name} {usage}".rstrip(), "```", ""]
    rows = [f"| `{_escape(each.metavar)}` | {_escape(each.help)} |" for each in arguments]
    rows += [f"| {', '.join(f'`{text}`' for text in each.opts)} | {_escape(_meaning(each))} |" for each in options]
    return "\n".join([*lines, *(["| | |", "|---|---|", *rows, ""] if rows else [])])


def _usage(argument: Any) -> str:
    return argument.metavar if argument.required else f"[{argument.metavar}]"


def _option(option: Any) -> str:
    value = "" if option.is_flag else f" {option.metavar or '|'.join(_choices(option)) or option.type.name.upper()}"
    text = f"{option.opts[-1] if len(option.opts[-1]) == 2 else option.opts[0]}{value}"
    return text if option.required else f"[{text}]{'...' if option.multiple else ''}"


def _choices(option: Any) -> list[str]:
    return [str(getattr(choice, "value", choice)) for choice in getattr(option.type, "choices", ())]


def _meaning(option: Any) -> str:
    choices = f" One of {', '.join(_choices(option))}." if _choices(option) else ""
    default = getattr(option.default, "value", option.default)
    shown = f" Default: {default}." if default not in (None, False, ()) and not option.required else ""
    return f"{option.help}{choices}{shown}"


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
    return {None: "null", False: "false", True: "true"}.get(value, str(value)) if not isinstance(value, dict) else "{}"


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
