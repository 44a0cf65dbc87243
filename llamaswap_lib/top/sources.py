"""What `top` asks the server, on threads of its own: they put what they hear into a queue, and wake the main thread.

`follow-N` reads the events. `top-poll` asks for what no event tells: what runs takes, the machine, and the speeds of
requests that have ended. `top-action` does what a key asks for. All end with the program.
"""

from __future__ import annotations

import datetime
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from llamaswap_lib.client import memory, peers
from llamaswap_lib.client.connection import Refused, Server, ServerError, lines_of
from llamaswap_lib.client.events import messages
from llamaswap_lib.client.follow import News, follow
from llamaswap_lib.top.state import SPEED_SECONDS

RUNNING_SECONDS = 2.0
MACHINE_SECONDS = 5.0  # as often as the server takes samples, unless it is told otherwise
LEAST_SECONDS = 0.5  # between two questions, whatever happens
FIRST_ROWS = 100  # of activity, for the speeds
UNWANTED = ("logData", "uiConfig", "swap", "room")


class Told(NamedTuple):
    """An answer; `kind` is `running`, `peers`, `memory`, `performance`, `hardware` or `rows`."""

    kind: str
    value: Any


class Done(NamedTuple):
    """A key's work is over."""

    text: str
    is_good: bool


class Sources:
    def __init__(self, server: Server, wake: Callable[[], None]) -> None:
        self._server = server
        self._wake = wake
        self.news: queue.Queue[News | Told | Done] = queue.Queue(256)
        self._poke = threading.Event()
        self._last_row = 0
        self._has_rows = True
        self._machine_at = -MACHINE_SECONDS
        self._after = ""  # the moment of the last sample

    def start(self) -> None:
        follow("events", self._events, self._put)
        threading.Thread(target=self._poll, name="top-poll", daemon=True).start()

    def poke(self) -> None:
        """Something has changed: ask soon."""
        self._poke.set()

    def do(self, what: str, method: str, path: str) -> None:
        """Have it done; `what` is said with the outcome."""

        def act() -> None:
            try:
                self._server.ask(method, path, seconds=None)
                self._put(Done(f"{what}: done", is_good=True))
            except ServerError as error:
                self._put(Done(f"{what}: {error}", is_good=False))

        threading.Thread(target=act, name="top-action", daemon=True).start()

    def snapshot(self) -> Iterator[Told]:
        """One answer of each kind, now; raises ServerError."""
        yield from self._running()
        yield Told("memory", memory.find(self._server))
        yield from self._hardware()
        yield from self._machine()
        yield from self._rows()

    # -- the threads --

    def _put(self, item: News | Told | Done) -> None:
        self.news.put(item)
        self._wake()

    def _events(self) -> Iterator[tuple[str, Any]]:
        with self._server.open("GET", "/api/events") as response:
            yield "open", None
            yield from messages(lines_of(self._server.pieces(response)), UNWANTED)

    def _poll(self) -> None:
        has_hardware = False
        while True:
            with suppress(ServerError):  # whether the server is there is seen by the events
                if not has_hardware:
                    for told in self._hardware():
                        self._put(told)
                    has_hardware = True
                for told in (*self._running(), *self._machine(), *self._rows()):
                    self._put(told)
            time.sleep(LEAST_SECONDS)
            self._poke.wait(RUNNING_SECONDS - LEAST_SECONDS)
            self._poke.clear()

    def _running(self) -> Iterator[Told]:
        yield Told("running", self._server.get("/running")["running"])
        yield Told("peers", peers.find(self._server))

    def _hardware(self) -> Iterator[Told]:
        with suppress(Refused):  # where it is not measured
            yield Told("hardware", (self._server.find("/api/hardware") or {}).get("accelerators") or ())

    def _machine(self) -> Iterator[Told]:
        """Samples since the last ones; at first the newest, which are older where they are seldom taken."""
        if time.monotonic() < self._machine_at + MACHINE_SECONDS:
            return
        self._machine_at = time.monotonic()
        for seconds in (0,) if self._after else (30, 900):
            with suppress(Refused):
                answer = self._server.find("/api/performance", {"after": self._after or _ago(seconds)})
                if answer is not None and answer["sys_stats"]:
                    self._after = answer["sys_stats"][-1]["timestamp"]
                    yield Told("performance", answer)
                    return

    def _rows(self) -> Iterator[Told]:
        if not self._has_rows:
            return
        parameters: dict[str, str | int] = {"limit": FIRST_ROWS}
        parameters |= {"min_id": self._last_row + 1} if self._last_row else {"start": _ago(SPEED_SECONDS)}
        answer = self._server.find("/api/metrics/activity", parameters)
        if answer is None:
            self._has_rows = False
        elif answer["data"]:
            rows = [row for row in answer["data"] if row["id"] > self._last_row]
            self._last_row = max((row["id"] for row in rows), default=self._last_row)
            yield Told("rows", rows[::-1])

    def forget(self) -> None:
        """Another server answers now, which may count anew."""
        self._last_row = 0


def _ago(seconds: float) -> str:
    moment = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
