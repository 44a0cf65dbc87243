"""A simulated world around the real scheduler and the real gates: clients that follow a script, and models.

One thread, virtual time, nothing at random, and nothing fails. A wait is the time from asking until the model begins to
work on the request.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from llamaswap_lib.core import effects, events
from llamaswap_lib.core.effects import Effect
from llamaswap_lib.core.gate import Gate, ask_gates
from llamaswap_lib.core.scheduler import Scheduler
from tests.bench.arrivals import Script, Step


@dataclass(frozen=True, slots=True)
class Pace:
    """Of a model: seconds of a load and of a stop. It works on `slots` requests at a time; others wait inside."""

    load: float
    stop: float
    slots: int


@dataclass(slots=True)
class Request:
    ticket: int
    script: Script
    place: int  # in the script
    asked_at: float

    @property
    def step(self) -> Step:
        return self.script.steps[self.place]


@dataclass(slots=True)
class Life:
    """One run, and when each of its slots is free."""

    run_id: int
    model: str
    gate: Gate
    free_at: list[float] = field(default_factory=list)


class Witness:
    """Is told what happens, before the scheduler is."""

    def asked(self, model: str, now: float) -> None: ...

    def started(self, model: str, gpus: Sequence[str]) -> None:
        """On these GPUs, if they were chosen for it."""

    def became_ready(self, model: str) -> None: ...

    def exited(self, model: str) -> None: ...


class World:
    """Plays scripts under the rules of a scheduler; `loads`, `stops` and `waits` (who, seconds) say what came of it.

    `in_order`: a request is let in only when the one before it has begun, whichever models they are for.
    """

    def __init__(
        self,
        scripts: Sequence[Script],
        paces: Mapping[str, Pace],
        scheduler: Scheduler,
        witness: Witness | None = None,
        *,
        in_order: bool = False,
    ) -> None:
        self.loads: list[str] = []
        self.stops = 0
        self.waits: list[tuple[str, float]] = []
        self._paces = paces
        self._scheduler = scheduler
        self._witness = witness or Witness()
        self._is_in_order = in_order
        self._now = 0.0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = 0
        self._alarm = 0.0
        self._line: deque[Request] = deque()  # in order: who is behind the one that is being let in
        self._first: Request | None = None
        self._waiting: dict[int, Request] = {}
        self._lives: dict[int, Life] = {}
        self._by_model: dict[str, Life] = {}
        for script in scripts:
            self._after(script.begin, partial(self._ask, script, 0))

    def play(self) -> World:
        while self._agenda:
            self._now, _, action = heapq.heappop(self._agenda)
            action()
        assert not self._waiting
        assert not self._line
        return self

    def waits_of(self, who: str = "") -> list[float]:
        """In seconds, in the order in which they ended; of everybody if nobody is named."""
        return [wait for name, wait in self.waits if who in ("", name)]

    def _after(self, delay: float, action: Callable[[], None]) -> None:
        self._numbers += 1
        heapq.heappush(self._agenda, (self._now + delay, self._numbers, action))

    # -- clients --

    def _ask(self, script: Script, place: int) -> None:
        self._numbers += 1
        request = Request(self._numbers, script, place, self._now)
        self._witness.asked(request.step.model, self._now)
        if self._is_in_order:
            self._line.append(request)
            self._let_next_in()
        else:
            self._enter(request)

    def _let_next_in(self) -> None:
        if self._line and self._first is None:
            self._first = self._line.popleft()
            self._enter(self._first)

    def _enter(self, request: Request) -> None:
        life = self._by_model.get(request.step.model)
        if life is not None and life.gate.enter(request.ticket):
            self._begin(request, life)
        else:
            self._waiting[request.ticket] = request
            self._tell(events.RequestArrived(request.ticket, request.step.model))

    def _begin(self, request: Request, life: Life) -> None:
        if request is self._first:
            self._first = None
            self._after(0.0, self._let_next_in)
        begin = max(self._now, heapq.heappop(life.free_at))
        end = begin + request.step.work_seconds
        heapq.heappush(life.free_at, end)
        self.waits.append((request.script.who, begin - request.asked_at))
        self._after(end - self._now, partial(self._end, request, life))

    def _end(self, request: Request, life: Life) -> None:
        life.gate.leave(request.ticket)
        if request.place + 1 < len(request.script.steps):
            self._after(request.step.pause_seconds, partial(self._ask, request.script, request.place + 1))

    # -- the controller's part --

    def _tell(self, event: events.Event) -> None:
        question: events.Event | None = event
        while question is not None:
            question = self._carry_out(self._scheduler.handle(question, self._now))
        deadline = self._scheduler.next_deadline()
        if deadline is not None and deadline != self._alarm:
            self._alarm = deadline
            self._after(max(0.0, deadline - self._now), partial(self._tell, events.TimePassed()))

    def _carry_out(self, orders: list[Effect]) -> events.Event | None:
        for order in orders:
            match order:
                case effects.Admit(ticket, run_id):
                    self._lives[run_id].gate.admit(ticket)
                    self._begin(self._waiting.pop(ticket), self._lives[run_id])
                case effects.StartProcess(run_id, model, placement):
                    self._start(run_id, model, placement.gpus)
                case effects.StopProcess(run_id):
                    self.stops += 1
                    self._after(self._paces[self._lives[run_id].model].stop, partial(self._exit, run_id))
                case effects.OpenGate(run_id):
                    self._lives[run_id].gate.shut = False
                case effects.ShutGate(run_id):
                    self._lives[run_id].gate.shut = True
                case effects.DropRun(run_id):
                    del self._by_model[self._lives.pop(run_id).model]
                case effects.ShutIfIdle(run_ids) | effects.ShutGates(run_ids) | effects.LookInside(run_ids):
                    return ask_gates(order, [self._lives[run_id].gate for run_id in run_ids], self._now)
                case effects.CheckLaunch(model):
                    return events.LaunchChecked(model, "")
                case effects.ReportSwap() | effects.BeginChecks() | effects.EndChecks():
                    pass
                case _:
                    raise AssertionError(f"nothing fails here: {order}")
        return None

    def _start(self, run_id: int, model: str, gpus: Sequence[str]) -> None:
        pace = self._paces[model]
        post = lambda notice: self._after(0.0, partial(self._tell, notice))  # noqa: E731
        life = Life(run_id, model, Gate(run_id, post, lambda: self._now), [0.0] * pace.slots)
        self._lives[run_id] = self._by_model[model] = life
        self.loads.append(model)
        self._witness.started(model, gpus)
        self._after(pace.load, partial(self._be_ready, run_id))

    def _be_ready(self, run_id: int) -> None:
        if run_id in self._lives:  # a load that nobody waits for any more may have been stopped
            self._witness.became_ready(self._lives[run_id].model)
        self._tell(events.ProcessReady(run_id))

    def _exit(self, run_id: int) -> None:
        self._witness.exited(self._lives[run_id].model)
        self._tell(events.ProcessExited(run_id, "exited"))


def figures(waits: list[float]) -> tuple[float, float, float]:
    """Mean, 95th percentile (of the nearest rank) and longest."""
    ordered = sorted(waits)
    p95 = ordered[-(-len(ordered) * 95 // 100) - 1]
    return sum(ordered) / len(ordered), p95, ordered[-1]
