"""Clients that send little and take little, as many as one likes, all on one thread.

A client that loses its connection comes back, so there are as many at the end as at the beginning.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

TIMEOUT = 20.0  # seconds for a connection
PACKET_BYTES = 1_460  # of Ethernet; with the larger ones of the loopback the other side would hold megabytes


@dataclass(frozen=True, slots=True)
class Habit:
    """What a client does, once and then again and again."""

    begins: bytes  # is sent at once
    drips: bytes = b""  # is sent at each turn
    takes: int = 0  # bytes that are read at each turn
    buffer_bytes: int = 0  # that are held for it, in packets as they come from afar; 0: as much as the system likes


class SlowClients:
    """One client for each habit. Each has its turn every `pause` seconds."""

    def __init__(self, port: int, habits: Iterable[Habit], pause: float = 1.0) -> None:
        self._clients = [_Client(port, habit) for habit in habits]
        self._pause = pause
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slow clients")
        self.taken_bytes = 0
        self.lost = 0  # connections that ended, or could not be made
        self._thread.start()

    def __enter__(self) -> SlowClients:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        for client in self._clients:
            client.close()

    def _run(self) -> None:
        while not self._ending.wait(self._pause):
            for client in self._clients:
                if self._ending.is_set():
                    return
                try:
                    self.taken_bytes += client.take_turn()
                except OSError:
                    self.lost += 1
                    client.come_back()


class _Client:
    """One of them."""

    __slots__ = ("_habit", "_port", "_sock")

    def __init__(self, port: int, habit: Habit) -> None:
        self._port = port
        self._habit = habit
        self._sock = socket.socket()
        self._connect()

    def come_back(self) -> None:
        self._sock.close()
        self._sock = socket.socket()
        try:
            self._connect()
        except OSError:
            self._sock.close()  # its next turn fails, and it tries again

    def _connect(self) -> None:
        if self._habit.buffer_bytes:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._habit.buffer_bytes)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, PACKET_BYTES)
        self._sock.settimeout(TIMEOUT)
        self._sock.connect(("127.0.0.1", self._port))
        self._sock.sendall(self._habit.begins)
        self._sock.setblocking(False)

    def take_turn(self) -> int:
        """Send and take what the habit says; how many bytes were taken. Raises OSError if the connection is lost."""
        habit, sock = self._habit, self._sock
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, "lost")
        try:
            if habit.drips:
                sock.send(habit.drips)
            if habit.takes:
                data = sock.recv(habit.takes)
                if not data:
                    raise ConnectionError("closed")
                return len(data)
        except BlockingIOError:
            pass
        return 0

    def close(self) -> None:
        self._sock.close()
