"""Who goes for a model that is queued elsewhere: the longest idle of those that share its machines, one at a time."""

from __future__ import annotations

from llamaswap_lib.core.effects import Admit, DropRun, Effect, OpenGate, ProbeRun, ShutIfIdle, StartProcess, StopProcess
from llamaswap_lib.core.events import FellAsleep, PreloadRequested, ProcessReady, RunAnnounced, RunQueued
from llamaswap_lib.core.model_spec import ModelSpec
from tests.core.story import Story, rules, together

SHARES = ModelSpec(is_announced=True, engine="cluster", makes_room=True)
MAKES_ROOM = "idle, makes room in the queue of C"


def shared(**others: ModelSpec) -> Story:
    """A and B are ready since 0 and 1, after loads of no time, C is queued since 10, as it says, with a request."""
    story = Story(together, specs={**dict.fromkeys("ABCD", SHARES), **others})
    for number, model in enumerate("AB", 1):
        story.now = number - 1.0
        serve(story, number, model)
    story.now = 10.0
    story.arrive(3, "C")
    story.tell(RunQueued(3, "a machine"))
    return story


def serve(story: Story, number: int, model: str, load: float = 0.0) -> None:
    """It is asked for and is run number `number`."""
    assert story.arrive(number, model) == [StartProcess(number, model)]
    if announced(story, model):
        assert story.tell(RunAnnounced(number, "there")) == [ProbeRun(number, "there")]
    story.now += load
    address = "there" if announced(story, model) else ""
    assert story.tell(ProcessReady(number, address)) == [Admit(number, number), OpenGate(number)]


def announced(story: Story, model: str) -> bool:
    return story.scheduler.hand_over().models[model].is_announced


def leaves(run_id: int) -> list[Effect]:
    return [StopProcess(run_id, "queue", MAKES_ROOM)]


def test_after_a_second_in_the_queue_the_longest_idle_one_goes() -> None:
    story = shared()
    story.inside = {1: (0, 5.0), 2: (0, 4.0)}
    assert story.scheduler.next_deadline() == 11.0
    assert story.wait_until(10.9) == []
    question = ShutIfIdle((2,))
    assert story.wait_until(11.0) == [question]
    assert story.answer(question, 0) == leaves(2)
    assert [view.reason for view in story.scheduler.runs() if view.model == "B"] == [MAKES_ROOM]


def started_beside_an_idle_one() -> Story:
    """A is idle; a client for C is started at 10 s and has said nothing yet."""
    story = Story(together, specs=dict.fromkeys("AC", SHARES))
    serve(story, 1, "A")
    story.now = 10.0
    story.arrive(3, "C")
    return story


def test_the_second_counts_from_the_first_time_that_it_says_so_and_not_from_the_start_of_its_client() -> None:
    story = started_beside_an_idle_one()
    assert story.wait_until(14.5) == []
    story.tell(RunQueued(2, "job 31, Priority"))
    assert story.wait_until(15.4) == []
    story.tell(RunQueued(2, "job 31, Resources"))
    assert story.wait_until(15.5) == [ShutIfIdle((1,))]


def test_for_one_that_says_nothing_somebody_goes_five_seconds_after_its_start() -> None:
    story = started_beside_an_idle_one()
    assert story.wait_until(14.9) == []
    assert story.scheduler.next_deadline() == 15.0
    assert story.wait_until(15.0) == [ShutIfIdle((1,))]


def test_who_waits_is_told_who_goes_and_what_the_job_says() -> None:
    story = shared()
    story.tell(RunQueued(3, "job 31"))
    story.wait_until(11.0)
    story.answer(ShutIfIdle((1,)), 0)
    assert story.reasons == {3: "queued: job 31; A is stopped, which makes room"}


def test_the_next_one_goes_a_second_after_the_exit_of_the_one_before_if_it_is_queued_still() -> None:
    story = shared()
    story.wait_until(11.0)
    story.answer(ShutIfIdle((1,)), 0)
    assert story.wait_until(14.0) == []
    assert story.exited(1) == [DropRun(1)]
    assert story.wait_until(14.9) == []
    question = ShutIfIdle((2,))
    assert story.wait_until(15.0) == [question]
    assert story.answer(question, 0) == leaves(2)


def test_nobody_goes_any_more_once_it_has_started() -> None:
    story = shared()
    story.wait_until(11.0)
    story.answer(ShutIfIdle((1,)), 0)
    story.exited(1)
    assert story.tell(RunAnnounced(3, "there")) == [ProbeRun(3, "there")]
    assert story.wait_until(100.0) == []


