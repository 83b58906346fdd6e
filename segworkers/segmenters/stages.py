"""The parameters of two-stage models (`segworkers.segmenters.boxes_then_masks`), and two bundles made one of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

from schemas.bundles import FORMAT, Card, ModelBundle
from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters import options as parse
from segworkers.segmenters.bundle_json import bundle_text, parse_bundle
from segworkers.segmenters.bundle_models import parameters_of
from segworkers.segmenters.bundle_weights import weights_folder
from segworkers.segmenters.bundles import open_bundle, weights_file, write_bundle
from segworkers.segmenters.channels import bands_text, taking
from segworkers.segmenters.families import family_of, plan_family, require_listed
from segworkers.segmenters.new_bundles import new_folder, require_new
from segworkers.segmenters.options import Options

OPTIONS = ("margin", "part", "batch")
"""Parameters that a job may set."""

_UNSAID = dict.fromkeys(("summary", "licence", "attribution", "training_data", "accuracy", "use", "limits"), "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One of the two models."""

    family: str
    manifest: ModelManifest
    parameters: Mapping[str, Any]
    folder: str
    """In the bundle's folder of weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoStages:
    """Everything that the parameters say."""

    detector: Stage
    segmenter: Stage
    margin: float
    fit: Literal["resize", "native"]
    part: Literal["largest", "all"]
    labels: Literal["detector", "segmenter"]
    detector_bands: tuple[int, ...] | None
    segmenter_bands: tuple[int, ...] | None
    batch: int


def plan(manifest: ModelManifest, parameters: Mapping[str, Any]) -> ModelManifest:
    """The manifest with what both stages take, after checking the parameters; for the driver. Raises SpecError."""
    stages = read_stages(manifest, parameters)
    numbers = _taken(stages.detector, stages.segmenter, stages.detector_bands, stages.segmenter_bands)
    return taking(manifest, *numbers) if numbers else manifest


def read_stages(manifest: ModelManifest, parameters: Mapping[str, Any]) -> TwoStages:
    """The settings. Raises SpecError with all problems."""
    read = Options(manifest.name, parameters, "parameters")
    shown: dict[str, Any] = {"window": manifest.window, "overlap": manifest.overlap}
    detector = read.take("detector", _stage("detector", shown), None)
    segmenter = read.take("segmenter", _stage("segmenter", {}), None)
    choices: dict[str, Any] = {
        "margin": read.take("margin", parse.between(0, 4), 0.1),
        "fit": read.take("fit", parse.choice("resize", "native"), "resize"),
        "part": read.take("part", parse.choice("largest", "all"), "largest"),
        "labels": read.take("labels", parse.choice("detector", "segmenter"), "detector"),
        "detector_bands": read.take("detector_bands", _positions, None),
        "segmenter_bands": read.take("segmenter_bands", _positions, None),
        "batch": read.take("batch", parse.count, 8),
    }
    if detector is not None and segmenter is not None:
        read.problems += _misfits(manifest, detector, segmenter, choices)
    else:
        absent = [name for name in ("detector", "segmenter") if parameters.get(name) is None]
        read.problems += [
            f"parameters.{name}: expected family, manifest, parameters and folder of a model" for name in absent
        ]
    read.finish()
    return TwoStages(detector=cast(Stage, detector), segmenter=cast(Stage, segmenter), **choices)


def _misfits(manifest: ModelManifest, detector: Stage, segmenter: Stage, choices: Mapping[str, Any]) -> list[str]:
    problems = (
        [] if manifest.kind == "instance" else [f"manifest.kind: two stages give instances, found {manifest.kind}"]
    )
    if detector.manifest.kind != "instance" or segmenter.manifest.kind != "dense":
        found = f"{detector.manifest.kind} and {segmenter.manifest.kind}"
        problems.append(
            f"parameters: expected a detector of kind instance and a segmenter of kind dense, found {found}"
        )
    if any(manifest.context) or any(detector.manifest.context) or any(segmenter.manifest.context):
        problems.append("manifest.context: neither stage may have a context")
    if (manifest.window[0] == 1) != (segmenter.manifest.window[0] == 1):
        problems.append("parameters.segmenter: both stages must see planes, or both volumes")
    for name, stage in (("detector", detector), ("segmenter", segmenter)):
        if stage.manifest.normalise != manifest.normalise:
            problems.append(
                f"parameters.{name}: sees windows as this model declares, normalise {manifest.normalise}, but was made "
                f"for {stage.manifest.normalise}; both stages need the same"
            )
        if stage.manifest.orientation not in (None, manifest.orientation):
            problems.append(
                f"parameters.{name}: is for the orientation {stage.manifest.orientation}; declare it here too"
            )
    if choices["fit"] == "native" and segmenter.manifest.resolution not in (None, manifest.resolution):
        problems.append(
            f"parameters.fit: native shows {manifest.resolution} m a pixel, the segmenter is for "
            f"{segmenter.manifest.resolution}; use resize"
        )
    problems += _band_misfits(detector, segmenter, choices["detector_bands"], choices["segmenter_bands"])
    named = detector if choices["labels"] == "detector" else segmenter
    if named.manifest.classes != manifest.classes:
        problems.append(
            f"manifest.classes: expected the {choices['labels']}'s, {named.manifest.classes}, found {manifest.classes}"
        )
    return problems


def _band_misfits(
    detector: Stage, segmenter: Stage, first: tuple[int, ...] | None, second: tuple[int, ...] | None
) -> list[str]:
    """first, second: positions among the window's channels that the stages are shown; None for all."""
    problems = [
        f"parameters.{role}_bands: the {role} takes {bands_text(stage.manifest.channels)}, found {list(chosen)}"
        for role, stage, chosen in (("detector", detector, first), ("segmenter", segmenter, second))
        if chosen is not None and stage.manifest.channels and len(chosen) not in stage.manifest.channels
    ]
    if _taken(detector, segmenter, first, second) == ():
        problems.append(
            f"parameters: no image fits both stages: the detector takes {_told(detector, first)}, the segmenter "
            f"{_told(segmenter, second)}; choose with detector_bands or segmenter_bands"
        )
    return problems


