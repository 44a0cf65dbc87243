"""What is said of a load beforehand is what then happens when it is asked for."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence

import pytest

from llamaswap_lib.core.effects import (
    Admit,
    CheckLaunch,
    Effect,
    OpenGate,
    ReportSwap,
    ShutGate,
    ShutGates,
    ShutIfIdle,
    StartProcess,
)
from llamaswap_lib.core.events import (
    Event,
    LaunchChecked,
    ModelsChanged,
    ProcessExited,
    ProcessReady,
    RequestAbandoned,
    RequestArrived,
    TimePassed,
    UnloadRequested,
)
from llamaswap_lib.core.eviction import Evict, Explain, Explanation, Rules, RunningModel, unexplained
from llamaswap_lib.core.eviction.dsl import compile_sets
from llamaswap_lib.core.eviction.group import Group, GroupPolicy
from llamaswap_lib.core.eviction.matrix import MatrixPolicy
from llamaswap_lib.core.gate import Gate, ask_gates
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.plan import Plan, Victim, Wait, make_plan
from llamaswap_lib.core.run import RunState
from llamaswap_lib.core.scheduler import Scheduler
from tests.batches import batches
from tests.core import policies
from tests.core.story import Story, one_place, rules, together

MODELS = list("ABCDEF")


class Played:
    """The scheduler and real gates, between them the controller's part; requests and processes do as they are told."""

    def __init__(
        self,
        evict: Evict = one_place,
        max_wait: float = 0.0,
        priorities: Mapping[str, int] | None = None,
        explain: Explain = unexplained,
    ) -> None:
        self.now = 0.0
        specs = {model: ModelSpec((priorities or {}).get(model, 0)) for model in MODELS}
        self.scheduler = Scheduler(specs, evict, max_wait, explain=explain)
        self.gates: dict[int, Gate] = {}
        self.inside: list[tuple[int, int]] = []  # run id, ticket
        self.done: list[Effect] = []  # since it was looked at last
        self._inbox: deque[Event] = deque()
        self._tickets = 0

    def tell(self, event: Event) -> None:
        self._inbox.append(event)
        while self._inbox:
            answer: Event | None = self._inbox.popleft()
            while answer is not None:
                answer = self._carry_out(self.scheduler.handle(answer, self.now))

    def _carry_out(self, effects: Collection[Effect]) -> Event | None:
        for effect in effects:
            self.done.append(effect)
            match effect:
                case StartProcess(run_id):
                    self.gates[run_id] = Gate(run_id, self._inbox.append, lambda: self.now)
                case Admit(ticket, run_id):
                    self.gates[run_id].admit(ticket)
                    self.inside.append((run_id, ticket))
                case OpenGate(run_id):
                    self.gates[run_id].shut = False
                case ShutGate(run_id):
                    self.gates[run_id].shut = True
                case ShutIfIdle() | ShutGates():
                    return ask_gates(effect, [self.gates[run_id] for run_id in effect.run_ids], self.now)
                case CheckLaunch(model):
                    return LaunchChecked(model, "")
        return None

    def arrive(self, model: str) -> int:
        self._tickets += 1
        self.tell(RequestArrived(self._tickets, model))
        return self._tickets

    def load(self, model: str, seconds: float = 0.0) -> int:
        """It is asked for, and ready after so many seconds, with the request inside; returns its run id."""
        self.arrive(model)
        [run_id] = self.runs(RunState.STARTING)
        self.now += seconds
        self.tell(ProcessReady(run_id))
        return run_id

    def leave_all(self) -> None:
        for place in list(self.inside):
            self.leave(place)

    def leave(self, place: tuple[int, int]) -> None:
        self.inside.remove(place)
        run_id, ticket = place
        self.gates[run_id].leave(ticket)
        self.tell(TimePassed())

    def runs(self, *states: RunState) -> list[int]:
        return [run.run_id for run in self.scheduler.runs() if run.detail in states]

    def plan(self, model: str) -> Plan:
        inside = {run.model: len(self.gates[run.run_id]) for run in self.scheduler.runs()}
        return make_plan(self.scheduler.published(), model, inside, self.now)

    def settle(self) -> None:
        """All that loads is ready, all requests end, all that is told to end exits, until nothing is left to happen."""
        for _ in range(200):
            if starting := self.runs(RunState.STARTING):
                self.tell(ProcessReady(starting[0]))
            elif self.inside:
                self.leave(self.inside[0])
            elif stopping := self.runs(RunState.STOPPING):
                self.tell(ProcessExited(stopping[0], "exited"))
            else:
                return
        raise AssertionError("it never settles")

    def step(self, rng: random.Random) -> None:
        """Something happens."""
        starting, stopping = self.runs(RunState.STARTING), self.runs(RunState.STOPPING)
        match rng.choice(["arrive", "arrive", "ready", "ready", "leave", "exit", "time", "unload", "abandon"]):
            case "arrive":
                self.arrive(rng.choice(MODELS))
            case "ready" if starting:
                self.tell(ProcessReady(rng.choice(starting)))
            case "leave" if self.inside:
                self.leave(rng.choice(self.inside))
            case "exit" if stopping:
                self.tell(ProcessExited(rng.choice(stopping), "exited"))
            case "time":
                self.now += rng.choice([0.5, 4.0])
                self.tell(TimePassed())
            case "unload" if rng.random() < 0.3:
                self._tickets += 1
                self.tell(UnloadRequested(self._tickets, (rng.choice(MODELS),)))
            case "abandon" if waiting := self.scheduler.snapshot().queue:
                self.tell(RequestAbandoned(rng.choice(waiting).ticket))


