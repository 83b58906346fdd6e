"""Run a job on a cluster through Ray's Jobs API: ship code and spec, follow the log, hand back the exit code."""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Ray is untyped in places.

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from jobs.config import DicomSpec
from jobs.dicom_catalog import is_dicom_input
from jobs.engines.base import EngineError, cluster_text
from jobs.engines.embedded import ALWAYS, environment
from jobs.loading import load_spec
from schemas.errors import SpecError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

logger = logging.getLogger(__name__)

PACKAGES = ("jobs", "segworkers", "schemas")
ENTRYPOINT = "python -m jobs run job.yaml"
INTERRUPTED = 130
_STOP_S = 30.0
_AGENT_S = 60.0
_RECONNECT_S = 2.0
_RECONNECTS = 30
_MODEL_FILE = re.compile(r"python:(.+\.py):(\w+)")
_MODEL_MODULE = re.compile(r"python:([A-Za-z_]\w*)[\w.]*:\w+")


def submit(
    job_yaml: Path,
    address: str,
    *,
    wait: bool = True,
    submission_id: str | None = None,
    entrypoint: str = ENTRYPOINT,
    packages: Sequence[Path] | None = None,
    env_vars: Mapping[str, str] | None = None,
    log: TextIO | None = None,
) -> int:
    """Run a spec on the cluster whose dashboard is at `address`, and return the exit code of its driver.

    address: "http://HEAD:8265", over an SSH tunnel unless the cluster is on this machine. A cluster with authentication
        needs its token in `RAY_AUTH_TOKEN` or `RAY_AUTH_TOKEN_PATH`.
    wait: False returns 0 as soon as the cluster has the job, after printing its id on standard output.
    submission_id: a name for the job; a second job of that name is refused.
    entrypoint: the command run in the shipped folder; the spec is `job.yaml` there.
    packages: package folders to ship; None: this project's own.
    env_vars: environment of the driver and its workers, such as credentials of an object store.
    log: where the driver's output goes; None: standard output.

    Ctrl-C stops the job and returns 130. Raises SpecError for a spec that would not run, EngineError where the cluster
    cannot be reached or refuses the job.
    """
    folders = [_package_folder(name) for name in PACKAGES] if packages is None else list(packages)
    stream = log or sys.stdout
    with tempfile.TemporaryDirectory(prefix="segw-submit-") as staging, _environment():
        stage(job_yaml, Path(staging), folders)
        client = _connect(address)
        runtime_env = {
            "working_dir": staging,
            "env_vars": {**ALWAYS, "PYTHONUNBUFFERED": "1", **(env_vars or {})},
        }
        job = _hand_in(client, address, entrypoint, submission_id, runtime_env)
        if not wait:
            print(job)
            return 0
        logger.info("submitted as %s", job)
        try:
            _follow(client, job, stream)
            return _exit_code(client, job)
        except KeyboardInterrupt:
            _stop(client, job)
            return INTERRUPTED


def _hand_in(
    client: JobSubmissionClient,
    address: str,
    entrypoint: str,
    submission_id: str | None,
    runtime_env: dict[str, Any],
) -> str:
    """The job's id. A cluster that has only just started has no agent to take jobs yet and says so: ask again."""
    give_up = time.monotonic() + _AGENT_S
    while True:
        try:
            return client.submit_job(entrypoint=entrypoint, submission_id=submission_id, runtime_env=runtime_env)
        except (RuntimeError, ValueError, OSError) as error:
            if "No available agent" not in str(error) or time.monotonic() > give_up:
                raise EngineError(f"the cluster at {address} refused the job: {cluster_text(error)}") from error
        time.sleep(_RECONNECT_S)


