"""Looks for words in every byte that a run leaves behind: names, contents, and what is compressed inside."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
from PIL import Image

_ZSTD = b"\x28\xb5\x2f\xfd"
_MOST_PARTS = 100
"""Nesting beyond this is a mistake of the search."""


def traces(root: Path, words: re.Pattern[bytes]) -> list[str]:
    """Where a word is found below a folder, or in a file: `name` or `name: the word and what is around it`."""
    found: list[str] = []
    for path in [root, *sorted(root.rglob("*"))]:
        name = "" if path == root else str(path.relative_to(root))
        found += [f"{name}: the name itself" for _ in words.findall(name.encode())]
        if path.is_symlink():
            found += [f"{name}: where it leads" for _ in words.findall(str(path.readlink()).encode())]
        elif path.is_file():
            found += [f"{path.name} {name}: {text}" for text in traces_in(path.read_bytes(), words)]
    return found


def traces_in(data: bytes, words: re.Pattern[bytes]) -> list[str]:
    """The words found in some bytes, and in what they hold compressed, each with what is around it."""
    return [
        repr(part[max(0, hit.start() - 60) : hit.end() + 40]) for part in _parts(data) for hit in words.finditer(part)
    ]


def _parts(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """The bytes themselves and all that can be unpacked from them."""
    assert depth < _MOST_PARTS
    yield data
    for inner in _unpacked(data):
        yield from _parts(inner, depth + 1)


def _unpacked(data: bytes) -> Iterator[bytes]:
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield archive.comment
            for member in archive.infolist():
                yield member.filename.encode() + b"\n" + member.comment + member.extra
                yield archive.read(member)
    elif data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
        yield data[10:200]  # a gzip may carry the name of the file
    elif data[:4] == _ZSTD:
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            yield stream.read()
    elif data[:4] == b"PAR1":
        table = pq.read_table(pa.BufferReader(data))
        yield repr(table.schema.metadata).encode()
        yield from _columns(table)
    elif data[:6] == b"ARROW1":
        yield from _columns(pa.ipc.open_file(data).read_all())
    elif data[:4] == b"\xff\xff\xff\xff":
        yield from _columns(pa.ipc.open_stream(data).read_all())
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        yield from _png(data)
    elif data[128:132] == b"DICM":
        yield str(pydicom.dcmread(io.BytesIO(data))).encode()
    elif data[:6] == b"\x93NUMPY":
        yield np.load(io.BytesIO(data), allow_pickle=False).tobytes()


def _columns(table: pa.Table) -> Iterator[bytes]:
    for name in table.column_names:
        for value in table.column(name).to_pylist():
            yield value if isinstance(value, bytes) else str(value).encode()


def _png(data: bytes) -> Iterator[bytes]:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        yield repr(image.info).encode()
        yield image.tobytes()
    for found in re.finditer(rb"zTXt[^\0]*\0\0", data):
        yield zlib.decompressobj().decompress(data[found.end() :])
