"""Which images of a series are one slide. Pure.

Images of a multi-resolution pyramid share a PyramidUID (0008,0019). In older files they should share a frame of
reference; converters that made an object of each level often gave each its own. Those are one slide where they are of
one container (the glass, ContainerIdentifier) and can be levels of one pyramid: no size twice, one extent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from segworkers.dicom.header import Header

FRAMES_DIFFER = "frames_of_reference_differ"
"""Note: the levels of the slide name different frames of reference."""

EXTENT_TOLERANCE = 0.01
"""Greatest relative difference of the extents of levels, besides"""
EXTENT_PIXELS = 2
"""pixels of the coarser level: sizes are rounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideGroup:
    """Images of one slide."""

    key: tuple[str, ...]
    """What tells it apart within its series; holds originals."""
    headers: tuple[Header, ...]
    notes: tuple[str, ...] = ()


def slide_groups(levels: Sequence[Header]) -> list[SlideGroup]:
    """The slides of one series; every image is in one of them."""
    pyramids: dict[str, list[Header]] = defaultdict(list)
    containers: dict[str, dict[str, list[Header]]] = defaultdict(lambda: defaultdict(list))
    for header in levels:
        if header.pyramid_uid:
            pyramids[header.pyramid_uid].append(header)
        else:
            containers[header.container][header.frame_of_reference_uid].append(header)
    found = [SlideGroup(key=("pyramid", uid), headers=tuple(members)) for uid, members in pyramids.items()]
    apart: dict[str, list[Header]] = defaultdict(list)
    for container, frames in containers.items():
        if container and len(frames) > 1 and _are_levels_of_one(list(frames.values())):
            members = tuple(header for one in frames.values() for header in one)
            found.append(SlideGroup(key=("container", container), headers=members, notes=(FRAMES_DIFFER,)))
        else:
            for frame, members in frames.items():
                apart[frame] += members
    return [*found, *(SlideGroup(key=("frame", frame), headers=tuple(each)) for frame, each in apart.items())]


def _are_levels_of_one(groups: Sequence[Sequence[Header]]) -> bool:
    sizes = [{header.matrix for header in group} for group in groups]
    if sum(map(len, sizes)) > len(set[tuple[int, ...]]().union(*sizes)):
        return False
    headers = [header for group in groups for header in group]
    levels = [header.slide.level for header in headers if header.slide]
    if len(levels) < len(headers):  # one of unknown extent may belong to anything
        return False
    finest = min(levels, key=lambda level: level.pixel_um)
    for level in levels:
        for axis, (pixels, whole) in enumerate(((level.rows, finest.rows), (level.columns, finest.columns))):
            extent, expected = pixels * level.pixel_um[axis], whole * finest.pixel_um[axis]
            if abs(extent - expected) > EXTENT_TOLERANCE * expected + EXTENT_PIXELS * level.pixel_um[axis]:
                return False
    return True
