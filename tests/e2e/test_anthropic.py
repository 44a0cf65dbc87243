"""The `anthropic` SDK: whole and streamed messages, tools, errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.program import Program, demo, models, upstream
from tests.e2e.sdks import MESSAGES, PARAMETERS, anthropic, anthropic_client

HELLO: dict[str, Any] = {"max_tokens": 60, "messages": MESSAGES}
TOOLS = [{"name": "weather", "description": "How it is in a city\u2026", "input_schema": PARAMETERS}]
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "echo",
    "content": [CALL],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    entries: dict[str, Any] = {"small": {"cmd": demo("--tokens-per-second", "300"), "aliases": ["claude"]}}
    config = models(**entries, large=demo(), echo=upstream())
    groups = {"all": {"swap": False, "members": ["small", "echo"]}}
    with Program(tmp_path_factory.mktemp("anthropic"), {**config, "groups": groups}) as running:
        yield running


@pytest.fixture
def client(program: Program) -> Iterator[Any]:
    with anthropic_client(program.port) as client:
        yield client


def test_messages(client: Any) -> None:
    for name in ("small", "large", "claude"):
        message = client.messages.create(model=name, **HELLO)
        assert "Hello, this is" in message.content[0].text
        assert message.usage.output_tokens > 5


def test_streamed_messages(client: Any) -> None:
    with client.messages.stream(model="small", **HELLO) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert len(pieces) > 5
    assert "".join(pieces) == message.content[0].text
    assert message.stop_reason == "end_turn"


def test_a_stream_that_is_left_in_the_middle(client: Any, program: Program) -> None:
    client.messages.create(model="small", **HELLO)
    program.await_stats("small", in_progress=0)
    before = program.stats("small")["cancelled"]
    many = {**HELLO, "max_tokens": 90_000, "extra_body": {"ignore_eos": True}}
    with client.messages.stream(model="small", **many) as stream:
        next(iter(stream.text_stream))
    program.await_stats("small", in_progress=0, cancelled=before + 1)


def test_tokens_are_counted(client: Any) -> None:
    assert client.messages.count_tokens(model="small", messages=MESSAGES).input_tokens == 2


def test_the_async_client(program: Program) -> None:
    async def talk() -> list[Any]:
        async with anthropic_client(program.port, kind="AsyncAnthropic") as client:

            async def ask() -> str:
                async with client.messages.stream(model="large", **HELLO) as stream:
                    return "".join([piece async for piece in stream.text_stream])

            return await asyncio.gather(*(ask() for _ in range(10)))

    texts = asyncio.run(talk())
    assert len(texts) == 10
    assert all("Hello, this is large." in text for text in texts)


def test_tools_and_their_results_pass_byte_for_byte(client: Any) -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "12.50 \u00b0C"}
    messages = [*MESSAGES, {"role": "assistant", "content": [CALL]}, {"role": "user", "content": [result]}]
    answer = client.messages.with_raw_response.create(
        model="echo", max_tokens=10, messages=messages, tools=TOOLS, tool_choice={"type": "any"},
        extra_headers={"X-Answer": json.dumps(ANSWER)},
    )  # fmt: skip
    assert dict(answer.http_response.headers.raw)[b"X-Body"] == answer.http_request.content
    message = answer.parse()
    assert message.stop_reason == "tool_use"
    assert message.content[0].input == {"city": "Oslo"}


def test_a_streamed_call_of_a_tool(client: Any) -> None:
    block = {"type": "content_block_start", "index": 0, "content_block": {**CALL, "input": {}}}
    pieces = ('{"city": ', '"Oslo"}')
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    happenings: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**ANSWER, "content": [], "stop_reason": None}},
        block,
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    answer = "".join(f"event: {it['type']}\\ndata: {json.dumps(it)}\\n\\n" for it in happenings)
    with client.messages.stream(model="echo", **HELLO, tools=TOOLS, extra_headers={"X-Answer": answer}) as stream:
        message = stream.get_final_message()
    assert message.content[0].input == {"city": "Oslo"}
    assert message.usage.output_tokens == 9


def test_an_unknown_model_is_a_not_found_error(client: Any) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="none", **HELLO)
    assert "model not found" in caught.value.message
    assert caught.value.body["error"]["code"] == "not_found"


def test_an_error_of_the_upstream_passes_through(client: Any) -> None:
    with pytest.raises(anthropic.BadRequestError, match="'max_tokens' must be an integer"):
        client.messages.create(model="small", messages=MESSAGES, max_tokens="many")


def test_the_list_of_models(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["echo", "large", "small"]
