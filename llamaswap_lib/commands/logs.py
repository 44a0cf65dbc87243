"""`llamaswap logs`: what the server and its models have said, and say from now on."""

from __future__ import annotations

import argparse
import queue
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from llamaswap_lib.client.connection import Refused, Server, ServerError, in_path
from llamaswap_lib.client.follow import Failed, Item, Lost, News, follow, take
from llamaswap_lib.client.log_text import Lines, Tail, dropped_of
from llamaswap_lib.client.terminal import Style, Terminal, display_width, harmless, json_text, without_colours
from llamaswap_lib.commands.absence import Absence
from llamaswap_lib.commands.arguments import UsageError, count_of
from llamaswap_lib.commands.remote import add_remote_flags, server_of
from llamaswap_lib.typed_yaml.problems import did_you_mean

EXAMPLES = """\
llamaswap logs -f
llamaswap logs -f small -n 20
llamaswap logs upstream --grep '(?i)error'"""
EXAMPLES_NOTE = "needs Ctrl-C to end"
NOTES = """\
The history is the newest 100 KB that the server has kept of each log. Colours of a model's own output stay on a
terminal; whatever else would move the cursor is shown as text. Of a line that its program has written over, as
progress bars do, the last state is shown.

With `-f` a server that goes away is waited for: what was missed is shown when it is back, as far as it still
has it. Where the server could not send all of a log in time, a line says how many bytes are missing.

`--json` prints an object for each line: `source` (the name that was given, `stdout` for none), and `line` or
`dropped_bytes`."""
COMPLETED = {"MODEL": [("proxy", "the server's own lines"), ("upstream", "the output of all models")]}
SHOWN = "stdout"  # the name, for programs, of what is shown on the server's stdout
HISTORY_BYTES = "X-History-Bytes"
INVALID = "a model's ID"  # what the error for a log that there is not begins with; behind it, why that is so
SILENCE = 0.5  # seconds after which a server that does not tell how long the history is has sent all of it
MOST_WAITING = 64  # pieces that are read and not printed yet
_level_of = re.compile(r"(?:\S+ )?\[(DEBUG|WARN|ERROR)\]").match
LEVELS = {"DEBUG": Style.QUIET, "WARN": Style.BUSY, "ERROR": Style.BAD}
PREFIXES = (Style.NAME, Style.GOOD, Style.BUSY, Style.BAD)  # of several logs, in turn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    whose = "a model, proxy (the server's own lines) or upstream (all models); without one, what the server shows"
    parser.add_argument("names", metavar="MODEL", nargs="*", help=whose)
    add = parser.add_argument
    add("--follow", "-follow", "-f", action="store_true", help="go on with what comes, until Ctrl-C")
    add("--lines", "-lines", "-n", metavar="LINES", type=count_of, help="only the last LINES of the history")
    add("--grep", "-grep", metavar="REGEX", help="only lines in which it is found ((?i) in front: in any case)")
    add("--no-history", "-no-history", action="store_true", help="only what comes: with -f")
    add_remote_flags(parser)


def run(options: argparse.Namespace) -> int:
    if options.no_history and not options.follow:
        raise UsageError("--no-history leaves only what comes: give -f, too")
    server = server_of(options)
    names = list(dict.fromkeys(options.names)) or [""]
    printer = Printer(Terminal(), names, as_json=options.json, is_wanted=matcher(options.grep))
    most = 0 if options.no_history else options.lines
    news: queue.Queue[News] = queue.Queue(MOST_WAITING)
    logs = [Log(server, name, printer, most, follows=options.follow) for name in names]
    try:
        if options.follow:
            for log in logs:
                follow(log, log.read, news.put)
            _print_all(news, logs, printer)
        else:
            for log in logs:  # one after the other: each history in one piece
                follow(log, log.read, news.put)
                _print_all(news, [log], printer)
    finally:
        printer.terminal.clear()  # no unfinished line is left below
    return 0


def matcher(pattern: str | None) -> re.Pattern[str] | None:
    """Raises UsageError."""
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--grep: {pattern!r} is no regular expression: {error}") from None


def _print_all(news: queue.Queue[News], logs: Sequence[Log], printer: Printer) -> None:
    """Print what comes until all of it is there; raises ServerError."""
    while not all(log.is_done for log in logs):
        moments = [log.silent_at for log in logs if log.silent_at is not None]
        item = take(news, max(0.0, min(moments) - time.monotonic()) if moments else None)
        if item is None:
            for log in logs:
                if log.silent_at is not None and log.silent_at <= time.monotonic():
                    log.end_history()
        elif isinstance(item, Failed):
            raise _explained(item)
        elif isinstance(item, Lost):
            item.source.lose(item.error)
        else:
            item.source.take(item)
        if len(logs) == 1 and news.empty():
            printer.unfinished(logs[0].lines.rest)


def _explained(failed: Failed) -> Exception:
    error, log = failed.error, failed.source
    if not isinstance(error, Refused) or error.status not in (400, 404) or not log.name:
        return error
    if INVALID in (message := str(error)) and (why := message.partition(INVALID)[2]):
        return Refused(f"there is no log of {log.name!r}{why}", 404)
    listed = log.server.find("/v1/models") or {}
    guess = did_you_mean(log.name, [row["id"] for row in listed.get("data", [])])
    return Refused(f"there is no log of {log.name!r}{guess}; expected a model of the server, proxy or upstream", 404)


