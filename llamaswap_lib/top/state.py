"""What is known of a server: its events and answers, folded into how things are now. Pure.

Moments are those of a clock of ours, in seconds: that of the server may be another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llamaswap_lib.client.in_flight import InFlight
from llamaswap_lib.client.runs import is_here

SPEED_SECONDS = 600.0  # for so long the speed of a request counts
MOST_SPEEDS = 10  # of a model, the newest
Row = Mapping[str, Any]


class State:
    def __init__(self, url: str, version: str = "") -> None:
        self.url = url
        self.version = version
        self.lost_at: float | None = None  # since when the server is gone
        self.is_known = False  # it has said something
        self.profile = ""
        self.models: Sequence[Row] = ()
        self.runs: dict[str, Row] = {}
        self.runs_at = 0.0
        self.queue: Sequence[Row] = ()
        self.queue_at = 0.0
        self.memory: Row = {}
        self.peers: Sequence[Row] = ()
        self.in_flight = InFlight()
        self.system: Row | None = None
        self.gpus: Sequence[Row] = ()
        self.accelerators: Sequence[Row] = ()
        self._failures: dict[str, str] = {}
        self._loading_since: dict[str, float] = {}
        self._speeds: dict[str, deque[tuple[float, float]]] = {}

    # -- what comes --

    def take_event(self, kind: str, data: Any, now: float) -> None:
        """A message of `/api/events`."""
        self.is_known = True
        if kind == "modelStatus":
            self.models = data
            self._failures = {row["id"]: str(row["failure"].get("message") or "") for row in data if row.get("failure")}
            self._note_loads({row["id"]: row["state"] for row in data}, now)
        elif kind == "profileChanged":
            self.profile = data.get("active") or ""
        elif kind == "inflight":
            self.in_flight.take(data, now)
        elif kind == "queue":
            self.queue, self.queue_at = data["queue"], now
        elif kind == "memory":
            self.memory = data

    def take_running(self, rows: Iterable[Row], now: float) -> None:
        """The rows of `/running`."""
        self.is_known = True
        self.runs, self.runs_at = {row["model"]: row for row in rows}, now
        if not self.models:
            self._note_loads({name: row["state"] for name, row in self.runs.items()}, now)

    def take_performance(self, answer: Row) -> None:
        """Samples of `/api/performance`; without new ones the last ones stay."""
        if answer["sys_stats"]:
            self.system = answer["sys_stats"][-1]
        if answer["gpu_stats"]:
            newest = answer["gpu_stats"][-1]["timestamp"]
            self.gpus = [row for row in answer["gpu_stats"] if row["timestamp"] == newest]

    def take_rows(self, rows: Iterable[Row], now: float) -> None:
        """Rows of activity, the newest last."""
        for row in rows:
            tokens = row.get("tokens") or {}
            speed = max(tokens.get("tokens_per_second", 0), 0) or row.get("seen_per_second") or 0
            if speed > 0:
                self._speeds.setdefault(row.get("model") or "", deque(maxlen=MOST_SPEEDS)).append((now, speed))

    def lose(self, now: float) -> None:
        """The server is gone. What it said last stays, but for what has surely ended."""
        self.lost_at = now
        self.in_flight = InFlight()
        self.queue = ()

    def find(self) -> None:
        """It is back."""
        self.lost_at = None

    def _note_loads(self, states: Mapping[str, str], now: float) -> None:
        self._loading_since = {
            name: self._loading_since.get(name, now) for name, state in states.items() if state == "starting"
        }

    # -- what is so now --

    def loading_seconds(self, model: str, now: float) -> float | None:
        """For how long it has been seen to load."""
        since = self._loading_since.get(model)
        return None if since is None else now - since

    def speed(self, model: str, now: float) -> float | None:
        """Tokens a second of its newest requests, their mean; None where there were none of late."""
        speeds = [speed for moment, speed in self._speeds.get(model, ()) if moment > now - SPEED_SECONDS]
        return sum(speeds) / len(speeds) if speeds else None

    def states(self) -> dict[str, str]:
        """Of each model of this server, and of those that run at peers."""
        known = {row["id"]: row["state"] for row in self.models if not row.get("peerID")}
        return known | {name: row["state"] for name, row in self.runs.items() if not (known and is_here(row))}

    def failure(self, model: str) -> str:
        """Why it cannot be loaded, '' if nothing is known of that."""
        return self._failures.get(model, "")
