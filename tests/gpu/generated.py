"""Networks with random weights whose last layer is solved for, so that they find something and are sure of it.

What a random network finds lies everywhere near its thresholds, where rounding decides; least squares of the last
layer (an extreme learning machine: Huang et al., Neurocomputing 2006) take seconds and leave margins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from schemas.bundles import ModelBundle
from schemas.models import ModelManifest
from segworkers.segmenters import torch_deepmeta, torch_unet, torch_unets
from segworkers.segmenters.bundles import open_bundle, weights_file, write_bundle
from segworkers.segmenters.torch_deepmeta import equalised
from segworkers.segmenters.torch_liver import lesion_input, scaled_hu
from segworkers.segmenters.unet_options import UNetShape
from tests.gpu.scenes import field, organ
from tests.model_bundles import CARD

LOGIT = 6.0
"""What the solved layer is to say of each class's own pixels, and its negative of others."""
WIDTHS = (8, 16, 32)
DOWN, UP = ((8, 16), (16, 16), (16, 32), (32, 32)), ((16, 8), (16, 16), (32, 16))
"""Features of the liver's networks, a few times less than the published ones have."""


def solved(network: nn.Module, last: nn.Module, shown: NDArray[np.float32], classes: NDArray[Any]) -> nn.Module:
    """The network in evaluation mode, its last layer, a convolution of 1 pixel, solved for the classes.

    shown: (n, bands, ...); classes: (n, ...), 0 and up, of the size of what the layer gives; for a layer of one output
    1 is what it is to find.
    """
    inputs: list[torch.Tensor] = []
    hook = last.register_forward_hook(lambda _module, given, _output: inputs.append(given[0]))
    network.eval()
    with torch.inference_mode():
        network(torch.from_numpy(shown))
    hook.remove()
    layer: Any = last
    features = inputs[0].flatten(2).transpose(1, 2).flatten(0, 1).double().numpy()
    if layer.bias is not None:
        features = np.column_stack([features, np.ones(len(features))])
    count = layer.weight.shape[0]
    wanted = classes.reshape(-1, 1) == (np.arange(count) if count > 1 else 1)
    weights, *_ = np.linalg.lstsq(features, np.where(wanted, LOGIT, -LOGIT), rcond=None)
    with torch.no_grad():
        if layer.bias is not None:
            layer.bias.copy_(torch.from_numpy(weights[-1]))
            weights = weights[:-1]
        layer.weight.copy_(torch.from_numpy(weights.T).reshape(layer.weight.shape))
    return network


def unet(folder: Path, axes: int, **given: Any) -> str:
    """A dense U-Net of our own, in planes (shown 0..1) or volumes (shown HU)."""
    torch.manual_seed(0)
    shape = UNetShape(widths=WIDTHS, axes=axes)
    network = torch_unet.UNet(shape, 1)
    solved(network, network.head, *(_planes() if axes == 2 else _volumes()))
    manifest = _planar(**given) if axes == 2 else _voluminous(**given)
    parameters = {"shape": {"widths": list(WIDTHS), "axes": axes}}
    return _bundle(folder, "unet", manifest, parameters, network)


def monai(folder: Path) -> str:
    """MONAI's BasicUNet on volumes, as a bundle of the family `monai`."""
    from monai.networks import nets

    torch.manual_seed(0)
    arguments = {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 2,
        "features": [8, 8, 16, 16, 32, 8],
        "norm": "batch",
    }
    network: Any = nets.BasicUNet(**arguments)
    solved(network, network.final_conv, *_volumes())
    parameters = {"head": {"type": "semantic"}, "network": {"target": "BasicUNet", "arguments": arguments}}
    return _bundle(folder, "monai", _voluminous(window=(16, 32, 32)), parameters, network, "model.pt")


def deepmeta(folder: Path) -> str:
    """The network of `mr-metastases`, for series of any kind: the organ as lung, what is dark in it as metastasis."""
    torch.manual_seed(0)
    values, whole, lesions = organ((4, 128, 128))
    shown = np.stack([equalised(plane, np.ones(plane.shape, bool)) for plane in values])[:, None]
    network = torch_deepmeta.DeepMetaNet(3)
    solved(network, network.outc.conv.pointwise, shown, whole.astype(int) + (whole & lesions))
    own = open_bundle("mr-metastases").definition
    manifest = replace(own.manifest, name="generated", modalities=())
    return _bundle(folder, "deepmeta", manifest, {}, network, "deepmeta.pth")


def liver_states() -> tuple[Mapping[str, NDArray[Any]], Mapping[str, NDArray[Any]]]:
    """Weights of the organ's and the lesions' networks, of the features DOWN and UP."""
    torch.manual_seed(0)
    values, whole, _ = organ((54, 81, 81))
    first = torch_unets.OrganNet(DOWN, UP)
    solved(first, _last(first), scaled_hu(values)[None, None], whole[None, 13:-13, 13:-13, 13:-13])
    values, whole, lesions = organ((66, 128, 128))
    shown = lesion_input(values, np.where(whole, 2, 1), whole)
    second = torch_unets.LesionNet(DOWN, UP)
    solved(second, _last(second), shown[None, None], lesions[None, 24:-24, 46:-46, 46:-46])
    return _arrays(first), _arrays(second)


def _last(network: Any) -> nn.Module:
    return network.convolutions[-1]


def _arrays(network: nn.Module) -> dict[str, NDArray[Any]]:
    return {name: value.numpy() for name, value in network.state_dict().items()}


def _planes() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    image, labels = field(256)
    return image[None, None], labels[None] > 0


def _volumes() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    values, whole, _ = organ((16, 64, 64))
    return values[None, None].astype(np.float32), whole[None]


def _planar(**given: Any) -> ModelManifest:
    own: dict[str, Any] = {"window": (1, 128, 128), "overlap": (0, 32, 32), "normalise": "percentile"}
    return ModelManifest(**{"name": "generated", "kind": "dense", "classes": ("thing",)} | own | given)


def _voluminous(**given: Any) -> ModelManifest:
    own: dict[str, Any] = {"window": (8, 32, 32), "overlap": (4, 8, 8), "connectivity": 26, "blend": "gaussian"}
    return ModelManifest(**{"name": "generated", "kind": "dense", "classes": ("organ",)} | own | given)


def _bundle(
    folder: Path,
    family: str,
    manifest: ModelManifest,
    parameters: dict[str, Any],
    network: nn.Module,
    file: str = "weights.safetensors",
) -> str:
    folder.mkdir(parents=True)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    (save_file if file.endswith(".safetensors") else torch.save)(state, str(folder / file))
    named = parameters if family == "monai" else parameters | {"weights": file}
    entry = weights_file(folder, file)
    bundle = ModelBundle(
        name="generated", family=family, manifest=manifest, card=CARD, weights=(entry,), parameters=named
    )
    write_bundle(bundle, folder)
    return str(folder)
