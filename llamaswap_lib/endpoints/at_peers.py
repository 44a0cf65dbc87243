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
from llamaswap_lib.errors import BadGateway, HttpError, NotFound
from llamaswap_lib.fleet.states import OTHER, UNKNOWN
from llamaswap_lib.proxy.dispatch import Dispatcher, Order
from llamaswap_lib.proxy.no_answer import Heard
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

    models: Sequence[PeerModel]
    path: str
    is_log: bool = False  # it never ends by itself


def one_of(app: App, exchange: Exchange, name: str) -> list[PeerModel]:
    """The model that `name`, which is none of ours, leads to: of several that have it, the one a request would get.

    Raises NotFound.
    """
    return _found(app, exchange, name)[:1]


def all_of(app: App, exchange: Exchange, name: str) -> list[PeerModel]:
    """The same of all those that have it where it runs; where it runs nowhere, of those that are up.

    Peers have told that a moment ago. Raises NotFound.
    """
    found, states = _found(app, exchange, name), app.peers.states()
    running = [one for one in found if states.get(one.peer, UNKNOWN).runs(one.model)]
    return running or [one for one in found if states.get(one.peer, UNKNOWN).is_usable] or found[:1]


def _found(app: App, exchange: Exchange, name: str) -> list[PeerModel]:
    """Those that `name` leads to at llamaswaps, the best first; raises NotFound."""
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
        with await exchange.receive_body() as body:
            found = [await self._ask(exchange, asked, one, body) for one in asked.models]
        exchange.client.follow(follows=False)
        failures = [error for error in found if error is not None]
        if failures:
            raise failures[0]
        if len(found) > 1:
            exchange.answer_text("OK")

    async def _ask(self, exchange: Exchange, asked: AtPeers, one: PeerModel, body: RequestBody) -> HttpError | None:
        """Ask one peer; what went wrong. It is looked at soon: something else may run there now."""
        path = f"{asked.path}{quote(one.model, safe='/')}"
        order = Order(remote_of(self._app.config, one), path, exchange.query, body)
        order.is_log, order.is_heard = asked.is_log, len(asked.models) > 1
        try:
            await self._dispatcher.relay(exchange, order)
        except Heard as heard:
            if heard.status >= 400:
                return BadGateway(f"{order.model.id} is answered with {heard.status}")
        except HttpError as error:
            return error
        if not asked.is_log:
            self._app.peers.look_soon(one.peer)
        return None
