"""Which device a model runs on, and how many threads torch uses. One of the few modules that import torch."""

from __future__ import annotations

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
    """Let torch compute with `threads` CPU threads in this process and choose its algorithms deterministically.

    The number is part of what makes results repeatable: sums are split by thread.
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def current_threads() -> int:
    """The number of CPU threads that torch computes with, for other runtimes that should use as many."""
    return torch.get_num_threads()
