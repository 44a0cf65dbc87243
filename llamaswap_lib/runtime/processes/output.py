"""The pipe that takes a process's stdout and stderr, and the thread `output-M` that empties it.

The process never waits for a reader of logs: what it writes is handed on at once, as raw bytes, to a callback that must
not block. The end of the pipe's use is told, never inferred: a process that left the group may keep its write end open
for days.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.wakeup import Wakeup

_READ_BYTES = 65_536
_PAUSE = 0.1  # seconds, when there is no memory to read into
_LAST_READS = 16  # 1 MiB, the largest pipe; who still writes then is a stranger and is not waited for


@contextmanager
def drained_pipe(model: str, output: Callable[[bytes], None]) -> Iterator[int]:
    """The write end of a pipe whose content goes to `output`; all that is in it at the end of the block does, too.

    The last that `output` gets is b"".

    Raises OSError (no descriptor left) and RuntimeError (no thread) on entry.
    """
    with ExitStack() as stack:
        read_end, write_end = os.pipe()
        stack.callback(os.close, read_end)
        stack.callback(os.close, write_end)
        os.set_blocking(read_end, False)
        ending = Wakeup()
        stack.callback(ending.close)
        thread = Thread(_drain, f"output-{model}", (read_end, ending, output))
        thread.start()
        stack.callback(thread.join)
        stack.callback(ending.set)
        yield write_end


# -- thread output-M --


def _drain(read_end: int, ending: Wakeup, output: Callable[[bytes], None]) -> None:
    poll = select.poll()
    poll.register(read_end, select.POLLIN)
    poll.register(ending, select.POLLIN)
    while True:
        try:
            if any(descriptor == ending.fileno() for descriptor, _ in poll.poll()):
                break
            output(os.read(read_end, _READ_BYTES))
        except MemoryError:  # some of it is lost; without this thread the process would stand still
            time.sleep(_PAUSE)
    try:
        for _ in range(_LAST_READS):
            output(os.read(read_end, _READ_BYTES))
    except (BlockingIOError, MemoryError):
        pass  # empty, or there is no room for it
    output(b"")
