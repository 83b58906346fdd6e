"""A MONAI bundle as one of ours: its network and weights, and what it says of windows, in one reviewable `model.json`.

The network is `models/model.ts` (TorchScript: the family `torchscript`, without MONAI), else the class that
`network_def` names with the state dict `models/model.pt` (the family `monai`). No code of the bundle is executed here.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from schemas.boxes import Zyx, zyx
from schemas.bundles import Card, ModelBundle
from schemas.errors import SpecError
from schemas.models import ModelManifest, Normalisation
from segworkers.segmenters import options as parse
from segworkers.segmenters.bundles import weights_file, write_bundle
from segworkers.segmenters.families import plan_family
from segworkers.segmenters.monai_config import MonaiConfig, read_monai
from segworkers.segmenters.monai_mapping import Mapped, map_configuration
from segworkers.segmenters.monai_options import network_name
from segworkers.segmenters.new_bundles import bundle_name, new_folder, require_new

_MODALITIES = {"CT": "CT", "MR": "MR", "MRI": "MR", "PET": "PT", "PT": "PT"}
_UNSAID = "not stated by the bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportChoices:
    """What the user says where the bundle says nothing, or something that has no counterpart here."""

    network: Literal["auto", "torchscript", "definition"] = "auto"
    ignore: Sequence[str] = ()
    """Names of transforms to be left out."""
    window: Zyx | None = None
    overlap: Zyx | None = None
    classes: tuple[str, ...] | None = None
    """Without background."""
    normalise: Normalisation | None = None


def import_monai(folder: Path, out: Path, choices: ImportChoices | None = None) -> ModelBundle:
    """Write a bundle of the MONAI bundle in `folder` into the new or empty folder `out`.

    Raises SpecError with everything that cannot be taken over, and what to do about it.
    """
    chosen = choices or ImportChoices()
    require_new(out)
    config = read_monai(folder)
    problems: list[str] = []
    family, file, network = _network(config, chosen, problems)
    planes = _dimensions(config, network) == 2
    mapped = map_configuration(config, planes, chosen.ignore)
    problems += mapped.problems
    bundle = _bundle(config, chosen, mapped, family, file, network, problems)
    if bundle is None or problems:
        raise SpecError([problem if str(folder) in problem else f"{folder}: {problem}" for problem in problems])
    with new_folder(out) as scratch:
        shutil.copyfile(folder / file, scratch / Path(file).name)
        described = ModelBundle(
            name=bundle.name,
            family=family,
            manifest=bundle.manifest,
            card=bundle.card,
            weights=(weights_file(scratch, Path(file).name),),
            parameters=bundle.parameters,
        )
        write_bundle(described, scratch)
    return described


def _network(config: MonaiConfig, chosen: ImportChoices, problems: list[str]) -> tuple[str, str, dict[str, Any] | None]:
    """Family, file and definition of the network."""
    script = "models/model.ts"
    if chosen.network != "definition" and (config.folder / script).is_file():
        return "torchscript", script, None
    weights = "models/model.pt"
    if chosen.network == "torchscript" or not (config.folder / weights).is_file():
        wanted = script if chosen.network == "torchscript" else f"{script} or {weights}"
        problems.append(f"expected the network in {wanted}, found none; download the bundle's large files")
        return "monai", weights, None
    try:
        return "monai", weights, _definition(config)
    except SpecError as error:
        problems += error.problems
    return "monai", weights, None


def _definition(config: MonaiConfig) -> dict[str, Any]:
    """The network's class and arguments, as the family `monai` reads them."""
    found = config.component("network_def")
    if found is None:
        raise SpecError("the inference configuration has no network_def; export the network to models/model.ts")
    arguments = {key: found.arguments[key] for key in found.arguments}
    if arguments.get("pretrained") is True:
        arguments["pretrained"] = False  # what would be fetched is replaced by the bundle's own weights
    return {"target": network_name(found.name), "arguments": arguments}


