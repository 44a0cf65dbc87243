"""A scheduler and short words for what happens to it, for tests that read as a story."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from llamaswap_lib.core.effects import (
    Admit,
    BeginChecks,
    CheckLaunch,
    Effect,
    EndChecks,
    LookInside,
    OpenGate,
    ReportSwap,
    ShutGates,
    ShutIfIdle,
    StartProcess,
    StopProcess,
)
from llamaswap_lib.core.events import (
    Event,
    GateDrained,
    GateIdle,
    GatesAnswered,
    LaunchChecked,
    ProcessExited,
    ProcessReady,
    RequestAbandoned,
    RequestArrived,
    TimePassed,
)
from llamaswap_lib.core.eviction import Evict, Explain, Rules, unexplained
from llamaswap_lib.core.eviction.own import OwnPolicy, Policy
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.scheduler import Scheduler


def one_place(target: str, running: tuple[str, ...]) -> Collection[str]:
    """Only one model runs at a time."""
    return set(running) - {target}


def together(target: str, running: tuple[str, ...]) -> Collection[str]:
    """All run side by side."""
    return ()


def rules(**goes_for: str) -> Evict:
    """`rules(A="BC")`: for A, B and C must go; for the others nobody."""

    def evict(target: str, running: tuple[str, ...]) -> Collection[str]:
        return set(goes_for.get(target, "")) & set(running)

    return evict


class Story:
    """Models A to F, a clock that stands still unless told, and run ids that count from 1."""

    def __init__(
        self,
        evict: Evict = one_place,
        max_wait: float = 0.0,
        specs: Mapping[str, ModelSpec] | None = None,
        explain: Explain = unexplained,
        policy: Policy | None = None,
        rules: Rules | None = None,
    ) -> None:
        """`policy` is one of the user's own, or `rules` are all, in place of `evict`; they look at `inside`."""
        self.now = 0.0
        models = dict.fromkeys("ABCDEF", ModelSpec()) | dict(specs or {})
        if policy is None:
            self.scheduler = Scheduler(models, evict, max_wait, explain=explain, rules=rules)
        else:
            own = OwnPolicy(policy)
            self.scheduler = Scheduler(models, own.evict, max_wait, explain=explain, observe=own.observe)
        self.inside: dict[int, tuple[int, float]] = {}  # run id -> who is inside when the policy looks, idle since when
        self.watched: list[int] = []  # run ids that were, when it looked last
        self.swaps: list[ReportSwap] = []
        self.problems: dict[str, str] = {}  # why models cannot be started
        self.launch_checks: list[str] = []  # the models of which it was asked
        self.checked: set[int] = set()  # run ids that are looked at, since somebody waits for them to go
        self._runs = 0

    def tell(self, event: Event) -> list[Effect]:
        """What is to be done; what is said of swaps goes to `swaps`, what is looked at to `checked`."""
        effects = self.scheduler.handle(event, self.now)
        while effects and isinstance(question := effects[-1], LookInside | CheckLaunch):
            effects = effects[:-1] + self.scheduler.handle(self._answer(question), self.now)
        self.swaps += [effect for effect in effects if isinstance(effect, ReportSwap)]
        for effect in effects:
            if isinstance(effect, BeginChecks):
                self.checked.add(effect.run_id)
            elif isinstance(effect, EndChecks):
                self.checked.remove(effect.run_id)
        return [effect for effect in effects if not isinstance(effect, ReportSwap | BeginChecks | EndChecks)]

    def _answer(self, question: LookInside | CheckLaunch) -> Event:
        if isinstance(question, CheckLaunch):
            self.launch_checks.append(question.model)
            return LaunchChecked(question.model, self.problems.get(question.model, ""))
        gates = {run_id: self.inside.get(run_id, (0, 0.0)) for run_id in question.run_ids}
        self.watched = [run_id for run_id, (inside, _) in gates.items() if inside and question.watch]
        return GatesAnswered(question, False, gates)

    def arrive(self, ticket: int, model: str) -> list[Effect]:
        return self.tell(RequestArrived(ticket, model))

    def abandon(self, ticket: int) -> list[Effect]:
        return self.tell(RequestAbandoned(ticket))

    def ready(self, run_id: int) -> list[Effect]:
        return self.tell(ProcessReady(run_id))

    def exited(
        self, run_id: int, detail: str = "exited with code 0", *, is_shortage: bool = False, out_of_memory: str = ""
    ) -> list[Effect]:
        return self.tell(ProcessExited(run_id, detail, is_shortage, out_of_memory))

    def idle(self, run_id: int) -> list[Effect]:
        return self.tell(GateIdle(run_id))

    def drained(self, run_id: int) -> list[Effect]:
        return self.tell(GateDrained(run_id))

    def wait_until(self, time: float) -> list[Effect]:
        self.now = time
        return self.tell(TimePassed())

    def answer(self, question: ShutIfIdle | ShutGates, *inside: int, since: float = 0.0) -> list[Effect]:
        """The gates answer, in the order of the question; a `ShutIfIdle` succeeds if all are empty for long enough."""
        gates = {run_id: (count, since) for run_id, count in zip(question.run_ids, inside, strict=True)}
        done = isinstance(question, ShutGates) or (not any(inside) and since + question.idle_for <= self.now)
        return self.tell(GatesAnswered(question, done, gates))

    def load(self, model: str, ticket: int) -> int:
        """`model` starts for `ticket`, is ready, and its gate is open; returns its run id."""
        self._runs += 1
        run_id = self._runs
        assert self.arrive(ticket, model) == [StartProcess(run_id, model)]
        assert self.ready(run_id) == [Admit(ticket, run_id), OpenGate(run_id)]
        return run_id

    def swap(self, old: int, ticket: int, model: str) -> list[Effect]:
        """`model` is asked for, idle `old` stops for it and is gone; returns what its exit brings."""
        question = ShutIfIdle((old,))
        assert self.arrive(ticket, model) == [question]
        assert self.answer(question, 0) == [StopProcess(old, "swap", f"to make room for {model}")]
        self._runs += 1
        return self.exited(old)

    @property
    def reasons(self) -> dict[int, str]:
        return {view.ticket: view.reason for view in self.scheduler.snapshot().queue}

    @property
    def states(self) -> dict[str, str]:
        return {view.model: view.detail.value for view in self.scheduler.runs()}
