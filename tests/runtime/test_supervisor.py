"""What a supervisor gives is taken once and for no child; what it is told arrives, or does no harm."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from llamaswap_lib.errors import ConfigError
from llamaswap_lib.runtime.supervisor import Supervisor, WatchdogFeeder, take_supervisor
from tests.shortage import no_descriptor_left

DEADLINE = 30.0


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    """A supervisor's ear."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + address[1:] if address.startswith("@") else address)
        sock.settimeout(DEADLINE)
        yield sock


@contextmanager
def told(address: str, watchdog_seconds: float | None = None) -> Iterator[Supervisor]:
    supervisor = Supervisor(address, watchdog_seconds)
    try:
        yield supervisor
    finally:
        supervisor.close()


# -- an upgrade --


def test_it_is_told_who_is_the_main_process_and_nothing_more(tmp_path: Path) -> None:
    with listening(str(tmp_path / "s")) as ear, told(str(tmp_path / "s")) as supervisor:
        supervisor.hand_over(4711)
        supervisor.show("more")
        supervisor.ready()
        assert ear.recv(1000) == b"MAINPID=4711"
        ear.setblocking(False)
        with pytest.raises(BlockingIOError):
            ear.recv(1000)


def test_a_process_that_takes_over_is_silent_until_it_serves(tmp_path: Path) -> None:
    with listening(str(tmp_path / "s")) as ear, socket.create_server(("127.0.0.1", 0)) as inherited:
        environ = {"NOTIFY_SOCKET": str(tmp_path / "s"), "WATCHDOG_USEC": "30000000"}
        supervisor = take_supervisor(environ, 7, os.dup(inherited.fileno()))
        supervisor.show("m ready")
        supervisor.feed_watchdog()
        supervisor.ready()
        assert ear.recv(1000) == b"READY=1\nSTATUS=m ready"
        supervisor.feed_watchdog()
        assert ear.recv(1000) == b"WATCHDOG=1"
        given = supervisor.listening_socket(lambda _: None)
        assert given is not None
        assert given.getsockname() == inherited.getsockname()
        given.close()
        supervisor.close()


# -- what it gives --


def test_everything_it_gives_is_taken_out_of_the_environment(tmp_path: Path) -> None:
    with listening(str(tmp_path / "s")) as ear, socket.create_server(("127.0.0.1", 0)) as given:
        environ = {
            "NOTIFY_SOCKET": str(tmp_path / "s"), "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7",
            "LISTEN_PID": "7", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a", "LISTEN_PIDFDID": "1", "HOME": "/h",
        }  # fmt: skip
        supervisor = take_supervisor(environ, 7)
        assert environ == {"HOME": "/h"}
        assert supervisor.watchdog_seconds == 30.0
        supervisor.ready()
        assert ear.recv(1000).startswith(b"READY=1\n")
        supervisor.close()
        assert given.fileno() > 2  # see the next tests for its sockets: descriptor 3 is the test runner's


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1", "LISTEN_PID": "8", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "8"},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "many", "LISTEN_PID": "7", "WATCHDOG_USEC": "soon"},
        {"LISTEN_FDS": "-1", "LISTEN_PID": "7", "WATCHDOG_USEC": "0"},
        {"LISTEN_FDS": "9" * 5000, "LISTEN_PID": "7", "WATCHDOG_USEC": "9" * 5000},
    ],
)
def test_what_is_meant_for_another_process_or_is_no_number_is_taken_away_and_not_used(environ: dict[str, str]) -> None:
    supervisor = take_supervisor(environ, 7)
    assert environ == {}
    assert supervisor.watchdog_seconds is None
    assert supervisor.listening_socket(pytest.fail) is None
    supervisor.ready()  # nobody hears it


def test_a_watchdog_without_a_process_is_ours() -> None:
    assert take_supervisor({"WATCHDOG_USEC": "2000000"}, 7).watchdog_seconds == 2.0


def test_a_socket_that_listens_is_taken_for_no_child_of_ours_and_further_ones_are_told() -> None:
    warnings: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        descriptors = [os.dup(first.fileno()), os.dup(second.fileno())]
        for descriptor in descriptors:
            os.set_inheritable(descriptor, True)
        taken = Supervisor(sockets=descriptors).listening_socket(warnings.append)
        assert taken is not None
        with taken:
            assert taken.getsockname() == first.getsockname()
            assert not taken.get_inheritable()
        assert len(warnings) == 1
        assert str(second.getsockname()[1]) in warnings[0]


def test_what_is_no_socket_that_listens_is_refused(tmp_path: Path) -> None:
    with socket.socket() as silent, (tmp_path / "file").open("w") as file:
        for descriptor in (silent.fileno(), file.fileno()):
            copy = os.dup(descriptor)
            try:
                with pytest.raises(ConfigError, match="supervisor's socket cannot be used"):
                    Supervisor(sockets=[copy]).listening_socket(pytest.fail)
            finally:
                with suppress(OSError):
                    os.close(copy)
    with pytest.raises(ConfigError, match="Bad file descriptor"):
        Supervisor(sockets=[silent_number()]).listening_socket(pytest.fail)


def silent_number() -> int:
    """A descriptor that is not open."""
    return os.sysconf("SC_OPEN_MAX") - 1


# -- what it is told --


