"""Certificates that the tests trust, and what it takes to show or to believe them."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import trustme

from llamaswap_lib.net.tls_stream import verifying_context
from llamaswap_lib.server.certificate import Certificate

AUTHORITY = trustme.CA()


def issue(folder: Path, name: str = "localhost", authority: trustme.CA = AUTHORITY) -> Certificate:
    """A certificate for `name`, in files in `folder`."""
    issued = authority.issue_cert(name)
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    return Certificate(folder / "certificate.pem", folder / "key.pem")


def trusting(authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    """What a client needs that believes `authority` alone: to read whom the system believes takes a while."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


def trusted_upstream(name: str = "127.0.0.1") -> ssl.SSLContext:
    """What an upstream of that name needs, whom we trust from here on."""
    AUTHORITY.configure_trust(verifying_context())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(name).configure_cert(context)
    return context


class TlsEnd(socket.socket):
    """A blocking end of a TLS connection that can be half-closed, read and written by two threads, and tells a reset
    (ConnectionResetError) from an end without a farewell (ssl.SSLEOFError): ssl's own sockets can none of these."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str | None = None) -> None:
        """Take `sock` over and shake hands, as the server unless there is a `name`."""
        timeout = sock.gettimeout()
        super().__init__(fileno=sock.detach())
        self.settimeout(timeout)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=name is None, server_hostname=name)
        self._inside = threading.RLock()
        self._sending = threading.Lock()
        self._heard = self._unsent = b""
        self._has_ended = False
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                if not (data := super().recv(65_536)):
                    raise ConnectionError("the connection ended within the handshake") from None
                self._incoming.write(data)
        self._flush()

    def recv(self, buflen: int, flags: int = 0) -> bytes:
        self._listen()
        while not self._heard and not self._has_ended:
            self._fill()
            self._listen()
        data, self._heard = self._heard[:buflen], self._heard[buflen:]
        return data

    @property
    def has_come(self) -> bool:
        """Whether there is something to read that no look at the socket shows: it came with the handshake."""
        return bool(self._heard) or self._incoming.pending > 0

    def _fill(self) -> None:
        data = super().recv(65_536)
        with self._inside:
            if data:
                self._incoming.write(data)
                self._listen()  # a farewell said between would be broken by what waits
            else:
                self._incoming.write_eof()

    def _listen(self) -> None:
        with self._inside:
            try:
                while not self._has_ended and (data := self._tls.read(16_384)):
                    self._heard += data
                self._has_ended = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                self._has_ended = True

    def send(self, data: Any, flags: int = 0) -> int:
        """A record's worth of it; what there is no room for is sent with the next one, or raises TimeoutError then."""
        with self._sending:
            self._flush()
            with self._inside:
                size = self._tls.write(bytes(data[:16_384]))
            with suppress(TimeoutError):
                self._flush()
            return size

    def sendall(self, data: Any, flags: int = 0) -> None:
        while data:
            data = data[self.send(data) :]
        with self._sending:
            self._flush()

    def shutdown(self, how: int) -> None:
        with self._sending:
            with self._inside, suppress(ssl.SSLWantReadError):
                self._tls.unwrap()
            self._flush()
            super().shutdown(how)

    def send_cut(self, data: bytes, between: Callable[[], object]) -> None:
        """A record that arrives in two halves: `between` is called when the first one has been sent."""
        with self._sending:
            self._flush()
            with self._inside:
                self._tls.write(data[:16_384])
                record = self._outgoing.read()
            super().sendall(record[: len(record) // 2])
            between()
            super().sendall(record[len(record) // 2 :])

    def say_last(self, data: bytes) -> None:
        """Send `data` and the farewell in one piece; the connection stays as it is."""
        with self._sending:
            with self._inside, suppress(ssl.SSLWantReadError):
                if data:
                    self._tls.write(data)
                self._tls.unwrap()
            self._flush()

    def _flush(self) -> None:
        with self._inside:
            self._unsent += self._outgoing.read()
        while self._unsent:
            self._unsent = self._unsent[super().send(self._unsent) :]
