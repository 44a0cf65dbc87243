"""The supervisor that started us, if it is systemd or speaks its protocols: what it gave us, and what it is told.

`sd_notify(3)` for readiness, state and watchdog, `sd_listen_fds(3)` for sockets that it listens on for us. What it left
in the environment is taken out of it, so that no model's process takes it for its own. Any thread may tell it
something; telling never blocks, never fails, and is nothing where there is no supervisor.

Thread `watchdog` feeds the supervisor's watchdog while every part that is asked answers in time: one that hangs gets
the service restarted.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass

FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
_VARIABLES = (
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
    *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"),
)


@dataclass(frozen=True, slots=True)
class Supervisor:
    """`address` is where it hears, '' for nowhere; `sockets` are descriptors of sockets that listen.

    `watchdog_seconds`: it restarts us unless it is fed this often; None for never.
    """

    address: str = ""
    watchdog_seconds: float | None = None
    sockets: tuple[int, ...] = ()

    def tell(self, *lines: str) -> None:
        """Send it assignments: `READY=1`, `STATUS=text`."""
        if not self.address:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        message = "\n".join(line.replace("\n", " ") for line in lines).encode(errors="replace")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(message, address)
        except OSError:
            pass  # it is not there any more, or has no room: it asks for nothing that could be done about that

    def tell_reloading(self) -> None:
        """The configuration is being read again; `READY=1` ends that."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def take_supervisor(environ: MutableMapping[str, str], pid: int) -> Supervisor:
    """What `environ` says of the supervisor of the process `pid`, taken out of it."""
    found = {name: environ.pop(name) for name in _VARIABLES if name in environ}
    return Supervisor(
        found.get("NOTIFY_SOCKET", ""),
        _watchdog_seconds(found, pid),
        tuple(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + _socket_count(found, pid))),
    )


def _watchdog_seconds(found: Mapping[str, str], pid: int) -> float | None:
    """Of `WATCHDOG_USEC`, unless it is meant for another process."""
    microseconds, meant = found.get("WATCHDOG_USEC", ""), found.get("WATCHDOG_PID", str(pid))
    is_ours = microseconds.isdecimal() and int(microseconds) > 0 and meant == str(pid)
    return int(microseconds) / 1e6 if is_ours else None


def _socket_count(found: Mapping[str, str], pid: int) -> int:
    count = found.get("LISTEN_FDS", "")
    return int(count) if count.isdecimal() and found.get("LISTEN_PID") == str(pid) else 0


def adopt(descriptor: int) -> socket.socket:
    """The socket behind a descriptor that the supervisor gave us, for no child of ours.

    Raises ValueError where it is no TCP socket that listens; it is closed then.
    """
    os.set_inheritable(descriptor, False)
    try:
        adopted = socket.socket(fileno=descriptor)
    except OSError as error:
        os.close(descriptor)
        raise ValueError(f"descriptor {descriptor} is no socket: {error.strerror}") from None
    is_tcp = adopted.family in (socket.AF_INET, socket.AF_INET6) and adopted.type == socket.SOCK_STREAM
    if is_tcp and adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return adopted
    adopted.close()
    raise ValueError(f"descriptor {descriptor} is no TCP socket that listens")


class Watchdog:
    """Feeds the supervisor's watchdog twice as often as it asks for."""

    def __init__(self, supervisor: Supervisor, checks: Sequence[Callable[[float], bool]]) -> None:
        """Each of `checks` blocks until its part has answered, for at most the seconds given; whether it has."""
        self._supervisor = supervisor
        self._checks = checks
        self._pause = (supervisor.watchdog_seconds or 0.0) / 2
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="watchdog", daemon=True)

    # -- main thread --

    def start(self) -> None:
        """Begin, if the supervisor has a watchdog."""
        if self._pause:
            self._thread.start()

    def close(self) -> None:
        """End the thread; a part that hangs holds nothing up."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join(self._pause)

    # -- thread watchdog --

    def _feed(self) -> None:
        while not self._ending.is_set():
            if all(check(self._pause) for check in self._checks):
                self._supervisor.tell("WATCHDOG=1")
            self._ending.wait(self._pause)
