"""`llamaswap requests ID`: one request, where its time went, and what was sent and answered, if that is kept."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from llamaswap_lib.client import words
from llamaswap_lib.client.connection import Refused, Server
from llamaswap_lib.client.events import event_data
from llamaswap_lib.client.terminal import Cell, Column, Style, Table, Terminal, harmless
from llamaswap_lib.commands.request_rows import ENDED_STYLES, ROUTE, Row
from llamaswap_lib.printable import printable

MOST_SHOWN = 4_000  # characters of a body, on a terminal
MOST_BAR = 40
# What the parts of a duration are called, in the order in which they come.
PARTS = {
    "queue_ms": "in the queue",
    "load_ms": "loading the model",
    "upstream_ms": "waiting in its server",
    "prompt_ms": "reading the prompt",
    "generation_ms": "generating",
    "ours_ms": "llamaswap itself",
}


def show(server: Server, terminal: Terminal, number: int, *, as_json: bool) -> int:
    """Print it; raises ServerError."""
    answer = server.get(ROUTE, {"min_id": number, "max_id": number})
    row = next((row for row in answer["data"] if row["id"] == number), None)
    if row is None:
        raise Refused(f"there is no request {number}; llamaswap requests lists those that are kept", 404)
    capture = server.find(f"/api/captures/{number}") if row.get("has_capture") else None
    if as_json:
        terminal.json({"request": row, "capture": capture})
        return 0
    for title, lines in (("", _facts(row)), (_title_of_time(row), _times(row, terminal))):
        if title:
            terminal.line()
            terminal.line(title, Style.HEAD)
        table = Table((Column(""), Column("", is_number=bool(title)), Column("", may_shrink=True)))
        for line in table.lines(list(lines), terminal.width):
            terminal.line(terminal.styled_line(line))
    if capture is not None:
        _print_capture(terminal, capture)
    return 0


def _facts(row: Row) -> Iterator[list[str | Cell]]:
    tokens, ended = row.get("tokens") or {}, row.get("ended") or ""
    counts = {
        "input_tokens": "in", "output_tokens": "out", "cache_tokens": "of the prompt from the cache",
        "draft_tokens": "drafted", "draft_acc_tokens": "of those accepted",
    }  # fmt: skip
    speeds = {"prompt_per_second": "of the prompt", "tokens_per_second": "generated"}
    told = [f"{words.number(tokens[key])} {name}" for key, name in counts.items() if tokens.get(key, -1) > 0]
    fast = [f"{words.number(tokens[key])} {name}" for key, name in speeds.items() if tokens.get(key, -1) > 0]
    error, metadata = row.get("error_msg") or "", row.get("metadata") or {}
    facts: dict[str, str | Cell] = {
        "request": f"{row['id']}: {row.get('method') or ''} {row.get('req_path') or ''}".replace(":  ", ": "),
        "model": row.get("model") or "",
        "time": words.local_time(row["timestamp"], is_whole=True),
        "status": str(row.get("resp_status_code") or ""),
        "ended": Cell(ended, Style.PLAIN if ended == "complete" else ENDED_STYLES.get(ended, Style.BAD)),
        "error": Cell(error, Style.BAD),
        "tokens": ", ".join(told),
        "tokens a second": ", ".join(fast),
        "bytes": f"{words.size(row.get('request_bytes'))} in, {words.size(row.get('response_bytes'))} out",
        "from": " ".join(filter(None, (row.get("remote_ip"), row.get("key") and f"with the key {row['key']}"))),
        "session": row.get("session") or "",
        "selector": str(metadata.get("selector") or ""),
        "tried again": words.counted(row["retries"], "time") if row.get("retries") else "",
    }
    for name, value in facts.items():
        if value and value not in (Cell("", Style.BAD), Cell("", Style.PLAIN)):
            yield [Cell(name, Style.QUIET), "", value]


def _title_of_time(row: Row) -> str:
    behind = (row.get("timing") or {}).get("behind")
    waited = f", after {printable(behind)}" if behind else ""
    return f"Where {words.milliseconds(row.get('duration_ms'))} went{waited}" if row.get("timing") else ""


def _times(row: Row, terminal: Terminal) -> Iterator[list[str | Cell]]:
    timing, whole = row.get("timing") or {}, max(row.get("duration_ms") or 0, 1)
    room = min(MOST_BAR, max(8, terminal.width - 34))
    for key, name in PARTS.items():
        spent = timing.get(key) or 0
        if spent > 0:
            bar = terminal.bar(spent / whole, room)
            yield [Cell(name, Style.QUIET), words.milliseconds(spent), Cell(bar, Style.NAME)]
    if (timing.get("first_token_ms") or 0) > 0:
        yield [Cell("until the first token", Style.QUIET), words.milliseconds(timing["first_token_ms"]), ""]


def _print_capture(terminal: Terminal, capture: Mapping[str, Any]) -> None:
    for side, title in (("req", "Sent"), ("resp", "Answered")):
        terminal.line()
        terminal.line(title, Style.HEAD)
        for name, value in (capture.get(f"{side}_headers") or {}).items():
            terminal.line(f"{terminal.styled(printable(name), Style.QUIET)}: {printable(str(value))}")
        body = capture.get(f"{side}_body")
        if not body:
            terminal.line("(no body is kept)", Style.QUIET)
            continue
        terminal.line()
        data = base64.b64decode(body)
        told, count = _told_in(data) if terminal.is_terminal else ("", 0)
        if told:
            terminal.line(
                f"(put together from {words.counted(count, 'event')}; into a pipe they go as they came)", Style.QUIET
            )
        text = told or _readable(data)
        most = MOST_SHOWN if terminal.is_terminal else len(text)
        terminal.line(harmless(text[:most], colours=False))
        if len(text) > most:
            terminal.line(f"... {len(text) - most:,} more characters; into a pipe all of them go", Style.QUIET)


def _told_in(data: bytes) -> tuple[str, int]:
    """The text of a streamed answer, of OpenAI's kinds or Anthropic's, and in how many events it came; '' for none."""
    pieces, count = [], 0
    for event in event_data(data.splitlines(keepends=True)):
        count += 1
        with suppress(ValueError, TypeError, AttributeError, LookupError, RecursionError):
            value = json.loads(event)
            choice = (value.get("choices") or [{}])[0]
            delta = choice.get("delta") or value.get("delta") or choice
            if isinstance(delta, str):
                pieces.append(delta)
            else:
                keys = ("reasoning_content", "thinking", "content", "text")
                pieces += [delta[key] for key in keys if isinstance(delta.get(key), str)]
    return "".join(pieces), count


def _readable(data: bytes) -> str:
    """A body as text, JSON with line ends."""
    text = data.decode("utf-8", "replace")
    if text.lstrip()[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    return text.rstrip("\n")
