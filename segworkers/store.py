"""The run store: where everything a run must not lose is kept. The same few verbs on a local disk and an object store.

Commits are create-if-absent and never replaced: a worker that outlives its node may write its result a second time, and
whoever comes second finds the first one's and drops its own. A reader never sees half a file.
"""
# obstore's accessors for remote stores are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Protocol

from schemas.errors import StoreError
from segworkers.ranges import open_remote


class Store(Protocol):
    """Named byte strings under one root. Names are relative, with `/` between parts."""

    @property
    def url(self) -> str:
        """The root, as the user wrote it."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write `name` durably unless it exists; whether it was written. All or nothing, also after a power cut."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Write `name` durably, in place of what was there; only for the pointer to the live generation."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of `name`. Raises StoreError where there is no such name."""
        ...

    def open(self, name: str) -> BinaryIO:
        """`name` as a seekable file: what is not read is not fetched. Raises StoreError where there is no such name."""
        ...

    def exists(self, name: str) -> bool:
        """Whether `name` is there, whole."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """All names under the folder `prefix`, sorted."""
        ...

    def put_file(self, name: str, local: Path) -> bool:
        """Move a finished local file to `name` unless that exists; whether it was moved. The local file goes."""
        ...

    def local_copy(self, name: str, scratch: Path) -> Path:
        """A local file with the bytes of `name`: the thing itself on a disk, a copy under `scratch` otherwise."""
        ...

    def scratch(self) -> AbstractContextManager[Path]:
        """An empty local folder for files on their way to `put_file`; gone afterwards, or in the way of nobody."""
        ...


def open_store(url: str) -> Store:
    """The store at a local path or a URL that obstore knows (s3://, gs://, az://)."""
    if "://" in url and not url.startswith("file://"):
        return ObjectStore(url)
    return LocalStore(Path(url.removeprefix("file://")))


class LocalStore:
    """A folder. Temporary names start with a dot and end in `.tmp`; they are swept by nobody but harm nobody."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    @property
    def url(self) -> str:
        """The folder."""
        return str(self._root)

    def create(self, name: str, data: bytes) -> bool:
        """See Store."""
        target = self._root / name
        if target.exists():
            return False
        temporary = self._temporary(target)
        try:
            self._write(temporary, data)
            return self._link(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def replace(self, name: str, data: bytes) -> None:
        """See Store."""
        target = self._root / name
        temporary = self._temporary(target)
        self._write(temporary, data)
        temporary.replace(target)
        _sync_folder(target.parent)

    def read(self, name: str) -> bytes:
        """See Store."""
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            raise StoreError(f"{self._root / name} is missing from the run folder") from None

    def open(self, name: str) -> BinaryIO:
        """See Store."""
        try:
            return (self._root / name).open("rb")
        except FileNotFoundError:
            raise StoreError(f"{self._root / name} is missing from the run folder") from None

    def exists(self, name: str) -> bool:
        """See Store."""
        return (self._root / name).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        """See Store."""
        folder = self._root / prefix
        names = [
            os.path.join(parent, file)
            for parent, _, files in os.walk(folder)
            for file in files
            if not file.endswith(".tmp") and "/.scratch/" not in f"{parent}/"
        ]
        for name in sorted(names):
            yield str(Path(name).relative_to(self._root))

    def put_file(self, name: str, local: Path) -> bool:
        """See Store. `local` should lie on the same file system (see `scratch`)."""
        target = self._root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with local.open("rb+") as file:
            os.fsync(file.fileno())
        try:
            return self._link(local, target)
        finally:
            local.unlink(missing_ok=True)

    def local_copy(self, name: str, scratch: Path) -> Path:
        """See Store."""
        return self._root / name

    @contextmanager
    def scratch(self) -> Generator[Path]:
        """See Store: on the run folder's own disk, so that finished files are linked, not copied."""
        parent = self._root / ".scratch"
        parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=parent) as folder:
            yield Path(folder)

    def _temporary(self, target: Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.parent / f".{target.name[:80]}.{os.getpid()}.{secrets.token_hex(4)}.tmp"

    def _write(self, path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _link(self, temporary: Path, target: Path) -> bool:
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        _sync_folder(target.parent)
        return True


class ObjectStore:
    """A prefix of a bucket, through obstore; credentials and endpoints come from the environment."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def __reduce__(self) -> tuple[object, ...]:
        return (ObjectStore, (self._url,))

    @property
    def url(self) -> str:
        """The URL."""
        return self._url

    @cached_property
    def _remote(self) -> Any:
        import obstore.store

        options = {"allow_http": True} if os.environ.get("AWS_ALLOW_HTTP") else {}
        make: Any = obstore.store.from_url
        return make(self._url, client_options=options)

    def create(self, name: str, data: bytes) -> bool:
        """See Store: a conditional put."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            obstore.put(self._remote, name, data, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def replace(self, name: str, data: bytes) -> None:
        """See Store."""
        import obstore

        obstore.put(self._remote, name, data)

    def read(self, name: str) -> bytes:
        """See Store."""
        import obstore

        try:
            return bytes(obstore.get(self._remote, name).bytes())
        except FileNotFoundError:
            raise StoreError(f"{self._url}/{name} is missing from the run folder") from None

    def open(self, name: str) -> BinaryIO:
        """See Store: by requests for ranges."""
        try:
            return open_remote(self._remote, name)
        except FileNotFoundError:
            raise StoreError(f"{self._url}/{name} is missing from the run folder") from None

    def exists(self, name: str) -> bool:
        """See Store."""
        import obstore

        try:
            obstore.head(self._remote, name)
        except FileNotFoundError:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        """See Store."""
        import obstore

        pages = obstore.list(self._remote, prefix=prefix)
        yield from sorted(str(entry["path"]) for page in pages for entry in page)

    def put_file(self, name: str, local: Path) -> bool:
        """See Store."""
        try:
            return self.create(name, local.read_bytes())
        finally:
            local.unlink(missing_ok=True)

    def local_copy(self, name: str, scratch: Path) -> Path:
        """See Store."""
        path = scratch / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.read(name))
        return path

    @contextmanager
    def scratch(self) -> Generator[Path]:
        """See Store."""
        with TemporaryDirectory(prefix="segworkers-") as folder:
            yield Path(folder)


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
