"""The names by which this server may be asked, so that no other site can give it one (DNS rebinding).

A page of `evil.example` whose name suddenly points to this machine is same-origin to the browser, and could read and
operate everything. But its requests name `evil.example` in `Host`, so on a server without keys what is private or
changes something is only for names that cannot be another site's: addresses, localhost, names that public DNS does not
hand out, this machine's own, and those that the configuration allows. A name without a dot (`gpubox`, or that of a
service beside other containers) is none that a site can have: only the local network gives it a meaning. Pure, any
thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence

from llamaswap_lib.errors import Forbidden
from llamaswap_lib.wire.heads import RequestHead

_LOCAL = ("host.docker.internal", "host.containers.internal")
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_LOCAL_SUFFIXES = (".localhost", ".local")
_is_plain_yaml = re.compile(r"[a-z0-9][a-z0-9._-]*").fullmatch
_is_number = re.compile(r"[0-9]+|0x[0-9a-f]*").fullmatch


class Hosts:
    """Which hosts are ours; names are compared without case, port and the dot that may end them."""

    def __init__(self, allowed: Sequence[str], own: Collection[str]) -> None:
        """`allowed`: names, `*.example.org` for all names below one, `*` for any. `own`: this machine's names."""
        patterns = [pattern.lower().rstrip(".") for pattern in allowed]
        self._is_any = "*" in patterns
        self._names = frozenset((*_LOCAL, *own, *patterns))
        suffixes = [one[1:] for one in patterns if one.startswith("*.")]
        self._suffixes = (*_LOCAL_SUFFIXES, *suffixes)
        self._trusted = frozenset((*_THIS_MACHINE, *own, *patterns))
        self._trusted_suffixes = (".localhost", *suffixes)

    def is_ours(self, host: str) -> bool:
        """Whether the value of a Host header is one of our names; an empty one is, for no browser sends that."""
        name = _without_port(host.strip().lower())
        if "." not in name or self._is_any or name in self._names or name.endswith(self._suffixes):
            return True
        # Browsers take whatever ends in a number for an IPv4 address, so no site can have such a name.
        return name.startswith("[") or _is_number(name.rpartition(".")[2]) is not None

    def is_trusted(self, name: str) -> bool:
        """Whether pages of the host `name`, in lower case without a port, are of this machine, or allowed.

        That such a name is no other site's is not enough: any device of the local network may have one.
        """
        return self._is_any or name in self._trusted or name.endswith(self._trusted_suffixes)

    def refuse_foreign(self, head: RequestHead) -> None:
        """Raise Forbidden for a request that was sent to a name that is not ours."""
        host = head.get("host") or ""
        if not self.is_ours(host):
            name = _without_port(host.strip().lower())
            shown = name if _is_plain_yaml(name) else json.dumps(name)
            raise Forbidden(
                f"{shown} is not known as a name of this server; if it is one, add this line to the configuration:"
                f" allowedHosts: [{shown}]"
            )


def _without_port(host: str) -> str:
    """`box` of `box:8080` and of `box.`; an IPv6 address keeps its brackets."""
    if host.startswith("["):
        return host
    return host.partition(":")[0].rstrip(".")
