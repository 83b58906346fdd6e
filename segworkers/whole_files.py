"""Files that appear with all their bytes or not at all, beside other processes and machines that write the same."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def appearing(path: Path) -> Generator[Path]:
    """A new name beside `path` for the block to write to: it becomes `path` where the block ends well, else it goes.

    The name holds random digits, because machines and containers that share a disk may have equal process ids, and ends
    in `.partial`, so that no search of the folder takes it for what it will be.
    """
    partial = path.with_name(f".{path.name[:60]}.{secrets.token_hex(8)}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears with all its bytes or not at all."""
    with appearing(path) as partial:
        partial.write_bytes(content)
