"""What a watchdog says of runs that answer, are silent or hang: with real servers of a few lines and made up bytes."""

from __future__ import annotations

import errno
import os
import queue
import socket
import threading
import time
from collections.abc import Callable

import pytest

from llamaswap_lib.core.events import Event, RunAnswered, RunSilent
from llamaswap_lib.core.gate import Gate
from llamaswap_lib.runtime.health.check import HealthCheck
from llamaswap_lib.runtime.health.look import Address
from llamaswap_lib.runtime.health.watchdog import ANSWERED_BEFORE, Movement, Subject, Watchdog
from tests.runtime.probing import OK, PATIENCE, Server, answers, until_it_hangs_up

pytestmark = pytest.mark.slow  # silences take their time

HUNG_AFTER = 1.0  # in which a server in this process answers, however busy the machine is
CHECK = "has not answered its check"


class Crowded(HealthCheck):
    """One for which there may be no descriptor: while `is_full` is set."""

    is_full = threading.Event()

    def resolve(self) -> list[Address]:
        if Crowded.is_full.is_set():
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().resolve()


class Watched:
    """Run 3 with one request inside, and its watchdog; `bytes` is what moves, None where nobody knows."""

    def __init__(self, server: Server | None, hung_after: float = HUNG_AFTER) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.gate = Gate(3, self.events.put, time.monotonic)
        self.gate.shut = False
        self.request = object()
        assert self.gate.enter(self.request)
        self.bytes: Movement | None = Movement()
        self.shortages = 0  # looks for which there is no memory
        self._samples = threading.Semaphore(0)
        check = Crowded.at(f"http://127.0.0.1:{server.port}", "/health") if server else None
        subject = Subject(3, "m", self.gate, lambda: None, check, hung_after, self._sample)
        self.watchdog = Watchdog(subject, self.events.put)

    def __enter__(self) -> Watched:
        self.watchdog.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.watchdog.cancel()

    def _sample(self) -> Movement | None:
        self._samples.release()
        if self.shortages:
            self.shortages -= 1
            raise MemoryError
        return self.bytes

    def silence(self) -> tuple[str, str]:
        """What was said of the next silence, and the proof."""
        event = self.events.get(timeout=PATIENCE)
        assert isinstance(event, RunSilent)
        assert event.run_id == 3
        return event.what, event.proof

    def await_samples(self, count: int = 16) -> None:
        """Until, at 16, twice `hungAfter` have gone by: the bytes are counted eight times in each."""
        while self._samples.acquire(blocking=False):
            pass
        for _ in range(count):
            assert self._samples.acquire(timeout=PATIENCE)


class Hanging:
    """Answers until the door is shut, and then no more."""

    def __init__(self) -> None:
        self.has_answered = threading.Semaphore(0)
        self.hangs = threading.Event()
        self.on_answer: Callable[[], None] = lambda: None

    def __call__(self, client: socket.socket, _: int) -> None:
        if self.hangs.is_set():
            until_it_hangs_up(client)
            return
        self.on_answer()
        client.sendall(OK)
        self.has_answered.release()

    def await_answers(self, count: int) -> None:
        for _ in range(count):
            assert self.has_answered.acquire(timeout=PATIENCE)


def silent(client: socket.socket, _: int) -> None:
    until_it_hangs_up(client)


def test_a_silence_that_proves_nothing_is_told_once_with_one_question_open() -> None:
    with Server(silent) as server, Watched(server) as watched:
        assert watched.silence() == (CHECK, "")
        watched.await_samples()
        assert watched.events.empty()
        assert len(server.questions) <= 6  # each is open for as long as the silence has lasted; else there were a dozen


def test_a_look_that_finds_no_memory_says_nothing_of_the_run_and_others_follow() -> None:
    hanging = Hanging()
    with Server(hanging) as server, Watched(server) as watched:
        hanging.await_answers(3)
        hanging.hangs.set()
        watched.shortages = 16  # as many as fill twice `hungAfter`
        watched.await_samples()
        assert watched.events.empty()
        assert watched.silence() == (CHECK, ANSWERED_BEFORE)


def test_a_look_for_which_there_is_no_descriptor_says_nothing_of_the_run_and_others_follow() -> None:
    hanging = Hanging()
    with Server(hanging) as server, Watched(server) as watched:
        hanging.await_answers(3)
        Crowded.is_full.set()
        hanging.hangs.set()
        watched.await_samples(40)  # of each look, and of each pause
        assert watched.events.empty()
        Crowded.is_full.clear()
        assert watched.silence() == (CHECK, ANSWERED_BEFORE)


def test_a_server_that_answered_beside_a_request_and_does_not_any_more_hangs() -> None:
    hanging = Hanging()
    with Server(hanging) as server, Watched(server) as watched:
        hanging.await_answers(3)
        hanging.hangs.set()
        assert watched.silence() == (CHECK, ANSWERED_BEFORE)


