"""Folders of bundles that are made here: they appear whole, or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Generator


def require_new(folder: Path) -> None:
    """Raise SpecError where the folder is there and holds anything."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpecError(f"{folder}: expected a new or empty folder, found files in it; name another")


@contextmanager
def new_folder(folder: Path) -> Generator[Path]:
    """A folder beside `folder`, to be filled; its files become those of `folder` if nothing was raised.

    Raises SpecError where `folder` is there and holds anything.
    """
    require_new(folder)
    target = folder.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name[:60]}.", suffix=".partial", dir=target.parent))
    try:
        filled = scratch / "bundle"  # as open to others as any new folder, which a temporary one is not
        filled.mkdir()
        yield filled
        if target.is_dir():  # it may be where somebody stands
            for each in sorted(filled.iterdir(), key=lambda path: path.suffix == ".json"):
                os.replace(each, target / each.name)
        else:
            filled.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def bundle_name(text: str, otherwise: str) -> str:
    """A bundle's name made of any text: lower-case letters, digits, `.`, `_` and `-`; `otherwise` if none is left."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:64] or otherwise
