"""Receipt: what is left of a work tile on the wire and in the ledger once its shard is durable."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from schemas.boxes import Box, Zyx, zyx

TileStatus = Literal["done", "empty", "nodata", "failed"]

AREA_UNIT = 1_000_000
"""Areas are summed in integers of 1/1,000,000 m²: sums over cells depend neither on tiles nor on order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellCounts:
    """Pixels of some cells by what became of them, on the native grid; adds up."""

    done: int = 0
    """Valid, in cells in which the model saw an object."""
    empty: int = 0
    """Valid, in cells in which it saw none."""
    nodata: int = 0
    failed: int = 0
    """All pixels of cells that could not be read or segmented."""
    valid_area: int | None = 0
    """Ground area of done and empty pixels in 1/1,000,000 m²; None where it cannot be known."""
    by_distance: tuple[int, ...] = ()
    """Done and empty pixels by their distance from strips that windows share, as `segworkers.seams` bins it, or ()."""

    @property
    def total(self) -> int:
        """All pixels."""
        return self.done + self.empty + self.nodata + self.failed

    def __add__(self, other: CellCounts) -> CellCounts:
        areas = (self.valid_area, other.valid_area)
        return CellCounts(
            done=self.done + other.done,
            empty=self.empty + other.empty,
            nodata=self.nodata + other.nodata,
            failed=self.failed + other.failed,
            valid_area=None if areas[0] is None or areas[1] is None else areas[0] + areas[1],
            by_distance=_sum_bins(self.by_distance, other.by_distance),
        )

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CellCounts:
        """From plain values."""
        known = dict(values)
        known["by_distance"] = tuple(known.get("by_distance", ()))
        return cls(**known)


def _sum_bins(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True)) if a and b else a or b


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One row of the ledger."""

    source_id: str
    tile: Zyx
    core: Box
    """What the tile answers for, native pixels."""
    status: TileStatus
    counts: CellCounts
    windows: int = 0
    detections: int = 0
    objects: int = 0
    """Objects that were finished inside the tile."""
    open: int = 0
    """Views or fragments that wait for the neighbours."""
    capped_windows: int = 0
    failed_cells: tuple[Box, ...] = ()
    """Native boxes that could not be processed."""
    reason: str | None = None
    message: str | None = None
    hint: str | None = None
    read_s: float = 0.0
    predict_s: float = 0.0
    encode_s: float = 0.0
    shard: str = ""
    shard_sha256: str = ""
    resumed: bool = field(default=False, compare=False)
    """Whether it was found rather than made; not stored."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `from_json`."""
        values = asdict(self)
        values.pop("resumed")
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Receipt:
        """The inverse of `to_json`."""

        def box(raw: dict[str, Any]) -> Box:
            return Box(zyx(raw["start"]), zyx(raw["stop"]))

        known = dict(values)
        known["tile"] = zyx(known["tile"])
        known["core"] = box(known["core"])
        known["counts"] = CellCounts.from_json(known["counts"])
        known["failed_cells"] = tuple(box(raw) for raw in known["failed_cells"])
        return cls(**known)

    def untimed(self) -> Receipt:
        """The same without how long it took: what the shard keeps, so that equal results are equal bytes."""
        return replace(self, read_s=0.0, predict_s=0.0, encode_s=0.0)

    def timed_as(self, other: Receipt) -> Receipt:
        """The same with another's timings."""
        return replace(self, read_s=other.read_s, predict_s=other.predict_s, encode_s=other.encode_s)

    def found(self) -> Receipt:
        """The same, marked as not made by this run."""
        return replace(self, resumed=True)


def dump_receipts(receipts: Iterable[Receipt]) -> bytes:
    """A ledger file: JSON lines."""
    return "".join(json.dumps(receipt.to_json(), sort_keys=True) + "\n" for receipt in receipts).encode()


def load_receipts(data: bytes) -> list[Receipt]:
    """The receipts of a ledger file."""
    return [Receipt.from_json(json.loads(line)) for line in data.splitlines()]
