"""What keeps identities out of a run folder: where its crosswalk is, and the spec as it may be written down."""

from __future__ import annotations

from pathlib import Path

from jobs.config import JobSpec, is_local
from schemas.errors import SpecError
from segworkers.dicom.crosswalk import Crosswalk

HIDDEN = "hidden"
"""Stands in run.json for the path of the crosswalk."""


def crosswalk_folder(spec: JobSpec) -> str:
    """Where the crosswalk of a job is. Raises SpecError where it would be in the run folder, or cannot be chosen."""
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
    if is_local(out) and Path(out).absolute() in (Path(chosen).absolute(), *Path(chosen).absolute().parents):
        raise SpecError(f"dicom.crosswalk: {chosen} is in the run folder; identities need a folder of their own")
    return str(Path(chosen).absolute())


def public_spec(spec: JobSpec, crosswalk: Crosswalk) -> JobSpec:
    """The spec with pseudonyms for its inputs, whose paths may hold names, and without the crosswalk's path.

    The same inputs give the same pseudonyms in the same crosswalk, so that a run can be resumed.
    """
    pseudonyms = crosswalk.pseudonyms()
    inputs = [f"input:{pseudonyms.of('input', each)}" for each in spec.inputs]
    hidden = spec.dicom.model_copy(update={"crosswalk": HIDDEN})
    return spec.model_copy(update={"inputs": inputs, "dicom": hidden})
