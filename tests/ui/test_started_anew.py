"""A page that stays open while the server is started anew: it has other rows and logs then, and counts from 1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.ports import PortBlock
from tests.ui.conftest import CONFIG, Served, Watched, playwright
from tests.ui.held import Held
from tests.ui.test_activity import rows

expect = playwright.expect
LOST = "ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|503"


def outlast(watched: Watched, path: str) -> Any:
    """A page of `path` for a server that will end before it."""
    watched.allow(LOST)
    return watched.open(path)


def ask(server: Served, model: str, count: int = 1) -> None:
    for _ in range(count):
        assert server.chat(model, max_tokens=1).status == 200
    server.await_rows(count)


def test_the_rows_of_activity_are_those_of_the_new_server(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server() as server:
        ask(server, "small", 2)
        watched = watch(server, stays=True)
        page = outlast(watched, "activity")
        expect(rows(page).locator("a")).to_have_text(["2", "1"])
        expect(page.get_by_label("Totals")).to_contain_text("Generated2")
        port = server.port
    expect(page.get_by_text("The server cannot be reached")).to_be_visible()
    with run_server(ports=PortBlock(port)) as server:
        expect(rows(page)).to_have_count(0)
        expect(page.get_by_label("Totals")).to_contain_text("Generated0")
        ask(server, "large")
        expect(rows(page)).to_have_count(1)
        expect(rows(page)).to_contain_text("large")
        watched.close()


def test_the_tabs_of_a_model_tell_of_the_new_server(
    watch: Callable[..., Watched], run_server: Callable[..., Served], tmp_path: Path
) -> None:
    held = Held(tmp_path)
    held.open()
    with run_server() as server:
        ask(server, "small")
        watched, other = watch(server, stays=True), watch(server, stays=True)
        newest = outlast(watched, "models/small?tab=activity").locator("main tbody tr")
        expect(newest).to_have_count(1)
        log = outlast(other, "models/small?tab=logs").get_by_label("Log of small")
        expect(log).to_contain_text("listening on")
        port = server.port
    expect(watched.page.get_by_text("The server cannot be reached")).to_be_visible()
    expect(other.page.get_by_text("The server cannot be reached")).to_be_visible()
    models = {**CONFIG["models"], "small": {"cmd": held.command()}}
    with run_server({**CONFIG, "models": models}, ports=PortBlock(port)) as server:
        expect(newest).to_have_count(0)
        ask(server, "small")
        expect(newest).to_have_count(1)
        expect(log).to_contain_text("reading the model")
        watched.close()
        other.close()
