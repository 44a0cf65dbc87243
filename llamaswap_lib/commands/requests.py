"""`llamaswap requests`: the rows of activity, the newest last, and with -f those that come."""

from __future__ import annotations

import argparse
import queue
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llamaswap_lib.client import words
from llamaswap_lib.client.connection import Parameters, Refused, Server, ServerError, lines_of
from llamaswap_lib.client.events import messages
from llamaswap_lib.client.follow import Failed, Lost, News, follow, may_pass, take
from llamaswap_lib.client.in_flight import InFlight, Request
from llamaswap_lib.client.terminal import Cell, Style, Table, Terminal
from llamaswap_lib.commands.absence import Absence
from llamaswap_lib.commands.arguments import UsageError, count_of
from llamaswap_lib.commands.remote import add_remote_flags, server_of
from llamaswap_lib.commands.request_rows import COLUMNS, ROUTE, Row, cells_in_progress, cells_of, progress

EXAMPLES = """\
llamaswap requests -f
llamaswap requests --status '!200' --since 24h
llamaswap requests 17"""
EXAMPLES_NOTE = "needs Ctrl-C to end"
NOTES = """\
One line for each request to a model: FIRST is the time until the first token, IN and OUT are tokens, TOK/S is
the speed with which they were generated, QUEUE the time in which the request waited, for others and for the
load of its model. A narrow terminal shows fewer columns. What is in progress stands at the end, with `...` as
its status.

What is kept, and for how long, is described in [activity.md](activity.md). `--json` prints each row as one
line, as the route `/api/metrics/activity` has it; of requests in progress nothing."""
MOST_ROWS = 999  # that the server gives at once
USUAL_ROWS = 20
UNWANTED = ("logData", "modelStatus", "uiConfig", "profileChanged", "swap", "room")
FILTERS = ("model", "status", "path", "session", "key", "ended")  # each may be given several times


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = "nothing, or show ID (or just ID): one request, where its time went, and its capture if that is kept"
    parser.add_argument("words", metavar="ID", nargs="*", help=what)
    add = parser.add_argument
    add("--follow", "-follow", "-f", action="store_true", help="go on with those that come, until Ctrl-C")
    how_many = f"how many of those that there are (default: {USUAL_ROWS})"
    add("--lines", "-lines", "-n", metavar="ROWS", type=count_of, default=USUAL_ROWS, help=how_many)
    add_remote_flags(parser)
    add = parser.add_argument_group("which requests", "Several of one kind: any of them.").add_argument
    more: dict[str, Any] = {"action": "append", "default": []}
    add("--model", "-model", metavar="MODEL", help="of this model", **more)
    add("--status", "-status", metavar="STATUS", help="200, 4xx, or !200 for all others", **more)
    add("--path", "-path", metavar="PATH", help="for this path", **more)
    add("--session", "-session", metavar="SESSION", help="of this session", **more)
    add("--key", "-key", metavar="KEY", help="with this key: its name or tag in the activity", **more)
    endings = "complete, client_left, upstream_broke, cancelled, refused or failed"
    add("--ended", "-ended", metavar="HOW", help=endings, **more)
    add("--q", "-q", metavar="TEXT", help="text in model, path or error", default="")
    add("--min-duration", "-min-duration", metavar="TIME", help="that took at least 500ms, 2s, 1m30s", default="")
    add("--since", "-since", metavar="TIME", help="not older than 30m, 2h, 7d; or a moment: 2026-01-31T12:00:00Z")


def run(options: argparse.Namespace) -> int:
    server, terminal = server_of(options), Terminal()
    number = _id_of(options.words)
    try:
        if number is not None:
            from llamaswap_lib.commands.request_details import show  # noqa: PLC0415 - most calls do without

            return show(server, terminal, number, as_json=options.json)
        rows = Rows(server, _filters(options))
        printer = Printer(terminal, as_json=options.json)
        if options.follow:
            Live(rows, printer, options).run()
        else:
            found = rows.newest(options.lines)
            printer.rows(found)
            if not options.json and _may_be_in_progress(options):
                told = server.find("/api/inflight") or {}
                queued = {row.get("request"): row for row in (server.find("/api/queue") or {}).get("queue", ())}
                requests = [(one, (one.get("elapsed_ms") or 0) / 1000) for one in told.get("requests", ())]
                printer.in_progress(_wanted(requests, options), queued)
    except Refused as error:
        if error.status == 400:
            raise UsageError(f"the server does not accept the filter {error}") from None
        raise
    finally:
        terminal.clear()
    return 0


