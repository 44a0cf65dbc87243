"""What two processes tell each other: messages, in JSON unless said otherwise, with descriptors, over Unix sockets.

Any thread sends, and never waits: the thread `link-out` writes, in order. The thread `link-in` reads, and calls what
hears messages. A frame is the length of its message (4 bytes), the number of descriptors (1 byte), and the message; its
descriptors come with its first byte. Guarantees: every whole message that the other side has sent is heard, then its
end, once; descriptors that nobody takes are closed.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.vital import report

_HEAD = struct.Struct(">IB")
_READ_BYTES = 1 << 18
_NUMBER = struct.Struct("@i")
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # macOS has none
MOST_DESCRIPTORS = 250  # in one message; the system takes 253
_DESCRIPTOR_BYTES = socket.CMSG_SPACE(MOST_DESCRIPTORS * _NUMBER.size)

Message = Mapping[str, Any]


class Codec(NamedTuple):
    """How messages become bytes, and what comes is read."""

    dumps: Callable[[Message], bytes]
    loads: Callable[[bytes], Message]


JSON = Codec(lambda message: json.dumps(message).encode(), json.loads)
Hear = Callable[[Message, Sequence[int]], None]
"""Gets a message, and its descriptors, which are its own from then on."""


class Link:
    """One end."""

    def __init__(
        self,
        sock: socket.socket,
        hear: Hear,
        on_end: Callable[[], None],
        on_error: Callable[[str], None],
        codec: Codec = JSON,
        *,
        may_lose: bool = False,
    ) -> None:
        """`hear` and `on_end` are called on the thread that reads; `on_error` is told of mistakes in them.

        `may_lose`: a message for whose descriptors there is no room here is left out; otherwise it ends the link.
        """
        self.hear = hear  # may be replaced while nothing is expected
        self._sock = sock
        self._on_end = on_end
        self._on_error = on_error
        self._codec = codec
        self._may_lose = may_lose
        self._outgoing: queue.SimpleQueue[tuple[bytes, Sequence[int]] | None] = queue.SimpleQueue()
        self._is_broken = False
        self._reader = Thread(self._read, "link-in")
        self._writer = Thread(self._write, "link-out")

    # -- any thread --

    def start(self) -> None:
        """Raises RuntimeError and MemoryError where there is no thread."""
        self._writer.start()
        self._reader.start()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Have it sent; the descriptors are closed here then. To a process that has ended nothing is sent.

        Raises ValueError for too many descriptors, and MemoryError: then they are the caller's to close.
        """
        if len(descriptors) > MOST_DESCRIPTORS:
            raise ValueError(f"{len(descriptors)} descriptors are too many for one message")
        data = self._codec.dumps(message)
        self._outgoing.put((_HEAD.pack(len(data), len(descriptors)) + data, descriptors))

    def close(self, timeout: float) -> None:
        """Send what is still to be sent, for so many seconds at most, and hear nothing more."""
        self._outgoing.put(None)
        _join(self._writer, timeout)
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # which ends both threads
        if self._reader is not threading.current_thread():
            _join(self._reader, timeout)
        self._sock.close()

    # -- thread link-out --

    def _write(self) -> None:
        while (item := self._outgoing.get()) is not None:
            data, descriptors = item
            try:
                self._send(data, descriptors)
            except OSError:  # the other process has ended, as the thread that reads hears too
                self._is_broken = True
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _send(self, data: bytes, descriptors: Sequence[int]) -> None:
        if self._is_broken:
            return
        sent_bytes = socket.send_fds(self._sock, [data], descriptors) if descriptors else 0
        self._sock.sendall(memoryview(data)[sent_bytes:])

    # -- thread link-in --

    def _read(self) -> None:
        received, descriptors = bytearray(), deque[int]()
        try:
            while self._receive(received, descriptors):
                self._hear_whole(received, descriptors)
        except OSError:
            pass  # as the end
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
            self._attempt(self._on_end)

    def _receive(self, received: bytearray, descriptors: deque[int]) -> bool:
        """Wait for more; False at the end."""
        # Not `socket.recv_fds`: it drops the flag, and a process that is started at this moment would inherit them.
        data, found, _, _ = self._sock.recvmsg(_READ_BYTES, _DESCRIPTOR_BYTES, _CLOEXEC)
        for _, _, numbers in found:
            descriptors.extend(number for (number,) in _NUMBER.iter_unpack(numbers))
        if not _CLOEXEC:
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
        received += data
        return bool(data)

    def _hear_whole(self, received: bytearray, descriptors: deque[int]) -> None:
        """The messages that are there."""
        while len(received) >= _HEAD.size:
            length, count = _HEAD.unpack_from(received)
            end = _HEAD.size + length
            if len(received) < end:
                return
            message = self._codec.loads(bytes(received[_HEAD.size : end]))
            del received[:end]
            if count > len(descriptors) and self._may_lose:  # those of the next message come with the next reading
                self._on_error("a message was left out: too many open files")
                continue
            own = [descriptors.popleft() for _ in range(count)]
            self._attempt(lambda message=message, own=own: self.hear(message, own))  # type: ignore[misc]

    def _attempt(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception:  # noqa: BLE001 - the other messages are still to be heard
            report("link-in", self._on_error)


def _join(thread: Thread, timeout: float) -> None:
    if thread.is_alive():  # there may have been no thread to start
        thread.join(timeout)
