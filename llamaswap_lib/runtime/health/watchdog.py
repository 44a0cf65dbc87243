"""Checks whether a busy run is alive while another request waits for it to stop. The scheduler decides what follows.

The thread `watchdog-M` lives only while a request waits for the run to stop. It looks at two things: the model's health
check, of which one question at a time is open, so that a server with one thread finds no queue of them; and the bytes
that move on the run's connections, which the system counts. A run that does neither is silent.

Silence alone proves nothing: many servers do everything in one thread. Proof is (1) that its processes are stopped, or
(2) that this very run has answered its check before while a request was inside. Such an answer counts only if no
request ended from the moment of the question until `SETTLING` after the answer: otherwise a server with one thread may
have answered between two requests. It does not count either if a request was coming in, from `SETTLING` before the
question on: many servers read with an event loop, which answers checks, and then work in it. If there is output of the
run that we have not read, that may block it, so the time does not count as silence for (2).

The watchdog never decides and never signals a process. Nothing is posted after `cancel` has returned.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from llamaswap_lib.core.effects import AbortRequests, BeginChecks, CheckOrder, LookForLoss, WatchForLoss
from llamaswap_lib.core.events import Event, RunAnswered, RunReached, RunSilent
from llamaswap_lib.core.gate import Gate
from llamaswap_lib.errors import SHORTAGES
from llamaswap_lib.runtime.control.live_run import LiveRun, Upstream
from llamaswap_lib.runtime.guard.table import HAS_PROC, ProcessEntry, read_stat
from llamaswap_lib.runtime.health.check import HealthCheck
from llamaswap_lib.runtime.health.look import Look, Looker, wait
from llamaswap_lib.runtime.health.reach import Reach, Target
from llamaswap_lib.runtime.logs.logger import Logger
from llamaswap_lib.runtime.ports import listening_among
from llamaswap_lib.runtime.wakeup import Wakeup

TOLD_AFTER = 10.0  # seconds of silence after which the log and the queue say so, if `hungAfter` is not shorter
PROMPT = 1.0  # seconds; a slower answer may have waited for the end of a request
SETTLING = 0.5  # seconds until we notice the end of a request
_USUAL_HUNG_AFTER = 30.0  # used to set the pace if `hungAfter` is 0
_LOOK_PAUSE, _SAMPLE_PAUSE, _SCAN_PAUSE = 2.0, 1.0, 5.0
_CONNECT_TIMEOUT, _LONGEST_LOOK = 5.0, 60.0

STOPPED = "its processes are stopped"
ANSWERED_BEFORE = "it had answered before while a request was inside"


class Movement(NamedTuple):
    """What has moved between us and a run.

    `moved` grows with every byte that the run takes or sends; `unread` says that we do not read what it sent. `taken`
    is what the system has taken for it on the connections that are open: it changes while a request comes in.
    """

    moved: int = 0
    unread: bool = False
    taken: int = 0


class Subject(NamedTuple):
    """The run that is checked. `check` is None if it has no health check; `hung_after` in seconds, 0 for never.

    `pid` gives the leader's, if there is one; `movement` gives None where the system does not tell.
    """

    run_id: int
    model: str
    gate: Gate
    pid: Callable[[], int | None]
    check: HealthCheck | None
    hung_after: float
    movement: Callable[[], Movement | None]


class Watchdog:
    """The checks of one run, which may begin and end many times; evidence of earlier answers is kept."""

    def __init__(
        self, subject: Subject, post: Callable[[Event], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._subject = subject
        self._post = post
        self._clock = clock
        self._evidence = threading.Event()  # that the run answers its check while a request is inside
        self._watch: _WatchThread | None = None

    # -- controller thread only --

    def begin(self) -> None:
        """Check from now on; raises OSError or RuntimeError if there is no descriptor or thread."""
        self.cancel()
        watch = _WatchThread(self._subject, self._evidence, self._post, self._clock)
        watch.start(f"watchdog-{self._subject.model}")
        self._watch = watch

    def cancel(self) -> None:
        """Post nothing from now on; the thread ends soon."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None


