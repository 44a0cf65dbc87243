"""Every 5xx of ours leaves one warning with path, model, status and cause; nobody else's does, and no lost client."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable

import pytest

from llamaswap_lib.errors import (
    BadGateway,
    ClientGone,
    HttpError,
    LoadFailed,
    ModelHung,
    OutOfResources,
    ServiceUnavailable,
)
from tests.web.test_loading import STREAM, Loading
from tests.web.upstreams import Thinker, ok_then, warm
from tests.web.world import (
    CHUNKED_HEAD,
    DEADLINE,
    OK,
    Peer,
    World,
    answers,
    chat,
    get,
)

CHAT = '"POST /v1/chat/completions" for m'
HUNG_UP = "it closed the connection without an answer"
FAILURE = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops"


def warnings(world: World) -> list[str]:
    """What the log warns of, and the lines below it."""
    return re.findall(r"^\[WARN\] (.*\n(?:    \| .*\n)*)", world.log, re.MULTILINE)


def closing(peer: Peer) -> None:
    """An upstream that hangs up on its request."""
    peer.read_message()


# -- ours --


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (LoadFailed("model m could not be loaded: exited with code 3"), "502, model m could not be loaded: exited wi"),
        (OutOfResources("model m could not be loaded: no thread"), "503, model m could not be loaded: no thread"),
        (ServiceUnavailable("the server is shutting down"), "503, the server is shutting down"),
        (ModelHung("the server of m hangs"), "504, the server of m hangs"),
        (BadGateway("a\r\n[ERROR] b\x1b"), "502, a\\r\\n[ERROR] b\\x1b"),
        (HttpError("internal error: the log says why"), "500, internal error: the log says why"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, HttpError) else "",
)
def test_each_5xx_is_told_once_in_a_first_request_and_a_later_one(refusal: HttpError, told: str) -> None:
    with World(answers(OK)) as world, world.connect() as client:
        world.controller.refusal = refusal
        for count in (1, 2):
            client.send(chat())
            assert client.read_message()[0].startswith(b"HTTP/1.1 %d " % refusal.status)
            assert len(warnings(world)) == count  # before the client sees it
            assert warnings(world)[-1].startswith(f"{CHAT}: {told}")


def test_an_upstream_that_hangs_up_is_told_once_with_the_cause() -> None:
    with World(ok_then(closing), closing, closing) as world, warm(world) as client:
        client.send(chat())
        assert client.read_message()[0].startswith(b"HTTP/1.1 502 ")
        assert warnings(world) == [f"{CHAT}: 502, the server of m did not answer: {HUNG_UP}\n"]


def test_an_upstream_that_cannot_be_reached_is_told_for_every_route() -> None:
    with World() as world, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        world.controller.proxy = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        for request in (chat(), get("/upstream/m/a%22b%0a"), get("/v1/audio/voices?model=m")):
            assert world.ask(request)[0].startswith(b"HTTP/1.1 502 ")
        told = [warning.partition(": 502, cannot connect to m at ")[0] for warning in warnings(world)]
        assert told == [CHAT, '"GET /upstream/m/a\\"b\\n" for m', '"GET /v1/audio/voices" for m']


def test_a_path_and_a_method_do_not_fill_the_log() -> None:
    with World() as world:
        world.controller.refusal = BadGateway("why")
        world.ask(get("/upstream/m/" + "p" * 30_000, method="M" * 30_000))
        (warning,) = warnings(world)
        assert len(warning) < 700
        assert warning.endswith('…" for m: 502, why\n')


def test_a_long_cause_does_not_fill_the_log() -> None:
    with World() as world:
        world.controller.refusal = BadGateway("€" * 10_000)
        world.ask(chat())
        (warning,) = warnings(world)
        assert warning.endswith("€…\n")
        assert len(warning.encode()) < 4_200


def test_what_is_no_request_for_a_model_is_told_without_one() -> None:
    with World() as world:
        assert world.ask(get("/health", extra=b"Transfer-Encoding: gzip\r\n"))[0].startswith(b"HTTP/1.1 501 ")
        assert warnings(world) == ["\"- *\": 501, transfer coding 'gzip' is not supported, only chunked is\n"]


def test_loading_by_hand_names_its_model() -> None:
    with World() as world:
        world.controller.refusal = LoadFailed("why")
        world.ask(get("/api/models/load/al", method="POST"))
        assert warnings(world) == ['"POST /api/models/load/al" for m: 502, why\n']


def test_the_last_words_stand_under_the_first_warning_of_their_run_and_cannot_pass_for_lines_of_ours() -> None:
    news = iter([True])
    words = ["CUDA error", "[ERROR] not ours\x1b[2J", "ä…"]
    with World() as world:
        for _ in range(3):
            world.controller.refusal = LoadFailed("why", last_words=words, is_news=lambda: next(news, False))
            body = json.loads(world.ask(chat())[1])
            assert body["error"]["message"].splitlines() == ["why", *words]
        first = f"{CHAT}: 502, why\n    | CUDA error\n    | [ERROR] not ours\\x1b[2J\n    | ä…\n"
        assert warnings(world) == [first, f"{CHAT}: 502, why\n", f"{CHAT}: 502, why\n"]
        assert "[ERROR]" not in [line[:7] for line in world.log.splitlines()]


def test_a_fault_of_our_own_is_told_once_beside_its_traceback_in_a_first_request_and_a_later_one() -> None:
    with World(answers(OK)) as world:
        world.controller.fault = ZeroDivisionError()
        assert world.ask(chat())[0].startswith(b"HTTP/1.1 500 ")
        assert warnings(world) == ['"POST /v1/chat/completions" for m: 500, internal error\n']
        world.controller.fault = None
        with warm(world) as client:
            world.controller.fault = ZeroDivisionError()
            client.send(chat())
            assert client.read_message()[0].startswith(b"HTTP/1.1 500 ")
            assert len(warnings(world)) == 2


def test_an_error_in_a_stream_that_has_begun_is_told_once() -> None:
    with Loading(answers(OK)) as world, world.connect() as client:
        world.controller.refusal = LoadFailed("why", last_words=["last"])
        client.send(chat(STREAM))
        world.end_wait(client)
        client.read_until(b"event: error")
        assert warnings(world) == [f"{CHAT}: 502, why\n    | last\n"]


def test_a_newcomer_at_the_end_is_told_of_and_those_that_follow_when_it_is_over() -> None:
    with World() as world:
        world.server.is_stopping = True
        for _ in range(3):
            with world.connect() as late:
                assert late.read_message()[0].startswith(b"HTTP/1.1 503 ")
        world.wait_for_log("[WARN] the server is shutting down: 1 turned away with a 503\n")
        world.server.stop_accepting()
        assert warnings(world)[1:] == ["the server is shutting down: 2 turned away with a 503\n"]


# -- after the head --


@pytest.mark.parametrize("is_first", [True, False])
def test_an_answer_that_breaks_off_is_no_5xx_but_told(is_first: bool) -> None:
    def break_off(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD + b"5\r\nhel")

    with World(*([break_off] if is_first else [ok_then(break_off)])) as world, world.connect() as client:
        if not is_first:
            client.send(chat())
            client.read_message()
        client.send(chat())
        client.read_until(b"hel")
        client.read_to_end()
        world.wait_for_log(' 200 6 "" ')
        assert warnings(world) == [f"{CHAT}: the answer broke off after 6 bytes\n"]


# -- not ours --


def test_an_error_of_the_upstream_is_not_ours() -> None:
    with World(answers(FAILURE, FAILURE)) as world, world.connect() as client:
        for _ in range(2):
            client.send(chat())
            assert client.read_message()[0].startswith(b"HTTP/1.1 500 ")
        assert warnings(world) == []


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (FAILURE, [f"{CHAT}: 502, the server of m answered 500 Internal Server Error: oops\n"]),
        (b'HTTP/1.1 500 Oops\r\nContent-Length: 28\r\n\r\n{"error":{"message":"mine"}}', []),
    ],
)
def test_in_a_stream_that_has_begun_an_error_of_the_upstream_is_ours_where_we_word_it(
    answer: bytes, told: list[str]
) -> None:
    with Loading(answers(answer)) as world, world.connect() as client:
        client.send(chat(STREAM))
        world.end_wait(client)
        client.read_until(b"event: error")
        assert warnings(world) == told


def test_a_refusal_of_a_client_is_no_warning() -> None:
    with World() as world:
        for request in (chat(b"{"), chat(b'{"model":"nope"}'), get("/nope"), get("/unload", method="POST")):
            world.ask(request)
        assert warnings(world) == []


# -- clients that left --


def leave(client: Peer) -> None:
    client.close()


def end(client: Peer) -> None:
    client.end()


def reset(client: Peer) -> None:
    client.reset()


@pytest.mark.parametrize("go", [leave, end, reset])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_client_that_leaves_while_the_model_thinks_is_499_and_no_warning(
    go: Callable[[Peer], None], is_first: bool
) -> None:
    thinker = Thinker()
    script = thinker.hear_hang_up if is_first else ok_then(thinker.hear_hang_up)
    with World(script) as world, world.connect() as client:
        if not is_first:
            client.send(chat())
            client.read_message()
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        go(client)
        world.wait_for_log(' 499 0 "" ')
        assert warnings(world) == []


def test_a_client_that_leaves_while_it_waits_for_its_model_is_499_and_no_warning() -> None:
    with World() as world, world.connect() as client:
        world.controller.refusal = ClientGone()
        client.send(chat())
        world.wait_for_log(' 499 0 "" ')
        assert warnings(world) == []


def test_a_client_that_leaves_within_its_body_is_499() -> None:
    with World() as world:
        with world.connect() as client:
            client.send(chat(b"x" * 100_000)[:5000])
        world.wait_for_log(' 499 0 "" ')
        assert warnings(world) == []


def test_a_client_that_leaves_behind_the_head_keeps_the_status_that_it_saw() -> None:
    thinker = Thinker()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD + b"2\r\nhe\r\n")
        peer.wait_for_hang_up()
        thinker.go.set()

    with World(script) as world, world.connect() as client:
        client.send(chat())
        client.read_until(b"he")
        client.close()
        assert thinker.go.wait(DEADLINE)
        world.wait_for_log(' 200 7 "" ')
        assert warnings(world) == []


@pytest.mark.parametrize("answer", [OK, b""], ids=["an answer", "a failure"])
def test_an_answer_of_which_nothing_could_be_sent_is_none(answer: bytes) -> None:
    """Its client resets the connection while the loop is busy: the answer comes before that is noticed, or after."""
    asked, go, told, go_on = (threading.Event() for _ in range(4))

    def script(peer: Peer) -> None:
        peer.read_message()
        asked.set()
        assert go.wait(DEADLINE)
        peer.send(answer)
        peer.close()
        told.set()

    with World(script) as world, world.connect() as client:
        client.send(chat())
        assert asked.wait(DEADLINE)
        world.loop.call(go_on.wait, DEADLINE)
        client.reset()
        go.set()
        assert told.wait(DEADLINE)
        go_on.set()
        world.wait_for_log('"POST /v1/chat/completions HTTP/1.1" 499 0 "" ')
