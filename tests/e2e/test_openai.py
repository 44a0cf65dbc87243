"""The `openai` SDK: what people write most."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.program import Program, demo, models, upstream
from tests.e2e.sdks import MESSAGES, PARAMETERS, openai, openai_client

TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "In a city\u2026", "parameters": PARAMETERS}}
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    small = {"cmd": demo("--tokens-per-second", "300"), "aliases": ["gpt-4o"]}
    config = models(small=small, large=demo(), echo={"cmd": upstream(), "unlisted": True})
    groups = {"all": {"swap": False, "members": ["small", "echo"]}}
    with Program(tmp_path_factory.mktemp("openai"), {**config, "groups": groups}) as running:
        yield running


@pytest.fixture
def client(program: Program) -> Iterator[Any]:
    with openai_client(program.port) as client:
        yield client


def test_chat(client: Any) -> None:
    for name in ("small", "large", "gpt-4o"):
        completion = client.chat.completions.create(model=name, messages=MESSAGES)
        assert "Hello, this is" in completion.choices[0].message.content
        assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens


def test_streamed_chat(client: Any) -> None:
    options = {"include_usage": True}
    stream = client.chat.completions.create(model="small", messages=MESSAGES, stream=True, stream_options=options)
    chunks = list(stream)
    assert "Hello, this is small." in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage.completion_tokens > 10


def test_a_stream_that_is_left_in_the_middle(client: Any, program: Program) -> None:
    body = {"ignore_eos": True}
    before = program.chat("small", max_tokens=1).status == 200 and program.stats("small")["cancelled"]
    stream = client.chat.completions.create(
        model="small", messages=MESSAGES, stream=True, max_tokens=90_000, extra_body=body
    )
    for _ in zip(range(3), stream, strict=False):
        pass
    stream.close()
    program.await_stats("small", in_progress=0, cancelled=before + 1)


def test_embeddings(client: Any) -> None:
    answer = client.embeddings.create(model="small", input=["one text", "another"])
    assert [len(item.embedding) for item in answer.data] == [64, 64]


def test_completions_and_responses(client: Any) -> None:
    assert client.completions.create(model="small", prompt="Hello", max_tokens=5).choices[0].text
    assert "Hello, this is" in client.responses.create(model="small", input="Hello").output_text


def test_transcriptions(client: Any) -> None:
    answer = client.audio.transcriptions.create(model="small", file=("a.wav", b"RIFF" * 100, "audio/wav"))
    assert answer.text == "small heard 400 bytes in a.wav."


def test_an_unknown_model_is_a_not_found_error(client: Any) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="none", messages=MESSAGES)
    assert caught.value.code == "not_found"
    assert "model not found" in caught.value.message


def test_an_error_of_the_upstream_passes_through(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="'max_tokens' must be an integer"):
        client.chat.completions.create(model="small", messages=MESSAGES, max_tokens="many")


def test_the_list_of_models(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["large", "small"]


def test_one_model_by_its_name(client: Any) -> None:
    assert client.models.retrieve("small").id == "small"
    with pytest.raises(openai.NotFoundError, match="did you mean 'small'"):
        client.models.retrieve("smal")


def test_the_async_client(program: Program) -> None:
    async def talk() -> list[str]:
        async with openai_client(program.port, kind="AsyncOpenAI") as client:

            async def ask() -> str:
                stream = await client.chat.completions.create(model="large", messages=MESSAGES, stream=True)
                parts = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
                return "".join(parts)

            return await asyncio.gather(*(ask() for _ in range(10)))

    texts = asyncio.run(talk())
    assert len(texts) == 10
    assert all("Hello, this is large." in text for text in texts)


def test_tools_and_their_results_pass_byte_for_byte(client: Any) -> None:
    called = {"role": "assistant", "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "12.50 \u00b0C"}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": called}
    answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "echo", "choices": [choice]}
    reply = client.chat.completions.with_raw_response.create(
        model="echo", messages=[*MESSAGES, called, result], tools=TOOLS, tool_choice="required", temperature=1.0,
        extra_headers={"X-Answer": json.dumps(answer)},
    )  # fmt: skip
    assert dict(reply.http_response.headers.raw)[b"X-Body"] == reply.http_request.content
    completion = reply.parse()
    assert completion.choices[0].finish_reason == "tool_calls"
    assert completion.choices[0].message.tool_calls[0].function.name == "weather"


def test_a_streamed_call_of_a_tool(client: Any) -> None:
    facts = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "echo"}
    calls = ({"index": 0, **CALL}, {"index": 0, "function": {"arguments": '{"city": "Oslo"}'}})
    chunks = [{**facts, "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]} for call in calls]
    answer = "".join(f"data: {json.dumps(chunk)}\\n\\n" for chunk in chunks) + "data: [DONE]\\n\\n"
    answer = answer.replace('"arguments": "{}"', '"arguments": ""').replace('\\"', "\\u0022")
    stream = client.chat.completions.create(
        model="echo", messages=MESSAGES, tools=TOOLS, stream=True, extra_headers={"X-Answer": answer}
    )
    said = [chunk.choices[0].delta.tool_calls[0].function.arguments for chunk in stream]
    assert said == ["", '{"city": "Oslo"}']


def test_streamed_completions_and_responses(client: Any) -> None:
    pieces = list(client.completions.create(model="small", prompt="Hello", max_tokens=5, stream=True))
    assert len(pieces) > 5
    happenings = list(client.responses.create(model="small", input="Hello", stream=True))
    assert happenings[0].type == "response.created"
    assert "Hello, this is" in happenings[-1].response.output_text


def test_speech_and_images_reach_their_routes(client: Any) -> None:
    spoken = client.audio.speech.create(model="echo", voice="any", input="Hi")
    assert json.loads(spoken.content)["target"] == "/v1/audio/speech"
    assert client.images.generate(model="echo", prompt="a cat").target == "/v1/images/generations"
    edited = client.images.edit(model="echo", prompt="a cat", image=("a.png", b"\x89PNG", "image/png"))
    assert edited.target == "/v1/images/edits"
    assert 'filename="a.png"' in edited.body
