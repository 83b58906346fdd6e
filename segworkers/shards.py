"""Shards: the durable result of one work tile, one zip of Arrow tables and the tile's receipt.

Sections (each an Arrow IPC stream; whoever needs one reads that one, also from an object store):

    objects, objects.runs       finished objects and their masks
    views, views.runs, pairs    instance models: views that neighbours may have seen too, and how they compare
    fragments, fragments.runs   dense models: components that reach an internal face of the core
    faces                       dense models: which fragment lies where on each internal face
    receipt.json                the ledger's row

Equal content gives equal bytes: no time stamps, fixed order, fixed compression.
"""
# pyarrow ships no type stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, BinaryIO, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import StoreError
from segworkers.dense import Face, Fragments
from segworkers.objects import Objects
from segworkers.receipts import Receipt
from segworkers.runs import RunTable
from segworkers.store import Store
from segworkers.views import Pairs, Views

Sections = dict[str, Any]


def pack(sections: Sections, receipt: Receipt) -> bytes:
    """A shard's bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        members = {f"{name}.arrow": _to_ipc(table) for name, table in sections.items()}
        members["receipt.json"] = json.dumps(receipt.untimed().to_json(), sort_keys=True).encode()
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return buffer.getvalue()


class Shard:
    """An opened shard; reads what it is asked for. Raises StoreError where the file is not a whole shard.

    A context manager: leaving it closes the file.
    """

    def __init__(self, name: str, content: bytes | BinaryIO) -> None:
        """content: the shard's bytes, or a seekable file of them, which is then this object's to close."""
        self._name = name
        self._file = io.BytesIO(content) if isinstance(content, bytes) else content
        try:
            self._archive = zipfile.ZipFile(self._file)
        except zipfile.BadZipFile as error:
            self._file.close()
            raise StoreError(f"{name} is not a whole shard ({error}); delete it and resume") from None

    @classmethod
    def open(cls, store: Store, name: str) -> Shard:
        """The shard `name` of a store, none of it in memory."""
        return cls(name, store.open(name))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def receipt(self) -> Receipt:
        """The ledger's row, with the shard's name and checksum; reads all of the shard."""
        stored = Receipt.from_json(json.loads(self._member("receipt.json")))
        self._file.seek(0)
        digest = hashlib.sha256()
        while block := self._file.read(1 << 20):
            digest.update(block)
        return replace(stored, shard=self._name, shard_sha256=digest.hexdigest())

    def objects(self) -> Objects:
        """The finished objects."""
        table = self._table("objects")
        return Objects(
            _column(table, "label"),
            _column(table, "score"),
            self._runs("objects.runs"),
            _column(table, "n_views"),
            _column(table, "min_overlap"),
            _column(table, "assembled"),
        )

    def views(self) -> tuple[Views, NDArray[np.int64]]:
        """The open views and the pixels of each."""
        table = self._table("views")
        names = ("window", "rank", "label", "score", "cut", "marginal")
        columns = {name: _column(table, name) for name in names}
        return Views(**columns, masks=self._runs("views.runs")), _column(table, "pixels")

    def pairs(self) -> tuple[Pairs, NDArray[np.int8]]:
        """Pairs of open views, and what they are to each other."""
        return pairs_from(self._table("pairs"))

    def fragments(self, *, masks: bool = True, faces: bool = True) -> Fragments:
        """The open fragments; without masks or faces where they are not needed."""
        table = self._table("fragments")
        runs = self._runs("fragments.runs") if masks else RunTable(np.empty((0, 4), np.int32), np.empty(0, np.int64))
        planes = self._faces() if faces else {}
        return Fragments(_column(table, "label"), _column(table, "score_sum"), runs, planes)

    def _faces(self) -> dict[Face, NDArray[np.int32]]:
        return {
            (row["axis"], row["side"]): np.frombuffer(row["plane"], np.int32).reshape(row["shape"])
            for row in self._table("faces").to_pylist()
        }

    def _table(self, name: str) -> pa.Table:
        with pa.ipc.open_stream(self._member(f"{name}.arrow")) as stream:
            return stream.read_all()

    def _member(self, name: str) -> bytes:
        try:
            return self._archive.read(name)
        except (zipfile.BadZipFile, EOFError, ValueError) as error:  # a wrong checksum, or a place outside the file
            raise StoreError(f"{self._name} is damaged ({error}); delete it and resume") from None

    def _runs(self, name: str) -> RunTable:
        table = self._table(name)
        runs = np.stack([_column(table, column) for column in ("z", "x", "y_start", "y_stop")], axis=1)
        return RunTable(runs.astype(np.int32, copy=False), _column(table, "owner"))


def object_sections(objects: Objects) -> Sections:
    """Sections of finished objects."""
    table = pa.table(
        {
            "label": objects.label,
            "score": objects.score,
            "n_views": objects.n_views,
            "min_overlap": objects.min_overlap,
            "assembled": objects.assembled,
        }
    )
    return {"objects": table, "objects.runs": _runs_table(objects.masks)}


def view_sections(views: Views, pixels: NDArray[np.int64], pairs: Pairs, kind: NDArray[np.int8]) -> Sections:
    """Sections of open views."""
    table = pa.table(
        {
            "window": views.window,
            "rank": views.rank,
            "label": views.label,
            "score": views.score,
            "cut": views.cut,
            "marginal": views.marginal,
            "pixels": pixels,
        }
    )
    return {"views": table, "views.runs": _runs_table(views.masks), "pairs": pairs_table(pairs, kind)}


def fragment_sections(fragments: Fragments) -> Sections:
    """Sections of open fragments."""
    faces = pa.table(
        {
            "axis": pa.array([axis for axis, _ in fragments.faces], pa.int8()),
            "side": pa.array([side for _, side in fragments.faces], pa.int8()),
            "shape": pa.array([list(plane.shape) for plane in fragments.faces.values()], pa.list_(pa.int64())),
            "plane": pa.array([plane.tobytes() for plane in fragments.faces.values()], pa.binary()),
        }
    )
    table = pa.table({"label": fragments.label, "score_sum": fragments.score_sum})
    return {"fragments": table, "fragments.runs": _runs_table(fragments.masks), "faces": faces}


def pairs_table(pairs: Pairs, kind: NDArray[np.int8]) -> pa.Table:
    """Pairs and what they are, as a table."""
    return pa.table({"i": pairs.i, "j": pairs.j, "overlap": pairs.overlap, "shared": pairs.shared, "kind": kind})


def pairs_from(table: pa.Table) -> tuple[Pairs, NDArray[np.int8]]:
    """The inverse of `pairs_table`."""
    return Pairs(*(_column(table, name) for name in ("i", "j", "overlap", "shared"))), _column(table, "kind")


def to_ipc(columns: Mapping[str, NDArray[Any]]) -> bytes:
    """Equal-length columns as an Arrow IPC stream."""
    return _to_ipc(pa.table(dict(columns)))


def from_ipc(data: bytes) -> dict[str, NDArray[Any]]:
    """The inverse of `to_ipc`."""
    with pa.ipc.open_stream(data) as stream:
        table = stream.read_all()
    return {name: _column(table, name) for name in table.column_names}


def _to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1))
    with pa.ipc.new_stream(sink, table.schema, options=options) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def _runs_table(masks: RunTable) -> pa.Table:
    z, x, y_start, y_stop = (masks.runs[:, k] for k in range(4))
    return pa.table({"owner": masks.owner, "z": z, "x": x, "y_start": y_start, "y_stop": y_stop})


def _column(table: pa.Table, name: str) -> NDArray[Any]:
    return table[name].to_numpy()
