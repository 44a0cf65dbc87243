"""The probe against servers that answer, refuse, hang, drip and talk rubbish."""

from __future__ import annotations

import queue
import select
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from llamaswap_lib.core.events import Event, LoadTimedOut, ProcessReady
from llamaswap_lib.runtime.health.check import HealthCheck, Probe
from llamaswap_lib.runtime.health.look import Address, Look, LookCancelled, wait
from llamaswap_lib.runtime.wakeup import Wakeup
from tests.runtime.probing import (
    LOADING,
    OK,
    PATIENCE,
    Pauses,
    Probing,
    Server,
    SlowNames,
    answers,
    until_it_hangs_up,
    waking,
)
from tests.runtime.runs import no_thread_to_be_had

CERTIFICATE = Path(__file__).with_name("self_signed.pem")


# -- ready --


def test_the_first_200_is_ready() -> None:
    with Server(answers(LOADING, LOADING, OK)) as server, Probing(f"http://127.0.0.1:{server.port}/v?x=1") as probing:
        assert probing.event() == ProcessReady(3)
    assert len(server.questions) == 3
    assert server.questions[0].startswith(b"GET /v/health?x=1 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "line", [b"http/1.1 200 OK\n\n", b"HTTP/1.1  200  OK\r\n\r\n", b"HTTP/1 200\n\n", b"\r\n\nHTTP/1.1 200 OK\n\n"]
)
def test_a_careless_status_line_is_understood(line: bytes) -> None:
    with Server(answers(line)) as server, Probing(f"http://127.0.0.1:{server.port}") as probing:
        assert probing.event() == ProcessReady(3)


def test_localhost_finds_a_server_on_ipv4() -> None:
    with Server(answers(OK)) as server, Probing(f"http://localhost:{server.port}") as probing:
        assert probing.event() == ProcessReady(3)


def test_a_server_on_ipv6_only_is_found() -> None:
    with Server(answers(OK), host="::1") as server, Probing(f"http://[::1]:{server.port}") as probing:
        assert probing.event() == ProcessReady(3)


@pytest.mark.parametrize("serving", ["127.0.0.1", "::1"])
def test_every_address_of_a_name_is_tried(serving: str) -> None:
    with Server(answers(OK), host=serving) as server, waking() as ending:
        for order in (1, -1):
            addresses = [(socket.AF_INET6, ("::1", server.port)), (socket.AF_INET, ("127.0.0.1", server.port))][::order]
            with Look(ending, time.monotonic() + PATIENCE) as look:
                look.connect(addresses)
                look.send(b"x")
                assert look.read_status() == "200"


def test_an_answer_that_stays_open_is_ready_all_the_same() -> None:
    def stay(client: socket.socket, _: int) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        until_it_hangs_up(client)

    with Server(stay) as server, Probing(f"http://127.0.0.1:{server.port}") as probing:
        assert probing.event() == ProcessReady(3)


def test_a_server_that_does_not_close_is_asked_again() -> None:
    def stay_once(client: socket.socket, number: int) -> None:
        client.sendall(LOADING if number == 1 else OK)
        until_it_hangs_up(client)

    with Server(stay_once) as server, Probing(f"http://127.0.0.1:{server.port}") as probing:
        assert probing.event() == ProcessReady(3)
    assert len(server.questions) == 2


def test_the_status_may_come_byte_by_byte() -> None:
    def drip(client: socket.socket, _: int) -> None:
        for byte in OK:
            client.sendall(bytes([byte]))

    with Server(drip) as server, Probing(f"http://127.0.0.1:{server.port}") as probing:
        assert probing.event() == ProcessReady(3)


def test_a_server_that_starts_to_listen_later_is_found() -> None:
    is_looking = threading.Event()

    def pause(ending: Wakeup, until: float) -> None:
        is_looking.set()
        wait(ending, until)

    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        with Probing(f"http://127.0.0.1:{reserved.getsockname()[1]}", pause=pause) as probing:
            assert is_looking.wait(PATIENCE)
            reserved.listen()
            reserved.settimeout(PATIENCE)
            client, _ = reserved.accept()
            with client:
                client.sendall(OK)
            assert probing.event() == ProcessReady(3)


