"""Heads on their way out: which header lines go on to the next hop, and how a head of our own is written.

Pure, any thread. Guarantees: hop-by-hop headers, and those that Connection names, go no further; the framing written is
that of the body sent; no header, target or reason can bring in a line of its own. Lines that are passed on are passed
on as they came: `parser.py` let them in, so they parse. Lines of our own are checked by the same grammar; what does not
match it is a ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container
from functools import lru_cache
from typing import TypeVar

from llamaswap_lib.wire.heads import WITHOUT_BODY, RequestHead, ResponseHead, match_response

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
_FORWARDED_FOR = "x-forwarded-for"
_LENGTH = ("content-length",)
_HOST = ("host",)
_READABLE = frozenset(("gzip", "x-gzip", "deflate", "identity", ""))  # codings of an answer that is read for its row
_replace_accepted = re.compile(r"(?im)^(accept-encoding:)([^\r\n]*)").sub
# A Connection header may not take away what the next hop's parser needs.
_KEPT_WHATEVER_CONNECTION_SAYS = frozenset(("host", "content-length"))

_Head = TypeVar("_Head", RequestHead, ResponseHead)


def request_fields(head: RequestHead, client_ip: str, body_bytes: int | None) -> str:
    """The header lines for a local upstream: end-to-end ones, the client appended to X-Forwarded-For, the framing.

    `body_bytes` is the length of the body as sent on, None for no body. An accepted Upgrade is asked for again.
    """
    first = head.first
    dropped = _not_sent_on(head.connection)
    fields = head.fields
    if not dropped.isdisjoint(first):
        fields = without(fields, dropped)
    if _FORWARDED_FOR in first:
        client_ip = _forwarded_for(head, client_ip)
    if body_bytes != head.content_length:
        fields = _with_length(fields, head.content_length, body_bytes)
    if head.upgrade:
        fields += upgrade_lines(head)
    return f"{fields}X-Forwarded-For: {client_ip}\r\n"


def head_without(head: _Head, *names: str) -> _Head:
    """The head without the headers of these names, in lower case; what was read of them stays."""
    first = {name: value for name, value in head.first.items() if name not in names}
    return head._replace(fields=without(head.fields, names), first=first)


def answer_lines(head: ResponseHead, *, is_decoded: bool = False) -> str:
    """The status line, and the header lines as `response_fields` says; no proxy in front is to hold events up."""
    lines = f"HTTP/1.1 {head.status} {head.reason}\r\n{response_fields(head, is_decoded=is_decoded)}"
    if "x-accel-buffering" not in head.first and head.first.get("content-type", "").startswith("text/event-stream"):
        lines += "X-Accel-Buffering: no\r\n"
    return lines


def response_fields(head: ResponseHead, *, is_decoded: bool = False) -> str:
    """The header lines for the client: end-to-end ones, and the framing as the upstream declared it.

    That also suits answers to HEAD. `is_decoded`: a chunked body is sent on without its framing.
    """
    dropped = dropped_names(head.connection)
    fields = head.fields
    if not dropped.isdisjoint(head.first):
        fields = without(fields, dropped)
    if head.chunked and not is_decoded and head.status not in WITHOUT_BODY:
        fields += "Transfer-Encoding: chunked\r\n"
    if head.status < 200 or head.status == 204:
        fields = without(fields, _LENGTH)
    if head.status == 101:
        fields += f"Connection: Upgrade\r\nUpgrade: {head.first.get('upgrade', '')}\r\n"
    return fields


@lru_cache(maxsize=64)
def _not_sent_on(connection: frozenset[str]) -> frozenset[str]:
    return dropped_names(connection) | {_FORWARDED_FOR}


@lru_cache(maxsize=64)
def dropped_names(connection: frozenset[str]) -> frozenset[str]:
    """The headers that go no further, in lower case, where Connection names those."""
    return HOP_BY_HOP | (connection - _KEPT_WHATEVER_CONNECTION_SAYS)


def upgrade_lines(head: RequestHead) -> str:
    """What asks for an accepted Upgrade once more."""
    return f"Connection: Upgrade\r\nUpgrade: {head.first['upgrade']}\r\n" if head.upgrade else ""


def without(fields: str, names: Container[str]) -> str:
    """The lines whose name, in lower case, is none of `names`."""
    lines = fields.split("\r\n")  # the last one is empty
    return "\r\n".join([line for line in lines if line.partition(":")[0].lower() not in names])


def with_readable_codings(fields: str) -> str:
    """The lines, where those that say which codings an answer may have name no other ones than those we can read."""
    return _replace_accepted(_readable, fields)


def _readable(line: re.Match[str]) -> str:
    items = line[2].split(",")
    kept = [item for item in items if item.partition(";")[0].strip(" \t").lower() in _READABLE]
    return line[0] if len(kept) == len(items) else f"{line[1]} {','.join(kept).strip() or 'identity'}"


def without_host(fields: str) -> str:
    """The lines but Host."""
    return without(fields, _HOST)


def _with_length(fields: str, old: int | None, new: int | None) -> str:
    """The lines with another Content-Length, of which there is one at most."""
    line = f"\r\nContent-Length: {old}\r\n"
    if line in fields:  # so it is mostly spelled: in place, at a tenth of the cost
        return fields.replace(line, f"\r\nContent-Length: {new}\r\n")
    return f"{without(fields, _LENGTH)}Content-Length: {new}\r\n"


def _forwarded_for(head: RequestHead, client_ip: str) -> str:
    """The addresses of all X-Forwarded-For headers, and the client's."""
    if _FORWARDED_FOR in head.connection:
        return client_ip
    told = [value for name, value in head.headers if value and name.lower() == _FORWARDED_FOR]
    return ", ".join([*told, client_ip])


def serialize_response(status: int, reason: str, headers: Collection[tuple[str, str]]) -> str:
    """The lines of an answer's head, without the empty one; raises ValueError for what would not parse as these."""
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    head = f"HTTP/1.1 {status} {reason}\r\n{''.join(lines)}"
    # One line for each header, and a name that ends where it should: the grammar sees to the rest.
    is_one_line_each = head.count("\r\n") == len(headers) + 1 and all(":" not in name for name, _ in headers)
    if not is_one_line_each or not match_response(head + "\r\n"):
        raise ValueError(f"not a head: {head[:200]!r}")
    return head