def _id_of(words_: Sequence[str]) -> int | None:
    """Of the one request that is meant; raises UsageError."""
    rest = words_[1:] if words_[:1] == ["show"] else words_
    if not words_:
        return None
    if len(rest) != 1 or not (rest[0].isascii() and rest[0].isdigit()) or len(rest[0]) > 18:
        raise UsageError(f"expected the ID of one request, as llamaswap requests lists them, got {' '.join(words_)!r}")
    return int(rest[0])


def _filters(options: argparse.Namespace) -> Parameters:
    """The parameters of the route; raises UsageError."""
    found = {name: value for name in (*FILTERS, "q", "min_duration") if (value := getattr(options, name))}
    return {**found, "start": _moment(options.since)} if options.since else found


def _moment(text: str) -> str:
    from llamaswap_lib.activity.query import moment_of, seconds_of, text_of  # noqa: PLC0415 - for --since alone

    seconds = seconds_of(text)
    if seconds is not None:
        return text_of(time.time() - seconds)
    if moment_of(text) is None:
        raise UsageError(f"--since: expected a time such as 30m or 2h, or a moment in RFC 3339, got {text!r}")
    return text


def _may_be_in_progress(options: argparse.Namespace) -> bool:
    """Whether the filters say only what is known of a request before its end."""
    return not any(getattr(options, name) for name in ("status", "session", "key", "ended", "q", "min_duration"))


def _wanted(requests: Iterable[tuple[Request, float]], options: argparse.Namespace) -> list[tuple[Request, float]]:
    return [
        (request, age)
        for request, age in requests
        if not (options.model and request["model"] not in options.model)
        and not (options.path and request["req_path"] not in options.path)
    ]


class Rows:
    """The rows of the server that the filters mean."""

    def __init__(self, server: Server, filters: Parameters) -> None:
        self.server = server
        self._filters = filters

    def newest(self, most: int, max_id: int | None = None) -> list[Row]:
        """So many, the newest last, none newer than `max_id`; raises ServerError."""
        found: list[Row] = []
        while len(found) < most:
            limit = min(most - len(found), MOST_ROWS)
            parameters = {**self._filters, "limit": limit}
            page = self._page(parameters if max_id is None else {**parameters, "max_id": max_id})
            found += page
            if len(page) < limit or page[-1]["id"] <= 1:
                break
            max_id = page[-1]["id"] - 1
        return found[:most][::-1]

    def behind(self, last: int) -> Iterator[Row]:
        """Those that are newer, the newest last."""
        while True:
            page = self._page({**self._filters, "min_id": last + 1, "order": "asc", "limit": MOST_ROWS})
            fresh = sorted((row for row in page if row["id"] > last), key=lambda row: int(row["id"]))
            yield from fresh
            if len(fresh) < MOST_ROWS:
                return
            last = fresh[-1]["id"]

    def latest(self) -> Row | None:
        """The newest of all, whatever the filters say."""
        return next(iter(self._page({"limit": 1})), None)

    def has(self, row: Row) -> bool:
        """Whether the server still counts on from that row: else its activity is another one."""
        number = row["id"]
        found = self._page({"min_id": number, "max_id": number})
        if found:
            return bool(found[0]["timestamp"] == row["timestamp"])
        oldest = next(iter(self._page({"order": "asc", "limit": 1})), None)
        return oldest is not None and oldest["id"] > number

    def _page(self, parameters: Parameters) -> list[Row]:
        answer = self.server.find(ROUTE, parameters)
        if answer is None:
            raise ServerError(f"{self.server.url} keeps no list of requests: it is an earlier version, or llama-swap")
        rows: list[Row] = answer["data"]
        return rows


