"""Every store keeps the same promises."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import StoreError
from segworkers.store import LocalStore, Store, open_store


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    if request.param == "local":
        yield open_store(str(tmp_path / "run"))
        return
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"]).create_bucket(Bucket="bucket")
    yield open_store(f"s3://bucket/{tmp_path.name}/run")
    server.stop()


def test_what_was_created_first_stays(store: Store) -> None:
    assert store.create("a/b", b"first")
    assert not store.create("a/b", b"second")
    assert store.read("a/b") == b"first"


def test_the_pointer_can_be_replaced(store: Store) -> None:
    store.replace("current.json", b"1")
    store.replace("current.json", b"2")
    assert store.read("current.json") == b"2"


def test_names_are_listed_in_order_and_by_folder(store: Store) -> None:
    for name in ("x/2", "x/1", "y/3"):
        store.create(name, b"")
    assert list(store.list("x")) == ["x/1", "x/2"]
    assert list(store.list("nothing")) == []


def test_what_is_not_there_is_said_so(store: Store) -> None:
    assert not store.exists("a")
    with pytest.raises(StoreError, match="missing from the run folder"):
        store.read("a")


def test_a_part_of_a_file_is_read_like_all_of_it(store: Store) -> None:
    data = bytes(range(256)) * 4000  # more than is read ahead
    store.create("f", data)
    with store.open("f") as file:
        assert file.seek(-10, os.SEEK_END) == len(data) - 10
        assert file.read() == data[-10:]
        assert file.seek(300_001) == file.tell() == 300_001
        assert file.read(7) == data[300_001:300_008]
        file.seek(3, os.SEEK_CUR)
        assert file.read(500_000) == data[300_011:800_011]
        assert file.seek(0) == 0
        assert file.read() == data
    with pytest.raises(StoreError, match="missing from the run folder"):
        store.open("g")


def test_files_move_in_whole_and_only_once(store: Store) -> None:
    with store.scratch() as scratch:
        for k in range(2):
            (scratch / f"{k}").write_bytes(f"{k}".encode())
        assert store.put_file("f", scratch / "0")
        assert not store.put_file("f", scratch / "1")
        assert store.local_copy("f", scratch).read_bytes() == b"0"
    assert list(store.list("")) == ["f"]


def test_of_many_writers_exactly_one_wins(store: Store) -> None:
    won: list[int] = []

    def write(k: int) -> None:
        if store.create("one", str(k).encode()):
            won.append(k)

    threads = [threading.Thread(target=write, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.read("one") == str(won[0]).encode()


def test_a_writer_that_died_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    local = LocalStore(tmp_path)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / ".a.zip.123.abcd.tmp").write_bytes(b"half")
    assert list(local.list("shards")) == []
    assert local.create("shards/a.zip", b"whole")
