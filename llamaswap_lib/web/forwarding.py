"""Heads on their way out: which headers go on to the next hop, and how a head is written.

Pure, any thread. Guarantees: hop-by-hop headers, and those that Connection names, go no further; the framing written is
that of the body sent; what is written parses by the grammar that `wire.py` reads by, as exactly the headers given, so
that no header, target or reason can bring in a line of its own. What would not is a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from llamaswap_lib.web.heads import (
    CHUNKED,
    Framing,
    RequestHead,
    ResponseHead,
    has_no_body,
    match_request,
    match_response,
)

# Those that matter to one hop only; Expect among them, since this hop answers it.
HOP_BY_HOP = frozenset(
    (
        "connection",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
# A Connection header may not take away what the next hop's parser needs.
_KEPT_WHATEVER_CONNECTION_SAYS = frozenset(("host", "content-length"))


def forwarded_headers(head: RequestHead, client_ip: str, framing: Framing | None = None) -> list[tuple[str, str]]:
    """What goes on to a local upstream: end-to-end headers, the client appended to X-Forwarded-For, the body's framing.

    `framing` is that of the body as sent on; None: as it came. An accepted Upgrade is asked for again.
    """
    dropped = HOP_BY_HOP | (head.connection - _KEPT_WHATEVER_CONNECTION_SAYS)
    forwarded_for = []
    result = []
    for name, value in head.headers:
        key = name.lower()
        if key == "x-forwarded-for":
            forwarded_for.append(value)
        elif key not in dropped and key != "content-length":
            result.append((name, value))
    if "x-forwarded-for" in dropped:
        forwarded_for.clear()
    result.append(("X-Forwarded-For", ", ".join([*filter(None, forwarded_for), client_ip])))
    if head.upgrade:
        result += (("Connection", "Upgrade"), ("Upgrade", head.first["upgrade"]))
    return result + (head.framing if framing is None else framing).headers()


def response_headers(head: ResponseHead, framing: Framing | None = None) -> list[tuple[str, str]]:
    """What goes on to the client: end-to-end headers and the body's framing.

    `framing` is that of the body as sent on; None: as the upstream declared it, which also suits answers to HEAD.
    """
    dropped = HOP_BY_HOP | (head.connection - _KEPT_WHATEVER_CONNECTION_SAYS)
    if framing is not None or head.status < 200 or head.status == 204:
        dropped |= {"content-length"}
    result = [(name, value) for name, value in head.headers if name.lower() not in dropped]
    if head.status == 101:
        result += (("Connection", "Upgrade"), ("Upgrade", head.first.get("upgrade", "")))
    if framing is not None:
        return result + framing.headers()
    return result + (CHUNKED.headers() if head.chunked and not has_no_body(head.status) else [])


def serialize_request(method: str, target: str, headers: Collection[tuple[str, str]]) -> bytes:
    """A request's head; raises ValueError for anything that would not parse as exactly this."""
    return _serialize(f"{method} {target} HTTP/1.1\r\n", headers, match_request)


def serialize_response(status: int, reason: str, headers: Collection[tuple[str, str]]) -> bytes:
    """An answer's head; raises ValueError for anything that would not parse as exactly this."""
    return _serialize(f"HTTP/1.1 {status} {reason}\r\n", headers, match_response)


def _serialize(line: str, headers: Collection[tuple[str, str]], is_head: Callable[[str], object]) -> bytes:
    fields = [f"{name}: {value}\r\n" for name, value in headers]
    head = f"{line}{''.join(fields)}\r\n"
    # One line for each header, and a name that ends where it should: the grammar sees to the rest.
    is_one_line_each = head.count("\r\n") == len(headers) + 2 and all(":" not in name for name, _ in headers)
    if not is_one_line_each or not is_head(head):
        raise ValueError(f"not a head: {head[:200]!r}")
    return head.encode("latin-1")
