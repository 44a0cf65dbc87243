"""One look at an upstream: a connection, a request, the status of the answer.

The threads `probe-M`, `watchdog-M` and, before the start, `watch-M` use it. Every wait ends at the look's deadline or
when the look is cancelled, also in the middle of an answer that comes byte by byte. Most looks are refused connections
and cost some 50 us.

Not `http.client`: its timeout counts for each read, so an upstream that sends a byte a second would be read for ever,
and it cannot be cancelled.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from llamaswap_lib.core.events import Event
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.wakeup import Wakeup, seconds_until

_GOODBYE_TIMEOUT, _GOODBYE_BYTES = 0.1, 65_536  # seconds and bytes, for the rest of an answer whose status is known
_READ_BYTES = 65_536
# As lenient as where answers to requests are read.
_STATUS_LINE = re.compile(rb"[\r\n]*(?i:HTTP)/\d(?:\.\d)?[ \t]+(\d{3})[ \t\r\n]")
_STATUS_LINE_BYTES = 4096
_ANSWER_BYTES = 65_536  # as far as something is looked for in an answer

_Result = TypeVar("_Result")
Address = tuple[socket.AddressFamily, Any]
"""As `getaddrinfo` says it."""


class LookCancelled(Exception):
    """The look, or the search that it belongs to, was cancelled."""


Order = Callable[[Wakeup, float], str]
"""Gives it and awaits what comes of it, for so many seconds: what is wrong, '' for nothing. Raises LookCancelled."""


class Looker:
    """A thread that looks again and again, until it has found out or is cancelled; nothing is posted after `cancel`."""

    def __init__(self, post: Callable[[Event], None]) -> None:
        self._post = post
        self._lock = threading.Lock()  # protects what follows
        self._is_wanted = True
        self._ending: Wakeup | None = None  # while the thread lives

    # -- any thread --

    def start(self, thread_name: str) -> None:
        """Begin to look, on a thread of that name; call it once. Raises OSError or RuntimeError if there is none."""
        self._ending = ending = Wakeup()
        try:
            Thread(self._run, thread_name, (ending,)).start()
        except (RuntimeError, MemoryError):
            self._close()
            raise

    def cancel(self) -> None:
        """Post nothing from now on; the thread ends soon."""
        with self._lock:
            self._is_wanted = False
            if self._ending:
                self._ending.set()

    def _tell(self, event: Event, *, is_last: bool = False) -> None:
        """Post the event if it is still wanted; after the last one, nothing is."""
        with self._lock:
            if self._is_wanted:
                self._is_wanted = not is_last
                self._post(event)

    def _close(self) -> None:
        with self._lock:
            assert self._ending
            self._ending.close()
            self._ending = None

    # -- the thread that looks --

    def _run(self, ending: Wakeup) -> None:
        try:
            self._search(ending)
        except LookCancelled:
            pass
        finally:
            self._say_last_word()
            self._close()

    def _search(self, ending: Wakeup) -> None:
        """Look until the answer is found, and post it; raises LookCancelled."""
        raise NotImplementedError

    def _say_last_word(self) -> None:
        """Called when the search is over, for whatever reason."""


class Look:
    """One connection, closed by its `with` block.

    Every wait raises TimeoutError at the deadline, and LookCancelled once the look is cancelled.
    """

    def __init__(self, ending: Wakeup, deadline: float) -> None:
        self._ending = ending
        self._deadline = deadline
        self._socket: socket.socket | None = None
        self._is_secured = False
        self._start = b""  # of the answer

    def __enter__(self) -> Look:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket:
            self._socket.close()

    def connect(self, addresses: Sequence[Address]) -> None:
        """Connect to the first address that accepts; each gets its share of the time."""
        for left, (family, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            now = time.monotonic()
            try:
                self._socket = socket.socket(family, socket.SOCK_STREAM)
                self._socket.setblocking(False)
                self._connect(self._socket, address, now + (self._deadline - now) / left)
                return
            except OSError:
                if left == 1:
                    raise
                self.__exit__()

    def _connect(self, sock: socket.socket, address: Any, deadline: float) -> None:
        error = sock.connect_ex(address)
        if error == errno.EINPROGRESS:
            if not wait(self._ending, deadline, sock, select.POLLOUT):
                raise TimeoutError
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not error and sock.getsockname() == sock.getpeername():
            # If nothing listens on the port, the system may choose this very port for our end. Then TCP connects us to
            # ourselves, and the upstream would find its port taken. An abort leaves nothing behind.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            error = errno.ECONNREFUSED
        if error:
            raise OSError(error, os.strerror(error))

    def secure(self, tls: ssl.SSLContext, host: str) -> None:
        """TLS over the connection."""
        assert self._socket
        self._is_secured = True
        self._socket = secured = tls.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
        self._repeat(secured.do_handshake, select.POLLIN)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        assert self._socket
        while data:
            data = data[self._repeat(functools.partial(self._socket.send, data), select.POLLOUT) :]

    def receive(self) -> bytes:
        """What comes next; b"" at the end."""
        assert self._socket
        return self._repeat(functools.partial(self._socket.recv, _READ_BYTES), select.POLLIN)

    def read_status(self) -> str:
        """The status of an HTTP answer, or what came instead. After a TimeoutError, `extend` and call it again."""
        while b"\n" not in self._start.lstrip(b"\r\n") and len(self._start) < _STATUS_LINE_BYTES:
            data = self.receive()
            if not data:
                break
            self._start += data
        match = _STATUS_LINE.match(self._start)
        if match:
            return match[1].decode()
        return "not HTTP" if self._start else "closed without an answer"

    def find(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """The first place in the answer with its head; None if it, or as much of it as is read, has none."""
        while (found := pattern.search(self._start)) is None and len(self._start) < _ANSWER_BYTES:
            if not (data := self.receive()):
                break
            self._start += data
        return found

    def extend(self, deadline: float) -> None:
        """Use another deadline from now on."""
        self._deadline = deadline

    def finish(self) -> None:
        """Read the rest of the answer for a short time: many servers log an error if they cannot send it."""
        self._deadline = min(self._deadline, time.monotonic() + _GOODBYE_TIMEOUT)
        left = _GOODBYE_BYTES if self._socket else 0
        try:
            while left > 0 and (data := self.receive()):
                left -= len(data)
        except OSError:
            pass  # what was asked is known

    def _repeat(self, operation: Callable[[], _Result], events: int) -> _Result:
        """Do a non-blocking operation; wait when it would block, a plain socket for `events`."""
        while True:
            try:
                return operation()
            except BlockingIOError:
                wanted = events
            except OSError as error:
                wanted = self._wanted_by_tls(error)
            if not wait(self._ending, self._deadline, self._socket, wanted):
                raise TimeoutError

    def _wanted_by_tls(self, error: OSError) -> int:
        """What it waits for, if that is all that the error says; raises it otherwise."""
        if self._is_secured and isinstance(error, ssl.SSLWantReadError):  # without TLS nothing of `ssl` is asked for
            return select.POLLIN
        if self._is_secured and isinstance(error, ssl.SSLWantWriteError):
            return select.POLLOUT
        raise error


def wait(ending: Wakeup, deadline: float, sock: socket.socket | Wakeup | None = None, events: int = 0) -> bool:
    """Block until the socket is ready, or the deadline (false), for LONGEST_WAIT at most.

    Raises LookCancelled once the look is cancelled.
    """
    poll = select.poll()
    poll.register(ending, select.POLLIN)
    if sock:
        poll.register(sock, events)
    ready = poll.poll(seconds_until(deadline, time.monotonic()) * 1000)
    if any(descriptor == ending.fileno() for descriptor, _ in ready):
        raise LookCancelled
    return bool(ready)
