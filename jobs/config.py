"""JobSpec: one job as the user wrote it, checked as a whole before anything runs.

The same values come from a YAML file, from `--set a.b=c` and from the options of the command line; `load_spec` joins
them, reports every problem at once as `job.yaml: tiling.tilee: …`, and makes relative paths absolute: those of a spec
file are relative to the file, those of the command line to the working directory.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.boxes import Zyx

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}

Extent = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=3)]
"""One to three integers: [side], [y, x] or [z, y, x]."""


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _number(value: object) -> object:
    """YAML 1.1 takes 5e-7, which has no dot, for text."""
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value)
    return value


class ModelSpec(_Part):
    """Which model, and what it is told. `model: threshold` means `model: {reference: threshold}`."""

    reference: Annotated[str, Field(min_length=1)]
    """A model's name, the path of a bundle (a folder or .zip), or `python:path/to/file.py:ClassName`; see
    `segworkers models`."""
    options: dict[str, Any] = {}
    """Options of the model; `segworkers plan` shows what came of them."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model computes; auto: CUDA where there is a GPU."""
    bands: Annotated[list[str | int], Field(min_length=1)] | None = None
    """Bands by name or 0-based index, in the model's order; null: what the model declares."""
    window: Extent | None = None
    """Window size in pixels, [side], [y, x] or [z, y, x]; null: what the model declares."""
    overlap: Extent | None = None
    """Overlap of neighbouring windows in pixels, in the form of `window`; null: what the model declares."""
    object_size: Annotated[float, Field(gt=0)] | None = None
    """Length in pixels of the larger objects, to be warned of a smaller overlap; null: what the model declares."""
    blend: Literal["none", "gaussian"] | None = None
    """Dense models: `gaussian` averages the class probabilities of overlapping windows, `none` takes a pixel from the
    window whose middle it is in; null: what the model declares."""
    resolution: Annotated[float, Field(gt=0)] | None = None
    """Metres per pixel that the model works at; null: what the model declares."""
    spacing: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)] | None = None
    """Volumes: millimetres between voxels (z, y, x) that the model works at; null: what the model declares."""

    @model_validator(mode="before")
    @classmethod
    def _plain_reference(cls, value: object) -> object:
        return {"reference": value} if isinstance(value, str) else value

    @field_validator("window", "overlap", mode="before")
    @classmethod
    def _plain_side(cls, value: object) -> object:
        return [value] if isinstance(value, int) else value

    @field_validator("resolution", mode="before")
    @classmethod
    def _exponent(cls, value: object) -> object:
        return _number(value)

    @field_validator("window")
    @classmethod
    def _has_pixels(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and 0 in value:
            raise ValueError(f"a window has at least 1 pixel in each axis, got {value}")
        return value


class OutputSpec(_Part):
    """Where results go, and which objects become rows.

    Filters act on whole objects, after the merge: holes are filled, then sizes, scores and borders are looked at, then
    the largest is chosen.
    """

    path: Annotated[str, Field(min_length=1)]
    """Run folder; created if absent."""
    masks: Literal["none", "labels", "classes", "panoptic"] = "none"
    """Stitched mask raster of each source: pixel values are the table's `mask_value` (instance segmentation), class
    numbers (semantic), or both in two bands (panoptic)."""
    seg: Literal["none", "binary", "labelmap"] = "none"
    """DICOM SEG objects of volumes: `binary` opens everywhere, `labelmap` is many times smaller but newer."""
    sr: bool = False
    """DICOM SR (TID 1500) with the measurements of volumes; refers to SEG objects, so it needs `seg`."""
    terms: dict[str, Any] = {}
    """Codes of classes in SEG and SR: `{LABEL: {category, type: {value, scheme, meaning}, sites: [...]}}`; classes
    without have those of a lesion. docs/dicom.md has an example."""
    nifti: bool = False
    """Label map of each volume as .nii.gz, with the values of `mask_value`."""
    montages: bool = False
    """A PNG of each object of a volume: slices through it with its outline."""
    fill_holes: bool | Annotated[int, Field(ge=1)] = False
    """Whether holes of objects are filled; a number fills those of at most so many pixels. A hole is what an object
    encloses on all sides within the source; in a volume a tunnel is none. All of it is filled, also what is nodata,
    failed (the object is then not `is_complete`) or part of other objects, which keep their own rows and masks."""
    min_pixels: Annotated[int, Field(ge=1)] = 1
    """Smaller objects are dropped; filled holes count."""
    max_pixels: Annotated[int, Field(ge=1)] | None = None
    """Larger objects are dropped."""
    min_score: float | None = None
    """Objects with a lower score are dropped; objects without a score stay."""
    border: Literal["keep", "drop", "unbiased"] = "keep"
    """Objects that touch the edge of the source: `keep` all, `drop` all, or drop only those in its first row or column
    (or plane, of a volume), so that counts per area are `unbiased` (Gundersen's counting frame)."""
    largest_only: bool = False
    """Whether only the largest object of each class is kept in each source, of those that passed all other filters."""

    @model_validator(mode="after")
    def _ordered(self) -> OutputSpec:
        if self.max_pixels is not None and self.max_pixels < self.min_pixels:
            raise ValueError(f"max_pixels must be at least min_pixels, got {self.max_pixels} < {self.min_pixels}")
        if self.sr and self.seg == "none":
            raise ValueError("sr refers to segments: set seg to binary or labelmap too")
        return self


class DicomSpec(_Part):
    """Volumes and slides from DICOM. Patient attributes never enter the run folder; originals stay in the crosswalk."""

    crosswalk: Annotated[str, Field(min_length=1)] | None = None
    """Folder that links pseudonyms to originals and holds their key, for few eyes: outside the run folder, mode 0700,
    seen by all workers; null: the run folder's name with `.crosswalk`, beside it. Runs that share it agree in them."""
    mode: Literal["research", "clinical"] = "research"
    """What SEG and SR objects say: `research` gives them pseudonyms and new UIDs; `clinical` the patient's and study's
    attributes and references to the original images, so that they open on them."""
    slide_um_per_pixel: Annotated[float, Field(gt=0)] | None = None
    """Micrometres between pixels that are wanted of whole slides: the coarsest level is read that is at least as fine
    (2 % coarser will do); a slide whose finest level is coarser is refused (`too_coarse`); null: the finest level."""
    processes: Annotated[int, Field(ge=1)] | None = None
    """Processes that read headers; null: one for each CPU."""


class RasterSpec(_Part):
    """What images do not say of themselves."""

    pixel_size: (
        Annotated[float, Field(gt=0)]
        | Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2, max_length=2)]
        | None
    ) = None
    """Metres between pixels, or [y, x], of images that do not lie on a map, such as 0.1 or 3.25e-7: for models with a
    resolution, and for measures in micrometres; maps keep their own. Null: unknown."""

    @field_validator("pixel_size", mode="before")
    @classmethod
    def _exponents(cls, value: object) -> object:
        return [_number(each) for each in cast("list[object]", value)] if isinstance(value, list) else _number(value)

    @property
    def pixel_um(self) -> tuple[float, float] | None:
        """Micrometres along (y, x)."""
        if self.pixel_size is None:
            return None
        y, x = self.pixel_size if isinstance(self.pixel_size, list) else (self.pixel_size, self.pixel_size)
        return y * 1e6, x * 1e6


