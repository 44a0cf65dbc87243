"""What runs, what fails and which requests wait, for all threads to read.

The controller thread publishes it after every decision, before it wakes a thread: a request that was answered finds it
up to date. Any thread reads it, without a lock and without waiting: what was published is never changed, only replaced.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from llamaswap_lib.core.effects import StopKind
from llamaswap_lib.core.eviction import Explanation
from llamaswap_lib.core.failures import ModelFailure
from llamaswap_lib.core.plan import Plan, Published, make_plan
from llamaswap_lib.core.run import RunState
from llamaswap_lib.core.snapshot import RunView, TicketView, awaited_runs, view_queue
from llamaswap_lib.runtime.control.live_run import LiveRun
from llamaswap_lib.runtime.logs.logger import Logger

Listener = Callable[[tuple[RunView, ...]], None]
StopListener = Callable[[int, str, StopKind, str], None]
"""Gets a run's number, its model, for what kind of reason it was told to stop, and that in words."""
SwapListener = Callable[[str, Explanation], None]
"""Gets the model for which others are unloaded, and why."""


@dataclass(frozen=True, slots=True)
class RunDetail:
    """One run and what it does now; `port` is its automatic one, `waiting` counts the tickets of its model."""

    run: RunView
    pid: int | None = None
    port: int | None = None
    in_flight: int = 0
    idle_seconds: float = 0.0
    waiting: int = 0


