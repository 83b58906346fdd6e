"""The liver and liver-lesion networks of pyliverlesionseg (KU Leuven, Apache-2.0), as torch modules.

Both are 3-D U-Nets (Çiçek et al., MICCAI 2016) of DeepVoxNet's kind: four levels, two convolutions on each way down and
up, all but the first after a norm over the whole window and a leaky ReLU. Layers, order of weights and arithmetic are
those that the package's `unet_generalized.py` builds for its two models, in (z, y, x) order.
"""
# pyright: reportUnknownMemberType=false
# torch's functional interface is partly untyped.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from schemas.boxes import Zyx

_FLAT, _FULL = (1, 3, 3), (3, 3, 3)
_DOWN = ((20, 40), (40, 80), (80, 160), (160, 160))
"""Features after the two convolutions of each level, on the way down."""
_UP = ((40, 20), (80, 40), (160, 80))
SLAB = 9
"""Slices that a padded convolution takes at once."""


class OrganNet(nn.Module):
    """Window with 13 voxels of context to probabilities of the window; factors of 3, zero padding, linear upsampling.

    Sides of the input must be multiples of 27; a side of n gives n − 26.
    """

    def __init__(self, down: tuple[tuple[int, int], ...] = _DOWN, up: tuple[tuple[int, int], ...] = _UP) -> None:
        """down, up: features of each level, finest first."""
        super().__init__()
        self.convolutions = nn.ModuleList(_unet(down, up, "same", residual=False))
        self._levels = len(down)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, z, y, x) to (n, 1, z − 26, y − 26, x − 26) probabilities. Overwrites nothing that it was given."""
        layer = iter(self.convolutions)
        skips: list[Tensor] = []
        for level in range(self._levels):
            x = _padded_convolution(next(layer), _normalised(functional.max_pool3d(x, 3)) if level else x)
            x = _padded_convolution(next(layer), _normalised(x))
            if level < self._levels - 1:
                # what the way up will see of it: the rest may go
                seen = [side - 2 * _lost(level, self._levels) for side in x.shape[2:]]
                skips.append(_cropped(x, seen).clone(memory_format=torch.preserve_format))
        while skips:
            x = _upsampled(x)
            # norms are by channel: done before joining, they need no third copy
            x = _padded_convolution(next(layer), _normalised(skips.pop()), _normalised(x), over_first=True)
            x = _padded_convolution(next(layer), _normalised(x))
        return torch.sigmoid(next(layer)(_normalised(x)))


def _lost(level: int, levels: int) -> int:
    """Voxels lost on each side by linear upsampling below a level: one at each, three times as many a level up."""
    return sum(3**step for step in range(levels - 1 - level))


class LesionNet(nn.Module):
    """Window with (22, 44, 44) voxels of context to probabilities of the window: factors of 2, no padding, residual."""

    def __init__(self, down: tuple[tuple[int, int], ...] = _DOWN, up: tuple[tuple[int, int], ...] = _UP) -> None:
        """down, up: features of each level, finest first."""
        super().__init__()
        self.convolutions = nn.ModuleList(_unet(down, up, "valid", residual=True))
        self._levels = len(down)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, z, y, x) to (n, 1, z − 44, y − 88, x − 88) probabilities. Overwrites nothing that it was given."""
        layer = iter(self.convolutions)
        skips: list[Tensor] = []
        for level in range(self._levels):
            x = self._block(functional.max_pool3d(x, 2) if level else x, layer, first=level == 0)
            skips.append(x)
        x = skips.pop()
        for skip in reversed(skips):
            x = functional.interpolate(x, scale_factor=2.0)
            x = torch.cat([_cropped(skip, x.shape[2:]), x], 1)
            x = self._block(x, layer, first=False)
        return torch.sigmoid(next(layer)(_normalised(x)))

    @staticmethod
    def _block(x: Tensor, layer: Iterator[nn.Module], *, first: bool) -> Tensor:
        """Two convolutions and the way around them, which has a convolution of its own where features change."""
        one, two = next(layer), next(layer)
        y = two(_normalised(one(x if first else _normalised(x.clone()))))
        around = _cropped(x, y.shape[2:])
        return y.add_(next(layer)(around) if around.shape[1] != y.shape[1] else around)


