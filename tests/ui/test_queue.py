"""The page Queue: who waits, who is served, cancelling, and the time line."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from tests.e2e.program import Program, wait_until
from tests.ui.conftest import PHONE, Watched, playwright
from tests.ui.modules import call

expect = playwright.expect
# The page has been told since when the two models run: they were not loaded at the same moment.
SINCE_WHEN = """() => {
    const blocks = [...document.querySelectorAll(".timeline rect.ready")];
    return new Set(blocks.map((block) => block.getAttribute("x"))).size > 1;
}"""


def table(page: Any, name: str) -> Any:
    """The rows of a section."""
    return page.get_by_role("region", name=name).locator("tbody tr")


def press_until(page: Any, key: str, words: str) -> None:
    """Choose one block of the time line after the other, a few at most, until this is told of it."""
    tip = page.locator(".timeline .tip")
    for _ in range(4):
        if words not in tip.inner_text():
            page.keyboard.press(key)
    expect(tip).to_contain_text(words)


def test_who_waits_is_told_why_and_can_be_cancelled(watched: Watched, server: Program) -> None:
    page = watched.open("queue")
    expect(page.get_by_text("Nobody waits.")).to_be_visible()
    with server.stream("small") as wire, ThreadPoolExecutor() as pool:
        wire.read_head_and_first_chunk()
        first = pool.submit(server.chat, "large", max_tokens=1)
        expect(table(page, "Waiting")).to_have_count(1)
        second = pool.submit(server.chat, "large", max_tokens=2)
        expect(table(page, "Waiting")).to_have_count(2)
        row = table(page, "Waiting").nth(1)
        expect(row).to_contain_text("waiting for small: 1 request in progress")
        expect(row).to_contain_text("POST /v1/chat/completions")
        expect(page.get_by_role("heading", level=1)).to_contain_text("2 requests wait, 1 in progress")
        row.get_by_role("button", name="Cancel the request for large in place 2").click()
        assert second.result().status == 409
        expect(table(page, "Waiting")).to_have_count(1)
        expect(table(page, "In progress")).to_have_count(1)
        wire.close()
        assert first.result().status == 200
    expect(table(page, "Waiting")).to_have_count(0)


def test_who_is_served_shows_for_how_long_and_how_much_and_can_be_cancelled(watched: Watched, server: Program) -> None:
    page = watched.open("queue")
    with server.stream("small") as wire:
        wire.read_head_and_first_chunk()
        row = table(page, "In progress")
        expect(row).to_have_count(1)
        expect(row).to_contain_text(re.compile(r"\d+ s"))
        expect(row).to_contain_text(re.compile(r"\d kB/s"))
        row.get_by_role("button", name="Cancel this request to small").click()
        expect(page.get_by_role("log", name="Messages")).to_contain_text("A request for small was cancelled")
        expect(table(page, "In progress")).to_have_count(0)
        wait_until(lambda: server.running("small")["in_flight"] == 0, "the model is free")


def test_a_load_by_hand_that_waits_says_how_to_end_it(watched: Watched, server: Program) -> None:
    page = watched.open("queue")
    with server.stream("small") as wire, ThreadPoolExecutor() as pool:
        wire.read_head_and_first_chunk()
        load = pool.submit(server.post, "/api/models/load/large", {})
        row = table(page, "Waiting")
        expect(row).to_contain_text("a load by hand")
        row.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("log", name="Messages")).to_contain_text("To end it, unload large")
        wire.close()
        assert load.result().status == 200


def test_the_time_line_has_a_lane_for_each_model_with_loads_work_and_waits(watched: Watched, server: Program) -> None:
    assert server.chat("large", max_tokens=20).status == 200
    assert server.chat("embed", max_tokens=1).status == 200
    page = watched.open("queue")
    lanes = page.locator(".timeline .names a")
    expect(lanes).to_have_text(["embed", "large"])  # from the activity, for that was before
    expect(page.locator(".timeline rect.load")).not_to_have_count(0)
    expect(page.locator(".timeline path.waits")).not_to_have_count(0)
    with server.stream("small") as wire:
        wire.read_head_and_first_chunk()
        expect(lanes).to_have_text(["embed", "large", "small"])
        expect(page.locator(".timeline g").filter(has=page.locator("rect.work"))).not_to_have_count(0)
    page.get_by_text("As a table").click()
    row = page.locator(".timetable tr").filter(has_text="large")
    expect(row).to_contain_text(re.compile(r"1.*1.*s"))


def test_a_block_opens_its_request(watched: Watched, server: Program) -> None:
    assert server.chat("large", max_tokens=20).status == 200
    page = watched.open("queue?span=60")
    block, chart = page.locator(".timeline rect.work"), page.locator(".timeline .chart")
    expect(block).to_have_count(1)
    tip = page.locator(".timeline .tip")
    for _ in range(20):  # the chart rests for five seconds below a pointer, which a busy machine may miss
        chart.hover(position={"x": 3, "y": 3})
        while not (box := block.bounding_box()):  # drawn anew at this moment
            expect(block).to_have_count(1)
        frame = chart.bounding_box()
        where = {"x": box["x"] + box["width"] / 2 - frame["x"], "y": box["y"] + box["height"] / 2 - frame["y"]}
        chart.hover(position=where)
        with suppress(AssertionError):
            expect(tip).to_contain_text("/v1/chat/completions", timeout=3_000)
            chart.click(position=where)
            expect(page).not_to_have_url(re.compile("/ui/queue"), timeout=3_000)  # else the block was gone by then
            break
    expect(page).to_have_url(f"{watched.base}/ui/activity?row=1")


def test_blocks_of_the_time_line_are_chosen_and_opened_by_keys(watched: Watched, server: Program) -> None:
    assert server.chat("embed", max_tokens=1).status == 200
    assert server.chat("large", max_tokens=20).status == 200
    page = watched.open("queue?span=60")
    expect(page.locator(".timeline rect.work")).to_have_count(2)
    expect(page.locator(".timeline rect.load")).not_to_have_count(0)
    page.wait_for_function(SINCE_WHEN)
    tip, told = page.locator(".timeline .tip"), page.locator(".timeline .visually-hidden")
    page.keyboard.press("b")
    expect(page.locator(".timeline rect.chosen")).to_have_count(1)
    expect(tip).to_contain_text("large")
    press_until(page, "ArrowLeft", "loading")  # from whatever is the latest to the first of the lane
    expect(told).to_contain_text("loading")
    page.keyboard.press("ArrowUp")
    expect(tip).to_contain_text("embed")
    page.keyboard.press("ArrowDown")
    expect(tip).to_contain_text("large")
    press_until(page, "ArrowLeft", "loading")  # what is nearest may be the last of the lane
    press_until(page, "ArrowRight", "/v1/chat/completions")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    page.keyboard.press("b")
    press_until(page, "ArrowLeft", "/v1/chat/completions")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{watched.base}/ui/activity?row=2")


def test_the_time_line_is_zoomed_and_moved_by_keys_buttons_wheel_and_pointer(watched: Watched, server: Program) -> None:
    assert server.chat("small", max_tokens=1).status == 200
    page = watched.open("queue")
    shown = page.locator(".range span")
    expect(shown).to_have_text("10 min")
    page.keyboard.press("+")
    expect(shown).to_have_text("5 min")
    expect(page).to_have_url(re.compile("span=300"))
    page.get_by_role("button", name="Zoom out").click()
    expect(shown).to_have_text("10 min")
    expect(page).not_to_have_url(re.compile("span"))
    chart = page.locator(".timeline .chart")
    chart.hover()
    page.keyboard.down("Control")
    page.mouse.wheel(0, 60)
    page.keyboard.up("Control")
    expect(shown).not_to_have_text("10 min")
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 12, steps=5)
    page.mouse.up()
    expect(page.get_by_role("button", name="Now")).to_be_visible()
    expect(page).to_have_url(re.compile("until="))
    page.keyboard.press("0")
    expect(page.get_by_role("button", name="Now")).to_be_hidden()
    chart.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("button", name="Now")).to_be_visible()


def test_a_clock_that_differs_is_told_from_an_answer_that_took_long(page: Any) -> None:
    def skew(asked: int, answered: int, date: int) -> Any:
        return call(page, "api.js", "skewOf", asked, answered, date)

    assert skew(1_000_700, 1_000_720, 1_000_000) == 0  # whole seconds
    assert skew(1_000_700, 1_009_000, 1_000_000) == 0
    assert skew(1_000_700, 1_009_000, 1_008_000) == 0
    assert skew(1_060_700, 1_060_720, 1_000_000) == 59_700
    assert skew(1_000_700, 1_000_720, 1_060_000) == -59_280


def test_fifty_requests_at_once_are_all_shown_and_end(watch: Callable[..., Watched], server: Program) -> None:
    watched = watch(server, PHONE)
    page = watched.open("queue")
    with server.stream("large") as wire, ThreadPoolExecutor(50) as pool:
        wire.read_head_and_first_chunk()
        answers = [pool.submit(server.chat, "small", max_tokens=1) for _ in range(50)]
        expect(table(page, "Waiting")).to_have_count(50)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        wire.close()
        assert {answer.result().status for answer in answers} == {200}
    expect(table(page, "Waiting")).to_have_count(0)
    expect(table(page, "In progress")).to_have_count(0)