class Live:
    """The rows that there are, then each one that is new, once; and on a terminal what is in progress."""

    def __init__(self, rows: Rows, printer: Printer, options: argparse.Namespace) -> None:
        self._rows = rows
        self._printer = printer
        self._options = options
        self._in_flight = InFlight()
        self._queued: dict[str, Row] = {}
        self._absence = Absence(printer.terminal)
        self._latest: Row | None = None  # the last row that was looked at
        self._seen = 0  # up to this id all are printed
        self._has_begun = False
        self._may_be_another = False  # the server was away

    def run(self) -> None:
        """Until Ctrl-C; raises ServerError."""
        news: queue.Queue[News] = queue.Queue(64)
        follow("events", self._read, news.put)
        while True:
            item = take(news, 1.0 if self._in_flight else None)
            has_rows = False
            while item is not None:
                has_rows = self._take(item) or has_rows
                item = None if news.empty() else take(news, 0)
            if has_rows:
                self._print_rows()
            self._printer.status(_wanted(self._in_flight.current(time.monotonic()), self._options), self._queued)

    def _read(self) -> Iterator[tuple[str, Any]]:
        """The thread that follows."""
        with self._rows.server.open("GET", "/api/events") as response:
            yield "open", None
            yield from messages(lines_of(self._rows.server.pieces(response)), UNWANTED)

    def _take(self, item: News) -> bool:
        """Whether there may be rows that are new."""
        if isinstance(item, Failed):
            raise item.error
        if isinstance(item, Lost):
            self._in_flight, self._queued, self._may_be_another = InFlight(), {}, True
            self._absence.lost("events")
            return False
        kind, data = item.value
        if kind == "inflight":
            self._in_flight.take(data, time.monotonic())
        elif kind == "queue":
            self._queued = {row.get("request"): row for row in data["queue"]}
        elif kind == "open":
            self._absence.found("events")
        return kind in ("activity", "open") or (kind == "inflight" and data.get("operation") == "snapshot")

    def _print_rows(self) -> None:
        """Those that are new. The server may go away meanwhile: then it is looked again when it is back."""
        try:
            latest = self._rows.latest()
            if not self._has_begun:
                self._has_begun = True
                found = self._rows.newest(self._options.lines, latest["id"]) if latest else []
            else:
                if self._may_be_another and self._latest is not None and not self._rows.has(self._latest):
                    self._seen = 0
                found = list(self._rows.behind(self._seen))
        except ServerError as error:
            if not may_pass(error):
                raise
            return
        self._latest, self._may_be_another = latest, False
        self._seen = max([self._seen, latest["id"] if latest else 0, *(row["id"] for row in found)])
        self._printer.rows(found)


class Printer:
    """Prints rows, one a line."""

    def __init__(self, terminal: Terminal, *, as_json: bool) -> None:
        self.terminal = terminal
        self._as_json = as_json
        self._table = Table(COLUMNS)
        self._has_head = False

    def rows(self, rows: Sequence[Row]) -> None:
        if self._as_json:
            for row in rows:
                self.terminal.json(row, is_one_of_many=True)
        else:
            self._print([cells_of(row) for row in rows])

    def in_progress(self, requests: Iterable[tuple[Request, float]], queued: Mapping[str, Row]) -> None:
        """As rows, marked as such."""
        self._print([cells_in_progress(request, age, queued.get(request["id"])) for request, age in requests])

    def status(self, requests: Sequence[tuple[Request, float]], queued: Mapping[str, Row]) -> None:
        """What is in progress, in the last line of a terminal."""
        if self._as_json or not requests:
            self.terminal.clear()
            return
        told = [
            f"{request['model']} {words.duration(age)} {progress(request, queued.get(request['id']))}"
            for request, age in requests
        ]
        self.terminal.status(f"{len(requests)} in progress: {', '.join(told)}")

    def _print(self, rows: list[list[str | Cell]]) -> None:
        head: list[str | Cell] = [Cell(column.title, Style.HEAD) for column in COLUMNS]
        told = rows if self._has_head else [head, *rows]
        self._has_head = True
        lines = [self.terminal.styled_line(line) for line in self._table.lines(told, self.terminal.width)]
        if lines:
            self.terminal.write("".join(f"{line}\n" for line in lines))
