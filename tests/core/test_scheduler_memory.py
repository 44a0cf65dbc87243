"""The scheduler and the memory policy: who waits for what, who is turned away, and how long a model stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llamaswap_lib.core.effects import (
    Admit,
    DropRun,
    Fault,
    OpenGate,
    Refuse,
    ShutGates,
    ShutIfIdle,
    StartProcess,
    StopProcess,
    WriteLog,
)
from llamaswap_lib.core.events import ModelsChanged, PreloadRequested
from llamaswap_lib.core.eviction.devices import GB, Device, Memory, Need, NeedSource
from llamaswap_lib.core.eviction.manners import Manners
from llamaswap_lib.core.eviction.memory import MemoryPolicy
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.plan import Victim, make_plan
from tests.core.story import Story


class Box:
    """A GPU of 24 GB, and a story on it. Needs in GB."""

    def __init__(self, max_wait: float = 60.0, others: int = 0, needs: Mapping[str, int] = {}, **manners: Any) -> None:
        self.device = Device(24 * GB, label="GPU 0", others=others * GB)
        self.needs = {model: Need({"gpu": size * GB}, NeedSource.DECLARED) for model, size in needs.items()}
        self.policy = MemoryPolicy(lambda: Memory({"gpu": self.device}, self.needs), Manners(**manners))
        self.story = Story(max_wait=max_wait, rules=self.policy.rules())

    def use(self, others: int) -> None:
        self.device = replace(self.device, others=others * GB)


def test_models_run_side_by_side_while_they_fit() -> None:
    box = Box(needs={"A": 8, "B": 8, "C": 8})
    for ticket, model in enumerate("ABC", 1):
        box.story.load(model, ticket)
    assert box.story.states == dict.fromkeys("ABC", "ready")


def test_the_reason_for_a_wait_has_the_numbers() -> None:
    box = Box(needs={"A": 8, "B": 14, "C": 10})
    a, b = box.story.load("A", 1), box.story.load("B", 2)
    box.story.inside = {a: (1, 0.0), b: (2, 0.0)}
    box.story.arrive(3, "C")
    assert box.story.reasons[3] == "waiting for 8.0 GB on GPU 0, held by A: 1 request in progress"


def test_a_swap_is_reported_with_the_numbers() -> None:
    box = Box(needs={"A": 16, "B": 10})
    a = box.story.load("A", 1)
    box.story.swap(a, 2, "B")
    (swap,) = box.story.swaps
    assert (swap.model, swap.evicted) == ("B", ("A",))
    assert str(swap.why) == "B needs 10.0 GB on GPU 0, where 8.0 GB are free; A holds 16.0 GB on GPU 0"


def test_what_can_never_fit_is_refused_at_once_and_nobody_is_asked_or_stopped() -> None:
    box = Box(needs={"A": 8, "B": 25})
    box.story.load("A", 1)
    said = "model B needs 25.0 GB on GPU 0 (declared), and there are 24.0 GB"
    assert box.story.arrive(2, "B") == [Refuse(2, Fault.NEVER_FITS, said)]
    assert box.story.launch_checks == []


def test_what_fits_no_more_after_a_change_of_the_configuration_is_refused_then() -> None:
    box = Box(needs={"A": 20, "B": 20})
    a = box.story.load("A", 1)
    box.story.inside = {a: (1, 0.0)}
    box.story.arrive(2, "B")
    box.needs["B"] = Need({"gpu": 30 * GB}, NeedSource.DECLARED)
    models = dict.fromkeys("AB", ModelSpec())
    effects = box.story.tell(ModelsChanged(models, frozenset(), box.policy.rules(), 60.0, {}))
    assert [effect.fault for effect in effects if isinstance(effect, Refuse)] == [Fault.NEVER_FITS]


def test_what_other_programs_leave_no_room_for_waits_for_five_seconds_and_nobody_goes_for_it() -> None:
    box = Box(needs={"A": 4, "B": 12}, others=16)
    box.story.load("A", 1)
    assert box.story.arrive(2, "B") == []
    assert box.story.reasons[2] == "waiting for 4.0 GB on GPU 0, held by other programs"
    assert box.story.scheduler.next_deadline() == 5.0
    said = "model B needs 12.0 GB on GPU 0 (declared), and other programs use 16.0 GB of that now"
    assert box.story.wait_until(5.0) == [Refuse(2, Fault.SHORTAGE, said)]
    assert box.story.arrive(3, "B") == []  # it waits anew


def test_what_other_programs_give_back_in_time_is_taken() -> None:
    box = Box(needs={"B": 12}, others=16)
    assert box.story.arrive(2, "B") == []
    box.use(others=2)
    assert box.story.wait_until(1.0) == [StartProcess(1, "B")]


def test_a_model_that_does_not_fit_now_is_not_in_the_way_of_others() -> None:
    box = Box(needs={"A": 4, "B": 12}, others=16)
    assert box.story.arrive(1, "B") == []
    assert box.story.arrive(2, "A") == [StartProcess(1, "A")]


def test_a_model_stays_for_a_while_after_its_load() -> None:
    box = Box(needs={"A": 16, "B": 16}, min_residency=10.0)
    a = box.story.load("A", 1)
    box.story.now = 2.0
    assert box.story.arrive(2, "B") == []
    assert box.story.reasons[2] == "waiting for 8.0 GB on GPU 0, held by A, loaded a moment ago"
    box.story.wait_until(3.0)
    assert box.story.scheduler.next_deadline() == 10.0
    assert box.story.wait_until(10.0) == [ShutIfIdle((a,))]


def test_it_does_not_stay_for_one_that_is_overdue() -> None:
    box = Box(needs={"A": 16, "B": 16}, min_residency=10.0, max_wait=3.0)
    a = box.story.load("A", 1)
    assert box.story.arrive(2, "B") == []
    assert box.story.wait_until(3.0) == [ShutGates((a,))]


def test_one_that_has_stayed_goes_before_one_that_has_not() -> None:
    box = Box(needs={"A": 12, "B": 12, "C": 12}, min_residency=10.0)
    a = box.story.load("A", 1)
    box.story.now = 10.0
    box.story.load("B", 2)
    assert box.story.arrive(3, "C") == [ShutIfIdle((a,))]


def test_what_starts_is_seen_by_the_next_in_the_same_decision() -> None:
    box = Box(needs={"A": 24, "B": 12, "C": 12, "D": 12})
    a = box.story.load("A", 1)
    box.story.inside = {a: (1, 0.0)}
    for ticket, model in enumerate("BCD", 2):
        assert box.story.arrive(ticket, model) == []
    box.story.inside = {a: (0, 0.0)}
    assert box.story.idle(a) == [ShutIfIdle((a,))]
    box.story.answer(ShutIfIdle((a,)), 0)
    assert box.story.exited(a) == [DropRun(a), StartProcess(2, "B"), StartProcess(3, "C")]


def test_who_is_let_in_is_busy_for_the_next_in_the_same_decision() -> None:
    box = Box(needs={"A": 12, "B": 12, "C": 12})
    b = box.story.load("B", 1)
    box.story.arrive(2, "A")
    box.story.inside = {b: (1, 0.0)}
    assert box.story.arrive(3, "C") == []
    box.story.inside = {b: (1, 0.0), 2: (1, 0.0)}
    assert box.story.ready(2) == [Admit(2, 2), OpenGate(2)]
    assert box.story.reasons[3] == "waiting for 12.0 GB on GPU 0, held by A: 1 request in progress"


def test_who_does_not_fit_any_more_since_one_behind_has_started_is_told_at_once() -> None:
    box = Box(needs={"A": 12, "B": 14, "C": 12}, pinned=frozenset("C"))
    a = box.story.load("A", 1)
    box.story.inside = {a: (1, 0.0)}
    assert box.story.arrive(2, "B") == []
    start, refusal = box.story.arrive(3, "C")
    assert start == StartProcess(2, "C")
    assert isinstance(refusal, Refuse)
    assert (refusal.ticket, refusal.fault) == (2, Fault.NEVER_FITS)


def test_a_model_that_does_not_fit_is_not_preloaded() -> None:
    box = Box(needs={"A": 25, "B": 5})
    said = "A: not preloaded: model A needs 25.0 GB on GPU 0 (declared), and there are 24.0 GB"
    effects = box.story.tell(PreloadRequested(("A", "B")))
    assert effects == [WriteLog("warn", said), WriteLog("info", "B: preloading"), StartProcess(1, "B")]


def test_nothing_is_unloaded_for_a_preload() -> None:
    box = Box(needs={"A": 16, "B": 16})
    box.story.load("A", 1)
    (line,) = box.story.tell(PreloadRequested(("B",)))
    assert line == WriteLog("warn", "B: not preloaded, it cannot run together with A")


def test_a_plan_says_who_would_go_and_is_asked_of_what_was_published() -> None:
    box = Box(needs={"A": 16, "B": 10, "C": 25})
    a = box.story.load("A", 1)
    published = box.story.scheduler.published()
    box.story.swap(a, 2, "B")
    plan = make_plan(published, "B", {}, 0.0)
    assert plan.evicts == (Victim("A", "ready", 0, "holds 16.0 GB on GPU 0"),)
    assert plan.why.kind == "memory"
    never = make_plan(published, "C", {}, 0.0)
    assert (never.evicts, never.refusal) == ((), "model C needs 25.0 GB on GPU 0 (declared), and there are 24.0 GB")


def test_what_only_fits_if_a_pinned_model_went_is_refused() -> None:
    box = Box(needs={"A": 16, "B": 8, "C": 9}, pinned=frozenset("A"))
    box.story.load("A", 1)
    box.story.load("B", 2)
    (refusal,) = box.story.arrive(3, "C")
    assert isinstance(refusal, Refuse)
    assert refusal.fault is Fault.NEVER_FITS
    assert refusal.message.endswith("there are 24.0 GB, of which A, which is pinned, holds 16.0 GB")


def test_who_must_wait_for_a_measurement_is_served_after_it() -> None:
    box = Box(needs={"A": 4})
    box.story.load("F", 1)  # of which nothing is known
    box.story.inside = {1: (1, 0.0)}
    assert box.story.arrive(2, "A") == []
    box.needs["F"] = Need({"gpu": 8 * GB}, NeedSource.MEASURED)
    assert box.story.wait_until(1.0)[0] == StartProcess(2, "A")


def test_the_stop_of_a_swap_says_for_whom() -> None:
    box = Box(needs={"A": 16, "B": 10})
    a = box.story.load("A", 1)
    box.story.arrive(2, "B")
    assert box.story.answer(ShutIfIdle((a,)), 0) == [StopProcess(a, "swap", "to make room for B")]
