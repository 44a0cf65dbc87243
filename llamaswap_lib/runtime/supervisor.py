"""The supervisor that started us, if it is systemd or uses its protocols: what it gave us, and what it is told.

`sd_notify(3)` for readiness, state and watchdog, `sd_listen_fds(3)` for sockets that it listens on for us. Its
variables are removed from the environment, and its sockets are closed on exec, so that no model's process takes them
for its own. Any thread may tell it something. That never fails, needs no new descriptor, and does nothing if there is
no supervisor. Only what it must not miss (ready, reloading, stopping) waits if it is busy, for a second at most.

The thread `watchdog` feeds the supervisor's watchdog while every thread that is asked answers in time. If one hangs,
the supervisor restarts the service.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping, Sequence

from llamaswap_lib.core.snapshot import RunView
from llamaswap_lib.errors import ConfigError

FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
MOST_DIGITS = 15  # of a number that is accepted
BUSY_SECONDS = 1  # to wait for a supervisor that takes nothing
_VARIABLES = (
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
    *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"),
)


class Supervisor:
    """What it gave, and what it is told; without an address, nothing is sent."""

    def __init__(
        self,
        address: str = "",
        watchdog_seconds: float | None = None,
        sockets: Sequence[int] = (),
        *,
        is_mute: bool = False,
    ) -> None:
        """`address` is that of NOTIFY_SOCKET; `sockets` are descriptors of sockets that listen.

        `watchdog_seconds`: it restarts us if we do not feed it this often; None for never. `is_mute`: it is told
        nothing before `ready`, for until then another process of ours serves.
        """
        self.watchdog_seconds = watchdog_seconds
        self._sockets = tuple(sockets)
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = _telling_socket() if address else None  # made now: later there may be no descriptor left
        self._lock = threading.Lock()  # held to tell, so that an older status never comes after a newer one
        self._status = ""
        self._prefix = ""
        self._is_mute = is_mute

    # -- any thread --

    def ready(self) -> None:
        """llamaswap serves requests, for the first time or after a reload."""
        with self._lock:
            self._is_mute = False
            self._tell("READY=1", self._status_line())

    def reloading(self) -> None:
        """The configuration is being read again; `ready` ends that."""
        with self._lock:
            self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, longest_seconds: float) -> None:
        """llamaswap ends within so many seconds: the time in its unit may be that of an earlier configuration."""
        with self._lock:
            self._prefix = "stopping; "
            self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(longest_seconds * 1e6)}", self._status_line())

    def hand_over(self, pid: int) -> None:
        """The process `pid` is llamaswap from now on, and tells how things are; we tell nothing more."""
        with self._lock:
            self._tell(f"MAINPID={pid}")
        self.close()

    def show(self, status: str) -> None:
        """A line for people, sent when it has changed. Waits only for another message to be sent."""
        with self._lock:
            if status != self._status:
                self._status = status
                self._tell(self._status_line(), flags=socket.MSG_DONTWAIT)

    def feed_watchdog(self) -> None:
        self._tell("WATCHDOG=1")

    def _status_line(self) -> str:
        return f"STATUS={self._prefix}{self._status}"

    def _tell(self, *lines: str, flags: int = 0) -> None:
        message = "\n".join(line.replace("\n", " ") for line in lines).encode(errors="replace")
        sock = self._socket
        try:
            if sock is not None and not self._is_mute:
                sock.sendto(message, flags, self._address)
        except OSError:
            pass  # it has gone, or has no room: nothing can be done about that

    def close(self) -> None:
        """Tell nothing from now on."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    # -- main thread --

    @property
    def has_sockets(self) -> bool:
        """Whether it listens for us."""
        return bool(self._sockets)

    def listening_socket(self, warn: Callable[[str], None]) -> socket.socket | None:
        """The first of its sockets, or None; `warn` gets a line for each other one, which is closed.

        Raises ConfigError if one of them is not a TCP socket that listens.
        """
        found = [_adopt(descriptor) for descriptor in self._sockets]
        for other in found[1:]:
            host, port = other.getsockname()[:2]
            also = f"the supervisor also listens on {host} port {port}"
            warn(f"{also}; llamaswap takes one socket and does not serve this one")
            other.close()
        return found[0] if found else None


