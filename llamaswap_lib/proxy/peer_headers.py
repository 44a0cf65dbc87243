"""What a peer gets to see of a request: its own key or the client's, and nothing of the proxies before it.

Pure, any thread. Guarantees: no `X-Forwarded-*` and no `Forwarded` goes out; the Host is that of the peer's URL; a
value that is one of our own keys is never sent, in whatever header or parameter a client put it, plainly or
percent-encoded: with it goes the whole header, or the parameter; an Upgrade with one is refused. (A peer's `apiKey` is
sent as configured, also if it is one of ours.) What stands in bodies and in the path is not looked at.
"""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote

from llamaswap_lib.errors import BadRequest
from llamaswap_lib.routing.remote_model import Remote, key_lines
from llamaswap_lib.wire.headers import dropped_names, upgrade_lines
from llamaswap_lib.wire.heads import RequestHead

_find_key = re.compile(rb"(?i)\r\n(?:authorization|x-api-key):").search
_OWN = frozenset(("host", "forwarded"))
_CREDENTIALS = frozenset(("authorization", "x-api-key"))
# What they say matters to the meaning of the request, and is never a secret: a key such as "json" does not remove them.
_NO_SECRETS = frozenset(("accept", "accept-encoding", "content-length", "content-type"))


def request_fields(head: RequestHead, remote: Remote, body_bytes: int | None) -> str:
    """The header lines for the peer, but Host; `body_bytes` is the length of the body as sent on, None for none.

    Raises BadRequest where the protocol to upgrade to holds a key of ours.
    """
    if head.upgrade and remote.own_keys is not None and _holds(head.first["upgrade"], remote.own_keys):
        raise BadRequest("the Upgrade header holds an API key")
    dropped = dropped_names(head.connection) | _OWN
    if remote.api_key:
        dropped |= _CREDENTIALS
    if body_bytes != head.content_length:
        dropped |= {"content-length"}
    lines = [line for line in head.fields.split("\r\n")[:-1] if _may_be_sent(line, dropped, remote.own_keys)]
    if body_bytes != head.content_length:
        lines.append(f"Content-Length: {body_bytes}")
    return "".join([f"{line}\r\n" for line in lines]) + key_lines(remote.api_key) + upgrade_lines(head)


def _may_be_sent(line: str, dropped: frozenset[str], own_keys: re.Pattern[str] | None) -> bool:
    name, _, value = line.partition(":")
    name = name.lower()
    if name in dropped or name.startswith("x-forwarded-"):
        return False
    return own_keys is None or name in _NO_SECRETS or not _carries(value.strip(" \t"), own_keys)


def _carries(value: str, own_keys: re.Pattern[str]) -> bool:
    """Whether a header's value holds a key, plainly or as Basic credentials."""
    if _holds(value, own_keys):
        return True
    scheme, _, credentials = value.partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        decoded = base64.b64decode(credentials.strip() + "==").decode("latin-1")
    except (binascii.Error, ValueError):
        return False
    return _holds(decoded, own_keys)


def _holds(text: str, own_keys: re.Pattern[str]) -> bool:
    """Whether a key stands in `text`, as it is or percent-encoded."""
    return any(own_keys.search(form) for form in (text, unquote(text, "latin-1")))


def brings_key(head: bytes) -> bool:
    """Whether the head of a request, as it is sent, has credentials."""
    return _find_key(head) is not None


def query_for(remote: Remote, query: str) -> str:
    """The query, which may begin with its question mark, without parameters that hold a key of ours."""
    own_keys = remote.own_keys
    if own_keys is None or not query:
        return query
    pairs = query[1:].split("&")
    kept = [pair for pair in pairs if not _holds(pair, own_keys)]
    if len(kept) == len(pairs):
        return query
    return f"?{'&'.join(kept)}" if kept else ""
