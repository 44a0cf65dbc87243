"""A connection whose thread sleeps: what the pump serves by itself, and what it wakes the thread for.

A connection's first request is its thread's; of a `warm` one that is through, so that it rides on the pump.
"""

from __future__ import annotations

import queue
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import pytest

from llamaswap_lib.errors import BadGateway, ConcurrencyLimit
from llamaswap_lib.net.loop import PROMPTLY, Pump
from llamaswap_lib.proxy.connection import FIRST_LOOK
from llamaswap_lib.proxy.relay import Relay
from llamaswap_lib.server.lane import MOST_BODY_BYTES, Lane
from llamaswap_lib.server.limits import Limits
from tests.web.certificates import trusted_upstream
from tests.web.world import (
    CHUNKED_HEAD,
    DEADLINE,
    MODELS,
    OK,
    PROMPT,
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


@contextmanager
def warm(world: World, request: bytes = chat()) -> Iterator[Peer]:
    """A client whose connection has had its first answer, and whose thread sleeps."""
    with world.connect() as client:
        client.send(request)
        assert client.read_message()[1] == b"ok"
        wait_until(lambda: awake() == 0)
        yield client


@contextmanager
def rested(world: World) -> Iterator[Peer]:
    """The same, after a second one that the pump has served, so that it keeps the connection to the upstream."""
    with warm(world) as client:
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        wait_until(lambda: world.app.pool.idle_count(1) == 1)
        yield client


def awake() -> int:
    """How many http threads do not sleep while the pump drives their connections."""
    frames = sys._current_frames()
    return sum(
        not is_inside(Lane.rest, frames.get(thread.ident or 0))
        for thread in threading.enumerate()
        if thread.name.startswith("http-")
    )


def is_inside(function: Callable[..., object], frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code is not function.__code__:
        frame = frame.f_back
    return frame is not None


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline, pause = time.monotonic() + DEADLINE, threading.Event()
    while not is_so():
        assert time.monotonic() < deadline
        pause.wait(0.001)


def ok_then(*scripts: Script) -> Script:
    """A connection whose first request is answered with OK, and whose next ones by these."""

    def script(peer: Peer) -> None:
        answers(OK)(peer)
        for one in scripts:
            one(peer)

    return script


def always(answer: bytes) -> Script:
    def script(peer: Peer) -> None:
        while not peer.has_hung_up():
            peer.read_message()
            peer.send(answer)

    return script


class Thinker:
    """An upstream that answers its second request when it is told to."""

    def __init__(self, answer: bytes = OK) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        self.seconds_to_hang_up = -1.0
        self._answer = answer

    def answer(self, peer: Peer) -> None:
        peer.read_message()
        self.asked.set()
        assert self.go.wait(DEADLINE)
        peer.send(self._answer)

    def hear_hang_up(self, peer: Peer) -> None:
        peer.read_message()
        self.asked.set()
        self.seconds_to_hang_up = peer.seconds_to_hang_up()
        self.go.set()


# -- what the pump serves --


def test_the_next_request_is_served_while_the_thread_sleeps() -> None:
    thinker = Thinker(sized(b"thought"))
    with World(ok_then(thinker.answer, answers(sized(b"third")))) as world, warm(world) as client:
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        assert (awake(), world.controller.inside) == (0, 1)
        thinker.go.set()
        assert client.read_message()[1] == b"thought"
        world.controller.wait_empty()
        client.send(chat())
        assert client.read_message()[1] == b"third"
        wait_until(lambda: awake() == 0)
        assert world.upstream.accepted == 1


def test_a_first_request_and_a_later_one_are_logged_alike() -> None:
    with World(always(sized(b"four"))) as world, world.connect() as client:
        for _ in range(3):
            client.send(chat(extra=b"User-Agent: me\r\n"))
            client.read_message()
        wait_until(lambda: world.log.count("\n") == 3)
        for line in world.log.splitlines():
            start = '[INFO] Request 127.0.0.1 "POST /v1/chat/completions HTTP/1.1" 200 4 "me" '
            assert line.startswith(start)
            assert line.removeprefix(start).rstrip("mµns").replace(".", "").isdigit()


@pytest.mark.parametrize("request_bytes", [chat(), chat(b'{"model":"nope"}'), get("/health")])
@pytest.mark.parametrize("place", [10, 25])
def test_a_request_in_two_pieces_is_served_and_so_is_the_next(place: int, request_bytes: bytes) -> None:
    with World(always(OK)) as world, warm(world) as client:
        for _ in range(2):
            client.send(request_bytes[:place])
            client.send(request_bytes[place:])
            assert client.read_message()[0].startswith(b"HTTP/1.1 ")
            threading.Event().wait(2 * PROMPTLY)  # there is no deadline left over
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        wait_until(lambda: awake() == 0)


def test_a_request_that_does_not_come_promptly_is_its_threads() -> None:
    with World(always(OK)) as world, warm(world) as client:
        request = chat()
        client.send(request[:100])
        wait_until(lambda: awake() == 1)
        client.send(request[100:])
        assert client.read_message()[1] == b"ok"
        wait_until(lambda: awake() == 0)


def test_a_head_that_never_ends_is_given_up_in_time() -> None:
    with World(always(OK), limits=Limits(head_timeout=0.2)) as world, warm(world) as client:
        client.send(chat()[:50])
        assert client.read_to_end().startswith(b"HTTP/1.1 408 ")


def test_the_next_request_sent_ahead_is_answered_in_its_turn() -> None:
    thinker = Thinker(sized(b"1"))
    with World(ok_then(thinker.answer, answers(sized(b"2"), sized(b"3")))) as world, warm(world) as client:
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        client.send(chat() + chat())
        wait_until(lambda: awake() == 1)
        thinker.go.set()
        assert [client.read_message()[1] for _ in range(3)] == [b"1", b"2", b"3"]
        world.controller.wait_empty()


def test_requests_without_a_body_that_come_together_are_two_for_the_upstream_too() -> None:
    heard: list[bytes] = []

    def script(peer: Peer) -> None:
        answers(OK)(peer)
        for _ in range(2):
            heard.append(b"".join(peer.read_message()))
            assert peer.rest == b""
            peer.send(OK)

    voices = get("/v1/audio/voices?model=m")
    with World(script) as world, warm(world) as client:
        client.send(voices + voices)
        assert [client.read_message()[1] for _ in range(2)] == [b"ok", b"ok"]
        assert [one.count(b"GET ") for one in heard] == [1, 1]


def test_a_large_request_is_its_threads() -> None:
    thinker = Thinker()
    with World(ok_then(thinker.answer)) as world, warm(world) as client:
        client.send(chat(b'{"model":"m","x":"' + b"x" * MOST_BODY_BYTES + b'"}'))
        assert thinker.asked.wait(DEADLINE)
        assert awake() == 1
        thinker.go.set()
        assert client.read_message()[1] == b"ok"


def test_connections_that_think_sleep_all_at_once() -> None:
    all_are_here, go = threading.Barrier(20), threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        all_are_here.wait(DEADLINE)  # so that each has a connection of its own
        peer.send(OK)
        peer.read_message()
        assert go.wait(DEADLINE)
        peer.send(OK)

    with World(script) as world:
        clients = [world.connect() for _ in range(20)]
        for round_number in range(2):
            for client in clients:
                client.send(chat())
            if not round_number:
                assert [client.read_message()[1] for client in clients] == [b"ok"] * 20
                wait_until(lambda: awake() == 0)
        wait_until(lambda: world.controller.inside == 20)
        assert awake() == 0
        go.set()
        assert [client.read_message()[1] for client in clients] == [b"ok"] * 20
        world.controller.wait_empty()
        for client in clients:
            client.close()


# -- the two ways are one --


def in_pieces(*pieces: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.read_message()
        with suppress(ConnectionError):  # who asked for a head does not stay for the body
            for piece in pieces:
                peer.send(piece)
                threading.Event().wait(0.002)  # so that they are read one by one

    return script


def then_close(script: Script) -> Script:
    def closing(peer: Peer) -> None:
        script(peer)
        peer.close()

    return closing


def hang_up(peer: Peer) -> None:
    peer.read_message()
    peer.reset()


BIG = bytes(range(256)) * 1_000
ANSWERS = {
    "short": answers(OK),
    "closing": then_close(answers(sized(b"ok", b"Connection: close\r\n"))),
    "http/1.0": then_close(answers(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")),
    "hop by hop": answers(sized(b"ok", b"Keep-Alive: 5\r\nConnection: keep-alive, x-own\r\nX-Own: 1\r\nX-End: 2\r\n")),
    "not found": answers(sized(b"no").replace(b"200 OK", b"404 Not Found")),
    "no reason": answers(sized(b"no").replace(b"200 OK", b"500 ")),
    "no body": answers(sized(b"")),
    "no content": answers(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "interim": answers(b"HTTP/1.1 100 Continue\r\n\r\n" + OK),
    "in pieces": in_pieces(OK[:10], OK[10:-1], OK[-1:]),
    "head first": in_pieces(OK[:-2], OK[-2:]),
    "chunked": answers(CHUNKED_HEAD + b"2\r\nok\r\n0\r\n\r\n"),
    "events": in_pieces(CHUNKED_HEAD, b"5\r\ndata:\r\n", b"1\r\nx\r\n0\r\n\r\n"),
    "until close": then_close(answers(b"HTTP/1.1 200 OK\r\n\r\nall")),
    "big": answers(sized(BIG)),
    "cut": then_close(answers(sized(b"whole")[:-2])),
    "cut chunks": then_close(answers(CHUNKED_HEAD + b"5\r\nda")),
    "cut head": then_close(answers(OK[:20])),
    "surplus": answers(OK + b"more"),
    "rubbish": answers(b"nonsense\r\n\r\n"),
    "two lengths": answers(sized(b"ok", b"Content-Length: 2\r\n")),
    "loose head": answers(OK.replace(b"\r\n", b"\n")),
    "loose chunks": answers(CHUNKED_HEAD + b"2 \r\nok\r\n0\n\n"),
    "loose chunks later": in_pieces(CHUNKED_HEAD, b"5\r\ndata:\r\n", b"1 \r\nx\r\n0\r\n\r\n"),
    "no end": then_close(answers(CHUNKED_HEAD + b"2\r\nok\r\n0\r\n")),
    "different lengths": answers(sized(b"ok", b"Content-Length: 3\r\n")),
    "switch": answers(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
}
FORM_HEAD = b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n"
FORM_HEAD += b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
FORM = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b--\r\n'
REQUESTS = {
    "plain": chat(extra=b"Connection: close\r\n"),
    "old": chat(version=b"1.0"),
    "form": FORM_HEAD % len(FORM) + FORM,
    "query": get("/v1/audio/voices?model=m", extra=b"Connection: close\r\n"),
    "head": get("/props?model=al", extra=b"Connection: close\r\n", method="HEAD"),
}


remove_date = re.compile(rb"Date: [^\r]*\r\n").sub


def all_that_comes(client: Peer, request: bytes) -> bytes:
    client.send(request)
    return remove_date(b"", client.read_to_end())


# An HTTP/1.0 client learns of broken chunks by a reset: how much comes before that is a matter of chance.
PAIRS = [(answer, name) for answer in ANSWERS for name in REQUESTS if (answer, name) != ("cut chunks", "old")]


@pytest.mark.parametrize(("answer", "request_name"), PAIRS)
def test_a_later_request_is_answered_as_a_first_one_is(answer: str, request_name: str) -> None:
    request = REQUESTS[request_name]
    with World(ANSWERS[answer]) as world, world.connect() as client:
        expected = all_that_comes(client, request)
        world.controller.wait_empty()
    with World(ok_then(ANSWERS[answer])) as world:
        with warm(world) as client:
            assert all_that_comes(client, request) == expected
        world.controller.wait_empty()
        assert "Traceback" not in world.log


CHUNKED_CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED_CHAT += b'Transfer-Encoding: chunked\r\n\r\nd\r\n{"model":"m"}\r\n0\r\n\r\n'


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (chat(b'{"model":"nope"}'), b"404"),
        (chat(b'{"model":'), b"400"),
        (chat(b"[]"), b"400"),
        (chat(b"{}"), b"404"),
        (get("/nope"), b"404"),
        (get("/health"), b"200"),
        (get("/v1/models"), b"200"),
        (get("/running"), b"200"),
        (chat(extra=b"Content-Length: 1\r\n"), b"400"),
        (chat(extra=b"Transfer-Encoding: chunked\r\n"), b"400"),
        (b"\r\n" + chat(), b"200"),
        (b"GET / HTTP/9\r\n\r\n", b"400"),
        (b"rubbish\r\n\r\n", b"400"),
        (chat(b'{"model":"m","x":"' + b"x" * MOST_BODY_BYTES + b'"}'), b"200"),
        (chat(extra=b"Expect: 100-continue\r\n"), b"200"),
        (CHUNKED_CHAT, b"200"),
        (chat(b'{"model":"m"}', extra=b"X: " + b"x" * 70_000 + b"\r\n"), b"431"),
    ],
)
def test_what_is_not_for_the_pump_is_served_by_the_thread(request_bytes: bytes, status: bytes) -> None:
    with World(always(OK)) as world, warm(world) as client:
        client.send(request_bytes)
        head, body = client.read_message()
        assert head.split(b" ")[1] == status, body
        if b"Connection: close" in head:
            return
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        world.controller.wait_empty()


def test_a_key_counts_for_the_request_that_brings_it() -> None:
    config = MODELS + "apiKeys: [right]\n"
    right = chat(extra=b"Authorization: Bearer right\r\n")
    wrong = chat(extra=b"Authorization: Bearer wrong\r\n")
    voices = get("/v1/audio/voices?model=m", extra=b"Authorization: Bearer right\r\n")
    with World(always(OK), config=config) as world, world.connect() as client:
        for request, status in [(right, b"200")] * 3 + [
            (wrong, b"401"),
            (voices, b"200"),
            (wrong, b"401"),
            (right, b"200"),
            (chat(), b"401"),
            (get("/running"), b"401"),
            (get("/health"), b"200"),
            (chat(), b"401"),
            (right, b"200"),
        ]:
            client.send(request)
            assert client.read_message()[0].split(b" ")[1] == status


def test_a_model_without_a_place_is_waited_for_by_the_thread() -> None:
    with World(always(OK)) as world, warm(world) as client:
        for refusal, status in ((ConcurrencyLimit(), b"429"), (BadGateway("it died"), b"502")):
            world.controller.refusal = refusal
            client.send(chat())
            assert client.read_message()[0].split(b" ")[1] == status
        world.controller.refusal = None
        client.send(chat())
        assert client.read_message()[1] == b"ok"


SPILLING = """
groups: {g: {swap: false, members: [a, b]}}
models:
  a: {cmd: "server ${PORT}", proxy: PROXY}
  b: {cmd: "server ${PORT}", proxy: PROXY}
selectors:
  spill: {strategy: spillover, targets: [a, b], settings: {spillover: 1}}
"""


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("answer", [OK, CHUNKED_HEAD + b"2\r\nok\r\n0\r\n\r\n"])
def test_a_selectors_choice_is_given_back(stop: bool, answer: bytes) -> None:
    thinker = Thinker(answer)
    spill = chat(b'{"model":"spill"}')
    script = thinker.hear_hang_up if stop else thinker.answer
    with World(ok_then(script), always(OK), config=SPILLING) as world, warm(world, spill) as client:
        client.send(spill)
        assert thinker.asked.wait(DEADLINE)
        with world.app.selectors.choose("spill") as target:
            assert target == "b"  # a is busy with one
        if stop:
            client.close()
        else:
            thinker.go.set()
            client.read_until(b"ok")
        world.controller.wait_empty()
        wait_until(lambda: chosen(world) == "a")


def test_a_selector_chooses_once_for_a_request_whoever_serves_it() -> None:
    heard: list[bytes] = []

    def script(peer: Peer) -> None:
        while not peer.has_hung_up():
            heard.append(peer.read_message()[1])
            peer.send(OK)

    with World(script, config=SPILLING) as world, world.connect() as client:
        world.controller.running = [Running("a", 1, "ready"), Running("b", 2, "ready")]
        for _ in range(10):
            client.send(chat(b'{"model":"spill"}'))
            assert client.read_message()[1] == b"ok"
            world.controller.wait_empty()
    assert heard == [b'{"model":"a"}', b'{"model":"b"}'] * 5


def test_a_choice_of_a_request_that_cannot_be_filtered_is_given_back() -> None:
    config = SPILLING.replace("proxy: PROXY}", "proxy: PROXY, filters: {setParams: {x.y: 1}}}", 1)
    with World(always(OK), config=config) as world, warm(world, chat(b'{"model":"b"}')) as client:
        for _ in range(3):
            client.send(chat(b'{"model":"spill","x":[]}'))
            assert client.read_message()[0].split(b" ")[1] == b"400"  # by the filter of a, which is free every time


def test_a_choice_that_the_pump_cannot_serve_is_given_back() -> None:
    with World(always(OK), config=SPILLING) as world, warm(world, chat(b'{"model":"spill"}')) as client:
        world.controller.refusal = BadGateway("it died")
        client.send(chat(b'{"model":"spill"}'))
        assert client.read_message()[0].startswith(b"HTTP/1.1 502 ")
        world.controller.fault = ZeroDivisionError()
        client.send(chat(b'{"model":"spill"}'))
        assert client.read_message()[0].startswith(b"HTTP/1.1 500 ")
        assert [chosen(world) for _ in range(4)] == ["a"] * 4  # which is what it is where nobody is busy


def chosen(world: World) -> str:
    """The target that a request would get now."""
    with world.app.selectors.choose("spill") as target:
        return target


# -- hang-ups --


@pytest.mark.parametrize("leave", [Peer.close, Peer.end, Peer.reset])
def test_a_client_that_leaves_ends_the_upstreams_work(leave: Callable[[Peer], None]) -> None:
    thinker = Thinker()
    with World(ok_then(thinker.hear_hang_up)) as world, warm(world) as client:
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        leave(client)
        assert thinker.go.wait(DEADLINE)
        assert thinker.seconds_to_hang_up < PROMPT
        world.controller.wait_empty()
        wait_until(lambda: ' 499 0 "" ' in world.log)
        assert "[WARN]" not in world.log
        wait_until(lambda: world.server.count() == (0, 0))


@pytest.mark.parametrize("last_words", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"])
def test_an_idle_connection_that_ends_or_speaks_unasked_is_closed_there_and_then(last_words: bytes) -> None:
    speak = threading.Event()

    def script(peer: Peer) -> None:
        answers(OK, OK)(peer)
        assert speak.wait(DEADLINE)
        if last_words:
            peer.send(last_words)
            assert peer.seconds_to_hang_up() < PROMPT

    with World(script, always(sized(b"new"))) as world, rested(world) as client:
        speak.set()
        wait_until(lambda: world.app.pool.idle_count(1) == 0)
        client.send(chat())
        assert client.read_message()[1] == b"new"


def test_a_run_that_ends_is_hung_up_on_at_once() -> None:
    has_ended = threading.Event()

    def script(peer: Peer) -> None:
        answers(OK, OK)(peer)
        peer.seconds_to_hang_up()
        has_ended.set()

    with World(script) as world, rested(world):
        world.app.pool.keep_only([2])
        assert has_ended.wait(PROMPT * 4)


def test_a_connection_that_is_idle_for_too_long_is_closed() -> None:
    has_ended = threading.Event()

    def script(peer: Peer) -> None:
        answers(OK, OK)(peer)
        peer.seconds_to_hang_up()
        has_ended.set()

    config = MODELS.rstrip() + "\n    timeouts: {idleConn: 1}\n"
    with World(script, config=config) as world, warm(world) as client:
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        assert has_ended.wait(DEADLINE)


@pytest.mark.parametrize("ending", [Peer.close, Peer.reset])
def test_a_connection_that_dies_without_an_answer_is_tried_again_once(ending: Callable[[Peer], None]) -> None:
    def die(peer: Peer) -> None:
        peer.read_message()
        ending(peer)

    with World(ok_then(die), always(sized(b"second"))) as world, warm(world) as client:
        client.send(chat())
        assert client.read_message()[1] == b"second"
        assert world.upstream.accepted == 2
    with World(ok_then(die), die, die) as world, warm(world) as client:
        client.send(chat())
        assert client.read_message()[0].startswith(b"HTTP/1.1 502 ")
        assert world.upstream.accepted == 2


def test_a_run_that_dies_under_a_request_is_followed_by_the_next() -> None:
    with World(ok_then(hang_up), always(sized(b"next"))) as world, warm(world) as client:
        world.controller.successor = world.upstream.proxy
        world.upstream.scripts[1] = hang_up
        world.upstream.scripts.append(always(sized(b"next")))
        client.send(chat())
        assert client.read_message()[1] == b"next"
        assert world.controller.moved_on == 1
        world.controller.wait_empty()


def test_a_client_that_takes_nothing_holds_up_its_own_connection_and_loses_no_byte() -> None:
    body = bytes(range(256)) * 100  # so that it comes in one piece
    with World(always(sized(body))) as world, world.connect() as client, world.connect() as other:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        count = 0
        while not is_sending_the_rest():
            client.send(chat())
            count += 1
            wait_until(lambda count=count: world.log.count("\n") == count or is_sending_the_rest())  # type: ignore[misc]
            assert count < 1000
        for _ in range(20):
            other.send(chat())
            assert other.read_message()[1] == body
        world.controller.wait_inside(1)
        assert [client.read_message()[1] for _ in range(count)] == [body] * count
        world.controller.wait_empty()
        wait_until(lambda: world.log.count(f" 200 {len(body)} ") == count + 20)
        client.send(chat())
        assert client.read_message()[1] == body


def is_sending_the_rest() -> bool:
    """Whether an http thread sends what a client did not take at once."""
    return any(is_inside(Relay.go_on_sending, frame) for frame in sys._current_frames().values())


def test_an_upstream_that_wants_to_close_is_let_go() -> None:
    farewells: list[float] = []

    def script(peer: Peer) -> None:
        answers(OK, sized(b"bye", b"Connection: close\r\n"))(peer)
        farewells.append(peer.seconds_to_hang_up())

    with World(script, always(sized(b"new"))) as world, warm(world) as client:
        for expected in (b"bye", b"new"):
            client.send(chat())
            assert client.read_message()[1] == expected
        assert world.upstream.accepted == 2
    assert farewells[0] < PROMPT


@pytest.mark.slow
def test_a_connection_that_was_in_use_when_it_was_looked_for_is_closed_later() -> None:
    thinker, has_ended = Thinker(), threading.Event()

    def script(peer: Peer) -> None:
        answers(OK)(peer)
        thinker.answer(peer)
        peer.seconds_to_hang_up()
        has_ended.set()

    config = MODELS.rstrip() + "\n    timeouts: {idleConn: 1}\n"
    with World(script, config=config) as world, warm(world) as client:
        client.send(chat())
        threading.Event().wait(1.2)  # the look that the first answer was due comes to nothing
        thinker.go.set()
        assert client.read_message()[1] == b"ok"
        assert has_ended.wait(DEADLINE)


@pytest.mark.slow
def test_a_connection_in_use_is_not_closed_for_having_been_idle() -> None:
    config = MODELS.rstrip() + "\n    timeouts: {idleConn: 1}\n"
    with World(always(OK), config=config) as world, warm(world) as client:
        for _ in range(6):
            client.send(chat())
            assert client.read_message()[1] == b"ok"
            threading.Event().wait(0.3)
        assert world.upstream.accepted == 1


class Holding:
    """A passenger that holds the pump up until it is told to go on."""

    def __init__(self) -> None:
        self.has_begun, self.go = threading.Event(), threading.Event()

    def begin(self, pump: Pump) -> None:
        pump.aboard.discard(self)
        self.has_begun.set()
        assert self.go.wait(DEADLINE)

    def give_up(self) -> None: ...

    def throw_off(self) -> None: ...


def is_pump_running(world: World) -> bool:
    one = Holding()
    one.go.set()
    world.pump.take_aboard(one)
    return one.has_begun.wait(PROMPT)


def test_what_an_upstream_says_unasked_is_no_answer_to_the_next_request() -> None:
    speak, has_spoken = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent is there
        answers(OK, OK)(peer)
        assert speak.wait(DEADLINE)
        peer.send(sized(b"unasked"))
        has_spoken.set()
        peer.seconds_to_hang_up()

    with World(script, always(sized(b"asked"))) as world, rested(world) as client:
        holding = Holding()
        world.pump.take_aboard(holding)
        assert holding.has_begun.wait(DEADLINE)
        client.send(chat())  # before the other, so that the pump hears it first
        speak.set()
        assert has_spoken.wait(DEADLINE)
        holding.go.set()
        assert client.read_message()[1] == b"asked"


def test_a_connection_that_was_handed_on_outlives_the_pump() -> None:
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        answers(OK, OK)(peer)
        peer.read_message()
        peer.send(sized(b"late")[:20])
        assert go_on.wait(DEADLINE)
        peer.send(sized(b"late")[20:])

    with World(script) as world, warm(world) as client:
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        client.send(chat())
        wait_until(lambda: awake() == 1)
        world.pump.take_aboard(Mistaken())
        world.wait_for_log("ZeroDivisionError")
        wait_until(lambda: is_pump_running(world))  # again, and everybody was thrown off
        threading.Event().wait(2 * FIRST_LOOK)  # what is waited for already would come through a closed socket too
        go_on.set()
        assert client.read_message()[1] == b"late"


# -- an answer that takes its time --


EVENT = b"5\r\ndata:\r\n"
LAST = b"0\r\n\r\n"


class Teller:
    """An upstream that answers with the beginning of a stream, and goes on as it is told."""

    def __init__(self, head: bytes = CHUNKED_HEAD) -> None:
        self.words: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.seconds_to_hang_up = -1.0
        self.was_left = threading.Event()
        self._head = head

    def answer(self, peer: Peer) -> None:
        """Say the words, each once it is there; None ends the connection, b"" listens for the other side's end."""
        peer.read_message()
        peer.send(self._head)
        while (word := self.words.get(timeout=DEADLINE)) != LAST:
            if word is None:
                peer.close()
                return
            if not word:
                self.seconds_to_hang_up = peer.seconds_to_hang_up()
                self.was_left.set()
                return
            peer.send(word)
        peer.send(LAST)


@contextmanager
def streaming(world: World, teller: Teller, request: bytes = chat()) -> Iterator[Peer]:
    """A client in the middle of a stream, with nobody's thread awake."""
    with warm(world) as client:
        client.send(request)
        teller.words.put(EVENT)
        client.read_until(b"data:")
        assert awake() == 0
        yield client


def test_a_stream_flows_while_the_thread_sleeps_and_the_next_request_too() -> None:
    teller = Teller()
    with World(ok_then(teller.answer, teller.answer, answers(sized(b"next")))) as world:
        with streaming(world, teller) as client:
            assert world.controller.inside == 1
            teller.words.put(LAST)
            assert client.read_until(LAST) == b"\r\n" + LAST
            world.controller.wait_empty()
            client.send(chat())
            teller.words.put(EVENT)
            teller.words.put(LAST)
            client.read_until(LAST)
            client.send(chat())
            assert client.read_message()[1] == b"next"
            assert awake() == 0
        assert world.upstream.accepted == 1
        body_bytes = len(EVENT + LAST)
        wait_until(lambda: world.log.count(f'HTTP/1.1" 200 {body_bytes} ""') == 2)


def test_a_request_that_is_sent_ahead_of_the_end_of_a_stream_is_answered_behind_it() -> None:
    teller = Teller()
    with World(ok_then(teller.answer, answers(sized(b"next")))) as world, streaming(world, teller) as client:
        client.send(chat())
        teller.words.put(EVENT)
        client.read_until(b"data:")
        teller.words.put(LAST)
        client.read_until(LAST)
        assert client.read_message()[1] == b"next"


@pytest.mark.parametrize("leave", [Peer.close, Peer.reset])
def test_a_client_that_leaves_a_stream_ends_it_at_once(leave: Callable[[Peer], None]) -> None:
    teller = Teller()
    with World(ok_then(teller.answer), always(OK)) as world:
        with streaming(world, teller) as client:
            teller.words.put(b"")
            leave(client)
            assert teller.was_left.wait(DEADLINE)
            assert teller.seconds_to_hang_up < PROMPT
            world.controller.wait_empty()
            wait_until(lambda: world.server.count() == (0, 0))
        assert f" 200 {len(EVENT)} " in world.log
        with warm(world):
            pass


@pytest.mark.parametrize(("version", "is_reset"), [(b"1.1", False), (b"1.0", True)])
def test_a_stream_that_breaks_off_does_not_end_like_a_whole_one(version: bytes, is_reset: bool) -> None:
    teller = Teller()
    request = chat(extra=b"Connection: keep-alive\r\n", version=version)
    with World(ok_then(teller.answer), always(OK)) as world, streaming(world, teller, request) as client:
        teller.words.put(None)
        if is_reset:
            with pytest.raises(ConnectionResetError):
                client.read_to_end()
        else:
            assert client.read_to_end() == b"\r\n"
        world.wait_for_log("m: the answer broke off after")
        world.controller.wait_empty()


def test_what_an_upstream_sends_behind_a_stream_is_nobodys() -> None:
    teller = Teller()
    with World(ok_then(teller.answer), always(sized(b"other"))) as world, streaming(world, teller) as client:
        teller.words.put(LAST + sized(b"unasked"))
        teller.words.put(b"")
        client.read_until(LAST)
        assert teller.was_left.wait(DEADLINE)
        client.send(chat())
        assert client.read_message()[1] == b"other"


def test_an_upstream_that_wants_to_close_behind_a_stream_is_let_go() -> None:
    teller = Teller(CHUNKED_HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    with World(ok_then(teller.answer), always(OK)) as world, streaming(world, teller) as client:
        teller.words.put(EVENT + LAST[:2])
        teller.words.put(LAST[2:])
        teller.words.put(b"")
        client.read_until(LAST)
        assert teller.was_left.wait(DEADLINE)
        client.send(chat())
        assert client.read_message()[1] == b"ok"


def test_a_client_that_takes_nothing_of_a_stream_holds_up_nobody_and_loses_no_byte() -> None:
    body = bytes(range(256)) * 20_000
    with World(ok_then(answers(sized(body))), always(OK)) as world:
        with warm(world) as client, world.connect() as other:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            client.send(chat())
            wait_until(lambda: world.controller.inside == 1)
            for _ in range(20):
                other.send(chat())
                assert other.read_message()[1] == b"ok"
            wait_until(lambda: awake() == 0)
            assert client.read_message()[1] == body
        world.controller.wait_empty()
        wait_until(lambda: f" 200 {len(body)} " in world.log)


def test_a_client_that_takes_nothing_of_a_stream_for_too_long_is_given_up() -> None:
    body = bytes(range(256)) * 40_000

    def script(peer: Peer) -> None:
        with suppress(ConnectionError):
            answers(sized(body))(peer)

    with World(ok_then(script), limits=Limits(write_timeout=0.2)) as world, warm(world) as client:
        client.send(chat())
        wait_until(lambda: world.controller.inside == 1)
        world.controller.wait_empty()
        wait_until(lambda: world.server.count() == (0, 0))


@pytest.mark.slow
def test_the_beginning_of_a_stream_that_its_client_does_not_take_at_once_is_its_threads() -> None:
    piece = bytes(range(256)) * 100  # so that it comes in one piece
    beginning = sized(piece + b"the end")[: -len(b"the end")]
    go_on: queue.SimpleQueue[None] = queue.SimpleQueue()

    def script(peer: Peer) -> None:
        answers(OK)(peer)
        while not peer.has_hung_up():
            peer.read_message()
            peer.send(beginning)
            go_on.get(timeout=DEADLINE)
            peer.send(b"the end")

    with World(script) as world, warm(world) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        count = 0
        while not is_sending_the_rest():
            client.send(chat())
            count += 1
            wait_until(lambda: world.controller.inside == 1)
            go_on.put(None)
            wait_until(lambda count=count: world.log.count("\n") == count + 1 or is_sending_the_rest())  # type: ignore[misc]
            assert count < 1000
        assert [client.read_message()[1] for _ in range(count)] == [piece + b"the end"] * count
        world.controller.wait_empty()
        wait_until(lambda: world.log.count(f" 200 {len(piece) + 7} ") == count)
        client.send(chat())
        go_on.put(None)
        assert client.read_message()[1] == piece + b"the end"


def test_a_pump_that_stumbles_breaks_streams_off() -> None:
    teller = Teller()
    with World(ok_then(teller.answer), always(OK)) as world, streaming(world, teller) as client:
        teller.words.put(b"")
        world.pump.take_aboard(Mistaken())
        assert client.read_to_end() == b"\r\n"
        assert teller.was_left.wait(DEADLINE)
        world.controller.wait_empty()
        with warm(world):
            pass


def test_a_server_that_is_broken_off_breaks_streams_off() -> None:
    teller = Teller()
    with World(ok_then(teller.answer)) as world, streaming(world, teller) as client:
        teller.words.put(b"")
        world.server.begin_stop()
        assert world.server.abort()
        assert teller.was_left.wait(DEADLINE)
        with suppress(ConnectionResetError):
            assert LAST not in client.read_to_end()
        world.controller.wait_empty()


def test_a_mistake_of_ours_at_the_end_of_a_stream_costs_one_connection() -> None:
    teller = Teller()
    with World(ok_then(teller.answer), always(OK)) as world, streaming(world, teller) as client:
        world.controller.fault_of_leaving = ZeroDivisionError()
        teller.words.put(LAST)
        assert client.read_to_end() == b"\r\n" + LAST
        assert "ZeroDivisionError" in world.log
        with warm(world):
            pass


def test_an_address_that_is_none_costs_no_place() -> None:
    with World(always(OK)) as world, warm(world) as client:
        proxy, world.controller.proxy = world.controller.proxy, "ftp://x"
        client.send(chat())
        assert client.read_message()[0].startswith(b"HTTP/1.1 502 ")
        world.controller.wait_empty()
        world.controller.proxy = proxy
        client.send(chat())
        assert client.read_message()[1] == b"ok"


TELLING = f"{MODELS.rstrip()}\n    sendLoadingState: true\n"
STREAM = chat(b'{"model":"m","stream":true}')


@pytest.mark.parametrize("is_answered", [True, False])
def test_who_has_to_wait_after_all_is_told_if_its_model_tells(is_answered: bool) -> None:
    thinker, queue = Thinker(CHUNKED_HEAD + b"2\r\nok\r\n0\r\n\r\n"), FakeQueue()

    def die(peer: Peer) -> None:
        peer.read_message()
        thinker.asked.set()
        assert thinker.go.wait(DEADLINE)
        peer.reset()

    try:
        with World(ok_then(die), hang_up, thinker.answer, config=TELLING) as world, warm(world) as client:
            client.send(STREAM)
            assert thinker.asked.wait(DEADLINE)
            assert awake() == 0
            world.controller.waiting = queue
            world.controller.successor = world.upstream.proxy if is_answered else BadGateway("it died again")
            thinker.go.set()
            client.read_until(b"Loading m")
            queue.is_over.set()
            client.read_until(b"ok" if is_answered else b"it died again")
            client.read_until(b"\r\n0\r\n\r\n")
            world.controller.wait_empty()
            assert world.controller.moved_on == 1
    finally:
        queue.is_over.close()


def test_a_model_that_tells_needs_no_thread_where_nobody_waits() -> None:
    with World(always(OK), config=TELLING) as world, warm(world) as client:
        for _ in range(2):
            client.send(STREAM)
            assert client.read_message()[1] == b"ok"
        world.controller.refusal = BadGateway("it died")
        client.send(STREAM)
        assert client.read_message()[0].startswith(b"HTTP/1.1 502 ")


def test_an_answer_that_has_to_begin_in_time_is_waited_for_by_the_thread() -> None:
    thinker = Thinker()
    config = f"{MODELS.rstrip()}\n    timeouts: {{responseHeader: 1}}\n"
    with World(ok_then(thinker.answer), config=config) as world, warm(world) as client:
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        assert awake() == 1
        thinker.go.set()
        assert client.read_message()[1] == b"ok"


def test_an_upstream_behind_tls_is_its_threads() -> None:
    thinker = Thinker()
    with World(ok_then(thinker.answer), upstream_context=trusted_upstream()) as world, warm(world) as client:
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        assert awake() == 1
        thinker.go.set()
        assert client.read_message()[1] == b"ok"


# -- the connection itself --


def test_an_idle_connection_is_closed_in_time_and_not_before() -> None:
    with World(always(OK), limits=Limits(idle_timeout=0.3)) as world, warm(world) as client:
        for _ in range(3):
            threading.Event().wait(0.15)
            client.send(chat())
            assert client.read_message()[1] == b"ok"
        started = time.monotonic()
        assert client.read_to_end() == b""
        assert time.monotonic() - started > 0.25


def test_an_upstream_that_thinks_longer_than_a_client_may_idle_is_waited_for() -> None:
    thinker = Thinker()
    with World(ok_then(thinker.answer), limits=Limits(idle_timeout=0.1)) as world, warm(world) as client:
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        threading.Event().wait(0.3)
        assert awake() == 0
        thinker.go.set()
        assert client.read_message()[1] == b"ok"


def test_a_thread_that_serves_for_longer_than_a_client_may_idle_is_left_alone() -> None:
    thinker = Thinker()
    with World(ok_then(thinker.answer, answers(OK)), limits=Limits(idle_timeout=0.2)) as world, warm(world) as client:
        client.send(CHUNKED_CHAT)
        assert thinker.asked.wait(DEADLINE)
        threading.Event().wait(0.4)
        thinker.go.set()
        assert client.read_message()[1] == b"ok"
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        assert "Traceback" not in world.log


def test_a_server_that_ends_lets_the_request_in_progress_end_and_takes_no_other() -> None:
    thinker = Thinker()
    with World(ok_then(thinker.answer)) as world, warm(world) as client, world.connect() as idle:
        idle.send(get("/health"))
        idle.read_message()
        wait_until(lambda: awake() == 0)
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        world.server.begin_stop()
        assert idle.read_to_end() == b""
        thinker.go.set()
        head, body = client.read_message()
        assert (b"\r\nConnection: close\r\n" in head, body) == (True, b"ok")
        assert client.read_to_end() == b""
        assert world.server.wait_idle(DEADLINE)


def test_a_server_that_is_broken_off_lets_nobody_sleep_on() -> None:
    thinker = Thinker()
    with World(ok_then(thinker.hear_hang_up)) as world, warm(world) as client:
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        world.server.begin_stop()
        assert world.server.abort()
        assert thinker.go.wait(DEADLINE)
        world.controller.wait_empty()
        warning = '[WARN] "POST /v1/chat/completions" for m: 503, broken off: the server is shutting down\n'
        assert world.log.count(warning) == 1
        assert ' 503 0 "" ' in world.log


class Mistaken:
    """A passenger that makes the pump stumble."""

    def begin(self, pump: Pump) -> None:
        raise ZeroDivisionError

    def give_up(self) -> None: ...

    def throw_off(self) -> None: ...


def test_a_pump_that_ends_lets_everybody_go() -> None:
    thinker = Thinker()
    other = Thinker(sized(b"other"))
    with (
        World(ok_then(thinker.hear_hang_up), other.answer) as world,
        warm(world) as client,
        world.connect() as idle,
        world.connect() as served,
    ):
        for one in (idle, served):
            one.send(get("/health"))
            one.read_message()
        wait_until(lambda: awake() == 0)
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        served.send(chat())
        assert other.asked.wait(DEADLINE)
        world.pump.take_aboard(Mistaken())
        world.wait_for_log("ZeroDivisionError")
        assert thinker.go.wait(DEADLINE)
        assert idle.read_to_end() == b""
        assert client.read_message()[0].startswith(b"HTTP/1.1 500 ")
        assert '[WARN] "POST /v1/chat/completions" for m: 500, internal error\n' in world.log
        other.go.set()
        assert served.read_message()[1] == b"other"
        world.controller.wait_empty()
        world.upstream.scripts.append(always(OK))
        for _ in range(2):
            served.send(chat())
            assert served.read_message()[1] == b"ok"


def test_a_mistake_of_ours_costs_one_request_and_nobody_elses() -> None:
    thinker = Thinker()
    with World(ok_then(thinker.answer), always(OK)) as world, warm(world) as client, world.connect() as other:
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        other.send(chat())
        other.read_message()
        world.controller.fault = ZeroDivisionError()
        other.send(chat())
        assert other.read_message()[0].startswith(b"HTTP/1.1 500 ")
        assert world.log.count("ZeroDivisionError") >= 2  # on the pump, and where it cost the request
        world.controller.fault = None
        thinker.go.set()
        assert client.read_message()[1] == b"ok"


def test_a_mistake_of_ours_behind_an_answer_cuts_the_connection_and_nobody_elses() -> None:
    thinker = Thinker()
    with World(ok_then(thinker.answer), always(OK)) as world, warm(world) as client, world.connect() as other:
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        for _ in range(2):
            other.send(chat())
            other.read_message()
        world.controller.wait_inside(1)
        world.controller.fault_of_leaving = ZeroDivisionError()
        other.send(chat())
        assert other.read_message()[1] == b"ok"
        assert other.read_to_end() == b""
        assert "ZeroDivisionError" in world.log
        assert world.controller.inside == 1
        thinker.go.set()
        assert client.read_message()[1] == b"ok"
        world.controller.wait_empty()


def test_who_is_refused_keeps_no_thread_while_its_connection_lingers() -> None:
    with World(always(OK), limits=Limits(linger_timeout=DEADLINE)) as world, warm(world) as client:
        client.send(b"rubbish\r\n\r\n")
        client.read_message()
        wait_until(lambda: '"- * HTTP/1.1" 400' in world.log)
        wait_until(lambda: world.server.count() == (0, 0))
        client.send(b"more\r\n" * 100)
        assert client.read_to_end() == b""


def test_the_time_of_a_request_counts_from_its_first_byte() -> None:
    with World(always(OK)) as world, warm(world) as client:
        request = chat()
        client.send(request[:50])
        wait_until(lambda: awake() == 1)
        client.send(request[50:])
        client.read_message()
        wait_until(lambda: world.log.count("\n") == 2)
        took = world.log.split()[-1]
        assert took.endswith("ms")
        assert float(took.removesuffix("ms")) > PROMPTLY * 1000


def test_the_time_before_a_request_is_not_counted() -> None:
    with World(always(OK)) as world, warm(world) as client:
        idle_ms = 1000
        threading.Event().wait(idle_ms / 1000)
        client.send(chat())
        client.read_message()
        wait_until(lambda: world.log.count("\n") == 2)
        took = world.log.split()[-1]
        assert took.endswith("µs") or float(took.removesuffix("ms")) < idle_ms


def test_a_request_that_comes_byte_by_byte_is_soon_its_threads() -> None:
    with World(always(OK)) as world, warm(world) as client:
        sent, pause = 0, threading.Event()
        while not awake():
            client.send(chat()[sent : sent + 1])
            sent += 1
            pause.wait(PROMPTLY / 10)
        assert sent < 40
        client.send(chat()[sent:])
        assert client.read_message()[1] == b"ok"


def test_the_rest_of_a_request_is_promptly_there_or_its_thread_waits() -> None:
    assert PROMPTLY < 0.1  # so long a thread sleeps that could read
