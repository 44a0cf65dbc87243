"""What a supervisor gives is taken once and for no child; what it is told arrives, or does no harm."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llamaswap_lib.runtime.supervisor import Supervisor, Watchdog, adopt, take_supervisor

DEADLINE = 10.0


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    """A supervisor's ear."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + address[1:] if address.startswith("@") else address)
        sock.settimeout(DEADLINE)
        yield sock


# -- what it gives --


def test_everything_it_gives_is_taken_out_of_the_environment() -> None:
    environ = {
        "NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7", "LISTEN_PID": "7",
        "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b", "LISTEN_PIDFDID": "1", "HOME": "/h",
    }  # fmt: skip
    assert take_supervisor(environ, 7) == Supervisor("/run/x", 30.0, (3, 4))
    assert environ == {"HOME": "/h"}


def test_without_a_supervisor_there_is_nothing() -> None:
    assert take_supervisor({}, 7) == Supervisor("", None, ())


@pytest.mark.parametrize(
    "environ",
    [
        {"LISTEN_FDS": "1", "LISTEN_PID": "8", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "8"},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "many", "LISTEN_PID": "7", "WATCHDOG_USEC": "soon"},
        {"LISTEN_FDS": "-1", "LISTEN_PID": "7", "WATCHDOG_USEC": "0"},
    ],
)
def test_what_is_meant_for_another_process_or_is_no_number_is_taken_away_and_not_used(environ: dict[str, str]) -> None:
    assert take_supervisor(environ, 7) == Supervisor("", None, ())
    assert environ == {}


def test_a_watchdog_without_a_process_is_ours() -> None:
    assert take_supervisor({"WATCHDOG_USEC": "2000000"}, 7).watchdog_seconds == 2.0


def test_a_socket_that_listens_is_adopted_for_no_child_of_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        descriptor = os.dup(given.fileno())
        os.set_inheritable(descriptor, True)
        with adopt(descriptor) as adopted:
            assert adopted.getsockname() == given.getsockname()
            assert not os.get_inheritable(descriptor)


def test_what_is_no_socket_that_listens_is_refused(tmp_path: Path) -> None:
    with socket.socket() as silent, (tmp_path / "file").open("w") as file:
        for descriptor in (silent.fileno(), file.fileno()):
            with pytest.raises(ValueError, match="no "):
                adopt(os.dup(descriptor))


# -- what it is told --


def test_each_telling_is_one_message_of_lines(tmp_path: Path) -> None:
    with listening(str(tmp_path / "s")) as ear:
        Supervisor(str(tmp_path / "s")).tell("READY=1", "STATUS=two\nlines")
        assert ear.recv(1000) == b"READY=1\nSTATUS=two lines"


@pytest.mark.skipif(not Path("/proc").exists(), reason="abstract addresses are Linux's")
def test_an_abstract_address_is_reached() -> None:
    address = f"@llamaswap-test-{os.getpid()}"
    with listening(address) as ear:
        Supervisor(address).tell("READY=1")
        assert ear.recv(1000) == b"READY=1"


def test_a_reload_tells_its_moment(tmp_path: Path) -> None:
    with listening(str(tmp_path / "s")) as ear:
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        Supervisor(str(tmp_path / "s")).tell_reloading()
        told = dict(line.split("=") for line in ear.recv(1000).decode().splitlines())
        assert told["RELOADING"] == "1"
        assert before <= int(told["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_supervisor_that_is_gone_or_full_holds_nobody_up(tmp_path: Path) -> None:
    Supervisor(str(tmp_path / "nobody")).tell("READY=1")
    Supervisor("x" * 500).tell("READY=1")
    Supervisor().tell("READY=1")
    with listening(str(tmp_path / "s")):
        for _ in range(2000):
            Supervisor(str(tmp_path / "s")).tell("STATUS=" + "x" * 1000)


# -- the watchdog --


def test_it_is_fed_while_every_part_answers(tmp_path: Path) -> None:
    with listening(str(tmp_path / "s")) as ear:
        asked: list[float] = []

        def answers(timeout: float) -> bool:
            asked.append(timeout)
            return True

        watchdog = Watchdog(Supervisor(str(tmp_path / "s"), 0.02), [answers, answers])
        watchdog.start()
        assert [ear.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        watchdog.close()
        assert set(asked) == {0.01}


def test_one_part_that_hangs_ends_the_feeding(tmp_path: Path) -> None:
    with listening(str(tmp_path / "s")) as ear:
        hanging, looked = threading.Event(), threading.Semaphore(0)

        def answers(_timeout: float) -> bool:
            looked.release()
            return not hanging.is_set()

        watchdog = Watchdog(Supervisor(str(tmp_path / "s"), 0.02), [lambda _: True, answers])
        watchdog.start()
        assert ear.recv(100) == b"WATCHDOG=1"
        hanging.set()
        for _ in range(5):  # one of them may have begun before
            assert looked.acquire(timeout=DEADLINE)
        ear.setblocking(False)
        told = 0
        try:
            while ear.recv(100):
                told += 1
        except BlockingIOError:
            pass
        watchdog.close()
        before = told
        with pytest.raises(BlockingIOError):
            ear.recv(100)
        assert before < 5


def test_without_a_watchdog_there_is_no_thread() -> None:
    watchdog = Watchdog(Supervisor("/nowhere"), [])
    watchdog.start()
    assert not any(thread.name == "watchdog" for thread in threading.enumerate())
    watchdog.close()
