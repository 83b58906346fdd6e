"""Addresses that come from others, such as those in a model's bundle: fetched from the public network only.

A bundle's maker chooses its addresses, and whoever loads it asks them, from inside a network that the maker cannot
reach: a cloud machine's metadata service, a router, a service on the same machine. So the peer is looked at once the
connection stands, for each redirect again, and before anything is asked. Where a proxy is set, it decides.
"""

from __future__ import annotations

import os
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from ipaddress import IPv6Address, ip_address
from urllib import request

from schemas.errors import InputError

PRIVATE = "SEGWORKERS_PRIVATE_HOSTS"
"""Environment variable: `1` allows hosts of private networks and this machine, but never link-local ones."""


def public_opener() -> request.OpenerDirector:
    """Opens http(s) URLs, redirects included. Raises InputError (`access_denied`) for hosts that are not public."""
    opener = request.OpenerDirector()
    handlers = (
        request.ProxyHandler(),
        _Http(),
        _Https(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPRedirectHandler(),
        request.HTTPErrorProcessor(),
        request.UnknownHandler(),
    )
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def require_public(address: str, host: str) -> None:
    """Raise InputError where a peer's IP address is not one of the public network, and nobody allowed it."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    allowed = os.environ.get(PRIVATE, "") == "1" and not ip.is_link_local
    if not ip.is_global and not allowed:
        raise InputError(
            "access_denied",
            f"{host}: expected a public host, found {ip}, of a private network or this machine.",
            f"Fetch the file yourself, or set {PRIVATE}=1 where you trust who wrote the address.",
        )


class _Connection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        require_public(self.sock.getpeername()[0], self.host)


class _TlsConnection(HTTPSConnection, _Connection):
    """The check comes between the connection, which HTTPSConnection leaves to its parent, and the handshake."""


class _Http(request.HTTPHandler):
    def http_open(self, req: request.Request) -> HTTPResponse:
        return self.do_open(HTTPConnection if req.has_proxy() else _Connection, req)


class _Https(request.HTTPSHandler):
    def https_open(self, req: request.Request) -> HTTPResponse:
        proxied = getattr(req, "_tunnel_host", None) is not None  # has_proxy() is for http alone
        return self.do_open(HTTPSConnection if proxied else _TlsConnection, req)