class Board:
    """`live` are the controller's, by run id; `published` is what the scheduler shows before its first decision."""

    def __init__(self, live: Mapping[int, LiveRun], log: Logger, published: Published) -> None:
        self._live = live
        self._log = log
        self._listeners: list[Listener] = []
        self._queue_listeners: list[Callable[[], None]] = []
        self._wait_listeners: list[Callable[[frozenset[int]], None]] = []
        self._awaited: frozenset[int] = frozenset()
        self._stop_listeners: list[StopListener] = []
        self._swap_listeners: list[SwapListener] = []
        self._published = published
        self.failing: Mapping[str, ModelFailure] = {}
        self._behind: dict[str, tuple[str, float]] = {}  # model -> the model that it waited for last, and when

    # -- before the controller starts --

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def listen_to_queue(self, listener: Callable[[], None]) -> None:
        self._queue_listeners.append(listener)

    def listen_to_waits(self, listener: Callable[[frozenset[int]], None]) -> None:
        self._wait_listeners.append(listener)

    def listen_to_orders(self, on_stop: StopListener, on_swap: SwapListener) -> None:
        self._stop_listeners.append(on_stop)
        self._swap_listeners.append(on_swap)

    # -- any thread --

    @property
    def runs(self) -> tuple[RunView, ...]:
        """What runs, sorted by model; a new tuple when it has changed, and only then."""
        return self._published.runs

    def is_ready(self, model: str) -> bool:
        """Whether a request for it causes no load: it is ready, and not shut for somebody who has waited too long."""
        ready = [run.detail for run in self.runs if run.model == model and run.state == "ready"]
        return any(detail is not RunState.DRAINING for detail in ready)

    @property
    def is_freeing(self) -> bool:
        """Whether a start waits for memory to become free."""
        return bool(self._published.queue.freeing)

    def details(self, now: float) -> tuple[RunDetail, ...]:
        """What runs, and what each of them does."""
        runs, queue, _ = self._published
        waiting = {model: len(tickets) for model, tickets in zip(queue.models, queue.tickets, strict=True)}
        return tuple(self._detail(run, waiting.get(run.model, 0), now) for run in runs)

    def _detail(self, run: RunView, waiting: int, now: float) -> RunDetail:
        live_run = self._live.get(run.run_id)
        if live_run is None:  # about to be started, or just gone
            return RunDetail(run, waiting=waiting)
        in_flight = len(live_run.gate)
        is_idle = run.ready_at is not None and not in_flight
        idle_seconds = max(0.0, now - max(live_run.gate.idle_since, run.ready_at or 0.0)) if is_idle else 0.0
        return RunDetail(run, live_run.process.pid, live_run.upstream.port, in_flight, idle_seconds, waiting)

    def tickets(self, now: float) -> tuple[TicketView, ...]:
        """The requests that wait, in the order in which they will be served; requests in progress are counted now."""
        runs, queue, _ = self._published
        inside = self._inside(runs)
        reasons = {
            model: reason._replace(inside=sum(inside.get(other, 0) for other in reason.others))
            for model, reason in queue.reasons.items()
        }
        return view_queue(queue._replace(reasons=reasons), runs, now)

    def plan(self, model: str, now: float) -> Plan:
        """What a load of the model would do, as of the last decision; requests in progress are counted now."""
        published = self._published
        idle_since = {model: run.gate.idle_since for model, run in self._live_runs(published.runs)}
        return make_plan(published, model, self._inside(published.runs), now, idle_since)

    def behind(self, model: str, since: float) -> str:
        """The other model that requests for `model` have waited for since then; '' for none."""
        other, at = self._behind.get(model, ("", 0.0))
        return other if at >= since else ""

    def _inside(self, runs: Iterable[RunView]) -> dict[str, int]:
        """Requests inside each model that runs."""
        return {model: len(live_run.gate) for model, live_run in self._live_runs(runs)}

    def _live_runs(self, runs: Iterable[RunView]) -> list[tuple[str, LiveRun]]:
        return [(run.model, live_run) for run in runs if (live_run := self._live.get(run.run_id))]

    # -- controller thread only --

    def put_up(self, published: Published, failing: Mapping[str, ModelFailure], now: float) -> None:
        before = self._published
        runs_otherwise = published.runs != before.runs
        self._published = published if runs_otherwise else published._replace(runs=before.runs)
        fails_otherwise, self.failing = failing != self.failing, failing
        if runs_otherwise or fails_otherwise:
            self._tell_runs(before.runs, published.runs)
        for model in published.queue.models:
            if (reason := published.queue.reasons.get(model)) and reason.others:
                self._behind[model] = reason.others[0], now
        if published.queue.models or before.queue.models or published.queue.freeing:
            for listener in self._queue_listeners:
                self._tell(listener)
        awaited = awaited_runs(published.runs, published.queue)
        if awaited != self._awaited:
            self.tell_awaited(awaited)

    def tell_awaited(self, run_ids: frozenset[int]) -> None:
        """The requests in these runs are waited for, here or in the process that has taken over."""
        self._awaited = run_ids
        for told in self._wait_listeners:
            self._tell(partial(told, run_ids))

    def note_stop(self, run_id: int, model: str, kind: StopKind, reason: str) -> None:
        self._log.info(f"{model}: stopping, {reason}")
        for listener in self._stop_listeners:
            self._tell(partial(listener, run_id, model, kind, reason))

    def note_swap(self, model: str, evicted: Sequence[str], why: Explanation, sleepers: Collection[str] = ()) -> None:
        stopped = ", ".join(one for one in evicted if one not in sleepers)
        asleep = ", ".join(one for one in evicted if one in sleepers)
        parts = [f"{verb} {names}" for verb, names in (("stopping", stopped), ("putting to sleep", asleep)) if names]
        self._log.info(f"swap to {model}: {', '.join(parts)}; {why}")
        for listener in self._swap_listeners:
            self._tell(partial(listener, model, why))

    def _tell_runs(self, old: Iterable[RunView], runs: tuple[RunView, ...]) -> None:
        known = {run.run_id: run for run in old}
        for run in runs:
            before = known.get(run.run_id)
            if run.ready_at is not None and before is not None and before.ready_at is None:
                self._log.info(f"{run.model}: ready after {run.ready_at - run.load_began:.2f} s")
            if run.detail is RunState.SLEEPING and before is not None and before.detail is not RunState.SLEEPING:
                self._log.info(f"{run.model}: asleep")
        for listener in self._listeners:
            self._tell(partial(listener, runs))

    def _tell(self, listener: Callable[[], None]) -> None:
        try:
            listener()
        except Exception:  # noqa: BLE001 - threads wait for the effects that are still to be carried out
            self._log.error(f"controller: a listener failed\n{traceback.format_exc()}")
