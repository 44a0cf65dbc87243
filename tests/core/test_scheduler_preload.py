"""Models that are loaded before anybody asks, at nobody's expense."""

from __future__ import annotations

from llamaswap_lib.core.effects import (
    Admit,
    DropRun,
    Effect,
    Fault,
    OpenGate,
    Refuse,
    ShutGate,
    ShutIfIdle,
    StartProcess,
    StopProcess,
    WriteLog,
)
from llamaswap_lib.core.events import PreloadRequested, ShutdownRequested, UnloadRequested
from tests.core.story import Story, rules, together


def preload(story: Story, *models: str) -> list[Effect]:
    return story.tell(PreloadRequested(models))


def preloading(model: str, run_id: int) -> list[Effect]:
    return [WriteLog("info", f"{model}: preloading"), StartProcess(run_id, model)]


def test_models_are_preloaded_in_order_one_at_a_time() -> None:
    story = Story(together)
    assert preload(story, "C", "A") == preloading("C", 1)
    assert story.ready(1) == [*preloading("A", 2), OpenGate(1)]
    assert story.ready(2) == [OpenGate(2)]
    assert story.states == {"A": "ready", "C": "ready"}


def test_a_failed_preload_does_not_hold_up_the_next() -> None:
    story = Story(together)
    preload(story, "A", "B")
    failed = WriteLog("error", "A: could not be loaded: exited with code 3; not tried again for 1 s", last_words_of="A")
    assert story.exited(1, "exited with code 3") == [DropRun(1), failed, *preloading("B", 2)]


def test_a_model_that_is_backing_off_is_left_out() -> None:
    story = Story(together)
    story.arrive(1, "A")
    story.exited(1)
    assert preload(story, "A", "B") == preloading("B", 2)
    assert isinstance(story.arrive(2, "A")[0], Refuse)


def test_a_model_that_runs_already_is_left_out() -> None:
    story = Story(together)
    story.load("A", 1)
    assert preload(story, "A", "B") == preloading("B", 2)


def test_a_preload_unloads_no_other_model() -> None:
    story = Story()
    story.load("A", 1)
    assert preload(story, "B", "C") == [
        WriteLog("warn", "B: not preloaded, it cannot run together with A"),
        WriteLog("warn", "C: not preloaded, it cannot run together with A"),
    ]


def test_a_model_that_those_who_run_would_see_gone_is_not_preloaded() -> None:
    story = Story(rules(A="B"))
    story.load("A", 1)
    assert preload(story, "B") == [WriteLog("warn", "B: not preloaded, it cannot run together with A")]


def test_a_model_that_would_see_those_who_run_gone_is_not_preloaded() -> None:
    story = Story(rules(B="A"))
    story.load("A", 1)
    assert preload(story, "B") == [WriteLog("warn", "B: not preloaded, it cannot run together with A")]


def test_a_preload_waits_for_those_who_wait_for_a_busy_model() -> None:
    story = Story(rules(B="A"))
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    assert preload(story, "C") == []
    assert story.idle(1) == [ShutIfIdle((1,))]
    story.answer(ShutIfIdle((1,)), 0)
    assert story.exited(1) == [DropRun(1), StartProcess(2, "B")]
    assert story.ready(2) == [Admit(2, 2), *preloading("C", 3), OpenGate(2)]


def test_the_first_of_two_that_clash_stays() -> None:
    story = Story()
    preload(story, "A", "B")
    assert story.ready(1) == [WriteLog("warn", "B: not preloaded, it cannot run together with A"), OpenGate(1)]


def test_a_preload_waits_until_no_request_waits() -> None:
    story = Story(together)
    story.arrive(1, "A")
    assert preload(story, "B") == []
    assert story.ready(1) == [Admit(1, 1), *preloading("B", 2), OpenGate(1)]


def test_a_preload_waits_for_a_load_that_its_client_left() -> None:
    story = Story(together)
    story.arrive(1, "A")
    story.abandon(1)
    assert preload(story, "B") == []
    assert story.ready(1) == [*preloading("B", 2), OpenGate(1)]


def test_a_preload_waits_for_what_is_on_its_way_out() -> None:
    story = Story()
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 0)
    story.abandon(2)
    assert preload(story, "C") == []
    assert story.exited(1) == [DropRun(1), *preloading("C", 2)]


def test_a_client_joins_a_preload_of_its_model() -> None:
    story = Story()
    preload(story, "A")
    assert story.arrive(1, "A") == []
    assert story.reasons == {1: "loading"}
    assert story.ready(1) == [Admit(1, 1), OpenGate(1)]


def test_a_client_that_joined_a_preload_is_told_of_its_failure() -> None:
    story = Story()
    preload(story, "A")
    story.arrive(1, "A")
    assert story.exited(1)[-1] == Refuse(1, Fault.LOAD_FAILED, "model A could not be loaded: exited with code 0", 1.0)


def test_a_preload_gives_way_to_a_client_at_once() -> None:
    story = Story()
    preload(story, "A", "C")
    assert story.arrive(1, "B") == [StopProcess(1, "swap", "to make room for B")]
    assert story.exited(1) == [DropRun(1), StartProcess(2, "B")]
    assert story.ready(2) == [
        Admit(1, 2),
        WriteLog("warn", "C: not preloaded, it cannot run together with B"),
        OpenGate(2),
    ]


def test_a_client_loads_beside_a_preload_that_it_does_not_clash_with() -> None:
    story = Story(together)
    preload(story, "A", "C")
    assert story.arrive(1, "B") == [StartProcess(2, "B")]
    assert story.ready(1) == [OpenGate(1)]
    assert story.ready(2) == [Admit(1, 2), *preloading("C", 3), OpenGate(2)]


def test_what_is_unloaded_meanwhile_is_not_preloaded() -> None:
    story = Story(together)
    preload(story, "A", "B", "C")
    story.tell(UnloadRequested(9, ("B",)))
    assert story.ready(1) == [*preloading("C", 2), OpenGate(1)]
    preload(story, "D")
    story.tell(UnloadRequested(10, None))
    story.exited(1)
    assert StartProcess(3, "D") not in story.exited(2)


def test_what_is_not_configured_by_then_is_not_preloaded() -> None:
    story = Story(together)
    assert preload(story, "Z", "A") == preloading("A", 1)


def test_nothing_is_preloaded_after_the_shutdown() -> None:
    story = Story(together)
    preload(story, "A", "B")
    assert story.tell(ShutdownRequested(9, 5.0)) == [StopProcess(1, "unload", "unloaded while it was loading")]
    assert StartProcess(2, "B") not in story.exited(1)
    assert preload(story, "C") == []


def test_a_request_that_is_inside_a_busy_model_is_not_shut_out_for_a_preload() -> None:
    story = Story(together)
    story.load("A", 1)
    orders = preload(story, "B")
    assert not any(isinstance(order, ShutGate | ShutIfIdle) for order in orders)
