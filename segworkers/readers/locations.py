"""Where an input lies: local path, http(s), s3 or a name that only GDAL understands; and what of it may be shown.

A URL may carry secrets (a password, the signature of a signed link). `Location.uri` is without them: it identifies the
source, enters tables and hashes. `Location.full` is what is opened; it must not be shown, stored or logged.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from schemas.errors import InputError

LocationKind = Literal["local", "http", "s3", "gdal"]

_GDAL_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_]+:(?!//)")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
_SECRET_KEYS = frozenset(
    (
        *("signature", "sig", "expires", "policy", "key-pair-id", "awsaccesskeyid", "googleaccessid", "token"),
        *("access_token", "api_key", "apikey", "api-key", "subscription-key", "auth", "password"),
    )
)
_SECRET_PREFIXES = ("x-amz-", "x-goog-")
_AZURE_KEYS = frozenset(
    (
        *("sv", "ss", "srt", "sp", "se", "st", "spr", "sr", "sip", "skoid", "sktid", "skt", "ske", "sks", "skv"),
        *("sdd", "saoid", "suoid", "scid"),
    )
)
"""Keys of an Azure signature; ordinary words elsewhere, so secret only beside `sig`."""
_QUERY = re.compile(r"\?[^\s'\",]*=[^\s'\",]*")
_USER = re.compile(r"(\w+://)[^\s/'\"]*@")


@dataclass(frozen=True, slots=True)
class Location:
    """One input, by name."""

    kind: LocationKind
    uri: str
    """Absolute path or URL without secrets; for `gdal` the name itself."""
    full: str = field(repr=False)
    """What is opened: the same, with the secrets."""

    @property
    def gdal_name(self) -> str:
        """The name that GDAL opens; may hold secrets."""
        if self.kind == "http":
            return "/vsicurl/" + self.full
        if self.kind == "s3":
            return "/vsis3/" + self.full.removeprefix("s3://")
        return self.full

    @property
    def is_remote(self) -> bool:
        """Whether bytes travel over a network."""
        return self.kind in ("http", "s3")


def locate(uri: str) -> Location:
    """Tell what `uri` names. A relative path is taken from the current directory. Nothing is opened.

    Raises InputError(`unsupported_format`) for a URL scheme that is none of file, http, https and s3.
    """
    scheme = _SCHEME.match(uri)
    if scheme is None:
        if uri.startswith("/vsi") or (_GDAL_NAME.match(uri) and not os.path.exists(uri)):
            return Location("gdal", uri, uri)
        path = os.path.abspath(uri)
        return Location("local", path, path)
    name = scheme[1].lower()
    if name == "file":
        path = os.path.abspath(unquote(urlsplit(uri).path))
        return Location("local", path, path)
    if name in ("http", "https"):
        return Location("http", _without_secrets(uri), uri)
    if name == "s3":
        return Location("s3", uri, uri)
    raise InputError(
        "unsupported_format",
        f"{redact(uri)}: expected a path or a file://, http(s):// or s3:// URL, found the scheme {name}://.",
        "Copy the file to one of those, or mount the storage as a folder.",
    )


def redact(text: str) -> str:
    """The text with passwords and query strings of the URLs in it removed; for messages."""
    return _QUERY.sub("", _USER.sub(r"\1", text))


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    azure = any(key.lower() == "sig" for key, _ in pairs)
    kept = [pair for pair in pairs if not _is_secret(pair[0].lower(), azure)]
    query = parts.query if len(kept) == len(pairs) else "&".join(f"{quote(k)}={quote(v)}" for k, v in kept)
    return urlunsplit((parts.scheme.lower(), parts.netloc.rpartition("@")[2], parts.path, query, ""))


def _is_secret(key: str, azure: bool) -> bool:
    return key in _SECRET_KEYS or key.startswith(_SECRET_PREFIXES) or (azure and key in _AZURE_KEYS)


def split_s3(uri: str) -> tuple[str, str]:
    """Bucket and key of s3://bucket/key; the key may be empty."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def s3_endpoint(environ: Mapping[str, str]) -> tuple[str, bool] | None:
    """Base URL of an S3 service other than AWS's own, and whether the bucket is part of the host name.

    Read from GDAL's variables (AWS_S3_ENDPOINT, AWS_HTTPS, AWS_VIRTUAL_HOSTING), else from the AWS tools' own
    (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL), whose buckets are part of the path.
    """
    host = environ.get("AWS_S3_ENDPOINT", "")
    if host:
        plain = environ.get("AWS_HTTPS", "YES").upper() in _NO
        url = host if "://" in host else f"{'http' if plain else 'https'}://{host}"
        return url.rstrip("/"), environ.get("AWS_VIRTUAL_HOSTING", "TRUE").upper() not in _NO
    url = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
    return (url.rstrip("/"), environ.get("AWS_VIRTUAL_HOSTING", "FALSE").upper() not in _NO) if url else None


_NO = ("NO", "FALSE", "OFF", "0")


def gdal_s3_options(environ: Mapping[str, str]) -> dict[str, str]:
    """GDAL options that make it talk to the endpoint of `s3_endpoint`; empty for AWS's own."""
    endpoint = s3_endpoint(environ)
    if endpoint is None:
        return {}
    url, hosted = endpoint
    scheme, _, host = url.partition("://")
    return {
        "AWS_S3_ENDPOINT": host,
        "AWS_HTTPS": "NO" if scheme == "http" else "YES",
        "AWS_VIRTUAL_HOSTING": "TRUE" if hosted else "FALSE",
    }
