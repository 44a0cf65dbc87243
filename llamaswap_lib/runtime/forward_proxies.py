"""The proxies on the way to other machines: what `http_proxy`, `https_proxy` and `no_proxy` say.

Any thread. The variables are read once, at the start. They mean what they mean for Python's `urllib.request` (which
takes too long to import), except that an empty variable counts as not set. In `no_proxy`, networks (`10.0.0.0/8`),
`*.name` and blanks between names are understood too, as by curl and Go. Guarantees: this machine is never asked through
a proxy; if a variable cannot be used, no request goes around it; a login is neither in `str(proxy)` nor in a fault.
Never opens a connection, never looks a name up.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import socket
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from llamaswap_lib.printable import printable
from llamaswap_lib.runtime.ourselves import addresses_of, is_of_this_machine

_PORTS = {"http": 80, "https": 443}
_MAX_ANSWER_BYTES = 65_536
_MAX_REASON = 80
_NO_ADDRESS = "is not the address of a proxy, such as http://proxy.example.org:3128"
_find_end = re.compile(rb"\n\r?\n").search
_match_status = re.compile(rb"HTTP/[0-9.]+ ([0-9]{3})(?: ([^\r\n]*))?\r?\n").match
_is_port = re.compile(r"[0-9]{1,5}").fullmatch
_is_host = re.compile(r"[-0-9A-Za-z._~:]+").fullmatch


class ForwardProxy(NamedTuple):
    """One proxy, or the fault of the variable that should name it."""

    host: str
    port: int
    authorization: str = ""
    """The header line with its login, '' without one."""
    fault: str = ""
    """Why nothing can be asked through it."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def connect_request(self, host: str, port: int) -> bytes:
        """The request that asks it for a tunnel."""
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{self.authorization}\r\n".encode("latin-1")


def is_tunnel_open(answer: bytes) -> bool:
    """Whether the tunnel is open, by the answer to CONNECT so far; False while that is not complete.

    Raises ConnectionError if there will be no tunnel.
    """
    status = _match_status(answer)
    if status is None:
        if b"\n" in answer or len(answer) > _MAX_ANSWER_BYTES:
            raise ConnectionError("the proxy does not speak HTTP")
        return False
    if not status[1].startswith(b"2"):
        reason = (status[2] or b"")[:_MAX_REASON].decode("latin-1")
        raise ConnectionError(printable(f"the proxy answered {status[1].decode()} {reason}".rstrip()))
    end = _find_end(answer)
    if end is None:
        if len(answer) > _MAX_ANSWER_BYTES:
            raise ConnectionError("the proxy does not speak HTTP")
        return False
    if end.end() < len(answer):
        raise ConnectionError("the proxy sent more than its answer")
    return True


class ForwardProxies:
    """Which proxy leads where."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._proxies: dict[str, ForwardProxy] = {}
        for scheme in _PORTS:
            variable, value = _read(environment, f"{scheme}_proxy")
            if value:
                self._proxies[scheme] = _proxy_of(variable, value)
        self._no_proxy = NoProxy(_read(environment, "no_proxy")[1])
        self._found: dict[tuple[str, str, int], ForwardProxy | None] = {}

    @property
    def faults(self) -> list[str]:
        """What is wrong with the variables. A request for such a proxy is not sent at all."""
        return [proxy.fault for proxy in self._proxies.values() if proxy.fault]

    def way_to(self, scheme: str, host: str, port: int) -> ForwardProxy | None:
        """The proxy on the way to that address, None for none."""
        proxy = self._proxies.get(scheme)
        if proxy is None:
            return None
        key = (scheme, host, port)
        if key not in self._found:
            is_direct = _is_this_machine(host) or self._no_proxy.cover(host, port)
            self._found[key] = None if is_direct else proxy
        return self._found[key]

    def way_to_url(self, url: str) -> ForwardProxy | None:
        """The same for an upstream's URL; None for a wrong URL."""
        try:
            parts = urlsplit(url)
            return self.way_to(parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0))
        except ValueError:
            return None


class NoProxy:
    """What `no_proxy` names."""

    def __init__(self, text: str) -> None:
        entries = [entry.lower() for entry in re.split(r"[,\s]+", text) if entry]
        self._covers_all = "*" in entries
        self._names: list[tuple[str, int | None]] = []
        self._networks: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, int | None]] = []
        for entry in entries:
            name, port = _name_and_port(entry)
            try:
                self._networks.append((ipaddress.ip_network(name, strict=False), port))
            except ValueError:
                self._names.append((name.removeprefix("*").strip("."), port))

    def cover(self, host: str, port: int) -> bool:
        """Whether there is no proxy on the way to that address."""
        if self._covers_all:
            return True
        host = host.lower().rstrip(".")
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return any(
                f".{host}".endswith(f".{name}") and (only is None or only == port) for name, only in self._names if name
            )
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network and (only is None or only == port) for network, only in self._networks)


def _read(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """The variable that counts, and its value: the one in lower case, unless that is empty."""
    variable = name if environment.get(name, "").strip() else name.upper()
    return variable, environment.get(variable, "").strip()


def _proxy_of(variable: str, value: str) -> ForwardProxy:
    """The proxy that a variable names, or what is wrong with it. The value is not shown: it may hold a password."""
    try:
        url = urlsplit(value if "://" in value else f"http://{value}")
        host, port = url.hostname or "", 80 if url.port is None else url.port
    except ValueError:
        return ForwardProxy("", 0, fault=f"{variable} {_NO_ADDRESS}")
    if url.scheme and url.scheme != "http":
        return ForwardProxy("", 0, fault=f"{variable} names a proxy with {url.scheme}://, and only http:// can be used")
    has_lost_login = "@" in value and url.username is None  # a password with a slash, which has to be %2F
    if not _is_host(host) or not port or has_lost_login:
        return ForwardProxy("", 0, fault=f"{variable} {_NO_ADDRESS}")
    return ForwardProxy(host, port, _authorization(url))


def _authorization(url: SplitResult) -> str:
    if url.username is None and url.password is None:
        return ""
    login = unquote_to_bytes(url.username or "") + b":" + unquote_to_bytes(url.password or "")
    return f"Proxy-Authorization: Basic {base64.b64encode(login).decode()}\r\n"


def _name_and_port(entry: str) -> tuple[str, int | None]:
    """An entry of `no_proxy` taken apart; a port counts only where it is one."""
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        port = port.removeprefix(":")
    else:
        name, _, port = entry.partition(":") if entry.count(":") == 1 else (entry, "", "")
    return name, int(port) if _is_port(port) else None


def _is_this_machine(host: str) -> bool:
    """Whether the host is this machine, as far as that can be known without looking it up."""
    host = host.lower().rstrip(".")
    if host in ("", socket.gethostname().lower()) or host == "localhost" or host.endswith(".localhost"):
        return True
    return any(
        address.is_unspecified or is_of_this_machine(address) for address in addresses_of(host, may_resolve=False)
    )


NO_PROXIES = ForwardProxies({})
