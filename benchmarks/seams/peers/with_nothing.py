"""No merge: what every other rule starts from."""

from __future__ import annotations

from benchmarks.seams.cases import Case, Outcome
from benchmarks.seams.peers.meter import Meter


def merge(case: Case) -> Outcome:
    """All detections of all windows as objects."""
    meter = Meter()
    with meter.merging():
        said = [detection for detections in case.windows.values() for detection in detections]
    return meter.outcome([d.mask for d in said], [d.label for d in said])
