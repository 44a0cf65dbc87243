"""How a request reaches the model that it is for: inside a lease, telling of its wait, or past both.

The http thread of the client runs it. A process that dies before any byte of the answer costs the request nothing but
time: it is tried once more, on the next process.
"""

from __future__ import annotations

from llamaswap_lib.config.schema import Model
from llamaswap_lib.errors import Conflict
from llamaswap_lib.web.app import Upstream
from llamaswap_lib.web.body import OutgoingBody
from llamaswap_lib.web.exchange import Exchange
from llamaswap_lib.web.loading import is_told, relay_telling
from llamaswap_lib.web.relay import NoAnswer, Relay, next_upstream


def relay(exchange: Exchange, model: Model, path: str, query: str, body: OutgoingBody) -> None:
    """Have the model serve the exchange at `path`, once it is ready; raises HttpError or ClientGone."""
    if model.send_loading_state and is_told(exchange):
        relay_telling(exchange, model, path, query, body)
        return
    if exchange.head.upgrade == "websocket" and model.compat.ignore_websockets:
        Relay(exchange, model, _ready_upstream(exchange, model), body).run(path, query)
        return
    lease = exchange.app.controller.lease(model.id, exchange.sock)
    with lease as upstream:
        try:
            Relay(exchange, model, upstream, body).run(path, query)
        except NoAnswer as no_answer:
            Relay(exchange, model, next_upstream(lease, no_answer), body).run(path, query)


def _ready_upstream(exchange: Exchange, model: Model) -> Upstream:
    """Where an ignored WebSocket goes: it takes no place, so it neither loads the model nor keeps it."""
    upstream = exchange.app.controller.ready_upstream(model.id)
    if upstream is None:
        raise Conflict(f"model {model.id} is not loaded; WebSockets do not load it (compat.ignoreWebsockets)")
    return upstream
