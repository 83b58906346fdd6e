"""A page as a real browser sees it: Chromium without a screen, driven through its DevTools protocol over two pipes.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH: pages are not looked at")

_QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"),
)
_WAIT_S = 120.0


@dataclass
class Browser:
    """One tab."""

    commands: int
    answers: int
    session: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    _sent: int = 0
    _rest: bytes = b""

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its result; events in between are kept."""
        self._sent += 1
        body = {"id": self._sent, "method": method, "params": params}
        os.write(
            self.commands, json.dumps(body | ({"sessionId": self.session} if self.session else {})).encode() + b"\0"
        )
        while True:
            message = self._next()
            if message.get("id") == self._sent:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def wait_for(self, method: str) -> None:
        """Wait for an event."""
        while all(each.get("method") != method for each in self.events):
            self.events.append(self._next())

    def params(self, method: str) -> list[dict[str, Any]]:
        """Of all events of a kind so far."""
        return [each["params"] for each in self.events if each.get("method") == method]

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"]["value"]

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + _WAIT_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self.answers], [], [], max(until - time.monotonic(), 0))
            assert ready, f"chromium said nothing for {_WAIT_S:g} s"
            part = os.read(self.answers, 1 << 20)
            assert part, "chromium ended"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)


@contextmanager
def opened(page: Path, width: int = 1280) -> Iterator[Browser]:
    """The page, loaded, in a browser of its own with a new profile."""
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        inward, outward = os.pipe(), os.pipe()
        # Chromium reads commands at descriptor 3 and answers at 4.
        far = [fcntl.fcntl(each, fcntl.F_DUPFD, 20) for each in (inward[0], outward[1])]
        line = ["bash", "-c", f'exec "$0" "$@" 3<&{far[0]} 4>&{far[1]}', str(CHROMIUM), *_QUIET]
        process = subprocess.Popen(
            [*line, f"--user-data-dir={profile}", f"--window-size={width},900"],
            pass_fds=far,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for each in (*far, inward[0], outward[1]):
            os.close(each)
        try:
            yield _loaded(Browser(inward[1], outward[0]), page)
        finally:
            process.kill()
            process.wait()
            os.close(inward[1])
            os.close(outward[0])


def _loaded(browser: Browser, page: Path) -> Browser:
    target = browser.call("Target.createTarget", url="about:blank")["targetId"]
    browser.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Network", "Log", "Runtime"):
        browser.call(f"{domain}.enable")
    browser.events.clear()
    browser.call("Page.navigate", url=page.absolute().as_uri())
    browser.wait_for("Page.loadEventFired")
    return browser


@dataclass(frozen=True)
class Seen:
    """What there is to complain about a page."""

    pictures: int
    broken: int
    """Pictures that do not decode."""
    requested: list[str]
    """Addresses beside the page itself and what it holds."""
    complaints: list[str]
    """Errors and warnings of the console."""
    figures: int
    torn: list[str]
    """Figures that are broken over lines."""
    too_wide: int
    """Pixels that the page is wider than the window."""


_FIGURES = "[...document.querySelectorAll('td.n small, .figure')]"
_TORN = f"""{_FIGURES}.filter(e => new Set([...e.getClientRects()]
    .map(r => Math.round(r.top))).size > 1).map(e => e.textContent)"""


def look_at(page: Path, width: int = 1280) -> Seen:
    """Open a page and say what there is."""
    with opened(page, width) as browser:
        broken = browser.value(
            "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth > 0, () => false)))"
            ".then(each => each.filter(good => !good).length)"
        )
        own = page.absolute().as_uri()
        urls = [each["request"]["url"] for each in browser.params("Network.requestWillBeSent")]
        entries = [each["entry"] for each in browser.params("Log.entryAdded")]
        return Seen(
            pictures=browser.value("document.images.length"),
            broken=broken,
            requested=[url for url in urls if url != own and not url.startswith("data:")],
            complaints=[
                *(each["text"] for each in entries if each["level"] in ("error", "warning")),
                *(each["exceptionDetails"]["text"] for each in browser.params("Runtime.exceptionThrown")),
                *(str(each["args"]) for each in browser.params("Runtime.consoleAPICalled")),
            ],
            figures=browser.value(f"{_FIGURES}.length"),
            torn=browser.value(_TORN),
            too_wide=browser.value("document.documentElement.scrollWidth - window.innerWidth"),
        )
