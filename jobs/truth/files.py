"""The files of the truth: what there is, of which kind, about which source by its name, and how messages call it.

Where a run has DICOM volumes the paths of its truth may name patients: messages then count files instead.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jobs.truth.base import Target
from schemas.errors import SpecError

Kind = Literal["coco", "vector", "raster", "dicom", "other"]
"""`other`: lies in a folder of truth and is none, such as a README."""

_VECTORS = {".geojson", ".gpkg", ".shp", ".fgb", ".gml", ".kml"}
_RASTERS = {".tif", ".tiff", ".png", ".vrt", ".jp2", ".bmp"}
_JOINTS = "._- "


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthFile:
    """A file of the truth."""

    path: Path = field(repr=False)
    name: str
    """How messages call it: its path, or its number."""
    listed: str
    """How lists call it: its file name, or its number."""
    source: Target | None = None
    """The source that a CSV says it is about."""
    searched: bool = False
    """Whether it was found in a folder, not named by the user."""

    @classmethod
    def plain(cls, path: Path) -> TruthFile:
        """One that is called by its path."""
        return cls(path=path, name=str(path), listed=path.name)

    @property
    def is_discreet(self) -> bool:
        """Whether its path must not be shown."""
        return self.name != str(self.path)


def truth_files(paths: Sequence[Path], targets: Sequence[Target]) -> list[TruthFile]:
    """All files that the user names, with folders and lists expanded. Raises SpecError with what does not fit."""
    discreet = not all(each.is_raster for each in targets)
    found: list[TruthFile] = []
    for number, path in enumerate(paths, 1):
        what = f"truth {number} of {len(paths)}" if discreet else str(path)
        for each, source in _expanded(path, what, targets):
            number_of = f"file {len(found) + 1} of the truth"
            name, listed = (number_of, number_of) if discreet else (str(each), each.name)
            found.append(TruthFile(path=each, name=name, listed=listed, source=source, searched=path.is_dir()))
    return found


def _expanded(path: Path, what: str, targets: Sequence[Target]) -> Iterator[tuple[Path, Target | None]]:
    if path.is_dir():
        yield from ((each, None) for each in sorted(path.iterdir()) if _looks_like_truth(each))
    elif path.suffix.lower() == ".csv":
        yield from _listed(path, what, targets)
    elif path.exists():
        yield path, None
    else:
        raise SpecError(f"{what}: the truth does not exist")


def _looks_like_truth(path: Path) -> bool:
    if not path.is_file() or path.name.startswith("."):
        return False
    suffix = path.suffix.lower()
    return suffix in _VECTORS | _RASTERS | {".json", ".dcm"} or suffix.lstrip(".").isdigit() or not suffix


def _listed(path: Path, what: str, targets: Sequence[Target]) -> Iterator[tuple[Path, Target | None]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"source", "truth"} <= rows[0].keys():
        raise SpecError(f"{what}: expected the columns source and truth, a line for each source")
    for number, row in enumerate(rows, 2):
        named = [each for each in targets if row["source"] in (each.uri, each.name, each.source_id, each.series_id)]
        if len(named) != 1:
            said = row["source"] if what == str(path) else f"line {number}"
            raise SpecError(f"{what}: {said} names {len(named)} sources of the run, expected one")
        yield path.parent / row["truth"], named[0]


def kind_of(file: TruthFile) -> Kind:
    """By content. Raises SpecError where it is nothing that truth is read from."""
    suffix = file.path.suffix.lower()
    try:
        with file.path.open("rb") as stream:
            head = stream.read(132)
    except OSError as error:
        raise SpecError(f"{file.name}: the truth cannot be read: {error.strerror}") from error
    if head[128:] == b"DICM":
        return "dicom"
    if suffix in _RASTERS:
        return "raster"
    if suffix in _VECTORS:
        return "vector"
    if suffix == ".json" or head.lstrip()[:1] == b"{":
        return "coco" if "annotations" in json_of(file) else "vector"
    if file.searched and not suffix:
        return "other"
    raise SpecError(
        f"{file.name}: expected COCO JSON, GeoJSON, GeoPackage, a label raster (TIFF or PNG) or a DICOM segmentation"
    )


def is_segmentation(file: TruthFile) -> bool:
    """Whether a DICOM file is a segmentation, or too damaged to tell; of reports and images nothing more is read.

    Raises SpecError where the user himself named one that is none.
    """
    from segworkers.dicom.functional_groups import tag_of
    from segworkers.dicom.header_bytes import DamagedHeaderError, NotDicomError, read_elements
    from segworkers.dicom.seg_reading import SEGMENTATION_STORAGE, series_of

    def fetch(start: int, stop: int) -> bytes:
        stream.seek(start)
        return stream.read(stop - start)

    tag = tag_of("SOPClassUID")
    try:
        with file.path.open("rb") as stream:
            top = read_elements(fetch, file.path.stat().st_size, frozenset({tag}), lambda _: False)
    except (OSError, DamagedHeaderError, NotDicomError):
        return True  # whoever reads it says what is wrong
    if top.text(tag) in SEGMENTATION_STORAGE:
        return True
    if file.searched:
        return False
    try:
        series_of(file.path)
    except SpecError as error:
        raise SpecError(
            f"{file.name if file.is_discreet else 'a DICOM file of the truth'}: {error}; name the segmentation (SEG), "
            "or the folder that it is in: there other DICOM objects are passed over"
        ) from None
    return True


def json_of(file: TruthFile) -> dict[str, Any]:
    """Raises SpecError where it is no JSON object."""
    try:
        body = json.loads(file.path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SpecError(f"{file.name}: is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise SpecError(f"{file.name}: expected a JSON object, COCO's or GeoJSON's")
    return body  # pyright: ignore[reportUnknownVariableType]


def about(file: TruthFile, targets: Sequence[Target]) -> Target | None:
    """The source that a file is about, as a CSV says or by its name: the longest that it has or begins with.

    None where there is none. Raises SpecError where several sources fit equally well.
    """
    if file.source is not None:
        return file.source
    fits = [each for each in targets if _begins_with(file.path.stem, each.stem)]
    longest = max((len(each.stem) for each in fits), default=0)
    best = [each for each in fits if len(each.stem) == longest]
    if len(best) > 1:
        raise SpecError(
            f"{file.name}: its name fits several sources ({', '.join(each.uri for each in best[:3])}); say which in a "
            "CSV with the columns source and truth"
        )
    return best[0] if best else None


def _begins_with(stem: str, source: str) -> bool:
    return stem == source or (stem.startswith(source) and stem[len(source)] in _JOINTS)
