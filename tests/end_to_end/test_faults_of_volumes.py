"""Rasters and volumes in one run that is cut off while it writes: resumed, it has what an undisturbed run has.

Every later stage is cut off at each of its writes: merge and rows, tables, stitched masks, objects of volumes. So are
two catalogs of one archive at once, one of which is cut off: they share a crosswalk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from jobs.dicom_catalog import catalog_dicom
from jobs.verify import verify
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.store import LocalStore
from tests import runs
from tests.dicom_files import Layout, ct_series, save
from tests.segworkers.readers.rasters import write_raster

SETS: dict[str, Any] = {
    "output__seg": "binary", "output__sr": True, "output__nifti": True, "output__masks": "labels", "tiling__tile": 24,
}  # fmt: skip


class CutOffError(BaseException):
    """Stands for SIGKILL: nothing may handle it."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("inputs")
    for k in range(2):
        save(ct_series(Layout(shape=(8, 24, 24)), study=str(k)), folder / "dicom" / str(k))
    image = np.random.default_rng(1).integers(-9, 9, (1, 40, 50)).astype(np.int16)
    (folder / "rasters").mkdir()
    write_raster(folder / "rasters" / "a.tif", image)
    return [folder / "dicom", folder / "rasters"]


def run(inputs: list[Path], out: Path, ids: Path, *, resume: bool = False) -> None:
    summary = runs.run(inputs, out, "threshold", {"value": 0}, resume=resume, dicom__crosswalk=str(ids), **SETS)
    assert (summary.sources, summary.failed_inputs, summary.failed_outputs) == (3, 0, 0)
    verify(out, everything=True).raise_if_bad()


@pytest.fixture(scope="module")
def undisturbed(inputs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(inputs, folder / "out", folder / "ids")
    return folder / "out", folder / "ids"


def objects(out: Path) -> dict[str, Any]:
    """What was written of volumes, without what tells when."""
    found: dict[str, Any] = {}
    for path in sorted(out.glob("dicom/*/*")):
        if path.suffix == ".dcm":
            one = dcmread(path)
            found[path.name] = (one.SOPClassUID, one.get("NumberOfFrames"), one.get("PixelData"))
        else:
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def cut_off(monkeypatch: pytest.MonkeyPatch, name: str, which: int) -> list[str]:
    """Die before or after the write number `which` of a file whose name begins so; the names that were written."""
    seen: list[str] = []
    for method in ("create", "put_file", "replace"):
        real: Callable[..., Any] = getattr(LocalStore, method)

        def watched(self: LocalStore, target: str, *rest: Any, real: Callable[..., Any] = real) -> Any:
            if target.startswith(name):
                seen.append(target)
                if len(seen) == which:
                    raise CutOffError
                made = real(self, target, *rest)
                if len(seen) == which + 1:
                    raise CutOffError
                return made
            return real(self, target, *rest)

        monkeypatch.setattr(LocalStore, method, watched)
    return seen


@pytest.mark.parametrize("which", [1, *(pytest.param(each, marks=pytest.mark.slow) for each in (2, 4))])
@pytest.mark.parametrize("name", ["rows/", "tables/", "publish/", "masks/", "dicom/", "current.json"])
def test_a_run_that_is_cut_off_at_a_write_is_resumed_to_the_same_result(
    name: str, which: int, inputs: list[Path], undisturbed: tuple[Path, Path], tmp_path: Path
) -> None:
    whole, ids = undisturbed
    with pytest.MonkeyPatch.context() as patch:
        seen = cut_off(patch, name, which)
        try:
            run(inputs, tmp_path / "out", ids)
            assert len(seen) < which, "it was not cut off, though there was a write"
            assert seen, "no write has such a name"
        except CutOffError:
            pass
    if not (tmp_path / "out" / "current.json").exists():
        run(inputs, tmp_path / "out", ids, resume=True)
    assert runs.files(tmp_path / "out") == runs.files(whole)
    assert runs.files(tmp_path / "out", "series") == runs.files(whole, "series")
    assert objects(tmp_path / "out") == objects(whole)


def test_a_catalog_that_is_cut_off_beside_another_changes_nothing(inputs: list[Path], tmp_path: Path) -> None:
    crosswalk = Crosswalk.open(str(tmp_path / "ids"))
    writes = 0

    def dies(self: Crosswalk, *rest: Any, **options: Any) -> None:
        nonlocal writes
        writes += 1
        if writes == 2:  # the other begins where this one stops, and has half of its stacks already
            catalog_dicom([str(inputs[0])], Crosswalk(crosswalk.folder), 1)
            raise CutOffError
        real(self, *rest, **options)

    real = Crosswalk._write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Crosswalk, "_write", dies)
        with pytest.raises(CutOffError):
            catalog_dicom([str(inputs[0])], crosswalk, 1)
    found = catalog_dicom([str(inputs[0])], crosswalk, 1)
    fresh = Crosswalk.open(str(tmp_path / "fresh"))
    (tmp_path / "fresh" / "key").write_text((tmp_path / "ids" / "key").read_text())
    assert found.sources == catalog_dicom([str(inputs[0])], fresh, 1).sources
    for source in found.sources:
        assert source.volume is not None
        assert crosswalk.stack(source.volume.series_id, source.fingerprint)
