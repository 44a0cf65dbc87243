"""One exchange with a peer: as with an upstream of our own, but the peer sees less of the client.

The http thread of the client runs it. There is no lease: whoever runs the peer sees to its models. Should the peer lead
back here, our name in `Via` tells.
"""

from __future__ import annotations

from llamaswap_lib.proxy.peer_headers import request_fields
from llamaswap_lib.proxy.relay import Relay
from llamaswap_lib.routing.remote_model import Remote


class PeerRelay(Relay):
    """One request to a model of a peer, and its answer."""

    __slots__ = ()
    is_lenient = False  # what a peer sends is not to be guessed at
    model: Remote

    def _request_head(self, path: str, query: str) -> bytes:
        head = self.exchange.head
        has_body = head.chunked or head.content_length is not None
        fields = request_fields(head, self.model, self.body.size_bytes if has_body else None)
        line = f"{self._request_line(path, query)}Host: {self.origin.authority}\r\n"
        via = f"Via: {self.exchange.app.ourselves.via}\r\n"  # behind those that came with the request
        return f"{line}{fields}{via}\r\n".encode("latin-1")
