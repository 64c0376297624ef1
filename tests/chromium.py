"""A real browser for tests: Debian's Chromium, driven through the pipe of its DevTools protocol.

Commands go in at file descriptor 3 and messages come out of 4, each JSON with a NUL at its end.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

BINARY = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
PATIENCE_S = 30.0
_FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--hide-scrollbars", "--force-device-scale-factor=1",
)  # fmt: skip


class BrowserError(Exception):
    """The browser refused a command, a script on the page threw, or nothing came in time."""


class Chromium:
    """One browser with one page. `complaints` are what went wrong on it: exceptions, console errors, failed loads."""

    def __init__(self, profile: Path) -> None:
        if BINARY is None:
            raise BrowserError("there is no Chromium on this machine")
        commands, messages = os.pipe(), os.pipe()
        self._out, self._in = commands[1], messages[0]
        # The shell puts the two ends where the browser looks for them: descriptors of Python are not inherited so.
        line = f'exec "$@" 3<&{commands[0]} 4>&{messages[1]}'
        arguments = [BINARY, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", line, "bash", *arguments],
            pass_fds=(commands[0], messages[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands[0])
        os.close(messages[1])
        self._buffer, self._number, self._session = b"", 0, ""
        self._events: list[dict[str, Any]] = []
        self.complaints: list[str] = []

    def __enter__(self) -> Self:
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrowserError, OSError):
            self._session = ""
            self.command("Browser.close")
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        """What the browser answers to it."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            got = self._receive(deadline)
            if got.get("id") == self._number:
                break
            self._note(got)
        if "error" in got:
            raise BrowserError(f"{method}: {got['error']['message']}")
        found: dict[str, Any] = got["result"]
        return found

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._in, 1 << 20) if ready else b""
            if not chunk:
                raise BrowserError("nothing came from the browser")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        got: dict[str, Any] = json.loads(message)
        return got

    def _note(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"].get("exception", {}).get("description")))
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.complaints.append(str([each.get("value") for each in params["args"]]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.responseReceived" and params["response"]["status"] >= 400:
            self.complaints.append(f"{params['response']['status']} {params['response']['url']}")

    def addresses(self) -> list[str]:
        """Of everything that was asked for since the page was opened."""
        sent = (each["params"] for each in self._events if each.get("method") == "Network.requestWillBeSent")
        return [each["request"]["url"] for each in sent]

    def look(self, *, width: int, height: int = 900, is_dark: bool = False) -> None:
        """The size of the window, in pixels of CSS, and which colours its user prefers."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[theme])

    def open(self, url: str) -> None:
        """Returns once everything on the page is there."""
        self._events.clear()
        refused = self.command("Page.navigate", url=url).get("errorText")
        if refused:
            raise BrowserError(f"{url}: {refused}")
        self._wait_for_load()

    def _wait_for_load(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._note(self._receive(deadline))
        # Pages of the admin stay hidden until their scripts have run.
        while not self.run("!document.querySelector('[x-cloak]') && document.fonts.status === 'loaded'"):
            if time.monotonic() > deadline:
                raise BrowserError("the page stays hidden")

    def submit(self, script: str) -> None:
        """Runs a script that leads to another page, and returns once that is there."""
        self._events.clear()
        self.run(script)
        self._wait_for_load()

    def run(self, expression: str) -> Any:
        """The value of an expression of JavaScript; promises are waited for."""
        got = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in got:
            raise BrowserError(str(got["exceptionDetails"].get("exception", {}).get("description")))
        return got["result"].get("value")

    def screenshot(self, path: Path | None = None, *, is_whole: bool = True) -> bytes:
        """PNG of the window, or of the whole page."""
        got = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=is_whole)
        picture = base64.b64decode(got["data"])
        if path is not None:
            path.write_bytes(picture)
        return picture
