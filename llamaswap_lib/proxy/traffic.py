"""What moves on the connections to each run, by which it is known whether the run hangs; and their end if it does.

Any thread, but `look_at`: one thread for each run. Owns the set of connections that are open to each run, idle ones
and those in use. Requests pay nothing: the system counts the bytes, and is asked only when somebody looks. There is no
lock: each step on a set is one step for the interpreter.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Collection
from typing import NamedTuple, Protocol

from llamaswap_lib.net.stream import probe_when_silent
from llamaswap_lib.runtime.health.watchdog import Movement

_IS_LINUX = sys.platform == "linux"
_COUNTS = struct.Struct("QQ8xI")  # tcpi_bytes_acked, _bytes_received, _notsent_bytes of linux/tcp.h, since Linux 4.6
_COUNTS_AT = 120
_LAST_ACK, _LAST_ACK_AT = struct.Struct("I"), 56  # tcpi_last_ack_recv, milliseconds
_LATELY, _MOST_TRIES = 3.0, 127  # seconds; how often Linux asks at most: whether the run is lost is not for it to say


class _Counts(NamedTuple):
    """Bytes of one connection: taken by the run's side, sent by it, and what that side has no room for yet."""

    taken: int
    received: int
    waiting: int


_NOTHING = _Counts(0, 0, 0)


class Connection(Protocol):
    """One to a run; its `sock` is None once it is closed."""

    sock: socket.socket
    is_cut: bool


class _Run:
    """The connections to one run."""

    def __init__(self) -> None:
        self.open: set[Connection] = set()
        self.is_looked_at = False
        self.is_cut = False
        self.seen: dict[Connection, _Counts] = {}  # at the last look
        self.moved = 0
        self.ended = 0  # connections that were closed behind an answer since the first look


class Traffic:
    """The open connections of all runs, by run id."""

    def __init__(self) -> None:
        self._runs: dict[int, _Run] = {}

    # -- any thread --

    def add(self, run_id: int, connection: Connection) -> None:
        """It was just opened, and will be taken out by `remove`."""
        run = self._runs.setdefault(run_id, _Run())
        run.open.add(connection)
        if run.is_cut:
            cut_off(connection)

    def remove(self, run_id: int, connection: Connection) -> None:
        """It is about to be closed."""
        run = self._runs.get(run_id)
        if run is not None:
            run.open.discard(connection)
            if run.is_looked_at:
                counts = _counts_of(connection) or _NOTHING
                run.ended += counts.received > run.seen.get(connection, _NOTHING).received

    def cut(self, run_id: int) -> None:
        """Break off all that is open to the run, now and from now on: requests inside see the end of it."""
        run = self._runs.setdefault(run_id, _Run())
        run.is_cut = True
        for connection in tuple(run.open):
            cut_off(connection)

    def received(self, run_id: int) -> int | None:
        """Bytes that came on the connections that are open to the run; None where the system does not tell."""
        run = self._runs.get(run_id)
        counts = [_counts_of(connection) for connection in tuple(run.open)] if run is not None else []
        return sum(count.received for count in counts if count is not None) if _IS_LINUX else None

    def is_heard(self, run_id: int) -> bool:
        """Whether the machine of the run gave a sign of life lately on one of them; from now on it is asked for one."""
        run = self._runs.get(run_id)
        connections = tuple(run.open) if run is not None and _IS_LINUX else ()
        heard = [_is_heard(connection) for connection in connections]  # all of them are asked
        return any(heard)

    def keep_only(self, run_ids: Collection[int]) -> None:
        """Forget every other run: they have ended."""
        for run_id in [run_id for run_id in tuple(self._runs) if run_id not in run_ids]:
            self._runs.pop(run_id, None)

    # -- one thread for each run --

    def look_at(self, run_id: int) -> Movement | None:
        """What has moved so far; None where the system does not tell.

        What a run takes counts only where it had no room for it at the last look: else it is the system that takes it,
        also for a server that hangs, and a client that asks again and again would make it look alive.
        """
        if not _IS_LINUX:
            return None
        run = self._runs.setdefault(run_id, _Run())
        run.is_looked_at = True
        is_unread, seen = False, {}
        for connection in tuple(run.open):
            counts = _counts_of(connection)
            if counts is not None:
                before = run.seen.get(connection, _NOTHING)
                run.moved += counts.received - before.received
                if before.waiting:
                    run.moved += counts.taken - before.taken
                seen[connection] = counts
                is_unread = is_unread or _has_unread(connection)
        run.seen = seen
        return Movement(run.moved + run.ended, is_unread, sum([counts.taken for counts in seen.values()]))


def _counts_of(connection: Connection) -> _Counts | None:
    """None when it is closed, which may be at any moment."""
    sock: socket.socket | None = connection.sock
    if sock is not None and _IS_LINUX:
        with contextlib.suppress(OSError, struct.error):
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _COUNTS_AT + _COUNTS.size)
            return _Counts(*_COUNTS.unpack_from(info, _COUNTS_AT))
    return None


def _is_heard(connection: Connection) -> bool:
    """Whether anything came from the other machine within `_LATELY`, be it an acknowledgement."""
    sock: socket.socket | None = connection.sock
    if sock is None:
        return False
    probe_when_silent(sock, 1.0, _MOST_TRIES)
    with contextlib.suppress(OSError, struct.error):
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_ACK_AT + _LAST_ACK.size)
        return bool(_LAST_ACK.unpack_from(info, _LAST_ACK_AT)[0] < _LATELY * 1000)
    return False


def _has_unread(connection: Connection) -> bool:
    """Whether bytes wait for us; its end is none."""
    try:
        return bool(socket.socket.recv(connection.sock, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except (OSError, TypeError):  # nothing there, or closed by now
        return False


def cut_off(connection: Connection) -> None:
    """End it: what is still to come on it is no answer."""
    connection.is_cut = True
    with contextlib.suppress(OSError, TypeError):  # closed by now
        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)  # under TLS: a farewell might have to wait
