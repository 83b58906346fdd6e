"""A training run's state on disk: written whole after each validation, so that a run that died goes on from there."""
# pyright: reportUnknownMemberType=false
# torch's save and load are partly untyped.

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from schemas.errors import SpecError
from segworkers.training.samples import Sample
from segworkers.whole_files import write_whole

_FORMAT = 1


def run_key(told: str, network: nn.Module, samples: Iterable[Sample], validation: Iterable[Sample]) -> str:
    """What a run follows from, as a SHA-256: only a run of the same key goes on from another's state.

    told: family, options and augmentation. network: before the first step, so weights that it begins with count.
    samples, validation: what is trained and validated on, in order; every pixel, label and class counts.
    """
    digest = hashlib.sha256(told.encode())
    for name, value in network.state_dict().items():
        _add(digest, name, value.detach().cpu().numpy())
    for part, listed in (("trained on", samples), ("validated on", validation)):
        for each in listed:
            digest.update(repr((part, each.name, each.chance)).encode())
            for name in ("image", "labels", "classes", "ignored"):
                _add(digest, name, getattr(each, name))
    return digest.hexdigest()


def _add(digest: Any, name: str, values: Any) -> None:
    if values is None:
        digest.update(repr((name, None)).encode())
    else:
        digest.update(repr((name, values.dtype.str, values.shape)).encode())
        digest.update(np.ascontiguousarray(values))


def save_state(path: Path, key: str, state: Mapping[str, Any]) -> None:
    """Write a run's state; the file appears whole or not at all.

    key: what is trained and how; only a run of the same key goes on from it. state: tensors, numbers and text in
    mappings and lists.
    """
    content = io.BytesIO()
    torch.save({"format": _FORMAT, "key": key, "state": dict(state)}, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content.getvalue())


def load_state(path: Path, key: str) -> Mapping[str, Any] | None:
    """The state of a run of this key; None where there is no file. Nothing in the file is executed.

    Raises SpecError where the file is torn, or of another run.
    """
    if not path.exists():
        return None
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle make the unpickler raise nearly anything
        reason = str(error).partition("\n")[0]
        raise SpecError(f"checkpoint {path}: cannot be read ({reason}); delete it to train from the start") from error
    content = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    if content.get("format") != _FORMAT or content.get("key") != key:
        raise SpecError(
            f"checkpoint {path}: is of another training run: data, family or options differ; "
            "give the ones it was started with, or delete it to train from the start"
        )
    return cast("Mapping[str, Any]", content["state"])
