"""The page Performance: figures of the machine over time, and the hardware."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from tests.ui.conftest import CONFIG, Served, Watched, playwright

expect = playwright.expect
SAMPLE = {
    "cpu_util_per_core": [1.0],
    "mem_total_mb": 2,
    "mem_used_mb": 1,
    "mem_free_mb": 1,
    "swap_total_mb": 0,
    "swap_used_mb": 0,
    **{f"load_avg_{minutes}": 0.5 for minutes in (1, 5, 15)},
    "net_io": [{"name": "eth0", "bytes_recv": 7, "bytes_sent": 7}],
    "disks": [],
}
GPU = {
    **dict.fromkeys(("uuid", "vram_temp_c", "mem_util_pct", "fan_speed_pct")),
    "temp_c": 40,
    "gpu_util_pct": 50,
    "mem_used_mb": 1,
    "mem_total_mb": 2,
    "power_draw_w": 100,
}


def test_the_figures_of_the_machine_are_drawn(watch: Callable[..., Watched], run_server: Callable[..., Served]) -> None:
    with run_server() as server:
        assert server.chat("small", max_tokens=1).status == 200
        server.await_rows(1)
        watched = watch(server)
        page = watched.open("performance?span=5m")
        expect(page.get_by_role("button", name="5 minutes", exact=True)).to_have_attribute("aria-pressed", "true")
        for name in ("Processor", "Memory", "Load", "Network", "Memory of each model"):
            expect(page.locator("figcaption", has_text=name).first).to_be_visible()
        line = page.locator("figure", has_text="Memory").first.locator("path.plot-line").first
        expect(line).to_have_attribute("d", re.compile("^M"))
        expect(page.locator("figure", has_text="Memory of each model")).to_contain_text("small")
        expect(page.locator(".plot-mark").first).to_be_attached()
        page.locator("figure svg").first.focus()
        page.keyboard.press("ArrowLeft")
        expect(page.locator("figure .plot-moment").first).not_to_be_empty()


def test_a_sample_that_comes_twice_counts_once(watched: Watched, server: Served) -> None:
    def twice(route: Any) -> None:
        moments = [(datetime.now(timezone.utc) - timedelta(seconds=ago)).isoformat() for ago in (30, 20, 20, 10)]
        samples = [{**SAMPLE, "timestamp": moment} for moment in moments]
        route.fulfill(json={"sys_stats": samples, "gpu_stats": []})

    watched.page.route("**/api/performance*", twice)
    page = watched.open("performance?span=5m")
    expect(page.locator("figure", has_text="Network")).to_contain_text("0 B/s")  # and no error of an odd path


def test_a_clock_that_is_hours_ahead_of_the_servers_moves_nothing(watched: Watched, server: Served) -> None:
    assert server.chat("small", max_tokens=1).status == 200
    server.await_rows(1)
    watched.page.clock.set_fixed_time(datetime.now(timezone.utc) + timedelta(hours=3))
    page = watched.open("performance?span=5m")
    line = page.locator("figure", has_text="Processor").locator("path.plot-line").first
    expect(line).to_have_attribute("d", re.compile("^M"))
    expect(watched.open().get_by_role("img", name=re.compile("^RAM, "))).to_be_visible()
    row = watched.open("activity?since=15m").locator(".virtual-rows > .activity-row")
    expect(row.locator("time")).to_have_text(re.compile(r"^(now|(in )?\d+ (s|min)( ago)?)$"))


def test_each_of_two_gpus_has_its_figures(watched: Watched) -> None:
    def two(route: Any) -> None:
        moments = [(datetime.now(timezone.utc) - timedelta(seconds=ago)).isoformat() for ago in (30, 20, 10)]
        gpus = [{**GPU, "timestamp": moment, "id": number, "name": "H200"} for moment in moments for number in (0, 1)]
        system = [{**SAMPLE, "timestamp": moment} for moment in moments]
        route.fulfill(json={"sys_stats": system, "gpu_stats": gpus})

    watched.page.route("**/api/performance*", two)
    page = watched.open("performance?span=5m")
    for number in (0, 1):
        section = page.locator("section", has=page.get_by_role("heading", name=f"GPU {number}"))
        expect(section.locator("path.plot-line").first).to_have_attribute("d", re.compile(r"^M.*L.*L"))


def test_the_space_bar_pauses_but_presses_the_button_that_has_the_focus(watched: Watched) -> None:
    page = watched.open("performance")
    pause = page.get_by_role("button", name="Pause")
    expect(pause).to_be_visible()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Go on")).to_be_visible()
    page.keyboard.press("Space")
    expect(pause).to_be_visible()
    pause.focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Go on")).to_be_visible()


def test_a_load_is_marked_when_it_begins_also_one_that_nobody_made_room_for(watched: Watched, server: Served) -> None:
    page = watched.open("performance")
    marks = page.locator("figure", has_text="Processor").locator(".plot-mark title")
    expect(page.locator("nav footer")).to_contain_text("0.")
    assert server.post("/api/models/load/embed", {}).status == 200
    expect(marks).to_have_text(["embed was loaded"])
    assert server.post("/api/models/load/small", {}).status == 200
    assert server.post("/api/models/load/large", {}).status == 200
    expect(marks).to_have_text(["embed was loaded", "small was loaded", "small made room for large"])


def test_where_readings_are_off_it_says_what_to_write(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server({**CONFIG, "performance": {"disabled": True}}) as server:
        watched = watch(server)
        watched.allow("503")
        page = watched.open("performance")
        expect(page.get_by_text("performance: {disabled: true}")).to_be_visible()


def test_the_hardware_is_listed_and_can_be_copied(watched: Watched) -> None:
    page = watched.open("performance/hardware")
    expect(page.get_by_role("heading", name="Processor")).to_be_visible()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy as text").click()
    expect(page.get_by_text("The summary is copied")).to_be_visible()
    assert "Processor\n  Model: " in page.evaluate("navigator.clipboard.readText()")
