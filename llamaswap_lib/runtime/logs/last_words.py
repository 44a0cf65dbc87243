"""The output of one run: passed on to the logs, with its last lines kept for the error of a load that failed.

Any thread writes and reads. Guarantees: the last words are those of one run only, whatever earlier runs of its model
printed. They are LINES lines of LINE_BYTES at most, and the JSON of the error has ERROR_BYTES at most. A `…` stands
where a line was cut, and on a line of its own where lines are left out because all together were too long.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

from llamaswap_lib.errors import LoadFailed, OutOfMemory
from llamaswap_lib.printable import CUT, bounded, printable

LINES = 20
LINE_BYTES = 4_096
CAUSE_BYTES = 1_024
ERROR_BYTES = 16_384  # of its JSON
FRAME_BYTES = 256  # of ERROR_BYTES, for what stands around the message
KEPT_BYTES = 32_768
_CONTINUATION = bytes(range(0x80, 0xC0))  # bytes of UTF-8 that begin no character

Words = tuple[str, ...]


class RunOutput:
    """The output of one run."""

    def __init__(self, hand_on: Callable[[bytes], None], hand_on_note: Callable[[bytes], None] | None = None) -> None:
        """`hand_on_note` gets lines of ours, `hand_on` if None."""
        self._hand_on = hand_on
        self._hand_on_note = hand_on_note or hand_on
        self._lock = threading.Lock()  # protects the two below
        self._tail = bytearray()
        self._is_cut = False  # whether there was output before it
        self._unclaimed = threading.Lock()

    def write(self, data: bytes) -> None:
        """What the process writes."""
        self._keep(data)
        self._hand_on(data)

    def recall(self, words: Words) -> None:
        """It has said this before: it was handed on already."""
        if words:
            self._keep("".join(f"{line}\n" for line in words).encode())

    def note(self, line: bytes) -> None:
        """A whole line of ours about the run."""
        self._keep(line)
        self._hand_on_note(line)

    def _keep(self, data: bytes) -> None:
        with self._lock:
            self._tail += data[-KEPT_BYTES:]
            if len(data) > KEPT_BYTES or len(self._tail) > 2 * KEPT_BYTES:
                del self._tail[:-KEPT_BYTES]
                self._is_cut = True

    def last_words(self, most_bytes: int = ERROR_BYTES) -> Words:
        """Its last lines, made fit to show; their JSON has `most_bytes` at most."""
        with self._lock:
            data, is_cut = bytes(self._tail), self._is_cut
        return last_lines(data, is_cut=is_cut, most_bytes=most_bytes)

    def tail(self) -> list[str]:
        """Its last lines as they are, KEPT_BYTES at least if there were so many."""
        with self._lock:
            data = bytes(self._tail)
        return data.decode("utf-8", "replace").splitlines()

    def claim(self) -> bool:
        """Whether its last words are not in the log yet; true once."""
        return self._unclaimed.acquire(blocking=False)


def remembered(words: Words) -> RunOutput:
    """The output of a run of another process, which has said this last."""
    output = RunOutput(lambda _: None)
    output.recall(words)
    return output


def last_lines(data: bytes, *, is_cut: bool = False, most_bytes: int = ERROR_BYTES) -> Words:
    """The last lines of `data`; their JSON has `most_bytes` at most. `is_cut`: there was output before `data`."""
    if is_cut:
        data = CUT.encode() + data.lstrip(_CONTINUATION)
    kept: list[str] = []
    for line in reversed(data.decode("utf-8", "replace").splitlines()[-LINES:]):
        shown = bounded(printable(line[: LINE_BYTES + 1], keep="\t"), LINE_BYTES)
        most_bytes -= len(json.dumps(shown))
        if most_bytes < 0:
            kept.append(CUT)
            break
        kept.append(shown)
    return tuple(reversed(kept))


def load_failed(
    message: str, output: RunOutput | None, retry_in: float | None = None, *, is_memory: bool = False
) -> LoadFailed:
    """The error of a load: why it failed, and the last words of the run, if it printed any.

    `is_memory`: a device had too little of it.
    """
    kind, cause = OutOfMemory if is_memory else LoadFailed, bounded(message, CAUSE_BYTES)
    if output is None:
        return kind(cause, retry_in=retry_in)
    words = output.last_words(ERROR_BYTES - FRAME_BYTES - len(json.dumps(cause)))
    return kind(cause, last_words=words, is_news=output.claim, retry_in=retry_in)
