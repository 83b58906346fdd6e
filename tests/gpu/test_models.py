"""Each kind of model finds the same objects on the CPU and on a GPU, and on a GPU the same bytes again.

`make test-gpu` where there is a GPU; `SEGWORKERS_TEST_DEVICE=cpu make test-gpu` rehearses it without (conftest.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.errors import SpecError
from tests import runs
from tests.devices import compare
from tests.gpu.models import JOBS, Job

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
]


def run(job: Job, out: Path, device: str, **sets: Any) -> Path:
    """A finished run in which nothing failed."""
    summary = runs.run([job.inputs], out, job.model, **{**job.sets, "model__device": device, **sets})
    told = [row["message"] for row in runs.rows(out, "failures")]
    assert (summary.failed_inputs, summary.pixels_failed) == (0, 0), told
    return out


@pytest.mark.parametrize("name", JOBS)
def test_a_model_finds_the_same_objects_on_both_devices(
    name: str,
    device: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    job = JOBS[name](tmp_path, monkeypatch)
    rehearsal = device == "cpu"
    expected = run(job, tmp_path / "cpu", "cpu")
    assert len(runs.rows(expected, "instances")) >= job.least, "there is something to compare"
    if not rehearsal:
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    with torch.backends.mkldnn.flags(enabled=False) if rehearsal else nullcontext():
        try:
            found = run(job, tmp_path / "device", device)
        except SpecError as error:
            if name == "onnx" and "onnxruntime-gpu" in str(error):
                pytest.skip("onnxruntime has no CUDAExecutionProvider here: pip install onnxruntime-gpu in its place")
            raise
        again = run(job, tmp_path / "again", device, tiling__tile=256)
    if not rehearsal and job.in_torch:
        assert torch.cuda.max_memory_allocated() > held, "the model has computed on the GPU"
    agreement = compare(expected, found, job.allowed)
    record_property("agreement", str(agreement))
    assert agreement.problems == (), str(agreement)
    assert agreement.matched >= job.least
    assert runs.files(found) == runs.files(again), "the same device says the same, whatever the work tiles"