class Log:
    """One log: its history, and with `follows` what comes. On the main thread, but for `read`."""

    def __init__(self, server: Server, name: str, printer: Printer, most: int | None, *, follows: bool) -> None:
        """`most` lines of the history are printed, None for all."""
        self.server = server
        self.name = name
        self.is_done = False  # nothing more is wanted
        self.silent_at: float | None = None  # when the history is taken to be over, by time.monotonic
        self.lines = Lines()
        self._printer = printer
        self._most = most
        self._follows = follows
        self._tail = Tail()
        self._history: bytearray | None = None  # while it comes
        self._wanted_bytes: int | None = None  # of it; None where the server does not say

    def read(self) -> Iterator[int | bytes | None]:
        """Open it: how long the history is, and then what comes. The thread that follows."""
        path = f"/logs/stream/{in_path(self.name)}" if self.name else "/logs/stream"
        has_history = self._most != 0 or self._tail
        with self.server.open("GET", path if has_history else f"{path}?no-history") as response:
            told = response.getheader(HISTORY_BYTES, "")
            yield int(told) if told.isdigit() else None if has_history else 0
            yield from self.server.pieces(response)

    def take(self, item: Item) -> None:
        if self.is_done:
            return
        value = item.value
        if not isinstance(value, bytes):
            self._printer.absence.found(self.name)
            self._history, self._wanted_bytes = bytearray(), value
        elif self._history is None:
            self._tail.add(value)
            self._printer.lines(self.name, self.lines.add(value))
        else:
            self._history += value
        if self._history is not None:
            if self._wanted_bytes is not None and len(self._history) >= self._wanted_bytes:
                self.end_history()
            else:
                self.silent_at = None if self._wanted_bytes is not None else time.monotonic() + SILENCE

    def end_history(self) -> None:
        """All of it is here, and maybe some more."""
        whole, self._history, self.silent_at = bytes(self._history or b""), None, None
        known = len(whole) if self._wanted_bytes is None else self._wanted_bytes
        if self._tail:
            told = self._tail.news(whole)
            self._printer.lines(self.name, self.lines.add(told))
        else:
            history = [*self.lines.add(whole[:known])]
            if not self._follows and self.lines.rest:
                history.append(self.lines.end())
            self._printer.lines(self.name, history, self._most)
            if self._follows:
                self._printer.lines(self.name, self.lines.add(whole[known:]))
        self._tail.add(whole)
        self.is_done = not self._follows

    def lose(self, error: ServerError | None) -> None:
        """The stream has ended; it is tried again. Raises what has broken a history that nothing follows."""
        if self._history is not None:
            self.end_history()
            if self.is_done and error is not None:
                raise error
        if self.is_done:
            return
        if self.lines.rest:
            self._printer.lines(self.name, [self.lines.end()])
        self._printer.absence.lost(self.name)


class Printer:
    """Prints lines of logs, each with the name of its log if there are several."""

    def __init__(
        self, terminal: Terminal, names: Sequence[str], *, as_json: bool, is_wanted: re.Pattern[str] | None
    ) -> None:
        self.terminal = terminal
        self._as_json = as_json
        self._is_wanted = is_wanted
        self.absence = Absence(terminal)
        width = max(map(display_width, names))
        self._prefixes = {
            name: terminal.styled(
                harmless(name, colours=False) + " " * (width - display_width(name)), PREFIXES[number % len(PREFIXES)]
            )
            + " | "
            for number, name in enumerate(names if len(names) > 1 else ())
        }

    def lines(self, name: str, lines: Iterable[str], most: int | None = None) -> None:
        """`most` is how many of them, the last ones."""
        wanted: Iterable[str] = (line for line in lines if self._is_told(line))
        if most is not None:
            wanted = deque(wanted, most)
        texts = [self._json(name, line) if self._as_json else self._text(name, line) for line in wanted]
        if texts:
            self.terminal.write("".join(texts))

    def unfinished(self, line: str) -> None:
        """Show how far a line is, on a terminal."""
        if not self._as_json and line and self._is_told(line):
            self.terminal.status(without_colours(line))

    def _is_told(self, line: str) -> bool:
        return self._is_wanted is None or self._is_wanted.search(without_colours(line)) is not None

    def _json(self, name: str, line: str) -> str:
        dropped = dropped_of(line)
        about = {"dropped_bytes": int(dropped[1])} if dropped else {"line": line}
        return json_text({"source": name or SHOWN, **about}, is_unicode=self.terminal.is_unicode) + "\n"

    def _text(self, name: str, line: str) -> str:
        text = harmless(line, colours=self.terminal.has_colours)
        level = _level_of(line)
        if dropped_of(line):
            text = self.terminal.styled(text, Style.BUSY)
        elif level is not None and "\x1b" not in text:
            text = self.terminal.styled(text, LEVELS[level[1]])
        return f"{self._prefixes.get(name, '')}{text}\n"
