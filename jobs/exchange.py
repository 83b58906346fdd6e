"""`segworkers models export | import | join`: bundles made of bundles, and of what others publish."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from schemas.bundles import Card, ModelBundle
from schemas.errors import SpecError
from segworkers.segmenters import options as parse
from segworkers.segmenters.bundles import open_bundle
from segworkers.segmenters.monai_import import ImportChoices, import_monai
from segworkers.segmenters.new_bundles import bundle_name
from segworkers.segmenters.options import Options

_NOT_MEASURED = "The two together: not measured here."


def exchange_text(
    action: str, name: str | None, output: Path | None, target: str | None, second: str | None, sets: Sequence[str]
) -> str:
    """Write a bundle into the folder `output` and tell what it is.

    action: `export` (of `name`, to the format `target`), `import` (of the MONAI bundle in the folder `name`) or `join`
    (of a detector `name` and a dense model `second`). sets: KEY=VALUE of what the action lets one choose.
    Raises SpecError.
    """
    given: Mapping[str, object] = {"NAME": name, "--output": output, "--to": target, "--with": second}
    needed = ["NAME", "--output", *{"export": ["--to"], "join": ["--with"]}.get(action, [])]
    missing = [each for each in needed if given[each] is None]
    extra = [each for each in given if given[each] is not None and each not in needed]
    if missing or extra:
        problems = [f"models {action} needs {each}" for each in missing]
        raise SpecError(problems + [f"models {action} takes no {each}; leave it out" for each in extra])
    choices = _choices(sets)
    folder, reference = cast(Path, output), cast(str, name)
    if action == "export":
        bundle = _export(reference, cast(str, target), folder, choices)
    elif action == "import":
        bundle = import_monai(Path(reference).expanduser(), folder, import_choices(choices))
    else:
        bundle = _join(reference, cast(str, second), folder, choices)
    # a name without a slash would be taken for one of the package's models
    path = str(folder) if len(folder.parts) > 1 or folder.is_absolute() else f"./{folder}"
    verify = f"segworkers models verify {shlex.quote(path)}"
    return f"{bundle.name}: a model of the family {bundle.family}, in {folder}; {verify}"


def import_choices(values: Mapping[str, Any]) -> ImportChoices:
    """What `--set` says of an import. Raises SpecError with all problems."""
    read = Options("models import", values, "--set ")
    choices = ImportChoices(
        network=cast(Any, read.take("network", parse.choice("auto", "torchscript", "definition"), "auto")),
        ignore=read.take("ignore", parse.names, ()),
        window=read.take("window", parse.triple(1, 1), None),
        overlap=read.take("overlap", parse.triple(0, 0), None),
        classes=read.take("classes", parse.names, None),
        normalise=cast(Any, read.take("normalise", parse.choice("none", "unit", "percentile", "zscore", "otsu"), None)),
    )
    read.finish()
    return choices


def _export(reference: str, target: str, folder: Path, choices: Mapping[str, Any]) -> ModelBundle:
    from segworkers.segmenters.torch_export import TARGETS, Target, export_bundle

    if choices:
        raise SpecError(f"models export: --set {', '.join(choices)}: there is nothing to choose")
    if target not in TARGETS:
        raise SpecError(f"--to: expected one of {', '.join(TARGETS)}, found {target!r}")
    return export_bundle(reference, cast(Target, target), folder)


def _join(detector: str, segmenter: str, folder: Path, choices: Mapping[str, Any]) -> ModelBundle:
    from segworkers.segmenters.stages import join_bundles

    values = dict(choices)
    name = str(values.pop("name", bundle_name(folder.resolve().name, "joined")))
    first, second = (open_bundle(each).definition for each in (detector, segmenter))
    one, two = first.card, second.card

    def both(field: str) -> str:
        return f"{first.name}: {getattr(one, field)} {second.name}: {getattr(two, field)}"

    licence = one.licence if one.licence == two.licence else f"{one.licence} AND {two.licence}"
    card = Card(
        summary=f"{first.name}, then {second.name} inside each box",
        licence=licence,
        attribution=both("attribution"),
        training_data=both("training_data"),
        accuracy=f"{_NOT_MEASURED} {both('accuracy')}",
        use=both("use"),
        limits=both("limits"),
        sources=(*one.sources, *(source for source in two.sources if source not in one.sources)),
    )
    return join_bundles(name, detector, segmenter, folder, card, values)


def _choices(sets: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for each in sets:
        key, equals, text = each.partition("=")
        if not equals or not key or key in values:
            raise SpecError(f"--set: expected KEY=VALUE, each key once, found {each!r}")
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SpecError(f"--set {key}: {text!r} is not valid YAML") from error
    return values
