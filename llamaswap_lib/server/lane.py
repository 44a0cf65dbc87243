"""One client's connection while its thread sleeps: the pump waits for the next request, and serves it if it can.

Thread `pump` runs everything here but `rest`, in which the connection's http thread sleeps. Most requests are small,
for a model that is ready; their answers are short, or flow. Served here they cost no change of threads, which for
Python is dearer than all the rest of a request; and a connection that thinks or waits costs nothing at all. Guarantees:
nothing here blocks; whatever could make anybody wait (a request that does not come at once, one that is large, a model
that is not ready, an error) wakes the thread, which goes on from where it stands. Each sleep ends once.
"""

from __future__ import annotations

import socket
import threading
from enum import Enum, auto
from typing import Protocol

from llamaswap_lib.app import App
from llamaswap_lib.endpoints import route_of
from llamaswap_lib.endpoints.proxied import order_of
from llamaswap_lib.errors import HttpError
from llamaswap_lib.net.loop import Pump
from llamaswap_lib.net.poller import IN, RDHUP
from llamaswap_lib.proxy.dispatch import Begun, begin
from llamaswap_lib.routing.model_name import UnknownName
from llamaswap_lib.routing.routes import Endpoint, Route
from llamaswap_lib.runtime.hangup import has_hung_up
from llamaswap_lib.runtime.vital import report
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.server.request_body import RequestBody
from llamaswap_lib.server.request_reader import Intake
from llamaswap_lib.server.task import Task, abandoned, broken, ordered, remainder, resumed
from llamaswap_lib.wire.head_cache import Recall
from llamaswap_lib.wire.heads import RequestHead
from llamaswap_lib.wire.parser import parse_request_head

READ_BYTES = 65_536
MOST_BODY_BYTES = 16_384  # a larger one takes long enough to read for others to notice
DONTWAIT = socket.MSG_DONTWAIT


class Stage(Enum):
    """What the pump waits for."""

    IDLE = auto()  # for a request to begin
    INCOMPLETE = auto()  # for the rest of a request
    ASKING = auto()  # for the answer of the model
    FLOWING = auto()  # for the end of the answer, in which a flow serves the client


class Served(Protocol):
    """The connection, as its driver knows it."""

    def claim(self) -> bool:
        """Take it for a request that begins; False if it was ended."""

    def give_back(self) -> bool:
        """No request has begun after all; False if the connection is over."""

    def exchange_for(self, head: RequestHead) -> Exchange: ...

    def log_access(self, exchange: Exchange, started: float) -> None: ...

    def may_go_on(self, exchange: Exchange) -> bool:
        """Whether another request may follow the exchange, which has ended; if so, the connection is unclaimed."""


