"""What answers a request: one file per noun, and here the table that leads to them.

Thread `loop`; a handler thread is borrowed for endpoints of our own. An endpoint answers its exchange exactly once, or
raises HttpError or ClientGone before it has begun.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from llamaswap_lib.endpoints import about, config, events, logs, models, page, plan, profiles, proxied, queue, runs
from llamaswap_lib.routing.api_keys import brings_basic, check_key, needs_key
from llamaswap_lib.routing.cors import PRIVATE, reader_of
from llamaswap_lib.routing.cross_site import is_unexplained, refuse_other_origins, refuse_other_sites
from llamaswap_lib.routing.loop_detection import refuse_loop
from llamaswap_lib.routing.routes import Endpoint, Route, find_route
from llamaswap_lib.server.answers import answer_not_found, answer_preflight, answer_wrong_method
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.wire.heads import RequestHead

Serve = Callable[[Exchange, Route], None]
Refuse = Callable[[RequestHead], None]


def _operation(endpoint: Serve, ask_first: Serve | None = None, refuse: Refuse = refuse_other_sites) -> Serve:
    """An endpoint that changes something for everybody: not for pages of other sites, unless they bring a key.

    One that is a GET has `ask_first`, for browsers that do not say which page has sent them.
    """

    def serve_own_pages(exchange: Exchange, route: Route) -> None:
        # With keys it has brought one, or would not be here; but browsers bring that of Basic whoever asks.
        if not exchange.app.config.api_keys or brings_basic(exchange.head):
            refuse(exchange.head)
            if ask_first is not None and is_unexplained(exchange.head):
                ask_first(exchange, route)
                return
        endpoint(exchange, route)

    return serve_own_pages


PROXIED: dict[Endpoint, Callable[[Exchange, Route], Awaitable[None]]] = {
    Endpoint.MODEL: proxied.serve_model,
    Endpoint.MODEL_OR_ONLY: proxied.serve_model_or_only,
    Endpoint.METRICS: proxied.serve_metrics,
    Endpoint.UPSTREAM: proxied.serve_upstream,
    Endpoint.COMFYUI: proxied.serve_comfyui,
}
# What never waits for anything, and takes no time: it needs no handler thread.
_QUICK = frozenset(
    {
        *(Endpoint.PREFLIGHT, Endpoint.METHOD_NOT_ALLOWED, Endpoint.REDIRECT, Endpoint.CLEAN_PATH),
        Endpoint.NOT_FOUND,
        *(Endpoint.HEALTH, Endpoint.VERSION),
    }
)
ENDPOINTS: dict[Endpoint, Serve] = {
    Endpoint.PREFLIGHT: lambda exchange, _: answer_preflight(exchange),
    Endpoint.NOT_FOUND: lambda exchange, _: answer_not_found(exchange),
    Endpoint.METHOD_NOT_ALLOWED: lambda exchange, route: answer_wrong_method(exchange, route.allow),
    Endpoint.REDIRECT: lambda exchange, route: exchange.redirect(route.status, route.argument),
    Endpoint.CLEAN_PATH: lambda exchange, route: exchange.redirect(307, route.argument + exchange.query),
    Endpoint.UI: page.serve_page,
    Endpoint.HEALTH: about.serve_health,
    Endpoint.VERSION: about.serve_version,
    Endpoint.RELOAD: _operation(config.serve_reload),
    Endpoint.MODEL_LIST: models.serve_list,
    Endpoint.MODEL_ENTRY: models.serve_entry,
    Endpoint.RUNNING: runs.serve_running,
    Endpoint.UNLOAD_EVERY: _operation(runs.serve_unload_every, runs.serve_unload_button),
    Endpoint.UNLOAD_ALL: _operation(runs.serve_unload_all),
    Endpoint.UNLOAD_ONE: _operation(runs.serve_unload_one),
    Endpoint.LOAD_ONE: _operation(runs.serve_load_one),
    Endpoint.PLAN: plan.serve_plan,
    Endpoint.QUEUE: queue.serve_queue,
    Endpoint.CONFIG: config.serve_config,
    Endpoint.CONFIG_CHECK: _operation(config.serve_check),
    Endpoint.CONFIG_FILES: config.serve_files,
    Endpoint.CONFIG_FILE: config.serve_file,
    Endpoint.CONFIG_SAVE: _operation(config.serve_save, refuse=refuse_other_origins),
    Endpoint.PROFILES: profiles.serve_list,
    Endpoint.ACTIVE_PROFILE: _operation(profiles.serve_activation),
    Endpoint.EVENTS: events.serve_events,
    Endpoint.LOGS: logs.serve_history,
    Endpoint.LOG_STREAM: logs.serve_stream,
    Endpoint.LOG_STREAM_OF: logs.serve_stream,
}


def route_of(exchange: Exchange) -> Route:
    """Who answers the exchange; raises Unauthorized, and LoopDetected."""
    refuse_loop(exchange.head, exchange.app.ourselves.name, exchange.app.limits.hops)
    route = find_route(exchange.head.method, exchange.path)
    keys = exchange.app.config.api_keys
    if exchange.reader:
        exchange.reader = reader_of(route.endpoint, exchange.head, exchange.app.hosts, has_keys=bool(keys))
    if keys and needs_key(route, exchange.path):
        check_key(exchange.head, keys)
    return route


async def serve(exchange: Exchange) -> None:
    """Answer the exchange; raises HttpError or ClientGone."""
    memo = exchange.memo
    route = memo.route
    if not isinstance(route, Route):
        memo.route = route = route_of(exchange)
        memo.reader = exchange.reader
    if route.endpoint in PRIVATE and not exchange.app.config.api_keys:
        exchange.app.hosts.refuse_foreign(exchange.head)
    if (proxy := PROXIED.get(route.endpoint)) is not None:
        await proxy(exchange, route)
        return
    endpoint = ENDPOINTS[route.endpoint]
    if route.endpoint in _QUICK:
        endpoint(exchange, route)
    else:
        await exchange.in_thread(lambda: endpoint(exchange, route))
