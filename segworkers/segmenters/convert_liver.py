"""From Keras weights (HDF5) to the state dict of our networks; needed once, then safetensors are kept.

Run it by hand as `python -m segworkers.segmenters.convert_liver FILE.hdf5 OUT.safetensors`; needs h5py.
"""
# h5py ships without type information.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import SpecError


def read_keras(path: Path) -> dict[str, NDArray[np.float32]]:
    """The convolutions of a DeepVoxNet network in their order, as `convolutions.N.weight` and `.bias`, N from 0.

    Keras keeps kernels as (x, y, z, in, out), torch wants (out, in, z, y, x). Raises SpecError where h5py is missing,
    the file is no such network, or holds tensors that are not taken.
    """
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError as error:
        raise SpecError("converting the published weights needs the package h5py, once: pip install h5py") from error
    tensors: dict[str, NDArray[np.float32]] = {}
    found: list[str] = []
    try:
        with h5py.File(path, "r") as file:
            file.visit(found.append)
            found = [name for name in found if isinstance(file[name], h5py.Dataset)]
            number = 0
            while f"conv3d_{number + 1}" in file:
                layer = file[f"conv3d_{number + 1}/conv3d_{number + 1}"]
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


def main(arguments: list[str]) -> int:
    """Convert one file. Returns the exit code."""
    from safetensors.numpy import save_file

    from segworkers.segmenters.published import tensors_digest

    if len(arguments) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    tensors = read_keras(Path(arguments[0]))
    save_file(tensors, arguments[1])
    sys.stdout.write(f"{len(tensors)} tensors, SHA-256 {tensors_digest(tensors)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
