from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

CLUSTER = Path(__file__).parents[3] / "cluster.yaml"


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return yaml.safe_load(CLUSTER.read_text(encoding="utf-8"))


def test_validates_against_rays_own_schema(config: dict[str, Any]) -> None:
    ray = importlib.util.find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    schema = json.loads((Path(ray.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config | {"min_workers": 1}, schema)


def test_the_head_computes_nothing_and_workers_scale_from_zero_on_spot(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"]["CPU"] == 0
    assert "--num-cpus=0" in " ".join(config["head_start_ray_commands"])
    assert types["gpu"]["min_workers"] == 0
    assert types["gpu"]["resources"]["GPU"] >= 1
    assert types["gpu"]["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert types["gpu"]["max_workers"] <= config["max_workers"]


def test_nothing_listens_beyond_the_cluster_and_the_token_is_asked_for(config: dict[str, Any]) -> None:
    head, worker = (" ".join(config[f"{who}_start_ray_commands"]) for who in ("head", "worker"))
    assert "--dashboard-host=127.0.0.1" in head
    assert all("RAY_AUTH_MODE=token" in command for command in (head, worker))
    assert "security_group" not in config["provider"]
    assert "--ray-client-server-port" not in head