# -- one by one --

SAID = "decided by the policy"


def test_a_model_that_nothing_is_in_the_way_of_starts() -> None:
    world = Played(together)
    world.load("A")
    assert world.plan("B") == Plan("B", "stopped", (), (), Explanation(SAID), None)


def test_an_idle_model_goes_and_is_not_waited_for() -> None:
    world = Played()
    world.load("A")
    world.leave_all()
    assert world.plan("B").evicts == (Victim("A", "ready", 0, SAID),)
    assert world.plan("B").waits_for == ()


def test_a_busy_model_that_must_go_is_waited_for() -> None:
    world = Played()
    world.load("A")
    world.arrive("A")
    assert world.plan("B").evicts == (Victim("A", "ready", 2, SAID),)
    assert world.plan("B").waits_for == (Wait("A", "requests", 2),)
    assert world.plan("A") == Plan("A", "ready", (), (), Explanation(SAID), 0.0)


def test_a_model_that_loads_for_others_is_waited_for_and_then_goes() -> None:
    world = Played()
    world.arrive("A")
    assert world.plan("B").evicts == (Victim("A", "starting", 0, SAID),)
    assert world.plan("B").waits_for == (Wait("A", "load", 0),)
    assert world.plan("A").waits_for == (Wait("A", "load", 0),)
    world.tell(RequestAbandoned(1))
    assert world.plan("B").waits_for == ()


def test_a_model_on_its_way_out_is_waited_for() -> None:
    world = Played()
    run_id = world.load("A")
    world.tell(UnloadRequested(9, ("A",)))
    assert world.plan("B").evicts == ()
    assert world.plan("B").waits_for == (Wait("A", "stop", 1),)
    assert world.plan("A").waits_for == (Wait("A", "stop", 1),)
    assert world.plan("A").state == "stopping"
    world.leave_all()
    assert world.plan("B").waits_for == (Wait("A", "stop", 0),)
    world.tell(ProcessExited(run_id, "exited"))
    assert world.plan("B").waits_for == ()


def test_who_waits_in_front_comes_first_and_then_goes() -> None:
    world = Played(max_wait=5.0, priorities={"D": 1})
    world.load("A")
    world.arrive("B")
    assert world.plan("C").waits_for == (Wait("A", "requests", 1),)
    world.now = 5.0
    world.tell(TimePassed())
    for model in "CD":
        assert world.plan(model).evicts == (Victim("B", "stopped", 0, SAID),)
        assert world.plan(model).waits_for == (Wait("B", "turn", 0),)


def test_a_priority_puts_a_model_before_those_whose_swap_has_not_begun() -> None:
    world = Played(rules(B="AC", C="B", D="B"), priorities={"C": 1})
    world.load("A")
    world.tell(UnloadRequested(9, ("A",)))
    world.arrive("B")  # and waits for the exit of A
    assert world.plan("C").waits_for == ()
    assert world.plan("D").waits_for == (Wait("B", "turn", 0),)


def test_a_model_that_is_loaded_or_loading_does_not_wait_for_its_turn() -> None:
    world = Played(rules(A="C", D="C", C="B"), max_wait=5.0)
    world.load("A")
    world.load("B")
    world.arrive("C")
    world.arrive("D")
    world.now = 5.0
    world.tell(TimePassed())
    assert world.plan("A").waits_for == ()
    assert world.plan("D").waits_for == (Wait("D", "load", 0),)
    assert world.plan("C").waits_for == (Wait("B", "requests", 1),)


def test_a_plan_for_a_request_that_waits_names_those_in_front_of_it() -> None:
    world = Played(max_wait=5.0)
    world.load("A")
    for model in "BC":
        world.arrive(model)
        world.now += 1.0
    world.now = 7.0
    world.tell(TimePassed())
    assert world.plan("B").waits_for == (Wait("A", "requests", 1),)
    assert world.plan("C").waits_for == (Wait("B", "turn", 0),)


def test_the_estimate_is_of_loads_as_far_as_they_are_known() -> None:
    world = Played()
    world.load("A", 3.0)
    world.leave_all()
    assert world.plan("B").estimate is None
    assert world.plan("A").estimate == 0.0
    world.arrive("B")
    world.settle()
    assert world.plan("A").estimate == 3.0
    world.arrive("A")
    world.tell(ProcessExited(world.runs(RunState.STOPPING)[0], "exited"))
    world.now += 1.0
    assert world.plan("A").estimate == 2.0
    assert world.plan("B").estimate == 2.0  # B has loaded at once


