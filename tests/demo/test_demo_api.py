"""What the demo answers, in the shapes that clients read."""

from __future__ import annotations

import base64
import json
import math
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.demo.child import HELLO, ROOT, DemoChild, events, read_all


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoChild]:
    with DemoChild("--model", "tiny", "--load-seconds", "0.05", "--quiet") as child:  # nobody reads its output
        yield child.loaded()


# -- starting --


@pytest.mark.parametrize(
    ("command", "cwd"),
    [
        (("-m", "llamaswap_lib.demo"), ROOT),
        (("llamaswap_lib/demo",), ROOT),
        (("demo",), ROOT / "llamaswap_lib"),
        ((str(ROOT / "llamaswap_lib" / "demo"),), Path("/")),
    ],
)
def test_it_starts_as_a_module_and_as_a_folder_from_anywhere(command: tuple[str, ...], cwd: Path) -> None:
    with DemoChild(command=command, cwd=cwd) as demo:
        assert demo.loaded().get("/health") == (200, {"status": "ok"})


def test_a_port_in_use_is_told_and_exit_code_1(demo: DemoChild) -> None:
    with DemoChild("--port", str(demo.port)) as second:
        assert "cannot listen" in second.says("cannot listen")
        assert second.exit_code() == 1


# -- text --


def test_chat_answers_as_llama_server_does(demo: DemoChild) -> None:
    status, answer = demo.post("/v1/chat/completions", HELLO)
    assert status == 200
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "tiny"
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "stop"
    text = choice["message"]["content"]
    assert "tiny" in text
    assert "0.05 seconds" in text
    assert "Hello there, my friend" in text
    usage, timings = answer["usage"], answer["timings"]
    assert usage["prompt_tokens"] == 4
    assert usage["completion_tokens"] == len(text.split()) == timings["predicted_n"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert timings["cache_n"] + timings["prompt_n"] == usage["prompt_tokens"]
    assert timings["cache_n"] == usage["prompt_tokens_details"]["cached_tokens"]
    assert timings["predicted_per_second"] > 0


def test_the_same_prompt_again_says_the_same_from_the_cache(demo: DemoChild) -> None:
    first, second = (demo.post("/v1/chat/completions", HELLO)[1] for _ in range(2))
    assert first["choices"] == second["choices"]
    assert second["timings"]["cache_n"] == 3


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_max_tokens_is_honoured(demo: DemoChild, name: str) -> None:
    _, answer = demo.post("/v1/chat/completions", {**HELLO, name: 3})
    assert answer["choices"][0]["message"]["content"] == "Hello, this is"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3


def test_ignore_eos_runs_to_max_tokens_exactly(demo: DemoChild) -> None:
    _, answer = demo.post("/v1/chat/completions", {**HELLO, "max_tokens": 500, "ignore_eos": True})
    assert answer["usage"]["completion_tokens"] == 500
    assert answer["choices"][0]["finish_reason"] == "length"


def test_a_chat_stream_is_the_same_text_in_chunks_then_done(demo: DemoChild) -> None:
    _, whole = demo.post("/v1/chat/completions", HELLO)
    chunks = events(demo.stream("/v1/chat/completions", HELLO))
    assert chunks.pop() == "[DONE]"
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": None}
    said = [chunk["choices"][0]["delta"]["content"] for chunk in chunks[1:-1]]
    assert "".join(said) == whole["choices"][0]["message"]["content"]
    assert len(said) == whole["usage"]["completion_tokens"]
    assert chunks[-1]["choices"][0] == {"finish_reason": "stop", "index": 0, "delta": {}}
    assert chunks[-1]["timings"]["predicted_n"] == len(said)
    assert "usage" not in chunks[-1]


def test_a_chat_stream_has_usage_only_when_asked(demo: DemoChild) -> None:
    body = {**HELLO, "max_tokens": 2, "stream_options": {"include_usage": True}}
    *_, finish, last, done = events(demo.stream("/v1/chat/completions", body))
    assert done == "[DONE]"
    assert finish["choices"][0]["finish_reason"] == "length"
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 2
    assert last["timings"]["predicted_n"] == 2


def test_completions_stream_always_ends_with_usage(demo: DemoChild) -> None:
    body = {"prompt": "The server", "max_tokens": 2}
    _, whole = demo.post("/v1/completions", body)
    *tokens, last, done = events(demo.stream("/v1/completions", body))
    assert done == "[DONE]"
    assert "".join(chunk["choices"][0]["text"] for chunk in tokens) == whole["choices"][0]["text"] == "Hello, this"
    assert last["usage"]["completion_tokens"] == 2
    assert last["timings"]["predicted_n"] == 2
    assert whole["usage"]["prompt_tokens"] == 2


def test_native_completion_has_timings_and_no_done(demo: DemoChild) -> None:
    body = {"prompt": "The server", "n_predict": 2}
    _, whole = demo.post("/completion", body)
    assert "usage" not in whole
    assert (whole["tokens_evaluated"], whole["tokens_predicted"], whole["stop_type"]) == (2, 2, "limit")
    *tokens, last = events(demo.stream("/completion", body))
    assert "".join(chunk["content"] for chunk in tokens) == whole["content"]
    assert last["stop"] is True
    assert last["timings"]["predicted_n"] == 2


def test_anthropic_messages_whole_and_streamed(demo: DemoChild) -> None:
    _, whole = demo.post("/v1/messages", {**HELLO, "max_tokens": 3})
    assert whole["content"] == [{"type": "text", "text": "Hello, this is"}]
    assert whole["stop_reason"] == "max_tokens"
    assert whole["usage"]["input_tokens"] + whole["usage"]["cache_read_input_tokens"] == 4
    stream = events(demo.stream("/v1/messages", {**HELLO, "max_tokens": 3}))
    kinds = [event["type"] for event in stream]
    assert kinds == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert stream[-2]["usage"] == {"output_tokens": 3}
    assert demo.post("/v1/messages/count_tokens", HELLO) == (200, {"input_tokens": 4})


def test_responses_whole_and_streamed(demo: DemoChild) -> None:
    body = {"input": "Hello there", "max_output_tokens": 3}
    _, whole = demo.post("/v1/responses", body)
    assert whole["output"][0]["content"][0]["text"] == "Hello, this is"
    assert whole["usage"]["output_tokens"] == 3
    stream = events(demo.stream("/v1/responses", body))
    assert [event["delta"] for event in stream if event["type"].endswith("delta")] == ["Hello,", " this", " is"]
    assert stream[-1]["type"] == "response.completed"
    assert stream[-1]["response"]["usage"]["input_tokens"] == 2
    assert stream[-1]["timings"]["predicted_n"] == 3


@pytest.mark.slow
def test_the_openai_sdk_is_at_home(demo: DemoChild) -> None:
    openai = pytest.importorskip("openai")  # which takes a second to import: too long for the quick part
    with openai.OpenAI(base_url=f"http://127.0.0.1:{demo.port}/v1", api_key="none", max_retries=0) as client:
        messages: Any = HELLO["messages"]
        chat = client.chat.completions.create(model="any", messages=messages, max_tokens=3)
        assert chat.choices[0].message.content == "Hello, this is"
        stream = client.chat.completions.create(model="any", messages=messages, max_tokens=3, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "Hello, this is"
        embedding = client.embeddings.create(model="any", input="words")  # asks for base64 by itself
        assert len(embedding.data[0].embedding) == 64
        assert client.models.list().data[0].id == "tiny"
        with pytest.raises(openai.BadRequestError, match="'messages' is required"):
            client.chat.completions.create(model="any", messages="rubbish")


# -- what is no text --


def test_embeddings_are_unit_vectors_the_same_as_floats_and_base64(demo: DemoChild) -> None:
    _, floats = demo.post("/v1/embeddings", {"input": ["a cat sat", "a cat ran", "tax law"], "model": "m"})
    _, packed = demo.post("/v1/embeddings", {"input": "a cat sat", "encoding_format": "base64"})
    vectors = [entry["embedding"] for entry in floats["data"]]
    assert [entry["index"] for entry in floats["data"]] == [0, 1, 2]
    assert all(math.isclose(sum(x * x for x in vector), 1, rel_tol=1e-5) for vector in vectors)
    assert struct.unpack("<64f", base64.b64decode(packed["data"][0]["embedding"])) == tuple(vectors[0])
    near, far = (sum(a * b for a, b in zip(vectors[0], other, strict=True)) for other in vectors[1:])
    assert near > far
    assert floats["usage"] == {"prompt_tokens": 8, "total_tokens": 8}
    assert floats["model"] == "m"
    assert demo.post("/v1/embeddings", {"input": [[1, 2], [3]]})[1]["usage"]["prompt_tokens"] == 3


def test_rerank_puts_the_document_that_shares_words_first(demo: DemoChild) -> None:
    body = {"query": "where is the cat", "documents": ["tax law", "the cat is here"], "top_n": 1}
    _, answer = demo.post("/v1/rerank", body)
    assert [result["index"] for result in answer["results"]] == [1]


def test_tokenize_gives_pieces_that_join_to_the_text(demo: DemoChild) -> None:
    _, answer = demo.post("/tokenize", {"content": " a  b\n", "with_pieces": True})
    assert "".join(token["piece"] for token in answer["tokens"]) == " a  b\n"
    _, plain = demo.post("/tokenize", {"content": " a  b\n"})
    assert plain["tokens"] == [token["id"] for token in answer["tokens"]]


def test_transcription_tells_how_many_bytes_it_heard(demo: DemoChild) -> None:
    audio = bytes(range(256)) * 5 + b"\r\n--not the boundary\r\n"
    body = (
        b'--XX\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
        b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + audio + b"\r\n--XX--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=XX"}
    status, answer = demo.request("POST", "/v1/audio/transcriptions", body, **headers)
    assert (status, answer["text"]) == (200, f"tiny heard {len(audio)} bytes in a.wav.")


@pytest.mark.parametrize("path", ["/v1/models", "/props", "/slots", "/health", "/stats", "/echo"])
def test_head_is_get_without_the_body(demo: DemoChild, path: str) -> None:
    with demo.raw(f"HEAD {path} HTTP/1.1\r\nConnection: close\r\n\r\n".encode()) as client:
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length: 0" not in answer


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "BREW"])
def test_echo_tells_all_that_was_sent(demo: DemoChild, method: str) -> None:
    status, answer = demo.request(method, "/echo?a=%20b", "bödy".encode(), **{"X-Some": "thing"})
    assert status == 200
    assert (answer["method"], answer["path"], answer["body"]) == (method, "/echo?a=%20b", "bödy")
    assert answer["headers"]["x-some"] == "thing"
    assert ["X-Some", "thing"] in answer["raw_headers"]
    assert answer["body_bytes"] == 5


