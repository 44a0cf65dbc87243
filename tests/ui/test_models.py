"""The page Models: the list, what a load would unload, loads and failures, and a model's own page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from llamaswap_lib.agents.known import AGENTS
from tests.e2e.program import Program, demo, python, wait_until
from tests.ui.conftest import CONFIG, PHONE, Served, Watched, playwright
from tests.ui.held import Held

expect = playwright.expect
HOSTILE = ("<b>bold</b>", "evil-\u202egnp.exe", "x" * 300, "org/a&b=c?d#e%41")


def row(page: Any, name: str) -> Any:
    """The row of a model."""
    return page.locator("tr.model").filter(has=page.get_by_role("link", name=name, exact=True))


def settle(page: Any) -> None:
    """Wait until all has come that pushes the list down."""
    expect(page.locator(".memory-bar").first).to_be_visible()
    expect(page.locator(".rules")).to_be_visible()


def configured(**models: Any) -> dict[str, Any]:
    """The three demo models, and more."""
    return {**CONFIG, "models": {**CONFIG["models"], **models}}


def test_models_selectors_and_peers_are_rows(watch: Callable[..., Watched], run_server: Callable[..., Program]) -> None:
    config = {
        **configured(hidden={"cmd": demo(), "unlisted": True}),
        "selectors": {"auto": {"strategy": "warm", "targets": ["large", "small"]}},
        "peers": {"box2": {"proxy": "http://127.0.0.1:9", "models": ["far"]}},
    }
    with run_server(config) as server:
        page = watch(server).open()
        expect(page.locator("tr.model a.name")).to_have_text(["embed", "large", "small", "auto", "box2/far"])
        expect(row(page, "auto")).to_contain_text("one of large, small")
        expect(row(page, "auto")).to_contain_text("now large")
        expect(row(page, "box2/far")).to_contain_text("on box2")
        page.get_by_label("Unlisted too").check()
        expect(row(page, "hidden")).to_contain_text("unlisted")
        page.get_by_label("Aliases as rows").check()
        expect(row(page, "gpt-4o-mini")).to_contain_text("→ small")
        expect(page).to_have_url(re.compile("unlisted=1&aliases=1"))
        page.context.close()


def test_what_a_load_unloads_is_told_before_the_click(page: Any, server: Program) -> None:
    cost = row(page, "large").locator(".cost")
    expect(row(page, "large").get_by_role("button", name="Load large")).to_be_enabled()
    expect(cost).to_be_hidden()
    assert server.chat("small", max_tokens=1).status == 200
    expect(cost).to_have_text("unloads small")
    expect(cost).to_have_attribute("title", "small: group gpu runs one model at a time")
    expect(row(page, "embed").locator(".cost")).to_be_hidden()
    row(page, "large").get_by_role("button", name="Load large").click()
    expect(row(page, "large").get_by_role("button", name="Unload large")).to_be_visible()
    assert server.states() == {"large": "ready"}
    expect(row(page, "small").locator(".cost")).to_have_text("unloads large")
    row(page, "large").get_by_role("button", name="Unload large").click()
    expect(row(page, "large").get_by_role("button", name="Load large")).to_be_enabled()
    expect(row(page, "small").locator(".cost")).to_be_hidden()
    assert server.states() == {}


def test_requests_inside_what_would_go_are_counted(page: Any, server: Program) -> None:
    with server.stream("small") as wire:
        wire.read_head_and_first_chunk()
        expect(row(page, "large").locator(".cost")).to_have_text("unloads small after 1 request")
        expect(row(page, "small").locator("td.use")).to_have_text("1")


def test_a_load_shows_how_far_it_is_and_what_its_process_says_and_can_be_cancelled(
    watch: Callable[..., Watched], run_server: Callable[..., Program]
) -> None:
    talks = "import threading\nwhile not threading.Event().wait(0.1): print('reading the model', flush=True)"
    with run_server(configured(slow={"cmd": python(talks)})) as server:
        page = watch(server).open()
        row(page, "slow").get_by_role("button", name="Load slow").click()
        expect(row(page, "slow")).to_contain_text(re.compile(r"loading for \d+ s"))
        expect(row(page, "slow").get_by_role("progressbar", name="Load of slow")).to_be_visible()
        expect(row(page, "slow")).to_contain_text("reading the model")
        expect(page.get_by_role("status").filter(has_text="1 loading")).to_be_visible()
        row(page, "slow").get_by_role("button", name="Cancel the load of slow").click()
        expect(row(page, "slow").get_by_role("button", name="Load slow")).to_be_enabled()
        assert server.states() == {}
        assert server.starts("slow") == 1
        with server.wire() as wire:
            wire.request("POST", "/v1/chat/completions", {"model": "slow", "messages": []})
            expect(row(page, "slow").locator(".cost")).to_have_text("starts again for 1 request")
        page.context.close()


def test_a_model_that_sleeps_says_so_and_can_be_woken_or_unloaded(
    watch: Callable[..., Watched], run_server: Callable[..., Program]
) -> None:
    config = configured(small={"cmd": demo("--sleep-seconds", "0.1"), "sleep": "vllm", "ttl": 300})
    with run_server(config) as server:
        page = watch(server).open()
        small = row(page, "small")
        for name in ("small", "large"):
            assert server.chat(name, max_tokens=1).status == 200
        expect(small.locator(".why").filter(has_text="sleeping")).to_be_visible()
        expect(small.locator(".cost")).to_have_text("unloads large")
        expect(small).to_contain_text("in 5 min")
        small.get_by_role("button", name="Load small", exact=True).click()
        wait_until(lambda: server.states() == {"small": "ready"}, "small is awake")
        assert server.chat("large", max_tokens=1).status == 200
        small.get_by_role("button", name="Unload small").click()
        expect(small.get_by_role("button", name="Unload small")).to_have_count(0)
        assert server.states() == {"large": "ready"}
        page.context.close()


def test_the_time_that_a_load_takes_is_known_from_the_one_before(
    watch: Callable[..., Watched], run_server: Callable[..., Program], tmp_path: Path
) -> None:
    held = Held(tmp_path)
    held.open()
    with run_server(configured(slow={"cmd": held.command("--load-seconds", "1.5")})) as server:
        assert server.chat("slow", max_tokens=1).status == 200
        assert server.post("/api/models/unload/slow", {}).status == 200
        held.shut()
        page = watch(server).page
        page.clock.set_fixed_time(datetime.now(timezone.utc))  # what is left of the load does not pass
        page.goto(f"http://127.0.0.1:{server.port}/ui/models")
        row(page, "slow").get_by_role("button", name="Load slow").click()
        expect(row(page, "slow")).to_contain_text(re.compile(r"about \d+ s to go"))
        expect(row(page, "slow").get_by_role("progressbar")).to_have_attribute("aria-valuenow", re.compile(r"\d+"))
        held.open()
        expect(row(page, "slow").get_by_role("button", name="Unload slow")).to_be_visible()
        page.context.close()


def test_a_failed_load_says_why_with_the_last_lines(
    watch: Callable[..., Watched], run_server: Callable[..., Program]
) -> None:
    with run_server(configured(broken={"cmd": demo("--exit-at-start", "3")})) as server:
        watched = watch(server)
        watched.allow("502")
        page = watched.open()
        row(page, "broken").get_by_role("button", name="Load broken").click()
        expect(row(page, "broken")).to_contain_text("exited with code 3")
        expect(page.get_by_role("log", name="Messages")).to_contain_text("Loading broken failed")
        page.get_by_role("button", name="Close").click()
        row(page, "broken").get_by_role("link", name="broken").click()
        expect(page.get_by_role("heading", name="Why it fails")).to_be_visible()
        expect(page.get_by_label("Last lines")).to_contain_text("error: told to fail at the start")
        watched.close()


def test_until_a_failed_load_is_tried_again_goes_by_the_clock(
    watch: Callable[..., Watched], run_server: Callable[..., Program]
) -> None:
    with run_server(configured(broken={"cmd": demo("--exit-at-start", "3")})) as server:
        watched, now = watch(server), datetime.now(timezone.utc)
        watched.allow("502")
        watched.page.clock.set_fixed_time(now)
        page = watched.open()
        row(page, "broken").get_by_role("button", name="Load broken").click()
        expect(row(page, "broken")).to_contain_text("not tried again for 1 s")
        page.clock.set_fixed_time(now + timedelta(minutes=5))
        expect(row(page, "broken").locator("div.why.fail")).to_have_text(re.compile(r"code 3 · since (now|.+ ago)$"))
        watched.close()


def test_search_order_and_groups_stand_in_the_address(watched: Watched) -> None:
    page = watched.open()
    expect(row(page, "small")).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Search models")).to_be_focused()
    page.keyboard.type("gpt-4o")
    expect(page.locator("tr.model a.name")).to_have_text(["small"])
    page.reload()
    expect(page.locator("tr.model a.name")).to_have_text(["small"])
    page.get_by_role("searchbox", name="Search models").fill("nothing like it")
    page.get_by_role("button", name="Show all").click()
    page.get_by_label("Groups").select_option("set")
    expect(page.locator("tr.group")).to_have_text(["gpu2", "always1"])
    page.get_by_label("Order").select_option("name")
    expect(page).to_have_url(re.compile("group=set&sort=name"))


def test_a_pinned_model_comes_first_and_stays_so(page: Any) -> None:
    expect(page.locator("tr.model a.name").first).to_have_text("embed")
    row(page, "small").get_by_role("button", name="Pin small").click()
    page.mouse.move(0, 0)
    expect(page.locator("tr.model a.name").first).to_have_text("small")
    page.reload()
    expect(page.locator("tr.model a.name").first).to_have_text("small")
    row(page, "small").get_by_role("button", name="Pin small").click()
    page.mouse.move(0, 0)
    expect(page.locator("tr.model a.name").first).to_have_text("embed")


def test_nothing_moves_away_under_the_pointer(page: Any, server: Program) -> None:
    expect(page.get_by_text("Nothing was loaded or asked in this time.")).to_be_visible()
    settle(page)
    row(page, "large").hover()
    top = row(page, "large").bounding_box()["y"]
    assert server.chat("small", max_tokens=1).status == 200
    expect(row(page, "small").get_by_role("button", name="Unload small")).to_be_visible()
    expect(page.locator("tr.model a.name")).to_have_text(["embed", "large", "small"])
    expect(row(page, "large").locator(".cost")).to_have_text("unloads small")
    assert row(page, "large").bounding_box()["y"] == top
    page.mouse.move(0, 0)
    expect(page.locator("tr.model a.name")).to_have_text(["small", "embed", "large"])
    expect(page.locator(".timeline .names a")).to_have_text(["small"])


def test_what_is_pressed_stays_where_it_is_until_it_is_let_go(server: Served, watch: Callable[..., Watched]) -> None:
    page, other = watch(server).open(), watch(server).open()
    link = row(page, "small").get_by_role("link", name="small", exact=True)
    expect(link).to_be_visible()
    settle(page)
    link.hover()
    page.mouse.down()
    assert server.chat("small", max_tokens=1).status == 200
    expect(row(other, "large").locator(".cost")).to_have_text("unloads small")  # so the row above grows
    page.mouse.up()
    expect(page).to_have_url(re.compile("/ui/models/small$"))


def test_keys_lead_from_model_to_model(page: Any) -> None:
    expect(row(page, "small")).to_be_visible()
    for key, name in (("j", "embed"), ("j", "large"), ("j", "small"), ("k", "large")):
        page.keyboard.press(key)
        expect(row(page, name).get_by_role("link", name=name)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/ui/models/large$"))


def test_unloading_all_is_asked_about_first(page: Any, server: Program) -> None:
    expect(page.get_by_role("button", name="Unload all")).to_be_disabled()
    assert server.chat("small", max_tokens=1).status == 200
    assert server.chat("embed", max_tokens=1).status == 200
    for model in ("small", "embed"):
        expect(row(page, model).locator("td.use")).to_have_text("0")  # the page has read that it runs
    page.get_by_role("button", name="Unload all").click()
    dialog = page.get_by_role("dialog", name="Unload all 2 models?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    assert server.states() == {"embed": "ready", "small": "ready"}
    page.get_by_role("button", name="Unload all").click()
    dialog.get_by_role("button", name="Unload all").click()
    expect(page.get_by_role("button", name="Unload all")).to_be_disabled()
    assert server.states() == {}


def test_what_begins_to_run_while_the_page_asks_what_runs_is_asked_for_next(watched: Watched, server: Program) -> None:
    page = watched.page
    page.clock.install()
    watched.open()
    expect(row(page, "embed").locator("td.use")).to_have_text("–")
    page.clock.pause_at(datetime.now(timezone.utc) + timedelta(hours=1))  # nothing is asked for by the clock

    def answer_late(route: Any) -> None:
        before = route.fetch()
        assert server.chat("embed", max_tokens=1).status == 200
        expect(row(page, "embed").get_by_role("button", name="Unload embed")).to_be_visible()
        route.fulfill(response=before)

    page.route("**/running", answer_late, times=1)
    assert server.chat("small", max_tokens=1).status == 200
    for model in ("small", "embed"):
        expect(row(page, model).locator("td.use")).to_have_text("0")


def test_the_group_or_set_in_use_is_shown(watch: Callable[..., Watched], run_server: Callable[..., Program]) -> None:
    matrix = {"vars": {"s": "small", "e": "embed"}, "sets": {"chat": "s & e", "big": "large & e"}}
    config = {"models": CONFIG["models"], "matrix": matrix}
    with run_server(config) as server:
        page = watch(server).open()
        expect(row(page, "small")).to_be_visible()
        expect(page.locator(".rules")).to_have_text("no set is in use")
        assert server.chat("small", max_tokens=1).status == 200
        expect(page.locator(".rules")).to_have_text("set chat: small & embed")
        assert server.chat("large", max_tokens=1).status == 200
        expect(page.locator(".rules")).to_have_text("set big: large & embed")
        page.context.close()


def test_the_profile_that_is_active_is_named(watch: Callable[..., Watched], run_server: Callable[..., Program]) -> None:
    config = {**CONFIG, "profiles": {"work": {"pins": {"boss": "small"}}}}
    with run_server(config) as server:
        page = watch(server).open()
        assert server.ask("PUT", "/api/profiles/active", b'{"name": "work"}').status == 200
        expect(page.get_by_role("status").filter(has_text="profile work")).to_be_visible()
        expect(row(page, "boss")).to_contain_text("→ small")
        page.context.close()


def test_the_memory_of_each_device_is_a_bar_of_ours_others_and_free(page: Any, server: Program) -> None:
    gpu = {"timestamp": "2026-11-29T12:00:00.000Z", "id": 0, "name": "A card", "uuid": "GPU-1", "temp_c": 62.0}
    gpu |= {"gpu_util_pct": 71.0, "mem_used_mb": 18_000, "mem_total_mb": 24_000}
    told = {"enabled": True, "sys_stats": [], "gpu_stats": [gpu]}
    memory = [{"device": "GPU-1", "name": "A card", "kind": "gpu", "bytes": 12_000 << 20, "witness": "nvml"}]

    def answer_running(route: Any) -> None:
        rows = server.get("/running").json()["running"]
        route.fulfill(json={"running": [{**each, "memory": memory} for each in rows]})

    page.route("**/api/performance*", lambda route: route.fulfill(json=told))
    page.route("**/running", answer_running)
    assert server.chat("small", max_tokens=1).status == 200
    page.reload()
    bar = page.get_by_role("img", name="GPU 0 · A card, 17.6 of 23.4 GB · 71 % · 62 °C: small 11.7 GB, others 5.9 GB")
    expect(bar).to_be_visible()
    widths = bar.evaluate("e => [...e.querySelectorAll('i:not([hidden])')].map((p) => p.offsetWidth / e.offsetWidth)")
    assert [round(width, 2) for width in widths] == [0.5, 0.25]
    expect(row(page, "small")).to_contain_text("11.7 GB")
    page.unroute_all(behavior="ignoreErrors")


def test_a_model_has_a_page_of_its_own(watched: Watched, server: Program) -> None:
    assert server.chat("small", max_tokens=3).status == 200
    page = watched.open()
    page.get_by_role("link", name="small", exact=True).last.click()
    expect(page).to_have_url(f"{watched.base}/ui/models/small")
    expect(page.get_by_role("heading", name="small")).to_contain_text("running")
    expect(page.locator("dl.facts").first).to_contain_text(str(server.running("small")["pid"]))
    tabs = page.get_by_role("navigation", name="Parts of this page")
    tabs.get_by_role("link", name="Activity").click()
    expect(page).to_have_url(f"{watched.base}/ui/models/small?tab=activity")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody a")).to_have_attribute("href", "activity?row=1")
    assert server.chat("small", max_tokens=3).status == 200
    expect(page.locator("tbody tr")).to_have_count(2)
    tabs.get_by_role("link", name="Log").click()
    expect(page.get_by_label("Log of small")).to_contain_text("listening on")
    tabs.get_by_role("link", name="Command").click()
    expect(page.locator("pre").first).to_contain_text("--tokens-per-second 200")
    tabs.get_by_role("link", name="Speed").click()
    expect(page.locator("dl.model-figures")).to_contain_text("Tokens answered6")
    page.go_back()
    expect(page.locator("pre").first).to_contain_text("--tokens-per-second 200")


def test_it_can_be_copied_as_a_command_and_as_settings_of_clients(watched: Watched) -> None:
    page = watched.open("models/small?tab=connect")
    expect(page.get_by_role("heading", level=2)).to_have_count(3 + len(AGENTS))
    curl = page.locator("pre.recipe").first.inner_text()
    assert curl.startswith(f"curl '{watched.base}/v1/chat/completions'")
    assert json.loads(curl.split("-d '")[1].rstrip("'"))["model"] == "small"
    for agent in AGENTS:
        section = page.locator("section").filter(has=page.get_by_role("heading", name=agent.title, exact=True))
        assert watched.base in " ".join(section.locator("pre.recipe").all_inner_texts())
    page.get_by_role("button", name="Copy: aider", exact=True).click()
    expect(page.get_by_role("log", name="Messages")).to_contain_text("aider is copied")


def test_an_alias_leads_to_its_model_and_an_unknown_name_says_so(watched: Watched) -> None:
    page = watched.open("models/gpt-4o-mini")
    expect(page).to_have_url(f"{watched.base}/ui/models/small")
    page = watched.open("models/nothing")
    expect(page.get_by_role("heading", name="There is no model of this name")).to_be_visible()


def test_hostile_names_harm_nothing(watch: Callable[..., Watched], run_server: Callable[..., Program]) -> None:
    entry = {"cmd": demo(), "name": "<img src=x onerror=alert(1)>", "description": "\u202e<script>alert(2)</script>"}
    with run_server(configured(**dict.fromkeys(HOSTILE, entry))) as server:
        for size in (None, PHONE):
            page = watch(server, size).open()
            for name in HOSTILE:
                assert server.chat(name, max_tokens=1).status == 200
                link = page.locator("tr.model a.name").filter(has_text=name)
                expect(link).to_have_text(name)
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
                link.click()
                expect(page.locator("h1")).to_contain_text(name)
                expect(page.locator("h1")).to_contain_text("running")
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
                page.go_back()
            assert page.locator("main").evaluate("e => e.querySelectorAll('img, script, b').length") == 0
            page.context.close()


def test_without_a_model_it_says_what_to_write(
    watch: Callable[..., Watched], run_server: Callable[..., Program]
) -> None:
    with run_server({"models": {}}) as server:
        page = watch(server).open()
        expect(page.get_by_role("heading", name="There is no model yet")).to_be_visible()
        expect(page.locator("pre")).to_contain_text("llama-server --port ${PORT}")
        wait_until(lambda: page.locator("pre").count() == 1, "it stays")
        page.context.close()
