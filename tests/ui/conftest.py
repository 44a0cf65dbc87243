"""The web page in a real browser: one Chromium for the tests of a file, a page and a server for each.

A test fails if the page writes an error to its console, if a request of it fails, or if one leaves for another host;
what a test brings about on purpose it says first (`watched.allow`). Without Playwright or a Chromium the tests say so
and are skipped; `.ci/install` installs both.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.program import Program, demo, wait_until

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
DESK = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}
DEADLINE = 60_000  # milliseconds, of all that a test expects
playwright.expect.set_options(timeout=DEADLINE)
CONFIG: dict[str, Any] = {
    "models": {
        "small": {"cmd": demo("--tokens-per-second", "200"), "name": "A small model", "aliases": ["gpt-4o-mini"]},
        "large": {"cmd": demo("--tokens-per-second", "20", "--load-seconds", "1"), "ttl": 300},
        "embed": {"cmd": demo()},
    },
    "groups": {
        "gpu": {"members": ["small", "large"]},
        "always": {"members": ["embed"], "swap": False, "exclusive": False, "persistent": True},
    },
}


class Watched:
    """A page of the browser, and all that went wrong in it."""

    def __init__(self, page: Any, base: str) -> None:
        self.page = page
        self.base = base
        self.trouble: list[str] = []
        self.asked: list[str] = []  # the addresses of all its requests
        self._allowed: list[re.Pattern[str]] = []
        page.set_default_timeout(DEADLINE)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        page.on("requestfailed", self._failed)
        page.on("request", self._leaves)

    def open(self, path: str = "models") -> Any:
        """Show a page of ours; the Playwright page."""
        self.page.goto(f"{self.base}/ui/{path}")
        return self.page

    def close(self) -> None:
        """Close it; nothing that it asks for afterwards counts."""
        self.page.context.close()

    def allow(self, pattern: str) -> None:
        """What is found by this expression is expected from now on."""
        self._allowed.append(re.compile(pattern))

    def left(self) -> list[str]:
        """What went wrong, but for what was allowed."""
        return [line for line in self.trouble if not any(each.search(line) for each in self._allowed)]

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.trouble.append(f"console {message.type}: {message.text} {message.location.get('url', '')}")

    def _failed(self, request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # it was the page that ended it
            self.trouble.append(f"failed: {request.method} {request.url}: {request.failure}")

    def _leaves(self, request: Any) -> None:
        self.asked.append(request.url)
        if not request.url.startswith((self.base, "data:", "blob:")):
            self.trouble.append(f"left the host: {request.url}")


class Served(Program):
    """A server that has the pages closed which show it before it ends: what they would ask for then is no fault."""

    closes: list[Watched]

    def __enter__(self) -> Served:
        self.closes = []
        super().__enter__()
        return self

    def __exit__(self, *how: Any) -> None:
        for watched in self.closes:
            watched.close()
        super().__exit__(*how)

    def await_rows(self, count: int) -> None:
        """Wait until there are so many rows of activity: one is written after the answer has been sent."""
        wait_until(lambda: self.get("/api/metrics/activity").json()["total"] == count, f"{count} rows")


@pytest.fixture(scope="module")  # it runs an event loop, which other tests of this process must not find
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture
def watch(browser: Any) -> Iterator[Callable[..., Watched]]:
    """`watch(server)` opens an empty page for it: `size`, `theme` and all that a Playwright context takes.

    The page is closed before the server ends, unless it `stays`.
    """
    pages: list[Watched] = []

    def open_page(
        server: Served, size: dict[str, int] | None = None, theme: str = "light", *, stays: bool = False, **options: Any
    ) -> Watched:
        context = browser.new_context(viewport=size or DESK, color_scheme=theme, has_touch=size == PHONE, **options)
        watched = Watched(context.new_page(), f"http://127.0.0.1:{server.port}")
        pages.append(watched)
        if not stays:
            server.closes.append(watched)
        return watched

    yield open_page
    for watched in pages:
        watched.close()
    assert [line for watched in pages for line in watched.left()] == []


@pytest.fixture
def run_server(tmp_path: Path) -> Callable[..., Served]:
    """`with run_server(config) as server:`; without one there are three demo models: small, large and embed."""

    def run(config: dict[str, Any] | None = None, **options: Any) -> Served:
        return Served(tmp_path, config or CONFIG, **options)

    return run


@pytest.fixture
def server(run_server: Callable[..., Served]) -> Iterator[Served]:
    """A running llamaswap with the three demo models."""
    with run_server() as program:
        yield program


@pytest.fixture
def watched(server: Served, watch: Callable[..., Watched]) -> Watched:
    """An empty page for the running server."""
    return watch(server)


@pytest.fixture
def page(watched: Watched) -> Any:
    """The home page of the running server: a Playwright page."""
    return watched.open()
