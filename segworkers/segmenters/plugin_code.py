"""The user's model code as a value: read once on the driver, carried to every worker, executed there as a module.

Workers need not see the file. A module of the package path or site-packages is the exception: it travels by name and
must be installed where the workers run.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import linecache
import sys
import threading
import tokenize
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from schemas.errors import SpecError

PREFIX = "python:"
_LOCK = threading.RLock()


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginCode:
    """Where a model class comes from. Picklable and small."""

    reference: str
    """As the user wrote it, such as `python:models/cells.py:Cells`."""
    class_name: str
    module: str
    """Name it has in sys.modules: unique to the text for a file, its own for an importable module."""
    source: str | None
    """Text of the file; None for an importable module."""
    filename: str
    """Path shown in tracebacks; need not exist on a worker."""
    digest: str
    """Hash of the text, or of all Python files of the module's top-level package."""

    def load(self) -> type[Any]:
        """Execute or import the module and return the class. Raises SpecError where that fails."""
        with _LOCK:
            module = self._import() if self.source is None else self._execute(self.source)
        found = getattr(module, self.class_name, None)
        if not isinstance(found, type):
            classes = [name for name, value in vars(module).items() if _is_own_class(value, module)]
            raise SpecError(
                f"{self.reference}: {self.filename} has no class {self.class_name!r}; "
                f"it has {', '.join(classes) or 'none'}"
            )
        return found

    def _import(self) -> ModuleType:
        try:
            return importlib.import_module(self.module)
        except Exception as error:
            raise SpecError(f"{self.reference}: importing {self.module} failed: {_describe(error)}") from error

    def _execute(self, source: str) -> ModuleType:
        if self.module in sys.modules:
            return sys.modules[self.module]
        module = ModuleType(self.module)
        module.__file__ = self.filename
        # Dataclasses, pickle and typing look their module up by name; tracebacks look the text up in linecache,
        # where an entry without a modification time is never compared with the disk.
        sys.modules[self.module] = module
        linecache.cache[self.filename] = (len(source), None, source.splitlines(keepends=True), self.filename)
        try:
            exec(compile(source, self.filename, "exec"), module.__dict__)  # noqa: S102 - running it is the purpose
        except BaseException as error:
            del sys.modules[self.module]
            if not isinstance(error, Exception):
                raise
            hint = ""
            if isinstance(error, ImportError):
                hint = " (only this one file travels to the workers: use an installed package for more than one)"
            raise SpecError(f"{self.reference}: executing it failed: {_describe(error)}{hint}") from error
        return module


def read_plugin(reference: str) -> PluginCode:
    """The code behind `python:path/to/file.py:ClassName` or `python:package.module:ClassName`.

    Reads the file, or finds the module, without executing it (parent packages of a module are imported by Python).
    Raises SpecError where the reference has another form or nothing is there.
    """
    place, _, class_name = reference.removeprefix(PREFIX).rpartition(":")
    if not place or not class_name.isidentifier():
        raise SpecError(
            f"model {reference!r}: expected python:path/to/file.py:ClassName or python:package.module:ClassName"
        )
    if place.endswith(".py"):
        return _from_file(reference, Path(place), class_name)
    return _from_module(reference, place, class_name)


def _from_file(reference: str, path: Path, class_name: str) -> PluginCode:
    try:
        with tokenize.open(path) as file:
            source = file.read()
    except FileNotFoundError as error:
        raise SpecError(f"model {reference!r}: no file {path} in {Path.cwd()}") from error
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise SpecError(f"model {reference!r}: cannot read {path}: {error}") from error
    digest = hashlib.blake2b(source.encode(), digest_size=16).hexdigest()
    place = hashlib.blake2b(str(path.absolute()).encode(), digest_size=4).hexdigest()
    return PluginCode(
        reference=reference,
        class_name=class_name,
        module=f"segworkers_plugin_{digest}_{place}",
        source=source,
        filename=str(path.absolute()),
        digest=digest,
    )


def _from_module(reference: str, module: str, class_name: str) -> PluginCode:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise SpecError(f"model {reference!r}: cannot import {module}: {error}") from error
    if spec is None or spec.origin is None:
        raise SpecError(f"model {reference!r}: no module {module}; install it, or name a file that ends in .py")
    if not Path(spec.origin).is_file():  # `built-in` or `frozen`
        raise SpecError(f"model {reference!r}: {module} ({spec.origin}) is no file of Python code; name one that is")
    top = importlib.util.find_spec(module.partition(".")[0])
    roots = [Path(place) for place in (top.submodule_search_locations if top else None) or []]
    files = sorted({file for root in roots for file in root.rglob("*.py")} | {Path(spec.origin)})
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        text = file.read_bytes()
        digest.update(f"{_relative(file, roots)}\0{len(text)}\0".encode() + text)
    return PluginCode(
        reference=reference,
        class_name=class_name,
        module=module,
        source=None,
        filename=spec.origin,
        digest=digest.hexdigest(),
    )


def _relative(file: Path, roots: list[Path]) -> str:
    """Path below its package, so that the digest does not depend on where the package is installed."""
    return next((file.relative_to(root).as_posix() for root in roots if file.is_relative_to(root)), file.name)


def _is_own_class(value: object, module: ModuleType) -> bool:
    return isinstance(value, type) and value.__module__ == module.__name__


def _describe(error: BaseException) -> str:
    """Type, message and the innermost line, on one line."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames and not isinstance(error, SyntaxError) else ""
    return f"{type(error).__name__}: {error}{where}"
