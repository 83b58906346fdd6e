"""Which device a model runs on, and how many threads torch uses. One of the few modules that import torch."""

from __future__ import annotations

import os

import torch

from schemas.errors import SpecError


def pick_device(wanted: str) -> str:
    """A torch device name for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`: `auto` is CUDA where there is one.

    Raises SpecError where the wanted device is not there.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda"):
        have = torch.cuda.device_count()
        index = int(wanted.partition(":")[2] or 0)
        if index >= have:
            raise SpecError(f"model.device={wanted}: torch sees {have} CUDA devices here; use cpu or auto")
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise SpecError("model.device=mps: torch sees no MPS device here; use cpu or auto")
    return wanted


def fix_threads(threads: int) -> None:
    """Let torch compute with `threads` CPU threads in this process, in float32 as such, and repeatably.

    The number is part of what makes results repeatable: sums are split by thread.

    On CUDA the same windows give the same bits on the same kind of GPU with the same libraries, and what a CPU gives up
    to float32 rounding. So there is no TF32, cuDNN's default, whose mantissa has 10 bits (NVIDIA A100 architecture
    white paper, 2020), and no algorithm that is chosen by timing or adds up in any order.
    `use_deterministic_algorithms` stays off: forward passes hardly have other operators that it is for, and it would
    run torchvision's RoIAlign, whose forward kernel adds up in a fixed order, as Python code that takes gigabytes.
    """
    torch.set_num_threads(threads)
    # read when cuBLAS starts; only where a model uses several streams does it choose by what else is running
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def current_threads() -> int:
    """The number of CPU threads that torch computes with, for other runtimes that should use as many."""
    return torch.get_num_threads()
