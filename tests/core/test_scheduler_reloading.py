"""A changed configuration: models that go, come back or are replaced, and other rules, while others run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pytest

from llamaswap_lib.core.effects import (
    AbortRequests,
    Admit,
    DropRun,
    Effect,
    Fault,
    KillProcess,
    OpenGate,
    Refuse,
    ShutGate,
    ShutGates,
    ShutIfIdle,
    StartProcess,
    StopProcess,
    Unloaded,
    WriteLog,
)
from llamaswap_lib.core.events import (
    LeaderExited,
    ModelsChanged,
    PreloadRequested,
    RequestArrived,
    RunSilent,
    ShutdownRequested,
    UnloadRequested,
)
from llamaswap_lib.core.eviction import Evict, Rules, RunningModel
from llamaswap_lib.core.eviction.own import OwnPolicy
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.world import CHECK_AFTER, RETIRED
from tests.core.story import Story, one_place, rules, together

STOP_A = StopProcess(1, "reload", RETIRED)


def change(
    story: Story,
    models: str = "ABCDEF",
    *,
    replaced: str = "",
    evict: Evict = together,
    max_wait: float = 60.0,
    specs: Mapping[str, ModelSpec] | None = None,
    blocked: Mapping[str, str] | None = None,
) -> list[Effect]:
    """`models` are configured now; `blocked` names for a run that is retired who cannot start beside it."""
    configured = dict.fromkeys(models, ModelSpec()) | dict(specs or {})
    held_up = {model: frozenset(others) for model, others in (blocked or {}).items()}
    return story.tell(ModelsChanged(configured, frozenset(replaced), Rules(evict), max_wait, held_up))


def retired_busy(models: str = "BCDEF", replaced: str = "", blocked: Mapping[str, str] | None = None) -> Story:
    """A is run 1; a change that retires it finds one request inside."""
    story = Story(together, max_wait=60.0)
    story.load("A", 1)
    assert change(story, models, replaced=replaced, blocked=blocked) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 1) == []
    return story


def unknown(ticket: int, model: str) -> Refuse:
    return Refuse(ticket, Fault.UNKNOWN_MODEL, f"model {model} is not configured any more")


# -- runs that are retired --


@pytest.mark.parametrize(("models", "replaced"), [("BCDEF", ""), ("ABCDEF", "A")])
def test_an_idle_run_that_is_removed_or_replaced_is_shut_and_stopped_at_once(models: str, replaced: str) -> None:
    story = Story(together)
    story.load("A", 1)
    assert change(story, models, replaced=replaced) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 0) == [STOP_A]
    assert story.exited(1) == [DropRun(1)]


@pytest.mark.parametrize(("models", "replaced"), [("BCDEF", ""), ("ABCDEF", "A")])
def test_a_busy_one_finishes_its_requests_however_long_that_takes(models: str, replaced: str) -> None:
    story = retired_busy(models, replaced)
    assert story.states == {"A": "unloading"}
    assert story.scheduler.next_deadline() is None
    assert story.wait_until(100_000.0) == []
    assert story.drained(1) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 0) == [STOP_A]


def test_a_run_that_did_not_change_goes_on_and_its_gate_stays_open() -> None:
    story = Story(together)
    story.load("A", 1)
    assert change(story, replaced="BC") == []
    assert story.states == {"A": "ready"}


def test_one_that_is_still_loading_is_stopped_at_once_and_who_waits_gets_the_next_one() -> None:
    story = Story(together)
    story.arrive(1, "A")
    assert change(story, replaced="A") == [STOP_A]
    assert story.ready(1) == []
    assert story.exited(1) == [DropRun(1), StartProcess(2, "A")]
    assert story.ready(2) == [Admit(1, 2), OpenGate(2)]


def test_a_request_that_asks_while_the_replaced_run_finishes_gets_the_next_one() -> None:
    story = retired_busy(replaced="A", models="ABCDEF")
    assert story.arrive(2, "A") == []
    assert story.reasons == {2: "waiting for A: 1 request in progress"}
    assert story.exited(1)[-1] == StartProcess(2, "A")
    assert story.ready(2) == [Admit(2, 2), OpenGate(2)]


def test_a_gate_that_was_shut_for_somebody_overdue_stays_shut_when_its_run_is_retired() -> None:
    story = Story(max_wait=60.0)
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    story.wait_until(60.0)
    story.answer(ShutGates((1,)), 1)
    assert story.states == {"A": "draining"}
    assert change(story, replaced="A", evict=one_place) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 1) == []
    assert story.arrive(3, "A") == []
    assert story.states == {"A": "unloading"}


def test_a_retired_run_that_is_unloaded_by_hand_has_until_its_unload_timeout() -> None:
    story = retired_busy()
    story.now = 5.0
    assert story.tell(UnloadRequested(9, ("A",))) == []
    assert story.scheduler.next_deadline() == 15.0
    assert story.wait_until(15.0) == [StopProcess(1, "unload", "unloaded, its time to finish is over")]
    assert story.exited(1) == [DropRun(1), Unloaded(9)]


def test_an_unload_of_everything_and_the_shutdown_name_it_too() -> None:
    story = retired_busy()
    assert story.tell(UnloadRequested(9, None)) == []
    assert story.tell(ShutdownRequested(10, 2.0)) == []
    assert story.wait_until(2.0) == [StopProcess(1, "unload", "unloaded, its time to finish is over")]
    assert story.exited(1) == [DropRun(1), Unloaded(9), Unloaded(10)]


def test_an_unload_that_has_begun_keeps_its_time() -> None:
    story = Story(together)
    story.load("A", 1)
    story.tell(UnloadRequested(9, ("A",)))
    story.answer(ShutGates((1,)), 1)
    assert change(story, replaced="A") == []
    assert story.wait_until(10.0) == [StopProcess(1, "unload", "unloaded, its time to finish is over")]


def test_a_removed_model_is_killed_after_the_time_that_was_configured_for_it() -> None:
    story = Story(together, specs={"A": ModelSpec(unload_timeout=4.0)})
    story.load("A", 1)
    change(story, "B")
    assert story.answer(ShutGates((1,)), 0) == [STOP_A]
    change(story, "C")
    assert story.wait_until(4.0) == [KillProcess(1)]


def test_of_one_that_came_back_and_went_again_the_latest_time_counts() -> None:
    story = retired_busy()
    change(story, specs={"A": ModelSpec(unload_timeout=3.0)})
    change(story, "B")
    assert story.drained(1) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 0) == [STOP_A]
    assert story.wait_until(3.0) == [KillProcess(1)]


def test_a_model_that_comes_back_while_its_old_run_finishes_gets_another_one() -> None:
    story = retired_busy()
    assert change(story) == []
    assert story.arrive(2, "A") == []
    assert story.exited(1)[-1] == StartProcess(2, "A")


def test_nothing_is_remembered_of_a_retired_run_that_has_gone() -> None:
    story = retired_busy(blocked={"A": "BC"})
    assert "retired[A]" in repr(story.scheduler)
    story.exited(1)
    assert repr(story.scheduler) == "<scheduler runs[] waiting[] unloads[0]>"


def test_nothing_changes_any_more_during_the_shutdown() -> None:
    story = Story(together)
    story.load("A", 1)
    story.tell(ShutdownRequested(9, 5.0))
    story.answer(ShutGates((1,)), 1)
    assert change(story, "B") == []
    assert story.wait_until(5.0) == [StopProcess(1, "unload", "unloaded, its time to finish is over")]


# -- requests that wait --


def test_a_request_that_waits_for_a_model_that_has_gone_is_told_so_and_all_others_stay_in_their_place() -> None:
    story = Story()
    story.arrive(1, "A")
    for ticket, model in enumerate("BCBD", 2):
        story.arrive(ticket, model)
    assert change(story, "ABD", evict=one_place) == [unknown(3, "C")]
    assert [view.ticket for view in story.scheduler.snapshot().queue] == [1, 2, 4, 5]
    assert story.arrive(6, "C") == [Refuse(6, Fault.UNKNOWN_MODEL, "model not found: C")]


def test_a_request_that_waits_for_the_load_of_a_model_that_has_gone_is_told_so_at_once() -> None:
    story = Story()
    story.arrive(1, "A")
    assert change(story, "B") == [unknown(1, "A"), STOP_A]


def test_a_request_that_has_lost_a_run_of_a_model_that_goes_does_not_wait_for_the_news_of_its_end() -> None:
    story = Story(together)
    story.load("A", 1)
    assert story.tell(RequestArrived(2, "A", lost_run=1)) == []
    assert change(story, "B")[0] == Refuse(2, Fault.UNKNOWN_MODEL, "model not found: A")


def test_a_request_that_has_lost_a_run_that_is_replaced_gets_the_next_one_when_it_has_ended() -> None:
    story = Story(together)
    story.load("A", 1)
    story.tell(RequestArrived(2, "A", lost_run=1))
    change(story, replaced="A")
    assert story.answer(ShutGates((1,)), 0) == [STOP_A]
    assert story.exited(1) == [DropRun(1), StartProcess(2, "A")]


def test_a_swap_that_has_begun_goes_on() -> None:
    story = Story()
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 0)
    priority = {"C": ModelSpec(priority=9)}
    story.arrive(3, "C")
    assert change(story, evict=one_place, specs=priority) == []
    assert story.exited(1)[-1] == StartProcess(2, "B")


def test_whether_a_model_that_somebody_waits_for_can_start_is_looked_at_again() -> None:
    story = Story()
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    story.problems["B"] = "no such program"
    refusal = change(story, replaced="B", evict=one_place)[1]
    assert isinstance(refusal, Refuse)
    assert refusal.fault is Fault.LOAD_FAILED


# -- who may run beside what is retired --


def test_policies_are_not_asked_about_models_that_are_not_configured() -> None:
    asked: list[str] = []

    def noting(target: str, running: tuple[str, ...]) -> Collection[str]:
        asked.extend((target, *running))
        return ()

    story = Story(together)
    story.load("A", 1)
    story.load("B", 2)
    change(story, "BC", evict=noting)
    story.answer(ShutGates((1,)), 1)
    assert story.arrive(3, "C") == [StartProcess(3, "C")]
    assert set(asked) == {"B", "C"}


def test_what_is_blocked_does_not_start_before_the_retired_run_has_gone() -> None:
    story = retired_busy(blocked={"A": "B"})
    assert story.arrive(2, "B") == []
    assert story.reasons == {2: "waiting for A: 1 request in progress"}
    assert story.arrive(3, "C") == [StartProcess(2, "C")]
    story.drained(1)
    assert story.answer(ShutGates((1,)), 0) == [STOP_A]
    assert story.reasons[2] == "waiting for A to stop"
    assert story.exited(1) == [DropRun(1), StartProcess(3, "B")]


def test_what_runs_beside_it_already_is_served_though_it_is_blocked() -> None:
    story = Story(together)
    story.load("A", 1)
    story.load("B", 2)
    assert change(story, "B", blocked={"A": "B"}) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 1) == []
    assert story.states == {"A": "unloading", "B": "ready"}
    story.arrive(3, "B")
    assert story.scheduler.queue().models == []


def test_what_is_configured_later_is_blocked_by_every_run_that_was_retired_before() -> None:
    story = retired_busy("B")
    assert change(story, "BC") == []
    assert story.arrive(2, "C") == []
    assert story.arrive(3, "B") == [StartProcess(2, "B")]
    assert story.exited(1)[-1] == StartProcess(3, "C")


def test_a_second_change_blocks_more_and_frees_nobody() -> None:
    story = retired_busy("ABCD", replaced="A", blocked={"A": "B"})
    change(story, "BCD", blocked={"A": "C"})
    assert story.arrive(2, "B") == story.arrive(3, "C") == []
    assert story.arrive(4, "D") == [StartProcess(2, "D")]


def test_a_change_may_name_what_is_blocked_by_a_run_of_an_earlier_one() -> None:
    story = retired_busy("ABC", replaced="A")
    change(story, "ABC", replaced="B", blocked={"A": "B", "C": "B"})
    assert story.arrive(2, "B") == []
    assert story.exited(1)[-1] == StartProcess(2, "B")


def test_a_blocked_model_is_not_preloaded_before_the_retired_run_has_gone() -> None:
    story = retired_busy(blocked={"A": "B"})
    assert story.tell(PreloadRequested(("B",))) == []
    assert story.exited(1)[-1] == StartProcess(2, "B")


# -- one that hangs --


def test_a_retired_run_that_hangs_is_stopped_when_a_request_has_waited_longer_than_max_wait_and_not_before() -> None:
    story = retired_busy(blocked={"A": "B"})
    story.arrive(2, "B")
    assert story.checked == set()
    story.wait_until(CHECK_AFTER)
    assert story.checked == {1}
    story.now = 40.0
    story.tell(RunSilent(1, 10.0, "has not answered its check", "its processes are stopped"))
    assert story.states == {"A": "unloading"}
    _, cut, stop = story.wait_until(60.0)
    assert cut == AbortRequests(1)
    assert stop == StopProcess(1, "hang", "it hangs and B has waited for too long")
    assert story.checked == set()
    assert story.exited(1)[-1] == StartProcess(2, "B")


def test_a_retired_run_that_hangs_is_stopped_for_the_next_run_of_its_model_too() -> None:
    story = retired_busy("ABCDEF", replaced="A")
    story.arrive(2, "A")
    story.wait_until(CHECK_AFTER)
    assert story.checked == {1}
    story.tell(RunSilent(1, 1.0, "has not answered its check", "its processes are stopped"))
    assert StopProcess(1, "hang", "it hangs and A has waited for too long") in story.wait_until(60.0)


def test_it_is_looked_at_though_others_are_in_the_way_too() -> None:
    story = Story(rules(B="C"), max_wait=60.0)
    story.load("A", 1)
    story.load("C", 2)
    change(story, "BC", evict=rules(B="C"), blocked={"A": "B"})
    story.answer(ShutGates((1,)), 1)
    assert story.arrive(3, "B") == [ShutIfIdle((2,))]
    story.answer(ShutIfIdle((2,)), 1)
    story.wait_until(CHECK_AFTER)
    assert story.checked == {1, 2}


def test_a_retired_run_that_hangs_is_left_alone_if_no_request_waits_for_it() -> None:
    story = retired_busy()
    story.wait_until(CHECK_AFTER)
    story.arrive(2, "B")
    story.wait_until(1000.0)
    assert story.checked == set()


# -- failures --


def fail_to_load(story: Story, ticket: int, run_id: int) -> None:
    assert story.arrive(ticket, "A") == [StartProcess(run_id, "A")]
    story.exited(run_id, "exited with code 3")


@pytest.mark.parametrize("steps", [[("ABC", "A")], [("BC", ""), ("ABC", "")]])
def test_failures_of_models_that_are_replaced_or_removed_are_pardoned(steps: Sequence[tuple[str, str]]) -> None:
    story = Story(together)
    fail_to_load(story, 1, 1)
    for models, replaced in steps:
        change(story, models, replaced=replaced)
    assert story.scheduler.failing() == {}
    assert story.arrive(2, "A") == [StartProcess(2, "A")]


def test_a_model_that_fails_and_did_not_change_goes_on_backing_off() -> None:
    story = Story(together)
    fail_to_load(story, 1, 1)
    change(story, "AB", replaced="B")
    [refusal] = story.arrive(2, "A")
    assert isinstance(refusal, Refuse)
    assert refusal.fault is Fault.BACKING_OFF


@pytest.mark.parametrize("is_unloaded", [False, True])
def test_a_crash_of_a_retired_run_is_no_strike_against_the_next_one(is_unloaded: bool) -> None:
    story = Story(together)
    story.load("A", 1)
    if is_unloaded:
        story.tell(UnloadRequested(9, ("A",)))
        story.answer(ShutGates((1,)), 1)
        assert change(story, replaced="A") == []
    else:
        assert change(story, replaced="A") == [ShutGates((1,))]
        story.answer(ShutGates((1,)), 1)
    assert WriteLog("warn", "A: killed while it was unloading") in story.exited(1, "killed")
    story.load("A", 2)
    story.exited(2, "killed")  # its first early death
    assert story.scheduler.failing() == {}
    assert story.arrive(3, "A") == [StartProcess(3, "A")]


def test_a_crash_after_its_model_has_gone_is_only_logged() -> None:
    story = retired_busy()
    assert story.tell(LeaderExited(1, "killed")) == [WriteLog("warn", "A: killed while it was unloading")]
    assert story.scheduler.next_deadline() == 10.0
    assert story.exited(1) == [DropRun(1)]


def test_the_orderly_end_of_a_retired_run_is_no_pardon() -> None:
    """What failed is the new configuration: it was looked at while the old run was still finishing."""
    story = Story(together)
    story.load("A", 1)
    story.load("B", 2)
    change(story, replaced="A", evict=rules(A="B"))
    story.answer(ShutGates((1,)), 1)
    story.problems["A"] = "no such program"
    _, refusal = story.arrive(3, "A")
    assert isinstance(refusal, Refuse)
    assert refusal.fault is Fault.LOAD_FAILED
    story.drained(1)
    assert story.answer(ShutGates((1,)), 0) == [STOP_A]
    assert story.exited(1) == [DropRun(1)]
    [refusal] = story.arrive(4, "A")
    assert isinstance(refusal, Refuse)
    assert refusal.fault is Fault.BACKING_OFF


# -- everything else that a configuration says --


def test_a_changed_ttl_counts_at_once() -> None:
    story = Story(together)
    story.load("A", 1)
    story.now = 8.0
    assert change(story, specs={"A": ModelSpec(ttl=5.0)}) == [ShutIfIdle((1,), 5.0)]
    assert story.answer(ShutIfIdle((1,), 5.0), 0, since=2.0) == [StopProcess(1, "ttl", "its ttl is over")]


def test_one_that_was_idle_for_less_is_looked_at_when_the_new_ttl_is_over() -> None:
    story = Story(together, specs={"A": ModelSpec(ttl=100.0)})
    story.load("A", 1)
    story.now = 8.0
    assert change(story, specs={"A": ModelSpec(ttl=5.0)}) == [ShutIfIdle((1,), 5.0)]
    assert story.answer(ShutIfIdle((1,), 5.0), 0, since=6.0) == []
    assert story.scheduler.next_deadline() == 11.0


def test_a_new_ttl_counts_from_when_it_was_ready_and_not_from_its_start() -> None:
    story = Story(together)
    story.arrive(1, "A")
    story.now = 60.0
    story.ready(1)
    story.now = 63.0
    assert change(story, specs={"A": ModelSpec(ttl=10.0)}) == []
    assert story.scheduler.next_deadline() == 70.0
    assert story.wait_until(70.0) == [ShutIfIdle((1,), 10.0)]


def test_without_a_ttl_any_more_nothing_is_due() -> None:
    story = Story(together, specs={"A": ModelSpec(ttl=100.0)})
    story.load("A", 1)
    assert change(story) == []
    assert story.scheduler.next_deadline() is None


def test_a_changed_max_wait_counts_at_once() -> None:
    story = Story(max_wait=0.0)
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    story.now = 10.0
    assert change(story, evict=one_place, max_wait=10.0) == [ShutGates((1,))]


def test_changed_priorities_count_for_those_who_wait_already() -> None:
    story = Story()
    story.arrive(1, "A")
    story.arrive(2, "B")
    story.arrive(3, "C")
    change(story, evict=one_place, specs={"C": ModelSpec(priority=1)})
    assert [view.ticket for view in story.scheduler.snapshot().queue] == [1, 3, 2]


def test_rules_that_forbid_what_runs_shut_the_gates_and_apply_at_the_next_request() -> None:
    story = Story(together)
    story.load("A", 1)
    story.load("B", 2)
    assert change(story, evict=one_place) == [ShutGate(1), ShutGate(2)]
    assert story.states == {"A": "ready", "B": "ready"}
    assert story.arrive(3, "A") == [ShutIfIdle((2,))]
    assert story.answer(ShutIfIdle((2,)), 0) == [StopProcess(2, "swap", "to make room for A")]
    assert story.exited(2) == [DropRun(2), Admit(3, 1), OpenGate(1)]


def test_rules_that_allow_more_let_in_who_waits() -> None:
    story = Story()
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    assert change(story) == [StartProcess(2, "B")]


def test_a_policy_that_looks_is_told_what_runs_before_it_is_asked() -> None:
    seen: list[RunningModel] = []

    class Looking:
        def evict(self, target: str, running: Sequence[RunningModel]) -> Collection[str]:
            seen.extend(one for one in running if one.model != target)
            return ()

    own = OwnPolicy(Looking())
    story = Story(together)
    story.load("A", 1)
    configured = dict.fromkeys("AB", ModelSpec())
    changed = ModelsChanged(configured, frozenset(), Rules(own.evict, observe=own.observe), 0.0, {})
    story.inside[1] = (2, 0.0)
    assert story.tell(changed) == []
    assert story.arrive(2, "B") == [StartProcess(2, "B")]
    assert (seen[0].model, seen[0].in_flight) == ("A", 2)


def test_a_model_that_is_removed_before_its_preload_is_not_preloaded() -> None:
    story = Story(together)
    story.tell(PreloadRequested(("A", "B", "C")))
    assert change(story, "AC") == []
    assert StartProcess(2, "C") in story.ready(1)
