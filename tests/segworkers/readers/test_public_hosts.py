"""Addresses of strangers reach public hosts only, whatever they lead to."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.request import ProxyHandler

import pytest

from schemas.errors import InputError
from segworkers.readers import public_hosts
from segworkers.readers.public_hosts import PRIVATE, public_opener, require_public
from tests.segworkers.readers.servers import Site, serve


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as running:
        yield running


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111"])
def test_public_hosts_are_allowed(address: str) -> None:
    require_public(address, "host")


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.0.1", "100.100.100.200", "::1", "fd00:ec2::254"])
def test_private_hosts_need_a_word(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="expected a public host"):
        require_public(address, "host")
    monkeypatch.setenv(PRIVATE, "1")
    require_public(address, "host")


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1%eth0", "::ffff:169.254.169.254"])
def test_link_local_hosts_are_never_asked(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PRIVATE, "1")
    with pytest.raises(InputError, match="expected a public host"):
        require_public(address, "host")


def test_a_redirect_is_looked_at_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first host is allowed here, the second is not: it is never asked."""
    allowed: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"{site.url}/inside")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Quiet."""

    def check(address: str, host: str) -> None:
        if allowed:
            require_public(address, host)
        allowed.append(1)

    monkeypatch.setattr(public_hosts, "require_public", check)
    monkeypatch.setattr(public_hosts.request, "ProxyHandler", lambda: ProxyHandler({}))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with pytest.raises(InputError, match="expected a public host"):
            public_opener().open(f"http://127.0.0.1:{server.server_address[1]}/", timeout=5)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert len(allowed) == 1 and site.requests == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x"])
def test_other_schemes_are_not_opened(url: str) -> None:
    with pytest.raises(OSError, match="unknown url type"):
        public_opener().open(url)


def test_tls_is_checked_before_the_handshake(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_hosts.request, "ProxyHandler", lambda: ProxyHandler({}))
    with pytest.raises(InputError, match="expected a public host"):
        public_opener().open(site.url.replace("http:", "https:"), timeout=5)
