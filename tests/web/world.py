"""A web server and all that is behind it, in the open: a controller that says yes, upstreams that play scripts."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from llamaswap_lib import endpoints
from llamaswap_lib.activity.feed import Feed
from llamaswap_lib.activity.in_flight import InFlightTable
from llamaswap_lib.activity.record import Record
from llamaswap_lib.app import App, Version
from llamaswap_lib.config.load import load_text
from llamaswap_lib.core.failures import ModelFailure
from llamaswap_lib.core.plan import Plan
from llamaswap_lib.core.run import RunState
from llamaswap_lib.core.snapshot import RunView, TicketView
from llamaswap_lib.errors import RunNotDead
from llamaswap_lib.fleet.peers import Peers
from llamaswap_lib.hardware.sampler import Hardware
from llamaswap_lib.net.loop import Loop
from llamaswap_lib.net.poller import Poller, has_hung_up, new_poller
from llamaswap_lib.proxy.pool import Pool
from llamaswap_lib.routing.profiles import Activation, Profiles
from llamaswap_lib.runtime.changes import Changes, Topic
from llamaswap_lib.runtime.control.board import RunDetail
from llamaswap_lib.runtime.control.controller import Controller
from llamaswap_lib.runtime.control.entrance import Client, Waiter
from llamaswap_lib.runtime.control.lease import Lease
from llamaswap_lib.runtime.control.live_run import Upstream as RunAddress
from llamaswap_lib.runtime.forward_proxies import ForwardProxies
from llamaswap_lib.runtime.logs.server_logs import Logs
from llamaswap_lib.runtime.wakeup import Wakeup
from llamaswap_lib.server.certificate import Certificate
from llamaswap_lib.server.limits import Limits
from llamaswap_lib.server.listener import Server
from tests.web.certificates import TlsEnd

DEADLINE = 60.0  # of every wait in these tests; none should come near it, on a busy machine either

MODELS = """
models:
  m:
    cmd: server
    proxy: PROXY
    aliases: [al]