class TilingSpec(_Part):
    """How work is cut. Never changes the objects found."""

    tile: Annotated[int, Field(ge=1)] = 4096
    """Target side of a work tile in pixels; rounded to windows, reduced to fit `memory`."""
    memory: str = "2GB"
    """Memory of one worker process, such as 2GB or 1.5GiB."""

    @field_validator("memory", mode="before")
    @classmethod
    def _readable(cls, value: object) -> object:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(text, str):
            parse_bytes(text)
        return text

    @property
    def memory_bytes(self) -> int:
        """`memory` in bytes."""
        return parse_bytes(self.memory)


class EngineSpec(_Part):
    """Where work runs. Never changes the objects found."""

    kind: Literal["ray", "inline"] = "ray"
    """`ray`: actors on this machine or a cluster; `inline`: this process."""
    address: str | None = None
    """Address of a running Ray cluster; null: RAY_ADDRESS if set, else a private instance on this machine."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Worker processes at most; null: as many as there is room for."""
    gpus_per_worker: Annotated[float, Field(ge=0)] | None = None
    """GPUs that one worker reserves, a fraction lets several share one; null: 1 for a model on CUDA, else 0."""
    threads: Annotated[int, Field(ge=1)] = 1
    """CPU threads that one worker computes with."""
    chunk_tiles: Annotated[int, Field(ge=1)] | None = None
    """Work tiles handed to a worker at a time; null: sized to a few seconds."""
    deadline_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which one hand-out counts as hung and is tried again; null: no limit."""


class JobSpec(_Part):
    """A segmentation job: rasters and DICOM volumes in, tables of objects out."""

    inputs: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    """Files, folders, globs, manifests (.txt, .csv, .parquet), file://, http(s):// and s3:// URLs."""
    model: ModelSpec
    """The model; a plain string is its reference."""
    output: OutputSpec
    """Where results go."""
    dicom: DicomSpec = DicomSpec()
    """Volumes and slides from DICOM."""
    raster: RasterSpec = RasterSpec()
    """What images do not say of themselves."""
    tiling: TilingSpec = TilingSpec()
    """How work is cut."""
    engine: EngineSpec = EngineSpec()
    """Where work runs."""

    def digest(self) -> str:
        """32 hexadecimal digits of what determines the tables: inputs, model, output filters.

        The run folder, the stitched masks, tiling and engine do not enter: a run may be resumed with others.
        """
        body = determining(self.model_dump(mode="json"))
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def to_yaml(self) -> str:
        """The whole spec, defaults included, as YAML that `load_spec` reads back."""
        import yaml

        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


