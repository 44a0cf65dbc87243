"""The pipe of a run, where there is no memory to read it."""

from __future__ import annotations

import os
import threading

from llamaswap_lib.runtime.processes.output import OutputPipe

DEADLINE = 30.0


def test_the_end_of_the_output_is_told_though_there_is_no_memory_for_the_last_of_it() -> None:
    said: list[bytes] = []
    was_asked = threading.Event()

    def take(data: bytes) -> None:
        said.append(data)
        if data:
            os.write(write_end, b"more")  # so that there is always something to read
            was_asked.set()
            raise MemoryError

    with OutputPipe("m", take) as pipe:
        write_end = pipe.write_end
        os.write(write_end, b"first")
        assert was_asked.wait(DEADLINE)
    assert said[0] == b"first"
    assert said[-1] == b""


def test_what_is_written_while_it_is_held_is_for_another_process_or_for_later() -> None:
    said: list[bytes] = []
    news = threading.Semaphore(0)

    def take(data: bytes) -> None:
        said.append(data)
        news.release()

    with OutputPipe("m", take) as pipe:
        copy = pipe.hold()
        os.write(pipe.write_end, b"first")
        with OutputPipe("n", take, copy) as other:
            assert news.acquire(timeout=DEADLINE)
            assert said == [b"first"]
            os.close(other.hold())
            os.write(other.write_end, b"second")
        assert said == [b"first", b""]
        pipe.go_on()
        assert news.acquire(timeout=DEADLINE)
        assert news.acquire(timeout=DEADLINE)
        assert said[2:] == [b"second"]
        os.close(pipe.hold())
        os.write(pipe.write_end, b"third")
    assert said[3:] == [b""]
