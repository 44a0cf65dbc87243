"""The socket that clients connect to: which addresses it takes them at, and how addresses are written for people.

Any thread; `listen` blocks for a look-up of a name. "Every address" means IPv4 and IPv6 alike, on one socket: IPv4
clients come to it with addresses such as `::ffff:1.2.3.4`, which `plain_ip` makes IPv4 ones before anybody sees them.
On a machine without IPv6, or whose system keeps the two apart (OpenBSD), it means every IPv4 address.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from llamaswap_lib.ip_addresses import plain_ip

BACKLOG = 1024
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def listen(host: str, port: int, create: Callable[..., socket.socket] = socket.create_server) -> socket.socket:
    """A listening socket, `host` '' for every address; of a name's, an IPv4 one is preferred, as in Go.

    Raises OSError, and UnicodeError for what can be no name. `create` stands for `socket.create_server`.
    """
    if host:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        return create(address, family=family, backlog=BACKLOG)
    try:
        return create(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    except ValueError:
        pass  # says `create_server` where the system has no IPv6, or keeps it apart
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
    return create(("", port), backlog=BACKLOG)


def accept(sock: socket.socket, make: Callable[..., socket.socket] = socket.socket) -> tuple[socket.socket, Any]:
    """As `sock.accept`, which loses the descriptor of a client where there is no memory for its socket.

    That client would wait for ever. Raises OSError and MemoryError. `make` stands for `socket.socket`.
    """
    descriptor, address = sock._accept()  # type: ignore[attr-defined]  # it is there
    try:
        return make(sock.family, sock.type, sock.proto, fileno=descriptor), address
    except BaseException:
        os.close(descriptor)
        raise


def address_text(host: str, port: int) -> str:
    """`127.0.0.1:8080`, `[::1]:8080`, `:8080`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def where_text(sock: socket.socket, scheme: str) -> str:
    """The address to open in a browser, then a blank or nothing; and whether there are others."""
    host, port = sock.getsockname()[:2]
    if host not in ("0.0.0.0", "::"):
        return f"{scheme}://{address_text(plain_ip(host), port)}"
    if sock.family == socket.AF_INET:
        every = "every IPv4 address"
    elif sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        every = "every IPv6 address"
    else:
        every = "every address"
    return f"{scheme}://localhost:{port} ({every} of this machine)"
