"""Server-sent events, read from the lines of an answer (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any


def event_data(lines: Iterable[bytes]) -> Iterator[str]:
    """The data of each event, as it is complete; of one whose end is missing nothing."""
    data: list[str] = []
    for line in lines:
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if not text:
            if data:
                yield "\n".join(data)
            data.clear()
        elif text.startswith("data:"):
            data.append(text[len("data:") :].removeprefix(" "))


def messages(lines: Iterable[bytes]) -> Iterator[tuple[str, Any]]:
    """Type and data of each message of `/api/events`; what is none is passed over."""
    for text in event_data(lines):
        with suppress(ValueError, TypeError, KeyError):
            message = json.loads(text)
            yield message["type"], json.loads(message["data"])