def _dimensions(config: MonaiConfig, network: Mapping[str, Any] | None) -> int:
    """Of the network: as its definition says, as its metadata says, else 3."""
    said = (
        (network or {}).get("arguments", {}).get("spatial_dims", (network or {}).get("arguments", {}).get("dimensions"))
    )
    if said in (2, 3):
        return int(said)
    shape = _described(config, "inputs").get("spatial_shape")
    return len(cast("list[Any]", shape)) if isinstance(shape, list) else 3


def _bundle(
    config: MonaiConfig,
    chosen: ImportChoices,
    mapped: Mapped,
    family: str,
    file: str,
    network: dict[str, Any] | None,
    problems: list[str],
) -> ModelBundle | None:
    """The bundle without its weights; None where there are problems."""
    channels = _num_channels(config, "inputs") or 1
    single = mapped.input.pop("one channel only", None)
    if single is not None and channels != 1:
        problems.append(f"preprocessing: {single}: one mean over {channels} channels has no counterpart here")
    window = chosen.window or mapped.window
    if window is None:
        problems.append("inferer: shows whole images; give the window that the model is to see, and overlap")
    outputs = _outputs(config, network)
    names = chosen.classes or _classes(config, outputs, mapped)
    background = len(names) + 1 == outputs
    if not names or len(names) not in (outputs, outputs - 1):
        problems.append(
            f"metadata.json: outputs: expected names for {outputs} channels, or for all but background, "
            f"found {list(names)}; give classes"
        )
    head = _head(mapped, background, problems) if len(names) in (outputs, outputs - 1) else {}
    if problems or window is None:
        return None
    parameters: dict[str, Any] = {"file": Path(file).name, "head": head}
    parameters["input"] = {"axes": "bcxy" if mapped.planes else "bcxyz", **mapped.input}
    if network is not None:
        parameters["network"] = network
    try:
        manifest = _manifest(config, chosen, mapped, names, window, network)
        plan_family(family, manifest, parameters, str(config.folder))
    except (ValueError, SpecError) as error:
        problems += error.problems if isinstance(error, SpecError) else [str(error)]
        return None
    card = _card(config, chosen, mapped)
    return ModelBundle(name=manifest.name, family=family, manifest=manifest, card=card, parameters=parameters)


