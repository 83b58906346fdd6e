"""What a file with a program may hold: checked before torch reads it, because reading can execute what it holds.

TorchScript holds code in a language of its own, which its loader runs in part, and which can call every operator that
torch knows, some of which open files. torch.export holds a graph of operators, and its loader unpickles what is marked
as pickled, loads compiled libraries, and evaluates expressions of sizes. Here both are read as text, and every operator
must be one that computes. That keeps out files made to do harm by ways that are known; it is no proof. A file from
somebody whom you would not let run a program belongs converted to ONNX, on a machine that does not matter.

Both are zip archives, of which two readers can see two contents: torch's own ignores the case of names and where a
directory says that it lies. So torch is given a copy (`plain_copy`), written anew from what was seen here.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from schemas.errors import SpecError
from segworkers.segmenters.program_text import FILES, problem_of_code, problem_of_pickle

if TYPE_CHECKING:
    from collections.abc import Generator

_PIECE = 2**20
_CODE_ENTRY = re.compile(r"code/.+\.py(\.debug_pkl)?")

_GRAPH_TARGET = re.compile(r"torch\.ops\.(aten|torchvision)\.\w+\.\w+|_operator\.\w+|math\.\w+|torch\.sym_\w+")
_OPERATOR = re.compile(r"add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|not_|xor|getitem")
_PLAIN_ENTRIES = ("archive_format", "archive_version", "byteorder", "version", "data/sample_inputs/model.pt")
_CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")
_SIZES = re.compile(r"[\w\s+\-*/%(),.<>=']*")
_SIZE_WORD = re.compile(
    r"[su]\d+|Symbol|positive|integer|nonnegative|real|True|False|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|"
    r"ModularIndexing|Integer|Float|Rational|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|Where|IntTrueDiv|floor|ceiling|int_oo|oo"
)


@contextmanager
def plain_copy(path: Path, what: str) -> Generator[Path]:
    """A temporary archive with the entries of the one at `path` that a network needs, in which every reader sees them.

    what: the format, for messages. Raises SpecError where it is no archive, is damaged, or has entries that readers
    tell apart in different ways.
    """
    with tempfile.TemporaryDirectory(prefix="segworkers-") as folder, _archive(path, what) as file:
        copy = Path(folder) / path.name
        try:
            with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as out:
                for info in file.infolist():
                    # Where the source code lay: nothing reads that, and it is pickled too.
                    if not info.filename.endswith(".debug_pkl"):
                        entry = zipfile.ZipInfo(info.filename)
                        with file.open(info) as source, out.open(entry, "w", force_zip64=True) as target:
                            shutil.copyfileobj(source, target, _PIECE)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise SpecError(f"{path}: cannot be read as {what} ({error}); get it again") from error
        yield copy


def check_torchscript(path: Path, shown: Path | None = None) -> None:
    """Raise SpecError where a TorchScript file is none, or holds calls that do more than compute.

    shown: what messages name, where `path` is a copy.
    """
    shown = shown or path
    with _archive(path, "TorchScript", shown) as file:
        entries = {name: name.partition("/")[2] for name in file.namelist()}
        if "data.pkl" not in entries.values() or not any(inner.startswith("code/") for inner in entries.values()):
            raise SpecError(f"{shown}: expected a TorchScript file (torch.jit.save), found a zip file without its code")
        for name, inner in entries.items():
            problem: str | None = None
            if inner.lower().startswith("code/") and not _CODE_ENTRY.fullmatch(inner):
                refuse(shown, f"an entry {name}, which may be code")
            elif inner.endswith(".py"):
                problem = problem_of_code(file.read(name))
            elif inner.lower().endswith(".pkl"):
                problem = problem_of_pickle(file.read(name))
            if problem:
                refuse(shown, f"{problem} in {name}")


def check_exported(path: Path, shown: Path | None = None) -> None:
    """Raise SpecError where a torch.export file is none, or holds more than tensors and operators that compute.

    shown: what messages name, where `path` is a copy.
    """
    where = shown or path
    with _archive(path, "torch.export", where) as file:
        names = [name.partition("/")[2] for name in file.namelist()]
        root = file.namelist()[0].partition("/")[0] if names else ""
        if "models/model.json" not in names:
            raise SpecError(f"{where}: expected a .pt2 file of torch.export.save, found no models/model.json in it")
        for name in names:
            allowed = name.startswith(("models/model.json", "data/weights/", "data/constants/", "extra/", ".data/"))
            if not allowed and name not in _PLAIN_ENTRIES:
                refuse(where, f"an entry {name}, which may be compiled code")
            if name.startswith(("data/weights/", "data/constants/")) and not re.fullmatch(
                r"data/(weights|constants)/(weight_\d+|tensor_\d+|model_(weights|constants)_config\.json)", name
            ):
                refuse(where, f"an entry {name}, which is not a plain tensor")
        for part in ("weights", "constants"):
            config = f"data/{part}/model_{part}_config.json"
            for key, value in _entries(_json(file, f"{root}/{config}", where) if config in names else {}):
                if key == "use_pickle" and value:
                    refuse(where, f"a pickled tensor in {config}")
        for key, value in _entries(_json(file, f"{root}/models/model.json", where)):
            if key == "target" and isinstance(value, str):
                _check_target(where, value)
            elif key == "expr_str":
                _check_size(where, str(value))
            elif key in ("in_spec", "out_spec"):
                _check_tree(where, str(value))


def _check_target(path: Path, target: str) -> None:
    parts = target.split(".")
    bad = not _GRAPH_TARGET.fullmatch(target) or any(part in FILES for part in parts)
    if bad or (parts[0] == "_operator" and not _OPERATOR.fullmatch(parts[1])):
        refuse(path, f"a call of {target[:80]}")


def _check_size(path: Path, text: str) -> None:
    words = re.findall(r"[A-Za-z_]\w*", text)
    if not _SIZES.fullmatch(text) or not all(_SIZE_WORD.fullmatch(word) for word in words):
        refuse(path, f"the size {text[:80]!r}")


def _check_tree(path: Path, text: str) -> None:
    """Arguments and results may be nested in plain containers; others name modules that their reader imports."""
    try:
        nodes = list(_entries(json.loads(text)))
    except ValueError:
        refuse(path, "a description of arguments that is no JSON")
    for key, value in nodes:
        if key == "type" and value not in _CONTAINERS:
            refuse(path, f"an argument or result of type {value!s:.80}")
        if key == "context" and "__enum__" in str(value):
            refuse(path, "an argument or result named by an enumeration")


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


def _archive(path: Path, what: str, shown: Path | None = None) -> zipfile.ZipFile:
    shown = shown or path
    try:
        file = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise SpecError(f"{shown}: expected a {what} file, found something else ({error})") from error
    names = file.namelist()
    # torch finds an entry whatever the case of its name.
    doubled = len({name.lower() for name in names}) != len(names)
    if doubled or len({name.partition("/")[0] for name in names}) > 1:
        file.close()
        refuse(shown, "doubled entries, or several roots, of which readers see different ones")
    if strange := [name for name in names if not name.isprintable() or "\\" in name]:
        file.close()
        refuse(shown, f"an entry {strange[0]!r}, which readers name in different ways")
    return file


def _json(file: zipfile.ZipFile, name: str, path: Path) -> Any:
    try:
        return json.loads(file.read(name))
    except (KeyError, ValueError) as error:
        raise SpecError(f"{path}: {name} cannot be read ({error})") from error


def refuse(path: Path, found: str) -> NoReturn:
    """Raise SpecError: the file holds `found`."""
    raise SpecError(
        f"{path}: holds {found}; such a file can do more than compute, and is not loaded. "
        "Export the network again without it, or as ONNX"
    )
