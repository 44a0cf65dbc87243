"""The requests in progress, as the events of a server tell of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Request = Mapping[str, Any]


class InFlight:
    """Ages count from when a request was told of, by a clock of ours: that of the server may be another."""

    def __init__(self) -> None:
        self._requests: dict[str, tuple[Request, float]] = {}  # with the moment of its beginning

    def take(self, event: Mapping[str, Any], now: float) -> None:
        """The data of an event `inflight`."""
        operation = event.get("operation")
        if operation == "snapshot":
            self._requests = {}
            for request in event.get("requests") or ():
                self._note(request, now)
        elif operation == "upsert" and event.get("request"):
            self._note(event["request"], now)
        elif operation == "remove":
            self._requests.pop(str(event.get("id")), None)

    def _note(self, request: Request, now: float) -> None:
        began = now - (request.get("elapsed_ms") or 0) / 1000
        known = self._requests.get(request["id"])
        self._requests[request["id"]] = (request, began if known is None else known[1])

    def current(self, now: float) -> list[tuple[Request, float]]:
        """Each with its age in seconds, the oldest first."""
        aged = [(request, now - began) for request, began in self._requests.values()]
        return sorted(aged, key=lambda one: -one[1])

    def __len__(self) -> int:
        return len(self._requests)