def test_pauses_between_looks_are_short_so_that_a_ready_server_is_soon_seen() -> None:
    """A swap is promised to add 0 to 30 ms to the load itself: the pauses start at 2 ms and never exceed 40 ms."""
    pauses = Pauses()
    with Server(answers(LOADING)) as server:
        url = f"http://127.0.0.1:{server.port}"
        with Probing(url, health_timeout=3.0, clock=pauses.clock, pause=pauses.take) as probing:
            assert isinstance(probing.event(), LoadTimedOut)
    *taken, _ = pauses.taken  # the last one ends at the deadline
    assert taken[0] <= 0.002
    assert max(taken) <= 0.04
    for number, seconds in enumerate(taken[1:], 1):
        assert seconds <= 0.0025 + 0.1 * sum(taken[:number])
    assert taken[-1] > 0.039  # a slow load is not asked hundreds of times a second


@pytest.mark.parametrize("tls", [True, False])
def test_https_needs_no_certificate_that_anybody_vouches_for_but_tls(tls: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        url = f"https://localhost:{listener.getsockname()[1]}"
        pauses = Pauses(1)
        with Probing(url, clock=pauses.clock, pause=pauses.take) as probing:
            client, _ = listener.accept()
            client.settimeout(PATIENCE)
            if tls:
                with context.wrap_socket(client, server_side=True) as secured:
                    assert secured.recv(65536).startswith(b"GET /health HTTP/1.1\r\n")
                    secured.sendall(OK)
                    assert probing.event() == ProcessReady(3)
            else:
                with client:
                    client.sendall(LOADING)
                    event = probing.event()
                    assert isinstance(event, LoadTimedOut)


# -- not ready --


def timed_out(proxy: str, health_timeout: float = PATIENCE, pauses: Pauses | None = None) -> str:
    """What is said of the last answer when the health timeout has passed, and not before."""
    clock, pause = (pauses.clock, pauses.take) if pauses else (time.monotonic, wait)
    deadline = clock() + health_timeout
    with Probing(proxy, health_timeout=health_timeout, clock=clock, pause=pause) as probing:
        event = probing.event()
        assert clock() >= deadline
    assert isinstance(event, LoadTimedOut)
    assert event.run_id == 3
    start, answer = event.detail.split("; last health answer: ")
    assert start == f"not ready after {health_timeout:g} s"
    return answer


def test_nobody_there_is_said_so() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        assert timed_out(url, pauses=Pauses(5)) == "connection refused"


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (LOADING, "503"),
        (b"HTTP/1.0 500 Oops\r\n\r\n", "500"),
        (b"HTTP/1.1 204\r\n\r\n", "204"),
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n", "302"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "not HTTP"),
        (b"\0\xff" * 40_000, "not HTTP"),
        (b"HTTP/1.1 20", "not HTTP"),
        (b"", "closed without an answer"),
    ],
)
def test_anything_but_200_is_not_ready(reply: bytes, answer: str) -> None:
    with Server(answers(reply)) as server:
        said = timed_out(f"http://127.0.0.1:{server.port}", pauses=Pauses(5))
        assert said in (answer, "connection reset by peer")
    assert len(server.questions) > 3
    assert not any(b"/elsewhere" in question for question in server.questions)


@pytest.mark.slow
def test_a_server_that_never_answers_is_asked_again_after_a_second() -> None:
    def hang(client: socket.socket, _: int) -> None:
        until_it_hangs_up(client)

    with Server(hang) as server:
        assert timed_out(f"http://127.0.0.1:{server.port}", pauses=Pauses(2)) == "none within 1 s"
    assert len(server.questions) == 2


def test_a_server_that_drips_does_not_outlast_the_timeout() -> None:
    def drip(client: socket.socket, _: int) -> None:
        while True:
            client.sendall(b"H")
            threading.Event().wait(0.02)

    with Server(drip) as server:
        assert timed_out(f"http://127.0.0.1:{server.port}", health_timeout=0.3) == "none"