def _unet(
    down: tuple[tuple[int, int], ...],
    up: tuple[tuple[int, int], ...],
    padding: Literal["same", "valid"],
    *,
    residual: bool,
) -> list[nn.Conv3d]:
    """The convolutions in the package's order, which is that of the weights."""
    layers: list[nn.Conv3d] = []
    features = 1

    def block(inputs: int, sizes: tuple[int, int], kernels: tuple[Zyx, Zyx]) -> int:
        layers.append(nn.Conv3d(inputs, sizes[0], kernels[0], padding=padding))
        layers.append(nn.Conv3d(sizes[0], sizes[1], kernels[1], padding=padding))
        if residual and inputs != sizes[1]:
            layers.append(nn.Conv3d(inputs, sizes[1], 1))
        return sizes[1]

    for level, sizes in enumerate(down):
        deepest = level == len(down) - 1 and not residual
        features = block(features, sizes, (_FULL if deepest else _FLAT, _FULL))
    for sizes, (_, skip) in zip(reversed(up), reversed(down[:-1]), strict=True):
        features = block(features + skip, sizes, (_FULL, _FLAT))
    layers.append(nn.Conv3d(features, 1, 1))
    return layers


def _normalised(x: Tensor) -> Tensor:
    """Each window's channels to mean 0 and deviation 1, then a leaky ReLU; in place."""
    variance, mean = torch.var_mean(x, (2, 3, 4), correction=0, keepdim=True)
    # the package adds Keras's epsilon to the deviation, not to the variance
    x.sub_(mean).div_(variance.sqrt_().add_(1e-7))
    return functional.leaky_relu_(x, 0.01)


def _padded_convolution(layer: nn.Module, *parts: Tensor, over_first: bool = False) -> Tensor:
    """The layer on its joined input, zero-padded to its size, slab by slab: scratch memory is that of one slab.

    parts: (n, channels, z, y, x), joined along the channels. over_first: the answer, of as many channels, takes the
    place of the first part.
    """
    assert isinstance(layer, nn.Conv3d)
    depth, halo = parts[0].shape[2], layer.kernel_size[0] // 2
    sides = (0, *(kernel // 2 for kernel in layer.kernel_size[1:]))
    out: Tensor | None = parts[0] if over_first else None
    above: Tensor | None = None
    for start in range(0, depth, SLAB):
        stop = min(start + SLAB, depth)
        first, last = max(start - halo, 0), min(stop + halo, depth)
        shown = [part[:, :, first:last] for part in parts]
        if above is not None:  # those slices hold the answer by now
            shown[0] = torch.cat([above, parts[0][:, :, start:last]], 2)
        slab = torch.cat(shown, 1)
        missing = (halo - (start - first), halo - (last - stop))
        if any(missing):
            slab = functional.pad(slab, (0, 0, 0, 0, *missing))
        answer = functional.conv3d(slab, layer.weight, layer.bias, padding=sides)
        if out is None:
            out = answer.new_empty((*answer.shape[:2], depth, *answer.shape[3:]))
        if over_first:
            above = parts[0][:, :, stop - halo : stop].clone()
        out[:, :, start:stop] = answer
    assert out is not None
    return out


def _upsampled(x: Tensor) -> Tensor:
    """Threefold, linear between voxel centres: n become 3 n − 2. A few slices at a time."""
    depth, step = x.shape[2], SLAB // 3
    out = x.new_empty((*x.shape[:2], *(3 * side - 2 for side in x.shape[2:])))
    for first in range(0, depth, step):
        part = functional.interpolate(x[:, :, first : first + step + 1], scale_factor=3.0)
        place = out[:, :, 3 * first : 3 * (first + step)]
        place.copy_(functional.avg_pool3d(part, 3, 1)[:, :, : place.shape[2]])
    return out


def _cropped(x: Tensor, sides: Sequence[int]) -> Tensor:
    """The middle of a tensor, as a view."""
    for axis, side in enumerate(sides, 2):
        x = x.narrow(axis, (x.shape[axis] - side) // 2, side)
    return x
