"""The boxes of a fleet: how `/api/peers` is told. Pure but for `find`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llamaswap_lib.client import words
from llamaswap_lib.client.connection import Refused, Server

Row = Mapping[str, Any]


def find(server: Server) -> Sequence[Row]:
    """The rows of `/api/peers`; none where the server has no such route, or refuses. Raises ServerError."""
    try:
        rows: Sequence[Row] = (server.find("/api/peers") or {}).get("peers", ())
    except Refused:
        return ()
    return rows


def runs_of(peers: Sequence[Row]) -> Iterator[Row]:
    """What runs there, each as a row of `/running`: also the models that have no name here."""
    for peer in peers:
        for row in peer["models"]:
            yield {**row, "model": f"{peer['peer']}/{row['model']}", "peer": peer["peer"]}


def troubles(peers: Sequence[Row]) -> Iterator[str]:
    """`box2 is out since 14:03:21: connection refused`, of each that is out."""
    for peer in peers:
        if peer.get("up") is False:
            since = f" since {words.local_time(peer['since'])}" if peer.get("since") else ""
            why = f": {peer['last_error']}" if peer.get("last_error") else ""
            yield f"{peer['peer']} is out{since}{why}"
