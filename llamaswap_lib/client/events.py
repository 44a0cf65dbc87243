"""Server-sent events, read from the lines of an answer (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any

from llamaswap_lib.client.shapes import wrong_in_event


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


_type_of = re.compile(r'\s*\{\s*"type"\s*:\s*"(\w+)"').match


def messages(lines: Iterable[bytes], without: Collection[str] = ()) -> Iterator[tuple[str, Any]]:
    """Type and data of each message of `/api/events`; what is none, or is not as we know its type, is passed over.

    `without` are types that are not wanted, and not read either: logs are most of what is sent.
    """
    for text in event_data(lines):
        match = _type_of(text) if without else None
        if match is not None and match[1] in without:
            continue
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            message = json.loads(text)
            kind, data = message["type"], json.loads(message["data"])
            if not wrong_in_event(kind, data):
                yield kind, data
