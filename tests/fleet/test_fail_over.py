"""A request that one box cannot answer is sent to the next, at servers with real sockets."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from llamaswap_lib.errors import ConcurrencyLimit, LoadFailed, ModelHung, ServiceUnavailable
from llamaswap_lib.fleet.retrying import ALWAYS
from tests.fleet.boxes import running
from tests.web.upstreams import LeapingClock, wait_until
from tests.web.world import CHUNKED_HEAD, OK, Peer, Upstream, World, chat, get, sized

# The order of a failover is that of the file, whatever is known of the boxes.
CONFIG = """
models: {m: {cmd: server, proxy: PROXY, filters: {setParams: {at: here}}}}
peers:
  one: {proxy: ONE, models: [a], timeouts: {responseHeader: 5}, filters: {setParams: {at: one}}}
  two: {proxy: TWO, models: [b, c], filters: {setParams: {at: two}}}
selectors:
  s: {strategy: failover, targets: [one/a, two/b, two/c]}
  local: {strategy: failover, targets: [m, two/b]}
  pin: {strategy: pin, targets: [one/a]}
"""
ASK = chat(b'{"model":"s"}')


def status(code: int, fields: str = "") -> bytes:
    return f"HTTP/1.1 {code} X\r\n{fields}Content-Length: 4\r\n\r\nbody".encode()


NOT_LOADED = status(502, "Retry-After: 2\r\nx-should-retry: false\r\n")


class Says:
    """A server with one answer to all requests, or none; what it was asked is remembered."""

    def __init__(self, answer: bytes = OK) -> None:
        self.answer = answer
        self.bodies: list[dict[str, str]] = []

    def __call__(self, peer: Peer) -> None:
        while not peer.has_hung_up():
            _, body = peer.read_message()
            self.bodies.append(json.loads(body or b"{}"))  # a look has none
            if not self.answer:
                return
            peer.send(self.answer)
            if self.answer.endswith(b"cut"):
                peer.reset()
                return


@contextmanager
def two_boxes(
    one: Callable[[Peer], None],
    two: Callable[[Peer], None],
    clock: Callable[[], float] = time.monotonic,
    config: str = CONFIG,
) -> Iterator[World]:
    first, second = Upstream(one), Upstream(two)
    config = config.replace("ONE", first.proxy).replace("TWO", second.proxy)
    try:
        with World(Says(), config=config, clock=clock) as world:
            yield world
    finally:
        first.close()
        second.close()


def code_of(answer: tuple[bytes, bytes]) -> int:
    return int(answer[0].split()[1])


@pytest.mark.parametrize("answer", [b"", status(503), status(429), NOT_LOADED])
def test_the_next_box_answers_under_its_own_name_of_the_model(answer: bytes) -> None:
    one, two = Says(answer), Says()
    with two_boxes(one, two) as world:
        assert world.ask(ASK)[1] == b"ok"
        [record] = world.journal.wait_for(1)
        assert (record.model, record.selector, record.status) == ("two/b", "s", 200)
        assert "; two/b is asked\n" in world.log
    assert (one.bodies, two.bodies) == ([{"model": "a", "at": "one"}], [{"model": "b", "at": "two"}])


@pytest.mark.parametrize("code", [500, 504, 502, 404])
def test_other_errors_are_passed_on_as_they_are(code: int) -> None:
    two = Says()
    with two_boxes(Says(status(code)), two) as world:
        answer = world.ask(ASK)
        assert (code_of(answer), answer[1]) == (code, b"body")
    assert two.bodies == []


def test_a_box_that_says_no_is_followed_by_one_more_and_no_other() -> None:
    one, two = Says(status(503)), Says(status(429))
    with two_boxes(one, two) as world:
        assert code_of(world.ask(ASK)) == 429
    assert [body["model"] for body in one.bodies + two.bodies] == ["a", "b"]


def test_boxes_that_do_not_answer_are_followed_by_all_others() -> None:
    one, two = Says(b""), Says(b"")
    with two_boxes(one, two) as world:
        assert code_of(world.ask(ASK)) == 502
        assert world.journal.wait_for(1)[0].retries == 2
    assert [body["model"] for body in one.bodies + two.bodies] == ["a", "b", "c"]


def test_a_box_that_takes_no_connection_is_followed_however_many_requests_there_are() -> None:
    two = Says()
    config = CONFIG.replace("ONE", "http://127.0.0.1:9").replace("TWO", "PROXY")
    with World(two, config=config) as world:
        assert [world.ask(ASK)[1] for _ in range(3 * ALWAYS)] == [b"ok"] * 3 * ALWAYS


def test_after_a_byte_of_an_answer_nobody_else_is_asked() -> None:
    two = Says()
    with two_boxes(Says(CHUNKED_HEAD + b"3\r\ncut"), two) as world, world.connect() as client:
        client.send(ASK)
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        wait_until(lambda: len(world.journal.records) == 1)
    assert two.bodies == []


def test_half_a_head_is_an_answer() -> None:
    two = Says()
    with two_boxes(Says(b"HTTP/1.1 200 OK\r\ncut"), two) as world:
        assert code_of(world.ask(ASK)) == 502
    assert two.bodies == []


def test_one_that_is_silent_for_too_long_may_still_be_at_work() -> None:
    clock, two = LeapingClock(), Says()
    asked: list[Peer] = []

    def silent(peer: Peer) -> None:
        peer.read_message()
        asked.append(peer)
        peer.wait_for_hang_up()

    with two_boxes(silent, two, clock=clock) as world, world.connect() as client:
        client.send(ASK)
        wait_until(lambda: bool(asked))
        clock.leap(world, 5.0)
        assert code_of(client.read_message()) == 504
    assert two.bodies == []


@pytest.mark.parametrize("refusal", [LoadFailed("it cannot"), ConcurrencyLimit("full"), ServiceUnavailable("no room")])
def test_a_model_of_ours_that_cannot_take_it_is_followed_by_a_peer(refusal: Exception) -> None:
    two = Says()
    with two_boxes(Says(), two) as world:
        world.controller.refusal = refusal
        assert world.ask(chat(b'{"model":"local"}'))[1] == b"ok"
        assert world.journal.wait_for(1)[0].model == "two/b"
    assert [body["model"] for body in two.bodies] == ["b"]


def test_one_of_ours_that_hung_is_not() -> None:
    two = Says()
    with two_boxes(Says(), two) as world:
        world.controller.refusal = ModelHung("it hung")
        assert code_of(world.ask(chat(b'{"model":"local"}'))) == 504
    assert two.bodies == []


def test_a_pin_and_a_name_of_one_box_are_asked_there_alone() -> None:
    one, two = Says(status(503)), Says()
    with two_boxes(one, two) as world:
        for name in (b"pin", b"one/a"):
            assert code_of(world.ask(chat(b'{"model":"%b"}' % name))) == 503
    assert two.bodies == []


def test_a_fleet_that_says_no_is_not_asked_twice_as_much() -> None:
    one, two = Says(status(503)), Says(status(503))
    with two_boxes(one, two) as world:
        for _ in range(20):
            assert code_of(world.ask(ASK)) == 503
    assert (len(one.bodies), len(two.bodies)) == (20, ALWAYS)


def test_a_query_is_renamed_for_the_next_box() -> None:
    lines: list[str] = []

    def note(peer: Peer) -> None:
        lines.append(peer.read_message()[0].decode().split("\r\n")[0])
        if len(lines) > 1:
            peer.send(OK)

    with two_boxes(note, note) as world:
        assert world.ask(get("/props?model=s&x=1"))[1] == b"ok"
    assert lines == ["GET /props?model=a&x=1 HTTP/1.1", "GET /props?model=b&x=1 HTTP/1.1"]


def test_a_large_body_is_sent_again_whole() -> None:
    one, two = Says(b""), Says()
    text = "x" * 3_000_000
    with two_boxes(one, two) as world:
        assert world.ask(chat(json.dumps({"model": "s", "text": text}).encode()))[1] == b"ok"
    assert two.bodies == [{"model": "b", "text": text, "at": "two"}]


def test_nothing_is_held_once_the_request_has_ended() -> None:
    with two_boxes(Says(b""), Says(sized(b"ok"))) as world:
        world.ask(ASK)
        counts = world.app.selectors._counts
        wait_until(lambda: not counts.of("one") and not counts.of("two"))


# -- a peer that refuses our key, takes long, or is gone --


@pytest.mark.parametrize(
    ("model", "extra", "is_ours"),
    [
        ("keyed/m", b"", True),
        ("keyed/m", b"Authorization: Bearer mine\r\n", True),  # which is not sent on
        ("plain/m", b"", True),
        ("plain/m", b"Authorization: Bearer mine\r\n", False),
        ("plain/m", b"X-Api-Key: mine\r\n", False),
    ],
)
def test_that_a_peer_refuses_our_key_is_not_said_of_the_clients(model: str, extra: bytes, is_ours: bool) -> None:
    config = "peers:\n  keyed: {proxy: PROXY, models: [m], apiKey: sek}\n  plain: {proxy: PROXY, models: [m]}\n"
    with World(Says(status(401)), config=config) as world:
        answer = world.ask(chat(json.dumps({"model": model}).encode(), extra=extra))
        if is_ours:
            told = json.loads(answer[1])["error"]["message"]
            assert told == f"the peer {model[:5]} refuses our key: it answered 401; see its apiKey"
            assert (code_of(answer), f": 502, {told}" in world.log) == (502, True)
        else:
            assert (code_of(answer), answer[1]) == (401, b"body")


def test_a_peer_that_forbids_a_request_is_passed_on_for_it_may_be_about_what_is_asked() -> None:
    config = "peers:\n  keyed: {proxy: PROXY, models: [m], apiKey: sek}\n"
    with World(Says(status(403)), config=config) as world:
        answer = world.ask(chat(b'{"model": "keyed/m"}'))
        assert (code_of(answer), answer[1]) == (403, b"body")


class Slow:
    """A llamaswap whose looks are answered, and no request for text before it is told to."""

    def __init__(self, running: bytes) -> None:
        self.running = running
        self.asked, self.go = threading.Event(), threading.Event()

    def __call__(self, peer: Peer) -> None:
        head, _ = peer.read_message()
        if head.startswith(b"POST"):
            self.asked.set()
            assert self.go.wait(60)
            peer.send(OK)
        elif self.running:
            peer.send(self.running)


@pytest.mark.parametrize(("bound", "code"), [("", 200), (", timeouts: {responseHeader: 60}", 504)])
def test_a_load_at_a_llamaswap_takes_as_long_as_that_allows(bound: str, code: int) -> None:
    clock, slow = LeapingClock(), Slow(running())
    with World(slow, config=f"peers:\n  p: {{proxy: PROXY, models: [m]{bound}}}\n", clock=clock) as world:
        world.app.peers.change(world.app.config)
        wait_until(lambda: world.app.peers.is_llamaswap("p"))
        with world.connect() as client:
            client.send(chat(b'{"model":"p/m"}'))
            assert slow.asked.wait(60)
            clock.leap(world, 3600.0)
            if code == 200:
                slow.go.set()
            assert code_of(client.read_message()) == code
            slow.go.set()


@pytest.mark.slow
def test_who_waits_at_a_llamaswap_that_does_not_answer_any_more_is_sent_to_the_next() -> None:
    slow, two = Slow(running()), Says()
    config = CONFIG.replace(", timeouts: {responseHeader: 5}", "")
    with two_boxes(slow, two, config=config) as world, world.connect() as client:
        world.app.peers.change(world.app.config)
        wait_until(lambda: world.app.peers.is_llamaswap("one"))
        client.send(ASK)
        assert slow.asked.wait(60)
        slow.running = b""  # it closes without a byte, which is an answer of somebody
        wait_until(lambda: world.app.peers.states()["one"].is_up is False)
        world.app.peers.note_gone(world.app.config.peers["one"].proxy)
        assert client.read_message()[1] == b"ok"
        slow.go.set()
    assert [body["model"] for body in two.bodies if body] == ["b"]


def test_a_box_that_is_gone_within_the_head_of_its_answer_is_not_followed() -> None:
    begun, go, two = threading.Event(), threading.Event(), Says()

    def begin(peer: Peer) -> None:
        peer.read_message()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-")
        begun.set()
        go.wait(60)

    with two_boxes(begin, two) as world, world.connect() as client:
        client.send(ASK)
        assert begun.wait(60)
        world.app.peers.note_gone(world.app.config.peers["one"].proxy)
        assert code_of(client.read_message()) == 502
        go.set()
    assert two.bodies == []
