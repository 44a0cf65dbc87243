"""Bad input on the wire: a clear error or a bound, other requests untouched, nothing left over, no traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.program import Program, demo, models, upstream, wait_until
from tests.e2e.talk import Cut, Wire

POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
BODY = b'{"model":"m","messages":[]}'


class Shared:
    """One program for all tests, and how many threads it had before each of them."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.threads: list[int] = []


@pytest.fixture(scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A thread that has had a job waits ten seconds for another one, so that only in the end nobody waits."""
    groups = {"all": {"swap": False, "members": ["m", "echo"]}}
    config = {**models(m=demo("--tokens-per-second", "1000"), echo=upstream()), "groups": groups}
    with Program(tmp_path_factory.mktemp("bad"), config) as running:
        assert running.chat("m", max_tokens=1).status == 200
        assert running.get("/upstream/echo/x").status == 200
        shared = Shared(running)
        yield shared
        wait_until(lambda: running.thread_count() <= min(shared.threads), "no thread is lost")


@pytest.fixture
def program(_shared: Shared) -> Iterator[Program]:
    """After each test it works, and has no more open than before."""
    program = _shared.program
    wait_until(lambda: program.thread_count() <= 20, "it is at rest")
    _shared.threads.append(program.thread_count())
    descriptors = program.descriptor_count()
    yield program
    assert program.chat("m", max_tokens=1).status == 200
    assert "Traceback" not in program.stdout
    assert program.stderr == ""
    wait_until(
        lambda: program.descriptor_count() <= descriptors + 2, "no descriptor is lost"
    )  # two may idle in the pool


def refused(program: Program, data: bytes, status: int) -> str:
    """Send it; the message of the one answer, after which the connection is closed."""
    with program.wire() as wire:
        try:
            wire.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it need not hear us out
        got, body = wire.answer()
        assert got == status, body
        assert wire.rest() == b""
    message = json.loads(body)["error"]["message"]
    assert isinstance(message, str)
    assert message
    return message


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 404),
        (b"{", 400),
        (b"nonsense", 400),
        (b'{"model":"m"', 400),
        (b'{"model":"m"} x', 400),
        (b'{"model":"m",}', 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 400),
        (b'{"model":"\xff"}', 404),
        (b"[]", 404),
        (b"null", 404),
        (b"{}", 404),
        (b'{"model":""}', 404),
        (b'{"model":"none"}', 404),
        (b'{"model":"M"}', 404),
        (b'{"model":"m\\u0000"}', 404),
        (b'{"model":"\\ud800"}', 404),
        (b'{"model":"' + b"x" * 100_000 + b'"}', 404),
        (b'{"model":7}', 404),
        (b'{"model":null}', 404),
        (b'{"model":["m"]}', 404),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_body_that_names_no_model_of_ours(program: Program, body: bytes, status: int) -> None:
    reply = program.ask("POST", "/v1/chat/completions", body, content_type="application/json")
    assert reply.status in (status, 400), reply.body[:300]
    assert len(reply.message) < 1000 + len(body)
    assert reply.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=" + "b" * 1000, b"x"),
        ("multipart/form-data; boundary=B", b"--B\r\n" * 10_000),
        ("multipart/form-data; boundary=B", b"--B\r\n\r\n\r\n--B--"),
        (
            "multipart/form-data; boundary=B",
            b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nnone\r\n--B--',
        ),
        ("application/x-www-form-urlencoded", b"model=%ff&model="),
        ("application/x-www-form-urlencoded", b"&" * 100_000),
        ("text/plain", b"model=m"),
        ("", b"model"),
    ],
)
def test_a_form_that_names_no_model_of_ours(program: Program, content_type: str, body: bytes) -> None:
    reply = program.ask("POST", "/v1/audio/transcriptions", body, content_type=content_type)
    assert reply.status in (400, 404), reply.body
    assert reply.message


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200_000 + b"\r\n", 431),
        (POST + b"Content-Length: 27\r\nContent-Length: 28\r\n\r\n" + BODY, 400),
        (POST + b"Content-Length: 27\r\nContent-Length: 27\r\n\r\n" + BODY, 400),
        (POST + b"Content-Length: 27, 27\r\n\r\n" + BODY, 400),
        (POST + b"Content-Length: 27\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY, 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: +27\r\n\r\n" + BODY, 400),
        (POST + b"Content-Length: 0x1b\r\n\r\n" + BODY, 400),
        (POST + b"Content-Length: 1_0\r\n\r\n" + BODY, 400),
        (POST + b"Content-Length: \r\n\r\n" + BODY, 400),
        (POST + b"Content-Length : 27\r\n\r\n" + BODY, 400),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (POST + b"X: a\r\n folded\r\n\r\n", 400),
        (POST.replace(b"\r\n", b"\n") + b"\n", 400),
        (POST + b"X\r\n\r\n", 400),
        (POST + b": x\r\n\r\n", 400),
        (POST + b"X: a\0b\r\n\r\n", 400),
        (POST + b"X: a\rb\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1 x\r\nHost: x\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET nothing HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"G\0T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\r\n\r\n", 400),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ],
    ids=lambda value: repr(value[-40:] if isinstance(value, bytes) else value)[:40],
)
def test_a_head_that_is_ambiguous_malformed_or_too_large(program: Program, head: bytes, status: int) -> None:
    with program.wire() as wire:
        try:
            wire.send(head)
        except (BrokenPipeError, ConnectionResetError):
            pass
        got = wire.status()
        assert got == status or (status in (400, 501) and got in (400, 404, 405, 501, 505)), got


@pytest.mark.parametrize(
    "chunks",
    [
        b"-1\r\nx\r\n", b"%x\r\nx\r\n" % 2**70, b"0x5\r\nhello\r\n", b"5\nhello\n", b"\r\n", b"5\r\nhelloX\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n"[:4] + b"\0", b"g\r\n", b"5;" + b"x" * 100_000 + b"\r\nhello\r\n",
        b"0\r\n" + b"T: x\r\n" * 50_000, b"0" * 10_000 + b"\r\n\r\n",
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_chunks_that_are_none(program: Program, chunks: bytes) -> None:
    refused(program, CHUNKED + chunks, 400)


def test_a_body_that_is_announced_too_large(program: Program) -> None:
    refused(program, POST + b"Content-Length: 99999999999\r\n\r\n", 413)
    refused(program, POST + b"Content-Length: 99999999999999999999999\r\n\r\n", 400)


def test_a_body_that_never_ends_delays_no_other_client(program: Program) -> None:
    with program.wire() as endless, program.wire() as silent:
        endless.send(CHUNKED)
        silent.send(POST + b"Content-Length: 1000\r\n\r\n{")
        for _ in range(50):
            endless.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
        assert program.chat("m", max_tokens=1).status == 200


def test_clients_that_send_a_byte_now_and_then_delay_no_other_client(program: Program) -> None:
    wires = [program.wire() for _ in range(30)]
    data = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    for position in range(0, len(data) - 10, 10):  # none of them gets to the end
        for number, wire in enumerate(wires):
            if position < number * 8:
                wire.send(data[position : position + 10])
        if position % 40 == 0:
            assert program.chat("m", max_tokens=1).status == 200
    for wire in wires:
        wire.close()


def test_a_request_byte_by_byte_is_a_request(program: Program) -> None:
    with program.wire() as wire:
        for byte in POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY:
            wire.send(bytes((byte,)))
        status, body = wire.answer()
        assert (status, json.loads(body)["object"]) == (200, "chat.completion")


def test_a_client_that_reads_nothing_delays_no_other_client(program: Program) -> None:
    wires = [program.stream("m", max_tokens=90_000) for _ in range(3)]
    large = [program.wire() for _ in range(3)]
    for wire in large:
        wire.request("GET", "/upstream/echo/large?30000000")
    for _ in range(20):
        assert program.chat("m", max_tokens=1).status == 200
    for wire in (*wires, *large):
        wire.reset()
    program.await_stats("m", in_progress=0)


def test_a_client_that_asks_and_asks_and_reads_nothing(program: Program) -> None:
    with program.wire() as wire:
        wire.sock.settimeout(0.5)
        with pytest.raises((TimeoutError, ConnectionError)):  # it stops reading what it cannot answer
            wire.send(b"GET /running HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000_000)
        assert program.chat("m", max_tokens=1).status == 200


def test_requests_and_rubbish_in_one_go(program: Program) -> None:
    good = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with program.wire() as wire:
        wire.send(good * 3 + b"\r\n\r\n" + good + b"rubbish\r\n\r\n" + good)
        assert [wire.answer() for _ in range(4)] == [(200, b"OK")] * 4
        assert wire.status() == 400
        assert b"200 OK" not in wire.rest()


def test_a_body_of_a_get_is_not_the_next_request(program: Program) -> None:
    smuggled = b"GET /unload HTTP/1.1\r\nHost: x\r\n\r\n"
    with program.wire() as wire:
        wire.send(b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(smuggled) + smuggled)
        assert wire.answer() == (200, b"OK")
        wire.request("GET", "/upstream/echo/after")
        assert json.loads(wire.answer()[1])["target"] == "/after"
    assert "m" in program.states()


def test_connections_that_are_opened_and_closed_leave_nothing_open(program: Program) -> None:
    assert program.chat("m", max_tokens=1).status == 200
    descriptors = program.descriptor_count()
    for number in range(200):
        wire = program.wire()
        wire.send(b"" if number % 3 else b"GET / HT")
        wire.reset() if number % 2 else wire.close()
    wait_until(lambda: program.descriptor_count() <= descriptors, "all of them are closed")
    assert program.chat("m", max_tokens=1).status == 200


def test_two_hundred_silent_connections_delay_no_other_client(program: Program) -> None:
    wires = [program.wire() for _ in range(200)]
    assert program.chat("m", max_tokens=1).status == 200
    for wire in wires:
        wire.close()


@pytest.mark.parametrize(
    "path",
    ["/upstream/", "/upstream//", "/upstream/m%00/x", "/upstream/%ff/x", "/logs/stream/%ff", "/logs/stream/..%2f..",
     "/%", "//", "/upstream/m%2f..%2f", "/api/models/unload/", "/api/models/unload/%", "/v1/models?" + "x" * 60_000,
     "*"],
)  # fmt: skip
def test_odd_paths_are_answered(program: Program, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        with Wire(program.port) as wire:
            wire.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
            try:
                assert wire.status() < 500
            except Cut:
                pytest.fail("it was not answered")
