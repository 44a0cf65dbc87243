"""The body of a request, to be understood: without the Content-Encoding that its client gave it.

Guarantees: no more is decoded than a body may have; the exchange's head is then
that of the body which came out, so that it may be sent on with it; where a body that was read cannot be decoded, the
next request of the connection can be read all the same; a client that leaves ends the decoding. What is passed on as it
came (`/upstream`) is not read here.
"""

from __future__ import annotations

from llamaswap_lib.errors import ContentTooLarge
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.server.request_body import RequestBody
from llamaswap_lib.wire.content_coding import Coding, decode, find_codings, longest_coded
from llamaswap_lib.wire.headers import head_without


def read_content(exchange: Exchange, most_bytes: int) -> RequestBody:
    """The whole body, `most_bytes` at most. Its reader closes it. Handler thread.

    Raises HttpError or ClientGone.
    """
    raw = exchange.on_loop(lambda: receive_raw(exchange, most_bytes))
    return decoded(exchange, raw, most_bytes)


async def receive_raw(exchange: Exchange, most_bytes: int, too_long: str = "") -> RequestBody:
    """The body as it was sent, which is `most_bytes` long at most when it is decoded. Loop thread.

    Raises HttpError or ClientGone.
    """
    codings = () if "content-encoding" not in exchange.head.first else _codings_of(exchange)
    try:
        return await exchange.receive_body(longest_coded(most_bytes) if codings else most_bytes)
    except ContentTooLarge:
        raise _refusal(most_bytes, too_long) from None


def decoded(exchange: Exchange, raw: RequestBody, most_bytes: int, too_long: str = "") -> RequestBody:
    """The body without its codings; `raw` itself where it has none, else that is closed. Handler thread."""
    codings = () if "content-encoding" not in exchange.head.first else _codings_of(exchange)
    if not codings:
        return raw
    with raw:
        body = RequestBody(memory_bytes=exchange.settings.limits.memory_body_bytes)
        try:
            for piece in decode(raw.pieces(), codings, most_bytes, _refusal(most_bytes, too_long)):
                body.append(piece)
                if not body.is_in_memory:
                    exchange.watch.check()  # little may become much, and take its time
        except BaseException:
            body.close()
            raise
    exchange.replace_head(head_without(exchange.head, "content-encoding"))
    return body


def _refusal(most_bytes: int, too_long: str) -> ContentTooLarge:
    return ContentTooLarge(too_long or f"the body is larger than {most_bytes} bytes")


def _codings_of(exchange: Exchange) -> tuple[Coding, ...]:
    """None where there is no body: a head like that says nothing."""
    head = exchange.head
    if not (head.content_length or head.chunked):
        return ()
    return tuple(find_codings(value for name, value in head.headers if name.lower() == "content-encoding"))
