"""Heads of requests and answers: parsed strictly, checked for one and only one framing. (Writing: `headers.py`.)

Pure: no socket, no clock; any thread. Guarantees: (1) a head that passes means the same to every parser that follows
RFC 9112: CRLF line ends, no folding, no blank before a colon, no control characters; (2) at most one of Content-Length
and Transfer-Encoding, once; (3) at most 64 KiB, and 1,000 lines of headers. Bytes beyond ASCII in a request's target,
which Go takes too, are percent-encoded: they mean the same, and no upstream has to understand them.
Never repairs what is ambiguous. A request's fault is BadRequest, HeadTooLarge or NotImplementedByServer; an
upstream's is BadGateway.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote

from llamaswap_lib.errors import BadGateway, BadRequest, HeadTooLarge, NotImplementedByServer
from llamaswap_lib.wire.heads import (
    MAX_HEAD_BYTES,
    MAX_HEAD_LINES,
    NAME,
    TEXT,
    Headers,
    RequestHead,
    ResponseHead,
    has_too_many_lines,
    match_request,
    match_response,
    read_pairs,
)

_is_length = re.compile(r"[0-9]{1,18}").fullmatch
_is_authority = re.compile(r"[-A-Za-z0-9._~!$&'()*+;=:%\[\]]*").fullmatch
_is_protocol = re.compile(rf"{NAME}(?:/{NAME})?").fullmatch
_match_absolute = re.compile(r"(?i:https?)://([^/?]+)[/?]?").match
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
_bare_line_end = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")


def head_end(data: bytes | bytearray, start: int = 0) -> int:
    """Where the head in `data` ends, or -1 while it is not all there; `start`: the length when last asked.

    Raises HeadTooLarge, and BadRequest for a line end that will never be a right one, so that nobody waits for more.
    """
    end = data.find(b"\r\n\r\n", max(0, start - 3))
    if (end if end >= 0 else len(data)) + 4 > MAX_HEAD_BYTES:
        raise HeadTooLarge(f"the head is larger than {MAX_HEAD_BYTES} bytes")
    if end < 0 and _bare_line_end.search(data, max(0, start - 1)):
        raise BadRequest("a line of the head ends in a bare CR or LF")
    return end + 4 if end >= 0 else -1


def parse_request_head(head: bytes) -> RequestHead:
    """A request's head, its empty line included; raises BadRequest, HeadTooLarge or NotImplementedByServer."""
    if len(head) > MAX_HEAD_BYTES:
        raise HeadTooLarge(f"the head is larger than {MAX_HEAD_BYTES} bytes")
    if has_too_many_lines(head):
        raise HeadTooLarge(f"the head has more than {MAX_HEAD_LINES} lines")
    text = head.decode("latin-1")
    line = match_request(text)
    if line is None:
        raise BadRequest(_fault(text, "request line"))
    method, target, version, fields = line.groups()
    minor = int(version)
    try:
        first, connection, length, chunked = _read_fields(fields, minor)
    except _Refused as refused:
        raise BadRequest(str(refused)) from None
    except _UnknownCoding as unknown:
        raise NotImplementedByServer(str(unknown)) from None
    _check_target(method, target, first.get("host"), minor)
    if not target.isascii():
        target = quote(target, safe=_VISIBLE, encoding="latin-1")
    kept = _is_kept(minor, connection) if connection else minor == 1
    expects = "expect" in first and minor == 1 and first["expect"].lower() == "100-continue"
    upgrade = _read_upgrade(first.get("upgrade", "")) if minor and "upgrade" in connection else ""
    return RequestHead(method, target, minor, fields, length, chunked, kept, expects, upgrade, connection, first)


def parse_response_head(head: bytes, most_bytes: int = MAX_HEAD_BYTES) -> ResponseHead:
    """An upstream's head, its empty line included; raises BadGateway."""
    if len(head) > most_bytes:
        raise BadGateway(f"the upstream's head is larger than {most_bytes} bytes")
    if has_too_many_lines(head):
        raise BadGateway(f"the upstream's head has more than {MAX_HEAD_LINES} lines")
    text = head.decode("latin-1")
    line = match_response(text)
    if line is None:
        raise BadGateway("the upstream's answer is not HTTP: " + _fault(text, "status line"))
    version, status, reason, fields = line.groups("")
    minor = int(version)
    try:
        first, connection, length, chunked = _read_fields(fields, minor)
    except (_Refused, _UnknownCoding) as refused:
        raise BadGateway(f"the upstream's answer is ambiguous: {refused}") from None
    kept = _is_kept(minor, connection) if connection else minor == 1
    if status == "204" and (chunked or length):
        kept = False  # there is no body, yet one was announced: it may come later, as if it were the next answer
    return ResponseHead(int(status), reason, minor, fields, length, chunked, kept, connection, first)


