"""The address of an upstream, as `proxy` says it: where to connect, and what is joined in front of a request's target.

Pure, any thread. What comes out is fit for a request line and a Host header: nobody checks it later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from llamaswap_lib.errors import BadGateway

_PORTS = {"http": 80, "https": 443}

_LOGIN = re.compile(r"//[^/]*@")
_is_visible = re.compile("[!-~]*").fullmatch


@dataclass(frozen=True, slots=True)
class Origin:
    """A `proxy` taken apart."""

    host: str
    port: int
    path: str
    query: str
    scheme: str = "http"

    @property
    def is_secure(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """As it stands in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        """For people: without the password that an address may hold."""
        return f"{self.scheme}://{self.authority}"

    def target(self, path: str, query: str) -> str:
        """The request target for a path and a query (with its question mark, or ''), both as the client sent them."""
        if self.path:
            path = self.path.rstrip("/") + path
        if self.query:
            query = f"?{self.query}&{query[1:]}" if query[1:] else f"?{self.query}"
        return path + query


@lru_cache(maxsize=1024)
def origin_of(proxy: str) -> Origin:
    """Take a `proxy` apart; raises BadGateway for one that is no http:// or https:// address."""
    parts = urlsplit(proxy)
    shown = repr(_LOGIN.sub("//", proxy).partition("?")[0])  # a login and a query may be secret
    try:
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        raise BadGateway(f"the proxy {shown} has no valid port") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise BadGateway(f"the proxy {shown} is not an http:// or https:// address")
    if not _is_visible(proxy):
        raise BadGateway(f"the proxy {shown} holds characters that no address has")
    if not _is_name(parts.hostname):
        raise BadGateway(f"the proxy {shown} names a host that cannot be")
    return Origin(parts.hostname, port, parts.path, parts.query, parts.scheme)


def _is_name(host: str) -> bool:
    """Whether a look-up takes it: one with an empty or endless label is an error of another kind there."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True
