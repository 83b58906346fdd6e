from __future__ import annotations

import contextlib
import io
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from jobs.engines.base import EngineError
from jobs.results import open_results
from jobs.submit import ENTRYPOINT, PACKAGES, stage, submit
from schemas.errors import SpecError
from tests.docs.conftest import write_survey
from tests.jobs.engines.processes import descendants, eventually

ROOT = Path(__file__).parents[2]


def write_spec(folder: Path, model: str = "threshold") -> Path:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({"inputs": ["pictures"], "model": model, "output": {"path": "out"}}))
    return path


def package(folder: Path, name: str, main: str) -> Path:
    found = folder / name
    (found / "__pycache__").mkdir(parents=True)
    (found / "__pycache__" / "old.pyc").write_bytes(b"old")
    (found / "__init__.py").write_text("")
    (found / "__main__.py").write_text(textwrap.dedent(main))
    return found


def test_what_is_shipped_is_the_packages_the_model_and_the_spec(tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "mine.py").write_text("class Mine: ...\n")
    (tmp_path / "nets" / "weights.pt").write_bytes(b"0")
    (tmp_path / "staging").mkdir()
    spec = write_spec(tmp_path, "python:nets/mine.py:Mine")
    stage(spec, tmp_path / "staging", [package(tmp_path, "probe", "")])
    shipped = {str(path.relative_to(tmp_path / "staging")) for path in (tmp_path / "staging").rglob("*.*")}
    assert shipped == {"probe/__init__.py", "probe/__main__.py", "models/mine.py", "job.yaml"}
    job = yaml.safe_load((tmp_path / "staging" / "job.yaml").read_text())
    assert job["model"]["reference"] == "python:models/mine.py:Mine"
    assert job["inputs"] == [str(tmp_path / "pictures")], "a relative path means another place on the cluster"
    assert job["output"]["path"] == str(tmp_path / "out")


def test_a_model_file_that_is_not_there_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"expected a Python file at .*absent\.py, found none"):
        submit(write_spec(tmp_path, "python:absent.py:Mine"), "http://127.0.0.1:1")


def test_an_address_that_is_no_dashboard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="expected the address of a cluster's dashboard"):
        submit(write_spec(tmp_path), "127.0.0.1:6379")


