"""Work in a child process: its result, its limits, and that nothing of ours is left in it."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from llamaswap_lib.errors import ServiceUnavailable
from llamaswap_lib.runtime.apart import Apart, TooMuchWork

DEADLINE = 60.0


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


def test_no_child_begins_while_modules_are_imported() -> None:
    has_forked = threading.Event()

    def fork() -> int:
        has_forked.set()
        return os.fork()

    apart = Apart(fork=fork)
    results: list[bytes] = []
    asking = threading.Thread(target=lambda: results.append(apart.run(lambda: b"done")))
    with apart.importing():
        asking.start()
        assert not has_forked.wait(0.1)
    asking.join(DEADLINE)
    assert results == [b"done"]


def test_a_second_piece_of_work_is_refused_if_the_first_takes_long(tmp_path: Path) -> None:
    apart, may_end = Apart(), tmp_path / "may end"
    results: list[bytes] = []

    def until_it_may_end() -> bytes:
        while not may_end.exists():
            pass
        return b"done"

    def ask_until_it_ends() -> None:
        while thread.is_alive():
            apart.run(bytes, patience=0.0)
            threading.Event().wait(0.005)  # the first one needs a chance to begin

    thread = threading.Thread(target=lambda: results.append(apart.run(until_it_may_end)))
    thread.start()
    try:
        with pytest.raises(ServiceUnavailable):
            ask_until_it_ends()
    finally:
        may_end.touch()
        thread.join(DEADLINE)
    assert results == [b"done"]