def test_groups_say_for_each_model_why_it_goes() -> None:
    policy = GroupPolicy([Group("small", ("A", "B")), Group("free", ("C", "D", "E", "F"), swap=False, exclusive=False)])
    world = Played(policy.evict, explain=policy.explain)
    world.load("A")
    world.load("C")
    plan = world.plan("B")
    assert plan.evicts == (
        Victim("A", "ready", 1, "group small runs one model at a time"),
        Victim("C", "ready", 1, "group small is exclusive"),
    )
    assert str(plan.why) == "group small runs one model at a time and group small is exclusive"
    assert world.plan("D").why == Explanation("")


def test_a_matrix_says_which_set_is_to_run() -> None:
    sets = compile_sets({"coding": "A & B", "chat": "B & C"}, lambda name: name)
    policy = MatrixPolicy(sets, {})
    world = Played(policy.evict, explain=policy.explain)
    world.load("A")
    world.load("B")
    plan = world.plan("C")
    assert plan.evicts == (Victim("A", "ready", 1, "set chat = B & C, cost 1"),)
    assert (plan.why.set_name, plan.why.expression, plan.why.cost) == ("chat", "B & C", 1)
    assert world.plan("A").why == Explanation("")


def test_a_policy_that_looks_at_more_than_names_is_not_asked() -> None:
    class Looking:
        asked = 0

        def evict(self, target: str, running: Sequence[RunningModel]) -> list[str]:
            self.asked += 1
            return [model.model for model in running]

    policy = Looking()
    story = Story(policy=policy)
    story.load("A", 1)
    asked, seen = policy.asked, story.scheduler.published()
    assert make_plan(seen, "B", {"A": 1}, 0.0) == Plan("B", "stopped", None, (), Explanation(SAID), None)
    assert policy.asked == asked


def test_of_a_model_that_the_scheduler_does_not_know_yet_nothing_is_known() -> None:
    plan = make_plan(Played(GroupPolicy([]).evict).scheduler.published(), "new", {}, 0.0)
    assert plan == Plan("new", "stopped", None, (), Explanation(""), None)


def test_what_is_configured_no_more_is_waited_for_by_those_that_it_blocks() -> None:
    world = Played(together)
    world.load("A")
    models = {model: ModelSpec() for model in "BC"}
    world.tell(ModelsChanged(models, frozenset(), Rules(together), 0.0, {"A": frozenset("B")}))
    assert world.plan("B").waits_for == (Wait("A", "stop", 1),)
    assert world.plan("B").evicts == ()
    assert world.plan("C").waits_for == ()


# -- in any world --


def played(seed: int) -> tuple[Played, random.Random]:
    """A world in which something has happened already."""
    rng = random.Random(seed)
    makers: list[Callable[[], policies.Policy]] = [
        lambda: policies.one_place(MODELS),
        lambda: policies.groups(rng, MODELS),
        lambda: policies.relation(rng, MODELS, rng.choice([0.3, 0.6, 1.0]), rng.choice([0.0, 0.5, 1.0])),
        lambda: policies.matrix(rng, MODELS),
        lambda: policies.count(rng, MODELS),
    ]
    priorities = {model: rng.choice([0, 0, 1]) for model in MODELS}
    world = Played(rng.choice(makers)().evict, rng.choice([0.0, 5.0]), priorities)
    for _ in range(rng.randint(0, 25)):
        world.step(rng)
    return world, rng


@pytest.mark.parametrize("batch", batches(8))
def test_what_a_plan_says_is_what_happens(batch: int) -> None:
    kinds: set[str] = set()
    for seed in range(batch, 2400, 8):
        world, rng = played(seed)
        target = rng.choice(MODELS)
        before = repr(world.scheduler)
        plan = world.plan(target)
        assert repr(world.scheduler) == before
        assert plan.evicts is not None
        queue = world.scheduler.queue().models
        states = {run.model: run.detail for run in world.scheduler.runs()}
        world.done.clear()
        ticket = world.arrive(target)
        about = (seed, plan, world.scheduler)

        begins = any(
            (isinstance(effect, Admit) and effect.ticket == ticket)
            or (isinstance(effect, StartProcess) and effect.model == target)
            for effect in world.done
        )
        assert begins == (not plan.evicts and not plan.waits_for), about
        swaps = [set(effect.evicted) for effect in world.done if isinstance(effect, ReportSwap)]
        evicted = {victim.model for victim in plan.evicts}
        is_held_up = any(wait.kind in ("requests", "load", "turn") for wait in plan.waits_for)
        assert swaps == ([evicted] if evicted and not is_held_up and target not in queue else []), about
        assert len({wait.model for wait in plan.waits_for}) == len(plan.waits_for), about
        kinds.update(wait.kind for wait in plan.waits_for)
        kinds.add("evicts" if evicted else "nothing")

        others = [model for model in queue if model != target and states.get(model) is not RunState.STARTING]
        if not others and target not in queue:
            world.settle()
            made = [effect for effect in world.done if isinstance(effect, ReportSwap)]
            if all(effect.model == target for effect in made):  # else who has loaded has made others go, too
                assert [set(effect.evicted) for effect in made[:1]] == ([evicted] if evicted else []), about
    assert kinds == {"requests", "load", "turn", "stop", "evicts", "nothing"}
