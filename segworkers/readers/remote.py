"""Questions to remote storage that GDAL does not answer: is it there, which version is it, what lies under a prefix.

http(s) through the standard library (one byte is asked for with GET: signed links often forbid HEAD), s3 through
obstore. Every failure is an InputError with one of the reasons `not_found`, `access_denied`, `unreachable`,
`unreadable`; no message shows a query string or a password.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# obstore's listing is typed as a union that depends on its arguments.

from __future__ import annotations

import base64
import os
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, cast
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import OpenerDirector

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from schemas.errors import InputError
from segworkers.readers.locations import Location, redact, s3_endpoint, split_s3

UNPINNED = "unpinned"
"""The fingerprint of an object whose storage tells neither version nor size: changes go unnoticed."""

_ATTEMPTS = 3
_TIMEOUT_S = 30.0
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class RemoteStat:
    """What storage tells about one object."""

    fingerprint: str
    """ETag, else size and time, else size, else `UNPINNED`."""
    has_ranges: bool = True
    """Whether a part of it can be asked for."""


def http_stat(url: str) -> RemoteStat:
    """Ask an http(s) server for one byte of `url` and read the headers."""
    with _http_open(url, {"Range": "bytes=0-0"}) as response:
        headers = response.headers
        total = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
        modified = headers.get("Last-Modified", "")
        etag = headers.get("ETag", "")
        fingerprint = f"etag {etag}" if etag else f"{total} {modified}".strip() or UNPINNED
        # A server answers 416 or 200 for an empty file; any other 200 means that it ignores ranges.
        return RemoteStat(fingerprint, has_ranges=response.status == 206)


def http_get(url: str) -> bytes:
    """The whole of a small object, such as a manifest."""
    with _http_open(url, {}) as response:
        return response.read()


@contextmanager
def open_stream(location: Location, opener: OpenerDirector | None = None) -> Generator[IO[bytes]]:
    """The whole of an object or a local file, front to back, for what is too large for memory; only `read` may be used.

    opener: of http(s) URLs, where those are not the user's own (`public_hosts`). Raises InputError; also while it is
    read, where the connection breaks.
    """
    with _reading(location):
        stream = _opened(location, opener)
    with closing(stream):
        yield cast("IO[bytes]", _Source(stream, location))


def _opened(location: Location, opener: OpenerDirector | None) -> IO[bytes]:
    if location.kind == "s3":
        return _s3_stream(location.full)
    return _http_open(location.full, {}, opener) if location.kind == "http" else Path(location.full).open("rb")


@dataclass(frozen=True, slots=True)
class _Source:
    """A stream whose failures are told as the source's own, apart from those of whoever takes its bytes."""

    stream: IO[bytes]
    location: Location

    def read(self, size: int = -1) -> bytes:
        with _reading(self.location):
            return self.stream.read(size)


@contextmanager
def _reading(location: Location) -> Generator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError("not_found", f"{location.uri}: no such file.", "Check the path.") from None
    except (BaseError, OSError, HTTPException) as error:
        raise InputError(
            "unreachable", f"{location.uri}: the transfer broke off ({type(error).__name__}).", "Try again later."
        ) from None


def _s3_stream(uri: str) -> IO[bytes]:
    bucket, key = split_s3(uri)
    try:
        return cast("IO[bytes]", obstore.open_reader(s3_store(bucket), key))
    except (BaseError, OSError, ValueError) as error:
        raise _s3_refusal(uri, error) from None


