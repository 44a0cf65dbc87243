"""The page Models with `use: memory`: what each model needs, where that figure comes from, what a load would cost."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.e2e.program import Program, demo
from tests.ui.conftest import PHONE, Watched, playwright
from tests.ui.test_models import row

expect = playwright.expect


def by_memory(**needs: str) -> dict[str, Any]:
    """Models that may have 2,000 MB together, of which 100 are kept free. One without a size is unknown."""
    memory = {"minResidency": 0, "devices": {"ram": {"capacity": "2000MB", "reserve": "100MB"}}}
    command = demo("--tokens-per-second", "20")
    models = {name: {"cmd": command, "memory": size} for name, size in needs.items() if size}
    models |= {name: {"cmd": command} for name, size in needs.items() if not size}
    return {"models": models, "routing": {"router": {"use": "memory", "settings": {"memory": memory}}}}


def test_with_use_memory_needs_are_told_with_their_source_and_what_a_load_would_cost(
    watch: Callable[..., Watched], run_server: Callable[..., Program]
) -> None:
    with run_server(by_memory(a="1600MB", b="800MB", huge="4GB", new="")) as server:
        assert server.chat("a", max_tokens=1).status == 200
        page = watch(server).open()
        expect(row(page, "a")).to_contain_text("needs 1.6 GBdeclared")
        expect(row(page, "new")).to_contain_text("neednot known yet")
        bar = page.get_by_role("img", name=re.compile(r"^RAM, .* of 2\.0 GB · [\d.]+ [MG]B free"))
        expect(bar).to_have_attribute("aria-label", re.compile(r"a \d+ MB.*, reserve, which is kept free, 100 MB$"))
        expect(bar.locator(".reserve")).to_have_attribute("title", "reserve, which is kept free: 100 MB")
        expect(row(page, "b").locator(".cost")).to_have_text("unloads a (1.6 GB)")
        title = re.compile(r"^b needs 800 MB on RAM, where \d+ MB are free; a holds 1\.6 GB on RAM$")
        expect(row(page, "b").locator(".cost")).to_have_attribute("title", title)
        expect(row(page, "huge").locator(".cost")).to_have_text("does not fit")
        with server.stream("a"), server.stream("b", max_tokens=1):
            expect(row(page, "b")).to_contain_text(re.compile(r"waiting for \d+ MB on RAM, held by a: 1 request"))
        page.context.close()


def test_with_use_memory_a_models_own_page_has_its_need_by_device_and_where_it_comes_from(
    watch: Callable[..., Watched], run_server: Callable[..., Program]
) -> None:
    with run_server(by_memory(a="1600MB", huge="4GB", new="")) as server:
        watched = watch(server, PHONE)
        page = watched.open("models/a")
        memory = page.locator("section").filter(has=page.get_by_role("heading", name="Memory", exact=True))
        expect(memory).to_contain_text("1.6 GB, declared: as memory: in the configuration says")
        expect(memory.get_by_role("row", name=re.compile("^RAM 1.6 GB – –"))).to_be_visible()
        row_of_facts = memory.locator("dl.facts")
        expect(row_of_facts).to_contain_text("DevicesRAM")
        page = watched.open("models/new")
        expect(page.locator("main")).to_contain_text("not known yet: it is loaded alone, once, and is known then")
        page = watched.open("models/huge")
        expect(page.locator("section.now")).to_contain_text("A load would be refused: model huge needs 4.0 GB on RAM")
        watched.close()


def test_what_is_kept_of_a_need_follows_the_server_without_being_asked_for(
    watch: Callable[..., Watched], run_server: Callable[..., Program]
) -> None:
    with run_server(by_memory(a="800MB")) as server:
        watched = watch(server)
        page = watched.open()
        expect(row(page, "a")).to_contain_text("needs 800 MBdeclared")
        server.reload(by_memory(a="700MB"))
        expect(row(page, "a")).to_contain_text("needs 700 MBdeclared")
        assert not [address for address in watched.asked if "api/memory" in address]
