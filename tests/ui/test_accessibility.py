"""Every page for everybody: axe-core finds nothing serious, in both themes and on both sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ui.conftest import DESK, PHONE, Served, Watched, playwright
from tests.ui.test_needs import by_memory

expect = playwright.expect
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
PAGES = (
    *(
        "models",
        "models/small",
        "models/small?tab=connect",
        "queue",
        "activity",
        "logs",
        "performance",
        "performance/hardware",
        "playground",
    ),
    *("activity?row=1", "activity?row=1&tab=request", "activity?row=1&tab=answer&raw=1", "activity?row=3&figures=1"),
    *("logs?show=small&show=proxy&q=e",),
    *("playground/chat", "playground/images", "playground/embeddings", "config", "config/edit", "settings"),
)
RUN = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  const serious = found.violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const places = (nodes) => nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(" | ");
  return serious.map(({ id, nodes }) => `${id}: ${places(nodes)}`);
}"""


def complaints(page: Any) -> list[str]:
    page.evaluate(AXE.read_text())
    found: list[str] = page.evaluate(RUN)
    return found


@pytest.fixture
def busy(server: Served) -> Served:
    """A server with something of everything: a model that runs, rows, and a request in progress."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm install --prefix tests/ui")
    for model in ("embed", "small"):
        assert server.chat(model, max_tokens=2).status == 200
    assert server.chat("nobody").status == 404
    server.await_rows(3)
    return server


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_keeps_anybody_out(busy: Served, watch: Callable[..., Watched], theme: str) -> None:
    with busy.stream("small") as wire:
        assert wire.status() == 200
        wire.read_to(b"data: ")
        found: list[str] = []
        for size in (DESK, PHONE):
            watched = watch(busy, size, theme)
            for name in PAGES:
                page = watched.open(name)
                expect(page.locator("main h1").first).to_be_visible()
                found += [f"{name} on {size['width']} pixels: {line}" for line in complaints(page)]
            watched.close()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_needs_and_devices_keep_nobody_out(
    run_server: Callable[..., Served], watch: Callable[..., Watched], theme: str
) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm install --prefix tests/ui")
    with run_server(by_memory(a="1600MB", b="800MB", huge="4GB", new="")) as server:
        assert server.chat("a", max_tokens=1).status == 200
        for size in (DESK, PHONE):
            watched = watch(server, size, theme)
            for name, told in (("models", "does not fit"), ("models/b", "declared"), ("models/a", "declared")):
                page = watched.open(name)
                expect(page.locator("main")).to_contain_text(told)
                assert complaints(page) == []
            watched.close()


def test_what_a_server_without_anything_shows_keeps_nobody_out(
    run_server: Callable[..., Served], watch: Callable[..., Watched]
) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm install --prefix tests/ui")
    with run_server({"models": {}}) as server:
        watched = watch(server, PHONE)
        for name in ("models", "queue", "playground/chat"):
            page = watched.open(name)
            expect(page.locator("main pre")).to_be_visible()
            assert complaints(page) == []


def test_dialogs_keep_nobody_out_either(watched: Watched) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm install --prefix tests/ui")
    page = watched.open("settings")
    for keys in ("?", "Control+k"):
        page.keyboard.press(keys)
        expect(page.get_by_role("dialog")).to_be_visible()
        assert complaints(page) == []
        page.keyboard.press("Escape")


def test_who_loads_a_model_by_the_keyboard_stays_at_its_button_though_the_row_moves(page: Any) -> None:
    names = page.locator("tr.model a.name")
    expect(names).to_have_text(["embed", "large", "small"])
    page.get_by_role("button", name="Load small").press("Enter")
    unload = page.get_by_role("button", name="Unload small")
    expect(unload).to_be_focused()
    expect(names).to_have_text(["small", "embed", "large"])
    unload.press("Enter")
    expect(page.get_by_role("button", name="Load small")).to_be_focused()