def _http_open(url: str, headers: dict[str, str], opener: OpenerDirector | None = None) -> HTTPResponse:
    """GET with retries of what may pass; the caller closes the response."""
    request = _request(url, headers)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            ask = urllib.request.urlopen if opener is None else opener.open
            return cast(HTTPResponse, ask(request, timeout=_TIMEOUT_S))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in _TRANSIENT or attempt == _ATTEMPTS:
                raise _http_refusal(url, error.code) from None
        except (OSError, HTTPException) as error:
            if attempt == _ATTEMPTS:
                detail = redact(str(getattr(error, "reason", error)))
                raise InputError(
                    "unreachable",
                    f"{redact(url)}: the server did not answer after {_ATTEMPTS} attempts ({detail}).",
                    "Check the address, the network and proxy settings.",
                ) from None
        time.sleep(0.25 * 2**attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _request(url: str, headers: dict[str, str]) -> urllib.request.Request:
    """urllib does not understand user:password@host; send them as the header they stand for."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if at:
        token = base64.b64encode(unquote(user).encode()).decode()
        headers = headers | {"Authorization": f"Basic {token}"}
        url = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    return urllib.request.Request(url, headers=headers | {"User-Agent": "segworkers"})


def _http_refusal(url: str, code: int) -> InputError:
    where = f"{redact(url)}: the server answered HTTP {code}."
    if code in (401, 403, 407):
        return InputError("access_denied", where, "Check the credentials; sign an expired link again.")
    if code in (404, 410):
        return InputError("not_found", where, "Check the address.")
    if code == 416:
        return InputError("unreadable", where, "The file is empty: upload it again.")
    return InputError("unreachable", where, "Try again later.")


def s3_store(bucket: str) -> S3Store:
    """A store for one bucket, configured from the same environment variables as GDAL's s3 access."""
    endpoint = s3_endpoint(os.environ)
    config: dict[str, str | bool] = {}
    if endpoint is not None:
        url, hosted = endpoint
        if hosted:
            scheme, _, host = url.partition("://")
            url = f"{scheme}://{bucket}.{host}"
        config = {"endpoint": url, "virtual_hosted_style_request": hosted}
    if os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "ON", "1"):
        config["skip_signature"] = True
    if os.environ.get("AWS_REQUEST_PAYER", "").lower() == "requester":
        config["request_payer"] = True
    return S3Store(
        bucket,
        config=config,  # pyright: ignore[reportArgumentType]  # a TypedDict with more keys than a dict can promise
        client_options={"allow_http": True, "timeout": timedelta(seconds=_TIMEOUT_S)},
        retry_config={"max_retries": _ATTEMPTS, "retry_timeout": timedelta(seconds=_TIMEOUT_S)},
    )


def s3_stat(uri: str) -> RemoteStat:
    """ETag, or size and time, of s3://bucket/key."""
    bucket, key = split_s3(uri)
    try:
        meta = obstore.head(s3_store(bucket), key)
    except (BaseError, OSError, ValueError) as error:
        raise _s3_refusal(uri, error) from None
    etag = meta["e_tag"]
    return RemoteStat(f"etag {etag}" if etag else f"{meta['size']} {meta['last_modified'].isoformat()}")


def s3_get(uri: str) -> bytes:
    """The whole of a small object, such as a manifest."""
    bucket, key = split_s3(uri)
    try:
        return bytes(obstore.get(s3_store(bucket), key).bytes())
    except (BaseError, OSError, ValueError) as error:
        raise _s3_refusal(uri, error) from None


def s3_list(uri: str) -> Iterator[str]:
    """All objects whose key lies under the folder s3://bucket/folder (or under the bucket), as s3:// URIs."""
    bucket, prefix = split_s3(uri)
    try:
        for page in obstore.list(s3_store(bucket), prefix=prefix.rstrip("/") or None):
            for meta in page:
                yield f"s3://{bucket}/{meta['path']}"
    except (BaseError, OSError, ValueError) as error:
        raise _s3_refusal(uri, error) from None


def _s3_refusal(uri: str, error: Exception) -> InputError:
    # The library's own text repeats the request, which may hold account details: only its kind is shown.
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError) or "NoSuchBucket" in str(error):
        return InputError("not_found", f"{uri}: no such object or bucket.", "Check bucket and key.")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError):
        return InputError(
            "access_denied",
            f"{uri}: the storage refused access ({kind}).",
            "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or set AWS_NO_SIGN_REQUEST=YES.",
        )
    return InputError(
        "unreachable",
        f"{uri}: the storage did not answer ({kind}).",
        "Check AWS_REGION, AWS_S3_ENDPOINT, AWS_HTTPS, the credentials and the network.",
    )
