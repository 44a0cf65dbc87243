"""The life of a connection: one request behind the other, each answered once and as it should be."""

from __future__ import annotations

import re
import threading
from contextlib import suppress

import pytest

from llamaswap_lib.endpoints.proxied import MOST_QUICK_BYTES
from llamaswap_lib.errors import BadGateway, ConcurrencyLimit
from llamaswap_lib.server.limits import Limits
from llamaswap_lib.server.request_reader import MOST_IN_A_ROW
from tests.web.upstreams import (
    LeapingClock,
    Thinker,
    always,
    borrowed_threads,
    hang_up,
    ok_then,
    wait_until,
    warm,
)
from tests.web.world import (
    CHUNKED_HEAD,
    DEADLINE,
    MODELS,
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

# -- one behind the other --


def test_the_next_request_of_a_connection_is_served_and_no_thread_is_borrowed() -> None:
    thinker = Thinker(sized(b"thought"))
    with World(ok_then(thinker.answer, answers(sized(b"third")))) as world, warm(world) as client:
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        assert (borrowed_threads(), world.controller.inside) == (0, 1)
        thinker.go.set()
        assert client.read_message()[1] == b"thought"
        world.controller.wait_empty()
        client.send(chat())
        assert client.read_message()[1] == b"third"
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
        client.send(chat())
        assert client.read_message()[1] == b"ok"


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


@pytest.mark.parametrize("count", [2, 31, 32, 33, 300])
def test_who_sends_many_requests_ahead_does_not_keep_others_waiting(count: int) -> None:
    is_held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        is_held.set()
        assert go_on.wait(DEADLINE)

    with World(always(OK)) as world, warm(world) as crowd, warm(world) as other:
        world.loop.call(hold)  # so that all of it is there at once
        assert is_held.wait(DEADLINE)
        crowd.send(get("/health") * count)
        other.send(get("/nope"))
        go_on.set()
        assert [crowd.read_message()[1] for _ in range(count)] == [b"OK"] * count
        assert other.read_message()[0].startswith(b"HTTP/1.1 404 ")
        crowd.send(chat())
        assert crowd.read_message()[1] == b"ok"
        wait_until(lambda: world.log.count("/health") == count and world.log.count("/v1/chat") == 3)
        before_other = world.log.partition("/nope")[0].count("/health")
        assert before_other <= 2 * MOST_IN_A_ROW


def test_a_connection_that_is_broken_off_while_it_lets_others_go_first_ends_quietly() -> None:
    is_held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        is_held.set()
        assert go_on.wait(DEADLINE)
        world.loop.call(world.server._abort_all)

    with World(always(OK)) as world, warm(world) as crowd:
        world.loop.call(hold)
        assert is_held.wait(DEADLINE)
        crowd.send(get("/health") * 300)
        go_on.set()
        crowd.wait_for_hang_up()
        assert world.server.wait_idle(DEADLINE)
        assert world.loop.answers(DEADLINE)  # so it has got to its turn, too
        assert world.log.count("/health") == MOST_IN_A_ROW
        assert "[ERROR]" not in world.log


# -- a later request is answered as a first one --


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
        (chat(b'{"model":"m","x":"' + b"x" * MOST_QUICK_BYTES + b'"}'), b"200"),
        (chat(extra=b"Expect: 100-continue\r\n"), b"200"),
        (CHUNKED_CHAT, b"200"),
        (chat(b'{"model":"m"}', extra=b"X: " + b"x" * 70_000 + b"\r\n"), b"431"),
    ],
)
def test_whatever_comes_behind_a_request_is_answered_for_what_it_is(request_bytes: bytes, status: bytes) -> None:
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


def test_a_model_without_a_place_is_an_error_and_the_next_request_is_served() -> None:
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


def test_a_selector_chooses_once_for_a_request_on_the_loop_and_in_a_thread() -> None:
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


def test_a_choice_of_a_request_that_fails_is_given_back() -> None:
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
            assert borrowed_threads() == 0
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


def test_a_model_that_tells_how_far_it_is_answers_at_once_where_nobody_waits() -> None:
    with World(always(OK), config=TELLING) as world, warm(world) as client:
        for _ in range(2):
            client.send(STREAM)
            assert client.read_message()[1] == b"ok"
        world.controller.refusal = BadGateway("it died")
        client.send(STREAM)
        assert client.read_message()[0].startswith(b"HTTP/1.1 502 ")


# -- the connection itself --


def test_an_idle_connection_is_closed_in_time_and_not_before() -> None:
    clock = LeapingClock()
    with World(always(OK), limits=Limits(idle_timeout=1_000.0), clock=clock) as world, warm(world) as client:
        for _ in range(3):
            clock.leap(world, 600.0)
            client.send(chat())
            assert client.read_message()[1] == b"ok"
        clock.leap(world, 1_000.0)
        assert client.read_to_end() == b""


def test_an_upstream_that_thinks_longer_than_a_client_may_idle_is_waited_for() -> None:
    thinker, clock, limits = Thinker(), LeapingClock(), Limits(idle_timeout=100.0)
    with World(ok_then(thinker.answer), limits=limits, clock=clock) as world, warm(world) as client:
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        clock.leap(world, 300.0)
        assert borrowed_threads() == 0
        thinker.go.set()
        assert client.read_message()[1] == b"ok"


def test_a_server_that_ends_lets_the_request_in_progress_end_and_takes_no_other() -> None:
    thinker = Thinker()
    with World(ok_then(thinker.answer)) as world, warm(world) as client, world.connect() as idle:
        idle.send(get("/health"))
        idle.read_message()
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
        assert world.log.count("ZeroDivisionError") == 1
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


def test_the_time_before_a_request_is_not_counted() -> None:
    with World(always(OK)) as world, warm(world) as client:
        idle_ms = 1000
        threading.Event().wait(idle_ms / 1000)
        client.send(chat())
        client.read_message()
        wait_until(lambda: world.log.count("\n") == 2)
        took = world.log.split()[-1]
        assert took.endswith("µs") or float(took.removesuffix("ms")) < idle_ms


@pytest.mark.parametrize(("filling", "threads"), [(b"words, and more words. ", 0), (b"line\\n", 1)])
def test_a_thread_is_borrowed_for_a_body_of_100_kb_only_where_it_takes_its_time(filling: bytes, threads: int) -> None:
    body = b'{"model":"m","x":"%b"}' % (filling * (100_000 // len(filling)))
    seen: list[bytes] = []

    def script(peer: Peer) -> None:
        seen.append(peer.read_message()[1])
        peer.send(OK)

    with World(script) as world, world.connect() as client:
        client.send(chat(body))
        assert client.read_message()[1] == b"ok"
        assert seen == [body]
        assert borrowed_threads() == threads
