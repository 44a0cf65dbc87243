"""The boxes of a fleet on the home page: which are up, what runs there, how busy they are, their own pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleet import Fleet
from tests.e2e.program import demo, models, wait_until
from tests.ui.conftest import DESK, PHONE, Served, Watched, playwright
from tests.ui.modules import call
from tests.ui.test_accessibility import AXE, complaints

expect = playwright.expect
SLOW = ("--tokens-per-second", "4")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A front with a model of its own, and two boxes."""
    one = models(m={"cmd": demo(*SLOW), "aliases": ["al"]}, loads=demo("--load-seconds", "600"))
    one["groups"] = {"all": {"members": ["m", "loads"], "swap": False, "exclusive": False}}
    with Fleet(tmp_path, [one, models(m=demo(*SLOW))], models(own=demo())) as fleet:
        wait_until(lambda: all(fleet.peer(name)["up"] for name in fleet.boxes), "both boxes are up")
        yield fleet


def box(page: Any, name: str) -> Any:
    """What is shown of a box."""
    return page.locator(".boxes > ul > li").filter(has=page.locator(".box-name bdi").get_by_text(name, exact=True))


def row(page: Any, name: str) -> Any:
    """The row of a name in the list."""
    return page.locator("tr.model").filter(has=page.locator(f'a.name[title="{name}"]'))


def test_boxes_are_shown_as_they_come_and_go_with_what_runs_there(fleet: Fleet, watch: Callable[..., Watched]) -> None:
    watched = watch(fleet.front, stays=True)
    page = watched.open()
    expect(page.locator(".boxes h2")).to_have_text("Boxes2 of 2 up")
    expect(box(page, "box1")).to_contain_text(re.compile(r"up for .*, nothing runs"))
    one = fleet.boxes["box1"]
    with one.program.stream("m"), one.program.stream("loads"):
        expect(box(page, "box1").locator(".busy")).to_have_text("1 in progress · 1 waits")
        expect(box(page, "box1").locator("li")).to_have_text(
            ["loads 1 waits Cancel", "m 1 in progress Unload"], use_inner_text=True
        )
        expect(box(page, "box1").get_by_role("img", name="loading")).to_be_visible()
        for name, told in (("box1/m", "running"), ("box1/al", "running"), ("box1/loads", "loading")):
            expect(row(page, name)).to_contain_text(f"on box1 · {told}")
        expect(row(page, "box1/al").locator("td.use")).to_have_text("1")
        expect(row(page, "box2/m")).to_have_text(re.compile("on box2–"))
        expect(row(page, "m")).to_contain_text("now box1/m")
        expect(page.get_by_role("status").filter(has_text="0 running, 1 on boxes")).to_be_visible()
        box(page, "box1").get_by_role("link", name="m", exact=True).click()
        expect(page.locator("dl.facts")).to_contain_text("In all1 in progress")
        page.goto(f"{watched.base}/ui/models/m")
        expect(page.locator("main h1 small")).to_have_text("pool")
        expect(page.locator("dl.facts")).to_contain_text("Leads tobox1/m, box2/mA request nowbox1/m")
        page.goto(f"{watched.base}/ui/playground/rerank")
        choice = page.get_by_label("Model", exact=True).locator("optgroup").get_by_role("option", name="m", exact=True)
        expect(choice).to_be_attached()
        watched.open()
    fleet.boxes["box2"].kill()
    expect(page.locator(".boxes > ul > li").first).to_contain_text(re.compile("box2.*out for .*: connection refused"))
    expect(row(page, "box2/m")).to_contain_text("on box2, which is out")
    expect(page.get_by_role("status").filter(has_text="1 box out")).to_be_visible()
    fleet.boxes["box2"].start()
    expect(box(page, "box2")).to_contain_text("nothing runs")
    watched.close()


