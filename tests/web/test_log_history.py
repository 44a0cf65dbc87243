"""Which streams of logs begin with the history, and how those begin that have none."""

from __future__ import annotations

import pytest

from tests.web.test_log_streams import read_chunk
from tests.web.world import OK, World, answers, get

NO_HISTORY = [
    "?no-history",
    "?no-history=",
    "?no-history=false",
    "?no-history=0",
    "?no-history=1&x",
    "?&no-history&x=y",
    "?no%2Dhistory",
]


def heard(query: str, before: bytes = b"before, ") -> bytes:
    """What a stream brings that was asked for between two writes."""
    with World(answers(OK)) as world, world.connect() as client:
        world.logs.proxy.write(before)
        client.send(get(f"/logs/stream/proxy{query}"))
        client.read_until(b"\r\n\r\n")
        world.logs.proxy.write(b"after")
        data = read_chunk(client)
        while not data.endswith(b"after"):
            data += read_chunk(client)
        return data


@pytest.mark.parametrize("query", NO_HISTORY)
def test_no_history_counts_by_being_there_whatever_its_value(query: str) -> None:
    assert heard(query) == b"after"


@pytest.mark.parametrize("query", ["", "?", "?history", "?x=no-history", "?No-History", "?no_history"])
def test_nothing_else_in_the_query_keeps_the_history_back(query: str) -> None:
    assert heard(query) == b"before, after"


def test_an_empty_history_is_no_chunk() -> None:
    """A chunk of no bytes would be the end of the stream."""
    assert heard("", before=b"") == b"after"