def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"could not reach the cluster.s dashboard at http://127\.0\.0\.1:9"):
        submit(write_spec(tmp_path), "http://127.0.0.1:9")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The dashboard's address of a head on this machine, with token authentication."""
    port, dashboard = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="segt-", ignore_cleanup_errors=True) as folder:
        programs = str(Path(sys.executable).parent)  # the job's `python` is the first one on the head's path
        head = subprocess.Popen(
            [
                *(
                    f"{programs}/ray",
                    "start",
                    "--head",
                    "--block",
                    f"--port={port}",
                    f"--temp-dir={folder}",
                    "--num-cpus=2",
                ),
                *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--object-store-memory={100 << 20}"),
                *("--node-ip-address=127.0.0.1", "--disable-usage-stats"),
            ],
            env=os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert eventually(lambda: is_open(dashboard), 60.0), "the dashboard did not come up"
            yield f"http://127.0.0.1:{dashboard}"
        finally:
            for pid in {head.pid} | descendants(head.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            head.wait()


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


PROBE = """
    import os, sys
    from pathlib import Path
    from jobs.engines.base import Resources
    from jobs.engines.cluster import RayEngine
    from probe.work import build

    assert Path("job.yaml").is_file()
    engine = RayEngine()
    assert not engine.is_embedded
    results = [o.result for o in engine.map(build, range(5), resources=Resources(), split=lambda item: [item])]
    print("results", sorted(results), os.environ["PASSED_ON"])
    engine.close()
    sys.exit(3)
"""
WORK = """
    import segworkers, schemas

    def build():
        return lambda item: item * item
"""


@pytest.mark.slow
def test_the_code_reaches_the_workers_the_log_comes_back_and_so_does_the_exit_code(
    cluster: str, tmp_path: Path
) -> None:
    probe = package(tmp_path, "probe", PROBE)
    (probe / "work.py").write_text(textwrap.dedent(WORK))
    log = io.StringIO()
    code = submit(
        write_spec(tmp_path),
        cluster,
        entrypoint="python -m probe",
        packages=[*(ROOT / name for name in PACKAGES), probe],
        env_vars={"PASSED_ON": "from here"},
        log=log,
    )
    assert "results [0, 1, 4, 9, 16] from here" in log.getvalue(), log.getvalue()
    assert code == 3


@pytest.mark.slow
def test_without_the_token_the_cluster_refuses(cluster: str, tmp_path: Path) -> None:
    spec = str(write_spec(tmp_path))
    script = f"from pathlib import Path; from jobs.submit import submit; submit(Path({spec!r}), {cluster!r})"
    wrong = os.environ | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=wrong, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "EngineError: could not reach the cluster's dashboard" in done.stderr


@pytest.mark.slow
def test_an_interrupt_stops_the_job(cluster: str, tmp_path: Path) -> None:
    running = tmp_path / "running"
    main = f"""
        import time
        from pathlib import Path
        while True:
            Path({str(running)!r}).write_text(str(time.time()))
            time.sleep(0.1)
    """
    endless = package(tmp_path, "endless", main)
    script = f"""
        import sys
        from pathlib import Path
        from jobs.submit import submit
        sys.exit(submit(Path({str(write_spec(tmp_path))!r}), {cluster!r}, entrypoint="python -m endless",
                        packages=[Path({str(endless)!r})]))
    """
    client = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT)
    assert eventually(running.exists, 60.0)
    client.send_signal(signal.SIGINT)
    assert client.wait(timeout=60) == 130
    last = running.read_text()
    time.sleep(1.0)
    assert running.read_text() == last, "the job still runs"


@pytest.mark.slow
def test_without_waiting_the_jobs_name_is_printed(
    cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = package(tmp_path, "quick", "print('done')")
    spec = write_spec(tmp_path)
    code = submit(spec, cluster, wait=False, submission_id="tiles-7", entrypoint="python -m quick", packages=[quick])
    assert code == 0
    assert capsys.readouterr().out.strip() == "tiles-7"
    with pytest.raises(EngineError, match="refused the job"):
        submit(spec, cluster, wait=False, submission_id="tiles-7", entrypoint="python -m quick", packages=[quick])


USERS_MODEL = """
    from helpers.level import LEVEL

    class Bright:
        kind, window, overlap, classes = "dense", (1, 256, 256), (0, 0, 0), ("bright",)

        def __init__(self, device: str) -> None:
            del device

        def predict(self, windows):
            return (windows[:, 0] > LEVEL).astype("uint8")
"""


@pytest.mark.slow
def test_a_whole_job_runs_on_the_cluster_with_the_users_package_and_can_be_resumed(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's package is on this process's path only: the cluster's machines get it with the job."""
    survey = write_survey(tmp_path / "survey.tif")
    helpers = package(tmp_path / "mine", "helpers", "")
    (helpers / "level.py").write_text("LEVEL = 100\n")
    (helpers / "models.py").write_text(textwrap.dedent(USERS_MODEL))
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    job = tmp_path / "job.yaml"
    body = {"inputs": [str(survey), "absent.tif"], "model": "python:helpers.models:Bright", "output": {"path": "out"}}
    job.write_text(yaml.safe_dump(body))
    log = io.StringIO()
    assert submit(job, cluster, log=log) == 3, log.getvalue()  # the absent input
    results = open_results(str(tmp_path / "out"))
    assert results.sql("SELECT count(*) AS n FROM instances").to_pylist() == [{"n": 12}]
    assert submit(job, cluster, log=log) == 2, "the folder holds a run already"
    assert submit(job, cluster, log=log, entrypoint=f"{ENTRYPOINT} --resume") == 3, log.getvalue()
    assert open_results(str(tmp_path / "out")).generation == results.generation
