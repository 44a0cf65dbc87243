"""How a request reaches the model that it is for: inside a lease, telling of its wait, past both, or at a peer.

The http thread of the client runs it. A process that dies before any byte of the answer costs the request nothing but
time: it is tried once more, on the next process.
"""

from __future__ import annotations

from llamaswap_lib.config.schema import Model
from llamaswap_lib.errors import Conflict
from llamaswap_lib.web import peers
from llamaswap_lib.web.app import Upstream
from llamaswap_lib.web.body import OutgoingBody
from llamaswap_lib.web.exchange import Exchange
from llamaswap_lib.web.loading import is_told, relay_telling
from llamaswap_lib.web.peer_relay import PeerRelay
from llamaswap_lib.web.peers import Remote
from llamaswap_lib.web.relay import NoAnswer, Relay, next_upstream


def relay(exchange: Exchange, model: Model | Remote, path: str, query: str, body: OutgoingBody) -> None:
    """Have the model serve the exchange at `path`, a local one once it is ready; raises HttpError or ClientGone."""
    if isinstance(model, Remote):
        PeerRelay(exchange, model, model.key, model.proxy, body).run(path, peers.query_for(model, query))
    elif model.send_loading_state and is_told(exchange):
        relay_telling(exchange, model, path, query, body)
    elif exchange.head.upgrade == "websocket" and model.compat.ignore_websockets:
        _relay_to(exchange, model, _ready_upstream(exchange, model), path, query, body)
    else:
        lease = exchange.app.controller.lease(model.id, exchange.sock)
        with lease as upstream:
            try:
                _relay_to(exchange, model, upstream, path, query, body)
            except NoAnswer as no_answer:
                _relay_to(exchange, model, next_upstream(lease, no_answer), path, query, body)


def _relay_to(exchange: Exchange, model: Model, upstream: Upstream, path: str, query: str, body: OutgoingBody) -> None:
    Relay(exchange, model, upstream.run_id, upstream.proxy, body).run(path, query)


def _ready_upstream(exchange: Exchange, model: Model) -> Upstream:
    """Where an ignored WebSocket goes: it takes no place, so it neither loads the model nor keeps it."""
    upstream = exchange.app.controller.ready_upstream(model.id)
    if upstream is None:
        raise Conflict(f"model {model.id} is not loaded; WebSockets do not load it (compat.ignoreWebsockets)")
    return upstream