def stage(job_yaml: Path, folder: Path, packages: Sequence[Path]) -> None:
    """Lay out in `folder` what the driver needs: the packages, the model's file if it is one, and `job.yaml`.

    The cluster keeps all of it, also the paths of the inputs as the spec has them.
    Relative paths in the spec become absolute ones of this machine first: data must be where the cluster finds it.
    Of a `python:file.py:Class` model exactly that file is shipped, of `python:package.module:Class` the package.
    """
    spec = load_spec(job_yaml)
    for package in packages:
        shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    if spec.dicom != DicomSpec() or any(is_dicom_input(each) for each in spec.inputs):
        logger.warning(
            "the cluster keeps a copy of the spec, with the paths of its inputs: where they name patients, list them "
            "in a manifest (.txt) of neutral name that the cluster's machines can read, and give that as the input"
        )
    text = spec.to_yaml()
    if match := _MODEL_FILE.fullmatch(spec.model.reference):
        source = Path(match[1])
        if not source.is_file():
            raise SpecError(f"{job_yaml}: model: expected a Python file at {source}, found none")
        (folder / "models").mkdir()
        shutil.copyfile(source, folder / "models" / source.name)
        model = spec.model.model_copy(update={"reference": f"python:models/{source.name}:{match[2]}"})
        text = spec.model_copy(update={"model": model}).to_yaml()
    elif match := _MODEL_MODULE.fullmatch(spec.model.reference):
        _ship_module(match[1], folder)
    (folder / "job.yaml").write_text(text, encoding="utf-8")


def _ship_module(name: str, folder: Path) -> None:
    """Copy an importable package, or module of one file, into the job's folder."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise SpecError(f"model: the module {name} is not importable here, so it cannot be shipped")
    if found.submodule_search_locations:
        package = Path(next(iter(found.submodule_search_locations)))
        shutil.copytree(package, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    else:
        shutil.copyfile(found.origin, folder / Path(found.origin).name)


def _package_folder(name: str) -> Path:
    found = importlib.util.find_spec(name)
    locations = found.submodule_search_locations if found is not None else None
    if not locations:
        raise EngineError(f"the package {name} is not importable here, so it cannot be shipped")
    return Path(next(iter(locations)))


@contextlib.contextmanager
def _environment() -> Generator[None]:
    """Ray lets these variables win over the address it is given, and ignores a token unless its mode says so."""
    has_token = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    mode = {"RAY_AUTH_MODE": "token"} if has_token and "RAY_AUTH_MODE" not in os.environ else {}
    with environment(ALWAYS | mode | {"RAY_ADDRESS": "", "RAY_API_SERVER_ADDRESS": ""}):
        yield


def _connect(address: str) -> JobSubmissionClient:
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    for chatty in ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if not address.startswith(("http://", "https://")):
        example = "http://127.0.0.1:8265"
        raise EngineError(f"expected the address of a cluster's dashboard such as {example}, found {address!r}")
    try:
        return JobSubmissionClient(address)
    except (RayError, RuntimeError, OSError) as error:
        raise EngineError(
            f"could not reach the cluster's dashboard at {address}: {cluster_text(error)} (is the SSH tunnel open, and "
            "the cluster's token in RAY_AUTH_TOKEN?)"
        ) from error


def _follow(client: JobSubmissionClient, job: str, stream: TextIO) -> None:
    """Copy the driver's output until the job has ended; a connection that breaks is made again where it broke."""
    import aiohttp  # what the client itself uses

    written = 0

    async def copy() -> None:
        nonlocal written
        seen = 0  # the log starts from its beginning at each connection
        async for chunk in client.tail_job_logs(job):
            fresh = chunk[max(0, written - seen) :]
            seen += len(chunk)
            written = max(written, seen)
            stream.write(fresh)
            stream.flush()

    failures = 0
    while True:
        before = written
        try:
            with contextlib.suppress(aiohttp.ClientError):
                asyncio.run(copy())
            if client.get_job_status(job).is_terminal():
                return
        except (RuntimeError, OSError) as error:
            logger.debug("following %s: %s", job, cluster_text(error))
        failures = 0 if written > before else failures + 1
        if failures > _RECONNECTS:
            raise EngineError(f"lost the cluster while following {job}; it may still run there: `ray job status {job}`")
        time.sleep(_RECONNECT_S)


def _exit_code(client: JobSubmissionClient, job: str) -> int:
    info = client.get_job_info(job)
    if info.driver_exit_code is not None:
        return info.driver_exit_code
    succeeded = str(info.status) == "SUCCEEDED"
    if not succeeded:  # the driver never ran, or was stopped
        logger.error("job %s %s: %s", job, str(info.status).lower(), info.message)
    return 0 if succeeded else 1


def _stop(client: JobSubmissionClient, job: str) -> None:
    logger.warning("stopping job %s", job)
    try:
        client.stop_job(job)
        until = time.monotonic() + _STOP_S
        while time.monotonic() < until and not client.get_job_status(job).is_terminal():
            time.sleep(0.5)
    except (RuntimeError, OSError) as error:
        logger.error("could not stop job %s: %s; stop it with `ray job stop %s`", job, cluster_text(error), job)
