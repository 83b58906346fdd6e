"""Keras weights become a state dict, and nothing in the file is left over."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from schemas.errors import SpecError
from segworkers.segmenters.keras_weights import read_keras


def write(path: Path, layers: int = 11) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    kernels: dict[str, np.ndarray] = {}
    with h5py.File(path, "w") as file:
        file["header/voxel_size"] = [1.0, 1.0, 3.0]
        file.create_group("lambda_1")
        for number in range(1, layers + 1):
            kernel = rng.normal(size=(3, 2, 1, number, number + 1)).astype(np.float32)
            file[f"conv3d_{number}/conv3d_{number}/kernel:0"] = kernel
            file[f"conv3d_{number}/conv3d_{number}/bias:0"] = np.full(number + 1, number, np.float32)
            kernels[f"convolutions.{number - 1}"] = kernel
    return kernels


def test_layers_come_in_their_order_with_axes_turned(tmp_path: Path) -> None:
    kernels = write(tmp_path / "net.hdf5")
    tensors = read_keras(tmp_path / "net.hdf5")
    assert len(tensors) == 22
    for name, kernel in kernels.items():
        weight = tensors[f"{name}.weight"]
        inputs, outputs = kernel.shape[3:]
        assert weight.shape == (outputs, inputs, 1, 2, 3)
        assert weight[outputs - 1, 0, 0, 1, 2] == kernel[2, 1, 0, 0, outputs - 1]
        assert tensors[f"{name}.bias"].tolist() == [int(name[13:]) + 1] * outputs


def test_what_is_not_taken_is_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "net.hdf5"
    write(path)
    with h5py.File(path, "a") as file:
        file["batch_normalization_1/gamma:0"] = [1.0]
    with pytest.raises(SpecError, match="batch_normalization_1"):
        read_keras(path)
    write(path, layers=3)
    with h5py.File(path, "a") as file:
        file["conv3d_5/conv3d_5/kernel:0"] = [1.0]
    with pytest.raises(SpecError, match="other layers"):
        read_keras(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.hdf5").write_bytes(b"junk")
    for name in ("junk.hdf5", "none.hdf5"):
        with pytest.raises(SpecError, match="expected weights of a Keras network"):
            read_keras(tmp_path / name)