class Lane:
    """What one connection does without a thread of its own, between two `rest`s of that thread."""

    __slots__ = (
        "_app",
        "_begun",
        "_connection",
        "_heads",
        "_intake",
        "_is_over",
        "_pump",
        "_route",
        "_routed",
        "_routed_by",
        "_sock",
        "_stage",
        "_task",
        "_wake",
        "started",
    )

    _begun: Begun  # while ASKING and FLOWING
    _pump: Pump
    _route: Route

    def __init__(self, app: App, sock: socket.socket, intake: Intake, connection: Served) -> None:
        self._app = app
        self._sock = sock
        self._intake = intake
        self._connection = connection
        self._heads = Recall(parse_request_head)
        self._routed = 0  # the generation of heads that `_route` is of
        self._routed_by = app  # whose keys were asked for then
        self._stage = Stage.IDLE
        self.started = 0.0  # when the request that is served began
        self._task: Task | None = None
        self._is_over = False
        self._wake = threading.Lock()  # held but for the moment between a wake-up and the next rest
        self._wake.acquire()

    # -- http thread --

    def rest(self) -> bool:
        """Block until there is a request for this thread, claimed; False if the connection is over."""
        self._app.pump.take_aboard(self)
        self._wake.acquire()
        return not self._is_over

    def take_task(self) -> Task | None:
        """The exchange that the request has become already, if it has."""
        task, self._task = self._task, None
        return task

    # -- pump thread only --

    def begin(self, pump: Pump) -> None:
        self._pump = pump
        pump.aboard.add(self)
        pump.poller.register(self._sock, IN | RDHUP)
        pump.on_ready[self._sock.fileno()] = self._hear_client
        pump.idle.renew(self)

    def give_up(self) -> None:
        """No request began for too long, or the rest of one did not come at once."""
        if self._stage is Stage.ASKING:
            self._pump.idle.renew(self)
        else:
            self._wake_up(is_over=self._stage is Stage.IDLE)

    def throw_off(self) -> None:
        is_asking, self._stage, self._is_over = self._stage is Stage.ASKING, Stage.IDLE, True
        try:
            if is_asking:
                self._task, self._is_over = broken(self._begun, self.started), False
        finally:
            self._wake.release()

    def _hear_client(self, _mask: int) -> None:
        """The client sent something, or has left."""
        if self._stage is Stage.ASKING:
            self._leave_early()
            return
        is_idle = self._stage is Stage.IDLE
        if is_idle and not self._connection.claim():  # before its bytes are taken: they keep it from being closed
            self._wake_up(is_over=True)
            return
        received_bytes = self._intake.receive_now()
        if received_bytes is None:
            if is_idle and not self._connection.give_back():
                self._wake_up(is_over=True)
            return
        if not received_bytes:
            self._wake_up(is_over=is_idle)  # within a request its thread sees that too
            return
        if is_idle:
            self.started = self._app.clock()
        try:
            begun = self._begin_request()
        except (HttpError, UnknownName):
            self._wake_up()  # its thread comes to the same end, and tells the client
        except Exception:  # noqa: BLE001 - its thread tries again, and nobody else on the pump is to suffer for it
            self._report()
            self._wake_up()
        else:
            if begun is not None:
                self._stage, self._begun = Stage.ASKING, begun
                begun.listen(self._hear_upstream)

    def _begin_request(self) -> Begun | None:
        """Send the request on if all of it is there and nothing in its way; None where it waits, or is its thread's."""
        data = self._intake.ahead
        head, end = self._heads.read(data)
        missing_bytes = 1 if head is None else end + (head.content_length or 0) - len(data)
        is_plain = head is None or head.is_plain(MOST_BODY_BYTES)
        if missing_bytes > 0 and is_plain:
            if self._stage is Stage.IDLE:
                self._stage = Stage.INCOMPLETE
                self._pump.incomplete.renew(self)  # once: who sends a byte now and then is its thread's
            return None
        if head is None or missing_bytes or not is_plain:
            self._wake_up()
            return None
        return self._send_on(head, data[end:])

    def _send_on(self, head: RequestHead, body: bytes) -> Begun | None:
        exchange = self._connection.exchange_for(head)
        if self._heads.generation != self._routed or self._routed_by is not exchange.app:
            self._route, self._routed = route_of(exchange), self._heads.generation
            self._routed_by = exchange.app
        if self._route.endpoint is not Endpoint.MODEL:
            self._wake_up()
            return None
        order = order_of(exchange, self._route, RequestBody(body))
        self._intake.take_ahead()
        begun = None
        try:
            begun = begin(exchange, order)
        except HttpError:
            pass  # its thread comes to the same end
        except Exception:  # noqa: BLE001 - as above
            self._report()
        if begun is None:
            self._wake_up(ordered(exchange, self.started, order))
        elif self._stage is Stage.INCOMPLETE:
            self._pump.incomplete.drop(self)
        return begun

    def _leave_early(self) -> None:
        """In the middle of an exchange the client has left, or sent its next request before its time."""
        begun = self._begun
        if has_hung_up(self._sock):
            begun.relay.close_now()
            self._wake_up(abandoned(begun, self.started))
        else:
            begun.relay.leave_pump()
            self._wake_up(resumed(begun, self.started, None))

    def _hear_upstream(self, _mask: int) -> None:
        """The answer, or the beginning of it, or nothing any more."""
        begun = self._begun
        try:
            data = begun.relay.connection.sock.recv(READ_BYTES, DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            answer = begun.relay.answer_now(data) if data else None
            if answer is None:
                begun.relay.leave_pump()
                self._wake_up(resumed(begun, self.started, data or None))
            else:
                self._answer(answer)
        except Exception:  # noqa: BLE001 - as above
            self._report()
            begun.relay.close_now()
            self._wake_up(broken(begun, self.started))

    def _answer(self, answer: bytes) -> None:
        """Send what there is of the answer, and wait for what is to come of it, or for the next request."""
        begun, relay = self._begun, self._begun.relay
        try:
            sent_bytes = self._sock.send(answer, DONTWAIT)
        except BlockingIOError:
            sent_bytes = 0
        except OSError:
            begun.exchange.note_unseen()
            relay.let_go_now()
            self._end_exchange()
            return
        if relay.to_come is None:
            relay.let_go_now()
        else:
            relay.leave_pump()
        if sent_bytes < len(answer):
            self._wake_up(remainder(begun, self.started, answer[sent_bytes:]))
        elif relay.to_come is None:
            self._end_exchange()
        else:
            self._leave_pump()
            self._stage = Stage.FLOWING
            relay.flow_on(self._end_flow)

    def _end_flow(self) -> None:
        try:
            self._begun.relay.end_flow()
            self._end_exchange()
        except Exception:  # noqa: BLE001 - as above
            self._report()
            self._wake_up(broken(self._begun, self.started))

    def _end_exchange(self) -> None:
        """Let go of what it holds, and wait for the next request."""
        begun, is_flowing = self._begun, self._stage is Stage.FLOWING
        begun.leave()
        self._connection.log_access(begun.exchange, self.started)
        if not self._connection.may_go_on(begun.exchange):
            self._wake_up(is_over=True)
            return
        self._stage = Stage.IDLE
        if is_flowing:
            self.begin(self._pump)
        else:
            self._pump.idle.renew(self)

    # -- waking the thread up --

    def _wake_up(self, task: Task | None = None, *, is_over: bool = False) -> None:
        """Leave the pump, and have the thread go on: with `task`, with the request in the intake, or to its end."""
        if self._stage is not Stage.FLOWING:
            self._leave_pump()
        self._task, self._is_over, self._stage = task, is_over, Stage.IDLE
        self._wake.release()

    def _leave_pump(self) -> None:
        pump = self._pump
        pump.aboard.discard(self)
        pump.idle.drop(self)
        pump.incomplete.drop(self)
        del pump.on_ready[self._sock.fileno()]
        pump.poller.unregister(self._sock)

    def _report(self) -> None:
        report("pump", self._app.logs.log.error)
