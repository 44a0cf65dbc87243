"""The page of logs: lines as they come, side by side, searched, coloured, many of them, and hostile ones."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.program import Program, demo, wait_until
from tests.ui.conftest import DEADLINE, PHONE, Watched, playwright
from tests.ui.modules import call

expect = playwright.expect

PRINTER = """\
import os, sys
with open(sys.argv[1], "rb") as file:
    sys.stdout.buffer.write(file.read())
sys.stdout.flush()
os.execv(sys.argv[2], sys.argv[2:])
"""


def printing(folder: Path, text: str) -> str:
    """The command of a demo model that first prints this."""
    (folder / "printed.txt").write_text(text, "utf-8")
    (folder / "printer.py").write_text(PRINTER)
    return shlex.join((sys.executable, "-S", str(folder / "printer.py"), str(folder / "printed.txt"))) + " " + demo()


def pane(page: Any, name: str) -> Any:
    return page.get_by_role("region", name=f"Log of {name}")


def route_log(page: Any, name: str, body: str) -> None:
    """Answer the first request for a log with this text."""
    page.route(f"**/logs/stream/{name}", lambda route: route.fulfill(body=body, content_type="text/plain"), times=1)


def test_a_line_is_shown_as_soon_as_it_is_written(watched: Watched, server: Program) -> None:
    page = watched.open("logs?show=small&show=proxy")
    expect(pane(page, "small")).to_contain_text("Nothing is in this log yet")
    assert server.chat("small", max_tokens=3).status == 200
    expect(pane(page, "small").get_by_role("log")).to_contain_text("POST /v1/chat/completions 200 3 tokens")
    expect(pane(page, "proxy").get_by_role("log")).to_contain_text("small: starting")


def test_which_logs_are_shown_stands_in_the_address(watched: Watched) -> None:
    page = watched.open("logs")
    expect(page.locator(".pane")).to_have_count(2)
    page.get_by_role("button", name="upstream", exact=True).click()
    page.get_by_label("Show the log of a model").select_option("small")
    expect(page).to_have_url(re.compile(r"/logs\?show=proxy&show=small$"))
    watched.open("logs?show=proxy&show=small")
    expect(page.locator(".pane h2")).to_have_text(["proxy", "small"])
    page.get_by_role("button", name="Close the log of proxy").click()
    page.get_by_role("button", name="Close the log of small").click()
    expect(page.get_by_text("No log is shown")).to_be_visible()


def test_a_model_that_there_is_not_has_no_log(watched: Watched) -> None:
    watched.allow("status of 400")
    page = watched.open("logs?show=nobody")
    expect(pane(page, "nobody")).to_contain_text("There is no such log")


def test_a_search_marks_counts_and_steps_through_the_lines(watched: Watched) -> None:
    page = watched.page
    route_log(page, "small", "".join(f"line {number} is {'odd' if number % 2 else 'even'}\n" for number in range(1000)))
    watched.open("logs?show=small")
    expect(pane(page, "small")).to_contain_text("1,000 lines")
    page.keyboard.press("/")
    page.keyboard.type(r"LINE \d+7 .*odd")
    expect(pane(page, "small")).to_contain_text("99 lines found")  # 17, 27 ... 997
    expect(page.locator("mark").last).to_have_text("line 997 is odd")
    pane(page, "small").get_by_role("button", name="The next line found").click()
    expect(page.locator(".log-line.current")).to_have_text("line 17 is odd")
    expect(page.locator(".log-line.current")).to_be_in_viewport()
    expect(pane(page, "small")).to_contain_text("1 of 99 lines found")
    page.get_by_label("Search by regular expression").press("Enter")
    expect(page.locator(".log-line.current")).to_have_text("line 27 is odd")
    page.get_by_label("Search by regular expression").press("Shift+Enter")
    expect(page.locator(".log-line.current")).to_have_text("line 17 is odd")
    page.locator("h1").click()
    page.keyboard.press("n")
    expect(page.locator(".log-line.current")).to_have_text("line 27 is odd")
    page.keyboard.press("Shift+N")
    page.keyboard.press("Shift+N")
    expect(page.locator(".log-line.current")).to_have_text("line 997 is odd")
    page.get_by_role("button", name="Only found").click()
    expect(page).to_have_url(re.compile("only=1"))
    expect(page.locator(".log-line").filter(has_not_text="7 is odd")).to_have_count(0)
    expect(page.locator(".log-line").filter(has_text="7 is odd")).not_to_have_count(0)


def test_a_wrong_expression_is_told_and_changes_nothing(watched: Watched) -> None:
    page = watched.page
    route_log(page, "small", "one\ntwo\n")
    watched.open("logs?show=small&q=%28two")
    expect(page.get_by_role("alert").filter(has_text="No regular expression")).to_be_visible()
    expect(page.locator(".log-line")).to_have_text(["one", "two"])
    page.get_by_label("Search by regular expression").fill("two")
    expect(page.locator("mark")).to_have_text(["two"])
    expect(page.get_by_text("No regular expression")).to_have_count(0)


def test_an_expression_that_takes_for_ever_is_given_up(watched: Watched) -> None:
    page = watched.page
    route_log(page, "small", "a" * 60 + "b\n")
    watched.open(r"logs?show=small&q=%28a%2B%29%2B%24")
    expect(pane(page, "small")).to_contain_text("takes too long")
    page.get_by_label("Search by regular expression").fill("ab$")
    expect(page.locator("mark")).to_have_text(["ab"])


def test_it_follows_pauses_where_one_scrolls_and_says_how_many_lines_came(watched: Watched, server: Program) -> None:
    assert server.chat("small", max_tokens=1).status == 200
    page = watched.page
    page.add_init_script("localStorage.setItem('llamaswap.logs', JSON.stringify({wrap: true, size: 24}))")
    watched.open("logs?show=small")
    log = pane(page, "small").get_by_role("log")
    follows = pane(page, "small").get_by_role("button", name="Follow")
    for tokens in (*(1,) * 39, 2):
        server.chat("small", max_tokens=tokens)
    expect(log.locator(".log-line").last).to_contain_text("200 2 tokens")
    expect(log.locator(".log-line").last).to_be_in_viewport()
    end = log.evaluate("log => log.scrollTop")
    log.hover()
    page.mouse.wheel(0, -400)
    expect(follows).to_have_attribute("aria-pressed", "false")
    before = end - 400
    wait_until(lambda: log.evaluate("log => log.scrollTop") == before, "it is where the wheel has brought it")
    server.chat("small", max_tokens=1)
    expect(page.get_by_role("button", name="1 new line")).to_be_visible()
    assert log.evaluate("log => log.scrollTop") == before
    page.get_by_role("button", name="1 new line").click()
    expect(follows).to_have_attribute("aria-pressed", "true")
    expect(log.locator(".log-line").last).to_be_in_viewport()


def test_keys_follow_wrap_and_size(watched: Watched) -> None:
    page = watched.page
    route_log(page, "small", "a line " * 200 + "\n")
    watched.open("logs?show=small")
    log = pane(page, "small").get_by_role("log")
    expect(log).to_have_class(re.compile("wrap"))
    wrapped = log.locator(".log-line").bounding_box()["height"]
    page.keyboard.press("w")
    expect(log).not_to_have_class(re.compile("wrap"))
    assert log.locator(".log-line").bounding_box()["height"] < wrapped
    page.keyboard.press("+")
    expect(log).to_have_css("font-size", "13px")
    page.keyboard.press("-")
    page.keyboard.press("-")
    expect(log).to_have_css("font-size", "11px")
    page.keyboard.press("f")
    expect(pane(page, "small").get_by_role("button", name="Follow")).to_have_attribute("aria-pressed", "false")
    page.reload()
    expect(pane(page, "small").get_by_role("log")).to_have_css("font-size", "11px")


def test_a_hundred_thousand_lines_scroll_and_the_oldest_go(watched: Watched) -> None:
    page = watched.page
    route_log(page, "small", "".join(f"line {number} {'x' * (number % 120)}\n" for number in range(110_000)))
    watched.open("logs?show=small")
    log = pane(page, "small").get_by_role("log")
    expect(log.locator(".log-line").last).to_contain_text("line 109999 ", timeout=2 * DEADLINE)
    said = pane(page, "small").locator(
        "header small", has_text=re.compile("^[0-9,]+ lines$")
    )  # not while it asks again
    kept = int(said.inner_text().split()[0].replace(",", ""))
    assert 97_000 <= kept <= 100_000
    for share in (0.1, 0.5, 0.9, 0.3):
        log.evaluate("(log, share) => log.scrollTo(0, log.scrollHeight * share)", share)
        expect(log.locator(".log-line").first).to_be_attached()
        expect(log.locator(".log-line").nth(40)).to_be_in_viewport()
        assert log.locator(".log-line").count() < 200
    log.evaluate("log => log.scrollTo(0, 0)")
    expect(log.locator(".log-line").first).to_contain_text(f"line {110_000 - kept} ")
    page.get_by_label("Search by regular expression").fill("line 10999[5-9]")
    expect(pane(page, "small")).to_contain_text("5 lines found")


def test_hostile_lines_are_text_and_freeze_nothing(
    watch: Callable[..., Watched], run_server: Callable[..., Program], tmp_path: Path
) -> None:
    hostile = [
        "<img src=x onerror=alert(1)><script>document.title='taken'</script>",
        "before \u202egnp.exe\u202c after",
        "\x1b[31m" + "".join(f"\x1b[{30 + number % 8}mx" for number in range(3000)),
        "\x1b]0;title\x07\x1b[2J\x1b[999999999;1;2mstill here\x1b",
        "10 %\r50 %\r100 %",
        "w" * 40_000,
        "the end",
    ]
    config = {"models": {"odd": {"cmd": printing(tmp_path, "\n".join(hostile) + "\n")}}}
    with run_server(config) as server:
        watched = watch(server)
        page = watched.open("logs?show=odd")
        assert server.chat("odd", max_tokens=1).status == 200
        log = pane(page, "odd").get_by_role("log")
        expect(log).to_contain_text("the end")
        expect(log).to_contain_text("<img src=x onerror=alert(1)><script>")
        expect(log).to_contain_text("before ⟨U+202E⟩gnp.exe⟨U+202C⟩ after")
        expect(log.locator(".log-line").nth(3)).to_have_text("still here")
        expect(log.locator(".log-line").nth(4)).to_have_text("100 %")
        assert page.locator("main img, main script").count() == 0
        assert log.locator(".log-line").nth(2).locator("span").count() <= 500
        long = log.locator(".log-line", has_text="wwww")
        assert len(long.inner_text()) < 3_000
        long.get_by_role("button", name="Show 20,000 of 40,000 characters").click()
        long.get_by_role("button", name="Show all 40,000 characters").click()
        expect(long).to_have_text("w" * 40_000)
        watched.close()


def test_a_line_of_a_megabyte_is_cut(watched: Watched) -> None:
    page = watched.page
    route_log(page, "small", "y" * 1_000_000 + "\nthe next\n")
    watched.open("logs?show=small")
    expect(page.get_by_role("button", name="Show 20,000 of 1,000,000 characters")).to_be_visible()
    expect(page.locator(".log-line").last).to_have_text("the next")


def test_bytes_that_were_dropped_are_marked(watched: Watched) -> None:
    page = watched.page
    route_log(page, "small", "one\n— 2048 bytes dropped —\ntwo\n")
    watched.open("logs?show=small")
    expect(page.locator(".log-line.dropped")).to_have_text("— 2048 bytes dropped —")


def test_what_comes_after_a_lost_connection_goes_on_where_it_was(page: Any) -> None:
    def new_part(known: list[str], history: str) -> Any:
        return call(page, "pages/logs/merge.js", "newPart", known, history)

    assert new_part(["a", "b", "c"], "a\nb\nc\nd\n") == "d\n"
    assert new_part(["a", "b", "c"], "a\nb\nc\n") == ""
    assert new_part([], "a\n") == "a\n"
    assert new_part(["a", "b"], "x\n") == "— the connection was lost: lines may be missing here —\nx\n"


def test_a_log_is_copied_saved_and_cleared(server: Program, watch: Callable[..., Watched]) -> None:
    watched = watch(server, permissions=["clipboard-read", "clipboard-write"])
    page = watched.page
    route_log(page, "small", "\x1b[31mred\x1b[0m\nplain\n")
    watched.open("logs?show=small")
    expect(page.locator(".log-line")).to_have_count(2)
    more = pane(page, "small").locator("summary")
    more.click()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_text("The log of small is copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "red\nplain\n"
    more.click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as a file").click()
    assert Path(saved.value.path()).read_text("utf-8") == "red\nplain\n"
    assert saved.value.suggested_filename == "small.log"
    more.click()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".log-line")).to_have_count(0)


def test_on_a_phone_nothing_scrolls_sideways(server: Program, watch: Callable[..., Watched]) -> None:
    watched = watch(server, size=PHONE)
    page = watched.page
    route_log(page, "small", "z" * 3000 + "\n")
    watched.open("logs?show=small")
    expect(page.locator(".log-line")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def pieces(page: Any, line: str) -> list[tuple[str, str, str]]:
    """Text, colour and ground of each piece."""
    found = call(page, "parts/ansi.js", "ansi", line)
    return [(each["text"], (each["style"] or {}).get("fg", ""), (each["style"] or {}).get("bg", "")) for each in found]


def test_colours_of_a_terminal(page: Any) -> None:
    assert pieces(page, "\x1b[31mred\x1b[0m plain") == [("red", "1", ""), (" plain", "", "")]
    assert pieces(page, "\x1b[38;5;196;48;5;20mx") == [("x", "255,0,0", "0,0,215")]
    assert pieces(page, "\x1b[38;2;10;20;30mx\x1b[39my") == [("x", "10,20,30", ""), ("y", "", "")]
    assert pieces(page, "\x1b[38:2::10:20:30mx") == [("x", "10,20,30", "")]
    assert pieces(page, "\x1b[97;104mx") == [("x", "15", "12")]
    assert pieces(page, "\x1b[38;2;300;0;0mx") == [("x", "", "")]


def test_returns_and_other_sequences_of_a_terminal(page: Any) -> None:
    def plain(line: str) -> Any:
        return call(page, "parts/ansi.js", "plain", line)

    assert plain("10 %\r20 %\r100 %") == "100 %"
    assert plain("abcdef\rXY") == "XYcdef"
    assert plain("abcdef\r\x1b[Kx") == "x"
    assert plain("abc\b\bX") == "aXc"
    assert plain("a line\r") == "a line"
    assert plain("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \x1b(Bend\x07") == "link end"
    assert plain("\x1b[2J\x1b[?25lshown\x1b[") == "shown"


def test_each_colour_can_be_read_in_both_themes(page: Any) -> None:
    for colour in ("255,255,0", "0,0,128", "0,0,0", "255,255,255"):
        light, dark = re.findall(r"rgb\((\d+) (\d+) (\d+)\)", call(page, "parts/ansi.js", "readable", colour))
        assert contrast(light, (255, 255, 255)) >= 4.5, colour
        assert contrast(dark, (28, 30, 34)) >= 4.5, colour


def contrast(one: tuple[Any, ...], other: tuple[Any, ...]) -> float:
    """By WCAG 2."""

    def light(rgb: tuple[Any, ...]) -> float:
        parts = [int(value) / 255 for value in rgb]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)
