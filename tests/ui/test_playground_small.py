"""The playground: what passes with time."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tests.e2e.program import Program
from tests.ui.conftest import Watched, playwright
from tests.ui.held import Held
from tests.ui.test_playground import say

expect = playwright.expect


def test_what_is_left_of_a_load_passes(
    watch: Callable[..., Watched], run_server: Callable[..., Program], tmp_path: Path
) -> None:
    held, now = Held(tmp_path), datetime.now(timezone.utc)
    held.open()
    with run_server({"models": {"slow": {"cmd": held.command("--load-seconds", "3")}}}) as server:
        assert server.chat("slow", max_tokens=1).status == 200
        assert server.post("/api/models/unload/slow", {}).status == 200
        held.shut()
        watched = watch(server)
        watched.page.clock.set_fixed_time(now)
        page = watched.open("playground/chat?model=slow")
        meanwhile = say(page, "hello").locator(".meanwhile")
        expect(meanwhile).to_contain_text(re.compile(r"slow is loading .*, about \d+ s to go"))
        page.clock.set_fixed_time(now + timedelta(minutes=5))
        expect(meanwhile).to_have_text(re.compile(r"slow is loading \([45] min( \d+ s)?\)$"))
        watched.close()
        held.open()
