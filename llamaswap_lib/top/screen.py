"""The terminal as a whole screen: keys in, lines out. Main thread.

Guarantees: however it is left, by a key, Ctrl-C, SIGTERM, SIGHUP or an exception, the terminal is as it was before.
While the program is suspended (Ctrl-Z) it is so, too. Of a frame only the lines that differ from the last one are
written, in one call.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

USUAL_SIZE = (80, 24)
# Another screen, no cursor, lines that do not go on in the next one; and back.
ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
ERASE_REST = "\x1b[K"  # not behind a line that is as wide as the screen: the cursor is on its last character then
LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
HELD_BACK = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
KEYS = {
    "\x1b[A": "up", "\x1bOA": "up", "k": "up", "\x1b[B": "down", "\x1bOB": "down", "j": "down",
    "\x1b[5~": "page up", "\x1b[6~": "page down", "\x1b": "escape", "\r": "enter", "\n": "enter",
}  # fmt: skip
_key_of = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Za-z]|.", re.DOTALL).match
_begins_a_key = re.compile(r"\x1b(\[[0-9;]*|O)?").fullmatch


class Terminated(Exception):
    """A signal ends the program; `number` is which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Screen:
    """To be used in a `with`, by which it is entered and left."""

    def __init__(self) -> None:
        self._input, self._output = sys.stdin.fileno(), sys.stdout.fileno()
        self._shown: list[str] = []
        self._typed = ""  # the beginning of a key
        self._is_entered = False
        self._wakeup = os.pipe()
        for end in self._wakeup:
            os.set_blocking(end, False)

    def __enter__(self) -> Screen:
        self._before = termios.tcgetattr(self._input)
        handlers: dict[int, Callable[[int, FrameType | None], None]] = {
            signal.SIGTERM: _terminate, signal.SIGHUP: _terminate,
            signal.SIGWINCH: self._resized, signal.SIGTSTP: self._suspend,
        }  # fmt: skip
        self._handlers = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            self._take()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)  # until the terminal is as it was
        try:
            self._give_back()
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _take(self) -> None:
        tty.setcbreak(self._input)
        self._is_entered = True
        self._shown = []
        self._write(ENTER)

    def _give_back(self) -> None:
        """As it was before; a terminal that is gone needs nothing."""
        if self._is_entered:
            self._is_entered = False
            with contextlib.suppress(OSError):
                self._write(LEAVE)
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._input, termios.TCSADRAIN, self._before)

    # -- what is shown --

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(self._output, termios.TIOCGWINSZ, bytes(8)))
        except OSError:
            return USUAL_SIZE
        return columns or USUAL_SIZE[0], rows or USUAL_SIZE[1]

    def show(self, lines: Sequence[str]) -> None:
        """Have the screen show these; raises OSError where the terminal is gone."""
        data = "".join(changes(self._shown, lines))
        self._shown = [*lines]
        if data:
            self._write(data)

    def _write(self, text: str) -> None:
        data = text.encode(sys.stdout.encoding or "utf-8", "replace")
        while data:
            data = data[os.write(self._output, data) :]

    # -- what comes --

    def wake(self) -> None:
        """End a wait. Any thread, and signals."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._wakeup[1], b"x")

    def was_resized(self) -> bool:
        """Whether it has another size since it was drawn."""
        return not self._shown

    def wait(self, seconds: float) -> list[str]:
        """The keys that were typed meanwhile, as soon as there are some, or somebody wakes us; raises EOFError."""
        ready, _, _ = select.select([self._input, self._wakeup[0]], [], [], max(0.0, seconds))
        if self._wakeup[0] in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wakeup[0], 4096)
        if self._input not in ready:
            typed, self._typed = self._typed, ""  # nothing follows: it was the key Escape
            return [*keys_in(typed)]
        data = os.read(self._input, 1024)
        if not data:
            raise EOFError
        self._typed += data.decode("utf-8", "replace")
        whole = self._typed
        cut = whole.rfind("\x1b")
        if cut >= 0 and _begins_a_key(whole[cut:]):
            whole, self._typed = whole[:cut], whole[cut:]
        else:
            self._typed = ""
        return [*keys_in(whole)]

    # -- signals --

    def _resized(self, _number: int, _frame: FrameType | None) -> None:
        self._shown = []
        self.wake()

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        """Ctrl-Z: the shell gets its screen back, until it lets us go on."""
        self._give_back()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        self._take()
        self.wake()


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise Terminated(number)


def changes(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """What makes the one of the other on a screen; `before` is empty where nothing is known of it.

    Each line erases what was there, as it is as wide as the screen or ends with ERASE_REST.
    """
    if len(before) != len(after) or not before:
        yield "\x1b[2J"
        before = [""] * len(after)
    for number, (old, new) in enumerate(zip(before, after, strict=True), 1):
        if old != new:
            yield f"\x1b[{number};1H{new}"


def keys_in(text: str) -> Iterator[str]:
    """The keys, by their names; a letter is its own name."""
    while text:
        match = _key_of(text)
        key = match[0] if match is not None else text[0]
        yield KEYS.get(key, key)
        text = text[len(key) :]
