"""DICOM SEG as truth of volumes: segments are objects. Which series is meant, the file and the crosswalk tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.truth.base import Target, TruthBlock, TruthItem
from schemas.boxes import Box
from schemas.errors import SpecError
from schemas.masks import Runs, canonical
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.seg_reading import Segmentations, images_in, images_of, place_segments, series_of, stacks_of
from segworkers.runs import mask_runs

_NUMBER = re.compile(r"[\s_#-]*\d+\s*$")

UNKNOWN_TYPE = "(a type of segment that is not in the dictionary)"
"""Stands for codes that are not shown: they are free texts too."""

_FILE = 1 << 20
"""Keys of one file's segments end below this; Segment Number is an unsigned short."""


@dataclass(frozen=True, slots=True)
class SegTruth:
    """The segments of one or several files about one volume."""

    files: tuple[Segmentations, ...]

    @property
    def known(self) -> Sequence[int]:
        """Nothing: segments may be described that no voxel belongs to."""
        return ()

    def item(self, key: int) -> TruthItem:
        """See `Truth`. The name is the segment's number, of several files with that of the file before it.

        The label is the segment's, without a number at its end; messages call it by its coded type.
        """
        file, number = divmod(key, _FILE)
        name = str(number) if len(self.files) == 1 else f"{file + 1}/{number}"
        segment = self.files[file].segments.get(number)
        if segment is None:
            return TruthItem(name=name)
        return TruthItem(name=name, label=_NUMBER.sub("", segment.label) or None, told=segment.type or UNKNOWN_TYPE)

    def block(self, box: Box) -> TruthBlock:
        """See `Truth`."""
        parts: dict[int, list[Runs]] = {}
        (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
        for k, file in enumerate(self.files):
            for frame, stored in file.planes(z0, z1):
                plane = stored[y0:y1, x0:x1]
                for number, bitmap in _segments(file, frame.segment, plane):
                    runs = mask_runs(bitmap[None], (frame.z, y0, x0))
                    parts.setdefault(_FILE * k + number, []).append(runs)
        return TruthBlock.of([(key, canonical(np.concatenate(runs))) for key, runs in sorted(parts.items())])


def _segments(file: Segmentations, segment: int, plane: NDArray[Any]) -> list[tuple[int, NDArray[np.bool_]]]:
    """Segment numbers and bitmaps (y, x) of one frame."""
    if segment:
        return [(segment, np.asarray(plane >= file.half, np.bool_))]
    return [(int(number), np.asarray(plane == number, np.bool_)) for number in np.unique(plane) if number]


class SegFiles:
    """Segmentations and the series of a run."""

    def __init__(self, paths: Sequence[Path], targets: Sequence[Target], crosswalk: Path | None) -> None:
        """Raises SpecError where there is no crosswalk, or a file is no segmentation."""
        if crosswalk is None or not crosswalk.is_dir():
            raise SpecError(
                "DICOM truth names images by their UIDs, and the run has pseudonyms: give the folder that knows both, "
                "--crosswalk FOLDER (dicom.crosswalk of the run; OUT.crosswalk unless it was chosen)"
            )
        self._crosswalk = Crosswalk(str(crosswalk.absolute()))
        self._names = self._crosswalk.pseudonyms()
        self._targets = {each.source_id: each for each in targets}
        self._images: dict[str, Mapping[tuple[str, int], int]] = {}
        self._siblings: dict[str, list[str]] = {}
        self.paths: dict[str, list[Path]] = {}
        self.unused: list[str] = []
        by_series = self._by_series(targets)
        for number, path in enumerate(sorted(paths), 1):
            meant = {source for uid in series_of(path) for source in by_series.get(uid, ())}
            if len(meant) > 1:
                meant = self._of_images(path, meant, f"segmentation {number} of {len(paths)}")
            for source in meant:
                self.paths.setdefault(source, []).append(path)
            if not meant:
                self.unused.append(f"segmentation {number} of {len(paths)}")

    def _of_images(self, path: Path, sources: set[str], what: str) -> set[str]:
        """Those volumes of one series, such as its phases, whose images a file names. Raises SpecError if none."""
        named = images_of(path)
        found = {source for source in sources if not named.isdisjoint(self._images[source])}
        if not found:
            raise SpecError(
                f"{what} names none of the images of the {len(sources)} volumes that its series holds: which of them "
                "it is about cannot be told; leave it out"
            )
        return found

    def _by_series(self, targets: Sequence[Target]) -> dict[str, list[str]]:
        """Sources by original UID and by research UID of their series."""
        found: dict[str, list[str]] = {}
        for target in targets:
            stacks = stacks_of(self._crosswalk, target.series_id) if target.series_id else []
            fitting = [each for each in stacks if (len(each.slices), each.rows, each.columns) == target.shape]
            if fitting:
                self._images[target.source_id] = images_in(fitting[0], self._names)
                for uid in (fitting[0].series_uid, self._names.uid("series", fitting[0].series_uid)):
                    self._siblings[target.source_id] = found.setdefault(uid, [])
                    found[uid].append(target.source_id)
        return found

    def truth(self, source_id: str) -> SegTruth:
        """Segments of one volume. Raises SpecError where they do not fit its slices."""
        target, images = self._targets[source_id], self._images[source_id]
        elsewhere = {image for other in self._siblings[source_id] for image in self._images[other]} - images.keys()
        what = f"the segmentation of {target.uri}"
        return SegTruth(
            tuple(
                place_segments(path, images, target.shape, target.affine, what, elsewhere=elsewhere)
                for path in self.paths[source_id]
            )
        )
