"""A conversation as it is shown: roles, reasoning, pictures, tools, in the shapes of all three kinds of routes."""

from __future__ import annotations

from typing import Any

from tests.ui.conftest import Watched, playwright
from tests.ui.talker import DOT

expect = playwright.expect
DRAW = """async (messages) => {
  const base = document.querySelector("script[type=module]").src;
  const { conversation } = await import(new URL("parts/conversation.js", base));
  document.querySelector("main").replaceChildren(conversation(() => messages));
}"""
HOSTILE = "<img src=x onerror='window.bad = 1'>"
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": f"Be *brief*. {HOSTILE}"},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "Look"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DOT}"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DOT}},
            {"type": "input_image", "image_url": "https://example.org/track.png"},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        ],
    },
    {
        "role": "assistant",
        "reasoning": f"I see {HOSTILE}",
        "content": "A *dot*.",
        "tool_calls": [
            {"function": {"name": HOSTILE, "arguments": '{"x": 1}'}},
            {"name": "broken", "arguments": '{"x'},
        ],
    },
    {"role": "tool", "content": '{"weather": "fine"}'},
    {"role": "\u202egnorw", "content": None},
    {"role": "constructor", "content": "odd"},
]


def test_all_that_a_message_may_hold_is_shown_and_harms_nothing(watched: Watched) -> None:
    page = watched.open()
    page.evaluate(DRAW, MESSAGES)
    rows = page.locator("ol.conversation > li")
    expect(rows.locator("h3")).to_have_text(["System", "You", "Model", "Tool", "\u202egnorw", "constructor"])
    expect(rows.nth(0)).to_contain_text(f"Be *brief*. {HOSTILE}")
    expect(rows.nth(1).get_by_role("img")).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("A picture at https://example.org/track.png")
    expect(rows.nth(1).locator("details.call")).to_contain_text("input_audio")
    expect(rows.nth(2).locator("em")).to_have_text("dot")
    expect(rows.nth(2).locator("details.reasoning")).to_contain_text(HOSTILE)
    expect(rows.nth(2).locator("details.call")).to_have_count(2)
    expect(rows.nth(2).locator("details.call").first).to_contain_text(f"calls {HOSTILE}")
    assert page.evaluate("() => window.bad") is None


def test_of_a_long_conversation_the_end_is_shown(watched: Watched) -> None:
    page = watched.open()
    page.evaluate(DRAW, [{"role": "user", "content": f"message {number}"} for number in range(700)])
    expect(page.locator("ol.conversation > li")).to_have_count(500)
    expect(page.locator("main")).to_contain_text("Only the last 500 of 700.")
    expect(page.locator("ol.conversation > li").last).to_contain_text("message 699")
