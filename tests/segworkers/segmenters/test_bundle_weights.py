"""Files of a bundle from wherever they are: checked, whole, fetched once; what is wrong is named with what to do."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from obstore.store import MemoryStore

from schemas.bundles import ModelBundle, WeightsFile, WheelFile
from schemas.errors import SpecError
from segworkers import archives
from segworkers.readers import remote
from segworkers.readers.public_hosts import PRIVATE
from segworkers.segmenters.bundle_weights import files_folder, missing_files, weights_folder
from segworkers.segmenters.bundles import OpenBundle, open_bundle, write_bundle
from tests.model_bundles import logistic
from tests.segworkers.readers.servers import Site, serve


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "_TIMEOUT_S", 5.0)
    monkeypatch.setenv(PRIVATE, "1")  # the servers are on this machine
    return tmp_path / "cache" / "models"


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as running:
        yield running


def told(_: str) -> None:
    """Progress that nobody reads."""


def moved(folder: Path, uri: str, **entry: Any) -> tuple[OpenBundle, bytes]:
    """A bundle whose weights are at `uri` instead of in its folder, and their bytes."""
    bundle = logistic(folder)
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").unlink()
    write_bundle(replace(bundle, weights=(replace(bundle.weights[0], uri=uri, **entry),)), folder)
    return open_bundle(str(folder)), content


def test_files_of_the_bundle_are_used_where_they_are(tmp_path: Path, cache: Path) -> None:
    logistic(tmp_path / "bright")
    bundle = open_bundle(str(tmp_path / "bright"))
    assert weights_folder(bundle) == tmp_path / "bright" and missing_files(bundle) == []
    assert not cache.exists()


def test_tampered_torn_and_missing_files_are_named_with_what_to_do(tmp_path: Path) -> None:
    weights = tmp_path / "bright" / "weights.safetensors"
    bundle = logistic(tmp_path / "bright")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + b"\1")
    with pytest.raises(
        SpecError, match=rf"expected sha256 {bundle.weights[0].sha256}, found \w+; .*torn or was changed"
    ):
        weights_folder(open_bundle(str(tmp_path / "bright")))
    weights.write_bytes(content[:-1])
    with pytest.raises(SpecError, match=f"expected {len(content)} bytes, found {len(content) - 1}; .*get it again"):
        weights_folder(open_bundle(str(tmp_path / "bright")))
    weights.unlink()
    opened = open_bundle(str(tmp_path / "bright"))
    with pytest.raises(SpecError, match=r"expected a file at .*weights.safetensors, found none; get the bundle again"):
        weights_folder(opened)
    assert [each.name for each in missing_files(opened)] == ["weights.safetensors"]


def test_a_file_at_an_address_is_fetched_once(tmp_path: Path, site: Site, cache: Path) -> None:
    bundle, content = moved(tmp_path / "bright", f"{site.url}/models/w.safetensors")
    site.files["models/w.safetensors"] = content
    assert missing_files(bundle)
    lines: list[str] = []
    folder = weights_folder(bundle, progress=lines.append)
    assert (folder / "weights.safetensors").read_bytes() == content and folder.parent == cache / "weights"
    assert lines == ["fetching weights.safetensors of bright (0.0 MB, once)"] and missing_files(bundle) == []
    asked = len(site.requests)
    site.files.clear()
    assert weights_folder(bundle, progress=lines.append) == folder
    assert (len(site.requests), len(lines)) == (asked, 1)
    assert [path.name for path in folder.iterdir()] == ["weights.safetensors"]


def test_processes_that_fetch_at_once_all_get_the_whole_file(tmp_path: Path, site: Site) -> None:
    bundle, content = moved(tmp_path / "bright", f"{site.url}/w")
    site.files["w"] = content
    seen: list[bytes] = []

    def fetch() -> None:
        seen.append((weights_folder(bundle, progress=told) / "weights.safetensors").read_bytes())

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [content] * 6
    assert len(list((tmp_path / "cache" / "models" / "weights").rglob("*"))) == 2


@pytest.mark.parametrize(
    ("served", "message"),
    [
        (lambda content: content[:-1] + b"\1", "expected sha256 .*nothing was kept"),
        (lambda content: content[:-1], "expected .* bytes, found"),
        (lambda content: content + b"\0" * 5_000_000, "expected .* bytes, found more"),
        (lambda _: None, r"is not here and could not be fetched: .*HTTP 404.* Or put the file, .* to .*weights"),
    ],
)
def test_what_the_address_serves_instead_is_not_kept(
    tmp_path: Path, site: Site, cache: Path, served: Any, message: str
) -> None:
    bundle, content = moved(tmp_path / "bright", f"{site.url}/w")
    body = served(content)
    if body is not None:
        site.files["w"] = body
    with pytest.raises(SpecError, match=message):
        weights_folder(bundle, progress=told)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_hosts_inside_are_not_asked_for_a_stranger(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PRIVATE)
    bundle, content = moved(tmp_path / "bright", f"{site.url}/w")
    site.files["w"] = content
    with pytest.raises(SpecError, match=rf"expected a public host, found 127\.0\.0\.1, .*{PRIVATE}=1"):
        weights_folder(bundle, progress=told)
    assert site.requests == []


def test_what_an_address_holds_instead_is_not_told(tmp_path: Path, site: Site) -> None:
    secret = hashlib.sha256(b"secret").hexdigest()
    (tmp_path / "secret").write_bytes(b"secret")
    site.files["w"] = b"secret"
    for place, uri in (("a", f"{site.url}/w"), ("b", f"file://{tmp_path}/secret")):
        bundle, _ = moved(tmp_path / place, uri, size=6)
        with pytest.raises(SpecError, match=r"expected sha256 .*, found another; nothing was kept") as caught:
            weights_folder(bundle, progress=told)
        assert secret not in str(caught.value)


def test_a_local_address_is_a_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    bundle, _ = moved(tmp_path / "bright", f"file://{tmp_path}/pipe")
    with pytest.raises(SpecError, match="expected a plain file"):
        weights_folder(bundle, progress=told)


@pytest.mark.parametrize("uri", ["s3://evil.example:80?x=/key", "s3://user@host/key", "s3://bucket", "s3:///key"])
def test_a_bucket_is_no_part_of_an_address(uri: str) -> None:
    with pytest.raises(ValueError, match="expected s3://BUCKET/KEY"):
        WeightsFile(file="w", uri=uri, sha256="0" * 64, size=1)


def test_a_damaged_file_in_the_cache_is_named(tmp_path: Path, site: Site) -> None:
    bundle, content = moved(tmp_path / "bright", f"{site.url}/w")
    site.files["w"] = content
    kept = weights_folder(bundle, progress=told) / "weights.safetensors"
    kept.write_bytes(content[:-1] + b"\1")
    with pytest.raises(SpecError, match=rf"delete {kept} and get it again"):
        weights_folder(bundle, progress=told)


def test_local_addresses_and_mixed_bundles_end_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"graph")
    bundle = logistic(tmp_path / "bright")
    pinned = {"sha256": hashlib.sha256(b"graph").hexdigest(), "size": 5}
    other = WeightsFile(file="nets/graph.onnx", uri=f"file://{tmp_path}/elsewhere", **pinned)
    write_bundle(replace(bundle, weights=(*bundle.weights, other)), tmp_path / "bright")
    folder = weights_folder(open_bundle(str(tmp_path / "bright")), progress=told)
    assert folder != tmp_path / "bright" and (folder / "nets" / "graph.onnx").read_bytes() == b"graph"
    assert (folder / "weights.safetensors").read_bytes() == (tmp_path / "bright" / "weights.safetensors").read_bytes()


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path, cache: Path) -> None:
    """Containers have equal process ids, so that a name made of one would be found again."""
    (tmp_path / "elsewhere").write_bytes(b"graph")
    bundle = logistic(tmp_path / "bright")
    pinned = {"sha256": hashlib.sha256(b"graph").hexdigest(), "size": 5}
    other = WeightsFile(file="graph.onnx", uri=f"file://{tmp_path}/elsewhere", **pinned)
    write_bundle(replace(bundle, weights=(*bundle.weights, other)), tmp_path / "bright")
    opened = open_bundle(str(tmp_path / "bright"))
    folder = files_folder(opened)
    folder.mkdir(parents=True)
    os.link(tmp_path / "bright" / "weights.safetensors", folder / f".weights.safetensors.{os.getpid()}.partial")
    assert weights_folder(opened, progress=told) == folder
    assert (folder / "weights.safetensors").read_bytes() == (opened.folder / "weights.safetensors").read_bytes()


def test_a_cache_that_cannot_be_written_is_not_the_networks_fault(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, content = moved(tmp_path / "bright", f"{site.url}/w")
    site.files["w"] = content
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SpecError, match=r"cannot be kept in .*No space left on device; make room there"):
        weights_folder(bundle, progress=told)


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_transfer_that_breaks_off_is(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ConnectionResetError

    bundle, content = moved(tmp_path / "bright", f"{site.url}/w")
    site.files["w"] = content
    monkeypatch.setattr(HTTPResponse, "read", broken)
    with pytest.raises(SpecError, match=r"the transfer broke off \(ConnectionResetError\). Try again later"):
        weights_folder(bundle, progress=told)


def test_a_file_of_a_published_wheel(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, content = moved(
        tmp_path / "bright",
        "package:thing==1.0/thing/w.safetensors",
        wheel=WheelFile(filename="thing-1.0-py3-none-any.whl", sha256="0" * 64, size=1),
    )
    asked: list[archives.Archive] = []

    def fetch(archive: archives.Archive, folder: Path, _: Any) -> Path:
        asked.append(archive)
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / archive.filename, "w") as opened:
            opened.writestr("thing/w.safetensors", content)
        return folder / archive.filename

    monkeypatch.setattr("segworkers.segmenters.bundle_weights.fetch_archive", fetch)
    assert (weights_folder(bundle, progress=told) / "weights.safetensors").read_bytes() == content
    assert [(each.name, each.version, each.sha256) for each in asked] == [("thing", "1.0", "0" * 64)]
    other = ModelBundle(
        name="other",
        family="logistic",
        manifest=bundle.definition.manifest,
        card=bundle.definition.card,
        weights=(replace(bundle.definition.weights[0], uri="package:thing==1.0/thing/gone.pt", file="gone.pt"),),
    )
    write_bundle(other, tmp_path / "other")
    with pytest.raises(SpecError, match=r"thing-1.0-py3-none-any.whl does not hold thing/gone.pt"):
        weights_folder(open_bundle(str(tmp_path / "other")), progress=told)


def test_torchvisions_names_are_checked_against_the_hash_in_their_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    name = "MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1"
    bundle = logistic(tmp_path / "coco")
    write_bundle(replace(bundle, weights=(WeightsFile(file="w.pth", uri=f"torchvision:{name}"),)), tmp_path / "coco")
    opened = open_bundle(str(tmp_path / "coco"))

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(SpecError, match=r"73cbd019.pth are not in .*no network.*copy the file there"):
        weights_folder(opened, progress=told)
    kept = Path(torch.hub.get_dir()) / "checkpoints" / str(torchvision.models.get_weight(name).url).rpartition("/")[2]
    kept.write_bytes(b"another file")
    with pytest.raises(SpecError, match="expected a sha256 that begins with 73cbd019, found"):
        weights_folder(opened, progress=told)
    right = kept.with_name(f"mask-{hashlib.sha256(b'another file').hexdigest()[:8]}.pth")
    kept.rename(right)
    url = f"https://example.org/{right.name}"
    monkeypatch.setattr(torchvision.models, "get_weight", lambda _: type("Member", (), {"url": url}))
    assert (weights_folder(opened, progress=told) / "w.pth").read_bytes() == b"another file"


def test_a_file_on_an_object_store_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    monkeypatch.setattr(remote, "s3_store", lambda bucket: {"models": store}[bucket])
    bundle, content = moved(tmp_path / "bright", "s3://models/bright/w.safetensors")
    with pytest.raises(SpecError, match="no such object or bucket"):
        weights_folder(bundle, progress=told)
    store.put("bright/w.safetensors", content)
    assert (weights_folder(bundle, progress=told) / "weights.safetensors").read_bytes() == content
