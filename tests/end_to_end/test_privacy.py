"""Privacy by construction: whatever a run leaves behind, in files, in Ray or on the screen, names no patient.

An archive with identities in every text attribute, in file and folder names, is run through everything; then every byte
is searched, also inside of what is compressed.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom import dcmread

from jobs.cli import main
from tests.dicom_archives import IDENTITIES, KINDS, patients_archive
from tests.dicom_files import SENTINEL, UID_ROOT
from tests.dicom_variants import make
from tests.leftovers import traces, traces_in
from tests.runs import ROOT, rows

MODEL = f"python:{ROOT}/tests/user_models/gossip.py:Gossip"
PRIVATE = re.compile(IDENTITIES.pattern + rb"|GOSSIP about")
OBJECTS = ("output.seg=binary", "output.sr=true", "output.nifti=true", "output.montages=true")


@dataclass(frozen=True)
class Place:
    """Where a command runs, and what it may write to."""

    folder: Path
    archive: Path

    @property
    def out(self) -> Path:
        """The run folder."""
        return self.folder / "out"

    @property
    def crosswalk(self) -> Path:
        """Where originals may be."""
        return self.folder / "out.crosswalk"

    @property
    def temporary(self) -> Path:
        """For temporary files; its path is short, as Ray's sockets want it."""
        return self.folder / "t"

    def command(self, *arguments: str, sabotage: str = "-") -> subprocess.CompletedProcess[bytes]:
        """Run the command line in the patient's own folder, watched."""
        self.temporary.mkdir(exist_ok=True)
        kept = Path(tempfile.mkdtemp(prefix="kept-", dir=self.folder))
        environment = os.environ | {
            "TMPDIR": str(self.temporary),
            "HOME": str(self.folder / "home"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "PWD": str(self.archive),
            "PYTHONPATH": str(ROOT),
        }
        watched = [sys.executable, str(ROOT / "tests" / "observed.py"), str(kept), sabotage]
        return subprocess.run(
            [*watched, *arguments], cwd=self.archive, env=environment, capture_output=True, check=False, timeout=280
        )

    def segment(self, engine: str, *more: str, sabotage: str = "-") -> subprocess.CompletedProcess[bytes]:
        """The run."""
        return self.command(*self.arguments(engine), *more, sabotage=sabotage)

    def arguments(self, engine: str) -> list[str]:
        """Of the run: the patient's folder, and one that is not there, on the command line."""
        sets = [f"--set={each}" for each in (*OBJECTS, "engine.workers=1")]
        inputs = (f"../{self.archive.name}", f"/nowhere/{SENTINEL}")
        return ["segment", *inputs, "-o", str(self.out), "--model", MODEL, "--engine", engine, *sets]

    def left(self) -> list[str]:
        """Traces of identities anywhere but in the archive and in the crosswalk."""
        skipped = {self.archive.parent, self.crosswalk, self.folder / "sabotage"}
        places = [each for each in sorted(self.folder.iterdir()) if each not in skipped]
        return [trace for place in places for trace in traces(place, PRIVATE)]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, and copied for each run."""
    return patients_archive(tmp_path_factory.mktemp("hospital"))


@pytest.fixture
def place(archive: Path) -> Iterator[Place]:
    """A folder of a short path with the archive in it, and what the saboteur needs."""
    folder = Path(tempfile.mkdtemp(prefix="p-", dir="/tmp"))
    try:
        copy = Path(shutil.copytree(archive, folder / "data" / archive.name))
        (folder / "sabotage").mkdir()
        for name, kind in (("gone", "pet"), ("changed", "reversed_normal")):
            victim = sorted((copy / f"{SENTINEL} {kind}").rglob(f"{SENTINEL}00*"))[7]
            (folder / "sabotage" / name).symlink_to(victim)
        yield Place(folder, copy)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("inline", marks=pytest.mark.slow),
        pytest.param("ray", marks=[pytest.mark.cluster, pytest.mark.long]),
    ],
)
def test_a_run_leaves_nothing_that_names_a_patient(place: Place, engine: str) -> None:
    before = names_in(place.archive)
    done = place.segment(engine, "--debug", sabotage=str(place.folder / "sabotage"))
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 3, said
    assert traces_in(done.stdout, PRIVATE) + traces_in(done.stderr, PRIVATE) == []
    assert place.left() == []
    compiled = b"\n".join(path.read_bytes() for path in (ROOT / "segworkers" / "__pycache__").glob("*.nb[ic]"))
    assert SENTINEL.encode() not in compiled and UID_ROOT.encode() not in compiled, "numba's cache"
    assert before - names_in(place.archive) == {str((place.folder / "sabotage" / "gone").readlink())}
    assert names_in(place.archive) <= before, "nothing is written where the patient's files are"
    all_happened(place, said)
    crosswalk_is_closed(place.crosswalk)
    if engine == "ray":
        records = next(place.folder.glob("kept-*/records")).read_bytes()
        assert b"segworkers" in records, "the job was recorded"
        assert list(place.folder.glob("kept-*/segw-*/r/session_2*/logs/worker-*")), "Ray's logs were searched"


@pytest.mark.long
def test_commands_on_a_run_tell_no_more(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(place.archive)
    out = str(place.out)
    assert main([*place.arguments("inline"), "--debug"]) == 3
    source = next(row["source_uri"] for row in rows(out, "images") if row["status"] == "done")
    plan = ["plan", f"../{place.archive.name}", "--model", MODEL, "--set", f"output.path={out}", "--set"]
    plan += [f"dicom.crosswalk={place.crosswalk}"]
    tables = ("images", "instances", "series", "failures", "tiles", "per_series", "per_study")
    codes = [main(["query", out, f"SELECT * FROM {name}", "--format", "json"]) for name in tables]
    codes += [main(plan), main([*plan, "--json"]), main(["verify", out, "--all"])]
    assert codes == [0] * 7 + [3, 3, 0], "the archive holds files that cannot be used"
    codes = [main(["query", out, "SELECT no_column FROM images", "--debug"]), main(["preview", out, "--debug"])]
    codes += [main(["preview", out, source]), main(place.arguments("inline"))]
    codes += [main([*place.arguments("inline"), "--set=output.border=drop", "--resume", "--debug"])]
    assert codes == [2] * 5
    assert main([*place.arguments("inline"), "--resume"]) == 3
    truth = [str(relabelled(place)), "-o", str(place.folder / "evaluation"), "--debug"]
    assert main(["evaluate", out, *truth]) == 2 and main(["evaluate", out, *truth, "--any-class"]) == 3
    said = capfd.readouterr()
    assert traces_in(f"{said.out}\n{said.err}\n{caplog.text}".encode(), PRIVATE) == []
    assert said.err.count("preview draws rasters only") == 2 + 1, "once more in the traceback"
    assert place.left() == []


def relabelled(place: Place) -> Path:
    """A segmentation of the run among the patient's files, with identities in what people write into such files."""
    made = dcmread(min(place.out.glob("dicom/*/*-seg.dcm")))
    for segment in made.SegmentSequence:
        segment.SegmentLabel = segment.SegmentDescription = f"{SENTINEL} {segment.SegmentNumber}"
    made.SeriesDescription = made.ContentLabel = SENTINEL
    (place.archive / "truth").mkdir()
    made.save_as(place.archive / "truth" / f"{SENTINEL}.dcm")
    return place.archive / "truth"


def test_clinical_objects_name_the_patient_and_nothing_else_does(tmp_path: Path) -> None:
    made, _ = make("reversed_normal", tmp_path / "in", word=SENTINEL)
    place = Place(tmp_path, made.folder)
    done = place.segment("inline", "--set=dicom.mode=clinical")
    assert done.returncode == 3, "one input is not there"
    objects = list(place.out.glob("dicom/*/*.dcm"))
    assert len(objects) == 2
    for each in objects:
        found = b" ".join(IDENTITIES.findall(each.read_bytes()))
        assert SENTINEL.encode() in found and UID_ROOT.encode() in found
        each.unlink()
    shutil.rmtree(tmp_path / "in")
    assert [trace for each in (place.out, place.temporary) for trace in traces(each, PRIVATE)] == []


@pytest.mark.parametrize(
    "where", ["plain", "gzip", "zip", "name in zip", "parquet", "metadata", "arrow", "png", "bits"]
)
def test_the_search_looks_into_what_is_compressed(where: str, tmp_path: Path) -> None:
    (tmp_path / "found").write_bytes(hidden(where, SENTINEL))
    assert traces(tmp_path, PRIVATE)
    (tmp_path / "found").write_bytes(hidden(where, "nobody"))
    assert not traces(tmp_path, PRIVATE)
    (tmp_path / f"a {SENTINEL.lower()}").mkdir()
    assert traces(tmp_path, PRIVATE)


def hidden(where: str, word: str) -> bytes:
    """Some bytes with the word inside, compressed where there is compression."""
    text, file = f"{word} " * 50, io.BytesIO()
    table = pa.table({"a": [text]}).replace_schema_metadata({"b": text if where == "metadata" else ""})
    if where == "gzip":
        return gzip.compress(text.encode())
    if where in ("zip", "name in zip"):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr(
                f"{word if 'name' in where else 'a'}.gz", gzip.compress(text.encode() if where == "zip" else b"")
            )
    elif where in ("parquet", "metadata"):
        pq.write_table(table if where == "parquet" else table.slice(0, 0), file, compression="zstd")
    elif where == "arrow":
        with pa.ipc.new_stream(file, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
            stream.write_table(table)
    elif where == "png":
        told = PngInfo()
        told.add_text("Title", text, zip=True)
        Image.new("L", (4, 4)).save(file, "PNG", pnginfo=told)
    elif where == "bits":
        Image.frombytes("L", (len(text), 1), text.encode()).save(file, "PNG")
    else:
        return text.encode()
    return file.getvalue()


def all_happened(place: Place, said: str) -> None:
    """The run met what it should: without that, that it leaves nothing would mean little."""
    reasons = {row["reason"] for row in rows(place.out, "failures")}
    wanted = {"missing_position", "duplicate_positions", "truncated_file", "damaged_header", "empty_file", "not_dicom"}
    wanted |= {"damaged_archive", "not_found", "beside_dicom", "model_failed", "read_failed", "changed", "missing_file"}
    assert wanted <= reasons, wanted - reasons
    series = rows(place.out, "series")
    assert {row["status"] for row in series} == {"accepted", "repaired", "rejected"}
    assert len(series) >= len(KINDS)
    refused = next(row for row in series if row["reason"] == "missing_position")
    assert f"dicom:{refused['series_id']}: 24 of 24 slices" in said, "messages stay useful"
    assert re.search(r"series [0-9a-f]{32}, slice 1 of 13: JPEG 2000 .* cannot be decoded", said)
    assert re.search(r"predict raised ValueError: text withheld.* at .*gossip.py:\d+: raise ValueError", said)
    assert {path.suffix for path in place.out.glob("dicom/*/*")} == {".dcm", ".gz", ".png"}


def crosswalk_is_closed(crosswalk: Path) -> None:
    """It holds the originals, and nobody else may look."""
    assert traces(crosswalk, IDENTITIES)
    for path in [crosswalk, *crosswalk.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path}: {mode:o}"


def names_in(folder: Path) -> set[str]:
    """All that lies there."""
    return {str(path) for path in folder.rglob("*")}
