"""How a request reaches the model that it is for: inside a lease, telling of its wait, past both, or at a peer.

The http thread of the client runs it. A process that dies before any byte of the answer costs the request nothing but
time: it is tried once more, on the next process.
"""

from __future__ import annotations

from typing import NamedTuple

from llamaswap_lib.config.schema import Model
from llamaswap_lib.errors import Conflict
from llamaswap_lib.web import peers
from llamaswap_lib.web.app import Upstream
from llamaswap_lib.web.asking import NoAnswer
from llamaswap_lib.web.body import OutgoingBody
from llamaswap_lib.web.exchange import Exchange
from llamaswap_lib.web.loading import is_told, relay_telling
from llamaswap_lib.web.peer_relay import PeerRelay
from llamaswap_lib.web.peers import Remote
from llamaswap_lib.web.relay import Relay, next_upstream
from llamaswap_lib.web.selectors import NO_CHOICE, Choice


class Order(NamedTuple):
    """What a request comes to: which model it is for, and what is sent to it."""

    model: Model | Remote
    path: str
    query: str  # with its question mark, or ''
    body: OutgoingBody
    choice: Choice = NO_CHOICE  # of the selector that led to the model


def relay(exchange: Exchange, order: Order) -> None:
    """Have the model serve the exchange, a local one once it is ready; raises HttpError or ClientGone."""
    model = order.model
    if isinstance(model, Remote):
        query = peers.query_for(model, order.query)
        PeerRelay(exchange, model, model.key, model.proxy, order.body).run(order.path, query)
    elif model.send_loading_state and is_told(exchange):
        relay_telling(exchange, model, order.path, order.query, order.body)
    elif exchange.head.upgrade == "websocket" and model.compat.ignore_websockets:
        _relay_to(exchange, order, model, _ready_upstream(exchange, model))
    else:
        lease = exchange.app.controller.lease(model.id, exchange.sock)
        with lease as upstream:
            try:
                _relay_to(exchange, order, model, upstream)
            except NoAnswer as no_answer:
                _relay_to(exchange, order, model, next_upstream(lease, no_answer))


def _relay_to(exchange: Exchange, order: Order, model: Model, upstream: Upstream) -> None:
    Relay(exchange, model, upstream.run_id, upstream.proxy, order.body).run(order.path, order.query)


def _ready_upstream(exchange: Exchange, model: Model) -> Upstream:
    """Where an ignored WebSocket goes: it takes no place, so it neither loads the model nor keeps it."""
    upstream = exchange.app.controller.ready_upstream(model.id)
    if upstream is None:
        raise Conflict(f"model {model.id} is not loaded; WebSockets do not load it (compat.ignoreWebsockets)")
    return upstream
