"""`sendLoadingState`: what a client that waits for a stream is told, and how the answer goes on behind it."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from llamaswap_lib.core.snapshot import TicketView
from llamaswap_lib.errors import BadGateway, ConcurrencyLimit, HttpError, ServiceUnavailable
from llamaswap_lib.proxy.loading_stream import MAX_WHOLE_BYTES
from llamaswap_lib.proxy.progress import MAX_LINE_BYTES, LastLine
from llamaswap_lib.runtime.control.board import RunDetail
from llamaswap_lib.server.limits import Limits
from llamaswap_lib.wire.sse import as_stream
from tests.web.world import (
    CHUNKED_HEAD,
    DEADLINE,
    OK,
    FakeQueue,
    Peer,
    Running,
    Script,
    World,
    answers,
    chat,
    get,
    sized,
)

CONFIG = """
sendLoadingState: true
models:
  m:
    cmd: server
    proxy: PROXY
  silent:
    cmd: server
    proxy: PROXY
    sendLoadingState: false
"""
STREAM = b'{"model":"m","stream":true}'
EVENTS = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n'
LENGTH_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(EVENTS)
CLOSE_HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n"
WHOLE: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi\u2028"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Loading(World):
    """A world whose model is still loading."""

    def __init__(self, *scripts: Script, limits: Limits | None = None) -> None:
        super().__init__(*scripts, limits=limits, config=CONFIG)
        self.queue = self.controller.waiting = FakeQueue()

    def __enter__(self) -> Loading:
        return self

    def end_wait(self, client: Peer) -> bytes:
        """End the wait once its stream has begun; the head of that."""
        head = client.read_until(b"\r\n\r\n")
        self.queue.is_over.set()
        return head

    def close(self) -> None:
        self.queue.is_over.set()
        super().close()
        self.queue.is_over.close()


class Reader:
    """A client of HTTP/1.1 that takes chunks apart."""

    def __init__(self, client: Peer) -> None:
        self.client = client
        self.text = b""
        self.is_over = False

    def read_chunk(self) -> bytes:
        size = int(self.client.read_until(b"\r\n"), 16)
        data = self.client.read(size)
        assert self.client.read(2) == b"\r\n"
        self.text += data
        self.is_over = not size
        return data

    def read_to(self, mark: bytes) -> None:
        while mark not in self.text:
            assert not self.is_over, self.text
            self.read_chunk()

    def read_to_end(self) -> bytes:
        while not self.is_over:
            self.read_chunk()
        return self.text


def told(stream: bytes) -> str:
    """The reasoning of a stream, each of whose chunks must be well-formed."""
    text = ""
    for event in stream.decode().split("\n\n"):
        if "reasoning_content" in event:
            value: dict[str, Any] = json.loads(event.removeprefix("data: "))
            assert value["id"].startswith("chatcmpl-")
            assert (value["object"], value["model"]) == ("chat.completion.chunk", "m")
            assert isinstance(value["created"], int)
            [choice] = value["choices"]
            assert choice["index"] == 0
            text += choice["delta"]["reasoning_content"]
    return text


@pytest.mark.parametrize("body", [STREAM, STREAM[:-1] + b',"x":[%b0]}' % (b"0," * 1_000_000)])
def test_stream_begins_at_once_and_the_answer_goes_on_in_it(body: bytes) -> None:
    with Loading(answers(CHUNKED_HEAD + chunk(EVENTS[:20]) + chunk(EVENTS[20:]) + b"0\r\n\r\n", OK)) as world:
        with world.connect() as client:
            client.send(chat(body))
            assert client.read_until(b"\r\n\r\n") == (
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                b"X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            reader = Reader(client)
            reader.read_to(b"\n\n")
            assert told(reader.text) == "Loading m\n"
            assert world.upstream.accepted == 0
            world.queue.is_over.set()
            stream = reader.read_to_end()
            assert stream.endswith(EVENTS)
            assert told(stream).startswith("Loading m\nm is ready after ")
            assert told(stream).endswith(" s\n\n")
            world.controller.waiting = None
            client.send(chat())  # both connections are kept
            assert client.read_message()[1] == b"ok"
            assert world.upstream.accepted == 1
            world.controller.wait_empty()
        world.wait_for_log('"POST /v1/chat/completions HTTP/1.1" 200 ')


FRAMINGS = [
    [LENGTH_HEAD + EVENTS],
    [LENGTH_HEAD, EVENTS],
    [LENGTH_HEAD + EVENTS[:9], EVENTS[9:]],
    [CLOSE_HEAD + EVENTS],
    [CLOSE_HEAD, EVENTS[:9], EVENTS[9:]],
    [CHUNKED_HEAD, chunk(EVENTS[:9]), chunk(EVENTS[9:]), b"0\r\nTrailer: x\r\n\r\n"],
]


def in_pieces(pieces: list[bytes]) -> Script:
    def script(peer: Peer) -> None:
        peer.read_message()
        for piece in pieces:
            peer.send(piece)
            assert not threading.Event().wait(0.02)

    return script


@pytest.mark.parametrize("pieces", FRAMINGS)
def test_answer_in_any_framing_goes_on_in_chunks(pieces: list[bytes]) -> None:
    with Loading(in_pieces(pieces)) as world, world.connect() as client:
        client.send(chat(STREAM))
        world.end_wait(client)
        # A trailer may stand behind the last chunk.
        reader = Reader(client)
        while not reader.is_over and not reader.text.endswith(EVENTS):
            reader.read_chunk()
        assert reader.text.endswith(b"\n\n" + EVENTS)
        assert client.read_until(b"\r\n\r\n").startswith(b"0\r\n")


@pytest.mark.parametrize("pieces", FRAMINGS)
def test_client_of_http_1_0_gets_no_chunks(pieces: list[bytes]) -> None:
    with Loading(in_pieces(pieces)) as world, world.connect() as client:
        client.send(chat(STREAM, version=b"1.0", extra=b"Connection: keep-alive\r\n"))
        head = world.end_wait(client)
        assert b"chunked" not in head
        assert head.endswith(b"Connection: close\r\n\r\n")
        stream = client.read_to_end()
        assert told(stream).startswith("Loading m\nm is ready")
        assert stream.startswith(b"data: ")
        assert stream.endswith(b"\n\n" + EVENTS)


def test_empty_answer_is_an_end() -> None:
    with Loading(answers(LENGTH_HEAD.replace(b"%d" % len(EVENTS), b"0"))) as world, world.connect() as client:
        client.send(chat(STREAM))
        world.end_wait(client)
        assert told(Reader(client).read_to_end()).endswith(" s\n\n")


@pytest.mark.parametrize(
    ("version", "pieces"),
    [
        (b"1.1", [LENGTH_HEAD + EVENTS[:9]]),
        (b"1.1", [CHUNKED_HEAD + chunk(EVENTS)]),
        (b"1.1", [CHUNKED_HEAD + chunk(EVENTS), b"nonsense\r\n"]),
        (b"1.0", [LENGTH_HEAD + EVENTS[:9]]),
        (b"1.0", [CHUNKED_HEAD + chunk(EVENTS)]),
    ],
)
def test_answer_that_breaks_off_is_cut(version: bytes, pieces: list[bytes]) -> None:
    with Loading(in_pieces(pieces)) as world, world.connect() as client:
        client.send(chat(STREAM, version=version))
        world.end_wait(client)
        if version == b"1.0":
            with pytest.raises(ConnectionResetError):
                client.read_to_end()
        else:
            assert not client.read_to_end().endswith(b"0\r\n\r\n")
        world.wait_for_log("m: the answer broke off")


# -- what is told meanwhile --


def test_changes_of_place_and_the_output_of_the_process_are_told() -> None:
    pace = Limits(telling_interval=0.02, silence_timeout=0.06)
    with Loading(answers(CHUNKED_HEAD + b"0\r\n\r\n"), limits=pace) as world, world.connect() as client:
        world.queue.show(2, "waiting for a to finish 2 requests")
        output = world.logs.model_output("m")
        output(b"of a run before\n")
        client.send(chat(STREAM))
        client.read_until(b"\r\n\r\n")
        reader = Reader(client)
        reader.read_to(b"2 requests")
        world.queue.show(2, "waiting for a to finish 1 request")
        reader.read_to(b"1 request")
        looks = world.queue.queue = Looks(world.queue.queue)
        output(b"still the old run\n")
        looks.wait_for_two()  # it is not told: it is not what is loading now
        world.queue.show(1, "loading")
        reader.read_to(b"Loading m")
        output(b"tensors 1/3\ntensors 2/3\n")
        reader.read_to(b"2/3")
        output(b"\x1b[32mtensors 2/3\x1b[0m\r\n\n")
        output(b"half a line")
        reader.text += b"|"
        reader.read_to(b"|: still waiting\n\n")
        output(b", and its end\n")
        reader.read_to(b"its end")
        world.queue.is_over.set()
        lines = told(reader.read_to_end().replace(b"|", b"")).splitlines()
        assert lines[:-2] == [
            "Place 2 in the queue for m: waiting for a to finish 2 requests",
            "Place 2 in the queue for m: waiting for a to finish 1 request",
            "Loading m",
            "tensors 2/3",
            "half a line, and its end",
        ]


def test_client_that_leaves_ends_the_wait_at_once() -> None:
    with Loading(answers()) as world:
        with world.connect() as client:
            client.send(chat(STREAM))
            client.read_until(b"\n\n")
        world.wait_for_log('"POST /v1/chat/completions HTTP/1.1" 200 ')
        assert (world.controller.inside, world.upstream.accepted) == (0, 0)


def test_telling_takes_nothing_from_a_client_that_sends_its_next_request_early() -> None:
    with Loading(answers(CHUNKED_HEAD + b"0\r\n\r\n", OK)) as world, world.connect() as client:
        client.send(chat(STREAM) + chat())
        client.read_until(b"\r\n\r\n")
        reader = Reader(client)
        reader.read_to(b"Loading m")
        world.queue.is_over.set()
        assert told(reader.read_to_end()).endswith(" s\n\n")
        assert client.read_message()[1] == b"ok"


# -- failures --


def error_of(stream: bytes) -> Any:
    """The error event that ends a stream."""
    event = stream.decode().split("\n\n")[-2]
    assert event.startswith("event: error\ndata: {"), event
    return json.loads(event.partition("data: ")[2])["error"]


def test_load_that_fails_is_an_error_event_and_a_clean_end() -> None:
    with Loading(answers()) as world, world.connect() as client:
        client.send(chat(STREAM))
        client.read_until(b"\r\n\r\n")
        reader = Reader(client)
        reader.read_to(b"Loading m")
        world.controller.refusal = BadGateway("m: exited with code 3\nout of memory")
        world.queue.is_over.set()
        error = error_of(reader.read_to_end())
        assert (error["message"], error["code"]) == ("m: exited with code 3\nout of memory", "bad_gateway")
        client.send(get("/health"))
        assert client.read_message()[1] == b"OK"


def test_load_that_fails_for_a_client_of_http_1_0_ends_with_the_connection() -> None:
    with Loading(answers()) as world, world.connect() as client:
        world.controller.refusal = BadGateway("why")
        client.send(chat(STREAM, version=b"1.0"))
        world.end_wait(client)
        assert error_of(client.read_to_end())["message"] == "why"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            b'HTTP/1.1 400 Bad Request\r\nContent-Length: 35\r\n\r\n{"error":{"message":"own","code":1}}'[:-1] + b"}",
            "own",
        ),
        (b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\n not\n now", "the server of m answered 503 No: not now"),
        (b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "500 No: hello"),
        (b"HTTP/1.0 500 No\r\n\r\nuntil close", "500 No: until close"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\ncut", "500 No: cut"),
        (b'HTTP/1.1 404 No\r\nContent-Length: 15\r\n\r\n{"error":"text"}', "404 No"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "answered 204 No Content"),
        (sized(b"{}", b"Content-Type: application/json\r\n"), "JSON where a stream was asked for: {}"),
        (JSON_HEAD % 60_000 + b"[" * 60_000, "JSON where a stream was asked for: [[["),
        (b"HTTP/1.1 500 No\r\nContent-Length: 60000\r\n\r\n" + b"[" * 60_000, "500 No: [[["),
        (sized(b'{"error":{"message":"own"}}', b"Content-Type: application/json\r\n"), "own"),
        (sized(b"\x1f\x8b", b"Content-Encoding: gzip\r\n"), "in the encoding gzip"),
        (b"rubbish\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nrubbish\r\n", "cannot be understood"),
        (b"", "did not answer"),
    ],
)
def test_answer_that_is_no_stream_is_an_error_event(answer: bytes, message: str) -> None:
    with Loading(answers(answer)) as world, world.connect() as client:
        client.send(chat(STREAM))
        world.end_wait(client)
        assert message in error_of(Reader(client).read_to_end())["message"]
        world.controller.wait_empty()


# -- an answer that came whole --


def chunk_in(stream: bytes) -> dict[str, Any]:
    """The one chunk of an answer that came whole, behind what was told."""
    *_, event, done, end = stream.split(b"\n\n")
    assert (done, end) == (b"data: [DONE]", b"")
    value: dict[str, Any] = json.loads(event.removeprefix(b"data: "))
    return value


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("size", [0, 3_000_000])
def test_completion_that_comes_whole_is_the_chunk_of_a_stream(version: bytes, framing: str, size: int) -> None:
    body = json.dumps({**WHOLE, "timings": "x" * size}).encode()
    answer = {
        "length": JSON_HEAD % len(body) + body,
        "chunked": CHUNKED_HEAD.replace(b"text/event-stream", b"application/json") + chunk(body) + b"0\r\n\r\n",
        "close": CLOSE_HEAD.replace(b"text/event-stream", b"application/json") + body,
    }[framing]
    with Loading(answers(answer)) as world, world.connect() as client:
        client.send(chat(STREAM, version=version))
        world.end_wait(client)
        stream = Reader(client).read_to_end() if version == b"1.1" else client.read_to_end()
        said = chunk_in(stream)
        choice = {"index": 0, "delta": WHOLE["choices"][0]["message"], "finish_reason": "stop"}
        expected = {**WHOLE, "object": "chat.completion.chunk", "timings": "x" * size, "choices": [choice]}
        assert said == expected
        assert told(stream).startswith("Loading m\n")
        world.controller.wait_empty()


def test_tool_calls_and_choices_are_numbered_as_in_a_stream() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call, call]}
    choices = [{"message": message, "finish_reason": "tool_calls"}] * 2
    said = chunk_in(b"told\n\n" + as_stream(json.dumps({**WHOLE, "choices": choices}).encode()))
    assert [choice["index"] for choice in said["choices"]] == [0, 1]
    assert said["choices"][1]["delta"]["tool_calls"] == [{"index": 0, **call}, {"index": 1, **call}]
    parsed = pytest.importorskip("openai.types.chat").ChatCompletionChunk.model_validate(said)
    assert parsed.choices[0].delta.tool_calls[1].function.name == "f"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b'{"choices":[]}',
        b'{"choices":{}}',
        b'{"choices":[1]}',
        b'{"choices":[{"message":"hi"}]}',
        b'{"choices":[{"text":"hi"}]}',
        b'{"choices":[{"message":{}},{}]}',
        b'{"choices":[{"message":{}}],"x":NaN}',
        b'{"choices":[{"message":{}}],"x":1e999}',
        b'{"choices":[{"message":{}}]',
        b'{"choices":[{"message":{}}]}}',
        b'\xff{"choices":[{"message":{}}]}',
        b'{"choices":[{"message":{}}],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"choices":[{"message":{}}],"x":' + b"1" * 10_000 + b"}",
    ],
)
def test_what_is_no_completion_is_no_stream(text: bytes) -> None:
    assert as_stream(text) == b""


def test_odd_completions_are_streams_all_the_same() -> None:
    oddities: tuple[Any, ...] = (None, [], {}, [1], "x")
    for calls in oddities:
        text = json.dumps({"choices": [{"message": {"tool_calls": calls}}]}).encode()
        assert chunk_in(b"told\n\n" + as_stream(text))["choices"][0]["delta"] == {"tool_calls": calls}


def test_completion_without_an_end_is_an_error_event() -> None:
    body = b'{"choices":[{"message":{}}],"x":"' + b"x" * (MAX_WHOLE_BYTES + 200_000) + b'"}'
    for answer in (JSON_HEAD % len(body) + body, JSON_HEAD % 100 + b'{"choices":['):
        with Loading(answers_though_it_hangs_up(answer)) as world, world.connect() as client:
            client.send(chat(STREAM))
            world.end_wait(client)
            assert "JSON where a stream was asked for" in error_of(Reader(client).read_to_end())["message"]
            world.controller.wait_empty()


def answers_though_it_hangs_up(answer: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.read_message()
        with suppress(OSError):
            peer.send(answer)

    return script


def test_compression_is_not_asked_for() -> None:
    seen: list[bytes] = []

    def script(peer: Peer) -> None:
        seen.append(peer.read_message()[0])
        peer.send(CHUNKED_HEAD + b"0\r\n\r\n")

    with Loading(script) as world, world.connect() as client:
        client.send(chat(STREAM, extra=b"ACCEPT-Encoding: gzip\r\nX-Accept-Encoding: y\r\n"))
        world.end_wait(client)
        client.read_until(b"0\r\n\r\n")
        assert b"\r\nX-Accept-Encoding: y\r\n" in seen[0]
        assert seen[0].lower().count(b"accept-encoding") == 1


# -- to whom nothing is told --


@pytest.mark.parametrize(
    "request_bytes",
    [
        chat(b'{"model":"m"}'),
        chat(b'{"model":"m","stream":false}'),
        chat(b'{"model":"m","stream":"true"}'),
        chat(b'{"model":"silent","stream":true}'),
        chat(STREAM).replace(b"/v1/chat/completions", b"/v1/completions"),
        chat(STREAM).replace(b"/v1/chat/completions", b"/v/chat/completions"),
        chat(STREAM).replace(b"/v1/chat/completions", b"/upstream/m/v1/chat/completions"),
        chat(STREAM, extra=b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    ],
)
def test_other_requests_are_answered_as_ever(request_bytes: bytes) -> None:
    with Loading(answers(OK)) as world:
        world.queue.is_over.set()
        assert world.ask(request_bytes) == (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"ok")


def test_request_that_need_not_wait_is_answered_as_ever() -> None:
    with Loading(answers(sized(EVENTS))) as world:
        world.controller.waiting = None
        assert world.ask(chat(STREAM)) == (sized(EVENTS).removesuffix(EVENTS), EVENTS)


def test_refusal_before_the_wait_is_an_ordinary_error() -> None:
    with Loading(answers()) as world:
        world.controller.waiting, world.controller.refusal = None, ConcurrencyLimit()
        assert world.ask(chat(STREAM))[0].startswith(b"HTTP/1.1 429 ")


def test_request_whose_wait_is_over_at_once_is_answered_as_ever() -> None:
    with Loading(answers(sized(EVENTS))) as world:
        world.queue.is_over.set()
        assert world.ask(chat(STREAM)) == (sized(EVENTS).removesuffix(EVENTS), EVENTS)


@pytest.mark.parametrize(
    ("refusal", "line"),
    [
        (BadGateway("backing off", headers={"Retry-After": "3"}), b"\r\nRetry-After: 3\r\n"),
        (ServiceUnavailable("the server is shutting down"), b"HTTP/1.1 503 "),
    ],
)
def test_refusal_that_comes_at_once_is_an_ordinary_error(refusal: HttpError, line: bytes) -> None:
    with Loading(answers()) as world:
        world.controller.refusal = refusal
        world.queue.is_over.set()
        head, body = world.ask(chat(STREAM))
        assert head.startswith(b"HTTP/1.1 %d " % refusal.status)
        assert line in head
        assert refusal.message.encode() in body


class Looks(list[TicketView]):
    """A queue that notes who looks at it."""

    def __init__(self, tickets: list[TicketView]) -> None:
        super().__init__(tickets)
        self.looks: queue.SimpleQueue[None] = queue.SimpleQueue()

    def __iter__(self) -> Iterator[TicketView]:
        self.looks.put(None)
        return super().__iter__()

    def wait_for_two(self) -> None:
        """Block until somebody has looked twice more: after the first look came what follows it."""
        while not self.looks.empty():
            self.looks.get()
        for _ in range(2):
            self.looks.get(timeout=DEADLINE)


def test_process_that_turns_out_to_live_is_an_ordinary_error() -> None:
    with Loading(answers()) as world, world.connect() as client:
        others = world.queue.queue = Looks(world.queue.queue[:1])  # one's own ticket is for those whose run has died
        client.send(chat(STREAM))
        others.wait_for_two()
        world.controller.refusal = BadGateway("did not answer")
        world.queue.is_over.set()
        assert client.read_message()[0].startswith(b"HTTP/1.1 502 ")


def test_stream_begins_once_the_process_is_known_to_be_dead() -> None:
    pace = Limits(telling_interval=0.02)
    with Loading(answers(CHUNKED_HEAD + b"0\r\n\r\n"), limits=pace) as world, world.connect() as client:
        others = world.queue.queue = Looks(world.queue.queue[:1])
        client.send(chat(STREAM))
        others.wait_for_two()
        world.logs.model_output("m")(b"last words\n")
        others.wait_for_two()
        world.queue.queue = [world.queue.own]
        client.read_until(b"\r\n\r\n")
        reader = Reader(client)
        reader.read_to(b"Loading m")
        world.logs.model_output("m")(b"tensors\n")
        reader.read_to(b"tensors")
        world.queue.is_over.set()
        assert told(reader.read_to_end()).splitlines()[:2] == ["Loading m", "tensors"]


# -- how soon a load is told --

NEVER_UNASKED = Limits(telling_delay=1_000.0)


def be_starting(world: Loading, pid: int | None) -> None:
    run = Running("m", 1, "starting")
    world.controller.running, world.controller.doing = [run], {"m": RunDetail(run, pid)}


def test_load_is_told_however_short_it_is() -> None:
    answer = answers(CHUNKED_HEAD + b"0\r\n\r\n")
    with Loading(answer, limits=NEVER_UNASKED) as world, world.connect() as client:
        be_starting(world, 4711)
        client.send(chat(STREAM))
        world.end_wait(client)
        assert told(Reader(client).read_to_end()).startswith("Loading m\n")


def test_process_that_cannot_be_started_is_an_ordinary_error() -> None:
    with Loading(answers(), limits=NEVER_UNASKED) as world, world.connect() as client:
        be_starting(world, None)
        looks = world.queue.queue = Looks(world.queue.queue)
        client.send(chat(STREAM))
        looks.wait_for_two()
        world.controller.refusal = BadGateway("m: could not start")
        world.queue.is_over.set()
        assert client.read_message()[0].startswith(b"HTTP/1.1 502 ")


# -- the last line --


def test_last_line_is_the_last_whole_one_that_says_something_new() -> None:
    line = LastLine()
    assert [line.feed(data) for data in (b"", b"one", b" line", b"\n", b"\n\r\n", b"one line\n")] == [
        *("", "", "", "one line", "", ""),
    ]
    assert line.feed(b"10%\r20%\r30%") == "20%"
    assert line.feed(b"\r") == "30%"


def test_last_line_is_fit_to_be_shown() -> None:
    line = LastLine()
    assert line.feed(b"\x1b[1;32mgreen\x1b[0m\ttab \xff\x07\n") == "green tab \ufffd"
    assert line.feed(b"\x1b]0;title\x07\x1b[2K\n \n") == ""
    shown = line.feed(b"x" * 5_000 + b"\n")
    assert shown == "x" * 200 + "…"
    assert line.feed(b"y" * 100_000) == ""
    assert len(line._rest) == MAX_LINE_BYTES
