"""Many tabs of one browser: they share one stream of events, for a browser opens six connections to a server."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from tests.ui.conftest import CONFIG, Served, Watched, playwright
from tests.ui.held import Held
from tests.ui.test_models import row
from tests.ui.test_needs import by_memory

expect = playwright.expect
TABS = 8  # more than there are connections
READY = re.compile("^● 1 running")
KEY = "secret-of-the-box"
TYPE_KEY = f"sessionStorage.setItem('llamaswap.key', '{KEY}')"
NO_WORKERS = "delete globalThis.SharedWorker"


def open_tabs(first: Watched, count: int, path: str = "queue") -> list[Watched]:
    """Further tabs of the same browser."""
    tabs = [Watched(first.page.context.new_page(), first.base) for _ in range(count)]
    for tab in tabs:
        tab.open(path)
    return tabs


def test_eight_tabs_are_all_up_to_date_and_can_all_be_used(server: Served, watch: Callable[..., Watched]) -> None:
    watched = watch(server)
    watched.open()
    tabs = [watched, *open_tabs(watched, TABS - 1)]
    assert server.chat("small", max_tokens=1).status == 200
    for tab in tabs:
        expect(tab.page).to_have_title(READY)
    last = tabs[-1].open("models")
    last.get_by_role("button", name="Unload all").click()
    last.get_by_role("dialog").get_by_role("button", name="Unload all").click()
    for tab in tabs:
        expect(tab.page).not_to_have_title(READY)
    assert [line for tab in tabs for line in tab.left()] == []


def test_a_tab_that_comes_later_is_told_what_is_there(server: Served, watch: Callable[..., Watched]) -> None:
    watched = watch(server)
    expect(watched.open("queue").locator("nav footer")).to_contain_text("0.")
    with server.stream("large") as wire:
        assert wire.status() == 200
        expect(watched.page.get_by_role("row", name=re.compile("large"))).to_be_visible()
        [later] = open_tabs(watched, 1)
        expect(later.page.get_by_role("row", name=re.compile("large"))).to_be_visible()
        expect(later.page).to_have_title(re.compile("^● 1 running · 1 in progress"))
    assert later.left() == []


def test_a_tab_that_comes_later_is_told_how_long_somebody_has_waited(
    watch: Callable[..., Watched], run_server: Callable[..., Served], tmp_path: Path
) -> None:
    held = Held(tmp_path)
    with run_server({"models": {"slow": {"cmd": held.command()}}}) as server, server.stream("slow", max_tokens=1):
        watched = watch(server)
        waiting = watched.open("queue").get_by_role("region", name="Waiting").locator("tbody tr")
        expect(waiting).to_contain_text("loading")
        later = Watched(watched.page.context.new_page(), watched.base)
        later.page.clock.set_fixed_time(datetime.now(timezone.utc) + timedelta(minutes=20))
        waiting = later.open("queue").get_by_role("region", name="Waiting").locator("tbody tr")
        expect(waiting.locator("[data-label=Waits]")).to_have_text(re.compile(r"^(19|2\d) min"))
        assert later.left() == []
        watched.close()
        held.open()


def test_a_tab_that_comes_later_is_told_who_has_the_memory(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server(by_memory(a="1600MB", huge="4GB")) as server:
        watched = watch(server)
        expect(row(watched.open(), "a")).to_contain_text("needs 1.6 GBdeclared")
        [later] = open_tabs(watched, 1, "models")
        expect(row(later.page, "a")).to_contain_text("needs 1.6 GBdeclared")
        assert later.left() == []


def test_tabs_go_on_when_the_first_one_is_closed(server: Served, watch: Callable[..., Watched]) -> None:
    watched = watch(server)
    expect(watched.open().locator("nav footer")).to_contain_text("0.")
    tabs = open_tabs(watched, 2)
    for tab in tabs:
        expect(tab.page.locator("nav footer")).to_contain_text("0.")
    watched.page.close()
    assert server.chat("small", max_tokens=1).status == 200
    for tab in tabs:
        expect(tab.page).to_have_title(READY)
    assert [line for tab in tabs for line in tab.left()] == []


def test_tabs_share_the_stream_of_their_key_and_who_has_none_sees_nothing(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server({**CONFIG, "apiKeys": [KEY]}) as server:
        stranger = watch(server)
        stranger.allow("401")
        stranger.page.context.add_init_script(
            f"if (!location.search.includes('stranger')) {{ {TYPE_KEY} }}",
        )
        tabs = open_tabs(stranger, TABS)
        answer = server.post(
            "/v1/chat/completions",
            {"model": "small", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]},
            authorization=f"Bearer {KEY}",
        )
        assert answer.status == 200
        for tab in tabs:
            expect(tab.page).to_have_title(READY)
        page: Any = stranger.open("models?stranger")
        expect(page.get_by_role("dialog", name="This server asks for a key")).to_be_visible()
        expect(page).to_have_title(re.compile("not connected"))
        assert [line for tab in tabs for line in tab.left()] == []


def test_a_browser_without_shared_workers_has_a_stream_for_each_tab(
    server: Served, watch: Callable[..., Watched]
) -> None:
    watched = watch(server)
    watched.page.context.add_init_script(NO_WORKERS)
    page = watched.open()
    expect(page.locator("nav footer")).to_contain_text("0.")
    assert server.chat("small", max_tokens=1).status == 200
    expect(page).to_have_title(READY)
    assert sum(url.endswith("/api/events") for url in watched.asked) == 1
