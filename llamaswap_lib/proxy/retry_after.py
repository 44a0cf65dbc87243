"""An error of a llamaswap peer that asks clients to wait for long: ours are never told to wait for more than 2 seconds.

Thread `loop`. What the peer passes on may be the words of the server of a model there, or of a llama-swap, so that
`Retry-After` may be of any length. Clients wait for it in silence, so they get 2, and `retry_in` in the JSON error has
the true number of seconds, as in errors of our own. A body that is no small JSON error with a length stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from math import isnan

from llamaswap_lib.errors import LONGEST_RETRY_AFTER
from llamaswap_lib.wire.headers import without
from llamaswap_lib.wire.heads import ResponseHead
from llamaswap_lib.wire.json_edit import Names, encode, read_members
from llamaswap_lib.wire.splice import Edit, spliced

MOST_BODY_BYTES = 65_536  # of an error that is read as a whole
LONGEST = 1e9  # seconds that are told: an endless wait is no number in JSON
# The second one is what clients of OpenAI and Anthropic look at first.
_AFTER, _AFTER_MS, _LENGTH = "retry-after", "retry-after-ms", "content-length"
_ERROR = Names(("error",))


async def shortened(
    head: ResponseHead, data: bytes, method: str, receive: Callable[[], Awaitable[bytes]]
) -> tuple[ResponseHead, bytes]:
    """The answer to a request of that method as the client gets it: the head, and what there is of the body.

    `data` has come of the body; `receive` gives more, and raises what the wait for it does.
    """
    seconds = wait_of(head)
    if seconds is None:
        return head, data
    if method != "HEAD" and _is_small_json(head):
        while len(data) < (head.content_length or 0):
            more = b""
            with suppress(OSError):
                more = await receive()
            if not more:  # it broke off: who passes it on sees that, too
                return _with_fields(head, head.content_length), data
            data += more
        if len(data) == head.content_length:
            data = with_retry_in(data, seconds)
            return _with_fields(head, len(data)), data
    return _with_fields(head, head.content_length), data


def wait_of(head: ResponseHead) -> float | None:
    """The seconds for which an error asks clients to wait, where these are more than they are to; else None."""
    if head.status < 400:
        return None
    pairs = [(name.lower(), text) for name, text in head.headers]  # of several lines any may be the one that counts
    longest = max([_read(name, text, head) for name, text in pairs if name in (_AFTER, _AFTER_MS)], default=0.0)
    return min(longest, LONGEST) if longest > LONGEST_RETRY_AFTER else None


def _read(name: str, text: str, head: ResponseHead) -> float:
    """Seconds; of a moment, how long that is after the answer was made; 0 for what is no time."""
    with suppress(ValueError):
        seconds = float(text) / (1000 if name == _AFTER_MS else 1)
        return 0.0 if isnan(seconds) else seconds
    with suppress(ValueError, TypeError, OverflowError):
        return (parsedate_to_datetime(text) - parsedate_to_datetime(head.first.get("date", ""))).total_seconds()
    return 0.0


def _is_small_json(head: ResponseHead) -> bool:
    is_json = "json" in head.first.get("content-type", "").lower() and "content-encoding" not in head.first
    return is_json and not head.chunked and 0 < (head.content_length or 0) <= MOST_BODY_BYTES


def with_retry_in(body: bytes, seconds: float) -> bytes:
    """The body with `retry_in` in its `error`, where that is an object without one; else as it is."""
    try:
        [member] = read_members(body, _ERROR)
        error = json.loads(body[member.start : member.end])
    except (ValueError, RecursionError):
        return body
    if not isinstance(error, dict) or "retry_in" in error:
        return body
    added = f'{"," if error else ""}"retry_in":{encode(round(seconds, 3))}'
    return spliced(body, [Edit(member.end - 1, member.end - 1, added.encode())])


def _with_fields(head: ResponseHead, body_bytes: int | None) -> ResponseHead:
    """The head with the wait that clients are told, and with that length of the body, None for one without."""
    replaced = {_AFTER: str(LONGEST_RETRY_AFTER)}
    if body_bytes is not None:
        replaced[_LENGTH] = str(body_bytes)
    fields = without(head.fields, (*replaced, _AFTER_MS))
    fields += "".join([f"{name.title()}: {value}\r\n" for name, value in replaced.items()])
    first = {name: value for name, value in head.first.items() if name != _AFTER_MS}
    return head._replace(fields=fields, content_length=body_bytes, first={**first, **replaced})
