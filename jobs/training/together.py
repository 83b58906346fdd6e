"""Training by several processes with Ray Train: one on each GPU, or on CPUs with gloo. Each reads the data itself."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false
# Ray Train and torch.distributed are partly untyped.

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs import bootstrap
from jobs.training.member import prepare, train_member
from jobs.training.spec import TrainSpec
from schemas.errors import SpecError
from segworkers.segmenters.bundles import OpenBundle
from segworkers.training.team import Team, mean_gradients

LOG = "training.log"
"""In the bundle's folder: what the first process says, for the driver to show."""
_FOLLOW_S = 0.5


def train_together(spec: TrainSpec, address: str | None, progress: Callable[[str], None]) -> None:
    """Train with `spec.workers` processes; data, annotations and output must lie where all of them see them.

    address: of a running Ray cluster; None: `RAY_ADDRESS`, else a private instance on this machine.
    Raises SpecError where there are not as many GPUs, or CPUs, as that takes, and for what is wrong with the data.
    """
    _, planned, start = prepare(spec)  # what is wrong with the data is better said here than by several processes
    batch = spec.batch or planned.recipe.batch
    if batch < spec.workers:
        raise SpecError(f"--batch {batch}: expected at least a crop for each of {spec.workers} processes")
    engine = bootstrap.ray_engine(address)
    try:
        gpu = spec.device.startswith("cuda") or (spec.device == "auto" and _there("GPU") >= spec.workers)
        need = "GPU" if gpu else "CPU"
        if _there(need) < spec.workers:
            raise SpecError(
                f"--workers {spec.workers}: expected as many {need}s in the Ray cluster, found {_there(need):g}"
            )
        progress(f"Ray Train: {spec.workers} processes, one {need} each")
        placed = _placed(replace(spec, device="cuda" if gpu else "cpu"), start)
        with tempfile.TemporaryDirectory(prefix="segworkers-train-") as scratch, _followed(placed, progress):
            _fit(placed, gpu, scratch)
    finally:
        engine.close()


def _placed(spec: TrainSpec, start: OpenBundle | None) -> TrainSpec:
    """The job with absolute paths, because processes of a team run in other folders."""
    return replace(
        spec,
        data=spec.data.absolute(),
        output=spec.output.absolute(),
        truth=tuple(path.absolute() for path in spec.truth),
        validation=str(Path(spec.validation).absolute()) if Path(spec.validation).is_dir() else spec.validation,
        start=None if start is None else start.place,
    )


def _fit(spec: TrainSpec, gpu: bool, scratch: str) -> None:
    try:
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        raise SpecError(f'--workers {spec.workers}: needs {error.name}: pip install "segworkers[train]"') from error

    trainer = TorchTrainer(
        _member,
        train_loop_config={"spec": spec},
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=spec.workers, use_gpu=gpu),
        run_config=RunConfig(storage_path=scratch, name="train"),
    )
    try:
        trainer.fit()
    except Exception as error:
        raise SpecError(f"--workers {spec.workers}: a process failed: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """The last line of what the process said."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _there(resource: str) -> float:
    import ray

    return float(ray.cluster_resources().get(resource, 0))


@contextlib.contextmanager
def _followed(spec: TrainSpec, progress: Callable[[str], None]) -> Generator[None]:
    """Pass on what the first process writes into the log, until the block is left; the log is removed then."""
    path, done = spec.output / LOG, threading.Event()
    spec.output.mkdir(parents=True, exist_ok=True)
    path.write_text("")

    def follow() -> None:
        with path.open(encoding="utf-8") as file:
            last = False
            while not last:
                last = done.wait(_FOLLOW_S)
                for line in file:
                    progress(line.rstrip("\n"))

    thread = threading.Thread(target=follow, name="training-log")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        path.unlink(missing_ok=True)


def _member(config: dict[str, Any]) -> None:
    """One process: its place in the team, its share of the batches."""
    from ray import train

    context = train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    spec: TrainSpec = config["spec"]

    def say(line: str) -> None:
        with (spec.output / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    train_member(spec, say if rank == 0 else _nothing, Team(rank=rank, size=size, mean_gradients=mean_gradients))


def _nothing(_line: str) -> None:
    pass
