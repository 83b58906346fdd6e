"""The benchmark of devices on a machine without a GPU, and its arithmetic."""

from __future__ import annotations

import pytest
import torch

from benchmarks import devices


def test_spans_that_overlap_count_once() -> None:
    assert devices.covered([]) == 0
    assert devices.covered([(5, 7), (0, 2), (1, 3), (1, 2), (3, 4)]) == 6


@pytest.mark.skipif(torch.cuda.is_available(), reason="prints the CPU's column alone only where there is no GPU")
def test_without_a_gpu_the_cpu_is_measured_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["devices", "unet-planes", "--times", "1"])
    before = torch.get_num_threads()
    devices.main()
    torch.set_num_threads(before)
    told = capsys.readouterr().out
    assert "torch sees no CUDA device here: only the CPU is measured" in told and torch.__version__ in told
    (line,) = [line for line in told.splitlines() if line.startswith("unet-planes")]
    _, windows, rate = line.split()
    assert int(windows) == 25 and float(rate) > 0
