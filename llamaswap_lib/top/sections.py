"""Models, the queue and what is in progress as rows that can be selected. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llamaswap_lib.client import memory, words
from llamaswap_lib.client.runs import STATE_STYLES, is_here, memory_of, places_of, until
from llamaswap_lib.client.terminal import Cell, Column, Style
from llamaswap_lib.top.state import State

ORDER = ("ready", "starting", "waking", "moving", "stopping", "queued", "failing", "sleeping", "stopped")
Row = Mapping[str, Any]
Cells = list[str | Cell]


@dataclass(frozen=True, slots=True)
class Key:
    """What is selected: a model, or with `request` a request for it."""

    section: str
    model: str
    request: str = ""
    is_cancellable: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A table. `empty` is said in its place where it has no rows."""

    name: str
    columns: Sequence[Column]
    rows: Sequence[tuple[Key, Cells]]
    empty: str


MODEL_COLUMNS = (
    Column("MODEL", may_shrink=True),
    Column("STATE"),
    Column("MEMORY", is_number=True, goes=2),
    Column("NEED", goes=5),
    Column("IN FLIGHT", is_number=True),
    Column("QUEUE", is_number=True, goes=3),
    Column("TOK/S", is_number=True, goes=1),
    Column("UNTIL", may_shrink=True, goes=4),
)
QUEUE_COLUMNS = (
    Column("QUEUE", is_number=True),
    Column("MODEL", may_shrink=True),
    Column("SINCE", is_number=True),
    Column("ESTIMATE", is_number=True, goes=1),
    Column("WHY", may_shrink=True, goes=2),
)
REQUEST_COLUMNS = (
    Column("IN FLIGHT", may_shrink=True),
    Column("PATH", may_shrink=True, goes=1),
    Column("FOR", is_number=True),
    Column("ANSWER", is_number=True),
    Column("FROM", goes=2),
)


def sections(state: State, now: float) -> list[Section]:
    waiting = list(state.queue)
    queued = {row.get("request") for row in waiting}
    is_decisive = memory.is_decisive(state.memory)
    kept = [number for number, column in enumerate(MODEL_COLUMNS) if is_decisive or column.title != "NEED"]
    models = [(key, [cells[number] for number in kept]) for key, cells in _models(state, now)]
    columns = [MODEL_COLUMNS[number] for number in kept]
    return [
        Section("models", columns, models, "no models" if state.is_known else "asking the server"),
        Section("queue", QUEUE_COLUMNS, [*_queue(state, waiting, now)], "nobody waits"),
        Section("in flight", REQUEST_COLUMNS, [*_requests(state, queued, now)], "nothing is in flight"),
    ]


def _models(state: State, now: float) -> Iterator[tuple[Key, Cells]]:
    waiting, needs = Counter(row["model"] for row in state.queue), memory.needs(state.memory)
    shown = {}
    for name, known in state.states().items():
        said = state.runs.get(name, {}).get("phase") or known
        is_failed = said == "stopped" and state.failure(name)
        shown[name] = "failing" if is_failed else "queued" if said == "stopped" and waiting[name] else said
    for name in sorted(shown, key=lambda name: (_rank(shown[name]), name)):
        run, how = state.runs.get(name, {}), shown[name]
        style = STATE_STYLES.get(how, Style.QUIET)
        waits = waiting[name] if is_here(run) else run.get("waiting")
        yield (
            Key("models", name),
            [
                Cell(name, Style.QUIET if how == "stopped" else Style.PLAIN), Cell(how, style),
                memory_of(run.get("memory"))[0], memory.need(needs.get(name)),
                places_of(run) if run else words.UNKNOWN,
                words.number(waits) if run or waits else words.UNKNOWN,
                words.number(state.speed(name, now)), _until(state, name, run, how, now),
            ],
        )  # fmt: skip


def _rank(how: str) -> int:
    return ORDER.index(how) if how in ORDER else len(ORDER)


def _until(state: State, name: str, run: Row, how: str, now: float) -> str | Cell:
    loading = state.loading_seconds(name, now)
    if loading is not None:
        return f"loads for {words.duration(loading)}"
    if how == "failing":
        return Cell(state.failure(name), Style.BAD)
    return until(run, now - state.runs_at) if run else words.UNKNOWN


def _queue(state: State, waiting: Sequence[Row], now: float) -> Iterator[tuple[Key, Cells]]:
    passed = now - state.queue_at
    for row in waiting:
        estimate = row.get("estimate_seconds")
        yield (
            Key("queue", row["model"], row.get("request") or f"ticket {row['ticket']}", bool(row.get("request"))),
            [
                words.number(row["place"]), row["model"], words.duration(row["waiting_seconds"] + passed),
                words.UNKNOWN if estimate is None else f"~{words.duration(max(0.0, estimate - passed))}", row["reason"],
            ],
        )  # fmt: skip


def _requests(state: State, queued: set[str | None], now: float) -> Iterator[tuple[Key, Cells]]:
    for request, age in state.in_flight.current(now):
        if request["id"] not in queued:
            size, path = request.get("resp_bytes"), f"{request.get('method') or ''} {request['req_path']}".strip()
            yield (
                Key("in flight", request["model"], request["id"], is_cancellable=True),
                [
                    request["model"], path, words.duration(age),
                    words.size(size) if size else Cell("none yet", Style.QUIET), request.get("remote_ip") or "",
                ],
            )  # fmt: skip
