"""What somebody types: lines with editing, history and completion where `readline` is there, several lines in `\"\"\"`.

Owns the history file, which its user alone can read. Main thread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from llamaswap_lib.chat.typed import expanded
from llamaswap_lib.client.terminal import Style, Terminal

QUOTES = '"""'
MOST_HISTORY = 2000  # lines
Complete = Callable[[str], list[str]]


class Keyboard:
    """Asks for lines. `complete` has what may stand for the line as far as it is typed."""

    def __init__(self, terminal: Terminal, history: Path | None, complete: Complete) -> None:
        """`history` is its file; None keeps none."""
        self._terminal = terminal
        self._history = history
        self._complete = complete
        self._choices: list[str] = []
        self._kept = 0  # lines of the history that are in its file
        self._readline = _readline()
        if self._readline is not None:
            self._set_up(self._readline)

    def ask(self, prompt: str) -> str | None:
        """What was typed, None at the end of the input; raises KeyboardInterrupt."""
        line = self._line(prompt)
        if line is None or not line.lstrip().startswith(QUOTES):
            return line
        lines = [line.lstrip()[len(QUOTES) :]]
        while not lines[-1].rstrip().endswith(QUOTES):
            more = self._line("... ")
            if more is None:
                return "\n".join(lines).strip("\n")
            lines.append(more)
        lines[-1] = lines[-1].rstrip()[: -len(QUOTES)]
        return "\n".join(lines).strip("\n")

    def _line(self, prompt: str) -> str | None:
        if self._terminal.has_colours:
            prompt = f"\x01\x1b[{Style.NAME.value}m\x02{prompt}\x01\x1b[0m\x02" if self._readline else prompt
        try:
            line = input(prompt)
        except EOFError:
            return None
        except UnicodeDecodeError:
            return ""
        self._remember()
        return line

    def _set_up(self, readline: ModuleType) -> None:
        with suppress(OSError, ValueError):
            if self._history is not None:
                readline.read_history_file(str(self._history))
        self._kept = readline.get_current_history_length()
        readline.set_history_length(MOST_HISTORY)
        readline.set_completer_delims("")
        readline.set_completer(self._completed)
        is_libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
        if not is_libedit:
            readline.parse_and_bind("set enable-bracketed-paste on")

    def _completed(self, text: str, number: int) -> str | None:
        if number == 0:
            self._choices = self._complete(text)
        return self._choices[number] if number < len(self._choices) else None

    def _remember(self) -> None:
        """Write each line of the history at once: none is lost with the terminal, nor those of another chat."""
        readline = self._readline
        if readline is None or self._history is None:
            return
        count = readline.get_current_history_length()
        new, self._kept = count - self._kept, count
        with suppress(OSError):
            self._history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._history, os.O_WRONLY | os.O_CREAT, 0o600))
            self._history.chmod(0o600)
            if hasattr(readline, "append_history_file"):  # some versions of libedit lack it
                readline.append_history_file(new, str(self._history))
            else:
                readline.write_history_file(str(self._history))


def state_folder(environ: Mapping[str, str]) -> Path | None:
    """Where what is kept between two runs belongs (https://specifications.freedesktop.org/basedir-spec).

    None where the user has no home.
    """
    told = environ.get("XDG_STATE_HOME", "")
    base = Path(told) if told.startswith("/") else expanded("~/.local/state")
    return base / "llamaswap" if base.is_absolute() else None


def _readline() -> ModuleType | None:
    """The module, where this Python has it and somebody types."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        return None
    try:
        import readline  # noqa: PLC0415 - some builds of Python lack it
    except ImportError:
        return None
    return readline
