"""What the rules of scheduling come to: swaps and waits for five patterns of arrival, under each set of rules.

`python tests/bench/scheduling.py` prints the table of docs/scheduling.md, the same each time: the real scheduler and
the real gates, in a simulated world with one place. A wait is the time from asking until the model begins to work.
"""

from __future__ import annotations

import heapq
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from llamaswap_lib.core import effects, events
from llamaswap_lib.core.effects import Effect
from llamaswap_lib.core.gate import Gate, ask_gates
from llamaswap_lib.core.in_force import ModelSpec
from llamaswap_lib.core.scheduler import Scheduler
from tests.bench.arrivals import Pattern, Script, Step, patterns

LOAD_SECONDS = 8.0
STOP_SECONDS = 1.0
SLOTS = 4  # requests that a model works on at a time; the others wait inside


@dataclass(frozen=True, slots=True)
class Rules:
    name: str
    max_wait: float
    in_order: bool = False


RULES = (
    Rules("arrival order", 0.0, in_order=True),
    Rules("llama-swap (Go)", 0.0),
    Rules("llamaswap", 60.0),
    Rules("llamaswap, `maxWait: 10`", 10.0),
)


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
    free_at: list[float] = field(default_factory=lambda: [0.0] * SLOTS)


def one_place(target: str, running: tuple[str, ...]) -> Collection[str]:
    return set(running) - {target}


class World:
    """Plays one pattern under one set of rules; then `swaps` and `waits` (who, seconds) say what came of it."""

    def __init__(self, pattern: Pattern, rules: Rules) -> None:
        self.swaps = 0
        self.waits: list[tuple[str, float]] = []
        self._rules = rules
        self._now = 0.0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = 0
        self._alarm = 0.0
        self._line: deque[Request] = deque()  # with `in_order`: who is behind the one that is being let in
        self._first: Request | None = None
        self._waiting: dict[int, Request] = {}
        self._lives: dict[int, Life] = {}
        self._by_model: dict[str, Life] = {}
        models = dict.fromkeys(step.model for script in pattern.scripts for step in script.steps)
        specs = {model: ModelSpec(priority=pattern.priorities.get(model, 0)) for model in models}
        self._scheduler = Scheduler(specs, one_place, rules.max_wait)
        for script in pattern.scripts:
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

    def figures(self) -> str:
        return f"{self.swaps} swap{'s' * (self.swaps != 1)}, {figures(self.waits_of())}"

    def _after(self, delay: float, action: Callable[[], None]) -> None:
        self._numbers += 1
        heapq.heappush(self._agenda, (self._now + delay, self._numbers, action))

    # -- clients --

    def _ask(self, script: Script, place: int) -> None:
        self._numbers += 1
        request = Request(self._numbers, script, place, self._now)
        if self._rules.in_order:
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
                case effects.StartProcess(run_id, model):
                    self._start(run_id, model)
                case effects.StopProcess(run_id):
                    self.swaps += 1
                    self._after(STOP_SECONDS, partial(self._tell, events.ProcessExited(run_id, "exited")))
                case effects.OpenGate(run_id):
                    self._lives[run_id].gate.shut = False
                case effects.ShutGate(run_id):
                    self._lives[run_id].gate.shut = True
                case effects.DropRun(run_id):
                    del self._by_model[self._lives.pop(run_id).model]
                case effects.ShutIfIdle(run_ids) | effects.ShutGates(run_ids):
                    return ask_gates(order, [self._lives[run_id].gate for run_id in run_ids], self._now)
                case effects.CheckLaunch(model):
                    return events.LaunchChecked(model, "")
                case effects.ReportSwap() | effects.BeginChecks() | effects.EndChecks():
                    pass
                case _:
                    raise AssertionError(f"nothing fails here: {order}")
        return None

    def _start(self, run_id: int, model: str) -> None:
        post = lambda notice: self._after(0.0, partial(self._tell, notice))  # noqa: E731
        life = Life(run_id, model, Gate(run_id, post, lambda: self._now))
        self._lives[run_id] = self._by_model[model] = life
        self._after(LOAD_SECONDS, partial(self._tell, events.ProcessReady(run_id)))


def figures(waits: list[float]) -> str:
    """Mean, 95th percentile (of the nearest rank) and longest, in seconds."""
    ordered = sorted(waits)
    p95 = ordered[-(-len(ordered) * 95 // 100) - 1]
    return f"{sum(ordered) / len(ordered):.0f} / {p95:.0f} / {ordered[-1]:.0f}"


def lines() -> Iterator[str]:
    """The table, in Markdown."""
    yield _row("", [rules.name for rules in RULES])
    yield _row("---", ["---"] * len(RULES))
    for pattern in patterns():
        worlds = [World(pattern, rules).play() for rules in RULES]
        yield _row(pattern.name, [world.figures() for world in worlds])
        if pattern.watched:
            yield _row(f"of these, {pattern.watched}", [figures(world.waits_of(pattern.watched)) for world in worlds])


def _row(head: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([head, *cells])} |"


def main() -> int:
    sys.stdout.writelines(f"{line}\n" for line in lines())
    return 0


if __name__ == "__main__":
    sys.exit(main())