_PICTURES = ("path", "masks", "seg", "sr", "terms", "nifti", "montages")
"""Keys of `output` that say where results go and what is made of the tables."""


def determining(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a dumped JobSpec that determines the tables: `inputs`, `model` and `output`, each reduced to that."""
    model = {key: value for key, value in spec["model"].items() if key != "object_size"}
    # Where a model's file lies says nothing about what it does; its content is in the model's own digest.
    model["reference"] = re.sub(r"^python:.*/([^/]+\.py:\w+)$", r"python:\1", model["reference"])
    if is_bundle_path(model["reference"]):
        model["reference"] = model["reference"].rstrip("/").rpartition("/")[2]
    output = {key: value for key, value in spec["output"].items() if key not in _PICTURES}
    slides = {key: value for key, value in spec.get("dicom", {}).items() if key == "slide_um_per_pixel" and value}
    stated = {key: value for key, value in spec.get("raster", {}).items() if value is not None}
    return {"inputs": spec["inputs"], "model": model, "output": output | slides | stated}


def parse_bytes(text: str) -> int:
    """Bytes in a size such as `2GB`, `1.5 GiB`, `800M` or `1000000`. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?\s*", text.upper())
    if match is None or match[2] not in _UNITS or float(match[1]) == 0:
        raise ValueError(f"expected a size above 0 such as 2GB, 1.5GiB or 800MB, got {text!r}")
    return int(float(match[1]) * _UNITS[match[2]])


def expand_extent(values: Sequence[int], planes: int) -> Zyx:
    """[side], [y, x] or [z, y, x] as (z, y, x), where `planes` fills a missing z."""
    if len(values) == 1:
        return (planes, values[0], values[0])
    if len(values) == 2:
        return (planes, values[0], values[1])
    z, y, x = values
    return (z, y, x)


def json_schema() -> dict[str, Any]:
    """JSON schema of a spec file, for editors; knows that `model` may be a plain string."""
    schema = JobSpec.model_json_schema()
    reference = schema["properties"]["model"]
    schema["properties"]["model"] = {
        "anyOf": [{"type": "string", "minLength": 1}, {"$ref": reference["$ref"]}],
        "description": reference.get("description", ""),
    }
    for field in ("window", "overlap"):
        schema["$defs"]["ModelSpec"]["properties"][field]["anyOf"].append({"type": "integer", "minimum": 0})
    schema["$defs"]["TilingSpec"]["properties"]["memory"]["type"] = ["string", "integer"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def is_local(path: str) -> bool:
    """Whether `path` names something on this machine's file system rather than a URL or a GDAL virtual path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://|/vsi", path) is None


def absolute_paths(raw: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """A copy of an unchecked spec with relative paths joined to `base`; values of the wrong type stay for the checker.

    Paths are: inputs, output.path, a model's bundle, the file of a `python:file.py:Class` model, and the string options
    of the model that look like a path and name an existing file below `base`.
    """
    spec = dict(raw)
    inputs, output, model = spec.get("inputs"), spec.get("output"), spec.get("model")
    if isinstance(inputs, list):
        spec["inputs"] = [_absolute(value, base) for value in cast("list[Any]", inputs)]
    if isinstance(output, Mapping):
        section = cast("Mapping[str, Any]", output)
        spec["output"] = {**section, "path": _absolute(section["path"], base)} if "path" in section else section
    if isinstance(model, str):
        spec["model"] = _absolute_reference(model, base)
    elif isinstance(model, Mapping):
        spec["model"] = _absolute_model(dict(cast("Mapping[str, Any]", model)), base)
    return spec


def _absolute_model(model: dict[str, Any], base: Path) -> dict[str, Any]:
    if isinstance(model.get("reference"), str):
        model["reference"] = _absolute_reference(model["reference"], base)
    options = model.get("options")
    if isinstance(options, Mapping):
        named = cast("Mapping[str, Any]", options)
        model["options"] = {key: _absolute_option(value, base) for key, value in named.items()}
    return model


def _absolute(value: Any, base: Path) -> Any:
    if not isinstance(value, str) or not value or not is_local(value):
        return value
    return os.path.abspath(base / Path(value).expanduser())


def is_bundle_path(reference: str) -> bool:
    """Whether a model reference is written as the path of a bundle rather than as a name or a `kind:` of model."""
    return ("/" in reference or reference.endswith(".zip")) and re.match(r"\w{2,}:", reference) is None


def _absolute_reference(value: str, base: Path) -> str:
    if is_bundle_path(value):
        return _absolute(value, base)
    match = re.fullmatch(r"python:(.+\.py):(\w+)", value)
    return value if match is None else f"python:{_absolute(match[1], base)}:{match[2]}"


def _absolute_option(value: Any, base: Path) -> Any:
    """An option is a path only where it has a suffix or a slash and the file is there: weights have plain names too."""
    if not isinstance(value, str) or not value or not is_local(value) or not ("/" in value or Path(value).suffix):
        return value
    path = base / Path(value).expanduser()
    return str(path) if path.is_file() else value
