"""Tensors out of a file, without executing anything in it: safetensors, or torch's own format as weights only."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# What a file holds has no type before it is looked at.

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from schemas.errors import SpecError


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a .safetensors, .pth or .pt file, on the CPU.

    A checkpoint that holds it under `model` or `state_dict` is unwrapped, and so are names that begin with `module.`.
    Raises SpecError where the file is missing, torn, or holds anything but names and tensors.
    """
    content: Any = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise SpecError(f"weights {path}: expected a state dict (names and tensors), found {type(content).__name__}")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _read_pickle(path: Path) -> object:
    try:
        # Mapped files cost no memory for what is not read; the format from before 2020 cannot be mapped.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError as error:
        raise SpecError(f"weights {path}: no such file") from error
    except Exception as error:  # bytes that are no pickle make the unpickler raise nearly anything
        reason = str(error).partition("\n")[0]
        raise SpecError(
            f"weights {path}: cannot be read as tensors only ({reason}); "
            "save them again with torch.save(model.state_dict(), path)"
        ) from error


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except FileNotFoundError as error:
        raise SpecError(f"weights {path}: no such file") from error
    except (SafetensorError, OSError) as error:
        raise SpecError(f"weights {path}: cannot be read as safetensors ({error})") from error
