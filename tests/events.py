"""The stream of `/api/events` as a client reads it that takes nothing for granted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

START = ["logData", "logData", "modelStatus", "uiConfig", "profileChanged", "inflight", "queue", "memory"]
_BEFORE, _AFTER = b"event:message\ndata:", b"\n\n"


class Event(NamedTuple):
    """One event, its data decoded."""

    type: str
    data: Any


class EventReader:
    """Events of a stream whose next bytes `read` brings, b"" at its proper end."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._rest = b""

    def next(self) -> Event | None:
        """None at the proper end."""
        while _AFTER not in self._rest:
            data = self._read()
            if not data:
                assert not self._rest, f"ended within an event: {self._rest[-200:]!r}"
                return None
            self._rest += data
        event, _, self._rest = self._rest.partition(_AFTER)
        assert event.startswith(_BEFORE), event[:100]
        line = event.removeprefix(_BEFORE).decode("ascii")
        assert not set(line) & {"\r", "\n"}
        said = json.loads(line)
        assert list(said) == ["type", "data"]
        return Event(said["type"], json.loads(said["data"]))

    def start(self) -> list[Event]:
        """The events that come whether anything happens or not."""
        events = [event for _ in START if (event := self.next())]
        assert [event.type for event in events] == START
        return events

    def next_of(self, kind: str) -> Any:
        """The data of the next event of a type; others are skipped."""
        while event := self.next():
            if event.type == kind:
                return event.data
        raise AssertionError(f"the stream ended without {kind}")

    def text_to(self, source: str, mark: str) -> str:
        """What a log says, up to where it has said `mark`."""
        text = ""
        while mark not in text:
            said = self.next_of("logData")
            text += said["data"] * (said["source"] == source)
        return text