def test_each_telling_is_one_message_of_lines(tmp_path: Path) -> None:
    with listening(str(tmp_path / "s")) as ear, told(str(tmp_path / "s")) as supervisor:
        supervisor.show("two\nlines")
        supervisor.show("two\nlines")
        supervisor.ready()
        supervisor.show("one")
        supervisor.stopping(1.5)
        supervisor.show("none")
        assert [ear.recv(1000).decode() for _ in range(5)] == [
            "STATUS=two lines",
            "READY=1\nSTATUS=two lines",
            "STATUS=one",
            "STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000\nSTATUS=stopping; one",
            "STATUS=stopping; none",
        ]


@pytest.mark.skipif(not Path("/proc").exists(), reason="abstract addresses are Linux's")
def test_an_abstract_address_is_reached() -> None:
    address = f"@llamaswap-test-{os.getpid()}"
    with listening(address) as ear, told(address) as supervisor:
        supervisor.ready()
        assert ear.recv(1000).startswith(b"READY=1\n")


def test_a_reload_tells_its_moment(tmp_path: Path) -> None:
    with listening(str(tmp_path / "s")) as ear, told(str(tmp_path / "s")) as supervisor:
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        supervisor.reloading()
        heard = dict(line.split("=") for line in ear.recv(1000).decode().splitlines())
        assert heard["RELOADING"] == "1"
        assert before <= int(heard["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_supervisor_that_is_gone_or_full_does_no_harm(tmp_path: Path) -> None:
    for address in (str(tmp_path / "nobody"), "x" * 500, "vsock:2:1", ""):
        with told(address) as supervisor:
            supervisor.ready()
    with listening(str(tmp_path / "s")), told(str(tmp_path / "s")) as supervisor:
        for number in range(2000):
            supervisor.show(f"{number}" + "x" * 1000)


def test_it_can_be_told_without_a_descriptor_left(tmp_path: Path) -> None:
    with listening(str(tmp_path / "s")) as ear, told(str(tmp_path / "s")) as supervisor, no_descriptor_left():
        supervisor.feed_watchdog()
        assert ear.recv(1000) == b"WATCHDOG=1"


# -- the watchdog --


def test_it_is_fed_while_every_part_answers(tmp_path: Path) -> None:
    with listening(str(tmp_path / "s")) as ear, told(str(tmp_path / "s"), 0.03) as supervisor:
        asked: list[float] = []

        def answers(timeout: float) -> bool:
            asked.append(timeout)
            return True

        watchdog = WatchdogFeeder(supervisor, {"a": answers, "b": answers}, pytest.fail)
        watchdog.start()
        assert [ear.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        watchdog.close()
        assert all(0 <= timeout <= 0.01 for timeout in asked)


@pytest.mark.parametrize("which", ["a", "b"])
def test_one_part_that_hangs_stops_the_watchdog_messages(tmp_path: Path, which: str) -> None:
    with listening(str(tmp_path / "s")) as ear, told(str(tmp_path / "s"), 0.03) as supervisor:
        hanging, looked = threading.Event(), threading.Semaphore(0)

        def may_hang(_timeout: float) -> bool:
            is_hanging = hanging.is_set()
            looked.release()
            return not is_hanging

        checks = {"a": lambda _: True, "b": lambda _: True, which: may_hang}
        errors: list[str] = []
        watchdog = WatchdogFeeder(supervisor, checks, errors.append)
        watchdog.start()
        assert ear.recv(100) == b"WATCHDOG=1"
        hanging.set()
        while looked.acquire(blocking=False):
            pass
        for _ in range(2):  # the first of them may have begun before
            assert looked.acquire(timeout=DEADLINE)
        drain(ear)
        for _ in range(5):
            assert looked.acquire(timeout=DEADLINE)
        assert drain(ear) == 0
        watchdog.close()
        assert errors == [f"thread {which} does not answer, so the watchdog is not fed; there is none"]


def test_where_a_thread_hangs_is_told_anew_where_it_has_gone_on_to_hang_elsewhere(tmp_path: Path) -> None:
    first, second, told_of = threading.Event(), threading.Event(), queue.Queue[str]()

    def hangs_first() -> None:
        assert first.wait(DEADLINE)

    def hangs_then() -> None:
        assert second.wait(DEADLINE)

    def work() -> None:
        hangs_first()
        hangs_then()

    hanging = threading.Thread(target=work, name="loop")
    hanging.start()
    with listening(str(tmp_path / "s")), told(str(tmp_path / "s"), 0.03) as supervisor:
        watchdog = WatchdogFeeder(supervisor, {"loop": lambda _: False}, told_of.put)
        watchdog.start()
        for place, gate in (("in hangs_first", first), ("in hangs_then", second)):
            while place not in told_of.get(timeout=DEADLINE):
                pass
            gate.set()
        watchdog.close()
    hanging.join()


def drain(ear: socket.socket) -> int:
    """How many messages there are."""
    ear.setblocking(False)
    count = 0
    with suppress(BlockingIOError):
        while ear.recv(100):
            count += 1
    return count


def test_without_a_watchdog_there_is_no_thread() -> None:
    watchdog = WatchdogFeeder(Supervisor(), {}, pytest.fail)
    watchdog.start()
    assert not any(thread.name == "watchdog" for thread in threading.enumerate())
    watchdog.close()
