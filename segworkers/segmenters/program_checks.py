"""What a file with a program may hold: checked before torch reads it, because reading can execute what it holds.

TorchScript holds code in a language of its own, which its loader runs in part, and which can call every operator that
torch knows, some of which open files. torch.export holds a graph of operators, and its loader unpickles what is marked
as pickled, loads compiled libraries, and evaluates expressions of sizes. Here both are read as text, and every operator
must be one that computes. That keeps out files made to do harm by ways that are known; it is no proof. A file from
somebody whom you would not let run a program belongs converted to ONNX, on a machine that does not matter.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, cast

from schemas.errors import SpecError

_FILES = ("from_file", "save", "load", "write", "read", "open", "_load_for_lite_interpreter")
"""Names of operators that touch files, whatever their namespace."""
_SCRIPT_NAMESPACES = ("aten", "prim", "torchvision", "quantized")
_CALL = re.compile(r"(?<![\w.])(torch|ops)\.([A-Za-z_0-9.]+)")
_FOREIGN_CLASS = re.compile(r"__torch__\.torch\.classes\.(?!quantized\.)[\w.]+")
_GRAPH_TARGET = re.compile(r"torch\.ops\.(aten|torchvision)\.\w+\.\w+|_operator\.\w+|math\.\w+|torch\.sym_\w+")
_OPERATOR = re.compile(r"add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|not_|xor|getitem")
_PLAIN_ENTRIES = ("archive_format", "archive_version", "byteorder", "version", "data/sample_inputs/model.pt")
_CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")
_SIZES = re.compile(r"[\w\s+\-*/%(),.<>=']*")
_SIZE_WORD = re.compile(
    r"[su]\d+|Symbol|positive|integer|nonnegative|real|True|False|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|"
    r"ModularIndexing|Integer|Float|Rational|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|Where|IntTrueDiv|floor|ceiling|int_oo|oo"
)


def check_torchscript(path: Path) -> None:
    """Raise SpecError where a TorchScript file is none, or holds calls that do more than compute."""
    with _archive(path, "TorchScript") as file:
        sources = [name for name in file.namelist() if "/code/" in name and name.endswith(".py")]
        if not sources or not any(name.endswith("/data.pkl") for name in file.namelist()):
            raise SpecError(f"{path}: expected a TorchScript file (torch.jit.save), found a zip file without its code")
        for name in sources:
            text = file.read(name).decode("utf-8", "replace")
            if match := _FOREIGN_CLASS.search(text):
                _refuse(path, f"an object of {match[0]} in {name}")
            for root, called in _CALL.findall(text):
                parts = called.split(".")
                strange = root == "ops" and parts[0] not in _SCRIPT_NAMESPACES
                if strange or any(part in _FILES for part in parts):
                    _refuse(path, f"a call of {root}.{called} in {name}")


def check_exported(path: Path) -> None:
    """Raise SpecError where a torch.export file is none, or holds more than tensors and operators that compute."""
    with _archive(path, "torch.export") as file:
        names = [name.partition("/")[2] for name in file.namelist()]
        root = file.namelist()[0].partition("/")[0] if names else ""
        if "models/model.json" not in names:
            raise SpecError(f"{path}: expected a .pt2 file of torch.export.save, found no models/model.json in it")
        for name in names:
            allowed = name.startswith(("models/model.json", "data/weights/", "data/constants/", "extra/", ".data/"))
            if not allowed and name not in _PLAIN_ENTRIES:
                _refuse(path, f"an entry {name}, which may be compiled code")
            if name.startswith(("data/weights/", "data/constants/")) and not re.fullmatch(
                r"data/(weights|constants)/(weight_\d+|tensor_\d+|model_\w+_config\.json)", name
            ):
                _refuse(path, f"an entry {name}, which is not a plain tensor")
        for part in ("weights", "constants"):
            config = f"data/{part}/model_{part}_config.json"
            for key, value in _entries(_json(file, f"{root}/{config}", path) if config in names else {}):
                if key == "use_pickle" and value:
                    _refuse(path, f"a pickled tensor in {config}")
        for key, value in _entries(_json(file, f"{root}/models/model.json", path)):
            if key == "target" and isinstance(value, str):
                _check_target(path, value)
            elif key == "expr_str":
                _check_size(path, str(value))
            elif key in ("in_spec", "out_spec"):
                _check_tree(path, str(value))


def _check_target(path: Path, target: str) -> None:
    parts = target.split(".")
    bad = not _GRAPH_TARGET.fullmatch(target) or any(part in _FILES for part in parts)
    if bad or (parts[0] == "_operator" and not _OPERATOR.fullmatch(parts[1])):
        _refuse(path, f"a call of {target[:80]}")


def _check_size(path: Path, text: str) -> None:
    words = re.findall(r"[A-Za-z_]\w*", text)
    if not _SIZES.fullmatch(text) or not all(_SIZE_WORD.fullmatch(word) for word in words):
        _refuse(path, f"the size {text[:80]!r}")


def _check_tree(path: Path, text: str) -> None:
    """Arguments and results may be nested in plain containers; others name modules that their reader imports."""
    try:
        nodes = list(_entries(json.loads(text)))
    except ValueError:
        _refuse(path, "a description of arguments that is no JSON")
    for key, value in nodes:
        if key == "type" and value not in _CONTAINERS:
            _refuse(path, f"an argument or result of type {value!s:.80}")
        if key == "context" and "__enum__" in str(value):
            _refuse(path, "an argument or result named by an enumeration")


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a JSON document with its value, at any depth."""
    stack = [value]
    while stack:
        here = stack.pop()
        if isinstance(here, dict):
            for key, inner in cast("dict[str, Any]", here).items():
                yield key, inner
                stack.append(inner)
        elif isinstance(here, list):
            stack += cast("list[Any]", here)


def _archive(path: Path, what: str) -> zipfile.ZipFile:
    try:
        file = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise SpecError(f"{path}: expected a {what} file, found something else ({error})") from error
    names = file.namelist()
    if len(set(names)) != len(names) or len({name.partition("/")[0] for name in names}) > 1:
        file.close()
        _refuse(path, "doubled entries, or several roots, of which readers see different ones")
    return file


def _json(file: zipfile.ZipFile, name: str, path: Path) -> Any:
    try:
        return json.loads(file.read(name))
    except (KeyError, ValueError) as error:
        raise SpecError(f"{path}: {name} cannot be read ({error})") from error


def _refuse(path: Path, found: str) -> NoReturn:
    raise SpecError(
        f"{path}: holds {found}; such a file can do more than compute, and is not loaded. "
        "Export the network again without it, or as ONNX"
    )
