"""The frame of the web page: navigation, palette, keys, the lost connection, the key, the theme, a proxy's path."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.nginx import NGINX, Nginx
from tests.e2e.ports import PortBlock
from tests.e2e.program import demo
from tests.ui.conftest import CONFIG, PHONE, Served, Watched, playwright

expect = playwright.expect


def test_the_title_and_the_icon_tell_what_runs(page: Any, server: Served) -> None:
    expect(page).to_have_title("Models · llamaswap")
    assert server.chat("small", max_tokens=1).status == 200
    expect(page).to_have_title(re.compile("^● 1 running · "))
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", re.compile("^data:image/svg"))


def test_each_page_is_reached_by_its_link_its_keys_and_its_address(watched: Watched) -> None:
    page = watched.page
    page.clock.set_fixed_time(datetime.now(timezone.utc))  # the second key of a pair may not come late
    watched.open()
    links = page.get_by_role("navigation", name="Pages").locator("a.page")
    expect(links).to_have_count(8)
    letters = {"queue": "q", "activity": "a", "logs": "l", "performance": "p", "playground": "c", "config": "o"}
    for name, letter in {**letters, "settings": "s", "models": "m"}.items():
        page.keyboard.press("g")
        page.keyboard.press(letter)
        expect(page).to_have_url(f"{watched.base}/ui/{name}")
        expect(page.locator("main h1").first).to_be_visible()
        expect(links.and_(page.locator("[aria-current=page]"))).to_have_attribute("href", name)
        watched.open(name)
        expect(page.locator("main h1").first).to_be_visible()


def test_the_way_back_leads_to_the_page_before(page: Any) -> None:
    page.get_by_role("link", name="Queue").click()
    expect(page).to_have_url(re.compile("/ui/queue$"))
    page.go_back()
    expect(page).to_have_url(re.compile("/ui/models$"))
    expect(page.locator("main h1").first).to_be_visible()


def test_what_is_no_page_says_so(watched: Watched) -> None:
    watched.allow("404")
    page = watched.open("nothing")
    expect(page.locator("body")).to_contain_text("404")


def test_the_palette_finds_models_pages_and_actions(page: Any, server: Served) -> None:
    page.keyboard.press("Control+k")
    field = page.get_by_role("combobox", name="Search")
    expect(field).to_be_focused()
    field.fill("load sma")
    expect(page.get_by_role("listbox").get_by_role("option").first).to_contain_text("Load small")
    field.press("Enter")
    expect(page).to_have_title(re.compile("^● 1 running"))
    assert server.states() == {"small": "ready"}
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Search").fill("qwxyz")
    expect(page.get_by_text("Nothing has this name.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("combobox", name="Search")).to_have_count(0)


def test_a_question_mark_lists_the_keys(page: Any) -> None:
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    expect(dialog).to_contain_text("Go to Activity")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_a_lost_connection_is_shown_and_comes_back_by_itself(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server() as server:
        watched = watch(server, stays=True)
        watched.allow("ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|503")
        page = watched.open()
        expect(page.locator("nav footer")).to_contain_text("0.")
        port = server.port
    expect(page.get_by_text("The server cannot be reached")).to_be_visible()
    expect(page).to_have_title(re.compile("not connected"))
    with run_server(ports=PortBlock(port)) as server:
        expect(page.get_by_text("The server cannot be reached")).to_have_count(0)
        assert server.chat("small", max_tokens=1).status == 200
        expect(page).to_have_title(re.compile("^● 1 running"))
        watched.close()


def test_a_key_is_asked_for_once_and_kept_in_the_tab(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server({**CONFIG, "apiKeys": ["secret-of-the-box"]}) as server:
        watched = watch(server)
        watched.allow("401")
        page = watched.open()
        dialog = page.get_by_role("dialog", name="This server asks for a key")
        dialog.get_by_label("Key").fill("wrong")
        dialog.get_by_role("button", name="Open").click()
        expect(dialog.get_by_role("alert")).to_contain_text("did not work")
        dialog.get_by_label("Key").fill("secret-of-the-box")
        dialog.get_by_role("button", name="Open").click()
        expect(dialog).to_have_count(0)
        assert server.ask("GET", "/running", None, authorization="Bearer secret-of-the-box").status == 200
        expect(page.locator("nav footer")).to_contain_text("0.")
        assert "secret" not in page.url
        assert page.evaluate("Object.values(localStorage).join()").find("secret") == -1
        page.reload()
        expect(page.locator("nav footer")).to_contain_text("0.")
        expect(dialog).to_have_count(0)


def test_who_has_put_off_the_key_can_still_type_it(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server({**CONFIG, "apiKeys": ["secret-of-the-box"]}) as server:
        watched = watch(server)
        watched.allow("401")
        page = watched.open()
        dialog = page.get_by_role("dialog", name="This server asks for a key")
        dialog.get_by_label("Key").press("Escape")
        expect(dialog).to_have_count(0)
        page.get_by_role("button", name="Type it").click()
        dialog.get_by_label("Key").fill("secret-of-the-box")
        dialog.get_by_role("button", name="Open").click()
        expect(dialog).to_have_count(0)
        expect(page.locator("nav footer")).to_contain_text("0.")
        expect(page.get_by_role("button", name="Type it")).to_have_count(0)


def test_a_browser_that_keeps_nothing_has_the_key_until_the_page_is_loaded_again(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server({**CONFIG, "apiKeys": ["secret-of-the-box"]}) as server:
        watched = watch(server)
        watched.allow("401")
        forbidden = "get() { throw new DOMException('forbidden', 'SecurityError'); }"
        watched.page.add_init_script(f"Object.defineProperty(window, 'sessionStorage', {{ {forbidden} }})")
        page = watched.open()
        dialog = page.get_by_role("dialog", name="This server asks for a key")
        dialog.get_by_label("Key").fill("secret-of-the-box")
        dialog.get_by_role("button", name="Open").click()
        expect(dialog).to_have_count(0)
        expect(page.locator("nav footer")).to_contain_text("0.")


def test_without_a_clipboard_a_button_that_copies_keeps_the_focus(watched: Watched) -> None:
    watched.page.add_init_script("delete Navigator.prototype.clipboard")  # as in a page without HTTPS
    page = watched.open("models/small?tab=connect")
    button = page.get_by_role("button", name="Copy: curl")
    button.press("Enter")
    expect(page.get_by_text("curl is copied")).to_be_visible()
    expect(button).to_be_focused()


def test_a_profile_that_cannot_be_made_active_is_not_shown_as_if_it_were(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server({**CONFIG, "profiles": {"night": {"pins": {"x": "small"}}}}) as server:
        watched = watch(server, PHONE)
        watched.allow("500")
        watched.page.route("**/api/profiles/active", lambda route: route.fulfill(status=500, body="broken"))
        page = watched.open()
        choice = page.locator("main").get_by_label("Profile")
        choice.select_option("night")
        expect(page.get_by_text("Changing the profile failed: broken")).to_be_visible()
        expect(choice).to_have_value("")


def test_a_dialog_stays_when_a_text_in_it_is_selected_to_beyond_its_edge(page: Any) -> None:
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    box = dialog.get_by_role("cell", name="Go to Activity").bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(5, 5)
    page.mouse.up()
    expect(dialog).to_be_visible()
    page.mouse.click(5, 5)
    expect(dialog).to_have_count(0)


_NESTED = """async () => {
    const start = document.querySelector("script[type=module]").src;
    const { h, signal } = await import(new URL("view.js", start).href);
    const [outer, inner] = [signal(1), signal(false)];
    const node = h("div", null, () => [`${outer.value} `, () => (inner.value ? h("i", null, "late") : null)]);
    inner.value = true;
    await Promise.resolve();
    outer.value = 2;
    await Promise.resolve();
    return node.textContent;
}"""


def test_what_has_come_inside_a_part_goes_with_it(page: Any) -> None:
    assert page.evaluate(_NESTED) == "2 late"


def test_the_theme_can_be_chosen_and_stays(watched: Watched) -> None:
    page = watched.open("settings")
    page.get_by_label("Dark").check()
    expect(page.locator("body")).to_have_css("background-color", "rgb(20, 21, 24)")
    page.reload()
    expect(page.locator("body")).to_have_css("background-color", "rgb(20, 21, 24)")
    expect(page.get_by_label("Dark")).to_be_checked()


def test_on_a_phone_the_pages_are_at_the_bottom_and_nothing_scrolls_sideways(
    server: Served, watch: Callable[..., Watched]
) -> None:
    watched = watch(server, PHONE)
    page = watched.open()
    box = page.get_by_role("navigation", name="Pages").bounding_box()
    assert box["y"] > PHONE["height"] - 80
    for name in ("models", "queue", "activity", "logs", "performance", "playground", "config", "settings"):
        watched.open(name)
        expect(page.locator("main h1").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], name


@pytest.mark.parametrize(
    "name", ["", "Qwen3-Coder-480B-A35B-Instruct-UD-Q4_K_XL-" * 3], ids=["no model", "a long name"]
)
def test_on_a_phone_neither_a_long_name_nor_no_model_scrolls_sideways(
    run_server: Callable[..., Served], watch: Callable[..., Watched], name: str
) -> None:
    config = {"models": {name: {"cmd": demo()}}, "profiles": {name: {"pins": {"x": ""}}}} if name else {"models": {}}
    with run_server(config) as server:
        watched = watch(server, PHONE)
        for path in ("models", "logs", "queue", "playground"):
            page = watched.open(path)
            shown = page.locator("main option", has_text=name) if name else page.locator("main h1, main pre")
            if path != "queue" or not name:
                expect(shown.first).to_be_attached()
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_it_works_below_a_path_of_a_proxy(server: Served, watch: Callable[..., Watched], tmp_path: Path) -> None:
    with Nginx(tmp_path, server.port) as nginx:
        watched = watch(server)
        watched.base = f"http://127.0.0.1:{nginx.ports['kept']}"
        watched.page.goto(f"{watched.base}/llm/ui/models/small")
        page = watched.page
        expect(page.locator("main h1").first).to_be_visible()
        page.get_by_role("link", name="Queue").click()
        expect(page).to_have_url(f"{watched.base}/llm/ui/queue")
        page.keyboard.press("Control+k")
        page.get_by_role("combobox", name="Search").fill("Load small")
        expect(page.get_by_role("listbox").get_by_role("option").first).to_contain_text("Load small")
        page.keyboard.press("Enter")
        expect(page).to_have_title(re.compile("^● 1 running"))
        assert server.states() == {"small": "ready"}
        watched.close()


def test_an_open_page_asks_for_little(server: Served, watch: Callable[..., Watched]) -> None:
    """It has one stream of events, and asks now and then what runs; its files come once."""
    watched, begun = watch(server), time.monotonic()
    page = watched.open("queue")
    expect(page.locator("nav footer")).to_contain_text("0.")
    assert server.chat("small", max_tokens=1).status == 200
    expect(page).to_have_title(re.compile("^● 1 running"))
    asked = [url.removeprefix(f"{watched.base}/") for url in watched.asked if "/ui/" not in url]
    assert "api/events" not in asked  # the worker that all tabs share asks for it
    often = asked.count("running")  # now and then
    assert often <= 8 + (time.monotonic() - begun) / 3, asked
    assert len(asked) - often <= 8, asked
    files = [url for url in watched.asked if "/ui/assets/" in url]
    assert len(files) == len({*files})
