"""One connection of a client: what it may send, in which pieces, how slowly, and what it is told when it may not."""

from __future__ import annotations

import contextlib
import json
import threading

import pytest

from llamaswap_lib.errors import BadGateway
from llamaswap_lib.server.limits import Limits
from tests.web.upstreams import LeapingClock
from tests.web.world import CHUNKED_HEAD, DEADLINE, OK, Peer, World, answers, chat, get, sized

QUICK = Limits(head_timeout=0.2, body_timeout=0.2, linger_timeout=0.2, write_timeout=0.3)


def test_pipelined_requests_are_answered_in_order() -> None:
    with World(answers(sized(b"1"), sized(b"2"))) as world, world.connect() as client:
        client.send(chat() + get("/health") + chat() + get("/nope"))
        assert [client.read_message()[1] for _ in range(4)] == [b"1", b"OK", b"2", b"404 page not found\n"]


@pytest.mark.parametrize("size", [1, 2, 13])
def test_request_in_small_pieces_is_understood(size: int) -> None:
    request = chat()
    with World(answers(OK)) as world, world.connect() as client:
        for at in range(0, len(request), size):
            client.send(request[at : at + size])
        assert client.read_message()[1] == b"ok"


def test_empty_line_before_a_request_is_forgiven() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        client.send(chat() + b"\r\n" + get("/health"))
        assert client.read_message()[1] == b"ok"
        assert client.read_message()[1] == b"OK"


def test_body_that_no_endpoint_reads_does_not_become_a_request() -> None:
    body = get("/unload")
    with World(answers(OK)) as world, world.connect() as client:
        client.send(
            b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body) + get("/health")
        )
        assert client.read_message()[0].startswith(b"HTTP/1.1 405 ")
        assert client.read_message()[1] == b"OK"
        assert world.controller.unloaded == []


def test_body_that_is_not_there_yet_when_nobody_reads_it_ends_the_connection() -> None:
    with World(answers(OK), limits=QUICK) as world, world.connect() as client:
        client.send(b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        answer = client.read_to_end()
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert b"\r\nConnection: close\r\n" in answer


def test_continue_is_said_before_the_body_is_read() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        whole = chat(extra=b"Expect: 100-continue\r\n")
        head, mark, body = whole.partition(b"\r\n\r\n")
        client.send(head + mark)
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(body)
        assert client.read_message()[1] == b"ok"


UPSTREAMS = """
models:
  m:
    cmd: server
    proxy: PROXY
peers:
  far:
    proxy: PROXY
    models: [p]
"""


@pytest.mark.parametrize("model", [b"m", b"far/p"])
@pytest.mark.parametrize("framing", [b"Content-Length: %d\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_no_upstream_is_asked_for_a_continue_and_none_is_waited_for(model: bytes, framing: bytes) -> None:
    heard: list[bytes] = []

    def script(peer: Peer) -> None:
        heard.extend(peer.read_message())  # it never says 100, and has the body all the same
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)  # nor is it harmful to say it unasked

    body = b'{"model":"%b"}' % model
    is_chunked = framing.startswith(b"T")
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += b"Expect: 100-continue\r\n" + (framing if is_chunked else framing % len(body)) + b"\r\n"
    with World(script, config=UPSTREAMS) as world, world.connect() as client:
        client.send(head)
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if is_chunked else body)
        assert client.read_message()[0].startswith(b"HTTP/1.1 200 ")
        assert b"expect" not in heard[0].lower()
        assert b'"model":' in heard[1]


def test_expected_body_is_not_asked_for_when_the_path_is_unknown() -> None:
    with World(answers(OK), limits=QUICK) as world, world.connect() as client:
        client.send(b"POST /nope HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n")
        assert client.read_to_end().startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400),
        (chat(extra=b"Content-Length: 13\r\n"), 400),
        (chat(extra=b"Transfer-Encoding: chunked\r\n"), 400),
        (chat(extra=b"Transfer-Encoding: gzip\r\n").replace(b"Content-Length", b"X"), 501),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", 501),
    ],
)
def test_head_that_is_not_understood_is_refused_and_the_connection_closed(request_bytes: bytes, status: int) -> None:
    with World(answers(OK)) as world, world.connect() as client:
        client.send(request_bytes)
        head, body = client.read_message()
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nConnection: close\r\n" in head
        assert json.loads(body)["error"]["message"]
        client.sock.shutdown(1)
        assert client.read_to_end() == b""
        assert world.controller.leased == []
        assert "Traceback" not in world.log


