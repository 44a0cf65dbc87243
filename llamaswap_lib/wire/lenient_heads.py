"""Heads of answers that are not strict HTTP but mean one thing only, rewritten so that they are strict.

Pure: no socket, no clock; any thread. For the answers of models' own servers, and only where `parser.py` has refused
one; requests and the answers of peers are never read here. Understood are: lines that end in LF, or in more than one
CR; folded lines; blanks in front of a colon and in the status line; control characters in a value (they become blanks);
Content-Length said again with the same number; chunked together with a length, in HTTP/1.0, or said twice; empty lines
in front; heads up to 256 KiB. A header whose name is none is left out. Guarantees: what comes out has passed
`parser.py`, so its receiver sees no sign of what came in; two meanings are a BadGateway.
"""

from __future__ import annotations

import re

from llamaswap_lib.errors import BadGateway, BadRequest, HeadTooLarge
from llamaswap_lib.wire.heads import NAME, TEXT, ResponseHead
from llamaswap_lib.wire.parser import head_end, parse_response_head

MAX_HEAD_BYTES = 262_144
NOT_HTTP = "the upstream's answer is not HTTP"
AMBIGUOUS = "the upstream's answer is ambiguous"

_find_end = re.compile(rb"\n\r*\n").search
_find_first = re.compile(rb"[^\r\n]").search
_match_status = re.compile(r"(?i:http)/1(?:\.([0-9]))?[ \t]+([1-9][0-9]{2})(?:[ \t]+([^\n]*))?").fullmatch
_is_name = re.compile(NAME).fullmatch
_is_strict = re.compile(rf"{NAME}:{TEXT}").fullmatch
_is_length = re.compile(r"[0-9]{1,18}").fullmatch
_blank_controls = re.compile(r"[^\t\x20-\x7e\x80-\xff]").sub


class AnswerHeadReader:
    """Reads the heads of one answer, the final one and those before it."""

    __slots__ = ("_is_lenient", "end", "is_strict")

    def __init__(self, *, lenient: bool) -> None:
        """Without `lenient`, what is not strict is refused."""
        self._is_lenient = lenient
        self.is_strict = True  # all that was read so far
        self.end = 0  # where the head ends that was read last

    def read(self, data: bytes, start: int) -> ResponseHead | None:
        """The head that `data` begins with, None while it is not all there; `start`: the length when last asked.

        Raises what `head_end` and `parse_response_head` raise.
        """
        if self.is_strict:
            try:
                self.end = head_end(data, start)
                return parse_response_head(data[: self.end]) if self.end >= 0 else None
            except (BadRequest, HeadTooLarge, BadGateway):
                if not self._is_lenient:
                    raise
            self.is_strict, start = False, 0
        head, self.end = read_leniently(data, start)
        return head


def read_leniently(data: bytes, start: int = 0) -> tuple[ResponseHead | None, int]:
    """The head that `data` begins with and where it ends, (None, -1) while it is not all there.

    `start`: the length when last asked. Raises BadGateway, also for what will never become a head.
    """
    found = _find_first(data)
    begin = found.start() if found else len(data)
    end = _find_end(data, max(begin, data.rfind(b"\n", 0, start)))
    if (end.end() if end else len(data)) > MAX_HEAD_BYTES:
        raise BadGateway(f"the upstream's head is larger than {MAX_HEAD_BYTES} bytes")
    if end is None:
        first, line_end, _ = data[begin:].partition(b"\n")
        if line_end:
            _status_line(first.decode("latin-1"))
        return None, -1
    strict = _rewritten(data[begin : end.start()].decode("latin-1"))
    return parse_response_head(strict.encode("latin-1"), MAX_HEAD_BYTES), end.end()


def _rewritten(text: str) -> str:
    """A head without its empty line, as strict HTTP."""
    first, *lines = text.split("\n")
    minor, status, reason = _status_line(first)
    fields, framing = read_fields(lines)
    if "transfer-encoding" in framing and _is_chunked(framing["transfer-encoding"]):
        minor = 1
        fields.append("Transfer-Encoding: chunked")
    elif "content-length" in framing:
        fields.append(f"Content-Length: {_length(framing['content-length'])}")
    return "".join([f"{line}\r\n" for line in (f"HTTP/1.{minor} {status} {reason}", *fields, "")])


def _status_line(line: str) -> tuple[int, str, str]:
    """The minor version, the status and the reason; raises BadGateway."""
    match = _match_status(line.rstrip("\r"))
    if match is None:
        raise BadGateway(f"{NOT_HTTP}: malformed status line {line[:80]!r}")
    minor, status, reason = match.groups("")
    return (0 if minor == "0" else 1), status, _blank_controls(" ", reason).strip(" \t")


_FRAMING = frozenset(("content-length", "transfer-encoding", "host"))


def read_fields(lines: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Strict header lines for these; and the values of those that say how a message is framed, which are left out.

    Raises BadGateway for what is no header line.
    """
    fields: list[str] = []
    framing: dict[str, list[str]] = {}
    for line in _unfolded(lines):
        name, colon, value = line.partition(":")
        value = value.strip(" \t")
        if not colon:
            raise BadGateway(f"{AMBIGUOUS}: a header line without a colon, {line[:40]!r}")
        name = name.rstrip(" \t")
        if name.lower() in _FRAMING:
            framing.setdefault(name.lower(), []).append(value)
        elif _is_strict(line):
            fields.append(line)
        elif _is_name(name):
            value = _blank_controls(" ", value).strip(" \t")
            fields.append(f"{name}: {value}".rstrip(" "))
    return fields, framing


def _unfolded(lines: list[str]) -> list[str]:
    """One line for each header; what it was folded at is one blank."""
    found: list[list[str]] = []
    for line in lines:
        if line[:1] not in (" ", "\t"):
            found.append([line.rstrip("\r")])
        elif found:
            found[-1].append(line.rstrip("\r").strip(" \t"))
        else:
            raise BadGateway(f"{AMBIGUOUS}: a folded line after the status line")
    return [" ".join(filter(None, (pieces[0].rstrip(" \t"), *pieces[1:]))) for pieces in found]


def _is_chunked(values: list[str]) -> bool:
    """Whether the body is chunked: `identity` is no coding, and chunked said twice is said once."""
    codings = {coding.strip(" \t").lower() for value in values for coding in value.split(",")} - {"identity", ""}
    if codings - {"chunked"}:
        raise BadGateway(f"{AMBIGUOUS}: transfer coding {', '.join(values)[:40]!r} is not supported, only chunked is")
    return bool(codings)


def _length(values: list[str]) -> int:
    """The one length that all of them say."""
    said = [length.strip(" \t") for value in values for length in value.split(",")]
    for length in said:
        if not _is_length(length):
            raise BadGateway(f"{AMBIGUOUS}: Content-Length {length[:40]!r} is not a length")
    lengths = {int(length) for length in said}
    if len(lengths) > 1:
        raise BadGateway(f"{AMBIGUOUS}: two different lengths")
    return lengths.pop()
