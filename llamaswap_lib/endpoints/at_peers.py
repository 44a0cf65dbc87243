"""Loads, unloads and logs of models of peers: the peer is asked, and what it says is passed on.

A handler thread finds out whom to ask, and the loop asks: as for other requests to peers, a client that leaves ends it
there, too. A name of this server's own always means that. Where another llamaswap has sent the request, a plain name
means nothing else, so that such a request does not wander.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote

from llamaswap_lib.app import App
from llamaswap_lib.config.schema import PeerModel
from llamaswap_lib.errors import BadGateway, BadRequest, HttpError, NotFound
from llamaswap_lib.fleet.states import OTHER, UNKNOWN
from llamaswap_lib.proxy.dispatch import Dispatcher, Order
from llamaswap_lib.proxy.no_answer import Heard, NoConnection, SaidNo
from llamaswap_lib.routing.cross_site import without_page
from llamaswap_lib.routing.loop_detection import is_sent_on
from llamaswap_lib.routing.names import Reach
from llamaswap_lib.routing.remote_model import remote_of
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.server.request_body import RequestBody

FOREIGN = "; only a llamaswap loads and unloads models, and tells their logs"
SENT_ON = "; another llamaswap has sent this request, so it is for this server's own models"


class AtPeers(NamedTuple):
    """What is asked of peers: the models, and what stands in front of a name in the path."""

    models: Sequence[PeerModel]  # the best first; the next is for where a box has none, or takes no connection
    path: str
    is_log: bool = False  # it never ends by itself
    is_for_all: bool = False  # of these models


def places_of(app: App, exchange: Exchange, name: str) -> list[PeerModel]:
    """The models at llamaswaps that `name`, which is none of ours, leads to: first the one that a request would get.

    Raises NotFound.
    """
    config, states = app.config, app.peers.states()
    targets = app.selectors.order(name) if name in config.pools else [] if name in config.selectors else [name]
    offered = [one for target in targets if (one := config.resolve_peer(target)) is not None]
    if not offered:
        raise app.names.unknown(name, Reach.LOADS, app.profiles.pins())
    is_plain = not any(name == f"{one.peer}/{one.model}" for one in offered)
    found = [one for one in offered if states.get(one.peer, UNKNOWN).kind != OTHER]
    why = SENT_ON if is_plain and is_sent_on(exchange.head) else "" if found else FOREIGN
    if why:
        raise NotFound(f"model not found: {app.names.at_peers(name, why)}")
    return found


def where_it_runs(app: App, exchange: Exchange, name: str) -> list[PeerModel]:
    """The same where it runs; where it runs nowhere, on the boxes that are up.

    Peers have told that a moment ago. Raises NotFound.
    """
    found, states = places_of(app, exchange, name), app.peers.states()
    running = [one for one in found if states.get(one.peer, UNKNOWN).runs(one.model)]
    return running or [one for one in found if states.get(one.peer, UNKNOWN).is_usable] or found[:1]


class PeerOperations:
    """Asks peers, under one configuration."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._dispatcher = Dispatcher(app.controller, app.pool, app.logs.model, app.peers)

    async def serve(self, exchange: Exchange, asked: AtPeers) -> None:
        """Have the exchange answered: of one peer its answer is passed on, of several what came of it is told.

        Raises HttpError and ClientGone.
        """
        exchange.replace_head(without_page(exchange.head))
        exchange.client.follow(follows=asked.is_log)
        try:
            with await exchange.receive_body() as body:
                orders = [self._order(exchange, asked, one, body) for one in asked.models]
                if asked.is_for_all and len(orders) > 1:
                    await self._ask_all(exchange, orders)
                else:
                    await self._ask_first(exchange, orders)
        finally:
            exchange.client.follow(follows=False)
        if not asked.is_log:
            for one in asked.models:  # something else may run there now
                self._app.peers.look_soon(one.peer)

    def _order(self, exchange: Exchange, asked: AtPeers, one: PeerModel, body: RequestBody) -> Order:
        path = f"{asked.path}{quote(one.model, safe='/')}"
        return Order(remote_of(self._app.config, one), path, exchange.query, body, is_log=asked.is_log)

    async def _ask_first(self, exchange: Exchange, orders: Sequence[Order]) -> None:
        """Have the first of the peers answer that has the model."""
        *others, last = orders
        for order in others:
            order.is_no = _has_none
            try:
                await self._dispatcher.relay(exchange, order)
            except (SaidNo, NoConnection):
                if exchange.has_answered:
                    raise
            else:
                return
        await self._dispatcher.relay(exchange, last)

    async def _ask_all(self, exchange: Exchange, orders: Sequence[Order]) -> None:
        """Ask each; raises what went wrong at the first where it did. One that has no such model has none to unload."""
        failures: list[HttpError] = []
        absent: list[HttpError] = []
        for order in orders:
            order.is_heard = True
            try:
                await self._dispatcher.relay(exchange, order)
            except Heard as heard:
                if heard.status >= 300:  # one that sends us elsewhere has not done it
                    error = BadGateway(f"{order.model.id} is answered with {heard.status}")
                    (absent if _has_none(heard.status) else failures).append(error)
            except HttpError as wrong:
                failures.append(wrong)
        if len(absent) == len(orders):
            failures = absent
        if failures:
            raise failures[0]
        exchange.answer_text("OK")


def _has_none(status: int, _fields: object = None) -> bool:
    """Whether that says that the box has no such model, nor log."""
    return status in (NotFound.status, BadRequest.status)
