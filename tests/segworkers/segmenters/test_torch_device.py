"""What torch is told before a model is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from schemas.errors import SpecError
from segworkers.segmenters.families import FAMILIES
from segworkers.segmenters.loading import load_model, resolve_model
from segworkers.segmenters.torch_device import current_threads, fix_threads, pick_device
from tests.model_bundles import FAMILY, logistic

MINE = """
class Mine:
    kind, window, overlap, classes = "dense", (1, 8, 8), (0, 0, 0), ("a",)

    def __init__(self, device):
        pass

    def predict(self, windows):
        return (windows[:, 0] > 0).astype("uint8")
"""


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    threads, cudnn, matmul = torch.get_num_threads(), torch.backends.cudnn, torch.backends.cuda.matmul
    flags = (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32)
    yield
    torch.set_num_threads(threads)
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = flags


def test_cuda_computes_in_float32_and_repeatably(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = True, False, True, True
    fix_threads(2)
    assert not cudnn.allow_tf32 and not matmul.allow_tf32
    assert cudnn.deterministic and not cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert current_threads() == 2
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    fix_threads(1)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_every_model_is_loaded_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "logistic", FAMILY)
    logistic(tmp_path / "bright")
    (tmp_path / "mine.py").write_text(MINE)
    for reference in (str(tmp_path / "bright"), f"python:{tmp_path / 'mine.py'}:Mine"):
        torch.backends.cudnn.allow_tf32 = True
        load_model(resolve_model(reference, {}, "cpu")[1])
        assert not torch.backends.cudnn.allow_tf32, reference


def test_a_device_that_is_not_there_is_refused() -> None:
    assert pick_device("cpu") == "cpu"
    assert pick_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(SpecError, match=r"model\.device=cuda:63: torch sees \d+ CUDA devices"):
        pick_device("cuda:63")
