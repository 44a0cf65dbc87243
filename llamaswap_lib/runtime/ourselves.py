"""What this llamaswap is called, and where: its name in `Via`, its addresses, and the names of this machine.

Any thread. Requests that come back to us are recognized by the name, which is random and another one at each start, and
by the addresses where we listen. An address is ours if the system says so, and it leads to us only with our port.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LOOPBACK = {4: ipaddress.ip_address("127.0.0.1"), 6: ipaddress.ip_address("::1")}


class Ourselves:
    """This llamaswap."""

    def __init__(self) -> None:
        self.name = f"llamaswap-{os.urandom(8).hex()}"
        self._port: int | None = None
        self._addresses: tuple[_Address, ...] = ()

    @property
    def via(self) -> str:
        """Our entry of a `Via` header (RFC 9110, 7.6.3)."""
        return f"1.1 {self.name}"

    def note_listening(self, sock: socket.socket) -> None:
        """Main thread, before anything is started: this is the socket that clients connect to."""
        host, self._port = sock.getsockname()[:2]
        address = _address(host)
        self._addresses = (address,)
        is_dual = sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        if is_dual and address.is_unspecified:
            self._addresses = (address, ipaddress.ip_address("0.0.0.0"))

    def loop_through(self, proxy: str, *, may_resolve: bool) -> str:
        """Why `proxy` leads back to this llamaswap, '' if it does not; raises ValueError for a wrong port.

        A name is looked up, which blocks, only with `may_resolve` and if the port is ours.
        """
        url = urlsplit(proxy)
        port = port_of(url)
        if port != self._port or not any(map(self._listens_at, addresses_of(url.hostname or "", may_resolve))):
            return ""
        return (
            f"its proxy leads to this llamaswap itself, which listens on port {port}: one of the two needs another port"
        )

    def _listens_at(self, address: _Address) -> bool:
        if address.is_unspecified:  # a connection to it goes to this machine
            address = _LOOPBACK[address.version]
        return any(
            address == own or (own.is_unspecified and own.version == address.version and is_of_this_machine(address))
            for own in self._addresses
        )


def addresses_of(host: str, may_resolve: bool) -> Iterator[_Address]:
    """The addresses that a host means: `localhost`, an address however it is spelled, a name if it may be looked up."""
    if host.rstrip(".").lower() == "localhost":
        yield from _LOOPBACK.values()
        return
    with suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(
            host, None, type=socket.SOCK_STREAM, flags=0 if may_resolve else socket.AI_NUMERICHOST
        )
        for _, _, _, _, address in found:
            yield _address(str(address[0]))


def _address(text: str) -> _Address:
    """The address; one that is written as IPv4 within IPv6 is the IPv4 address."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def is_of_this_machine(address: _Address) -> bool:
    """Whether it is an address of this machine; nothing is sent. (That it can be bound would not prove it.)"""
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((str(address), 9))
            return _address(sock.getsockname()[0]) == address
    except OSError:
        return False


def port_of(url: SplitResult) -> int:
    """The port of a URL, given or by its scheme; raises ValueError for a wrong port."""
    return url.port or (443 if url.scheme == "https" else 80)


def own_names(etc: Path = Path("/etc"), hostname: str = "") -> frozenset[str]:
    """The names of this machine in lower case: its host name, with its domains, and its other names in `hosts`.

    `hostname` is the system's unless given. Reads two files at each call, and asks no name server, which may take long.
    """
    full = (hostname or socket.gethostname()).lower().rstrip(".")
    short = full.partition(".")[0]
    found = {full, short}
    for words in _lines_of(etc / "hosts"):
        names = {name.lower().rstrip(".") for name in words[1:]}
        if names & {full, short}:
            found |= names
    for words in _lines_of(etc / "resolv.conf"):
        if words[0] in ("search", "domain"):
            found |= {f"{short}.{domain.lower().strip('.')}" for domain in words[1:]}
    return frozenset(found - {""})


def _lines_of(file: Path) -> list[list[str]]:
    """The words of each line that has any; [] for a file that cannot be read."""
    try:
        text = file.read_text("utf-8", "replace")
    except OSError:
        return []
    return [words for line in text.splitlines() if (words := line.partition("#")[0].split())]
