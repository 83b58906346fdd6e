"""Enough of Keras 2.2, computing at once with torch, to run a published package's own model-building code.

Tensors are (n, x, y, z, channels). Convolutions take their weights from a list in the order in which they are made.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


class _Keras:
    def __init__(self, values: Tensor, weights: Iterator[Any]) -> None:
        self.values = values
        self.weights = weights

    def Input(self, shape: Any) -> Tensor:  # noqa: N802 - Keras's name
        assert tuple(int(n) for n in shape) == tuple(self.values.shape[1:])
        return self.values

    def Conv3D(self, filters: int, kernel_size: Any, padding: str = "valid", activation: Any = None, **_: Any) -> Any:  # noqa: N802
        kernel, bias = (torch.from_numpy(np.asarray(w)) for w in next(self.weights))
        assert tuple(kernel.shape[:3]) == tuple(kernel_size) and kernel.shape[4] == filters

        def layer(x: Tensor) -> Tensor:
            y = functional.conv3d(_first(x), kernel.permute(4, 3, 0, 1, 2), bias, padding=padding)
            return _last(torch.sigmoid(y) if activation == "sigmoid" else y)

        return layer


def _first(x: Tensor) -> Tensor:
    return x.permute(0, 4, 1, 2, 3)


def _last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 4, 1)


def _ints(size: Any) -> tuple[int, int, int]:
    x, y, z = (int(n) for n in size)
    return x, y, z


def _max_pooling(size: Any, strides: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: _last(functional.max_pool3d(_first(x), _ints(size), _ints(strides)))


def _mean_pooling(size: Any, strides: Any, padding: str = "valid") -> Callable[[Tensor], Tensor]:
    assert padding == "valid"
    return lambda x: _last(functional.avg_pool3d(_first(x), _ints(size), _ints(strides)))


def _upsampling(size: Any) -> Callable[[Tensor], Tensor]:
    def layer(x: Tensor) -> Tensor:
        for axis, times in enumerate(_ints(size), 1):
            x = x.repeat_interleave(times, axis)
        return x

    return layer


def _cropping(crop: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: x[(slice(None), *(slice(c, n - c) for c, n in zip(crop, x.shape[1:4], strict=True)))]


def installed(monkeypatch: Any, values: np.ndarray, weights: list[tuple[np.ndarray, np.ndarray]]) -> Iterator[Any]:
    """Make `import keras` find this. values: the network's input (1, x, y, z, channels). Returns the weights left."""
    left = iter(weights)
    keras = _Keras(torch.from_numpy(values), left)
    axes = (1, 2, 3)
    modules: dict[str, dict[str, Any]] = {
        "keras": {},
        "keras.models": {"Model": lambda inputs, outputs: outputs[0]},
        "keras.layers": {
            "Input": keras.Input,
            "Dropout": None,
            "MaxPooling3D": _max_pooling,
            "Concatenate": lambda axis: lambda parts: torch.cat(parts, axis),
            "Multiply": None,
            "Add": lambda: sum,
            "Reshape": None,
            "Lambda": lambda function, name="": function,
            "AveragePooling3D": _mean_pooling,
        },
        "keras.layers.convolutional": {"Conv3D": keras.Conv3D, "UpSampling3D": _upsampling, "Cropping3D": _cropping},
        "keras.layers.advanced_activations": {
            "LeakyReLU": lambda alpha: lambda x: functional.leaky_relu(x, alpha),
            "PReLU": None,
        },
        "keras.layers.normalization": {"BatchNormalization": None},
        "keras.regularizers": {"l1_l2": lambda *_: None},
        "keras.backend": {
            "mean": lambda x, axis, keepdims: x.mean(axes, keepdim=True),
            "std": lambda x, axis, keepdims: x.std(axes, correction=0, keepdim=True),
            "epsilon": lambda: 1e-7,
            "int_shape": lambda x: tuple(x.shape),
        },
    }
    for name, members in modules.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("regularizers", "backend"):
        setattr(sys.modules["keras"], name, sys.modules[f"keras.{name}"])
    return left
