"""The user's own model: one class, from one Python file or an installed package."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.discretion import WITHHELD, is_on
from schemas.errors import SegworkersError, SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseAnswer, WindowMasks
from segworkers.segmenters.checks import check_answer
from segworkers.segmenters.declaration import class_problems, declared_on_class, read_manifest, takes_valid
from segworkers.segmenters.model_spec import ModelSpec
from segworkers.segmenters.plugin_code import PluginCode

_MESSAGE_LIMIT = 300


class PythonSegmenter:
    """A user's model behind the Segmenter port: calls it, and checks what it says."""

    def __init__(self, model: Any, manifest: ModelManifest, filename: str) -> None:
        """model: an instance of the user's class. filename: its file, to point at in messages."""
        self._model = model
        self._manifest = manifest
        self._filename = filename
        self._takes_valid = takes_valid(model.predict)

    @property
    def manifest(self) -> ModelManifest:
        """The declared properties."""
        return self._manifest

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> DenseAnswer | tuple[WindowMasks, ...]:
        """Call the user's `predict` and check its answer.

        Raises TileError: `model_failed` where the user's code raised, `bad_prediction` where its answer is unusable.
        """
        extra = {"valid": valid} if self._takes_valid else {}
        try:
            answer = self._model.predict(windows, **extra)
        except SegworkersError:
            raise
        except Exception as error:
            raise TileError("model_failed", self._failure(error)) from error
        return check_answer(answer, self._manifest, len(windows))

    def _failure(self, error: Exception) -> str:
        """The error and the last line of the user's own file that led to it."""
        own = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == self._filename]
        where = f" at {own[-1].filename}:{own[-1].lineno}: {own[-1].line}" if own else ""
        text = WITHHELD if is_on() else str(error)
        text = text if len(text) <= _MESSAGE_LIMIT else f"{text[:_MESSAGE_LIMIT]}..."
        return f"{self._manifest.name}: predict raised {type(error).__name__}: {text}{where}"


def plugin_manifest(code: PluginCode, options: Mapping[str, object]) -> tuple[ModelManifest, tuple[str, ...]]:
    """What the class declares, and the files it names as part of its identity; for the driver.

    The class is executed but constructed (with device="cpu") only where a required attribute is not a class attribute.
    Raises SpecError with all problems of the class at once.
    """
    cls = code.load()
    problems = [f"{code.class_name}: {problem}" for problem in class_problems(cls, options)]
    holder: object = cls
    if not declared_on_class(cls) and not problems:
        holder = _construct(cls, code, "cpu", options)
    manifest: ModelManifest | None = None
    try:
        manifest = read_manifest(holder, code.class_name, "")
    except SpecError as error:
        problems += error.problems
    if manifest is None or problems:
        raise SpecError([f"{code.reference}: {problem}" for problem in problems])
    files = getattr(holder, "files", ())
    if isinstance(files, str):
        files = (files,)
    return manifest, tuple(str(file) for file in files)


def load_code(code: PluginCode, spec: ModelSpec, options: Mapping[str, object], used: ModelManifest) -> PythonSegmenter:
    """Construct a user's model in a worker, on the device and with the threads of its spec.

    options: what its constructor is given; used: the spec's manifest with what the job sets instead. Raises SpecError
    as `load_plugin`.
    """
    return load_plugin(code, spec.manifest, options, _device_of(code, spec), used)


def _device_of(code: PluginCode, spec: ModelSpec) -> str:
    """torch is imported only where there is a sign that it matters."""
    code.load()
    if "torch" not in sys.modules and "torch" not in (code.source or "") and not Path("/dev/nvidiactl").exists():
        return "cpu" if spec.device == "auto" else spec.device
    from segworkers.segmenters.torch_device import fix_threads, pick_device

    fix_threads(spec.threads)
    return pick_device(spec.device)


def load_plugin(
    code: PluginCode, manifest: ModelManifest, options: Mapping[str, object], device: str, used: ModelManifest
) -> PythonSegmenter:
    """Construct the user's model in a worker.

    manifest: what the class declared on the driver; used: the same with what the job sets instead.
    Raises SpecError where the constructor fails or the instance declares something else than the driver planned for.
    """
    model = _construct(code.load(), code, device, options)
    declared = replace(read_manifest(model, code.class_name, ""), digest=manifest.digest)
    if declared != manifest:
        fields = [f for f in ModelManifest.__slots__ if getattr(declared, f) != getattr(manifest, f)]
        raise SpecError(
            [
                f"{code.reference}: {field} is {getattr(manifest, field)!r} on the class "
                f"but {getattr(declared, field)!r} on an instance; set it in one place"
                for field in fields
            ]
        )
    return PythonSegmenter(model, used, code.filename)


def _construct(cls: type[Any], code: PluginCode, device: str, options: Mapping[str, object]) -> Any:
    try:
        return cls(device=device, **options)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        raise SpecError(
            f"{code.reference}: {code.class_name}(device={device!r}) raised {type(error).__name__}: {error} "
            f"({frames[-1].filename}:{frames[-1].lineno})"
        ) from error
