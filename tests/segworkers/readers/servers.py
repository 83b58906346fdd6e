"""A web server on loopback that answers range requests, or ignores them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Site:
    """What the server holds, how it behaves and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    secret: str | None = None
    """Query string that every request must carry."""
    ranges: bool = True
    requests: list[str] = field(default_factory=list[str])


@contextmanager
def serve() -> Iterator[Site]:
    """A running server; files are what `Site.files` holds at the time of a request."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            site.requests.append(self.path)
            body = site.files.get(path.lstrip("/"))
            if site.secret is not None and query != site.secret:
                return self._answer(403, b"")
            if body is None:
                return self._answer(404, b"")
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            etag = {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}
            if wanted is None or not site.ranges:
                return self._answer(200, body, etag)
            start, stop = int(wanted[1]), int(wanted[2] or len(body) - 1) + 1
            if start >= len(body):
                return self._answer(416, b"")
            part = body[start:stop]
            span = f"bytes {start}-{start + len(part) - 1}/{len(body)}"
            return self._answer(206, part, etag | {"Content-Range": span, "Accept-Ranges": "bytes"})

        def do_HEAD(self) -> None:
            self._answer(405, b"")

        def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            with suppress(ConnectionError):  # who has read enough hangs up
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
