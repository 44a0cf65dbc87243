"""One request of the page of activity: what is known of it, where its time went, and its capture."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from tests.ui.conftest import CONFIG, DEADLINE, Served, Watched, playwright
from tests.ui.modules import call

expect = playwright.expect

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def drawer(page: Any, number: int) -> Any:
    return page.get_by_role("dialog", name=f"Request {number}")


def capture_of(page: Any, request: object, answer: str, content_type: str = "application/json") -> None:
    """Answer with this capture, whatever was captured."""
    body = request if isinstance(request, str) else json.dumps(request)
    told = {
        "id": 1,
        "req_path": "/v1/chat/completions",
        "req_headers": {"Content-Type": "application/json", "Authorization": "[REDACTED]", "User-Agent": "it's me"},
        "req_body": base64.b64encode(body.encode()).decode(),
        "resp_headers": {"Content-Type": content_type},
        "resp_body": base64.b64encode(answer.encode()).decode(),
    }
    page.route("**/api/captures/1", lambda route: route.fulfill(json=told))


def test_a_row_opens_with_its_facts_and_where_its_time_went(watched: Watched, server: Served) -> None:
    assert server.chat("large", max_tokens=3).status == 200
    server.await_rows(1)
    page = watched.open("activity")
    page.get_by_role("link", name="Request 1, large").click()
    expect(page).to_have_url(re.compile(r"\?row=1$"))
    expect(drawer(page, 1)).to_contain_text("POST /v1/chat/completions")
    expect(drawer(page, 1)).to_contain_text("3 generated")
    expect(drawer(page, 1).get_by_role("img", name=re.compile(r"Loading the model 1(\.\d)? s"))).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer(page, 1)).to_have_count(0)
    expect(page.get_by_role("link", name="Request 1, large")).to_be_focused()


def test_a_streamed_chat_is_shown_as_a_conversation_and_put_together(watched: Watched, server: Served) -> None:
    server.chat("small", max_tokens=4, stream=True)
    server.await_rows(1)
    page = watched.open("activity?row=1")
    expect(drawer(page, 1).locator(".message")).to_have_count(2)
    expect(drawer(page, 1).locator(".message").nth(1)).to_contain_text("Hello, this is small.")
    expect(drawer(page, 1)).to_contain_text("ended with length")
    drawer(page, 1).get_by_role("link", name="Answer").click()
    expect(page).to_have_url(re.compile("tab=answer"))
    expect(drawer(page, 1)).to_contain_text("Hello, this is small.")
    drawer(page, 1).get_by_label("Raw").check()
    expect(drawer(page, 1).locator("pre.raw")).to_contain_text('data: {"choices"')
    expect(drawer(page, 1).locator("pre.raw")).to_contain_text("[DONE]")
    watched.open("activity?row=1&tab=request")
    expect(drawer(page, 1).get_by_role("tree")).to_contain_text("messages:")


def test_j_and_k_go_through_the_requests(watched: Watched, server: Served) -> None:
    for _ in range(3):
        server.chat("small", max_tokens=1)
    server.await_rows(3)
    page = watched.open("activity")
    expect(page.get_by_role("link", name="Request 3, small")).to_be_visible()
    page.keyboard.press("j")
    expect(drawer(page, 3)).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(drawer(page, 1)).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(drawer(page, 2)).to_be_visible()
    drawer(page, 2).get_by_role("button", name="Next").click()
    expect(drawer(page, 1)).to_be_visible()
    watched.open("activity?min_id=3&row=1")
    expect(drawer(page, 1)).to_be_visible()
    page.keyboard.press("k")
    expect(drawer(page, 3)).to_be_visible()


def test_a_request_that_is_gone_says_so(watched: Watched) -> None:
    page = watched.open("activity?row=77")
    expect(drawer(page, 77)).to_contain_text("There is no such request any more")


@pytest.mark.parametrize(
    ("buffer", "words"),
    [(0, "Captures are turned off"), (3, "within 3 MB")],
)
def test_without_a_capture_it_says_why_and_what_to_write(
    run_server: Callable[..., Served], watch: Callable[..., Watched], buffer: int, words: str
) -> None:
    with run_server({**CONFIG, "captureBuffer": buffer}) as server:
        server.chat("nobody")
        server.await_rows(1)
        watched = watch(server)
        page = watched.open("activity?row=1")
        if buffer:
            page.route("**/api/metrics/activity?*", lambda route: route.fulfill(json=without_capture(server, route)))
            watched.open("activity?row=1")
        expect(drawer(page, 1)).to_contain_text(words)
        watched.close()


def without_capture(server: Served, route: Any) -> Any:
    answer = server.get(route.request.url.partition(f":{server.port}")[2]).json()
    for row in answer["data"]:
        row["has_capture"] = False
    return answer


def test_json_is_a_tree_that_is_built_where_it_is_opened(watched: Watched, server: Served) -> None:
    server.chat("small", max_tokens=1)
    server.await_rows(1)
    deep = "[" * 10_000 + "]" * 10_000
    many = json.dumps([{"number": number} for number in range(100_000)])
    page = watched.page
    capture_of(page, f'{{"seed": 18446744073709551615, "a": 1, "a": 2, "deep": {deep}, "many": {many}}}', "{}")
    watched.open("activity?row=1&tab=request")
    tree = drawer(page, 1).get_by_role("tree")
    expect(tree).to_contain_text("seed: 18446744073709551615")
    expect(tree).to_contain_text("a: 1")
    expect(tree).to_contain_text("a: 2")
    expect(tree).to_contain_text("100,000 entries")
    assert tree.locator("*").count() < 400
    tree.get_by_role("button", name=re.compile("many")).click()
    expect(tree.get_by_role("button", name="Show 100 more")).to_be_visible()
    assert tree.locator("*").count() < 2_000
    deep_ones = tree.locator(".json-fold", has_text=re.compile("1 entry$"))
    before = deep_ones.count()
    for more in range(1, 4):
        deep_ones.last.click()
        expect(deep_ones).to_have_count(before + more)


def test_ten_megabytes_of_json_open(watched: Watched, server: Served) -> None:
    server.chat("small", max_tokens=1)
    server.await_rows(1)
    page = watched.page
    capture_of(
        page, {"model": "small", "text": "word " * 2_000_000, "messages": [{"role": "user", "content": "hi"}]}, "{}"
    )
    watched.open("activity?row=1&tab=request")
    tree = drawer(page, 1).get_by_role("tree")
    expect(tree).to_contain_text("messages:", timeout=2 * DEADLINE)
    expect(tree.get_by_role("button", name=re.compile("^Show 200,000 of 9,999,000"))).to_be_visible()


def test_a_hostile_capture_is_text(watched: Watched, server: Served) -> None:
    server.chat("small", max_tokens=1)
    server.await_rows(1)
    page = watched.page
    attack = "<img src=x onerror=alert(1)><script>document.title='taken'</script>\u202e"
    chat = {"messages": [{"role": attack, "content": attack}], attack: attack}
    capture_of(
        page, chat, f"data: {json.dumps({'choices': [{'delta': {'content': attack}}]})}\n\n", "text/event-stream"
    )
    for tab in ("chat", "request", "answer"):
        watched.open(f"activity?row=1&tab={tab}")
        expect(drawer(page, 1).locator(".capture-tab")).to_contain_text("onerror=alert(1)")
        assert page.locator("main img, main script").count() == 0


def test_pictures_in_a_chat_are_shown(watched: Watched, server: Served) -> None:
    server.chat("small", max_tokens=1)
    server.await_rows(1)
    page = watched.page
    url = f"data:image/png;base64,{PIXEL}"
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "image", "source": source}]
    capture_of(page, {"messages": [{"role": "user", "content": [{"type": "text", "text": "see"}, *parts]}]}, "{}")
    watched.open("activity?row=1")
    expect(drawer(page, 1).locator(".message img")).to_have_count(2)
    drawer(page, 1).get_by_role("link", name="Request", exact=True).click()
    tree = drawer(page, 1).get_by_role("tree")
    for is_open in range(3, 9):  # what is deep is folded
        expect(tree.locator("[aria-expanded=true]")).to_have_count(is_open)
        tree.locator("[aria-expanded=false] > .json-fold").first.click()
    expect(tree.locator("img").first).to_be_visible()


def test_it_is_copied_as_a_command_that_a_shell_takes_apart_rightly(
    server: Served, watch: Callable[..., Watched]
) -> None:
    server.chat("small", max_tokens=1)
    server.await_rows(1)
    watched = watch(server, permissions=["clipboard-read", "clipboard-write"])
    page = watched.page
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": 'it\'s $HOME `id` \\ "x"\n!'}]})
    capture_of(page, body, "{}")
    watched.open("activity?row=1")
    drawer(page, 1).get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_text("A command for curl is copied")).to_be_visible()
    words = shlex.split(page.evaluate("navigator.clipboard.readText()"))
    headers = [words[index + 1] for index, word in enumerate(words) if word == "-H"]
    assert words[:2] == ["curl", f"{watched.base}/v1/chat/completions"]
    assert headers == ["Content-Type: application/json", "Authorization: Bearer YOUR_KEY", "User-Agent: it's me"]
    assert words[words.index("--data-raw") + 1] == body


# -- streams put together: parts that need no page --


def stream(*events: object) -> str:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events)


def assembled(page: Any, text: str) -> Any:
    return call(page, "pages/activity/stream.js", "assemble", text)


def test_a_stream_of_chat_completions(page: Any) -> None:
    def delta(**values: Any) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": values, "finish_reason": None}]}

    tool = [{"index": 0, "id": "c1", "function": {"name": "look", "arguments": '{"q":'}}]
    more = [{"index": 0, "function": {"arguments": '"x"}'}}]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    text = stream(
        *(delta(role="assistant", content=None), delta(reasoning_content="hm "), delta(reasoning_content="ok")),
        *(delta(content="Hel"), delta(content="lo"), delta(tool_calls=tool), delta(tool_calls=more), end),
        {"choices": [], "usage": {"completion_tokens": 7}, "timings": {"predicted_n": 7}},
    )
    found = assembled(page, text + ": a comment\n\ndata: [DONE]\n\n")
    call_made = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"q":"x"}'}}
    message = {"role": "assistant", "content": "Hello", "reasoning": "hm ok", "tool_calls": [call_made]}
    assert found["messages"] == [message]
    assert (found["events"], found["finish"], found["usage"]) == (9, "tool_calls", {"completion_tokens": 7})


def test_a_stream_of_several_choices_and_of_completions(page: Any) -> None:
    choices = [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]
    assert [each["content"] for each in assembled(page, stream({"choices": choices}))["messages"]] == ["b", "a"]
    text = stream({"choices": [{"text": "x"}]}, {"choices": [{"text": "y", "finish_reason": "stop"}]})
    assert assembled(page, text)["messages"][0]["content"] == "xy"
    native = assembled(page, stream({"content": "x"}, {"content": "y", "stop": True, "stop_type": "eos"}))
    assert (native["messages"][0]["content"], native["finish"]) == ("xy", "eos")


def test_a_stream_of_messages(page: Any) -> None:
    def block(index: int, kind: str, **more: Any) -> dict[str, Any]:
        return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **more}}

    def delta(index: int, **values: str) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": values}

    found = assembled(
        page,
        stream(
            {"type": "message_start", "message": {"role": "assistant", "usage": {"input_tokens": 9}}},
            *(block(0, "thinking", thinking=""), delta(0, thinking="so")),
            *(block(1, "text", text=""), delta(1, text="Hi"), delta(1, text="!")),
            *(block(2, "tool_use", id="t", name="look"), delta(2, partial_json='{"a"'), delta(2, partial_json=":1}")),
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}},
            {"type": "message_stop"},
        ),
    )
    made = {"id": "t", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
    assert found["messages"] == [{"role": "assistant", "content": "Hi!", "reasoning": "so", "tool_calls": [made]}]
    assert (found["finish"], found["usage"]) == ("tool_use", {"input_tokens": 9, "output_tokens": 5})


def test_a_stream_of_responses(page: Any) -> None:
    item = {"type": "function_call", "call_id": "c", "name": "look", "arguments": ""}
    found = assembled(
        page,
        stream(
            {"type": "response.reasoning_text.delta", "delta": "hm"},
            {"type": "response.output_text.delta", "delta": "Hel"},
            {"type": "response.output_text.delta", "delta": "lo"},
            {"type": "response.output_item.added", "output_index": 2, "item": item},
            {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{}"},
            {"type": "response.completed", "response": {"usage": {"output_tokens": 3}}},
        ),
    )
    made = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    assert found["messages"] == [{"role": "assistant", "content": "Hello", "reasoning": "hm", "tool_calls": [made]}]
    assert (found["finish"], found["usage"]) == ("completed", {"output_tokens": 3})


def test_a_broken_stream_says_what_is_broken(page: Any) -> None:
    found = assembled(
        page, stream({"choices": [{"delta": {"content": "x"}}]}, {"error": {"message": "it died"}}) + "data: {oops"
    )
    assert found["messages"][0]["content"] == "x"
    assert found["errors"] == ["it died", "an event is no JSON: {oops"]
    assert assembled(page, "data: {oops\n\n")["errors"] == ["an event is no JSON: {oops"]
    assert assembled(page, stream(None, 5, [], {"choices": [None, {"delta": 7}]}, {"usage": 3}))["errors"] == []


def test_messages_of_requests_and_whole_answers(page: Any) -> None:
    def asked(body: object) -> Any:
        return call(page, "pages/activity/messages.js", "messagesOfRequest", body)

    def told(body: object) -> Any:
        return call(page, "pages/activity/messages.js", "messagesOfAnswer", body)

    assert asked({"prompt": "p"}) == [{"role": "user", "content": "p"}]
    assert asked({"model": "m", "instructions": "i", "input": "p"}) == [
        {"role": "system", "content": "i"},
        {"role": "user", "content": "p"},
    ]
    assert asked({"input": ["a", "b"]}) == []
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "42"}]}
    assert asked({"messages": [{"role": "user", "content": [result]}]}) == [{"role": "tool", "content": "42"}]
    assert told({"choices": [{"message": {"role": "assistant", "content": "x", "reasoning_content": "r"}}]}) == [
        {"role": "assistant", "content": "x", "reasoning": "r"}
    ]
    assert told({"type": "message", "role": "assistant", "content": [{"type": "text", "text": "x"}]}) == [
        {"role": "assistant", "content": "x"}
    ]
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "r"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
    ]
    assert told({"output": output}) == [
        {"role": "assistant", "content": [{"type": "text", "text": "x"}], "reasoning": "r"}
    ]
    nothing: tuple[object, ...] = (None, 5, [], "x", {"messages": 5}, {"messages": [None, 7]})
    assert [asked(each) for each in nothing] == [[]] * len(nothing)