class _Refused(Exception):
    """The fields contradict each other, or one has no meaning."""


class _UnknownCoding(Exception):
    """A transfer coding other than chunked."""


_Meaning = tuple[dict[str, str], frozenset[str], "int | None", bool]


def _read_fields(fields: str, minor: int) -> _Meaning:
    """What header lines of the right grammar say: first values, Connection, length, chunked; raises _Refused."""
    pairs = read_pairs(fields)
    first = {name.lower(): value for name, value in pairs}
    if len(first) < len(pairs):
        connection = _read_connection(_check_repeated(pairs))
        first = {name.lower(): value for name, value in reversed(pairs)}
    else:
        connection = _read_connection(first.get("connection"))
    length, coding = first.get("content-length"), first.get("transfer-encoding")
    if coding is not None:
        _check_coding(coding, length, minor)
        return first, connection, None, True
    if length is None:
        return first, connection, None, False
    if not _is_length(length):
        raise _Refused(f"Content-Length {length[:40]!r} is not a length")
    return first, connection, int(length), False


def _check_repeated(headers: Headers) -> str:
    """All values of Connection as one; raises _Refused when a header is repeated of which there is one."""
    names = [name.lower() for name, _ in headers]
    for name in ("content-length", "transfer-encoding", "host"):
        if names.count(name) > 1:
            raise _Refused(f"more than one {name} header")
    return ",".join(value for name, value in headers if name.lower() == "connection")


@lru_cache(maxsize=16)  # nearly every client and upstream says one of three things
def _read_connection(value: str | None) -> frozenset[str]:
    """What Connection names; never '', which a list with a comma too many holds."""
    return frozenset(option.strip(" \t").lower() for option in (value or "").split(",")) - {""}


def _check_coding(coding: str, length: str | None, minor: int) -> None:
    if length is not None:
        raise _Refused("both Content-Length and Transfer-Encoding")
    if not minor:
        raise _Refused("Transfer-Encoding in HTTP/1.0")
    if coding.lower() != "chunked":
        raise _UnknownCoding(f"transfer coding {coding[:40]!r} is not supported, only chunked is")


def _is_kept(minor: int, connection: frozenset[str]) -> bool:
    return "close" not in connection and (minor == 1 or "keep-alive" in connection)


def _read_upgrade(value: str) -> str:
    """The one protocol asked for; '' for a choice of several, and for h2c: past it we would see no requests.

    An Upgrade may always be ignored.
    """
    protocol = value.lower()
    return protocol if _is_protocol(protocol) and protocol != "h2c" else ""


def _check_target(method: str, target: str, host: str | None, minor: int) -> None:
    if host is None:
        if minor:
            raise BadRequest("no Host header")
    elif not _is_authority(host):
        raise BadRequest("the Host header is not a host")
    if "#" in target:
        raise BadRequest("a fragment in the request's target")
    if target[0] == "/" or (method == "OPTIONS" and target == "*"):
        return
    if method == "CONNECT":
        raise NotImplementedByServer("CONNECT is not supported: this is not a web proxy")
    absolute = _match_absolute(target)
    if absolute is None or not _is_authority(absolute[1]):
        raise BadRequest("the request's target is neither a path nor a URL")
    if host is not None and host.lower() != absolute[1].lower():
        raise BadRequest("the request's target and its Host header name different hosts")


def _fault(text: str, first_line: str) -> str:
    """What is wrong with a head that the grammar refused."""
    lines = text.split("\r\n")
    if not text.endswith("\r\n\r\n"):
        return "the head does not end in an empty line"
    if "\0" in text:
        return "a NUL byte in the head"
    if any("\r" in line or "\n" in line for line in lines):
        return "a line of the head ends in a bare CR or LF"
    is_field = re.compile(rf"{NAME}:{TEXT}").fullmatch
    for line in lines[1:-2]:
        if is_field(line):
            continue
        name = line.partition(":")[0]
        if not line:
            return "an empty line within the head"
        if line[0] in " \t":
            return "a folded header line"
        if name != name.rstrip(" \t"):
            return "a space before the colon of a header"
        return f"malformed header line {line[:40]!r}"
    return f"malformed {first_line} {lines[0][:80]!r}"
