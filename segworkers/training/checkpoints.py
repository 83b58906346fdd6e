"""A training run's state on disk: written whole after each validation, so that a run that died goes on from there."""
# pyright: reportUnknownMemberType=false
# torch's save and load are partly untyped.

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from schemas.errors import SpecError
from segworkers.whole_files import write_whole

_FORMAT = 1


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
