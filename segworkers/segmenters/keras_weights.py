"""The convolutions of a Keras network (HDF5) as the state dict of ours."""
# h5py ships without type information.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from schemas.errors import SpecError


def read_keras(path: Path) -> dict[str, NDArray[np.float32]]:
    """The convolutions of a DeepVoxNet network in their order, as `convolutions.N.weight` and `.bias`, N from 0.

    Keras keeps kernels as (x, y, z, in, out), torch wants (out, in, z, y, x). Raises SpecError where the file is no
    such network, or holds tensors that are not taken.
    """
    tensors: dict[str, NDArray[np.float32]] = {}
    found: list[str] = []
    try:
        with h5py.File(path, "r") as file:
            file.visit(found.append)
            found = [name for name in found if isinstance(file[name], h5py.Dataset)]
            number = 0
            while f"conv3d_{number + 1}" in file:
                layer: Any = file[f"conv3d_{number + 1}/conv3d_{number + 1}"]
                kernel = np.asarray(layer["kernel:0"], np.float32)
                tensors[f"convolutions.{number}.weight"] = np.ascontiguousarray(kernel.transpose(4, 3, 2, 1, 0))
                tensors[f"convolutions.{number}.bias"] = np.asarray(layer["bias:0"], np.float32)
                number += 1
    except (OSError, KeyError, ValueError) as error:
        raise SpecError(f"{path}: expected weights of a Keras network of 3-D convolutions ({error})") from error
    left = sorted(name for name in found if not name.startswith(("conv3d_", "header/")))
    if not tensors or left or len(tensors) != sum(name.startswith("conv3d_") for name in found):
        raise SpecError(f"{path}: expected nothing but 3-D convolutions, found {', '.join(left) or 'other layers'}")
    return tensors
