"""The clients that people use: the `openai` SDK and curl."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.program import DEADLINE, Program, demo, models

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    openai = pytest.importorskip("openai", reason="the openai SDK is not installed")

MESSAGES = [{"role": "user", "content": "Hello there"}]
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    config = models(small={"cmd": demo("--tokens-per-second", "300"), "aliases": ["gpt-4o"]}, large=demo())
    with Program(tmp_path_factory.mktemp("clients"), config) as running:
        yield running


@pytest.fixture
def client(program: Program) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{program.port}/v1", api_key="none", max_retries=0) as client:
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
    assert program.await_stats("small", in_progress=0, cancelled=before + 1) < 3


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


def test_the_async_client(program: Program) -> None:
    async def talk() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{program.port}/v1", api_key="none") as client:

            async def ask() -> str:
                stream = await client.chat.completions.create(model="large", messages=MESSAGES, stream=True)
                parts = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
                return "".join(parts)

            return await asyncio.gather(*(ask() for _ in range(10)))

    texts = asyncio.run(talk())
    assert len(texts) == 10
    assert all("Hello, this is large." in text for text in texts)


def curl(program: Program, path: str, *arguments: str) -> tuple[int, bytes]:
    """Exit code and output."""
    argv = ("curl", "-sS", *arguments, f"http://127.0.0.1:{program.port}{path}")
    ended = subprocess.run(argv, capture_output=True, timeout=DEADLINE, check=False)
    return ended.returncode, ended.stdout


@needs_curl
def test_curl_as_the_readme_says(program: Program) -> None:
    json_header = ("-H", "Content-Type: application/json")
    body = json.dumps({"model": "small", "messages": MESSAGES})
    code, output = curl(program, "/v1/chat/completions", *json_header, "-d", body)
    assert (code, json.loads(output)["object"]) == (0, "chat.completion")
    body = json.dumps({"model": "large", "messages": MESSAGES, "stream": True})
    code, output = curl(program, "/v1/chat/completions", "-N", *json_header, "-d", body)
    assert (code, output.endswith(b"data: [DONE]\n\n")) == (0, True)
    code, output = curl(program, "/running")
    assert (code, json.loads(output)["running"][0]["model"]) == (0, "large")
    code, output = curl(program, "/v1/audio/transcriptions", "-F", "model=small", "-F", "file=@/etc/hostname")
    assert (code, b"small heard " in output) == (0, True)


@needs_curl
def test_curl_with_a_body_so_large_that_it_asks_first(program: Program) -> None:
    body = json.dumps({"model": "small", "input": "x" * 2_000_000})
    argv = ("curl", "-sS", "-H", "Content-Type: application/json", "--data-binary", "@-", "-w", "%{http_code}")
    url = f"http://127.0.0.1:{program.port}/v1/embeddings"
    ended = subprocess.run((*argv, url), input=body.encode(), capture_output=True, timeout=DEADLINE, check=True)
    assert ended.stdout.endswith(b"200")


@needs_curl
def test_curl_with_head_and_many_on_one_connection(program: Program) -> None:
    code, output = curl(program, "/v1/models", "-I")
    assert (code, output.startswith(b"HTTP/1.1 200 OK\r\n")) == (0, True)
    code, output = curl(program, "/[health,wol-health,health]".replace("[", "{").replace("]", "}"))
    assert (code, output) == (0, b"OKOKOK")
