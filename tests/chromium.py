"""A real browser for tests: Debian's Chromium, driven by Playwright. Load with `pytest_plugins = ["tests.chromium"]`.

Playwright keeps an event loop running in its thread, and in such a thread Django refuses the ORM. So the browser has
a thread of its own, and tests hand it what to do.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import Client

from apps.users.models import User

if TYPE_CHECKING:
    from playwright import sync_api

BINARIES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium on this machine for tests of pages (Debian: apt-get install chromium)"
PATIENCE_S = 30
EMAIL, PASSWORD = "op@example.com", "correct horse battery"
# WCAG 2.2, 1.4.3 (text) and 1.4.11 (what is not text).
TEXT_CONTRAST, SHAPE_CONTRAST = 4.5, 3.0

# The box that is drawn for a node of a workflow.
_BOX = ":scope > .wf-box, :scope > a > .wf-box"
# The contrast of each element's colour, by the formula of WCAG, to what is painted behind it: of translucent grounds
# what shines through, and for letters of drawings also the boxes that they stand in.
_CONTRASTS = """
([selector, property, boxes]) => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const light = (colours) => {
    for (const colour of ['#fff', ...colours]) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(
      (part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const grounds = (element) => {
    const found = [];
    for (let each = element; each; each = each.parentElement) {
      const box = each.localName === 'g' && each.querySelector(boxes);
      if (box) found.unshift(getComputedStyle(box).fill);
      found.unshift(getComputedStyle(each).backgroundColor);
    }
    return found;
  };
  return [...document.querySelectorAll(selector)].filter((each) => each.checkVisibility()).map((element) => {
    const behind = grounds(element);
    const pair = [light([...behind, getComputedStyle(element)[property]]), light(behind)];
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  });
}
"""
# Text and shapes that leave the nearest of the frames around them, with what they are.
_OUTSIDE = """
([selector, frame, boxes]) => [...document.querySelectorAll(selector)].filter((each) => {
  if (!each.checkVisibility()) return false;
  const outer = each.closest(frame);
  const [own, around] = [each, outer.querySelector(boxes) ?? outer].map((one) => one.getBoundingClientRect());
  return own.left < around.left - 1 || own.right > around.right + 1 || own.top < around.top - 1
    || own.bottom > around.bottom + 1;
}).map((each) => each.outerHTML)
"""
_WIDER_THAN_THE_WINDOW = """
() => [...document.querySelectorAll('body *')].filter((each) => each.checkVisibility()
  && each.getBoundingClientRect().right > innerWidth + 1
  && !each.closest('.wf-scroll, .wf-canvas, .ab-canvas, .wf-json')).map((each) => each.outerHTML.slice(0, 300))
"""
# Pages of the admin stay hidden until their scripts have run.
_IS_READY = "() => !document.querySelector('[x-cloak]') && document.fonts.status === 'loaded'"


class Chromium:
    """One browser, in a thread of its own."""

    def __init__(self, binary: str) -> None:
        self._thread = ThreadPoolExecutor(1, "chromium")
        self.do(self._start, binary)

    def _start(self, binary: str) -> None:
        # Takes long, and only few test processes have pages to look at.
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=binary)

    def do(self, act: Callable[..., Any], *given: Any) -> Any:
        """What `act` gives or raises in the browser's thread. Nothing of Playwright may leave it."""
        return self._thread.submit(act, *given).result(2 * PATIENCE_S)

    def new_context(self) -> sync_api.BrowserContext:
        return self._browser.new_context()

    def close(self) -> None:
        def end() -> None:
            self._browser.close()
            self._playwright.stop()

        self.do(end)
        self._thread.shutdown()


class Page:
    """A page at `base`, with cookies of its own.

    `complaints` are what went wrong: exceptions, errors and warnings on the console, failed answers, requests to
    another host.
    """

    def __init__(self, browser: Chromium, base: str) -> None:
        self._browser, self.base = browser, base
        self.complaints: list[str] = []
        browser.do(self._open)

    def _open(self) -> None:
        self._context = self._browser.new_context()
        self._context.set_default_timeout(1000 * PATIENCE_S)
        self._page = self._context.new_page()
        self._page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self._page.on("console", self._note_message)
        self._page.on("request", self._note_request)
        self._page.on("response", self._note_response)

    def _note_message(self, message: sync_api.ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    def _note_request(self, request: sync_api.Request) -> None:
        address = urlsplit(request.url)
        if address.scheme != "data" and address.netloc != urlsplit(self.base).netloc:
            self.complaints.append(f"asks another host: {request.url}")

    def _note_response(self, response: sync_api.Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status} {response.url}")

    def do(self, act: Callable[[sync_api.Page], Any]) -> Any:
        """What it gives. For what has no method here; locators and the like must not leave it."""
        return self._browser.do(act, self._page)

    def close(self) -> None:
        """What was told until now is in `complaints` afterwards."""
        self.run("0")
        self._browser.do(self._context.close)

    def sign_in(self, user: User) -> None:
        """As after the form of the login, without it."""
        client = Client()
        client.force_login(user)
        name = settings.SESSION_COOKIE_NAME
        cookie: Any = {"name": name, "value": client.cookies[name].value, "url": self.base}
        self._browser.do(self._context.add_cookies, [cookie])

    def look(self, *, width: int, height: int = 900, is_dark: bool = False) -> None:
        """The size of the window, in pixels of CSS, and which colours its user prefers."""

        self.do(lambda page: page.set_viewport_size({"width": width, "height": height}))
        self.do(lambda page: page.emulate_media(color_scheme="dark" if is_dark else "light"))

    def open(self, path: str) -> None:
        """Returns once everything on it is there."""
        self.follow(lambda page: page.goto(f"{self.base}{path}"))

    def follow(self, act: Callable[[sync_api.Page], Any]) -> None:
        """Does what leads to another page, and returns once everything on that is there."""

        def act_and_wait(page: sync_api.Page) -> None:
            with page.expect_event("load"):
                act(page)
            page.wait_for_function(_IS_READY)

        self.do(act_and_wait)

    def run(self, expression: str, given: Any = None) -> Any:
        """The value of an expression of JavaScript, or of a function of what is given; promises are waited for."""
        return self.do(lambda page: page.evaluate(expression, given))

    def contrasts(self, selector: str, style: str = "color") -> list[float]:
        """Of what is seen, in the order of the page."""
        found: list[float] = self.run(_CONTRASTS, [selector, style, _BOX])
        assert found, f"nothing is {selector}"
        return found

    def outside(self, selector: str, frame: str) -> list[str]:
        """What is seen and leaves the nearest `frame` around it."""
        found: list[str] = self.run(_OUTSIDE, [selector, frame, _BOX])
        return found

    def wider_than_the_window(self) -> list[str]:
        """What has to be scrolled to and is in nothing that is meant to be."""
        width, found = self.run(f"[document.documentElement.scrollWidth - innerWidth, ({_WIDER_THAN_THE_WINDOW})()]")
        return [*found, *(["the page itself"] if width > 0 else [])]

    def screenshot(self, path: Path) -> None:
        self.do(lambda page: page.screenshot(path=path, full_page=True))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    binary = next((found for name in BINARIES if (found := shutil.which(name))), None)
    if binary is None:
        (pytest.fail if os.environ.get("REQUIRE_CHROMIUM") else pytest.skip)(MISSING)
    browser = Chromium(binary)
    yield browser
    browser.close()


@pytest.fixture
def visitor(chromium: Chromium, live_server: Any) -> Iterator[Page]:
    """A page of nobody; nothing may have gone wrong on it in the end."""
    page = Page(chromium, f"http://localhost:{urlsplit(live_server.url).port}")
    yield page
    page.close()
    assert page.complaints == []


@pytest.fixture
def page(visitor: Page) -> Page:
    """A page of an operator who is signed in."""
    visitor.sign_in(User.objects.create_superuser(EMAIL, PASSWORD))
    visitor.look(width=1400)
    return visitor
