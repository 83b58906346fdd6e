"""The engine on Ray actors: the one door to Ray for a running job.

Ray places processes and carries calls; what to retry, when to give up and how much is in flight is the scheduler's.
"""
# Ray's decorators and handles are untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import importlib
import logging
import math
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jobs.engines.backlog import Backlog
from jobs.engines.base import EngineError, Item, Outcome, Resources, Result, Worker, cluster_text
from jobs.engines.embedded import ALWAYS, SessionFolder, embedded_environment, environment
from jobs.engines.host import Host, Reply
from jobs.engines.scheduler import IN_FLIGHT, Limits, Scheduler
from schemas.discretion import WITHHELD, is_on, one_line

logger = logging.getLogger(__name__)

_NODES_FRESH_S = 5.0
_EMBEDDED_ROOM_S = 180.0  # nobody adds machines to a private instance: waiting long is a mistake
_FETCH_S = 60.0

ENTRYPOINT = "segworkers"
"""What a cluster is told that the driver was started as."""


class RayEngine:
    """Workers as Ray actors, on this machine or on a cluster.

    address: of a running cluster ("auto", "host:6379"); "local" starts a private instance on this machine's loopback
        interface, with token authentication and without dashboard; None: `RAY_ADDRESS` if set, else "local".
    num_cpus, num_gpus: what a private instance may hand out; None: what the machine has. Not for a running cluster.
    runtime_env: Ray's runtime environment of the driver, e.g. `{"py_modules": [...]}` for code that the cluster's
        machines do not have installed.
    limits: bounds of the waits; `deadline_s` in it is replaced by that of each `map`.

    A private instance ends with `close` (also at exit). One `map` at a time per kind of resource: a second one that
    needs what the first one holds waits for it, and gives up in the end.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        num_cpus: int | None = None,
        num_gpus: int | None = None,
        object_store_bytes: int = 200 << 20,
        runtime_env: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.address = address or os.environ.get("RAY_ADDRESS") or "local"
        self.is_embedded = self.address == "local"
        self._folder: SessionFolder | None = None
        self._owns_connection = False
        self._restore: Callable[[], None] | None = None
        self._limits = limits or Limits(room_s=_EMBEDDED_ROOM_S if self.is_embedded else Limits().room_s)
        if self.address.startswith("ray://"):
            raise EngineError(
                f"{self.address} is a Ray Client address, which this engine does not use; run the job on the cluster "
                "with `segworkers submit job.yaml --address http://HEAD:8265`"
            )
        options: dict[str, Any] = {"runtime_env": dict(runtime_env)} if runtime_env else {}
        atexit.register(self.close)
        try:
            if self.is_embedded:
                self._embed(options, num_cpus, num_gpus, object_store_bytes)
            else:
                self._connect(options)
        except BaseException:
            self.close()
            raise

    def _embed(self, options: dict[str, Any], num_cpus: int | None, num_gpus: int | None, store: int) -> None:
        self._folder = SessionFolder()
        options |= {"num_cpus": num_cpus, "num_gpus": num_gpus, "object_store_memory": store}
        options |= {"include_dashboard": False, "_temp_dir": str(self._folder.temp)}
        with environment(embedded_environment()):
            self._init("local", options)

    def _connect(self, options: dict[str, Any]) -> None:
        has_token = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
        mode = {"RAY_AUTH_MODE": "token"} if has_token and "RAY_AUTH_MODE" not in os.environ else {}
        with environment(ALWAYS | mode):
            self._init(self.address, options)

    def _init(self, address: str, options: dict[str, Any]) -> None:
        import ray
        from ray import exceptions

        if ray.is_initialized():
            if self.is_embedded:
                raise EngineError("this process is connected to Ray already; close that engine or give its address")
            return  # the caller's connection: used, and left open
        _read_environment_again()
        self._owns_connection = True
        self._restore = _quieten()
        started = time.monotonic()
        try:
            with _nameless(self._folder.path if self._folder else Path(os.sep)):
                ray.init(address=address, log_to_driver=False, configure_logging=False, **options)
        except (ConnectionError, RuntimeError, ValueError, OSError, exceptions.RayError) as error:
            where = "a private Ray instance" if self.is_embedded else f"the Ray cluster at {address}"
            raise EngineError(
                f"could not reach {where}: {cluster_text(error)} (a cluster with authentication needs its token in "
                "RAY_AUTH_TOKEN; the Ray and Python versions on both sides must agree)"
            ) from error
        logger.debug("connected to Ray (%s) in %.1f s", address, time.monotonic() - started)

    def map(
        self,
        factory: Callable[[], Worker[Item, Result]],
        items: Iterable[Item],
        *,
        resources: Resources,
        split: Callable[[Item], Sequence[Item]],
        deadline_s: float | None = None,
        describe: Callable[[Item], str] = str,
    ) -> Iterator[Outcome[Item, Result]]:
        """See `Engine.map`. Raises `EngineError` if no process can be placed or none can build its worker."""
        fleet = _RayFleet(factory, resources, _Machines(resources, may_wait=not self.is_embedded))
        limits = dataclasses.replace(self._limits, deadline_s=deadline_s)
        yield from Scheduler[Item, Result](fleet, Backlog(items, split), limits, describe).outcomes()

    def gpus(self) -> float:
        """GPUs of all nodes that have joined so far; an autoscaling cluster may have none yet."""
        import ray

        return float(ray.cluster_resources().get("GPU", 0.0))

    def places(self, resources: Resources) -> int:
        """See `Engine.places`. As if nothing else ran on the machines."""
        return _Machines(resources, may_wait=not self.is_embedded).target()

    def close(self) -> None:
        """End a private instance with all its processes and files, or leave the cluster; idempotent."""
        atexit.unregister(self.close)
        if self._owns_connection:
            import ray

            self._owns_connection = False
            ray.shutdown()
        if self._restore is not None:
            self._restore()
            self._restore = None
        if self._folder is not None:
            self._folder.remove()
            self._folder = None


class _Machines:
    """What there is room for on the cluster, when nothing else runs on it."""

    def __init__(self, resources: Resources, *, may_wait: bool) -> None:
        """may_wait: machines may join later. Raises EngineError where none may, and there is no room for a process."""
        import ray

        self._ray = ray
        self._asked = resources.workers
        self._needs = _needs(resources)
        self._may_wait = may_wait
        self._nodes: list[dict[str, float]] = []
        self._nodes_at = -math.inf
        if not may_wait and self._room() == 0:
            raise EngineError(f"{self.describe()}; lower the threads, GPUs or memory per worker")

    def target(self) -> int:
        """How many processes there shall be now; at least 1."""
        room, asked = self._room(), self._asked
        if not self._may_wait:
            return room if asked is None else max(1, min(room, asked))
        # A process that waits for room is what makes an autoscaler add machines: ask for all that were named.
        return max(1, room) if asked is None else max(1, asked)

    def describe(self) -> str:
        """What a process needs, and what the machines have."""
        needs = ", ".join(_amount(name, count) for name, count in self._needs.items())
        there_is = {", ".join(_amount(name, node.get(name, 0)) for name in self._needs) for node in self._alive()}
        return f"a worker needs {needs}; the machines have {' | '.join(sorted(there_is)) or 'nothing: there are none'}"

    def _alive(self) -> list[dict[str, float]]:
        now = time.monotonic()
        if now - self._nodes_at > _NODES_FRESH_S:
            self._nodes_at = now
            self._nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return self._nodes

    def _room(self) -> int:
        return sum(
            min(math.floor(node.get(name, 0) / count + 1e-9) for name, count in self._needs.items())
            for node in self._alive()
        )


class _RayFleet:
    """The scheduler's view of the cluster, for one `map`."""

    def __init__(self, factory: Callable[[], Worker[Any, Any]], resources: Resources, machines: _Machines) -> None:
        import ray
        from ray import exceptions

        self._ray = ray
        self._errors = exceptions
        self._threads = max(1, resources.threads)
        self._machines = machines
        self._factory = ray.put(factory)  # once, however many processes load it
        self._actor_class = ray.remote(Host).options(**_actor_options(resources))

    def target(self) -> int:
        return self._machines.target()

    def start(self) -> Any:
        return self._actor_class.remote(self._threads)

    def send(self, process: Any, method: Literal["hello", "load", "call"], item: Any = None) -> Any:
        if method == "hello":
            return process.hello.remote()
        return process.load.remote(self._factory) if method == "load" else process.call.remote(item)

    def wait(self, calls: Sequence[Any], timeout_s: float) -> Sequence[Any]:
        if not calls:  # every process is between two lives
            time.sleep(timeout_s)
            return []
        self._ray.wait(list(calls), num_returns=1, timeout=timeout_s)
        ready, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0)
        return ready

    def receive(self, call: Any) -> Reply:
        try:
            return self._ray.get(call, timeout=_FETCH_S)
        except self._errors.RayTaskError as error:  # beyond the host: what cannot be pickled
            return Reply("raised", error=one_line(error.cause, 1000), details=WITHHELD if is_on() else str(error))
        except self._errors.ActorDiedError as error:
            return Reply("died", error=_why(error), to_blame=not error.preempted)
        except (self._errors.RayError, TimeoutError) as error:
            return Reply("died", error=_why(error))

    def kill(self, process: Any) -> None:
        try:
            self._ray.kill(process, no_restart=True)
        except Exception:  # the connection itself may be gone, and the processes go with it
            logger.debug("could not kill a worker process", exc_info=True)

    def clock(self) -> float:
        return time.monotonic()

    def describe(self) -> str:
        return self._machines.describe()


