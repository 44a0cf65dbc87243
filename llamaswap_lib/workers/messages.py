"""What the parent and a worker tell each other: kinds of messages, and what a worker begins with.

Both are the same version of this program, on the same machine, and each trusts the other: messages are pickled.
"""

from __future__ import annotations

import copyreg
import json
import pickle
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from llamaswap_lib.activity.record import Record
from llamaswap_lib.activity.row import Row
from llamaswap_lib.config.check import Listen
from llamaswap_lib.config.schema import Config
from llamaswap_lib.fleet.states import PeerState
from llamaswap_lib.upgrade.link import Codec


def _read_only(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(values)


copyreg.pickle(MappingProxyType, lambda proxy: (_read_only, (dict(proxy),)))  # by itself it cannot be
PICKLE = Codec(pickle.dumps, pickle.loads)  # of a process that has our own rights
NUMBERS_EACH = 1_000_000_000  # requests of one worker; their ids begin with that of the worker


class Kind(str, Enum):
    """Kinds of messages, in `kind`; what else is in one is said behind."""

    # from the parent
    BEGIN = "begin"  # begin: Begin
    CHANGE = "change"  # number, in_force: InForce
    STATES = "states"  # states: of peers, by their names
    GONE = "gone"  # address: of a peer that does not answer any more
    ASK = "ask"  # number, question: Question, argument
    FOLLOW = "follow"  # follows: whether somebody wants to know of requests in progress
    PING = "ping"  # the loop is to answer
    CLIENT = "client"  # as `upgrade/connections.py` tells of a client, with its descriptor: a connection to serve
    LEAVE = "leave"  # other workers accept: give away what has no request, and end with the last one
    STOP = "stop"  # is_shared: somebody else goes on listening on the socket
    # from the worker
    READY = "ready"  # version; nothing is accepted before BEGIN
    SERVING = "serving"
    ANSWER = "answer"  # number, answer; to ASK and CHANGE
    PONG = "pong"  # from the loop
    ROWS = "rows"  # handed: HandedRows
    EVENTS = "events"  # events: bytes about requests in progress
    CONNECTION = "connection"  # client: its address; with a descriptor: the other end of it
    LEFT = "left"  # the same as CLIENT, for others to serve
    REFUSED = "refused"  # name, error: a peer that takes no connection


class Question(str, Enum):
    """What the parent asks a worker."""

    IN_FLIGHT = "in flight"  # the rows of its requests in progress
    CANCEL = "cancel"  # whether the request of that number was there, and is ended
    WAITS_AT = "waits at"  # whether requests are sent to a peer at that address
    GAUGES = "gauges"  # Gauges
    FLUSH = "flush"  # hand over all rows of requests that have ended


class InForce(NamedTuple):
    """What requests go by."""

    config: Config  # with what peers have
    profile: str | None


class Begin(NamedTuple):
    """What a worker begins with."""

    number: int
    in_force: InForce
    states: Mapping[str, PeerState]
    listen: Listen
    name: str  # of this llamaswap in the Via header
    key_salt: bytes
    started_at: int
    certificate: tuple[Path, Path] | None


class Gauges(NamedTuple):
    """What the metrics of the program are made of."""

    connections: int
    requests: int  # in progress
    loop_lag: float  # seconds


class HandedRows(NamedTuple):
    """Rows for the parent to store."""

    places: list[int]  # of their requests in the ledger, -1 for none
    rows: list[Row]
    records: list[Record | None]  # where a capture is wanted


class Words(NamedTuple):
    """The last argument of a worker's command line: what it needs to import the rest, and descriptors."""

    path: list[str]
    number: int
    link: int
    listening: int
    ledger: int
    counts: int
    place: int  # in the counts


def words_of(text: str) -> Words:
    """What `json.dumps` has made of it."""
    return Words(*json.loads(text))
