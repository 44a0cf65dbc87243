"""Work in a child process: its result, its limits, and that nothing of ours is left in it."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from llamaswap_lib.errors import ServiceUnavailable
from llamaswap_lib.runtime.apart import Apart, TooMuchWork

DEADLINE = 20.0


def test_the_result_comes_back_whole() -> None:
    assert Apart().run(lambda: b"x\n" * 300_000) == b"x\n" * 300_000
    assert Apart().run(bytes) == b""


@pytest.mark.slow
def test_what_takes_too_much_time_or_memory_is_ended() -> None:
    def never_ends() -> bytes:
        while True:
            pass

    with pytest.raises(TooMuchWork):
        Apart(cpu_seconds=1).run(never_ends)
    with pytest.raises(TooMuchWork):
        Apart(memory_bytes=50 << 20).run(lambda: bytes(200 << 20)[:1])
    with pytest.raises(TooMuchWork):
        Apart().run(lambda: bytes(17 << 20))


def test_work_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="ValueError: non-hexadecimal"):
        Apart().run(lambda: bytes.fromhex("no hex"))


def test_the_child_holds_no_connection_of_ours() -> None:
    one, other = socket.socketpair()
    with one, other:
        count = int(Apart().run(lambda: b"%d" % len(list(Path("/proc/self/fd").iterdir()))))
        assert count <= 2  # the pipe, and that of the listing


@pytest.mark.slow
def test_a_second_piece_of_work_is_refused_if_the_first_takes_long() -> None:
    apart = Apart(cpu_seconds=2)
    begun = threading.Event()
    results: list[type[BaseException]] = []

    def never_ends() -> bytes:
        while True:
            pass

    def first() -> None:
        begun.set()
        try:
            apart.run(never_ends)
        except TooMuchWork:
            results.append(TooMuchWork)

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(DEADLINE)

    def ask_until_it_ends() -> None:
        while thread.is_alive():
            apart.run(bytes, patience=0.0)

    with pytest.raises(ServiceUnavailable):
        ask_until_it_ends()
    thread.join(DEADLINE)
    assert results == [TooMuchWork]
