"""The device that is compared with the CPU.

`SEGWORKERS_TEST_DEVICE=cpu` rehearses where there is no GPU: the second device is then the same CPU without oneDNN,
whose other kernels sum in another order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> str:
    """`cuda`, or what the environment says; skips where it is not there."""
    wanted = os.environ.get("SEGWORKERS_TEST_DEVICE", "cuda")
    if wanted != "cpu" and not torch.cuda.is_available():
        pytest.skip(
            f"torch {torch.__version__} sees no CUDA device (built for CUDA {torch.version.cuda}); "
            "SEGWORKERS_TEST_DEVICE=cpu rehearses on the CPU"
        )
    return wanted


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
