"""Requests that a model answers: named in the body, the query or the path.

Thread `loop`, as a part of the life of the client's connection; a handler thread is borrowed to read what stands in a
large body. Order of work: head, model, the active profile's pin, selector, alias, filters, then the lease. Under
/upstream there are no selectors, and the body is not looked at.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from urllib.parse import unquote

from llamaswap_lib.activity.in_flight import Caller, InFlight
from llamaswap_lib.app import App
from llamaswap_lib.config.schema import Config, Model
from llamaswap_lib.endpoints.metrics import serve_metrics
from llamaswap_lib.errors import Conflict, NotFound
from llamaswap_lib.fleet.fail_over import FailOver
from llamaswap_lib.printable import bounded
from llamaswap_lib.proxy.dispatch import Dispatcher, Order
from llamaswap_lib.routing.api_keys import given_key
from llamaswap_lib.routing.loop_detection import is_sent_on
from llamaswap_lib.routing.model_name import (
    ONLY_NAME,
    Named,
    UnknownName,
    find_model,
    find_upstream,
    is_json,
    names_model,
    no_model,
    rename_in_query,
)
from llamaswap_lib.routing.names import Reach
from llamaswap_lib.routing.remote_model import Remote
from llamaswap_lib.routing.routes import Route, is_model_path, slash_redirect_status
from llamaswap_lib.routing.selectors import NO_CHOICE, Choice
from llamaswap_lib.routing.sticky import NAMES, key_of
from llamaswap_lib.server.access_log import told_ip
from llamaswap_lib.server.decoded_body import decoded, receive_raw
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.server.request_body import OutgoingBody, RequestBody, edited
from llamaswap_lib.wire.json_edit import is_quick

MOST_QUICK_BYTES = 16_384  # a larger body may take long enough to be read for others to notice
MOST_NAMED = 5  # of the models that run, in an error
MOST_TEXT_BYTES = 1_024  # of what clients write, in what is kept of requests
UP = ("starting", "ready")  # states of runs that are asked
MAX_MATCHED_CHARACTERS = 8192  # of a path, by upstream.ignorePaths: it bounds what a path may cost


class Proxied:
    """What a model answers, under one configuration."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._destinations = app.destinations
        self._pools = app.config.pools
        self._fallbacks = app.selectors.fallbacks
        self._names = NAMES if app.selectors.sticky else ONLY_NAME  # what is read of bodies that are large
        self._has_profiles = bool(app.config.profiles)
        self._dispatcher = Dispatcher(app.controller, app.pool, app.logs.model, app.peers)
        self._fail_over = FailOver(self._dispatcher, app.peers.budget)
        self._most_quick_bytes = min(MOST_QUICK_BYTES, app.limits.max_json_bytes, app.limits.max_body_bytes)

    def serve_model(self, exchange: Exchange, route: Route) -> Awaitable[None]:
        """A model route: POST names the model in the body, GET in the query."""
        small = exchange.client.requests.small_body(self._most_quick_bytes)
        if small is None or (small and "content-encoding" in exchange.head.first):
            return self._serve_large(exchange, route, small)
        try:
            order = self._order_of(exchange, route, RequestBody(small))
        except UnknownName as unknown:
            return self._refuse(exchange, unknown)
        if order.choice is NO_CHOICE:
            return self._dispatcher.relay(exchange, order)
        return self._relay_chosen(exchange, order)

    async def _relay_chosen(self, exchange: Exchange, order: Order) -> None:
        """To what a selector has chosen, which is busy with it meanwhile."""
        with order.choice:
            await self._fail_over.relay(exchange, order)

    async def _refuse(self, exchange: Exchange, unknown: UnknownName) -> None:
        """Raise the error for a name that leads nowhere; to find those that are near takes a while."""
        names, pins = self._app.names, self._app.profiles.pins()
        raise await exchange.in_thread(lambda: names.unknown(unknown.name, Reach.ANY, pins))

    async def _serve_large(self, exchange: Exchange, route: Route, small: bytes | None) -> None:
        """The same for a body that has to be waited for, or takes its time to be understood."""
        with RequestBody(small) if small is not None else await self._receive_content(exchange) as raw:
            await self._in_force()._serve_received(exchange, route, raw)

    def _in_force(self) -> Proxied:
        """The same under the configuration that is in force now."""
        app = self._app.latest.app
        return self if app is self._app else Proxied(app)

    async def _serve_received(self, exchange: Exchange, route: Route, raw: RequestBody) -> None:
        """Serve a request whose body may have taken its time: a name may be another's by now."""
        try:
            if "content-encoding" not in exchange.head.first and _is_quick(exchange, raw):
                body, order = raw, self._order_of(exchange, route, raw)
            else:
                body, order = await exchange.in_thread(lambda: self._read_order(exchange, route, raw))
        except UnknownName as unknown:
            await self._refuse(exchange, unknown)
            return
        with body:
            await self._relay_chosen(exchange, order)

    async def serve_model_or_only(self, exchange: Exchange, route: Route) -> None:
        """GET /props, /slots: clients of llama.cpp, which has one model, name none. Such a question neither loads a
        model nor keeps it loaded: they ask it again and again."""
        if names_model(exchange.query):
            await self.serve_model(exchange, route)
            return
        with await exchange.receive_body() as body:
            model = self._only_running()
            self._begin(exchange, model.id, route.upstream_path, model)
            order = Order(model, route.upstream_path, exchange.query, body, never_loads=True)
            await self._dispatcher.relay(exchange, order)

    def _only_running(self) -> Model:
        """The one model that runs; raises NotFound if there are several, or none."""
        models = self._app.config.models
        running = {run.model for run in self._app.controller.runs() if run.state in UP} & models.keys()
        if len(running) == 1:
            return models[running.pop()]
        shown = ", ".join(sorted(running)[:MOST_NAMED]) + (", ..." if len(running) > MOST_NAMED else "")
        which = f"{len(running)} models run ({shown})" if running else "no model runs"
        raise NotFound(f"no model id could be identified: {which}; say which one with ?model=NAME")

    async def serve_metrics(self, exchange: Exchange, route: Route) -> None:
        """GET /metrics?model=: those of a model's server."""
        if names_model(exchange.query):
            await self.serve_model(exchange, route._replace(upstream_path=exchange.path))
        else:
            await exchange.in_thread(lambda: serve_metrics(self._app, exchange))

    async def serve_upstream(self, exchange: Exchange, route: Route) -> None:
        """/upstream/{model}/{path}, any method."""
        app = self._app
        names, pins = app.names, app.profiles.pins()
        try:
            found = find_upstream(route.upstream_path, self._resolve, names.most_slashes(pins))
        except UnknownName as unknown:
            name, _, path = unknown.name, *route.upstream_path.partition("/")[1:]
            self._begin(exchange, name, f"/{path}", None, is_recorded=is_model_path(f"/{path}"))
            raise await exchange.in_thread(lambda: names.unknown(name, Reach.MODELS, pins)) from None
        if not found.path:
            exchange.redirect(slash_redirect_status(exchange.head.method), f"{exchange.path}/{exchange.query}")
            return
        model = app.destinations[found.model].model
        is_local = isinstance(model, Model)
        trace = self._begin(exchange, found.model, found.path, model, is_recorded=is_model_path(found.path))
        if is_local and _never_loads(app.config, found.path) and not app.controller.is_ready(model.id):
            raise Conflict(f"model {model.id} is not loaded; path matches upstream.ignorePaths")
        await self._pass_through(exchange, model, found.path, trace)

    async def serve_comfyui(self, exchange: Exchange, route: Route) -> None:
        """/comfyui/{path}, any method: a local model of a fixed name, which only the page itself may load."""
        model = self._app.config.models.get(route.argument)
        if model is None:
            raise NotFound(f"local model {route.argument} not found")
        if route.upstream_path != "/" and not self._app.controller.is_ready(model.id):
            raise Conflict(f"model {model.id} is not loaded; only /comfyui/ can start it")
        await self._pass_through(exchange, model, route.upstream_path)

    async def _pass_through(
        self, exchange: Exchange, model: Model | Remote, path: str, trace: InFlight | None = None
    ) -> None:
        """Have the model serve the request as it is: its body is not looked at."""
        with await exchange.receive_body() as body:
            if trace is not None:
                trace.body, trace.request_bytes = body, body.size_bytes
            exchange.is_passthrough = True
            await self._dispatcher.relay(exchange, Order(model, path, exchange.query, body))

    def _resolve(self, name: str) -> str | None:
        """The name of the model that `name` leads to now."""
        name = self._app.profiles.pins().get(name, name)
        return name if name in self._app.destinations else None

    def _order_of(self, exchange: Exchange, route: Route, body: RequestBody, moved: Choice = NO_CHOICE) -> Order:
        """Where a request to a model route goes, and as what; raises HttpError and UnknownName.

        The choice that it holds has to be given back, also where nothing is relayed. `moved`: a choice that was made
        before, and has moved on.
        """
        head, query, choice = exchange.head, exchange.query, moved
        named = find_model(head.method, head.first.get("content-type", ""), query, body, self._names)
        name, destination = named.name, None
        if choice is NO_CHOICE:
            if self._has_profiles:
                name = self._app.profiles.pins().get(name, name)
                if not name:
                    raise no_model()
            destination = None if name in self._pools else self._destinations.get(name)
            if destination is None:
                choice = self._choose(exchange, route, name, named, body)
            elif name in self._fallbacks.by_name:
                choice = Choice(name, fallback=self._fallbacks.of(name, (name,), is_sent_on=is_sent_on(head)))
        try:
            if destination is None:
                name, destination = choice.target, self._destinations[choice.target]
            model = destination.model
            trace = (
                self._begin(exchange, name, route.upstream_path, model)
                if moved is NO_CHOICE
                else self._move(exchange, name, model)
            )
            sent_name = destination.sent_name or (name if name != named.name else "")
            outgoing: OutgoingBody = body
            if sent_name and head.method in ("GET", "HEAD"):
                query = rename_in_query(query, sent_name)
            if destination.body_filter and named.json:
                outgoing = edited(body, destination.body_filter.edits(named, sent_name))
            elif sent_name:
                outgoing = edited(body, named.edits(sent_name))
        except BaseException:
            if moved is NO_CHOICE:
                choice.give_back()
            raise
        trace.body, trace.request_bytes = outgoing, outgoing.size_bytes
        again = partial(self._order_of, exchange, route, body, choice) if choice.rest or choice.fallback else None
        return Order(model, route.upstream_path, query, outgoing, choice, again)

    def _choose(self, exchange: Exchange, route: Route, name: str, named: Named, body: RequestBody) -> Choice:
        """The target of the selector `name`; raises UnknownName where there is none."""
        selectors = self._app.selectors
        if name not in selectors:
            self._begin(exchange, named.name, route.upstream_path, None).request_bytes = body.size_bytes
            raise UnknownName(named.name)
        exchange.selector = name
        sticky = selectors.sticky.get(name)
        key = key_of(sticky, name, self._caller_of(exchange).session, named) if sticky else ""
        return selectors.choose(name, is_sent_on=is_sent_on(exchange.head), key=key)

    def _begin(
        self, exchange: Exchange, name: str, path: str, model: Model | Remote | None, *, is_recorded: bool = True
    ) -> InFlight:
        """From here on the request is in flight; `model` is None where `name` leads to none. Either thread.

        `is_recorded`: there is a row of it, if it is a POST.
        """
        app, head, caller = self._app, exchange.head, exchange.memo.caller
        if not isinstance(caller, Caller):  # else it is known already
            caller = self._caller_of(exchange)
        table = app.feed.table
        exchange.trace = trace = InFlight(
            table,
            exchange.client,
            head,
            caller,
            exchange.client.requests.started,
            model.id if isinstance(model, Model) else name if model else bounded(name, MOST_TEXT_BYTES),
            path if len(path) < MOST_TEXT_BYTES else bounded(path, MOST_TEXT_BYTES),
            is_recorded=is_recorded and head.method == "POST",
        )
        if exchange.selector:
            trace.selector = exchange.selector
        if isinstance(model, Model):
            trace.priorities = app.config.routing.fifo_priority
        else:
            trace.is_local = False
        if table.on_begin is not None and trace.is_recorded:
            table.on_begin(trace)
        return trace

    def _move(self, exchange: Exchange, name: str, model: Model | Remote) -> InFlight:
        """The request in flight goes to this model now."""
        trace = exchange.trace
        assert isinstance(trace, InFlight), "it has begun"
        trace.selector = trace.selector or trace.model  # a model whose fallback answers has chosen that
        trace.is_local = isinstance(model, Model)
        trace.model = model.id if isinstance(model, Model) else name
        trace.priorities = self._app.config.routing.fifo_priority if trace.is_local else {}
        return trace

    def _caller_of(self, exchange: Exchange) -> Caller:
        app, first, known = self._app, exchange.head.first, exchange.memo.caller
        if isinstance(known, Caller):
            return known
        names = app.config.ui.activity.session_id
        session = next((value for name in names if (value := first.get(name.lower()))), "")
        ip, session = bounded(told_ip(exchange), MOST_TEXT_BYTES), bounded(session, MOST_TEXT_BYTES)
        exchange.memo.caller = caller = Caller(session, app.key_tags.tag(given_key(exchange.head)), ip)
        return caller

    async def _receive_content(self, exchange: Exchange) -> RequestBody:
        """The body as it was sent; JSON has to be in memory to be understood, so it may be less long."""
        most_bytes, too_long = self._bounds(exchange)
        return await receive_raw(exchange, most_bytes, too_long)

    def _read_order(self, exchange: Exchange, route: Route, raw: RequestBody) -> tuple[RequestBody, Order]:
        """The body decoded, and where the request goes; handler thread."""
        body = decoded(exchange, raw, *self._bounds(exchange))
        try:
            return body, self._order_of(exchange, route, body)
        except BaseException:
            body.close()
            raise

    def _bounds(self, exchange: Exchange) -> tuple[int, str]:
        """How long the body may be, decoded, and what is said of a longer one."""
        limits = self._app.limits
        if is_json(exchange.head.get("content-type") or "") and limits.max_json_bytes < limits.max_body_bytes:
            return limits.max_json_bytes, f"a JSON body may have {limits.max_json_bytes} bytes at most"
        return limits.max_body_bytes, ""


def _never_loads(config: Config, path: str) -> bool:
    """Whether the path matches upstream.ignorePaths: of a long one its beginning and its end, where patterns look."""
    text = unquote(path)
    if len(text) > MAX_MATCHED_CHARACTERS:
        half = MAX_MATCHED_CHARACTERS // 2
        text = text[:half] + text[-half:]
    return any(pattern.search(text) for pattern in config.ignore_patterns)


def _is_quick(exchange: Exchange, body: RequestBody) -> bool:
    """Whether to read what stands in it takes less time than to have a handler thread do that."""
    if body.size_bytes <= MOST_QUICK_BYTES:
        return True
    is_text = body.is_in_memory and is_json(exchange.head.get("content-type") or "")
    return is_text and is_quick(body.read())
