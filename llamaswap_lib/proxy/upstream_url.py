"""The address of an upstream, as `proxy` says it: where to connect, and what is joined in front of a request's target.

Pure, any thread. What comes out is fit for a request line and a Host header: nobody checks it later.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urlsplit

from llamaswap_lib.errors import BadGateway
from llamaswap_lib.proxy.connection import PORTS, Origin

_LOGIN = re.compile(r"//[^/]*@")
_is_visible = re.compile("[!-~]*").fullmatch


@lru_cache(maxsize=1024)
def origin_of(proxy: str) -> Origin:
    """Take a `proxy` apart; raises BadGateway for one that is no http:// or https:// address."""
    parts = urlsplit(proxy)
    shown = repr(_LOGIN.sub("//", proxy).partition("?")[0])  # a login and a query may be secret
    try:
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        raise BadGateway(f"the proxy {shown} has no valid port") from None
    if parts.scheme not in PORTS or not parts.hostname:
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