def test_one_that_ends_by_itself_may_have_made_room() -> None:
    story = shared()
    story.now = 10.5
    story.exited(1)
    assert story.wait_until(11.4) == []
    assert story.wait_until(11.5) == [ShutIfIdle((2,))]


def test_a_busy_one_stays_and_is_looked_at_again_when_it_is_idle() -> None:
    story = shared()
    story.inside = {1: (1, 0.0), 2: (2, 0.0)}
    assert story.wait_until(11.0) == []
    assert story.watched == [1, 2]
    story.inside = {1: (1, 0.0), 2: (0, 12.0)}
    story.now = 12.0
    question = ShutIfIdle((2,))
    assert story.idle(2) == [question]
    assert story.answer(question, 1) == []
    story.inside = {1: (1, 0.0), 2: (0, 13.0)}
    assert story.idle(2) == [question]


def test_one_that_a_request_has_just_entered_is_passed_over() -> None:
    story = shared()
    question = ShutIfIdle((1,))
    assert story.wait_until(11.0) == [question]
    assert story.answer(question, 1) == [ShutIfIdle((2,))]


def test_one_that_was_ready_for_less_than_its_load_took_stays_until_then() -> None:
    story = Story(together, specs=dict.fromkeys("AC", SHARES))
    serve(story, 1, "A", load=8.0)
    story.arrive(3, "C")
    assert story.wait_until(15.9) == []
    assert story.scheduler.next_deadline() == 16.0
    assert story.wait_until(16.0) == [ShutIfIdle((1,))]


def test_nobody_goes_who_does_not_share_its_engine_or_is_to_stay() -> None:
    for other in (ModelSpec(), ModelSpec(engine="other", makes_room=True), ModelSpec(engine="cluster")):
        story = Story(together, specs={"A": other, "C": SHARES})
        serve(story, 1, "A")
        story.arrive(3, "C")
        assert story.wait_until(100.0) == []


def test_nobody_goes_for_one_that_no_request_waits_for() -> None:
    story = Story(together, specs=dict.fromkeys("AC", SHARES))
    serve(story, 1, "A")
    story.tell(PreloadRequested(("C",)))
    assert story.wait_until(100.0) == []
    assert story.arrive(3, "C") == [ShutIfIdle((1,))]


def test_nobody_goes_for_one_that_loads() -> None:
    story = Story(together, specs={"A": SHARES, "C": ModelSpec(engine="cluster", makes_room=True)})
    serve(story, 1, "A")
    assert story.arrive(3, "C") == [StartProcess(2, "C")]
    assert story.wait_until(100.0) == []


def test_two_that_are_queued_make_one_go_at_a_time() -> None:
    story = shared()
    story.arrive(4, "D")
    story.wait_until(11.0)
    assert story.answer(ShutIfIdle((1,)), 0) == leaves(1)
    assert story.wait_until(20.0) == []
    story.exited(1)
    assert story.wait_until(21.0) == [ShutIfIdle((2,))]


def test_one_that_sleeps_holds_its_machine_and_is_stopped() -> None:
    sleeper = ModelSpec(can_sleep=True, engine="cluster", makes_room=True)
    story = Story(specs={"A": sleeper, "B": ModelSpec(), "C": SHARES})
    story.load("A", 1)
    question = ShutIfIdle((1,))
    story.arrive(2, "B")
    story.answer(question, 0)
    story.tell(FellAsleep(1))
    story.tell(ProcessReady(2))
    story.arrive(3, "C")
    story.answer(ShutIfIdle((2,)), 0)
    story.exited(2)
    assert story.states == {"A": "sleeping", "C": "starting"}
    assert story.wait_until(5.0) == leaves(1)


def test_one_that_requests_wait_for_stays_unless_they_wait_for_the_one_that_is_queued() -> None:
    for in_its_way, goes in (("D", False), ("C", True)):
        story = Story(rules(A=in_its_way), specs=dict.fromkeys("AC", SHARES))
        serve(story, 1, "A")
        assert StartProcess(2, "D") in story.arrive(2, "D")
        story.arrive(3, "C")
        story.arrive(4, "A")
        assert story.reasons[4] == f"{in_its_way} is loading for others"
        assert story.wait_until(5.0) == ([ShutIfIdle((1,))] if goes else [])
