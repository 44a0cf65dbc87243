"""What answers a request: one file per noun, and here the table that leads to them.

Thread `loop`; a handler thread is borrowed for endpoints of our own. An endpoint answers its exchange exactly once, or
raises HttpError or ClientGone before it has begun.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from functools import partial

from llamaswap_lib.app import App
from llamaswap_lib.endpoints import (
    about,
    activity,
    announce,
    captures,
    clients,
    config,
    events,
    hardware,
    inflight,
    logs,
    memory,
    models,
    page,
    peers,
    performance,
    plan,
    profiles,
    queue,
    runs,
)
from llamaswap_lib.endpoints.at_peers import AtPeers, PeerOperations
from llamaswap_lib.endpoints.proxied import Proxied
from llamaswap_lib.routing.api_keys import brings_basic, check_key, needs_key
from llamaswap_lib.routing.cors import PRIVATE, reader_of
from llamaswap_lib.routing.cross_site import is_unexplained, refuse_other_origins, refuse_other_sites
from llamaswap_lib.routing.loop_detection import refuse_loop
from llamaswap_lib.routing.routes import Endpoint, Route, find_route
from llamaswap_lib.server.answers import answer_not_found, answer_preflight, answer_wrong_method
from llamaswap_lib.server.exchange import Exchange, Settings
from llamaswap_lib.wire.heads import RequestHead

Serve = Callable[[App, Exchange, Route], AtPeers | None]  # it has answered, but where it says what peers are asked
Refuse = Callable[[RequestHead], None]


def _operation(endpoint: Serve, ask_first: Serve | None = None, refuse: Refuse = refuse_other_sites) -> Serve:
    """An endpoint that changes something for everybody: not for pages of other sites, unless they bring a key.

    One that is a GET has `ask_first`, for browsers that do not say which page has sent them.
    """

    def serve_own_pages(app: App, exchange: Exchange, route: Route) -> AtPeers | None:
        # With keys it has brought one, or would not be here; but browsers bring that of Basic for any page.
        if not app.config.api_keys or brings_basic(exchange.head):
            refuse(exchange.head)
            if ask_first is not None and is_unexplained(exchange.head):
                return ask_first(app, exchange, route)
        return endpoint(app, exchange, route)

    return serve_own_pages


PROXIED: dict[Endpoint, Callable[[Proxied, Exchange, Route], Awaitable[None]]] = {
    Endpoint.MODEL: Proxied.serve_model,
    Endpoint.MODEL_OR_ONLY: Proxied.serve_model_or_only,
    Endpoint.METRICS: Proxied.serve_metrics,
    Endpoint.UPSTREAM: Proxied.serve_upstream,
    Endpoint.COMFYUI: Proxied.serve_comfyui,
}
# What never waits for anything, and takes no time: it needs no handler thread.
QUICK = frozenset(
    {
        *(Endpoint.PREFLIGHT, Endpoint.METHOD_NOT_ALLOWED, Endpoint.REDIRECT, Endpoint.CLEAN_PATH),
        Endpoint.NOT_FOUND,
        *(Endpoint.HEALTH, Endpoint.VERSION),
    }
)
# What is done while its client stays: one that has only ended its direction counts as having left.
WHILE_CLIENT_STAYS = frozenset({Endpoint.LOAD_ONE, Endpoint.EVENTS, Endpoint.LOG_STREAM, Endpoint.LOG_STREAM_OF})
ENDPOINTS: dict[Endpoint, Serve] = {
    Endpoint.PREFLIGHT: lambda _app, exchange, _route: answer_preflight(exchange),
    Endpoint.NOT_FOUND: lambda _app, exchange, _route: answer_not_found(exchange),
    Endpoint.METHOD_NOT_ALLOWED: lambda _app, exchange, route: answer_wrong_method(exchange, route.allow),
    Endpoint.REDIRECT: lambda _app, exchange, route: exchange.redirect(route.status, route.argument),
    Endpoint.CLEAN_PATH: lambda _app, exchange, route: exchange.redirect(307, route.argument + exchange.query),
    Endpoint.UI: page.serve_page,
    Endpoint.HEALTH: about.serve_health,
    Endpoint.VERSION: about.serve_version,
    Endpoint.RELOAD: _operation(config.serve_reload),
    Endpoint.UPGRADE: _operation(about.serve_upgrade),
    Endpoint.MODEL_LIST: models.serve_list,
    Endpoint.MODEL_ENTRY: models.serve_entry,
    Endpoint.RUNNING: runs.serve_running,
    Endpoint.UNLOAD_EVERY: _operation(runs.serve_unload_every, runs.serve_unload_button),
    Endpoint.UNLOAD_ALL: _operation(runs.serve_unload_all),
    Endpoint.UNLOAD_ONE: _operation(runs.serve_unload_one),
    Endpoint.LOAD_ONE: _operation(runs.serve_load_one),
    Endpoint.PLAN: plan.serve_plan,
    Endpoint.CLIENTS: clients.serve_clients,
    Endpoint.QUEUE: queue.serve_queue,
    Endpoint.PEERS: peers.serve_peers,
    Endpoint.CONFIG: config.serve_config,
    Endpoint.CONFIG_CHECK: _operation(config.serve_check),
    Endpoint.CONFIG_FILES: config.serve_files,
    Endpoint.CONFIG_FILE: config.serve_file,
    Endpoint.CONFIG_PREVIEW: _operation(config.serve_preview, refuse=refuse_other_origins),
    Endpoint.CONFIG_SAVE: _operation(config.serve_save, refuse=refuse_other_origins),
    Endpoint.PROFILES: profiles.serve_list,
    Endpoint.ACTIVE_PROFILE: _operation(profiles.serve_activation),
    Endpoint.ACTIVITY: activity.serve_rows,
    Endpoint.ACTIVITY_CLEAR: _operation(activity.serve_clear),
    Endpoint.ACTIVITY_STATS: activity.serve_stats,
    Endpoint.ACTIVITY_FACETS: activity.serve_facets,
    Endpoint.ACTIVITY_SERIES: activity.serve_series,
    Endpoint.CAPTURE: captures.serve_capture,
    Endpoint.PERFORMANCE: performance.serve_performance,
    Endpoint.HARDWARE: hardware.serve_hardware,
    Endpoint.MEMORY: memory.serve_memory,
    Endpoint.IN_FLIGHT: inflight.serve_list,
    Endpoint.ANNOUNCE: announce.serve_announcement,
    Endpoint.CANCEL: _operation(inflight.serve_cancel),
    Endpoint.EVENTS: events.serve_events,
    Endpoint.LOGS: logs.serve_history,
    Endpoint.LOG_STREAM: logs.serve_stream,
    Endpoint.LOG_STREAM_OF: logs.serve_stream,
}


class Endpoints:
    """All endpoints, under one configuration."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._has_keys = bool(app.config.api_keys)
        proxied = Proxied(app)
        self._peer_operations = PeerOperations(app)
        self._proxied = {endpoint: partial(serve, proxied) for endpoint, serve in PROXIED.items()}

    def serve(self, exchange: Exchange) -> Awaitable[None]:
        """Have the exchange answered by what is returned; that, and this, raise HttpError and ClientGone.

        The same that answers it answers all whose head is the same.
        """
        route = self._route_of(exchange)
        memo = exchange.memo
        memo.serve = serve = partial(self._proxied.get(route.endpoint, self._serve_own), route=route)
        memo.reader = exchange.reader
        return serve(exchange)

    async def _serve_own(self, exchange: Exchange, route: Route) -> None:
        """The same where no model answers."""
        if route.endpoint in PRIVATE and not self._has_keys:
            self._app.hosts.refuse_foreign(exchange.head)
        endpoint = ENDPOINTS[route.endpoint]
        if route.endpoint in QUICK:
            endpoint(self._app, exchange, route)
            return
        is_while_client_stays = route.endpoint in WHILE_CLIENT_STAYS
        with nullcontext() if is_while_client_stays else exchange.client.awaiting_answer():
            asked = await exchange.in_thread(partial(endpoint, self._app, exchange, route))
            if asked is not None:
                await self._peer_operations.serve(exchange, asked)

    def _route_of(self, exchange: Exchange) -> Route:
        """Who answers the exchange; raises Unauthorized, and LoopDetected."""
        app, head = self._app, exchange.head
        refuse_loop(head, app.ourselves.name, app.limits.hops)
        route = find_route(head.method, exchange.path)
        keys = app.config.api_keys
        if exchange.reader:
            exchange.reader = reader_of(route.endpoint, head, app.hosts, has_keys=self._has_keys)
        if keys and needs_key(route, exchange.path):
            check_key(head, keys)
        return route


def settings_of(app: App) -> Settings:
    """What the server goes by under that configuration."""
    return Settings(Endpoints(app).serve, app.limits, app.logs.log, app.ourselves.via)