def _needs(resources: Resources) -> dict[str, float]:
    """In Ray's names. A GPU worker's threads mostly wait for the GPU, so it reserves none."""
    needs: dict[str, float] = {"GPU": resources.gpus} if resources.gpus > 0 else {"CPU": max(1, resources.threads)}
    if resources.memory_bytes:
        needs["memory"] = resources.memory_bytes
    return needs


def _actor_options(resources: Resources) -> dict[str, Any]:
    needs = _needs(resources)
    return {
        "num_cpus": needs.get("CPU", 0),
        "num_gpus": needs.get("GPU", 0),
        "memory": needs.get("memory"),
        "max_concurrency": IN_FLIGHT,
        "max_restarts": 0,  # the scheduler starts another one, after a pause and with its attempts counted
        "max_task_retries": 0,
    }


def _amount(name: str, count: float) -> str:
    return f"{count / 2**30:.1f} GiB memory" if name == "memory" else f"{count:g} {name}"


def _why(error: BaseException) -> str:
    """How the process ended, out of Ray's long account of it."""
    text = " ".join(str(error).split())
    text = text.partition("Worker exit detail: ")[2] or text.partition("its worker process has died. ")[2] or text
    return f"{type(error).__name__}: {text.partition(' Some common causes')[0]}"[:400]


