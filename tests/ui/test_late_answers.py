"""Answers that come later than those to newer questions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.ui.conftest import CONFIG, Served, Watched, playwright
from tests.ui.test_models import row

expect = playwright.expect


def test_an_older_list_of_names_does_not_take_the_place_of_a_newer_one(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server({**CONFIG, "profiles": {"work": {"pins": {"boss": "small"}}}}) as server:
        watched = watch(server)
        page = watched.page

        def answer_late(route: Any) -> None:
            before = route.fetch()
            assert server.ask("PUT", "/api/profiles/active", b'{"name": "work"}').status == 200
            expect(row(page, "boss")).to_contain_text("→ small")
            route.fulfill(response=before)

        page.route("**/v1/models", answer_late, times=1)
        watched.open()
        expect(row(page, "boss")).to_be_visible()
        page.evaluate("fetch('../running').then((answer) => answer.text())")  # the late one is there before this one
        page.get_by_label("Order").select_option("name")
        expect(page.locator("tr.model a.name")).to_have_text(["boss", "embed", "large", "small"])
        watched.close()