"""

Script = Callable[["Peer"], None]


class Running(RunView):
    """One run, as `/running` is told."""

    def __init__(
        self, model: str, run_id: int, state: str, started_at: float = 0.0, ready_at: float | None = None
    ) -> None:
        detail = RunState(state)
        shown = detail.public_name
        super().__init__(run_id, model, 1, shown, detail, started_at, ready_at, loading_since=started_at)


class FakeLease(Lease):
    """A place that is taken and given back; `move_on` leads to what the controller names as successor."""

    def __init__(self, controller: FakeController, model: str, client: Client) -> None:
        self._controller = controller
        self._asked_for = model
        self._waits = client

    def enter_now(self) -> RunAddress | None:
        is_open = self._controller.refusal is None and self._controller.waiting is None
        return self._controller.take_place(self._asked_for, self._waits) if is_open else None

    def __enter__(self) -> RunAddress:
        return self._controller.take_place(self._asked_for, self._waits)

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        self._controller.give_back()

    def move_on(self, *, was_sent: bool = True) -> RunAddress:
        self._controller.moved_on += 1
        self._controller.was_sent = was_sent
        if self._controller.waiting and callable(self._waits):
            self._waits(self._controller.waiting)
        if isinstance(self._controller.successor, Exception):
            raise self._controller.successor
        return RunAddress(2, self._asked_for, self._controller.successor)


class FakeQueue(Waiter):
    """A wait that is over when the test says so, and the queue that shows it."""

    def __init__(self) -> None:
        self.ticket = 7
        self.own = TicketView(7, "m", 1, 0.0, "loading")
        self.queue = [TicketView(6, "m", 1, 0.0, "somebody else's"), self.own]
        self.is_over = Wakeup()

    def show(self, place: int, reason: str) -> None:
        """This is our place in the queue now."""
        self.own = self.own._replace(place=place, reason=reason)
        self.queue = [*self.queue[:-1], self.own]

    def fileno(self) -> int:
        return self.is_over.fileno()


class FakeController(Controller):
    """Admits everybody at once, or refuses with `refusal`; counts who is inside."""

    def __init__(self, proxy: str) -> None:
        self.proxy = proxy
        self.refusal: Exception | None = None
        self.fault: Exception | None = None  # of our own, for those who ask for a lease
        self.fault_of_leaving: Exception | None = None  # the same for the next one who leaves
        self.successor: Exception | str = RunNotDead()  # where a request goes whose run hung up
        self.moved_on = 0
        self.was_sent: bool | None = None  # what was said of the last request that moved on
        self.running: Sequence[RunView] = []
        self.doing: dict[str, RunDetail] = {}  # where it is more than to be there
        self.queue: list[TicketView] = []
        self.failures: dict[str, ModelFailure] = {}
        self.plans: dict[str, Plan] = {}
        self.unloaded: list[tuple[str, ...] | None] = []
        self.loaded: list[str] = []
        self.leased: list[str] = []
        self.waited_for = ""  # the model that those who wait for m were behind
        self.inside = 0
        self.left = threading.Condition()
        self.waiting: FakeQueue | None = None  # a client that is told of its wait waits here first

    def lease(self, model: str, client: Client) -> FakeLease:
        self.leased.append(model)
        if self.fault is not None:
            raise self.fault
        return FakeLease(self, model, client)

    def take_place(self, model: str, client: Client) -> RunAddress:
        if self.waiting and callable(client):
            client(self.waiting)
        if self.refusal is not None:
            raise self.refusal
        with self.left:
            self.inside += 1
        return RunAddress(1, model, self.proxy)

    def give_back(self) -> None:
        with self.left:  # who waits for this one to leave means the next one by a fault
            fault, self.fault_of_leaving = self.fault_of_leaving, None
            self.inside -= 1
            self.left.notify_all()
        if fault is not None:
            raise fault

    def behind(self, model: str, since: float) -> str:
        return self.waited_for if model == "m" and since >= 0.0 else ""

    def plan(self, model: str) -> Plan:
        return self.plans[model]

    def load(self, model: str, client: Client) -> None:
        self.loaded.append(model)
        self.take_place(model, client)
        self.give_back()

    def unload(self, models: Sequence[str] | None, client: Client) -> None:
        self.unloaded.append(None if models is None else tuple(models))

    def runs(self) -> tuple[RunView, ...]:
        return tuple(self.running)

    def details(self) -> tuple[RunDetail, ...]:
        return tuple(self.doing.get(run.model, RunDetail(run)) for run in self.running)

    def tickets(self) -> tuple[TicketView, ...]:
        return tuple(self.queue if self.waiting is None else self.waiting.queue)

    def failing(self) -> dict[str, ModelFailure]:
        return dict(self.failures)

    def is_ready(self, model: str) -> bool:
        return any(run.model == model and run.state == "ready" for run in self.running)

    def ready_upstream(self, model: str) -> RunAddress | None:
        ready = [run for run in self.running if run.model == model and run.state == "ready"]
        return RunAddress(ready[0].run_id, model, self.proxy) if ready else None

    def wait_inside(self, count: int) -> None:
        """Block until that many leases are held, coming down from more."""
        with self.left:
            assert self.left.wait_for(lambda: self.inside == count, DEADLINE), f"{self.inside} leases are held"

    def wait_empty(self) -> None:
        """Block until no lease is held."""
        self.wait_inside(0)


class FakeJournal:
    """Takes records down, as the activity writer does: they are made when somebody looks, on that thread."""

    def __init__(self) -> None:
        self.captures = False
        self.room_bytes = 1 << 30  # of bodies, which each record may hold
        self._made: list[Record] = []
        self._waiting: queue.SimpleQueue[Callable[[], Record]] = queue.SimpleQueue()
        # It takes the count of bytes for whether it may block, which it never does: no call of ours, as in test_shape.
        self.append: Callable[[Callable[[], Record], int], None] = self._waiting.put  # type: ignore[assignment]

    def has_room(self, kept_bytes: int) -> bool:
        return kept_bytes <= self.room_bytes

    @property
    def records(self) -> list[Record]:
        """All that there are by now."""
        while not self._waiting.empty():
            self._made.append(self._waiting.get()())
        return list(self._made)

    def wait_for(self, count: int) -> list[Record]:
        """Block until there are so many."""
        deadline = time.monotonic() + DEADLINE
        while len(self._made) < count:
            self._made.append(self._waiting.get(timeout=max(0.0, deadline - time.monotonic()))())
        return self.records


class Peer:
    """One end of a connection: a raw socket that reads whole messages and fails instead of waiting for ever."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.rest = b""
        sock.settimeout(DEADLINE)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read_until(self, mark: bytes) -> bytes:
        """What comes up to and with `mark`."""
        while mark not in self.rest:
            data = self.sock.recv(65536)
            assert data, f"the connection ended before {mark!r}: {self.rest!r}"
            self.rest += data
        before, _, self.rest = self.rest.partition(mark)
        return before + mark

    def read(self, size: int) -> bytes:
        while len(self.rest) < size:
            data = self.sock.recv(65536)
            assert data, f"the connection ended within {size} bytes: {self.rest!r}"
            self.rest += data
        data, self.rest = self.rest[:size], self.rest[size:]
        return data

    def read_message(self) -> tuple[bytes, bytes]:
        """A head and its body of Content-Length bytes."""
        head = self.read_until(b"\r\n\r\n")
        return head, self.read(length_of(head))

    def read_to_end(self) -> bytes:
        """All that comes until the other side closes; a reset is an error."""
        pieces = [self.rest]
        while data := self.sock.recv(65536):
            pieces.append(data)
        self.rest = b""
        return b"".join(pieces)

    def wait_for_hang_up(self) -> None:
        """Block until the other side is gone."""
        with suppress(ConnectionError):
            while self.sock.recv(65536):
                pass

    def has_hung_up(self) -> bool:
        if isinstance(self.sock, TlsEnd) and self.sock.has_come:
            return False
        return has_hung_up(self.sock)

    def end(self) -> None:
        """End our direction; reading goes on."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def length_of(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


class Upstream:
    """A server whose connections each run the next script, the last one again and again, on a thread of their own."""

    def __init__(self, *scripts: Script, context: ssl.SSLContext | None = None) -> None:
        """With a `context` it speaks TLS."""
        self.context = context
        self.scripts = list(scripts)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.accepted = 0
        self.failures: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._peers: list[Peer] = []
        self._accepting = threading.Thread(target=self._accept, name="upstream")
        self._accepting.start()

    @property
    def proxy(self) -> str:
        scheme = "https" if self.context else "http"
        return f"{scheme}://127.0.0.1:{self.listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            script = self.scripts[min(self.accepted, len(self.scripts) - 1)]
            self.accepted += 1
            self._peers.append(Peer(self._secured(sock)))
            self._threads.append(threading.Thread(target=self._play, args=(script, self._peers[-1]), name="script"))
            self._threads[-1].start()

    def _secured(self, sock: socket.socket) -> socket.socket:
        if self.context is None:
            return sock
        sock.settimeout(DEADLINE)
        return TlsEnd(sock, self.context)

    def _play(self, script: Script, peer: Peer) -> None:
        try:
            script(peer)
        except BaseException as failure:  # noqa: BLE001 - told when the test ends
            self.failures.put(failure)
        finally:
            peer.close()

    def close(self) -> None:
        """End it, and fail the test if a script failed."""
        with suppress(OSError):  # a script has done it already
            self.listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(DEADLINE)
        self.listener.close()
        for thread in self._threads:
            thread.join(DEADLINE)
        if not self.failures.empty():
            raise self.failures.get()


class World:
    """A server with one model `m` (alias `al`) at an upstream; a `with` block ends all of it."""

    def __init__(
        self,
        *scripts: Script,
        limits: Limits | None = None,
        config: str = "",
        certificate: Certificate | None = None,
        upstream_context: ssl.SSLContext | None = None,
        environment: Mapping[str, str] | None = None,
        poller: Callable[[], Poller] = new_poller,
        clock: Callable[[], float] = time.monotonic,
        hardware: Hardware | None = None,
    ) -> None:
        """`environment`: the variables that name proxies; PROXY stands for the upstream's address there, too."""
        self.upstream = Upstream(*scripts, context=upstream_context)
        self.controller = FakeController(self.upstream.proxy)
        self.logs = Logs(to_stdout="proxy", stdout=None)
        limits = limits or Limits()
        self.slow_turns: list[str] = []
        self.loop = Loop(clock=clock, poller=poller, on_error=self.logs.log.error, on_slow=self.slow_turns.append)
        self.loop.start()
        loaded = load_text((config or MODELS).replace("PROXY", self.upstream.proxy))
        changes = Changes()
        profiles = Profiles(loaded.profiles, Activation(partial(changes.note, Topic.PROFILE)))
        variables = {name: value.replace("PROXY", self.upstream.proxy) for name, value in (environment or {}).items()}
        pool = Pool(self.loop, proxies=ForwardProxies(variables))
        self.journal = FakeJournal()
        self.feed = Feed(InFlightTable(self.journal, self.loop.clock))
        self.app = App(
            loaded,
            self.controller,
            self.logs,
            pool,
            changes,
            profiles,
            Version("1.2"),
            limits,
            feed=self.feed,
            hardware=hardware or Hardware(),
            peers=Peers(self.logs.log, pool.proxies, call=self.loop.call),  # looked at once a test says so
        )
        self.app.take_over()
        self.server = Server(endpoints.settings_of(self.app), self.loop, "127.0.0.1", 0, certificate)
        self.server.start()

    def connect(self) -> Peer:
        return Peer(socket.create_connection(self.server.address, DEADLINE))

    def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """One request on a connection of its own, answered with a Content-Length."""
        with self.connect() as client:
            client.send(request)
            return client.read_message()

    @property
    def log(self) -> str:
        return self.logs.proxy.history().decode()

    def wait_for_log(self, text: str) -> None:
        """Block until the log holds `text`."""
        with self.logs.proxy.subscribe() as subscription:
            heard, deadline = "", time.monotonic() + DEADLINE
            while text not in heard:
                assert time.monotonic() < deadline, f"{text!r} was not logged: {heard}"
                heard += subscription.take().decode()

    def wait_for_log_without_descriptors(self, text: str) -> None:
        """The same, where no descriptor is left to wait with."""
        pause, deadline = threading.Event(), time.monotonic() + DEADLINE
        while text not in self.log:
            assert time.monotonic() < deadline, f"{text!r} was not logged: {self.log}"
            pause.wait(0.01)

    def close(self) -> None:
        self.app.peers.close()
        self.server.begin_stop()
        self.logs.close_streams()
        self.server.abort()
        assert self.server.wait_idle(DEADLINE), "a connection does not end"
        self.server.close()
        self.app.pool.close()
        self.loop.stop()
        self.logs.close()
        self.upstream.close()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


CHAT_BODY = b'{"model":"m"}'


def chat(body: bytes = CHAT_BODY, *, extra: bytes = b"", version: bytes = b"1.1") -> bytes:
    """A chat request."""
    head = b"POST /v1/chat/completions HTTP/%b\r\nHost: x\r\nContent-Type: application/json\r\n" % version
    return head + b"%bContent-Length: %d\r\n\r\n%b" % (extra, len(body), body)


def get(path: str, *, extra: bytes = b"", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode() + extra + b"\r\n"


def answers(*raw: bytes) -> Script:
    """A script: each request is answered with the next of `raw`; then the connection is closed."""

    def script(peer: Peer) -> None:
        for answer in raw:
            peer.read_message()
            peer.send(answer)

    return script


def sized(body: bytes, extra: bytes = b"") -> bytes:
    """An answer with a Content-Length."""
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (extra, len(body), body)


OK = sized(b"ok")
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