def _read_environment_again() -> None:
    """Ray reads its switches when it is imported, which somebody may have done before this engine set them."""
    constants: Any = importlib.import_module("ray._private.ray_constants")
    raylet: Any = importlib.import_module("ray._raylet")
    if not hasattr(constants, "ENABLE_RAY_CLUSTER"):
        logger.warning("this version of Ray has no loopback switch: a private instance may listen on the network")
    switch, default = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", not constants.IS_WINDOWS_OR_OSX
    constants.ENABLE_RAY_CLUSTER = constants.env_bool(switch, default)
    constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
    raylet.Config.initialize("")  # the authentication mode
    raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _nameless(place: Path) -> Generator[None]:
    """Have Ray record neither the driver's command line as the job's entrypoint nor its working directory.

    Both may name a patient, and a cluster keeps them for all its users, dashboards and logs. There is no option for
    either: the first is what a function of Ray's returns, the second is the process's own while it connects, so it
    is `place` for that long. Ray adds it to the import paths of workers, so nobody else may write there. Workers of a
    private instance start in it.
    """
    from ray._private import utils

    before = utils.get_entrypoint_name
    utils.get_entrypoint_name = lambda: ENTRYPOINT
    try:
        with contextlib.chdir(place), environment({"PWD": str(place), "OLDPWD": str(place)}):
            yield
    finally:
        utils.get_entrypoint_name = before


def _quieten() -> Callable[[], None]:
    """Send to the log what Ray prints on the driver's standard output when a process dies; returns the way back.

    `log_to_driver=False` does not cover these messages, and standard output is for results.
    """
    from ray._private import worker

    def to_log(data: Mapping[str, Any], ignore_prefix: bool = False) -> None:  # noqa: ARG001 - Ray's signature
        logger.debug("ray: %s", "\n".join(data.get("lines", ())))

    before = worker.print_to_stdstream
    level = logging.getLogger("ray").level
    worker.print_to_stdstream = to_log
    logging.getLogger("ray").setLevel(logging.ERROR)

    def restore() -> None:
        worker.print_to_stdstream = before
        logging.getLogger("ray").setLevel(level)

    return restore