@pytest.mark.parametrize("size", [b"-1", b"1" + b"0" * 17, b"0x1", b" 1", b"1\n", b"", b"g", b"1;" + b"x" * 100_000])
def test_chunk_size_that_is_none_is_refused(size: bytes) -> None:
    with World(answers(OK)) as world, world.connect() as client:
        head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        client.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\nx\r\n0\r\n\r\n")
        answer, _ = client.read_message()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"\r\nConnection: close\r\n" in answer


def test_body_above_the_limit_is_refused_before_it_is_read() -> None:
    with World(answers(OK), limits=Limits(max_body_bytes=100)) as world, world.connect() as client:
        client.send(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n")
        assert client.read_message()[0].startswith(b"HTTP/1.1 413 ")


def test_chunked_body_above_the_limit_is_refused_when_it_gets_there() -> None:
    with World(answers(OK), limits=Limits(max_body_bytes=100)) as world, world.connect() as client:
        client.send(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send((b"20\r\n" + b"x" * 32 + b"\r\n") * 4)
        assert client.read_message()[0].startswith(b"HTTP/1.1 413 ")


# -- slow ones --


def drip(client: Peer, stopped: threading.Event) -> None:
    """One byte now and then, until told to stop or cut off."""
    with contextlib.suppress(OSError):
        while not stopped.wait(0.02):
            client.send(b"x")


@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\n", b"\r\n"])
def test_head_that_is_never_finished_is_cut_off(begun: bytes) -> None:
    with World(answers(OK), limits=QUICK) as world, world.connect() as client:
        client.send(begun)
        assert client.read_message()[0].startswith(b"HTTP/1.1 408 ")
        assert client.read_to_end() == b""


def test_head_that_drips_is_cut_off_in_time() -> None:
    with World(answers(OK), limits=QUICK) as world, world.connect() as client:
        stopped = threading.Event()
        client.send(b"GET / HTTP/1.1\r\nX: ")
        dripping = threading.Thread(target=drip, args=(client, stopped))
        dripping.start()
        assert client.read_message()[0].startswith(b"HTTP/1.1 408 ")
        stopped.set()
        dripping.join()


@pytest.mark.parametrize("framing", [b"Content-Length: 10\r\n\r\n1", b"Transfer-Encoding: chunked\r\n\r\n5\r\n"])
def test_body_that_never_ends_is_cut_off(framing: bytes) -> None:
    with World(answers(OK), limits=QUICK) as world, world.connect() as client:
        client.send(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n" + framing)
        assert client.read_message()[0].startswith(b"HTTP/1.1 408 ")
        assert client.read_to_end() == b""
        assert world.controller.leased == []


def test_body_that_drips_is_cut_off_in_time() -> None:
    with World(answers(OK), limits=QUICK) as world, world.connect() as client:
        stopped = threading.Event()
        client.send(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        dripping = threading.Thread(target=drip, args=(client, stopped))
        dripping.start()
        assert client.read_message()[0].startswith(b"HTTP/1.1 408 ")
        stopped.set()
        dripping.join()


def test_idle_connection_is_closed_without_a_word() -> None:
    clock = LeapingClock()
    with World(answers(OK), limits=Limits(idle_timeout=1_000.0), clock=clock) as world, world.connect() as client:
        client.send(get("/health"))
        client.read_message()
        clock.leap(world, 1_000.0)
        assert client.read_to_end() == b""


@pytest.mark.parametrize("begun", [CHUNKED_HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"])
def test_client_that_reads_nothing_is_cut_off_and_its_upstream_let_go(begun: bytes) -> None:
    ended = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        try:
            peer.send(begun)
            while True:
                peer.send(piece)
        except ConnectionError:
            ended.set()

    with World(script, limits=QUICK) as world, world.connect() as client:
        client.send(chat())
        assert ended.wait(DEADLINE)
        world.controller.wait_empty()


def test_client_that_leaves_within_its_body_takes_no_lease() -> None:
    with World(answers(OK)) as world:
        with world.connect() as client:
            client.send(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1")
        world.wait_for_log("POST /v1/completions")
        assert world.controller.leased == []


# -- the form of errors --


@pytest.mark.parametrize(
    ("accept", "kind", "start"),
    [
        ("", "application/json", b'{"src":"llama-swap","error":{"message":"a<b","type":"server_error","param":null,'),
        ("*/*", "application/json", b"{"),
        ("text/plain", "text/plain; charset=utf-8", b"llama-swap: a<b\n"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8", b"<!doctype html>"),
        ("application/json, text/plain, */*", "application/json", b"{"),
        ("text/html;q=0.1, text/plain;q=0.5", "text/plain; charset=utf-8", b"llama"),
        ("text/html;q=x", "application/json", b"{"),
        ("text/html;q=1.0, text/plain", "text/html; charset=utf-8", b"<!doctype html>"),  # without q it is 1
        ("text/plain, text/html;q=1.0", "text/plain; charset=utf-8", b"llama"),
    ],
)
def test_error_takes_the_form_that_is_accepted(accept: str, kind: str, start: bytes) -> None:
    with World(answers(OK)) as world:
        world.controller.refusal = BadGateway("a<b")
        head, body = world.ask(chat(extra=f"Accept: {accept}\r\n".encode()))
        assert f"\r\nContent-Type: {kind}\r\n".encode() in head
        assert body.startswith(start)
        assert b"html" not in body or b"a&lt;b" in body


def test_proxy_that_is_no_address_is_a_bad_gateway() -> None:
    with World(answers(OK)) as world:
        world.controller.proxy = "nonsense"
        head, body = world.ask(chat())
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"nonsense" in body


def test_error_of_ours_is_logged_and_told_without_its_traceback() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        world.controller.refusal = ZeroDivisionError("broken")
        client.send(chat())
        head, body = client.read_message()
        assert head.startswith(b"HTTP/1.1 500 ")
        assert b"\r\nConnection: close" in head
        assert b"broken" not in body
        assert client.read_to_end() == b""
        world.wait_for_log("ZeroDivisionError: broken")
        assert "Traceback" in world.log


# -- the access log --


def test_access_log_has_one_line_for_each_request() -> None:
    with World(answers(OK)) as world:
        world.ask(chat(extra=b"User-Agent: curl/8\r\nX-Forwarded-For: 9.9.9.9, 8.8.8.8\r\n"))
        world.wait_for_log("curl/8")
        world.ask(get("/wol-health"))
        world.ask(get("/%6eope?secret=1", extra=b"X-Real-IP: 7.7.7.7\r\n"))
        world.wait_for_log("nope")
        first, second = world.log.splitlines()
        assert first.startswith('[INFO] Request 9.9.9.9 "POST /v1/chat/completions HTTP/1.1" 200 2 "curl/8" ')
        assert second.startswith('[INFO] Request 7.7.7.7 "GET /nope HTTP/1.1" 404 19 "" ')


def test_path_cannot_forge_a_line_of_the_log() -> None:
    with World(answers(OK)) as world:
        world.ask(get("/%0A[INFO]%20forged%1b[31m"))
        world.wait_for_log("forged")
        assert len(world.log.splitlines()) == 1
        assert "\x1b" not in world.log


def test_hang_up_between_requests_is_no_error() -> None:
    with World(answers(OK)) as world:
        with world.connect() as client:
            client.send(get("/health"))
            client.read_message()
            client.reset()
        with world.connect():
            pass
        assert world.server.wait_idle(DEADLINE)
        assert len(world.log.splitlines()) == 1


def test_any_number_of_empty_lines_may_stand_before_a_request() -> None:
    with World() as world, world.connect() as client:
        client.send(b"\r\n" * 100_000 + b"\r")
        client.send(b"\n" + get("/health"))
        assert client.read_message()[0].startswith(b"HTTP/1.1 200 ")
