"""All workers of one parent: kept alive, told what is in force, asked what they know.

A thread `worker-N` starts the worker of its place, waits for its end, and starts another. Any thread asks and tells.
Guarantees: a change is in force in every worker that serves when `change` returns, for one that does not say so in time
is ended, and its successor begins with it; a worker is told of each change that comes after its beginning; when `end`
has returned none is left, and their rows have come.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from llamaswap_lib.activity.record import Record
from llamaswap_lib.activity.row import Row
from llamaswap_lib.fleet.states import PeerState
from llamaswap_lib.reload import Serving
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.wakeup import seconds_until
from llamaswap_lib.upgrade.connections import take
from llamaswap_lib.upgrade.link import Message
from llamaswap_lib.workers.connection_counts import ConnectionCounts
from llamaswap_lib.workers.messages import NUMBERS_EACH, Begin, InForce, Kind, Question
from llamaswap_lib.workers.process import ANSWER_TIMEOUT, WorkerProcess
from llamaswap_lib.workers.told_peers import Told

START_TIMEOUT = 30.0  # seconds from the start of a process until it serves
CHANGE_TIMEOUT = 5.0  # seconds for a change to be in force
END_MARGIN = 10.0  # seconds for the end of a worker, beyond `shutdownTimeout`
SHORTEST_LIFE = 2.0  # seconds; one that dies sooner is replaced after a pause, which doubles each time
LEAVING_LOOK = 0.5  # seconds between two looks whether all have left
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0


Give = Callable[[Message, Sequence[int]], None]
"""Gets what is told of a client, and the descriptor of its connection, which is its own from then on."""


class Events(Protocol):
    """Who wants to know of requests in progress. Any thread."""

    def take(self, events: bytes) -> None: ...
    def note_lost(self) -> None:
        """A worker has ended, with requests that were told of."""


class _Outcome:
    """What has come of the first worker of a place. Its thread sets, the main thread waits."""

    def __init__(self) -> None:
        self.is_known = threading.Event()  # whether it is of use
        self.is_of_use = False
        self.is_tried = threading.Event()

    def note_ready(self, *, is_of_use: bool) -> None:
        self.is_of_use = is_of_use
        self.is_known.set()

    def note_tried(self) -> None:
        """It serves, or has come to nothing."""
        self.is_known.set()
        self.is_tried.set()


class Workers:
    """See above; it is what each worker process has as its `Household`, and a `Follower` of peers."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()  # protects what follows, and the order of what each worker is told
        self._workers: dict[int, WorkerProcess] = {}  # that have begun
        self._counts = ConnectionCounts()
        self._last_number = 0
        self._told: Mapping[str, PeerState] = {}  # of peers
        self._events: Events | None = None
        self._give_left: Give | None = None  # to the process that has taken over
        self._give_own: Give | None = None
        self._last_given = 0
        self._have_left = False
        self._are_ending = threading.Event()
        self._may_begin = threading.Event()  # to serve
        self._outcomes: list[_Outcome] = []  # by place, of the first try
        self._threads: list[Thread] = []

    # -- main thread --

    def connect(self, serving: Serving) -> None:
        """Before the start."""
        self._serving = serving
        self._server, self._log = serving.server, serving.logs.log
        serving.journal.gather = lambda: self.ask(Question.FLUSH)
        serving.latest.app.peers.follower = self

    def prepare(self) -> bool:
        """Have all processes be there, which serve at `start`; blocks until they are; whether they are all of use."""
        self._outcomes = [_Outcome() for _ in range(self._count)]
        for place, outcome in enumerate(self._outcomes):
            thread = Thread(self._keep, f"worker-{place + 1}", (place, outcome))
            self._threads.append(thread)
            thread.start()
        _wait_for_all([outcome.is_known for outcome in self._outcomes])
        return all(outcome.is_of_use for outcome in self._outcomes)

    def start(self) -> None:
        """Have all of them serve; blocks until they do, or have been tried."""
        self._may_begin.set()
        if not self._outcomes:
            self.prepare()
        _wait_for_all([outcome.is_tried for outcome in self._outcomes])
        with self._lock:
            self._log.info(f"{len(self._workers)} of {self._count} workers serve")

    def end(self, timeout: float) -> None:
        """Have them end: they accept nobody, and have `timeout` seconds for what is in progress."""
        deadline = time.monotonic() + timeout + END_MARGIN
        with self._lock:
            self._are_ending.set()
            for worker in self._workers.values():
                worker.link.send({"kind": Kind.STOP, "is_shared": self._server.is_shared})
        for thread in self._threads:
            thread.join(seconds_until(deadline, time.monotonic()))
        with self._lock:
            left = list(self._workers.values())
        for worker in left:
            self._log.error(f"worker {worker.number} does not end, and is killed")
            worker.kill()
        for thread in self._threads:
            thread.join(END_MARGIN)

    # -- any thread: an upgrade, after which another parent has workers of its own --

    def hand_on(self, give_left: Give, give_own: Give) -> None:
        """Start no worker any more; give connections of clients, and requests for the parent, to another process."""
        with self._lock:
            self._give_left, self._give_own = give_left, give_own
            self._are_ending.set()

    def leave(self) -> None:
        """Others serve: accept nobody, give idle connections away, end with the last request."""
        with self._lock:
            if self._have_left:
                return
            self._have_left = True
            for worker in self._workers.values():
                worker.link.send({"kind": Kind.LEAVE})

    def wait_left(self, hurry: threading.Event, timeout: float, tell: Callable[[int], None]) -> None:
        """Block until all have ended; once there is hurry, requests have so many seconds.

        `tell` is told at each look how many requests are left.
        """
        while any(thread.is_alive() for thread in self._threads):
            tell(sum(gauges.requests for gauges in self.ask(Question.GAUGES)))
            if hurry.wait(LEAVING_LOOK):
                self.end(timeout)
                return

    def take_client(self, client: Message, descriptor: int) -> None:
        """Have a worker serve a client's connection; the descriptor is its own."""
        with self._lock:
            workers = list(self._workers.values())
            if workers:
                self._last_given += 1
                worker = workers[self._last_given % len(workers)]
                worker.link.send({**client, "kind": Kind.CLIENT}, [descriptor])
                return
        os.close(descriptor)

    # -- threads worker-N --

    def _keep(self, place: int, outcome: _Outcome) -> None:
        """Have a worker as long as the parent lives."""
        pause = 0.0
        while not self._are_ending.is_set():
            began = time.monotonic()
            try:
                worker = self._begin_one(place, outcome)
                if worker is not None:
                    outcome.is_tried.set()
                    self._see_it_end(worker)
                self._counts.clear(place)
            except (OSError, RuntimeError, MemoryError) as error:
                self._log.error(f"a worker cannot be started: {error or 'no memory'}")
            outcome.note_tried()
            if time.monotonic() - began >= SHORTEST_LIFE:
                pause = 0.0
                continue
            pause = min(max(FIRST_PAUSE, 2 * pause), LONGEST_PAUSE)
            self._are_ending.wait(pause)

    def _begin_one(self, place: int, outcome: _Outcome) -> WorkerProcess | None:
        """One that serves, or None; raises OSError, RuntimeError and MemoryError."""
        with self._lock:
            self._last_number += 1
            number = self._last_number
        listening, counts, logs = self._server.socket, self._counts.descriptor, self._serving.logs
        worker = WorkerProcess(number, place, listening, counts, self, logs)
        why = worker.await_ready(START_TIMEOUT)
        outcome.note_ready(is_of_use=not why)
        if not why:
            self._may_begin.wait()
        with self._lock:
            is_begun = not why and not self._are_ending.is_set()
            if is_begun:
                worker.begin(self._begin(number))
                self._workers[number] = worker
                if self._events is not None:
                    worker.link.send({"kind": Kind.FOLLOW, "follows": True})
        if is_begun and worker.is_serving.wait(START_TIMEOUT):  # if all are ending, it was told so
            return worker
        worker.kill()
        self._see_it_end(worker, why)
        return None

    def _begin(self, number: int) -> Begin:
        """Under the lock."""
        app, certificate = self._serving.latest.app, self._serving.certificate
        states = {**app.peers.states()}
        files = None if certificate is None else certificate.files
        listen, name = app.listen, app.ourselves.name
        return Begin(number, self._in_force(), states, listen, name, app.key_salt, app.started_at, files)

    def _see_it_end(self, worker: WorkerProcess, why: str = "") -> None:
        """Block until it has ended, and see to what it leaves."""
        how = worker.wait()
        with self._lock:
            self._workers.pop(worker.number, None)
            events = self._events
        lost_count = worker.end()
        if events is not None:
            events.note_lost()
        if lost_count or not self._are_ending.is_set():
            also = f"; requests broken off: {lost_count}" if lost_count else ""
            reason = f": {why}" if why else ""
            told = f"worker {worker.number} (process {worker.pid}) has ended, {how}{reason}{also}"
            self._log.error(told if self._are_ending.is_set() else f"{told}; another one is started")

    # -- any thread: what all are told --

    def _in_force(self) -> InForce:
        app = self._serving.latest.app
        return InForce(app.config, app.profiles.active)

    def change(self) -> None:
        """Have what is in force now be in force in all of them; blocks until it is."""
        with self._lock:
            if not self._workers:
                return
            in_force = self._in_force()
            answers = [(worker, worker.change(in_force)) for worker in self._workers.values()]
        self.note_states()
        for worker, answer in answers:
            worker.is_serving.wait(START_TIMEOUT)
            try:
                answer.get(timeout=CHANGE_TIMEOUT)  # also if it has ended: another one has it
            except queue.Empty:
                self._log.error(f"worker {worker.number} does not take what has changed, and is killed")
                worker.kill()

    def note_states(self) -> None:
        """What is known of peers has changed."""
        with self._lock:
            if not self._workers:
                return
            now, before = self._serving.latest.app.peers.states(), self._told
            self._told = now
            changed = [name for name, state in now.items() if state is not before.get(name)]
            told = {name: _told(now[name], before.get(name)) for name in changed}
            for worker in self._workers.values():
                worker.link.send({"kind": Kind.STATES, "states": told})

    def note_gone(self, address: str) -> None:
        """The peer there does not answer any more."""
        with self._lock:
            for worker in self._workers.values():
                worker.link.send({"kind": Kind.GONE, "address": address})

    def follow(self, events: Events | None) -> None:
        """Have it told of requests in progress from now on, None: nobody."""
        with self._lock:
            self._events = events
            for worker in self._workers.values():
                worker.link.send({"kind": Kind.FOLLOW, "follows": events is not None})

    # -- any thread: what they are asked --

    def ask(self, question: Question, argument: object = None) -> list[Any]:
        """What each of them answers; who does not in time is left out."""
        with self._lock:
            answers = [worker.ask(question, argument) for worker in self._workers.values()]
        return _answers_of(answers, time.monotonic() + ANSWER_TIMEOUT)

    def cancel(self, number: int) -> bool:
        """End the request in progress of that number; whether there is one."""
        with self._lock:
            worker = self._workers.get(number // NUMBERS_EACH)
        if worker is None:
            return False
        return any(_answers_of([worker.ask(Question.CANCEL, number)], time.monotonic() + ANSWER_TIMEOUT))

    def waits_at(self, address: str) -> bool:
        """Whether requests are sent to a peer there."""
        return any(self.ask(Question.WAITS_AT, address))

    def connection_count(self) -> int:
        """Of clients."""
        return sum(gauges.connections for gauges in self.ask(Question.GAUGES))

    def loop_lag(self) -> float:
        """The longest, ours among them."""
        lags: list[float] = [gauges.loop_lag for gauges in self.ask(Question.GAUGES)]
        return max([self._serving.loop.lag(), *lags])

    # -- threads link-in --

    def take_rows(self, rows: Sequence[Row], records: Sequence[Record | None]) -> None:
        self._serving.journal.take_all(rows, records)

    def take_events(self, events: bytes) -> None:
        with self._lock:
            follower = self._events
        if follower is not None:
            follower.take(events)

    def take_left(self, client: Message, descriptor: int) -> None:
        assert self._give_left is not None, "it was told to leave"
        self._give_left(client, [descriptor])

    def take_connection(self, client: Message, descriptor: int) -> None:
        if self._give_own is not None:
            self._give_own(client, [descriptor])
            return
        take(self._server, self._serving.loop, client, descriptor)

    def note_refused(self, name: str, error: str) -> None:
        self._serving.latest.app.peers.note_refused(name, error)


def _wait_for_all(events: Sequence[threading.Event]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    for event in events:
        event.wait(max(0.0, deadline - time.monotonic()))


def _told(state: PeerState, before: PeerState | None) -> Told:
    """What a worker is told of a peer, of which it was told `before`."""
    has_same_offers = before is not None and state.offers is before.offers
    return Told(state._replace(offers=None) if has_same_offers else state, has_same_offers)


def _answers_of(answers: Sequence[queue.SimpleQueue[Any]], deadline: float) -> list[Any]:
    """Those that come in time, and not from a worker that has ended instead."""
    found = []
    for answer in answers:
        with suppress(queue.Empty):
            found.append(answer.get(timeout=max(0.0, deadline - time.monotonic())))
    return [answer for answer in found if answer is not None]
