"""How a request reaches the model that it is for: inside a lease, past it, or at a peer.

Thread `loop`, as a part of the life of the client's connection; a handler thread is borrowed to wait for a model. A
process that dies before any byte of the answer costs the request nothing but time: it is tried once more, on the next
process. Whatever was taken is given back on the one path out of here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from llamaswap_lib.config.schema import Model
from llamaswap_lib.errors import BadGateway, Conflict, HttpError, LoadFailed, RunNotDead, ServiceUnavailable
from llamaswap_lib.proxy import peer_headers as peers
from llamaswap_lib.proxy.answer_body import Remainder
from llamaswap_lib.proxy.connection import UpstreamConnection
from llamaswap_lib.proxy.loading_stream import LoadingStream, is_told
from llamaswap_lib.proxy.no_answer import Heard, NoAnswer, NoConnection, SaidNo
from llamaswap_lib.proxy.pool import Pool
from llamaswap_lib.proxy.relay import Relay
from llamaswap_lib.proxy.retry_after import shortened
from llamaswap_lib.routing.remote_model import Remote
from llamaswap_lib.routing.selectors import NO_CHOICE, Choice
from llamaswap_lib.runtime.control.controller import Controller
from llamaswap_lib.runtime.control.live_run import Upstream
from llamaswap_lib.runtime.logs.monitor import LogMonitor
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.server.request_body import OutgoingBody
from llamaswap_lib.server.trace import Trace
from llamaswap_lib.wire.cors_headers import unsaid
from llamaswap_lib.wire.heads import ResponseHead

KEY_REFUSED = 401  # a 403 may be about what is in the request


@dataclass(slots=True)  # it takes a third of the time to make that a named tuple takes
class Order:
    """What a request comes to: which model it is for, and what is sent to it."""

    model: Model | Remote
    path: str
    query: str  # with its question mark, or ''
    body: OutgoingBody
    choice: Choice = NO_CHOICE  # of the selector that led to the model
    again: Callable[[], Order] | None = None  # the same for the target that the choice has moved on to
    is_no: Callable[[int, Mapping[str, str]], bool] | None = None  # of an answer: another place is asked then
    never_loads: bool = False  # nor takes a place: it is for a model that is ready, or fails
    is_log: bool = False  # a peer's, which its client follows: it ends with the program
    is_heard: bool = False  # the answer is not passed on: Heard is raised


class PeerWatch(Protocol):
    """What is known of peers, and who waits for an answer of one. Loop thread."""

    def is_llamaswap(self, name: str) -> bool:
        """Whether it was seen to be one."""

    def note_refused(self, name: str, error: str) -> None:
        """It takes no connection."""

    def add(self, address: str, relay: Relay, *, is_log: bool = False) -> None:
        """A request is sent there: `relay.cut` is called where the peer is gone, and of a log when the program ends."""

    def remove(self, address: str, relay: Relay) -> None:
        """It has ended."""


class Dispatcher:
    """The way to the models, for all requests."""

    def __init__(
        self, controller: Controller, pool: Pool, monitor_of: Callable[[str], LogMonitor], watch: PeerWatch
    ) -> None:
        """`monitor_of` has what a model prints; `watch` knows the peers."""
        self._controller = controller
        self._pool = pool
        self._monitor_of = monitor_of
        self._watch = watch

    def relay(self, exchange: Exchange, order: Order) -> Awaitable[None]:
        """What has the model serve the exchange, a local one once it is ready; raises HttpError or ClientGone."""
        model = order.model
        exchange.model = model.id
        if isinstance(model, Remote):
            return self._relay_to_peer(exchange, order, model)
        if order.never_loads:
            why = "is not ready; only a request that names it, with ?model=, waits for it"
            return self._relay_past(exchange, order, model, Conflict(f"model {model.id} {why}"))
        if model.compat.ignore_websockets and exchange.head.upgrade == "websocket":
            why = "is not loaded; WebSockets do not load it (compat.ignoreWebsockets)"
            return self._relay_past(exchange, order, model, Conflict(f"model {model.id} {why}"))
        if model.send_loading_state and is_told(exchange):
            return self._relay_telling(exchange, order, model)
        return self._relay_inside(exchange, order, model, None)

    async def _relay_to_peer(self, exchange: Exchange, order: Order, model: Remote) -> None:
        make = _LogRelay if order.is_log else Relay
        relay = make(self._pool, exchange, model, model.key, model.proxy, order.body)
        is_llamaswap = self._watch.is_llamaswap(model.peer)
        if is_llamaswap:
            relay.timeouts = model.patient
        relay.look = partial(_look_at_peers_answer, relay, order, model, is_llamaswap)
        self._watch.add(model.proxy, relay, is_log=order.is_log)
        try:
            await relay.run(order.path, peers.query_for(model, order.query))
        except NoConnection as error:
            self._watch.note_refused(model.peer, error.message)
            raise
        finally:
            self._watch.remove(model.proxy, relay)

    async def _relay_telling(self, exchange: Exchange, order: Order, model: Model) -> None:
        """The same, and the client is told how far that is."""
        stream = LoadingStream(self._controller, self._monitor_of, exchange, model, order.body)
        try:
            await self._relay_inside(exchange, order, model, stream)
        except HttpError as error:
            if not exchange.has_answered or stream.has_gone_on:
                raise
            await stream.fail(error)

    async def _relay_inside(self, exchange: Exchange, order: Order, model: Model, stream: LoadingStream | None) -> None:
        """The same inside a lease; `stream` is what the client is told while it waits.

        Once the upstream is done the place is given back, though the client may have a part of it still to read.
        """
        lease = self._controller.lease(model.id, exchange.wait_for if stream is None else stream.wait)
        upstream: Upstream | None = lease.enter_now()
        if upstream is None:
            upstream = await self._wait(exchange, model, lease.__enter__)
        no_answer: NoAnswer | None = None
        rest: Remainder | None = None
        try:
            try:
                while True:
                    relay = Relay(self._pool, exchange, model, upstream.run_id, upstream.proxy, order.body)
                    relay.place = upstream.run_id
                    if order.is_no is not None:
                        relay.look = partial(_look_at_own_answer, order)
                    try:
                        if stream is None or not exchange.status:
                            await relay.run(order.path, order.query)
                        else:
                            await stream.go_on(relay, order.path, order.query)
                        rest = relay.rest
                        break
                    except NoAnswer as error:
                        if no_answer is not None or (exchange.status and not error.was_cut):
                            raise
                        no_answer = error
                    try:
                        move_on = partial(lease.move_on, was_sent=no_answer.was_sent)
                        upstream = await self._wait(exchange, model, move_on)
                    except RunNotDead:
                        raise no_answer from None
                    exchange.trace.retries += 1
            finally:
                lease.release()
            if rest is not None:
                await rest.send()
        finally:
            if rest is not None:
                rest.close()
            no_answer = None  # which keeps all that it went through

    async def _wait(self, exchange: Exchange, model: Model, enter: Callable[[], Upstream]) -> Upstream:
        """What `enter` returns, on a handler thread; how long that took, and why, is noted."""
        clock = exchange.client.loop.clock
        since, is_load_failed = clock(), False
        try:
            return await exchange.in_thread(enter)
        except LoadFailed:
            is_load_failed = True
            raise
        finally:
            self._note_wait(exchange.trace, model.id, since, clock(), is_load_failed=is_load_failed)

    def _note_wait(self, trace: Trace, model: str, since: float, now: float, *, is_load_failed: bool) -> None:
        """Part the wait into loading and all else. Of a load that has failed nothing is known, so it was all of it."""
        behind = self._controller.behind(model, since)
        load = now - since if is_load_failed and not behind else 0.0
        for run in self._controller.runs():
            if run.model == model:
                ready_at = now if run.ready_at is None else run.ready_at
                load = max(load, min(ready_at, now) - max(run.loading_since, since))
        trace.load_seconds += load
        trace.queue_seconds += max(0.0, now - since - load)
        trace.behind = behind or trace.behind

    async def _relay_past(self, exchange: Exchange, order: Order, model: Model, refusal: Conflict) -> None:
        """To the model if it is ready, without a place in it, so that this neither loads it nor keeps it."""
        upstream = self._controller.ready_upstream(model.id)
        if upstream is None:
            raise refusal
        relay = Relay(self._pool, exchange, model, upstream.run_id, upstream.proxy, order.body)
        await relay.run(order.path, order.query)


class _LogRelay(Relay):
    """One that may be ended while there is no connection yet: the program does not wait for what follows a log."""

    _is_over = False

    def cut(self, *, if_silent: bool) -> None:
        self._is_over = not if_silent
        super().cut(if_silent=if_silent)

    async def _connect(self) -> UpstreamConnection:
        connection = await super()._connect()
        if self._is_over:
            connection.close()
            raise ServiceUnavailable("the server is shutting down")
        return connection


async def _look_at_own_answer(order: Order, head: ResponseHead, data: bytes) -> tuple[ResponseHead, bytes]:
    """The answer of a model of ours, which is passed on as it is; raises SaidNo where another place is asked."""
    if head.status >= 400:
        _check_no(order, head)
    return head, data


async def _look_at_peers_answer(
    relay: Relay, order: Order, model: Remote, is_llamaswap: bool, head: ResponseHead, data: bytes
) -> tuple[ResponseHead, bytes]:
    """The answer of a peer as it is passed on; raises where it is not: SaidNo, BadGateway and Heard."""
    if order.is_log:
        head = _for_our_pages(relay, head)
    if head.status >= 400:
        _check_no(order, head)
        _check_key(relay, model, head)
    if order.is_heard:
        raise Heard(head.status)
    if head.status >= 400 and is_llamaswap:
        return await _with_short_wait(relay, head, data)
    return head, data


def _check_no(order: Order, head: ResponseHead) -> None:
    """Raises SaidNo where another place is asked after this error."""
    if order.is_no is not None and order.is_no(head.status, head.first):
        raise SaidNo(f"{order.model.id} is answered with {head.status}")


def _check_key(relay: Relay, model: Remote, head: ResponseHead) -> None:
    """Raises BadGateway where it is our key that the peer refuses; a client gets to know what is said of its own."""
    if head.status == KEY_REFUSED and (model.api_key or not peers.brings_key(relay.message)):
        raise BadGateway(f"the peer {model.peer} refuses our key: it answered {head.status}; see its apiKey")


def _for_our_pages(relay: Relay, head: ResponseHead) -> ResponseHead:
    """The head of a log, which tells of others: which pages may read it is ours to say."""
    relay.connection.answers.forget()  # it remembers answers as they came
    return unsaid(head)


async def _with_short_wait(relay: Relay, head: ResponseHead, data: bytes) -> tuple[ResponseHead, bytes]:
    """The error of a llamaswap, after which clients are not told to wait for long."""
    relay.connection.answers.forget()
    return await shortened(head, data, relay.exchange.head.method, relay.receive)
