"""What keeps identities out of a run folder: where its crosswalk is, the spec as written down, inputs without names."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jobs.catalog import Skipped
from jobs.config import JobSpec, is_local
from schemas.errors import SpecError
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.locations import matches

HIDDEN = "hidden"
"""Stands in run.json for the path of the crosswalk."""

BESIDE_DICOM = "beside_dicom"
"""Reason code of pictures that are left out because they lie among DICOM files."""

OTHER_FILES = "other_files"
"""Reason code of what lies among DICOM files and is neither DICOM nor a picture."""


def crosswalk_folder(spec: JobSpec) -> str:
    """Where the crosswalk of a job is.

    Raises SpecError where one of it and the run folder would be in the other, or it cannot be chosen.
    """
    out, chosen = spec.output.path, spec.dicom.crosswalk
    if chosen is None:
        if not is_local(out):
            raise SpecError(
                f"dicom.crosswalk: there are DICOM files among the inputs and results go to {out}; name a folder for "
                "the crosswalk that few people may read and all workers see"
            )
        return f"{out.rstrip('/')}.crosswalk"
    if not is_local(chosen):
        raise SpecError(f"dicom.crosswalk: expected a folder on this machine or a mounted one, found {chosen}")
    if is_local(out):
        run, kept = Path(out).resolve(), Path(chosen).resolve()  # links followed: a name elsewhere may lead inside
        if run in (kept, *kept.parents):
            raise SpecError(f"dicom.crosswalk: {chosen} is in the run folder; identities need a folder of their own")
        if kept in run.parents:
            raise SpecError(
                f"dicom.crosswalk: the run folder {out} is in it; identities need a folder of their own, because "
                "others may read results"
            )
    return str(Path(chosen).absolute())


def public_spec(spec: JobSpec, crosswalk: Crosswalk) -> JobSpec:
    """The spec with pseudonyms for its inputs, whose paths may hold names, and without the crosswalk's path.

    The same inputs give the same pseudonyms in the same crosswalk, so that a run can be resumed.
    """
    shown = _pseudonyms(spec.inputs, crosswalk)
    inputs = [shown[each] for each in spec.inputs]
    hidden = spec.dicom.model_copy(update={"crosswalk": HIDDEN})
    return spec.model_copy(update={"inputs": inputs, "dicom": hidden})


def without_neighbours(
    uris: Sequence[str], found_in: Collection[str], given: Iterable[str] = ()
) -> tuple[list[str], list[Skipped]]:
    """The rasters that do not lie among DICOM files, and a line for each input that holds others.

    Screen shots and key images beside the slices are what lies there: they show names, and their paths would enter the
    tables. What an input of its own names, one that holds no DICOM, is kept wherever it lies.
    uris: of rasters; found_in: inputs that hold DICOM, as `jobs.dicom_catalog.DicomCatalog.found_in` has them; given:
    all inputs, as it has them too.
    """
    roots = {_root(each): each for each in found_in}
    own = [each for each in given if each not in found_in]
    kept: list[str] = []
    beside: Counter[str] = Counter()
    for uri in uris:
        holder = next((each for root, each in roots.items() if uri.startswith(root)), None)
        if holder is None or any(_names(each, uri) for each in own):
            kept.append(uri)
        else:
            beside[holder] += 1
    hint = "To have rasters segmented give a folder of their own; their paths then are in the tables."
    skipped = [
        Skipped(uri, BESIDE_DICOM, f"{uri}: pictures among its DICOM files are left out ({count}).", hint)
        for uri, count in sorted(beside.items())
    ]
    return kept, skipped


def without_repeats(skipped: Iterable[Skipped], found_in: Collection[str]) -> list[Skipped]:
    """Without the `duplicate` of a raster that an input with DICOM holds too: that one's pictures are left out."""
    roots = tuple(map(_root, found_in))
    return [each for each in skipped if each.reason != "duplicate" or not each.uri.startswith(roots)]


def passed_over(left_out: Mapping[str, Mapping[str, int]]) -> list[Skipped]:
    """A line for each input with DICOM that holds other files too: how many, by kind, and none of their names.

    left_out: as `jobs.dicom_catalog.DicomCatalog.left_out` has it.
    """
    return [
        Skipped(
            uri,
            OTHER_FILES,
            f"{uri}: files among its DICOM files are left out "
            f"({', '.join(f'{count} {kind}' for kind, count in sorted(counts.items()))}).",
        )
        for uri, counts in sorted(left_out.items())
    ]


def _names(given: str, uri: str) -> bool:
    """Whether an input stands for a raster: as itself, as what is beneath it, or by a pattern."""
    if glob.has_magic(given):
        return matches(given, uri)
    return uri == given or uri.startswith(_root(given))


def without_names(skipped: Iterable[Skipped], crosswalk: Crosswalk) -> list[Skipped]:
    """Inputs that are no DICOM and cannot be used, under pseudonyms, which the crosswalk then knows."""
    listed = list(skipped)
    shown = _pseudonyms([each.uri for each in listed], crosswalk)
    return [_nameless(each, shown[each.uri]) for each in listed]


def _nameless(skipped: Skipped, shown: str) -> Skipped:
    message, hint = skipped.message.replace(skipped.uri, shown), skipped.hint.replace(skipped.uri, shown)
    parts = [part for part in re.split(r"[/.:]", skipped.uri) if len(part) > 2]
    if any(part in message for part in parts):
        message = f"{shown}: cannot be used as an image ({skipped.reason})."
    return replace(skipped, uri=shown, message=message, hint="" if any(part in hint for part in parts) else hint)


def _root(place: str) -> str:
    """How the names of all that a searched folder, prefix or pattern holds begin."""
    if glob.has_magic(place):
        return place[: min(place.index(mark) for mark in "*?[" if mark in place)]
    return f"{place.rstrip('/')}/"


def _pseudonyms(inputs: Sequence[str], crosswalk: Crosswalk) -> dict[str, str]:
    """`input:PSEUDONYM` of each, which the crosswalk then can tell."""
    pseudonyms = crosswalk.pseudonyms()
    named = {each: pseudonyms.of("input", each) for each in inputs}
    crosswalk.add_names(("input", pseudonym, each) for each, pseudonym in named.items())
    return {each: f"input:{pseudonym}" for each, pseudonym in named.items()}
