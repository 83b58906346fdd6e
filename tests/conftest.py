"""Settings of every test: hypothesis profiles, and a private Ray that writes nothing outside its own folder."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from schemas import discretion

if TYPE_CHECKING:
    from jobs.engines.cluster import RayEngine

# Ray reads these when it is imported; the processes that tests start inherit them.
os.environ.update(
    {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every port on 127.0.0.1
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_DEDUP_LOGS": "0",
    }
)
for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN_PATH"):
    os.environ.pop(name, None)

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("fast", max_examples=15, deadline=None, suppress_health_check=_SLOW)
settings.register_profile("nightly", max_examples=300, deadline=None, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups when collection ends
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, those that start Ray stay in one: two Rays at once are one too many.

    The others stay with their file, whose fixtures are then made once. Ray's come first: they are the longest group.
    """
    for item in items:
        starts_ray = item.get_closest_marker("cluster") or "ray_engine" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("ray" if starts_ray else item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: next(item.iter_markers("xdist_group")).args != ("ray",))


@pytest.fixture(autouse=True)
def talkative() -> Iterator[None]:
    """A test with patients leaves the process discreet: the next one need not be."""
    yield
    discretion.end()


@pytest.fixture(scope="session")
def ray_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayEngine]:
    """One private Ray for the whole run, with 4 CPUs and 2 GPUs that exist on paper only.

    Workers have another cache of models than the driver, as on other machines.
    """
    from jobs.engines.cluster import RayEngine
    from jobs.engines.scheduler import Limits

    limits = Limits(room_s=60.0, load_s=60.0, tick_s=0.05, first_backoff_s=0.05, most_backoff_s=0.2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGWORKERS_CACHE", str(tmp_path_factory.mktemp("workers-cache")))
        engine = RayEngine("local", num_cpus=4, num_gpus=2, object_store_bytes=100 << 20, limits=limits)
    yield engine
    engine.close()
