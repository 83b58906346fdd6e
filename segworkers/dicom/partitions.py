"""Partitions: headers of archives whose series lie mixed, brought together by series with each header moved once.

A volume is decided on from all headers of its series. Where the files of a series lie together its headers are in a
chunk or two of the cache; where they are scattered at random, every batch of series would have to read the whole cache.
Then tasks read some chunks each and write their lines, sorted by a hash of the series, into one file; a batch is one
hash value, and reads one stretch of each file. Memory is that of a task or of a batch, time is linear in the archive.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import secrets
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from segworkers.dicom.header_cache import HeaderCache, Outcome, outcome_of, series_of


@dataclass(frozen=True, slots=True)
class Stretch:
    """Lines of one partition within one file."""

    path: str
    start: int
    stop: int
    """Bytes start..stop."""

    def outcomes(self) -> Iterator[Outcome]:
        """What is there, in no particular order. Raises OSError where the file is gone."""
        if self.stop > self.start:
            with open(self.path, "rb") as file:
                file.seek(self.start)
                packed = file.read(self.stop - self.start)
            yield from map(outcome_of, gzip.decompress(packed).splitlines())


@dataclass(frozen=True, slots=True)
class Partitioned:
    """One file of sorted lines."""

    path: str
    edges: array[int] = field(repr=False)
    """Bytes where partition k begins; one more than there are partitions."""

    def of(self, partition: int) -> Stretch:
        """Where the lines of a partition are."""
        return Stretch(self.path, self.edges[partition], self.edges[partition + 1])


def partition_of(series_uid: str, count: int) -> int:
    """0..count - 1: the same for the same UID everywhere."""
    return int.from_bytes(hashlib.blake2b(series_uid.encode(), digest_size=8).digest(), "little") % count


def partition(cache: HeaderCache, keys: Sequence[str], count: int, folder: str) -> Partitioned:
    """Sort the DICOM headers of some chunks into `count` partitions, in a new file of `folder`, mode 0600."""
    lines: dict[int, list[bytes]] = defaultdict(list)
    for key in keys:
        for line in cache.lines(key):
            series = series_of(line)
            if series is not None:
                lines[partition_of(series, count)].append(line)
    path, edges = os.path.join(folder, secrets.token_hex(16)), array("Q", [0])
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for number in range(count):
            if number in lines:
                file.write(gzip.compress(b"\n".join(lines.pop(number)), 1, mtime=0))
            edges.append(file.tell())
    return Partitioned(path, edges)
