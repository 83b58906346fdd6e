"""Weights of torchvision's Mask R-CNN: from a file, or by torchvision's name. Imports torch."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
# torchvision ships without type information.

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from torch import Tensor
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights, MaskRCNN_ResNet50_FPN_Weights

from schemas.errors import SpecError
from segworkers.segmenters.maskrcnn_options import Version
from segworkers.segmenters.torch_state import read_state

UNNAMED = "N/A"

_CLASSES = "roi_heads.box_predictor.cls_score.weight"
_ENUMS = {"v1": MaskRCNN_ResNet50_FPN_Weights, "v2": MaskRCNN_ResNet50_FPN_V2_Weights}


def coco_categories() -> tuple[str, ...]:
    """Names of the 91 outputs of a COCO network, background first; ids that COCO never used are `N/A`."""
    return tuple(MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])


def named_file(version: Version, name: str, *, fetch: bool) -> tuple[Path, str]:
    """Where torch keeps the weights called `name` (COCO_V1 or DEFAULT), and the hash that identifies them.

    Downloads them into torch's cache where they are missing and `fetch` is set; checked against the hash then, also
    where they lay there. Raises SpecError where there is no such name, the download fails or the file is another.
    """
    members = {member.name: member for member in _ENUMS[version]} | {"DEFAULT": _ENUMS[version].DEFAULT}
    if name not in members:
        raise SpecError(f"torchvision has no Mask R-CNN {version} weights called {name!r}; it has {', '.join(members)}")
    url = str(members[name].url)
    if fetch:
        reference = "maskrcnn" if version == "v1" else "maskrcnn_v2"
        hint = f"without network, copy the file there, or give any weights file with --model {reference}:PATH"
        path = _downloaded(url, hint)
    else:
        path = _cached(url)
    hash_prefix = path.stem.rpartition("-")[2]
    return path, hash_prefix


def torchvision_file(name: str) -> Path:
    """The file behind one of torchvision's names, such as `MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1`.

    In torch's own cache, downloaded where it is missing, checked against the hash that torchvision's address carries.
    Raises SpecError where there is no such name, the download fails or the file is another.
    """
    try:
        url = str(torchvision.models.get_weight(name).url)
    except ValueError as error:
        raise SpecError(f"torchvision has no weights called {name!r}: {error}") from error
    return _downloaded(url, hint="without network, copy the file there")


def _cached(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def _downloaded(url: str, hint: str) -> Path:
    """The file at `url`, fetched into torch's cache where it is missing, checked against the hash in its name.

    Raises SpecError, which ends with `hint` where it cannot be fetched.
    """
    path = _cached(url)
    prefix = path.stem.rpartition("-")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=False)
        except (OSError, RuntimeError) as error:
            raise SpecError(
                f"torchvision weights {path.name} are not in {path.parent} and could not be downloaded ({error}); "
                f"{hint}"
            ) from error
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(prefix):
        raise SpecError(f"{path}: expected a sha256 that begins with {prefix}, found {found}; delete the file")
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict of a Mask R-CNN in a file (`torch_state.read_state`).

    Raises SpecError where the file holds something else.
    """
    state = read_state(path)
    if _CLASSES not in state:
        raise SpecError(f"weights {path}: not a torchvision Mask R-CNN: there is no {_CLASSES}")
    return state


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
