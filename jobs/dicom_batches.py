"""Which series are decided on together, and from where: neighbours in an archive, or partitions of a mixed one."""

from __future__ import annotations

import os
import secrets
import shutil
from array import array
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.header_cache import HeaderCache
from segworkers.dicom.partitions import Partitioned, partition, partition_of
from segworkers.dicom.processes import Processes
from segworkers.dicom.scanning import DIGEST_BYTES, Scanned, instance_digest
from segworkers.dicom.volumes import SeriesBatch

FEW_TASKS = 2
"""Up to so many tasks are done in this process."""

BATCH_FRAMES = 5_000
"""Frames that one process decides on at a time: some 10 MB of headers, half a second."""

CHUNKS_AT_ONCE = 64
"""Chunks that one process sorts into partitions at a time: some 16,000 headers, 20 MB."""

MIXED = 2
"""An archive counts as mixed where its chunks would be read more than so many times each."""

_Shared = Mapping[bytes, frozenset[bytes]]


@dataclass(slots=True)
class HeaderIndex:
    """Which chunks hold the headers of which series: a few bytes for each file, whatever the order of the files."""

    keys: list[str] = field(default_factory=list[str])
    """Of the chunks."""
    frames: dict[str, int] = field(default_factory=dict[str, int], repr=False)
    """Of each series, by its original UID."""
    _chunks: dict[str, array[int]] = field(default_factory=dict[str, "array[int]"], repr=False)
    """Of each series, as places in `keys`, rising."""
    _instances: list[bytes] = field(default_factory=list[bytes], repr=False)

    def add(self, scanned: Scanned) -> None:
        """Enter a chunk."""
        number = len(self.keys)
        self.keys.append(scanned.key)
        self._instances.append(scanned.instances)
        for uid, count in scanned.series.items():
            self.frames[uid] = self.frames.get(uid, 0) + count
            self._chunks.setdefault(uid, array("I")).append(number)

    @contextmanager
    def batches(self, crosswalk: Crosswalk, workers: Processes) -> Generator[Iterator[SeriesBatch]]:
        """Every series once, in batches of about equal size whose headers can be read while the context lasts."""
        shared = self._shared()
        neighbours = list(self._neighbours())
        reads = sum(len(self._keys_of(series)) for series in neighbours)
        if len(neighbours) <= FEW_TASKS or reads <= MIXED * len(self.keys):
            yield (
                SeriesBatch(series, tuple(self._keys_of(series)), shared=_of(shared, series)) for series in neighbours
            )
            return
        folder = os.path.join(crosswalk.folder, f"partitions.{secrets.token_hex(8)}")
        os.mkdir(folder, 0o700)
        try:
            yield self._partitions(crosswalk, workers, folder, shared)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _neighbours(self) -> Iterator[dict[str, int]]:
        """Series that begin in the same chunks together, so that few chunks are read."""
        series: dict[str, int] = {}
        total = 0
        for uid in sorted(self.frames, key=lambda uid: (self._chunks[uid][0], uid)):
            series[uid] = self.frames[uid]
            total += self.frames[uid]
            if total >= BATCH_FRAMES:
                yield series
                series, total = {}, 0
        if series:
            yield series

    def _keys_of(self, series: Mapping[str, int]) -> list[str]:
        return [self.keys[number] for number in sorted({number for uid in series for number in self._chunks[uid]})]

    def _partitions(
        self, crosswalk: Crosswalk, workers: Processes, folder: str, shared: _Shared
    ) -> Iterator[SeriesBatch]:
        """Headers moved into partitions, a batch each."""
        count = -(-sum(self.frames.values()) // BATCH_FRAMES)
        parts = [self.keys[start : start + CHUNKS_AT_ONCE] for start in range(0, len(self.keys), CHUNKS_AT_ONCE)]
        tasks = ((HeaderCache(crosswalk.folder), keys, count, folder) for keys in parts)
        files: Sequence[Partitioned] = list(workers.run(partition, tasks, alone=len(parts) <= FEW_TASKS))
        members: dict[int, dict[str, int]] = defaultdict(dict)
        for uid, frames in self.frames.items():
            members[partition_of(uid, count)][uid] = frames
        for number, series in members.items():
            stretches = tuple(file.of(number) for file in files)
            yield SeriesBatch(series, stretches=stretches, shared=_of(shared, series))

    def _shared(self) -> _Shared:
        """Digests of the SOP instances that several series claim, by the digests of those series."""
        pairs = np.frombuffer(b"".join(self._instances), np.uint64).reshape(-1, 2)
        instance, series = pairs[np.lexsort(pairs.T[::-1])].T
        twice = (instance[1:] == instance[:-1]) & (series[1:] != series[:-1])
        found: dict[bytes, set[bytes]] = defaultdict(set)
        for row in pairs[np.isin(pairs[:, 0], instance[1:][twice])]:
            told = row.tobytes()
            found[told[DIGEST_BYTES:]].add(told[:DIGEST_BYTES])
        return {digest: frozenset(instances) for digest, instances in found.items()}


def _of(shared: _Shared, series: Mapping[str, int]) -> frozenset[bytes]:
    """What some of the series share with others."""
    if not shared:
        return frozenset()
    return frozenset(each for uid in series for each in shared.get(instance_digest(uid), ()))
