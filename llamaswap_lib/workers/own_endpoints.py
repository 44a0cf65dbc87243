"""The endpoints of a worker: models by the same code as everywhere, and all that is the program's own by its parent.

Thread `loop`. A request for an endpoint of our own is sent on to the parent, on a connection of its own that is a pair
of sockets: its other end goes there by the link, with the address of the client. The parent serves it as if the client
had come to it. Keys are looked at here too, before a body is read.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from llamaswap_lib.app import App
from llamaswap_lib.config.schema import Model
from llamaswap_lib.config.sections import Timeouts
from llamaswap_lib.endpoints import QUICK, WHILE_CLIENT_STAYS, Endpoints, settings_of
from llamaswap_lib.net.loop import Loop
from llamaswap_lib.proxy.connection import Key, Origin, UpstreamConnection
from llamaswap_lib.proxy.pool import Pool, Waiter
from llamaswap_lib.proxy.relay import Relay
from llamaswap_lib.routing.model_name import names_model
from llamaswap_lib.routing.routes import Endpoint, Route
from llamaswap_lib.server.exchange import Exchange, Settings
from llamaswap_lib.upgrade.link import Message
from llamaswap_lib.workers.messages import Kind

PARENT = Model(id="llamaswap itself", timeouts=Timeouts(keepalive=0.0))
ADDRESS = "http://llamaswap"
_STREAMS = frozenset((Endpoint.EVENTS, Endpoint.LOG_STREAM, Endpoint.LOG_STREAM_OF))
Send = Callable[[Message, Sequence[int]], None]


class ParentPool(Pool):
    """Connections to the parent, each for one request; the key of one is the address of its client."""

    def __init__(self, loop: Loop, send: Send) -> None:
        super().__init__(loop)
        self._send = send

    def take_idle(self, key: Key, origin: Origin, waiter: Waiter) -> UpstreamConnection | None:  # noqa: ARG002 - as there
        """None is kept."""
        return None

    async def connect(
        self,
        waiter: Waiter,
        key: Key,
        origin: Origin,
        timeouts: Timeouts,
        *,
        tunnel: bool = False,  # noqa: ARG002 - as there
    ) -> UpstreamConnection:
        """Raises OSError where there is no descriptor."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        connection = UpstreamConnection(key, origin.host, origin, timeouts, None)
        connection.sock = ours
        self._send({"kind": Kind.CONNECTION, "client": str(key)}, [theirs.detach()])
        connection.join(self._loop, UpstreamConnection.close)
        connection.listen(waiter)
        return connection

    def give(self, connection: UpstreamConnection, *, may_stay: bool) -> None:  # noqa: ARG002 - as there
        """It has served its request."""
        connection.close()


class WorkerEndpoints(Endpoints):
    """All endpoints, under one configuration."""

    def __init__(self, app: App, parent: ParentPool) -> None:
        super().__init__(app)
        self._parent = parent
        serve_of_model: Callable[[Exchange, Route], Awaitable[None]] = self._proxied[Endpoint.METRICS]

        def serve_metrics(exchange: Exchange, route: Route) -> Awaitable[None]:
            if names_model(exchange.query):
                return serve_of_model(exchange, route)
            return self._serve_own(exchange, route)

        self._proxied[Endpoint.METRICS] = partial(serve_metrics)

    async def _serve_own(self, exchange: Exchange, route: Route) -> None:
        """Have the parent answer, but where nothing has to be known."""
        if route.endpoint in QUICK:
            await super()._serve_own(exchange, route)
            return
        client = exchange.client
        exchange.memo.log_texts = "", ""  # the parent has the line
        exchange.is_passthrough = True
        with await exchange.receive_body() as body:
            relay = Relay(self._parent, exchange, PARENT, client.client_ip, ADDRESS, body)
            follows = route.endpoint in _STREAMS
            stays = nullcontext() if route.endpoint in WHILE_CLIENT_STAYS else client.awaiting_answer()
            if follows:
                client.follow(follows=True)
            try:
                with stays:
                    await relay.run(exchange.path, exchange.query)
            finally:
                if follows:
                    client.follow(follows=False)


def worker_settings(app: App, parent: ParentPool) -> Settings:
    """What the server of a worker goes by under that configuration."""
    return replace(settings_of(app), serve=WorkerEndpoints(app, parent).serve)
