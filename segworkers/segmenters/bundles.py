"""Opening a bundle: a folder, a zip, or one of the package's own by name. Nothing in it is executed.

A zip is unpacked once, into the cache, under the hash of its bytes: only `model.json` and the files that it lists, each
no larger than it says and checked by hash, all of them or none.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import stat
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from schemas.bundles import FILE_NAME, ModelBundle, WeightsFile
from schemas.errors import SpecError
from segworkers.archives import cache_folder
from segworkers.segmenters.bundle_json import bundle_text, parse_bundle
from segworkers.whole_files import appearing, write_whole

SHIPPED = Path(__file__).parent / "bundles"
"""Bundles of the package, a folder each."""

_MOST_JSON = 4 * 2**20
"""Bytes of a `model.json`; COCO's 80 classes take 5 kB."""
_ENCRYPTED = 0x1
_PIECE = 2**20
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBundle:
    """A bundle whose description was read."""

    definition: ModelBundle
    folder: Path
    """Where its files are: its own folder, or where the zip was unpacked."""
    place: str
    """What opens it again: its absolute path, or its name where it is one of the package's."""


def shipped_names() -> tuple[str, ...]:
    """Names of the package's bundles, in order."""
    if not SHIPPED.is_dir():
        return ()
    return tuple(sorted(each.name for each in SHIPPED.iterdir() if (each / FILE_NAME).is_file()))


def is_bundle(reference: str) -> bool:
    """Whether a model reference names a bundle: one of the package's, or a path, known by a `/` or a `.zip` at its end.

    Whether something is there shows when it is opened.
    """
    if reference in shipped_names():
        return True
    if re.match(r"\w{2,}:", reference):  # a kind of model such as `python:`; one letter is a Windows drive
        return False
    return "/" in reference or os.sep in reference or reference.endswith(".zip")


def open_bundle(reference: str) -> OpenBundle:
    """The bundle at a path, or the package's of that name. Weights are neither fetched nor checked, but for a zip's.

    Raises SpecError where there is none, or where it is not what it should be.
    """
    if reference in shipped_names():
        return OpenBundle(definition=_read(SHIPPED / reference), folder=SHIPPED / reference, place=reference)
    path = Path(reference).expanduser().absolute()
    if path.is_dir():
        return OpenBundle(definition=_read(path), folder=path, place=str(path))
    if path.is_file():
        definition, folder = _unpacked(path)
        return OpenBundle(definition=definition, folder=folder, place=str(path))
    raise SpecError(
        f"model {reference!r}: expected a bundle, a folder or .zip with {FILE_NAME}, found nothing at {path}; "
        f"workers must see it too. Bundles that come along: {', '.join(shipped_names()) or 'none'}"
    )


def write_bundle(bundle: ModelBundle, folder: Path) -> None:
    """Write `model.json` into a folder that holds the weights already; it appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / FILE_NAME, bundle_text(bundle).encode())


def weights_file(folder: Path, name: str) -> WeightsFile:
    """The entry of a file in a bundle's folder, with its size and hash."""
    path = folder / name
    return WeightsFile(file=name, sha256=sha256_of(path), size=path.stat().st_size)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def keeping(target: Path, where: str) -> Generator[None]:
    """Raise SpecError, which begins with `where`, for the OSError of a block that writes to `target`."""
    try:
        yield
    except OSError as error:
        raise SpecError(
            f"{where}: cannot be kept in {target}: {error.strerror or error}; make room there or give it to this "
            "user, or name another cache with SEGWORKERS_CACHE"
        ) from error


def copy_checked(source: IO[bytes], target: Path, entry: WeightsFile, where: str) -> None:
    """Write the stream to `target` if it has the entry's size and hash; whole or not at all, also beside others.

    At most a piece more than the promised size is read. source: raises no OSError that is not the target's. Raises
    SpecError, which begins with `where`.
    """
    digest, count = hashlib.sha256(), 0
    with keeping(target, where):
        target.parent.mkdir(parents=True, exist_ok=True)
        with appearing(target) as partial:
            with partial.open("wb") as file:
                while piece := source.read(_PIECE):
                    count += len(piece)
                    if entry.size is not None and count > entry.size:
                        break
                    digest.update(piece)
                    file.write(piece)
            # What else an address holds is not told: the bundle's maker chose it, not the one who can read it.
            found = entry.sha256 if digest.hexdigest() == entry.sha256 else "another"
            require_content(entry, count, found or digest.hexdigest(), where, "nothing was kept")


