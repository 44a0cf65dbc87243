"""The playground: what counts as the prompt, and what is let go."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tests.e2e.program import Program
from tests.ui.conftest import Watched, playwright
from tests.ui.held import Held
from tests.ui.test_playground import ended, say

expect = playwright.expect


def test_with_messages_what_came_from_the_cache_is_a_part_of_the_prompt(watched: Watched) -> None:
    page = watched.open("playground/chat?model=small")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Endpoint").select_option("messages")
    figures = ended(say(page, "one two three")).locator(".answer-figures")
    expect(figures).to_contain_text("prompt 3")
    page.get_by_role("button", name="New conversation").click()
    figures = ended(say(page, "one two three")).locator(".answer-figures")
    expect(figures).to_contain_text(re.compile(r"prompt 3, (\d\d|100) % from the cache"))


def test_a_microphone_that_is_asked_for_twice_is_recorded_once(server: Program, watch: Callable[..., Watched]) -> None:
    watched = watch(server)
    watched.page.add_init_script("""
        window.microphones = [];
        navigator.mediaDevices.getUserMedia = async () => {
            const { stream } = new AudioContext().createMediaStreamDestination();
            window.microphones.push(...stream.getTracks());
            return stream;
        };
    """)
    page = watched.open("playground/transcription")
    page.get_by_role("button", name="Record", exact=True).evaluate("button => (button.click(), button.click())")
    page.get_by_role("button", name="Stop recording").click()
    expect(page.get_by_label("What is written down")).to_be_visible()
    assert page.evaluate("window.microphones.map(({ readyState }) => readyState)") == ["ended"]


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
