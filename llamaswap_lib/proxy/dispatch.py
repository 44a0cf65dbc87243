"""How a request reaches the model that it is for: inside a lease, telling of its wait, past both, or at a peer.

The http thread of the client runs it, but for `begin` and what it returns, which the pump begins and a thread may end.
A process that dies before any byte of the answer costs the request nothing but time: it is tried once more, on the next
process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from llamaswap_lib.config.schema import Model
from llamaswap_lib.errors import Conflict, HttpError
from llamaswap_lib.proxy.loading_stream import Story, is_told, relay_telling
from llamaswap_lib.proxy.peer import PeerRelay
from llamaswap_lib.proxy.peer_headers import query_for
from llamaswap_lib.proxy.relay import Relay, next_upstream
from llamaswap_lib.proxy.upstream_request import NoAnswer
from llamaswap_lib.routing.remote_model import Remote
from llamaswap_lib.routing.selectors import NO_CHOICE, Choice
from llamaswap_lib.runtime.interfaces import Lease, Upstream
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.server.request_body import OutgoingBody


class Order(NamedTuple):
    """What a request comes to: which model it is for, and what is sent to it."""

    model: Model | Remote
    path: str
    query: str  # with its question mark, or ''
    body: OutgoingBody
    choice: Choice = NO_CHOICE  # of the selector that led to the model
    never_loads: bool = False  # nor takes a place: it is for a model that is ready, or fails


def relay(exchange: Exchange, order: Order) -> None:
    """Have the model serve the exchange, a local one once it is ready; raises HttpError or ClientGone."""
    model = order.model
    exchange.model = model.id
    if isinstance(model, Remote):
        query = query_for(model, order.query)
        PeerRelay(exchange, model, model.key, model.proxy, order.body).run(order.path, query)
    elif model.send_loading_state and is_told(exchange):
        relay_telling(exchange, model, order.path, order.query, order.body)
    elif exchange.head.upgrade == "websocket" and model.compat.ignore_websockets:
        refusal = Conflict(f"model {model.id} is not loaded; WebSockets do not load it (compat.ignoreWebsockets)")
        _relay_to(exchange, order, model, _ready_upstream(exchange, model, refusal))
    elif order.never_loads:
        refusal = Conflict(f"model {model.id} is not ready; only a request that names it, with ?model=, waits for it")
        _relay_to(exchange, order, model, _ready_upstream(exchange, model, refusal))
    else:
        lease = exchange.app.controller.lease(model.id, exchange.sock)
        with lease as upstream:
            try:
                _relay_to(exchange, order, model, upstream)
            except NoAnswer as no_answer:
                _relay_to(exchange, order, model, next_upstream(lease, no_answer))


class Begun:
    """A request that was sent to its model without waiting for anything; it has a place there until `leave`."""

    __slots__ = ("_has_left", "_lease", "_order", "_story", "exchange", "relay")

    def __init__(self, exchange: Exchange, order: Order, lease: Lease, relay: Relay, story: Story | None) -> None:
        """`story`: what the client is told should it have to wait after all."""
        exchange.model = order.model.id
        self.exchange = exchange
        self.relay = relay
        self._order = order
        self._lease = lease
        self._story = story
        self._has_left = False

    def listen(self, on_ready: Callable[[int], None]) -> None:
        """Have the pump call `on_ready` when there is something to hear of the answer."""
        assert self.relay.standing is not None, "it was not begun on the pump"
        self.relay.standing.serve(on_ready)

    def leave(self) -> None:
        """The exchange has ended: give back what it holds, once."""
        if not self._has_left:
            self._has_left = True
            self._lease.leave()
            self._order.choice.give_back()

    def go_on(self, early: bytes | None) -> None:
        """Serve the rest of the exchange, as `relay` would; `early` is what has come of the answer, None for nothing.

        Blocks; raises HttpError or ClientGone; leaves.
        """
        try:
            self._go_on(early)
        except HttpError as error:
            if self._story is None or not self.exchange.has_answered:
                raise
            self._story.fail(error)

    def _go_on(self, early: bytes | None) -> None:
        order = self._order
        try:
            self.relay.go_on(early)
        except NoAnswer as no_answer:
            upstream = next_upstream(self._lease, no_answer)
            if self._story is None:
                _relay_to(self.exchange, order, self.relay.model, upstream)
            else:
                self._story.go_on(upstream, order.path, order.query)
        finally:
            self.leave()


def begin(exchange: Exchange, order: Order) -> Begun | None:
    """Send the request to its model if nothing can make it wait; else None, and nothing has happened. Never blocks.

    That is: a local model that is ready, no TLS on the way, and an idle connection to it. Raises ConcurrencyLimit.
    """
    model = order.model
    if isinstance(model, Remote) or model.timeouts.response_header:
        return None
    story = Story(exchange, model, order.body) if model.send_loading_state and is_told(exchange) else None
    lease = exchange.app.controller.lease(model.id, story.wait if story else exchange.sock)
    upstream = lease.enter_now()
    if upstream is None:
        return None
    try:
        relay = Relay(exchange, model, upstream.run_id, upstream.proxy, order.body)
        if not relay.origin.is_secure and relay.ask_now(order.path, order.query):
            return Begun(exchange, order, lease, relay, story)
    except BaseException:
        lease.leave()
        raise
    lease.leave()
    return None


def _relay_to(exchange: Exchange, order: Order, model: Model | Remote, upstream: Upstream) -> None:
    Relay(exchange, model, upstream.run_id, upstream.proxy, order.body).run(order.path, order.query)


def _ready_upstream(exchange: Exchange, model: Model, refusal: Conflict) -> Upstream:
    """Where a request goes that takes no place, so that it neither loads the model nor keeps it; raises `refusal`."""
    upstream = exchange.app.controller.ready_upstream(model.id)
    if upstream is None:
        raise refusal
    return upstream