# -- bad input and the wire --


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", b"{"),
        ("/v1/chat/completions", b"[]"),
        ("/v1/chat/completions", b"{}"),
        ("/v1/chat/completions", b'{"messages": [1]}'),
        ("/v1/chat/completions", b'{"messages": [], "max_tokens": "3"}'),
        ("/v1/chat/completions", b"[" * 100_000),
        ("/v1/chat/completions", b"\xff\xfe"),
        ("/v1/completions", b'{"prompt": 3}'),
        ("/v1/embeddings", b'{"input": []}'),
        ("/v1/embeddings", b'{"input": "x", "encoding_format": "rubbish"}'),
        ("/v1/audio/transcriptions", b"{}"),
        ("/tokenize", b"{}"),
    ],
)
def test_bad_bodies_are_400_in_openai_shape(demo: DemoChild, path: str, body: bytes) -> None:
    status, answer = demo.request("POST", path, body)
    assert status == answer["error"]["code"] == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["message"]


def test_unknown_paths_are_404_and_wrong_methods_405(demo: DemoChild) -> None:
    expected = {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}
    assert demo.get("/nope") == (404, expected)
    assert demo.get("/v1/chat/completions")[0] == 405


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"rubbish\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n", 413),
        (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
    ],
)
def test_a_malformed_request_is_refused_and_the_connection_closed(
    demo: DemoChild, request_bytes: bytes, status: int
) -> None:
    with demo.raw(request_bytes) as client:
        assert read_all(client).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /echo HTTP/1.1\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        b"PUT /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n",
    ],
)
def test_a_request_may_come_byte_by_byte(demo: DemoChild, request_bytes: bytes) -> None:
    with demo.raw(b"") as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request_bytes:
            client.sendall(bytes([byte]))
        assert json.loads(read_all(client).partition(b"\r\n\r\n")[2])["body"] == "hello"


