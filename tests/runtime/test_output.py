"""The pipe of a run, where there is no memory to read it."""

from __future__ import annotations

import os
import threading

from llamaswap_lib.runtime.processes.process import drained_pipe

DEADLINE = 10.0


def test_the_end_of_the_output_is_told_though_there_is_no_memory_for_the_last_of_it() -> None:
    said: list[bytes] = []
    was_asked = threading.Event()

    def take(data: bytes) -> None:
        said.append(data)
        if data:
            os.write(write_end, b"more")  # so that there is always something to read
            was_asked.set()
            raise MemoryError

    with drained_pipe("m", take) as write_end:
        os.write(write_end, b"first")
        assert was_asked.wait(DEADLINE)
    assert said[0] == b"first"
    assert said[-1] == b""
