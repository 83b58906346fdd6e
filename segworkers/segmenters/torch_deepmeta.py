"""DeepMeta (Lefèvre, MIT): a U-Net 3+ (Huang et al., ICASSP 2020) for lungs and metastases in slices of mouse MR.

Layers and their names are those of `models.py` of napari-deepmeta 2.1, so its weights fit as they are. Slices are shown
as the package's demo shows them: contrast-limited adaptive histogram equalisation (Zuiderveld, 1994) of each slice.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# scikit-image and parts of torch ship without type information.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from schemas.errors import SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseProbabilities

FEATURES = 16
_SKIP, _JOINED = 32, 160
_CLIP_LIMIT = 0.03


class _Separable(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, kernel, groups=inputs, bias=False, padding="same")
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class _Double(nn.Module):
    """Two separable convolutions; the places of dropout, which is idle in inference, are kept for the names."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for features in (inputs, outputs):
            layers += [_Separable(features, outputs, 3), nn.BatchNorm2d(outputs), nn.ReLU(), nn.Identity()]
        self.double_conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _Double(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class _Scaled(nn.Module):
    """A map of another level, brought to this one's size and to 32 features."""

    def __init__(self, inputs: int, scaling: nn.Module) -> None:
        super().__init__()
        self.scaling = scaling
        self.norm = nn.Conv2d(inputs, _SKIP, 3, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.scaling(x))


class _Concat(nn.Module):
    """All levels above this one, shrunk, and all below but the next, enlarged; each is (features, factor)."""

    def __init__(self, above: Sequence[tuple[int, int]], below: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.norm_down = nn.ModuleList(_Scaled(features, nn.MaxPool2d(factor)) for features, factor in above)
        self.norm_up = nn.ModuleList(
            _Scaled(features, nn.UpsamplingBilinear2d(scale_factor=factor)) for features, factor in below
        )

    def forward(self, above: Sequence[Tensor], below: Sequence[Tensor]) -> Tensor:
        parts = [layer(x) for layer, x in zip(self.norm_down, above, strict=True)]
        return torch.cat(parts + [layer(x) for layer, x in zip(self.norm_up, below, strict=True)], 1)


class _Up(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, _SKIP, 2, 2)
        self.conv = _Double(_JOINED, _JOINED)

    def forward(self, x: Tensor, joined: Tensor) -> Tensor:
        return self.conv(torch.cat([joined, self.up(x)], 1))


class _Out(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = _Separable(_JOINED, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class DeepMetaNet(nn.Module):
    """(n, 1, y, x) slices, sides multiples of 16, to (n, classes, y, x) scores; class 0 is background."""

    def __init__(self, classes: int = 3, features: int = FEATURES) -> None:
        """features: of the finest level, doubled at each of the four below it."""
        super().__init__()
        f = [features * 2**level for level in range(5)]
        self.down1, self.down2 = _Block(1, f[0]), _Block(f[0], f[1])
        self.down3, self.down4 = _Block(f[1], f[2]), _Block(f[2], f[3])
        self.bridge = _Block(f[3], f[4])
        self.up1, self.up2, self.up3, self.up4 = _Up(f[4]), _Up(_JOINED), _Up(_JOINED), _Up(_JOINED)
        self.concat1 = _Concat([(f[0], 8), (f[1], 4), (f[2], 2), (f[3], 1)], [])
        self.concat2 = _Concat([(f[0], 4), (f[1], 2), (f[2], 1)], [(f[4], 4)])
        self.concat3 = _Concat([(f[0], 2), (f[1], 1)], [(_JOINED, 4), (f[4], 8)])
        self.concat4 = _Concat([(f[0], 1)], [(_JOINED, 4), (_JOINED, 8), (f[4], 16)])
        self.outc = _Out(classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, y, x) to (n, classes, y, x)."""
        half = nn.functional.max_pool2d
        c1 = self.down1(x)
        c2 = self.down2(half(c1, 2))
        c3 = self.down3(half(c2, 2))
        c4 = self.down4(half(c3, 2))
        bridge = self.bridge(half(c4, 2))
        x5 = self.up1(bridge, self.concat1([c1, c2, c3, c4], []))
        x6 = self.up2(x5, self.concat2([c1, c2, c3], [bridge]))
        x7 = self.up3(x6, self.concat3([c1, c2], [x5, bridge]))
        x8 = self.up4(x7, self.concat4([c1], [x6, x5, bridge]))
        return self.outc(x8)


class DeepMetaSegmenter:
    """Lungs and metastases, slice by slice."""

    def __init__(self, network: nn.Module, manifest: ModelManifest, device: str) -> None:
        """network: as DeepMetaNet."""
        self._network = network.to(device).eval()
        self._manifest = manifest
        self._device = device

    @property
    def manifest(self) -> ModelManifest:
        """The declared properties."""
        return self._manifest

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> DenseProbabilities:
        """Probabilities of background, lung and metastasis.

        windows: (n, 1, 1, y, x); valid: (n, 1, y, x). Raises TileError: `wrong_bands` for other shapes, `not_finite`
        where valid pixels are not finite numbers.
        """
        if windows.shape[1:] != (1, *self._manifest.shown):
            raise TileError(
                "wrong_bands",
                f"{self._manifest.name}: expected windows of shape {(1, *self._manifest.shown)} (channels, z, y, x), "
                f"found {windows.shape[1:]}.",
            )
        if not np.isfinite(windows[:, 0][valid]).all():
            raise TileError("not_finite", f"{self._manifest.name}: expected finite numbers, found NaN or infinity.")
        slices = np.stack([equalised(window[0, 0], real[0]) for window, real in zip(windows, valid, strict=True)])
        with torch.inference_mode():
            scores = self._network(torch.from_numpy(slices[:, None]).to(self._device))
        return DenseProbabilities(torch.softmax(scores, 1).cpu().numpy()[:, :, None])


def equalised(values: NDArray[Any], real: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A slice (y, x) as 0..1, its contrast equalised in eighths of its sides; what is not real counts as the least."""
    from skimage.exposure import equalize_adapthist

    if not real.any():
        return np.zeros(values.shape, np.float32)
    low, high = float(values[real].min()), float(values[real].max())
    if high <= low:
        return np.zeros(values.shape, np.float32)
    scaled = (np.where(real, values, low).astype(np.float64) - low) / (high - low)
    return np.asarray(equalize_adapthist(scaled, clip_limit=_CLIP_LIMIT), np.float32)


def load_deepmeta(state: Mapping[str, NDArray[Any]], manifest: ModelManifest, device: str) -> DeepMetaSegmenter:
    """The network with its weights on `device`. Raises SpecError where they do not fit."""
    network = DeepMetaNet(len(manifest.classes) + 1)
    try:
        network.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
    except RuntimeError as error:
        raise SpecError(f"the weights do not fit DeepMetaNet: {str(error)[:500]}") from error
    return DeepMetaSegmenter(network, manifest, device)


def read_checkpoint(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of the package's `model.pth`; nothing in the file is executed. Raises SpecError."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {str(name): np.ascontiguousarray(value.numpy()) for name, value in state.items()}
    except Exception as error:  # bytes that are no checkpoint make the unpickler raise nearly anything
        raise SpecError(f"{path}: cannot be read as a state dict ({str(error).partition(chr(10))[0]})") from error
