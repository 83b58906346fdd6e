"""The tables of volumes are the same whatever the engine, kills and resumes, and the form that the archive comes in."""

from __future__ import annotations

import random
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydicom.dataset import Dataset

from jobs.verify import verify
from tests import runs
from tests.dicom_files import save
from tests.dicom_variants import TRANSFER_SYNTAXES, in_transfer_syntax
from tests.end_to_end.test_resume import finish, has, kill_when, shards
from tests.volume_truth import World, ellipsoids, noise

if TYPE_CHECKING:
    from jobs.engines.cluster import RayEngine

MODELS = runs.ROOT / "tests" / "user_models" / "volumes.py"


def worlds() -> list[World]:
    """A series of each kind, of one patient; 32 pixels are the least that the JPEG 2000 encoder takes."""
    blobs, numbers = noise((9, 33, 35), (2.5, 1.0, 1.0), seed=8), ellipsoids((10, 34, 36), 25, seed=9)
    return [
        World(values=blobs.values, layout=blobs.layout, padding=True, study={"series": "1"}),
        World(values=numbers.values, layout=numbers.layout, study={"series": "2"}),
    ]


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "dense": ("Contrast", {"blend": "gaussian", "context": [1, 2, 0]}),
    "instance": ("Truth", {"window": [6, 16, 18], "overlap": [2, 4, 5]}),
    "another grid": ("Contrast", {"spacing": [2.0, 1.3, 1.3], "orientation": "RAS"}),
}


def run(folder: Path | Sequence[Path], out: Path, case: str, crosswalk: Path, **sets: Any) -> dict[str, list[bytes]]:
    """The tables of a run in which nothing fails."""
    name, options = CASES[case]
    sets = {"dicom__crosswalk": str(crosswalk), **sets}
    inputs = [folder] if isinstance(folder, Path) else folder
    summary = runs.run(inputs, out, f"python:{MODELS}:{name}", options, **sets)
    assert (summary.sources, summary.failed_inputs, summary.pixels_failed) == (2, 0, 0)
    assert summary.objects > 10
    return runs.files(out)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive") / "in"
    for k, world in enumerate(worlds()):
        world.save(folder / str(k))
    return folder


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("case", "small_run"),
    [
        ("dense", 10**9),
        pytest.param("instance", 0, marks=pytest.mark.long),
        pytest.param("another grid", 0, marks=pytest.mark.slow),
    ],
)
def test_tables_of_volumes_do_not_depend_on_the_engine(
    case: str, small_run: int, archive: Path, tmp_path: Path, ray_engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.stages.SMALL_RUN_PIXELS", small_run)  # 0: the merge on Ray as well
    first = run(archive, tmp_path / "inline", case, tmp_path / "ids")
    ray: dict[str, Any] = {
        "engine__kind": "ray",
        "engine__address": "auto",
        "engine__gpus_per_worker": 0,
        "engine__workers": 2,
        "tiling__tile": 30,
        "engine__chunk_tiles": 3,
    }
    assert run(archive, tmp_path / "ray", case, tmp_path / "ids", **ray) == first
    assert runs.files(tmp_path / "ray", "series") == runs.files(tmp_path / "inline", "series")
    verify(tmp_path / "ray", everything=True).raise_if_bad()


@pytest.mark.long
@pytest.mark.parametrize(("case", "when"), [("dense", 9), pytest.param("instance", 4, marks=pytest.mark.slow)])
def test_a_driver_killed_among_the_tiles_of_a_volume_loses_and_doubles_nothing(
    case: str, when: int, archive: Path, tmp_path: Path
) -> None:
    (name, options), out = CASES[case], tmp_path / "out"
    sets = {"tiling__tile": 1, "engine__chunk_tiles": 2, "dicom__crosswalk": str(tmp_path / "ids")}
    options = options | {"pause": 0.003}

    def start(*, resume: bool) -> subprocess.Popen[str]:
        return subprocess.Popen(
            runs.command([archive], out, f"python:{MODELS}:{name}", options, resume=resume, **sets),
            env=runs.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    kill_when(start(resume=False), has(out, "shards/*/*.zip", when))
    committed = shards(out)
    kill_when(start(resume=True), has(out, "shards/*/*.zip", len(committed) + when))
    assert committed.items() <= shards(out).items(), "a finished tile was computed again"
    assert finish(start(resume=True)) >= len(committed) + when
    runs.run([archive], tmp_path / "whole", f"python:{MODELS}:{name}", options, dicom__crosswalk=str(tmp_path / "ids"))
    assert runs.files(out) == runs.files(tmp_path / "whole")


def renamed(archive: Path, folder: Path) -> Path:
    """All files in one folder, under names that say nothing and sort otherwise."""
    files = sorted(path for path in archive.rglob("*") if path.is_file())
    order = list(range(len(files)))
    random.Random(1).shuffle(order)
    folder.mkdir()
    for path, number in zip(files, order, strict=True):
        shutil.copy(path, folder / f"{number:x}")
    return folder


def zipped(archive: Path, folder: Path) -> Path:
    """One zip archive, half of it compressed."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "study.zip", "w") as made:
        for k, path in enumerate(sorted(archive.rglob("*"))):
            if path.is_file():
                how = zipfile.ZIP_DEFLATED if k % 2 else zipfile.ZIP_STORED
                made.write(path, f"{path.parent.name}/{path.name}", compress_type=how)
    return folder / "study.zip"


@pytest.fixture(scope="module")
def loose(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[bytes]]]:
    """A crosswalk, and the tables of the archive as it is."""
    folder = tmp_path_factory.mktemp("loose")
    return folder / "ids", run(archive, folder / "out", "dense", folder / "ids") | runs.files(folder / "out", "series")


@pytest.mark.parametrize("form", [renamed, zipped])
def test_tables_do_not_depend_on_names_order_and_packing(
    form: Callable[[Path, Path], Path], archive: Path, loose: tuple[Path, dict[str, list[bytes]]], tmp_path: Path
) -> None:
    crosswalk, expected = loose
    found = run(form(archive, tmp_path / "in"), tmp_path / "out", "dense", crosswalk)
    assert found | runs.files(tmp_path / "out", "series") == expected


@pytest.mark.parametrize("syntax", sorted(set(TRANSFER_SYNTAXES) - {"explicit"}))
def test_tables_do_not_depend_on_the_transfer_syntax(
    syntax: str, loose: tuple[Path, dict[str, list[bytes]]], tmp_path: Path
) -> None:
    crosswalk, expected = loose
    made: list[Dataset] = [one for world in worlds() for one in in_transfer_syntax(world.slices(), syntax)]
    save(made, tmp_path / "in")
    found = run(tmp_path / "in", tmp_path / "out", "dense", crosswalk, tiling__tile=30)
    assert found == {name: expected[name] for name in found}
    told = runs.rows(tmp_path / "out", "series")
    assert {*(row["transfer_syntaxes"][0] for row in told)} == {TRANSFER_SYNTAXES[syntax]}
