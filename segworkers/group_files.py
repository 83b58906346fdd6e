"""Groups of open parts as a file that can be read in pieces: the parts whose objects some tiles report.

One Arrow file with a row for each part, sorted by `home`, the tile that reports the part's object. It is cut into
record batches, none of which shares a home with another, and lists their first homes, so that a reader fetches its own
alone.
"""
# pyarrow ships no type stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segworkers.store import Store

BATCH_ROWS = 50_000
"""Rows of a record batch at least, but the last: what a reader reads too much is at most about twice that."""

_HOMES = b"homes"


def group_columns(
    group: NDArray[np.int64], overlap: NDArray[np.float64], positions: Sequence[int], counts: Sequence[int]
) -> dict[str, NDArray[Any]]:
    """One row for each open part that is kept, sorted by the tile that reports its object: that of its first part.

    group: of each part of the source, -1 for those that go; overlap: of each group. positions, counts: tiles with open
    parts in plan order, and how many each has.
    """
    start = np.cumsum([0, *counts])
    number = np.flatnonzero(group >= 0)
    kept = group[number]
    where = np.searchsorted(start, number, side="right") - 1
    tile = np.array(positions, np.int64)[where]
    home = np.full(len(overlap), np.iinfo(np.int64).max)
    np.minimum.at(home, kept, tile)
    order = np.lexsort((number, kept, home[kept]))
    columns = {
        "home": home[kept],
        "group": kept,
        "tile": tile,
        "part": number - start[where],
        "overlap": overlap[kept],
    }
    return {name: column[order] for name, column in columns.items()}


def pack_groups(columns: Mapping[str, NDArray[Any]], batch_rows: int = BATCH_ROWS) -> bytes:
    """The file's bytes. columns: of equal length, sorted by `home`."""
    home = columns["home"]
    # Where a home ends, thinned out to one cut in every `batch_rows` rows or more.
    starts = [0]
    for cut in (np.flatnonzero(np.diff(home)) + 1).tolist():
        if cut - starts[-1] >= batch_rows:
            starts.append(cut)
    table = pa.table(dict(columns))
    table = table.replace_schema_metadata({_HOMES: json.dumps(home[starts].tolist() if len(home) else [])})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1))
    with pa.ipc.new_file(sink, table.schema, options=options) as file:
        for a, b in zip(starts, [*starts[1:], len(home)], strict=True):
            for batch in table.slice(a, b - a).to_batches():
                file.write_batch(batch)
    return sink.getvalue().to_pybytes()


def read_groups(store: Store, name: str, first: int, stop: int) -> dict[str, NDArray[Any]]:
    """The columns of the file's rows whose home is in `first`..`stop`; fetches no more than it must."""
    with store.open(name) as content, pa.ipc.open_file(pa.PythonFile(content, mode="r")) as file:
        homes: list[int] = json.loads((file.schema.metadata or {})[_HOMES])
        batches = range(max(bisect_right(homes, first) - 1, 0), bisect_right(homes, stop - 1))
        table = pa.Table.from_batches([file.get_batch(number) for number in batches], file.schema)
    columns = {column: table[column].to_numpy() for column in table.column_names}
    mine = slice(*np.searchsorted(columns["home"], (first, stop)).tolist())
    return {column: values[mine] for column, values in columns.items()}
