"""The head of a request as an upstream gets it: a model's own server, or a peer, which sees less of the client.

Pure but for what the exchange knows; thread `loop`.
"""

from __future__ import annotations

from llamaswap_lib.config.schema import Model
from llamaswap_lib.proxy import peer_headers
from llamaswap_lib.proxy.connection import Origin
from llamaswap_lib.routing.remote_model import Remote
from llamaswap_lib.runtime.forward_proxies import ForwardProxy
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.wire.head_cache import find_length
from llamaswap_lib.wire.headers import request_fields, without_host


def request_head(
    exchange: Exchange,
    model: Model | Remote,
    origin: Origin,
    path: str,
    query: str,
    body_bytes: int,
    read_by: ForwardProxy | None,
) -> bytes:
    """The request line, the fields and the empty line, latin-1; `body_bytes` is the length of the body as sent on.

    `read_by` is the proxy that reads it on the way, None where there is none, or one that is a tunnel. Raises
    BadRequest where a peer would get a key of ours. For the same head and the same way only the length is written anew.
    """
    head, memo = exchange.head, exchange.memo
    length = body_bytes if head.chunked or head.content_length is not None else None
    whither = (origin, path, query, read_by, model)
    if memo.sent_on_for == whither and length is not None:
        before, behind = memo.sent_on
        return b"%b%d%b" % (before, length, behind)
    target, login = origin.target(path, query), ""
    if read_by is not None:
        target, login = f"{origin}{target}", read_by.authorization
    if isinstance(model, Remote):
        fields = peer_headers.request_fields(head, model, length)
        host = f"Host: {origin.authority}\r\n"
        fields += f"Via: {exchange.settings.via}\r\n"  # behind those that came with the request
    else:
        fields = request_fields(head, exchange.client.client_ip, length)
        host = "" if "host" in head.first else f"Host: {origin.authority}\r\n"
        if read_by is not None:  # which sends it on to the Host of the target: there is no other one
            host, fields = f"Host: {origin.authority}\r\n", without_host(fields)
    data = f"{head.method} {target} HTTP/1.1\r\n{login}{host}{fields}\r\n".encode("latin-1")
    if (found := find_length(data)) is not None:
        memo.sent_on_for, memo.sent_on = whither, (data[: found.start(1)], data[found.end(1) :])
    return data