class _WatchThread(Looker):
    """The thread of one check, from when a request waits until none does."""

    def __init__(
        self,
        subject: Subject,
        evidence: threading.Event,
        post: Callable[[Event], None],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(post)
        self._subject = subject
        self._evidence = evidence
        self._clock = clock
        pace = subject.hung_after or _USUAL_HUNG_AFTER
        self._look_pause = min(_LOOK_PAUSE, pace / 4)
        self._sample_pause = min(_SAMPLE_PAUSE, pace / 8)
        self._shortest_look = max(1.0, pace / 3)
        self._silent_since = self._unread_at = clock()
        self._is_waited_for = subject.check is None  # a sign of life: else there is no silence
        self._moved: int | None = None
        self._taken: int | None = None
        self._taken_at = -math.inf  # when it was last seen to have changed
        self._is_movement_known = False
        self._proof = ""
        self._scan = 0.0  # when to look at the processes again
        self._told: str | None = None  # the proof that was told with the silence; None: no silence was told

    # -- thread watchdog-M --

    def _search(self, ending: Wakeup) -> None:
        while True:
            try:
                self._sample()
                self._look(ending)
                self._rest(ending, self._clock() + self._look_pause)
            except (MemoryError, OSError):  # noqa: PERF203 - what llamaswap is short of says nothing about the run
                self._silent_since = self._clock()
                time.sleep(self._sample_pause)

    def _look(self, ending: Wakeup) -> None:
        """Ask once, and take note of the answer."""
        check, gate = self._subject.check, self._subject.gate
        if check is None:
            return
        self._sample()
        asked_at, was_busy = self._clock(), len(gate) > 0
        if not self._is_waited_for:
            self._is_waited_for, self._silent_since = True, asked_at
        try:
            addresses = check.resolve()
            with Look(ending, self._clock() + _CONNECT_TIMEOUT) as look:
                check.ask(look, addresses)
                answer = self._await_answer(look)
                look.finish()
        except OSError as error:  # refused, reset, no room there: no sign of life
            if error.errno in SHORTAGES:
                raise
            self._sample()
            return
        if answer:
            self._is_waited_for = False
            self._note_life()
        if answer.isdigit() and was_busy and self._clock() - asked_at <= PROMPT:
            self._rest(ending, self._clock() + SETTLING)
            if len(gate) and gate.idle_since <= asked_at and self._taken_at <= asked_at - SETTLING:
                self._evidence.set()

    def _await_answer(self, look: Look) -> str:
        """The status or what came instead; '' if nothing came for as long as the silence had lasted before."""
        now = self._clock()
        until = now + min(max(now - self._silent_since, self._shortest_look), _LONGEST_LOOK)
        while self._clock() < until:
            look.extend(self._clock() + self._sample_pause)
            try:
                return look.read_status()
            except TimeoutError:
                self._sample()
        return ""

    def _rest(self, ending: Wakeup, until: float) -> None:
        """Send no check for a while, and go on counting bytes."""
        while (now := self._clock()) < until:
            wait(ending, min(until, now + self._sample_pause))
            self._sample()

    def _sample(self) -> None:
        """Look whether a byte has moved, and post what follows from that."""
        now, movement = self._clock(), self._subject.movement()
        self._is_movement_known = movement is not None
        if movement is not None:
            if movement.unread:
                self._unread_at = now
            if movement.moved != self._moved:
                self._moved = movement.moved
                self._note_life()
            if movement.taken != self._taken:
                if self._taken is not None:
                    self._taken_at = now
                self._taken = movement.taken
        if self._is_waited_for and now - self._silent_since >= min(TOLD_AFTER, self._subject.hung_after or TOLD_AFTER):
            proof = self._find_proof(now) if self._subject.hung_after else ""
            if proof != self._told:
                self._told = proof
                what = "has not answered its check" if self._subject.check else "has sent nothing"
                self._tell(RunSilent(self._subject.run_id, self._silent_since, what, proof))

    def _note_life(self) -> None:
        self._silent_since = self._clock()
        self._scan = 0.0
        if self._told is not None:
            self._told = None
            self._tell(RunAnswered(self._subject.run_id))

    def _find_proof(self, now: float) -> str:
        """Why it must hang, '' if that is not sure."""
        subject, hung_after = self._subject, self._subject.hung_after
        if subject.check is None or not self._is_movement_known or now - self._silent_since < hung_after:
            return ""
        if now >= self._scan:
            pid = subject.pid()
            self._proof = STOPPED if pid and is_tree_stopped(pid, subject.check.port) else ""
            self._scan = now + min(_SCAN_PAUSE, hung_after)
        if self._proof:
            return self._proof
        has_gone_on = now - max(self._silent_since, self._unread_at) >= hung_after
        return ANSWERED_BEFORE if has_gone_on and self._evidence.is_set() else ""


# -- the watchdogs of all runs --


class CheckPlan(NamedTuple):
    """How runs are checked. `check_of` gives the health check (None for none) and `hungAfter` of a run."""

    check_of: Callable[[Upstream], tuple[HealthCheck | None, float]]
    look_at: Callable[[int], Movement | None]
    """What has moved between us and the run of that id; called on its watchdog's thread."""
    abort: Callable[[int], None]
    """Abort every connection to the run of that id."""
    lost_after_of: Callable[[Upstream], float] = lambda _: 0.0
    """`lostAfter` of a run whose server may be out of reach; 0 for others."""
    received: Callable[[int], int | None] = lambda _: None
    """Bytes that came from the run; its thread `reach-M` asks."""
    is_heard: Callable[[int], bool] = lambda _: False
    """Whether its machine gave a sign of life lately."""


class Checks:
    """A watchdog for each run that was ever checked, as the scheduler orders. Controller thread only.

    `plan` says how a run is watched and how its connections are cut; without it no run is watched.
    """

    def __init__(self, plan: CheckPlan | None, log: Logger) -> None:
        self._plan = plan
        self._log = log
        self._watchdogs: dict[int, Watchdog] = {}
        self._reaches: dict[int, Reach] = {}
        self.is_unseen: Callable[[int], bool] = lambda _: False
        """Whether the run has requests of another process, whose bytes are not seen here."""

    def obey(self, order: CheckOrder, run: LiveRun, post: Callable[[Event], None]) -> None:
        plan, run_id = self._plan, order.run_id
        if plan is None:
            return
        if isinstance(order, BeginChecks):
            self._begin(plan, run, post)
        elif isinstance(order, WatchForLoss | LookForLoss):
            self._reach(plan, run, post, is_doubted=isinstance(order, LookForLoss))
        elif isinstance(order, AbortRequests):
            plan.abort(run_id)
        elif run_id in self._watchdogs:
            self._watchdogs[run_id].cancel()

    def _begin(self, plan: CheckPlan, run: LiveRun, post: Callable[[Event], None]) -> None:
        upstream, process = run.upstream, run.process
        run_id = upstream.run_id
        if run_id not in self._watchdogs:
            check, hung_after = plan.check_of(upstream)
            self._watchdogs[run_id] = Watchdog(
                Subject(
                    run_id,
                    upstream.model,
                    run.gate,
                    lambda: process.pid,
                    check,
                    hung_after,
                    lambda: None if self.is_unseen(run_id) else plan.look_at(run_id),
                ),
                post,
            )
        try:
            self._watchdogs[run_id].begin()
        except (OSError, RuntimeError, MemoryError) as error:  # the effects after this one must still be carried out
            self._log.warn(f"{upstream.model}: cannot be watched, though requests wait for it to stop: {error}")

    def _reach(self, plan: CheckPlan, run: LiveRun, post: Callable[[Event], None], *, is_doubted: bool) -> None:
        """Look for its server. What nobody can look for counts as reached: else requests would wait for ever."""
        upstream, run_id = run.upstream, run.upstream.run_id
        if before := self._reaches.pop(run_id, None):
            before.cancel()
        check, lost_after = plan.check_of(upstream)[0], plan.lost_after_of(upstream)
        try:
            if check is not None and check.through is None and lost_after > 0:
                known = partial(plan.received, run_id), partial(plan.is_heard, run_id)
                target = Target(run_id, run.gate, check, lost_after, *known)
                reach = Reach(target, post, is_doubted=is_doubted, known=before.addresses if before else ())
                reach.start(f"reach-{upstream.model}")
                self._reaches[run_id] = reach
                return
        except (OSError, RuntimeError, MemoryError) as error:
            self._log.warn(f"{upstream.model}: cannot be looked for, though it may be out of reach: {error}")
        if is_doubted:
            post(RunReached(run_id))

    def forget(self, run_id: int) -> None:
        """The run has ended, or is elsewhere."""
        if reach := self._reaches.pop(run_id, None):
            reach.cancel()
        if watchdog := self._watchdogs.pop(run_id, None):
            watchdog.cancel()

    def close(self) -> None:
        for run_id in {*self._watchdogs, *self._reaches}:
            self.forget(run_id)


# -- whether processes are stopped --


def is_tree_stopped(leader: int, port: int | None) -> bool:
    """Whether all that descends from `leader` is stopped, or, of several, all that listen on `port`.

    A shell around the server waits for it, and is not stopped with it; a stopped shell says nothing of the server. This
    takes one look at /proc, some 10 us a process; without /proc the answer is no.
    """
    if not HAS_PROC:
        return False
    stats = (read_stat(int(pid)) for pid in os.listdir("/proc") if pid.isdigit())  # noqa: PTH208 - some end meanwhile
    members = tree_of(leader, [entry for entry in stats if entry is not None and not entry.is_dead])
    stopped = {entry.pid for entry in members if entry.is_stopped}
    if not stopped or len(stopped) == len(members) or port is None:
        return bool(stopped) and len(stopped) == len(members)
    servers = listening_among((entry.pid for entry in members), port)
    return bool(servers) and stopped.issuperset(servers)


def tree_of(leader: int, entries: Iterable[ProcessEntry]) -> list[ProcessEntry]:
    """Those in the leader's group or session, and all that they started, wherever it went."""
    others = list(entries)
    pids: set[int] = {leader}
    members: list[ProcessEntry] = []
    while found := [entry for entry in others if entry.parent in pids or leader in _names(entry)]:
        members += found
        pids.update(entry.pid for entry in found)
        others = [entry for entry in others if entry.pid not in pids]
    return members


def _names(entry: ProcessEntry) -> tuple[int, int, int]:
    return entry.pid, entry.group, entry.session