def require_content(entry: WeightsFile, size: int, sha256: str, where: str, hint: str) -> None:
    """Raise SpecError where a file is not the pinned one."""
    if entry.size is not None and size != entry.size:
        more = "more" if size > entry.size else f"{size:,}"
        raise SpecError(f"{where}: {entry.name}: expected {entry.size:,} bytes, found {more}; {hint}")
    if entry.sha256 is not None and sha256 != entry.sha256:
        raise SpecError(f"{where}: {entry.name}: expected sha256 {entry.sha256}, found {sha256}; {hint}")


def _read(folder: Path) -> ModelBundle:
    path = folder / FILE_NAME
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_JSON + 1)
    except FileNotFoundError:
        raise SpecError(f"{folder}: expected a model bundle with a {FILE_NAME}, found none") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    return _parsed(text, str(path))


def _parsed(text: bytes, where: str) -> ModelBundle:
    if len(text) > _MOST_JSON:
        raise SpecError(f"{where}: expected at most {_MOST_JSON:,} bytes of description, found more")
    return parse_bundle(text, where)


def _unpacked(archive: Path) -> tuple[ModelBundle, Path]:
    """The description, and the folder in the cache that holds the zip's listed files; what is gone comes again."""
    try:
        folder = cache_folder("models") / "bundles" / sha256_of(archive)[:32]
    except OSError as error:
        raise SpecError(f"{archive}: cannot be read: {error.strerror}") from None
    with keeping(folder, str(archive)):
        if (folder / FILE_NAME).is_file():
            bundle = _read(folder)
            if all(each.uri is not None or (folder / each.name).is_file() for each in bundle.weights):
                return bundle, folder
        try:
            with zipfile.ZipFile(archive) as opened:
                return _unpack(opened, archive, folder), folder
        except _BROKEN as error:
            reason = str(error) or type(error).__name__
            raise SpecError(
                f"{archive}: expected a whole zip of a model bundle, found one that cannot be read ({reason}); "
                "get it again"
            ) from error


def _unpack(opened: zipfile.ZipFile, archive: Path, folder: Path) -> ModelBundle:
    prefix = _prefix(opened, archive)
    with opened.open(prefix + FILE_NAME) as file:
        text = file.read(_MOST_JSON + 1)
    bundle = _parsed(text, f"{archive}!{prefix}{FILE_NAME}")
    scratch = folder.with_name(f".unpack-{secrets.token_hex(8)}")  # tempfile's would be closed to others
    scratch.mkdir(parents=True)
    try:
        there = set(opened.namelist())
        for entry in bundle.weights:
            if prefix + entry.name in there:
                with opened.open(prefix + entry.name) as file:
                    copy_checked(file, scratch / entry.name, entry, str(archive))
            elif entry.uri is None:
                raise SpecError(f"{archive}: {entry.name}: expected in the zip, as {FILE_NAME} lists it, found missing")
        (scratch / FILE_NAME).write_bytes(text)
        _move(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return bundle


def _move(scratch: Path, folder: Path) -> None:
    """Make `scratch` the folder, or where that is there, from another process or with a file deleted, fill it up."""
    try:
        scratch.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        for path in sorted(each for each in scratch.rglob("*") if each.is_file()):
            target = folder / path.relative_to(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)


def _prefix(opened: zipfile.ZipFile, archive: Path) -> str:
    """The folder of `model.json` in the zip: `` or `name/`. Raises SpecError where a member is unfit to be unpacked."""
    found: list[str] = []
    for info in opened.infolist():
        path = PurePosixPath(info.filename)
        outside = path.is_absolute() or ".." in path.parts or "\\" in info.filename
        if outside or PureWindowsPath(info.filename).drive:
            raise SpecError(f"{archive}: expected members inside the bundle, found {info.filename!r}; do not trust it")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise SpecError(f"{archive}: expected plain files, found the link {info.filename!r}; do not trust it")
        if info.flag_bits & _ENCRYPTED:
            raise SpecError(f"{archive}: expected readable members, found {info.filename!r} encrypted; unpack it first")
        if path.name == FILE_NAME and len(path.parts) <= 2 and "__MACOSX" not in path.parts:
            found.append(info.filename)
    if len(found) != 1:
        shown = ", ".join(found) or "none"
        raise SpecError(f"{archive}: expected one {FILE_NAME}, at the top or in one folder, found {shown}")
    return found[0].removesuffix(FILE_NAME)
