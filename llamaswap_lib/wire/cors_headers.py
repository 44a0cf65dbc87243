"""How an answer says which pages of other origins may read it (CORS); which may, `cors.py` decides.

Pure, any thread. A browser lets a page read an answer of another origin only if `Access-Control-Allow-Origin` names the
page's origin or says `*`. Ours echoes it, and asks for no credentials: cookies and keys that a browser remembers open
nothing. Guarantees: the header is there once, whatever a server of a model sends: what it says counts, where it says
something. An answer to a request without an `Origin` is without it.
"""

from __future__ import annotations

from collections.abc import Mapping

from llamaswap_lib.wire.headers import head_without, without
from llamaswap_lib.wire.heads import Headers, ResponseHead, read_pairs

ALLOW_ORIGIN = "Access-Control-Allow-Origin"
ANYBODY = "*"
_NAME = ALLOW_ORIGIN.lower()
_LINE = f"\r\n{_NAME}:"


def allow(reader: str) -> Headers:
    """The headers by which an answer of ours is for `reader`, an origin; '' is for nobody."""
    if not reader:
        return []
    return [(ALLOW_ORIGIN, reader)] if reader == ANYBODY else [(ALLOW_ORIGIN, reader), ("Vary", "Origin")]


def allow_once(lines: str, first: Mapping[str, str], reader: str) -> str:
    """The lines of a server's answer for a page: with the origin that the server allows, else with `reader`, if any.

    `first` has the answer's headers, as its head has them.
    """
    own = first.get(_NAME)
    if own and lines.lower().count(_LINE) == 1:
        return lines
    if own is not None:
        status_line, _, fields = lines.partition("\r\n")
        said = [value for name, value in read_pairs(fields) if name.lower() == _NAME and value]
        lines = f"{status_line}\r\n{without(fields, (_NAME,))}"
        if said:
            return f"{lines}{ALLOW_ORIGIN}: {said[0]}\r\n"
    return lines + "".join([f"{name}: {value}\r\n" for name, value in allow(reader)])


def unsaid(head: ResponseHead) -> ResponseHead:
    """The head without what its server says of that: for answers of which that is ours to say."""
    return head_without(head, _NAME)
