"""Two worker processes share one GPU, and their tables are those of one process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.engines.cluster import RayEngine
from tests import runs
from tests.segworkers.readers.rasters import write_raster

pytestmark = [pytest.mark.gpu, pytest.mark.cluster]

MODEL = """
import json, os, time

import numpy as np
import torch


class Blurred:
    kind, window, overlap, classes = "dense", (1, 64, 64), (0, 16, 16), ("bright",)
    normalise = "unit"

    def __init__(self, device, log):
        torch.manual_seed(0)
        self.device, self.log = device, log
        self.network = torch.nn.Conv2d(1, 1, 9, padding=4, bias=False).to(device)
        torch.nn.init.constant_(self.network.weight, 1 / 81)

    def predict(self, windows):
        with torch.inference_mode():
            said = self.network(torch.from_numpy(np.ascontiguousarray(windows[:, :, 0], np.float32)).to(self.device))
        with open(self.log, "a") as file:
            seen = [str(said.device), os.environ.get("CUDA_VISIBLE_DEVICES", "")]
            file.write(json.dumps([os.getpid(), *seen]) + "\\n")
        time.sleep(0.02)
        return (said[:, 0].cpu().numpy() > 0.4).astype("uint8")[:, None]
"""


@pytest.fixture(scope="module")
def one_gpu() -> Iterator[None]:
    """A private Ray with one GPU, on paper where there is none."""
    engine = RayEngine("local", num_cpus=2, num_gpus=1, object_store_bytes=100 << 20)
    yield
    engine.close()


def test_two_workers_on_one_gpu_give_the_tables_of_one_process(device: str, one_gpu: None, tmp_path: Path) -> None:
    from tests.gpu.scenes import field

    image = write_raster(tmp_path / "field.tif", (field()[0][None] * 255).astype("uint8"))
    (tmp_path / "model.py").write_text(MODEL)
    reference, log = f"python:{tmp_path / 'model.py'}:Blurred", tmp_path / "log"
    sets: dict[str, Any] = {"model__device": device, "tiling__tile": 64}
    runs.run([image], tmp_path / "one", reference, {"log": str(log)}, **sets)
    log.unlink()
    shared: dict[str, Any] = {
        "engine__kind": "ray",
        "engine__address": "auto",
        "engine__workers": 2,
        "engine__chunk_tiles": 1,
    }
    runs.run([image], tmp_path / "two", reference, {"log": str(log)}, **sets, **shared, engine__gpus_per_worker=0.5)
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert len({process for process, *_ in told}) == 2, "both workers have computed"
    assert {place.partition(":")[0] for _, place, _ in told} == {device}
    assert len({visible for *_, visible in told}) == 1, "and saw the same GPU"
    assert len(runs.rows(tmp_path / "two", "instances")) >= 15
    assert runs.files(tmp_path / "one") == runs.files(tmp_path / "two")