def test_models_of_boxes_are_loaded_and_unloaded_where_they_are_shown(
    fleet: Fleet, watch: Callable[..., Watched]
) -> None:
    one, two = (fleet.boxes[name].program for name in ("box1", "box2"))
    watched = watch(fleet.front, stays=True)
    page = watched.open()
    row(page, "box2/m").get_by_role("button", name="Load box2/m").press("Enter")
    expect(row(page, "box2/m")).to_contain_text("on box2 · running")
    assert (one.states(), two.states()) == ({}, {"m": "ready"})
    box(page, "box2").get_by_role("button", name="Unload box2/m").press("Enter")
    expect(row(page, "box2/m").get_by_role("button", name="Load box2/m")).to_be_enabled()
    wait_until(lambda: two.states() == {}, "it has ended")
    row(page, "box1/loads").get_by_role("button", name="Load box1/loads").click()
    row(page, "box1/loads").get_by_role("button", name="Cancel the load of box1/loads").click()
    expect(row(page, "box1/loads").get_by_role("button", name="Load box1/loads")).to_be_enabled()
    wait_until(lambda: one.states() == {}, "its load is cancelled")
    watched.open("models/box1/m")
    page.get_by_role("button", name="Load box1/m").click()
    expect(page.get_by_role("button", name="Unload box1/m")).to_be_enabled()
    assert one.states() == {"m": "ready"}
    watched.open()
    fleet.boxes["box2"].kill()
    expect(row(page, "box2/m")).to_contain_text("on box2, which is out")
    expect(row(page, "box2/m").get_by_role("button", name="Load box2/m")).to_have_count(0)
    watched.close()


def test_the_address_of_a_box_leads_to_its_own_page(fleet: Fleet, watch: Callable[..., Watched]) -> None:
    url = fleet.boxes["box1"].url
    watched = watch(fleet.front, stays=True)
    page = watched.open()
    link = box(page, "box1").get_by_role("link", name=url)
    expect(link).to_have_attribute("href", f"{url}/ui/")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    watched.allow(f"left the host: {url}")
    with page.context.expect_page() as opened:
        link.click()
    expect(opened.value.locator("tr.model a.name").first).to_be_visible()
    watched.close()


def test_an_address_that_leads_nowhere_from_a_browser_is_only_text(page: Any) -> None:
    for address, here, leads_to in (
        ("http://box1:8080", "front", "http://box1:8080/ui/"),
        ("https://box1/sub/?x=1", "front", "https://box1/sub/ui/"),
        ("http://127.0.0.1:8081", "localhost", "http://127.0.0.1:8081/ui/"),
        ("http://127.0.0.1:8081", "front", ""),
        ("http://[::1]:8081", "10.0.0.7", ""),
        ("http://me:[hidden]@box1/", "front", ""),
        ("javascript:alert(1)", "front", ""),
        ("no address", "front", ""),
    ):
        told = call(page, "pages/models/boxes.js", "pageOf", address, "llamaswap", here)
        assert (address, here, told) == (address, here, leads_to)
    assert call(page, "pages/models/boxes.js", "pageOf", "http://box1:8080", "other", "front") == ""


def test_of_many_boxes_the_first_are_shown_and_names_are_only_text(
    run_server: Callable[..., Served], watch: Callable[..., Watched]
) -> None:
    names = ["<b>bold</b>", *(f"box{number}" for number in range(14))]
    config = {"peers": {name: {"proxy": "http://127.0.0.1:9", "models": ["far"]} for name in names}}
    with run_server(config) as server:
        page = watch(server).open()
        boxes = page.locator(".boxes > ul > li")
        expect(boxes).to_have_count(12)
        expect(boxes.filter(has_text="out for")).to_have_count(12)
        expect(boxes.first.locator(".box-name")).to_contain_text("<b>bold</b>http://127.0.0.1:9")
        page.get_by_role("button", name="3 more").click()
        expect(boxes).to_have_count(15)
        expect(page.locator(".boxes h2")).to_have_text("Boxes0 of 15 up")
        page.context.close()


def test_without_peers_there_are_no_boxes_and_nobody_asks_for_them(page: Any, watched: Watched) -> None:
    expect(page.locator("tr.model").first).to_be_visible()
    expect(page.locator(".boxes")).to_be_hidden()
    assert [address for address in watched.asked if "api/config" in address]
    assert not [address for address in watched.asked if "api/peers" in address]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_boxes_keep_nobody_out(fleet: Fleet, watch: Callable[..., Watched], theme: str) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm install --prefix tests/ui")
    fleet.boxes["box2"].kill()
    one = fleet.boxes["box1"].program
    with one.stream("m"), one.stream("loads"):
        for size in (DESK, PHONE):
            watched = watch(fleet.front, size, theme, stays=True)
            for name, told in (("models", "1 waits"), ("models/box1/m", "running"), ("models/box2/m", "which is out")):
                page = watched.open(name)
                expect(page.locator("main")).to_contain_text(told)
                assert complaints(page) == []
                width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert width == 0, "nothing is wider than the screen"
            watched.close()