def _manifest(
    config: MonaiConfig,
    chosen: ImportChoices,
    mapped: Mapped,
    names: tuple[str, ...],
    window: Zyx,
    network: Mapping[str, Any] | None,
) -> ModelManifest:
    """Raises ValueError where the numbers do not fit together."""
    quarter = zyx([side // 4 if side > 1 else 0 for side in window])
    return ModelManifest(
        name=_name(config),
        kind="dense",
        window=window,
        overlap=chosen.overlap or mapped.overlap or quarter,
        classes=names,
        channels=_channels(config, network),
        normalise=chosen.normalise or mapped.normalise,
        spacing=mapped.spacing,
        orientation=mapped.orientation,
        modalities=_modalities(config, mapped),
        connectivity=8 if mapped.planes else 26,
        blend="gaussian" if mapped.gaussian else "none",
    )


def _head(mapped: Mapped, background: bool, problems: list[str]) -> dict[str, Any]:
    if background:
        if mapped.activation == "sigmoid":
            problems.append("postprocessing: sigmoid with a background channel has no counterpart here; give classes")
        return {"type": "semantic", "activation": "softmax"}
    if mapped.argmax or mapped.activation == "softmax":
        problems.append("postprocessing: argmax without a background channel names a class everywhere; give classes")
    threshold = 0.5 if mapped.threshold is None else mapped.threshold
    if mapped.activation is None and mapped.threshold is None:
        problems.append("postprocessing: neither Activations nor AsDiscrete says what the outputs are")
    activation = "sigmoid" if mapped.activation == "sigmoid" else "none"
    return {"type": "semantic", "background": False, "activation": activation, "threshold": threshold}


def _described(config: MonaiConfig, side: Literal["inputs", "outputs"]) -> Mapping[str, Any]:
    """The one input, or the first output, as metadata.json describes it; {} where it does not."""
    formats: Any = config.metadata.get("network_data_format", {})
    sides: Mapping[str, Any] = cast("Mapping[str, Any]", formats) if isinstance(formats, Mapping) else {}
    entries = cast("dict[str, Any]", sides.get(side, {}))
    if side == "inputs" and len(entries) > 1:
        raise SpecError(f"{config.folder}: expected a network with one input, found {', '.join(entries)}")
    first: Any = next(iter(entries.values()), None)
    return cast("Mapping[str, Any]", first) if isinstance(first, Mapping) else {}


def _outputs(config: MonaiConfig, network: Mapping[str, Any] | None) -> int:
    said = _num_channels(config, "outputs")
    return int(said if said is not None else (network or {}).get("arguments", {}).get("out_channels", 0))


def _num_channels(config: MonaiConfig, side: Literal["inputs", "outputs"]) -> int | None:
    """Of the one input or the first output; None where metadata.json says nothing. Raises SpecError for no number."""
    said = _described(config, side).get("num_channels")
    try:
        return None if said is None else parse.count(said)
    except ValueError as error:
        raise SpecError(f"metadata.json: network_data_format.{side}: num_channels: {error}; correct it") from error


def _classes(config: MonaiConfig, outputs: int, mapped: Mapped) -> tuple[str, ...]:
    given: Any = _described(config, "outputs").get("channel_def", {})
    named = (
        {str(key): str(value) for key, value in cast("dict[Any, Any]", given).items()}
        if isinstance(given, dict)
        else {}
    )
    names = [named.get(str(index), "") for index in range(outputs)]
    if names and (mapped.argmax or mapped.activation == "softmax" or "background" in names[0].lower()):
        names = names[1:]
    return tuple(re.sub(r"\s+", "_", name.strip().lower()) for name in names) if all(names) else ()


def _channels(config: MonaiConfig, network: Mapping[str, Any] | None) -> tuple[int, ...]:
    """Of the input, as metadata.json says; a definition of the network says it itself."""
    said = _num_channels(config, "inputs")
    return () if said is None or network is not None else (said,)


def _modalities(config: MonaiConfig, mapped: Mapped) -> tuple[str, ...]:
    said = str(_described(config, "inputs").get("modality", "")).upper()
    return (_MODALITIES[said],) if said in _MODALITIES and not mapped.planes else ()


def _name(config: MonaiConfig) -> str:
    return bundle_name(str(config.metadata.get("name") or config.folder.resolve().name), "monai")


def _card(config: MonaiConfig, chosen: ImportChoices, mapped: Mapped) -> Card:
    said = config.metadata

    def text(key: str) -> str:
        value: Any = said.get(key)
        if not value:
            return _UNSAID
        return str(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)

    references: Any = said.get("references", [])
    makers = ", ".join(part for part in (text("authors"), text("copyright")) if part != _UNSAID) or _UNSAID
    left_out = f" Left out on import: {', '.join(chosen.ignore)}." if chosen.ignore else ""
    nested = "" if mapped.activation != "sigmoid" else " Where classes overlap, the most probable one wins."
    return Card(
        summary=text("description").partition("\n")[0],
        licence=text("license") if said.get("license") else "see LICENSE in the MONAI bundle",
        attribution=f"{makers}; MONAI bundle, version {text('version')}",
        training_data=text("data_source"),
        accuracy=f"As its makers state, not measured here: {text('eval_metrics')}",
        use=text("intended_use"),
        limits="Imported from a MONAI bundle: resampling and the averaging of windows differ from MONAI's, so results "
        f"do too, most along the borders of objects.{nested}{left_out}",
        task=text("task") if said.get("task") else "",
        sources=tuple(str(each) for each in cast("list[Any]", references)) if isinstance(references, list) else (),
    )