def test_pipelined_requests_are_answered_in_order(demo: DemoChild) -> None:
    requests = b"".join(b"GET /echo?%d HTTP/1.1\r\n\r\n" % number for number in range(2000))
    with demo.raw(requests + b"GET /echo?last HTTP/1.1\r\nConnection: close\r\n\r\n") as client:
        answers = read_all(client).split(b"HTTP/1.1 200 OK")[1:]
    paths = [json.loads(answer.partition(b"\r\n\r\n")[2])["path"] for answer in answers]
    assert paths == [*(f"/echo?{number}" for number in range(2000)), "/echo?last"]


def test_a_client_that_asks_first_gets_its_100(demo: DemoChild) -> None:
    head = b"POST /echo HTTP/1.1\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    with demo.raw(head) as client:
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        assert b'"body": "hello"' in read_all(client)


def test_http_1_0_gets_its_connection_closed(demo: DemoChild) -> None:
    with demo.raw(b"GET /health HTTP/1.0\r\n\r\n") as client:
        assert read_all(client).endswith(b'{"status": "ok"}')


def test_a_large_body_comes_through_whole(demo: DemoChild) -> None:
    body = b"0123456789abcdef" * 500_000
    _, answer = demo.request("POST", "/echo", body)
    assert answer["body_bytes"] == len(body)
    assert answer["body"] == body.decode()
