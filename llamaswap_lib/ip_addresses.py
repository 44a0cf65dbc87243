"""What can be said of an IP address by its text. Pure, any thread; what is no address is a name, and never an error."""

from __future__ import annotations

import ipaddress

_MAPPED = "::ffff:"


def plain_ip(address: str) -> str:
    """`1.2.3.4` for `::ffff:1.2.3.4`, however that is written; any other address as it is."""
    if address.startswith(_MAPPED) and "." in address:  # as the system writes it, for every client
        return address[len(_MAPPED) :]
    if ":ffff:" not in address.lower():
        return address
    ip = _parsed(address)
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return address if mapped is None else str(mapped)


def is_loopback(address: str) -> bool:
    """Whether only programs of this machine can reach what listens on the address, or on `localhost`."""
    ip = _parsed(plain_ip(address))
    return address == "localhost" or (ip is not None and ip.is_loopback)


def is_every(address: str) -> bool:
    """Whether it stands for every address of the machine: `0.0.0.0`, `::`, and as those may be written."""
    ip = _parsed(plain_ip(address))
    return ip is not None and ip.is_unspecified


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None
