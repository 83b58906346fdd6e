"""Weights out of packages: fetched and converted once, known by their content. No network."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from schemas.errors import SpecError
from segworkers import archives
from segworkers.archives import Archive
from segworkers.segmenters.published import PublishedWeights, ensure_weights, read_tensors, tensors_digest, weights_path

TENSORS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([1.5], np.float32)}


def convert(path: Path) -> dict[str, NDArray[np.float32]]:
    assert path.read_bytes() == b"the package's own format"
    return TENSORS


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublishedWeights:
    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "models" / "archives"
    folder.mkdir(parents=True)
    wheel = folder / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as opened:
        opened.writestr("thing/models/net.hdf5", "the package's own format")
    content = wheel.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    archive = Archive(name="thing", version="1.0", filename=wheel.name, sha256=digest, size=len(content))
    return PublishedWeights(
        archive=archive,
        member="thing/models/net.hdf5",
        filename="thing-1.0.safetensors",
        digest=tensors_digest(TENSORS),
    )


def test_weights_are_converted_once_and_kept(weights: PublishedWeights, tmp_path: Path) -> None:
    path = ensure_weights(weights, convert)
    assert path == weights_path(weights) == tmp_path / "cache" / "models" / "thing-1.0.safetensors"
    assert {name: values.tolist() for name, values in read_tensors(path, weights.digest).items()} == {
        name: values.tolist() for name, values in TENSORS.items()
    }
    assert [p.name for p in path.parent.rglob("*") if p.is_file() and p != path] == [weights.archive.filename]
    (path.parent / "archives" / weights.archive.filename).unlink()
    assert ensure_weights(weights, never) == path


def never(path: Path) -> dict[str, NDArray[np.float32]]:
    raise AssertionError("nothing is to be converted")


def test_other_tensors_than_the_pinned_ones_are_refused_and_not_kept(weights: PublishedWeights) -> None:
    with pytest.raises(SpecError, match=r"thing 1.0, net.hdf5: expected tensors with SHA-256"):
        ensure_weights(weights, lambda _: {"a": np.zeros(1, np.float32)})
    assert not weights_path(weights).exists()


def test_a_changed_or_torn_file_in_the_cache_is_named(weights: PublishedWeights) -> None:
    path = ensure_weights(weights, convert)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(SpecError, match="cannot be read"):
        read_tensors(path, weights.digest)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(SpecError, match=r"thing-1.0.safetensors; delete the file.*expected tensors"):
        ensure_weights(weights, never)
    path.unlink()
    with pytest.raises(SpecError, match="no such file"):
        read_tensors(path, weights.digest)


def test_without_network_the_message_says_what_is_needed(
    weights: PublishedWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = weights_path(weights).parent / "archives"
    (folder / weights.archive.filename).unlink()
    monkeypatch.setattr(archives, "pip_download", lambda *_: "offline")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SpecError, match=weights.archive.sha256) as caught:
        ensure_weights(weights, convert)
    assert str(folder) in str(caught.value)


def test_the_digest_is_of_names_shapes_types_and_values_alone(tmp_path: Path) -> None:
    digest = tensors_digest(TENSORS)
    assert tensors_digest(dict(reversed(TENSORS.items()))) == digest
    save_file(TENSORS, tmp_path / "w.safetensors", {"made": "by another release"})
    assert read_tensors(tmp_path / "w.safetensors", digest).keys() == TENSORS.keys()
    others = [
        {**TENSORS, "b": TENSORS["b"].reshape(3, 2)},
        {**TENSORS, "b": TENSORS["b"].astype(np.float64)},
        {**TENSORS, "b": TENSORS["b"] + 1},
        {"a": TENSORS["a"], "c": TENSORS["b"]},
    ]
    assert len({digest, *map(tensors_digest, others)}) == 5
    assert tensors_digest({**TENSORS, "b": np.asfortranarray(TENSORS["b"])}) == digest
    swapped = {name: values.astype(values.dtype.newbyteorder(">")) for name, values in TENSORS.items()}
    assert tensors_digest(swapped) == digest