def test_the_last_answer_is_that_before_the_look_that_was_broken_off() -> None:
    def answer_once(client: socket.socket, number: int) -> None:
        if number == 1:
            client.sendall(LOADING)
        else:
            until_it_hangs_up(client)

    def last_answer() -> str:
        with Server(answer_once) as server:
            return timed_out(f"http://127.0.0.1:{server.port}", health_timeout=0.9)  # less than a look may take

    assert any(last_answer() == "503" for _ in range(10))  # a machine may be too busy for the first look


@pytest.mark.slow
def test_a_port_that_the_system_chooses_for_our_end_is_nobody_there() -> None:
    # Connecting over and over to a port of the system's own range meets itself sooner or later; Linux goes through the
    # range in steps of two, from its start.
    limits = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not limits.exists():
        pytest.skip("the range is known on Linux only")
    first, last = map(int, limits.read_text().split())
    with waking() as ending:
        for _ in range((last - first) // 2 + 100):
            with Look(ending, time.monotonic() + PATIENCE) as look, pytest.raises(ConnectionRefusedError):
                look.connect([(socket.AF_INET, ("127.0.0.1", first + 1000))])


class Starved(HealthCheck):
    """One that finds no memory the first few times."""

    failures = 3

    def resolve(self) -> list[Address]:
        if Starved.failures:
            Starved.failures -= 1
            raise MemoryError
        return super().resolve()


def test_a_look_that_finds_no_memory_says_nothing_about_the_server() -> None:
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    with Server(answers(OK)) as server:
        probe = Probe(3, Starved.at(f"http://127.0.0.1:{server.port}", "/"), PATIENCE, events.put)
        probe.start("probe-m")
        assert events.get(timeout=PATIENCE) == ProcessReady(3)
    assert Starved.failures == 0


@pytest.mark.slow  # it waits for names
def test_a_look_has_its_time_from_when_the_address_is_known() -> None:
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def answer_after_a_moment(client: socket.socket, number: int) -> None:
        threading.Event().wait(0.2)
        answers(OK)(client, number)

    with Server(answer_after_a_moment) as server:
        probe = Probe(3, SlowNames.at(f"http://127.0.0.1:{server.port}", "/"), 4.0, events.put)
        probe.start("probe-m")
        assert events.get(timeout=PATIENCE) == ProcessReady(3)


def test_a_probe_for_which_there_is_no_thread_leaves_nothing_open() -> None:
    probe = Probe(3, HealthCheck.at("http://127.0.0.1:1", "/"), PATIENCE, lambda _: None)
    with no_thread_to_be_had(), pytest.raises(RuntimeError, match="can't start new thread"):
        probe.start("probe-m")
    probe.cancel()


# -- called off --


def test_the_end_breaks_off_a_look_in_the_middle_of_an_answer() -> None:
    asked, hung_up = threading.Event(), threading.Event()

    def hang(client: socket.socket, _: int) -> None:
        asked.set()
        until_it_hangs_up(client)
        hung_up.set()

    def clock() -> float:  # a look that gives up by itself would do so in 100 s
        return time.monotonic() + 100.0

    with Server(hang) as server, Probing(f"http://127.0.0.1:{server.port}", clock=clock) as probing:
        assert asked.wait(PATIENCE)
        probing.probe.cancel()
        assert hung_up.wait(PATIENCE)
        probing.probe.cancel()


def test_an_answer_that_comes_after_the_end_is_not_posted() -> None:
    for _ in range(50):
        with Server(answers(OK)) as server, Probing(f"http://127.0.0.1:{server.port}") as probing:
            probing.probe.cancel()
            try:
                assert probing.events.get_nowait() == ProcessReady(3)  # it was faster: before the end
            except queue.Empty:
                pass


def test_a_look_waits_for_nothing_once_the_probe_ends() -> None:
    with Server(answers(OK)) as server, waking() as ending, Look(ending, time.monotonic() + PATIENCE) as look:
        look.connect([(socket.AF_INET, ("127.0.0.1", server.port))])
        ending.set()
        with pytest.raises(LookCancelled):
            look.read_status()


@pytest.mark.parametrize("seconds", [3e6, 1e10])
def test_a_wait_may_be_for_longer_than_the_system_waits(seconds: float) -> None:
    with waking() as ending, waking() as news:
        news.set()
        assert wait(ending, time.monotonic() + seconds, news, select.POLLIN)