def _taken(
    detector: Stage, segmenter: Stage, first: tuple[int, ...] | None, second: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    """Numbers of bands that fit both stages; None where that is not known."""
    shown = ((detector, first), (segmenter, second))
    wanted = [set(stage.manifest.channels) for stage, chosen in shown if chosen is None and stage.manifest.channels]
    if not wanted:
        return None
    least = max((position + 1 for _, chosen in shown for position in chosen or ()), default=1)
    return tuple(number for number in sorted(wanted[0].intersection(*wanted[1:])) if number >= least)


def _told(stage: Stage, chosen: tuple[int, ...] | None) -> str:
    if chosen is not None:
        return f"the bands {list(chosen)}"
    return bands_text(stage.manifest.channels) if stage.manifest.channels else "any"


def _stage(role: str, shown: Mapping[str, Any]) -> Any:
    """Reads one stage and has its family check it; `shown` replaces fields of its manifest."""

    def read(value: object) -> Stage:
        if not isinstance(value, Mapping):
            raise ValueError(f"expected an object, found {value!r}")  # noqa: TRY004
        given = dict(cast("Mapping[str, Any]", value))
        folder = given.pop("folder", role)
        pure = PurePosixPath(str(folder))
        if pure.is_absolute() or ".." in pure.parts or str(folder) in ("", "."):
            raise ValueError(f"folder: expected a folder in the bundle, found {folder!r}")
        # The same reader as for whole bundles, so that a stage is checked as one.
        document: dict[str, Any] = {"format": FORMAT, "name": role, "weights": [], "card": _UNSAID, **given}
        try:
            stage = parse_bundle(json.dumps(document), f"parameters.{role}")
            if stage.family == "two-stage":
                raise ValueError("a stage cannot have two stages itself")
            given_parameters = parameters_of(stage, family_of(stage.family, role), {})
            manifest = plan_family(stage.family, replace(stage.manifest, **shown), given_parameters, role)
        except SpecError as error:
            raise ValueError("; ".join(error.problems)) from error
        return Stage(family=stage.family, manifest=manifest, parameters=given_parameters, folder=str(folder))

    return read


def _positions(value: object) -> tuple[int, ...]:
    numbers = parse.bands(value)
    if not all(isinstance(number, int) for number in numbers):
        raise ValueError(f"expected positions among the window's channels, from 0, found {value!r}")
    return tuple(cast("tuple[int, ...]", numbers))


def join_bundles(
    name: str, detector: str, segmenter: str, folder: Path, card: Card, parameters: Mapping[str, Any] | None = None
) -> ModelBundle:
    """Write a two-stage bundle of two bundles, with all their files, into a new or empty folder.

    parameters: further ones, such as margin. Raises SpecError where the two do not fit together; nothing is
    written then.
    """
    require_new(folder)
    sources = {"detector": open_bundle(detector), "segmenter": open_bundle(segmenter)}
    whole = {role: _described(source.definition, role) for role, source in sources.items()} | dict(parameters or {})
    named = sources["segmenter" if whole.get("labels") == "segmenter" else "detector"].definition
    try:
        bundle = ModelBundle(
            name=name,
            family="two-stage",
            # What the pair takes follows from both, and from the bands that each is shown.
            manifest=replace(
                sources["detector"].definition.manifest, name=name, classes=named.manifest.classes, channels=()
            ),
            card=card,
            parameters=whole,
            codes=named.codes,
        )
    except ValueError as error:
        raise SpecError(f"{name!r}: {error}; say --set name=…") from error
    plan(bundle.manifest, whole)
    with new_folder(folder) as scratch:
        files: list[str] = []
        for role, source in sources.items():
            there = weights_folder(source)
            for each in source.definition.weights:
                files.append(f"{role}/{each.name}")
                (scratch / files[-1]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(there / each.name, scratch / files[-1])
        bundle = replace(bundle, weights=tuple(weights_file(scratch, file) for file in files))
        require_listed(bundle, str(folder))
        write_bundle(bundle, scratch)
    return bundle


def _described(definition: ModelBundle, role: str) -> dict[str, Any]:
    """A bundle as one stage of another."""
    document = json.loads(bundle_text(definition))
    document["manifest"].pop("codes", None)
    return {key: document[key] for key in ("family", "manifest", "parameters")} | {"folder": role}