def test_what_it_has_shown_counts_when_somebody_waits_anew() -> None:
    hanging = Hanging()
    with Server(hanging) as server, Watched(server) as watched:
        hanging.await_answers(3)
        watched.watchdog.cancel()
        hanging.hangs.set()
        watched.watchdog.begin()
        assert watched.silence() == (CHECK, ANSWERED_BEFORE)


def show_nothing(hanging: Hanging, watched: Watched) -> None:
    """It answers its check, then hangs, and its silence is told without a proof."""
    with watched:
        hanging.await_answers(3)
        hanging.hangs.set()
        assert watched.silence() == (CHECK, "")
        watched.await_samples()
        assert watched.events.empty()


def test_an_answer_as_a_request_ends_shows_nothing() -> None:
    """A server with one thread answers its check between two requests: the next one is inside already, and waits."""
    hanging = Hanging()
    with Server(hanging) as server:
        watched = Watched(server)

        def end_a_request() -> None:
            following = object()
            assert watched.gate.enter(following)
            watched.gate.leave(watched.request)
            watched.request = following

        hanging.on_answer = end_a_request
        show_nothing(hanging, watched)


def test_an_answer_while_a_request_comes_in_shows_nothing() -> None:
    """A server with one event loop reads a long body, answers its check meanwhile, and then works in the loop."""
    hanging = Hanging()
    with Server(hanging) as server:
        watched = Watched(server)

        def take_more() -> None:
            watched.bytes = Movement(taken=watched.bytes.taken + 1 if watched.bytes else 0)

        hanging.on_answer = take_more
        show_nothing(hanging, watched)


def test_an_answer_with_nobody_inside_shows_nothing() -> None:
    hanging = Hanging()
    with Server(hanging) as server, Watched(server) as watched:
        watched.gate.leave(watched.request)
        hanging.await_answers(3)
        assert watched.gate.enter(watched.request)
        hanging.hangs.set()
        assert watched.silence() == (CHECK, "")
        watched.await_samples()
        assert watched.events.empty()


def test_what_we_do_not_read_may_hold_it_up() -> None:
    hanging = Hanging()
    with Server(hanging) as server, Watched(server) as watched:
        hanging.await_answers(3)
        watched.bytes = Movement(unread=True)
        hanging.hangs.set()
        assert watched.silence() == (CHECK, "")
        watched.await_samples()
        assert watched.events.empty()
        watched.bytes = Movement()
        assert watched.silence() == (CHECK, ANSWERED_BEFORE)


def test_where_nobody_knows_what_moves_nothing_is_proven() -> None:
    hanging = Hanging()
    with Server(hanging) as server, Watched(server) as watched:
        hanging.await_answers(3)
        watched.bytes = None
        hanging.hangs.set()
        assert watched.silence() == (CHECK, "")
        watched.await_samples()
        assert watched.events.empty()


@pytest.mark.parametrize("sign", ["an answer", "a byte"])
def test_a_sign_of_life_ends_a_silence(sign: str) -> None:
    released, is_seen = threading.Event(), threading.Event()

    def serve(client: socket.socket, _: int) -> None:
        if is_seen.is_set():
            until_it_hangs_up(client)
        else:
            assert released.wait(PATIENCE)
            client.sendall(OK)

    with Server(serve) as server, Watched(server) as watched:
        assert watched.silence() == (CHECK, "")
        if sign == "a byte":
            watched.bytes = Movement(moved=1)
        else:
            released.set()
        assert watched.events.get(timeout=PATIENCE) == RunAnswered(3)
        is_seen.set()
        assert watched.silence()[0] == CHECK
        released.set()


def test_bytes_that_move_all_the_time_are_no_silence() -> None:
    with Server(silent) as server, Watched(server) as watched:
        for moved in range(8):
            watched.bytes = Movement(moved)
            watched.await_samples(3)
        assert watched.events.empty()


def test_without_a_check_only_bytes_tell_and_prove_nothing() -> None:
    with Watched(None) as watched:
        assert watched.silence() == ("has sent nothing", "")
        watched.await_samples()
        assert watched.events.empty()


def test_an_error_is_an_answer_and_a_refusal_is_none() -> None:
    broken = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
    with Server(answers(broken)) as server, Watched(server) as watched:
        watched.await_samples()
        assert watched.events.empty()
    with Server(silent) as server:
        pass
    with Watched(server) as watched:
        assert watched.silence() == (CHECK, "")


def test_nothing_is_reported_after_the_end() -> None:
    with Server(silent) as server, Watched(server) as watched:
        watched.watchdog.cancel()
        watched.watchdog.begin()
        watched.watchdog.cancel()
        assert watched.events.empty()
