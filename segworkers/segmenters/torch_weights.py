"""Weights of torchvision's Mask R-CNN: from a file, or by torchvision's name. Imports torch."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
# torchvision ships without type information.

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights, MaskRCNN_ResNet50_FPN_Weights

from schemas.errors import SpecError
from segworkers.segmenters.maskrcnn_options import Version

UNNAMED = "N/A"

_CLASSES = "roi_heads.box_predictor.cls_score.weight"
_ENUMS = {"v1": MaskRCNN_ResNet50_FPN_Weights, "v2": MaskRCNN_ResNet50_FPN_V2_Weights}


def coco_categories() -> tuple[str, ...]:
    """Names of the 91 outputs of a COCO network, background first; ids that COCO never used are `N/A`."""
    return tuple(MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])


def named_file(version: Version, name: str, *, fetch: bool) -> tuple[Path, str]:
    """Where torch keeps the weights called `name` (COCO_V1 or DEFAULT), and the hash that identifies them.

    Downloads them into torch's cache where they are missing and `fetch` is set; checked against the hash.
    Raises SpecError where there is no such name or the download fails.
    """
    members = {member.name: member for member in _ENUMS[version]} | {"DEFAULT": _ENUMS[version].DEFAULT}
    if name not in members:
        raise SpecError(f"torchvision has no Mask R-CNN {version} weights called {name!r}; it has {', '.join(members)}")
    url = str(members[name].url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    hash_prefix = path.stem.rpartition("-")[2]
    if fetch and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=hash_prefix, progress=False)
        except (OSError, RuntimeError) as error:
            reference = "maskrcnn" if version == "v1" else "maskrcnn_v2"
            raise SpecError(
                f"torchvision weights {path.name} are not in {path.parent} and could not be downloaded ({error}); "
                f"without network, copy the file there, or give any weights file with --model {reference}:PATH"
            ) from error
    return path, hash_prefix


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a .pth or .pt file (tensors only, nothing in it is executed) or a .safetensors file.

    A checkpoint that holds it under `model` or `state_dict` is unwrapped, and so are names that begin with `module.`.
    Raises SpecError where the file holds something else.
    """
    content: Any = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise SpecError(f"weights {path}: expected a state dict (names and tensors), found {type(content).__name__}")
    state = {str(name).removeprefix("module."): value for name, value in content.items()}
    if _CLASSES not in state:
        raise SpecError(f"weights {path}: not a torchvision Mask R-CNN: there is no {_CLASSES}")
    return state


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
    if importlib.util.find_spec("safetensors") is None:
        raise SpecError(f"weights {path}: reading .safetensors needs the package safetensors: pip install safetensors")
    try:
        return importlib.import_module("safetensors.torch").load_file(str(path))
    except FileNotFoundError as error:
        raise SpecError(f"weights {path}: no such file") from error
    except Exception as error:  # its own error class exists only where the package does
        raise SpecError(f"weights {path}: cannot be read as safetensors ({error})") from error


def frozen_epsilon(path: Path, state: Mapping[str, Tensor]) -> float | None:
    """Epsilon that the weights need in frozen batch norms: 0 for torchvision's v1 COCO file, None for the default.

    The file is known by its SHA-256, of which torchvision keeps the first digits, whatever its name.
    """
    if class_count(state) != len(coco_categories()) - 1:
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    url = str(MaskRCNN_ResNet50_FPN_Weights.COCO_V1.url)
    return 0.0 if digest.startswith(Path(url).stem.rpartition("-")[2]) else None


def class_count(state: Mapping[str, Tensor]) -> int:
    """Classes that the network tells apart, without background."""
    return int(state[_CLASSES].shape[0]) - 1


def version_of(state: Mapping[str, Tensor]) -> Version:
    """Which of torchvision's two builders the weights belong to: v2 has convolutions in its box head."""
    return "v1" if "roi_heads.box_head.fc6.weight" in state else "v2"


def output_names(state: Mapping[str, Tensor], classes: tuple[str, ...] | None, where: str) -> tuple[str, ...]:
    """The name of every output without background, checked against the weights.

    classes: the user's names, or None, which suffices for the 91 outputs of COCO.
    Raises SpecError with both numbers where they differ.
    """
    count = class_count(state)
    coco = coco_categories()[1:]
    if classes is None:
        if count == len(coco):
            return coco
        raise SpecError(f"{where}: the weights tell {count} classes apart; name them: model.options.classes=[...]")
    if len(classes) != count:
        raise SpecError(f"{where}: model.options.classes has {len(classes)} names, the weights have {count} classes")
    return classes


def kept_names(outputs: tuple[str, ...], keep: tuple[str, ...] | None, where: str) -> tuple[str, ...]:
    """The manifest's classes: the named outputs in the network's order, or the chosen ones.

    Raises SpecError where a chosen name is not an output's.
    """
    named = tuple(name for name in outputs if name != UNNAMED)
    unknown = [name for name in keep or () if name not in named]
    if unknown:
        raise SpecError(f"{where}: model.options.keep: no class {', '.join(unknown)}; there are {', '.join(named)}")
    return tuple(name for name in named if keep is None or name in keep)
