"""The page of activity: rows as they come, filters, saved views, totals, exports, requests in progress."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.program import Program
from tests.ui.conftest import CONFIG, PHONE, Served, Watched, playwright

expect = playwright.expect


def rows(page: Any) -> Any:
    return page.locator(".virtual-rows > .activity-row")


def some_requests(server: Served) -> None:
    """Four rows: 1 and 2 of small, 3 of embed, 4 refused."""
    assert server.chat("small", max_tokens=3).status == 200
    assert server.chat("small", max_tokens=5).status == 200
    assert server.post("/v1/embeddings", {"model": "embed", "input": "a b"}).status == 200
    assert server.chat("nobody").status == 404
    server.await_rows(4)


def many_rows(count: int) -> Callable[[Any], None]:
    """Answers what the page asks for as a server with so many rows would."""

    def answer(route: Any) -> None:
        query = {name: values.split("&")[0] for name, values in re.findall(r"[?&](\w+)=([^&]*)", route.request.url)}
        limit, page = int(query.get("limit", 25)), int(query.get("page", 1))
        first = min(int(query.get("max_id", count)), count)
        ids = range(first - (page - 1) * limit, max(0, first - page * limit), -1)
        if int(query.get("min_id", 0)) > count:
            first, ids = 0, range(0)
        data = [{**ROW, "id": number, "model": f"model-{number}"} for number in ids]
        route.fulfill(json={"data": data, "page": page, "limit": limit, "total": first, "total_pages": 1})

    return answer


ROW = json.loads("""{
    "timestamp": "2026-11-29T12:00:00.250Z", "req_path": "/v1/chat/completions", "method": "POST", "ended": "complete",
    "resp_content_type": "application/json", "resp_status_code": 200, "duration_ms": 1500, "has_capture": false,
    "session": "", "key": "", "remote_ip": "127.0.0.1", "seen_per_second": 29.5, "retries": 0,
    "request_bytes": 1, "response_bytes": 2,
    "tokens": {"cache_tokens": -1, "draft_tokens": -1, "draft_acc_tokens": -1, "input_tokens": 11, "output_tokens": 5,
               "prompt_per_second": 70.0, "tokens_per_second": 30.0},
    "timing": {"first_byte_ms": 310, "first_token_ms": 320, "queue_ms": 0, "load_ms": 0, "prompt_ms": 157,
               "generation_ms": 1180, "upstream_ms": 160, "ours_ms": 3, "behind": ""}
}""")


def test_an_empty_page_says_what_will_be_there(watched: Watched) -> None:
    page = watched.open("activity")
    expect(page.get_by_text("No request yet")).to_be_visible()
    expect(page.locator("pre.raw")).to_contain_text(f"curl {watched.base}/v1/chat/completions")
    expect(page.locator("pre.raw")).to_contain_text('{"model":"large","messages":')
    expect(page.get_by_role("region", name="In progress")).to_contain_text("nothing")


def test_a_row_appears_when_its_request_has_ended(watched: Watched, server: Served) -> None:
    page = watched.open("activity")
    assert server.chat("small", max_tokens=3).status == 200
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text("small")
    assert server.chat("nobody").status == 404
    expect(rows(page)).to_have_count(2)
    expect(rows(page).first).to_contain_text("nobody")
    expect(rows(page).first.locator(".fail")).to_have_text("404")
    expect(page.get_by_label("Totals")).to_contain_text("Requests2")


def test_a_row_that_is_written_while_the_first_list_is_asked_for_is_there_once(
    watched: Watched, server: Served
) -> None:
    def answer_late(route: Any) -> None:
        before = route.fetch()
        assert server.chat("small", max_tokens=1).status == 200
        server.await_rows(1)
        route.fulfill(response=before)

    page = watched.page
    page.route(re.compile(r"metrics/activity\?limit=1$"), answer_late, times=1)
    watched.open("activity")
    expect(rows(page).locator("a")).to_have_text(["1"])
    assert server.chat("small", max_tokens=1).status == 200
    expect(rows(page).locator("a")).to_have_text(["2", "1"])
    expect(page.get_by_label("Totals")).to_contain_text("Requests2")


def test_a_row_that_is_written_while_a_list_is_made_is_in_it(watched: Watched, server: Served) -> None:
    some_requests(server)
    page = watched.open("activity")
    expect(rows(page)).to_have_count(4)

    def answer_late(route: Any) -> None:
        before = route.fetch()
        assert server.chat("small", max_tokens=1).status == 200
        expect(rows(page).locator("a")).to_have_text(["5", "4", "3", "2", "1"])
        route.fulfill(response=before)

    page.route(re.compile(r"metrics/activity\?q=small&sort=id"), answer_late, times=1)
    page.get_by_label("Text in the model, the path or the error").fill("small")
    expect(rows(page).locator("a")).to_have_text(["5", "2", "1"])


def test_where_one_has_sorted_new_rows_wait_behind_a_button(watched: Watched, server: Served) -> None:
    some_requests(server)
    page = watched.open("activity")
    expect(rows(page)).to_have_count(4)
    page.get_by_role("button", name="Generated", exact=True).click()
    expect(page).to_have_url(re.compile("sort=generated"))
    expect(rows(page).locator("a")).to_have_text(["2", "1", "4", "3"])
    server.chat("small", max_tokens=9)
    page.get_by_role("button", name="1 new, sort again").click()
    expect(rows(page).locator("a")).to_have_text(["5", "2", "1", "4", "3"])
    expect(page.get_by_role("columnheader", name="Generated")).to_have_attribute("aria-sort", "descending")


def test_where_one_has_scrolled_no_row_moves(watched: Watched, server: Served) -> None:
    for _ in range(40):
        assert server.post("/v1/embeddings", {"model": "embed", "input": "a"}).status == 200
    server.await_rows(40)
    page = watched.open("activity")
    expect(rows(page).first).to_have_attribute("aria-rowindex", "2")
    expect(page.get_by_label("Totals")).to_contain_text(re.compile(r"Processed\d"))  # all above the rows is there
    scroller = page.locator(".activity-scroll")
    scroller.evaluate("box => box.scrollTo(0, 400)")
    link = page.get_by_role("link", name="Request 20, embed")
    expect(link).to_be_visible()
    before = link.bounding_box()
    server.post("/v1/embeddings", {"model": "embed", "input": "a"})
    page.get_by_role("button", name="1 new").wait_for()
    assert link.bounding_box() == before
    page.get_by_role("button", name="1 new").click()
    expect(page.get_by_role("link", name="Request 41, embed")).to_be_in_viewport()


def test_filters_have_counts_and_stand_in_the_address(watched: Watched, server: Served) -> None:
    some_requests(server)
    page = watched.open("activity")
    page.get_by_role("button", name="Filters", exact=True).click()
    panel = page.get_by_role("complementary", name="Filters")
    small = panel.locator("label[title=small]")
    expect(small).to_contain_text("2")
    small.click()
    expect(page).to_have_url(re.compile(r"\?model=small$"))
    expect(rows(page).locator("a")).to_have_text(["2", "1"])
    expect(page.get_by_label("Totals")).to_contain_text("Requests2")
    panel.locator("label[title=embed]").click()
    expect(rows(page)).to_have_count(3)
    watched.open("activity?status=404")
    expect(rows(page).locator("a")).to_have_text(["4"])
    page.get_by_role("button", name="Filters", exact=True).click()
    expect(panel.locator("label[title='200']")).to_contain_text("3")
    expect(panel.locator("label[title=small]")).to_have_count(0)  # none of its requests has this status
    page.get_by_role("button", name="Filters", exact=True).click()
    page.get_by_role("button", name="No more status: 404").click()
    expect(rows(page)).to_have_count(4)
    page.get_by_label("Text in the model, the path or the error").fill("embed")
    expect(rows(page).locator("a")).to_have_text(["3"])
    expect(page).to_have_url(re.compile(r"\?q=embed$"))
    watched.open("activity?min_id=2&max_id=3")
    expect(rows(page).locator("a")).to_have_text(["3", "2"])
    watched.open("activity?since=1h&ended=refused")
    expect(rows(page).locator("a")).to_have_text(["4"])
    watched.open("activity?model=nothing")
    expect(page.get_by_text("No request is like that")).to_be_visible()
    page.locator("main").get_by_role("button", name="Show all requests").first.click()
    expect(rows(page)).to_have_count(4)


def test_a_wrong_duration_says_how_one_is_written(watched: Watched, server: Served) -> None:
    some_requests(server)
    page = watched.open("activity")
    page.get_by_role("button", name="Filters", exact=True).click()
    field = page.get_by_role("complementary", name="Filters").get_by_label("Duration")
    field.fill("long")
    field.press("Enter")
    expect(page.get_by_text("as 500ms, 2s, 1m30s")).to_be_visible()
    field.fill("10h")
    field.press("Enter")
    expect(page.get_by_text("No request is like that")).to_be_visible()
    expect(page).to_have_url(re.compile("min_duration=10h"))


def test_a_view_is_saved_and_opened_from_its_address(server: Served, watch: Callable[..., Watched]) -> None:
    some_requests(server)
    watched = watch(server, permissions=["clipboard-read", "clipboard-write"])
    page = watched.open("activity?model=small&sort=duration&order=asc")
    page.locator("summary", has_text="Views").click()
    page.get_by_label("Name of the view").fill("slow <b>small</b>")
    page.get_by_role("button", name="Save this view").click()
    page.get_by_role("button", name="Copy address").click()
    expect(page.get_by_text("The address of the view is copied")).to_be_visible()
    address = page.evaluate("navigator.clipboard.readText()")
    page.goto(f"{watched.base}/ui/activity")
    expect(rows(page)).to_have_count(4)
    page.goto(address)
    expect(rows(page)).to_have_count(2)
    page.goto(f"{watched.base}/ui/activity")
    page.locator("summary", has_text="Views").click()
    page.get_by_role("link", name="slow <b>small</b>").click()
    expect(page).to_have_url(address)
    expect(rows(page)).to_have_count(2)
    page.get_by_role("button", name="Forget the view slow").click()
    expect(page.get_by_role("link", name="slow")).to_have_count(0)


def test_columns_are_chosen_and_ordered_and_kept(watched: Watched, server: Served) -> None:
    some_requests(server)
    page = watched.open("activity")
    heads = page.get_by_role("columnheader")
    expect(heads).to_have_count(12)
    page.get_by_role("button", name="Columns").click()
    dialog = page.get_by_role("dialog", name="Columns")
    dialog.get_by_role("checkbox", name="Path").check()
    dialog.get_by_role("checkbox", name="Cached").uncheck()
    dialog.get_by_role("button", name="Model up").click()
    dialog.get_by_role("button", name="Close").click()
    expect(heads.nth(1)).to_have_text("Model")
    expect(rows(page).first).to_contain_text("/v1/chat/completions")
    page.reload()
    expect(heads.nth(1)).to_have_text("Model")
    expect(page.get_by_role("columnheader", name="Path")).to_be_visible()
    expect(page.get_by_role("columnheader", name="Cached")).to_have_count(0)
    page.get_by_role("button", name="Columns").click()
    page.get_by_role("button", name="The usual columns").click()
    expect(page.get_by_role("columnheader", name="Cached")).to_be_visible()


def test_ten_thousand_rows_scroll_and_are_read_where_one_looks(watched: Watched) -> None:
    page = watched.page
    page.route("**/api/metrics/activity?*", many_rows(10_000))
    watched.open("activity")
    scroller = page.locator(".activity-scroll")
    expect(rows(page).first).to_contain_text("model-10000")
    scroller.scroll_into_view_if_needed()
    for share, number in ((0.5, 5000), (1, 1)):
        scroller.evaluate("(box, share) => box.scrollTo(0, box.scrollHeight * share)", share)
        expect(page.get_by_role("link", name=f"Request {number}, model-{number}")).to_be_in_viewport()
        assert rows(page).count() < 80
    expect(rows(page).last).to_have_attribute("aria-rowindex", "10001")


def test_exports_are_of_what_is_filtered(server: Served, watch: Callable[..., Watched]) -> None:
    some_requests(server)
    watched = watch(server, permissions=["clipboard-read", "clipboard-write"])
    page = watched.open("activity?model=small")
    expect(rows(page)).to_have_count(2)
    page.locator("summary", has_text="Export").click()
    with page.expect_download() as saved:
        page.get_by_role("link", name="CSV").click()
    assert saved.value.suggested_filename == "activity.csv"
    assert len(Path(saved.value.path()).read_text("utf-8").splitlines()) == 3
    page.locator("summary", has_text="Export").click()
    page.get_by_role("button", name="Copy as Markdown").click()
    expect(page.get_by_text("A table in Markdown is copied")).to_be_visible()
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines[0].startswith("| ID | Time | Model | Status | Cached |")
    assert len(lines) == 4
    assert lines[2].startswith("| 2 |")


def test_with_a_key_an_export_is_fetched_and_saved(
    watch: Callable[..., Watched], run_server: Callable[..., Program]
) -> None:
    with run_server({**CONFIG, "apiKeys": ["k-1"]}) as server:
        server.post("/v1/embeddings", {"model": "embed", "input": "a"}, authorization="Bearer k-1")
        watched = watch(server)
        page = watched.page
        page.add_init_script("sessionStorage.setItem('llamaswap.key', 'k-1')")
        watched.open("activity")
        expect(rows(page)).to_have_count(1)
        page.locator("summary", has_text="Export").click()
        with page.expect_download() as saved:
            page.get_by_role("button", name="JSON lines").click()
        row = json.loads(Path(saved.value.path()).read_text("utf-8"))
        assert (row["model"], saved.value.suggested_filename) == ("embed", "activity.jsonl")
        watched.close()


def test_all_is_deleted_only_after_a_question(watched: Watched, server: Served) -> None:
    some_requests(server)
    page = watched.open("activity")
    page.get_by_role("button", name="Delete all").click()
    page.get_by_role("button", name="Cancel").click()
    expect(rows(page)).to_have_count(4)
    page.get_by_role("button", name="Delete all").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Delete all").click()
    expect(page.get_by_text("4 requests are deleted")).to_be_visible()
    expect(page.get_by_text("No request yet")).to_be_visible()


def test_a_request_in_progress_is_shown_and_cancelled(watched: Watched, server: Served) -> None:
    page = watched.open("activity")
    wire = server.stream("large", max_tokens=2000, ignore_eos=True)
    section = page.get_by_role("region", name="In progress")
    expect(section.locator("tbody tr")).to_have_count(1)
    expect(section).to_contain_text("POST /v1/chat/completions")
    section.get_by_role("button", name="Cancel the request to large").click()
    page.get_by_role("button", name="Cancel the request", exact=True).click()
    expect(section.locator("tbody tr")).to_have_count(0)
    expect(rows(page)).to_contain_text(re.compile("409|cancelled"))
    wire.close()


def test_figures_over_time_and_speeds(watched: Watched, server: Served) -> None:
    some_requests(server)
    page = watched.open("activity?model=small")
    totals = page.get_by_label("Totals")
    expect(totals).to_contain_text("Generated8")
    expect(totals.get_by_role("img", name=re.compile("^Generation speed: half are above"))).to_be_visible()
    totals.get_by_role("button", name="Over time").click()
    expect(totals.locator(".plot")).to_have_count(4)
    expect(page).to_have_url(re.compile("figures=1"))


def test_names_of_others_are_text(watched: Watched, server: Served) -> None:
    assert server.chat("<img src=x onerror=alert(1)>\u202e").status == 404
    page = watched.open("activity")
    expect(rows(page)).to_contain_text("<img src=x onerror=alert(1)>⟨U+202E⟩")
    assert page.locator("main img").count() == 0


def test_a_phone_shows_two_lines_a_row_and_filters_in_a_sheet(server: Served, watch: Callable[..., Watched]) -> None:
    some_requests(server)
    watched = watch(server, size=PHONE)
    page = watched.open("activity")
    expect(rows(page)).to_have_count(4)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.get_by_role("button", name="Filters", exact=True).click()
    page.get_by_role("dialog", name="Filters").locator("label[title=embed]").click()
    page.keyboard.press("Escape")
    expect(rows(page)).to_have_count(1)
    rows(page).get_by_role("link").click()
    expect(page.get_by_role("dialog", name="Request 3")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