def take_supervisor(environ: MutableMapping[str, str], pid: int, listening: int | None = None) -> Supervisor:
    """What `environ` says of the supervisor of the process `pid`; its variables are removed.

    `listening` is a socket that another process of ours has left to this one, in place of the supervisor's.
    """
    found = {name: environ.pop(name) for name in _VARIABLES if name in environ}
    count = _number(found, "LISTEN_FDS") if found.get("LISTEN_PID") == str(pid) else 0
    sockets = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + min(count, os.sysconf("SC_OPEN_MAX")))
    return Supervisor(
        found.get("NOTIFY_SOCKET", ""),
        _watchdog_seconds(found, pid),
        sockets if listening is None else (listening,),
        is_mute=listening is not None,
    )


def status_text(runs: Sequence[RunView]) -> str:
    """What is loaded, in a line for people."""
    return ", ".join(f"{run.model} {run.state}" for run in runs) or "no model is loaded"


def _watchdog_seconds(found: Mapping[str, str], pid: int) -> float | None:
    """Of `WATCHDOG_USEC`, unless it is meant for another process."""
    is_ours = found.get("WATCHDOG_PID", str(pid)) == str(pid)
    return (_number(found, "WATCHDOG_USEC") / 1e6 or None) if is_ours else None


def _number(found: Mapping[str, str], name: str) -> int:
    """0 if it is not a number."""
    text = found.get(name, "")
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else 0


def _telling_socket() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", BUSY_SECONDS, 0))
    return sock


def _adopt(descriptor: int) -> socket.socket:
    """Its socket, which children do not inherit; raises ConfigError if it is not a TCP socket that listens."""
    told = f"the supervisor's socket cannot be used: descriptor {descriptor} is"
    try:
        os.set_inheritable(descriptor, False)
        adopted = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigError(f"{told} not a socket: {error.strerror}") from None
    is_tcp = adopted.family in (socket.AF_INET, socket.AF_INET6) and adopted.type == socket.SOCK_STREAM
    if is_tcp and adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return adopted
    adopted.close()
    raise ConfigError(f"{told} not a TCP socket that listens")


class WatchdogFeeder:
    """Feeds the supervisor's watchdog at least one and a half times as often as it asks for."""

    def __init__(
        self, supervisor: Supervisor, checks: Mapping[str, Callable[[float], bool]], on_error: Callable[[str], None]
    ) -> None:
        """Each of `checks` blocks until the thread of that name has answered, for at most the seconds given.

        It returns whether the thread has answered; if not, `on_error` gets where the thread hangs.
        """
        self._supervisor = supervisor
        self._checks = checks
        self._on_error = on_error
        self._reported = ""  # of this hang, last
        self._pause = (supervisor.watchdog_seconds or 0.0) / 3  # and as long for all checks together
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="watchdog", daemon=True)

    # -- main thread --

    def start(self) -> None:
        """Begin, if the supervisor has a watchdog."""
        if self._pause:
            self._thread.start()

    def close(self) -> None:
        """End the thread; blocks until it has ended, for the time of one check if another thread hangs."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join()

    # -- thread watchdog --

    def _feed(self) -> None:
        while not self._ending.is_set():
            told = self._find_hanging()
            if not told:
                self._supervisor.feed_watchdog()
            elif told != self._reported:  # once for each place where it hangs
                self._on_error(told)
            self._reported = told
            self._ending.wait(self._pause)

    def _find_hanging(self) -> str:
        """Which thread has not answered in time, and where it is; '' if each has."""
        deadline = time.monotonic() + self._pause
        for name, check in self._checks.items():
            if not check(max(0.0, deadline - time.monotonic())):
                return f"thread {name} does not answer, so the watchdog is not fed; {_place_of(name)}"
        return ""


def _place_of(name: str) -> str:
    """Where the thread of that name is at the moment."""
    frames = sys._current_frames()
    for thread in threading.enumerate():
        if thread.name == name and thread.ident in frames:
            return f"it is here:\n{''.join(traceback.format_stack(frames[thread.ident]))}"
    return "there is none"
