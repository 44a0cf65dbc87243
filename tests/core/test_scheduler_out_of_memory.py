"""The scheduler and models that run out of memory: more room, once more, and then the reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llamaswap_lib.core.effects import (
    DropRun,
    Effect,
    Fault,
    Refuse,
    ShutGates,
    ShutIfIdle,
    StartProcess,
    StopProcess,
    WriteLog,
)
from llamaswap_lib.core.events import LeaderExited, ModelsChanged, PreloadRequested, UnloadRequested
from llamaswap_lib.core.eviction.devices import GB, Device, Memory, Need, NeedSource, Reading
from llamaswap_lib.core.eviction.manners import Manners
from llamaswap_lib.core.eviction.memory import MemoryPolicy
from llamaswap_lib.core.model_spec import ModelSpec
from tests.core.story import Story, together

SAID = "cudaMalloc failed: out of memory"
DIED = "exited with code 1"


class Card:
    """A GPU of 24 GB, and RAM of 64. Needs in GB on the GPU, declared but where there is none."""

    def __init__(self, pinned: frozenset[str] = frozenset(), **needs: int | None) -> None:
        known = {model: size for model, size in needs.items() if size is not None}
        devices = {"gpu": Device(24 * GB, label="GPU 0"), "ram": Device(64 * GB, label="RAM")}
        declared = {model: Need({"gpu": size * GB}, NeedSource.DECLARED) for model, size in known.items()}
        self.memory = Memory(devices, declared)
        self.policy = MemoryPolicy(lambda: self.memory, Manners(pinned))
        self.story = Story(max_wait=60.0, rules=self.policy.rules())

    def fail(self, run_id: int, said: str = SAID) -> list[Effect]:
        return self.story.exited(run_id, DIED, out_of_memory=said)


def refusals(effects: list[Effect]) -> list[Refuse]:
    return [effect for effect in effects if isinstance(effect, Refuse)]


def lines(effects: list[Effect]) -> list[str]:
    return [effect.message for effect in effects if isinstance(effect, WriteLog)]


def beside_one() -> tuple[Card, int, int]:
    """A of 4 GB runs; B of 8 is loading beside it, for request 2."""
    card = Card(A=4, B=8)
    a = card.story.load("A", 1)
    assert card.story.arrive(2, "B") == [StartProcess(2, "B")]
    return card, a, 2


def test_more_goes_for_a_model_that_ran_out_of_memory_and_it_is_started_once_more() -> None:
    card, a, b = beside_one()
    effects = card.fail(b)
    assert effects[-1] == ShutIfIdle((a,))
    said = f"B: {DIED}, out of memory: {SAID}; it needs more than the 20.0 GB that were free on GPU 0 (8.0 GB declared)"
    assert lines(effects) == [f"{said}; it is started once more, with more room"]
    assert card.story.answer(ShutIfIdle((a,)), 0) == [StopProcess(a, "swap", "to make room for B")]
    why = "B needs 21.2 GB on GPU 0, where 20.0 GB are free; A holds 4.0 GB on GPU 0"
    assert str(card.story.swaps[-1].why) == why
    assert card.story.exited(a)[-1] == StartProcess(3, "B")
    assert card.story.ready(3)[0].ticket == 2  # type: ignore[union-attr]


KILLED = "the kernel (OOM killer) has ended it, since RAM was used up"


def test_one_that_the_kernel_ended_needs_more_ram_than_there_was() -> None:
    card = Card(A=4, B=8)
    needs = {name: Need({**need.devices, "ram": 30 * GB}, need.source) for name, need in card.memory.needs.items()}
    card.memory = replace(card.memory, needs=needs)
    a = card.story.load("A", 1)
    assert card.story.arrive(2, "B") == [StartProcess(2, "B")]
    effects = card.fail(2, KILLED)
    said = (
        f"B: {DIED}, out of memory: {KILLED}; it needs more than the 34.0 GB that were free on RAM (30.0 GB declared)"
    )
    assert lines(effects) == [f"{said}; it is started once more, with more room"]
    assert effects[-1] == ShutIfIdle((a,))


def test_one_that_the_kernel_ended_and_needs_no_ram_that_anybody_knows_of_has_crashed() -> None:
    card, _, b = beside_one()
    effects = card.fail(b, KILLED)
    assert [refusal.fault for refusal in refusals(effects)] == [Fault.LOAD_FAILED]
    assert card.story.scheduler.hand_over().floors == {}


def test_after_the_second_try_everybody_who_waits_is_told_why() -> None:
    card, a, b = beside_one()
    card.fail(b)
    card.story.answer(ShutIfIdle((a,)), 0)
    card.story.exited(a)
    card.story.arrive(3, "B")
    refused = refusals(card.fail(3))
    said = f"model B could not be loaded: {DIED}, out of memory: {SAID}"
    said += "; it needs more than the 24.0 GB that were free on GPU 0 (8.0 GB declared)"
    assert refused == [Refuse(ticket, Fault.OUT_OF_MEMORY, said, 1.0) for ticket in (2, 3)]
    (later,) = refusals(card.story.arrive(4, "B"))
    assert later.fault is Fault.OUT_OF_MEMORY  # while it is not tried


def test_where_nobody_can_go_it_is_not_tried_again() -> None:
    card = Card(B=8)
    assert card.story.arrive(2, "B") == [StartProcess(1, "B")]
    assert [refusal.fault for refusal in refusals(card.fail(1))] == [Fault.OUT_OF_MEMORY]


def test_a_pinned_model_does_not_go_for_it() -> None:
    card = Card(frozenset("A"), A=4, B=8)
    card.story.load("A", 1)
    card.story.arrive(2, "B")
    assert [refusal.fault for refusal in refusals(card.fail(2))] == [Fault.OUT_OF_MEMORY]


@pytest.mark.parametrize("is_gone", [True, False])
def test_one_beside_which_there_is_more_room_by_now_is_tried_again_though_nobody_can_go(is_gone: bool) -> None:
    card, a, b = beside_one()
    card.story.tell(UnloadRequested(9, ("A",)))
    assert card.story.answer(ShutGates((a,)), 0) == [StopProcess(a, "unload", "unloaded")]
    if is_gone:
        card.story.exited(a)
        assert card.fail(b)[-1] == StartProcess(3, "B")
    else:
        assert card.fail(b)[0] == DropRun(b)
        assert card.story.exited(a)[-1] == StartProcess(3, "B")
    assert [refusal.fault for refusal in refusals(card.fail(3))] == [Fault.OUT_OF_MEMORY]


def test_one_that_was_started_before_its_room_was_free_is_tried_again_though_nobody_can_go() -> None:
    card = Card(A=20, B=8)
    a = card.story.load("A", 1)
    card.memory = replace(card.memory, readings=(Reading(0.0, {"gpu": 4 * GB}),))
    assert card.story.swap(a, 2, "B") == [DropRun(a)]
    assert card.story.wait_until(5.0)[-1] == StartProcess(2, "B")
    card.story.now = 11.0
    assert card.fail(2)[0] == DropRun(2)
    card.memory = replace(card.memory, readings=tuple(Reading(at, {"gpu": 24 * GB}) for at in (11.1, 11.2)))
    assert card.story.wait_until(11.3)[-1] == StartProcess(3, "B")


def test_a_floor_never_makes_that_a_model_can_never_fit() -> None:
    card = Card(B=23)
    card.story.arrive(1, "B")
    assert [refusal.fault for refusal in refusals(card.fail(1))] == [Fault.OUT_OF_MEMORY]
    card.story.now = 2.0
    assert card.story.arrive(2, "B") == [StartProcess(2, "B")]


def loaded_at_the_second_try() -> Card:
    """B runs as 3, for which A had to go, and A has come back as 4."""
    card, a, b = beside_one()
    card.fail(b)
    card.story.answer(ShutIfIdle((a,)), 0)
    card.story.exited(a)
    card.story.ready(3)
    assert card.story.arrive(3, "A") == [StartProcess(4, "A")]
    card.story.ready(4)
    return card


def test_a_floor_ends_with_the_next_success() -> None:
    card = loaded_at_the_second_try()
    card.story.exited(3)
    assert card.story.arrive(4, "B") == [StartProcess(5, "B")]  # beside A, as at first


def test_after_a_success_it_is_started_once_more_again() -> None:
    card = loaded_at_the_second_try()
    assert card.story.tell(UnloadRequested(9, ("B",))) == [ShutGates((3,))]
    card.story.answer(ShutGates((3,)), 0)
    assert card.story.arrive(5, "B") == []  # it is waited for before it is gone
    assert card.story.exited(3)[-1] == StartProcess(5, "B")
    assert card.fail(5)[-1] == ShutIfIdle((4,))


def test_while_there_is_a_floor_the_next_start_gets_that_room() -> None:
    card, a, b = beside_one()
    card.fail(b)
    card.story.abandon(2)
    assert card.story.arrive(3, "B") == [ShutIfIdle((a,))]


def test_a_floor_outlives_a_change_that_leaves_the_model_as_it_is_and_no_other() -> None:
    for replaced, expected in ((frozenset[str](), False), (frozenset("B"), True)):
        card, _, b = beside_one()
        card.fail(b)
        card.story.abandon(2)
        models = dict.fromkeys("AB", ModelSpec())
        card.story.tell(ModelsChanged(models, replaced, card.policy.rules(), 60.0, {}))
        assert (card.story.arrive(3, "B") == [StartProcess(3, "B")]) is expected


def test_who_takes_over_knows_what_a_model_was_short_of() -> None:
    card, a, b = beside_one()
    card.fail(b)
    state = card.story.scheduler.hand_over()
    heir = Card(A=4, B=8)
    change = ModelsChanged(dict(state.models), frozenset(), heir.policy.rules(), 60.0, {}, state=state)
    assert heir.story.tell(change)[-1] == ShutIfIdle((a,))  # request 2 waits for B there


def test_a_load_for_nobody_is_not_tried_again() -> None:
    card, _, b = beside_one()
    card.story.abandon(2)
    drop, line = card.fail(b)
    assert drop == DropRun(b)
    assert "could not be loaded" in lines([line])[0]


def test_a_preload_is_not_tried_again() -> None:
    card = Card(A=4, B=8)
    card.story.load("A", 1)
    assert card.story.tell(PreloadRequested(("B",)))[-1] == StartProcess(2, "B")
    assert card.fail(2)[0] == DropRun(2)
    assert set(card.story.states) == {"A"}


def test_it_is_tried_once_more_also_if_it_is_unloaded_meanwhile() -> None:
    card, a, b = beside_one()
    card.fail(b)
    card.story.answer(ShutIfIdle((a,)), 0)
    card.story.exited(a)
    card.story.tell(UnloadRequested(9, ("B",)))
    assert card.fail(3)[-1] == StartProcess(4, "B")  # for who waits: it was stopped, and has not failed
    assert refusals(card.fail(4))


def test_one_that_dies_while_it_serves_gets_more_at_its_next_start() -> None:
    card, a, b = beside_one()
    card.story.ready(b)
    card.story.tell(LeaderExited(b, "killed by SIGABRT"))
    effects = card.fail(b, "CUDA error: out of memory")
    said = "it needs more than the 20.0 GB that were free on GPU 0 (8.0 GB declared)"
    assert lines(effects) == [f"B: out of memory: CUDA error: out of memory; {said}; its next start gets more room"]
    assert card.story.arrive(3, "B") == [ShutIfIdle((a,))]


def test_one_that_was_told_to_stop_has_not_run_out_of_memory() -> None:
    card, _, b = beside_one()
    card.story.tell(UnloadRequested(9, ("B",)))
    assert card.fail(b)[-1] == StartProcess(3, "B")  # beside A, for request 2


def test_words_of_the_machines_memory_are_for_that() -> None:
    card = Card(A=4, B=8)
    card.memory = replace(
        card.memory, needs={**card.memory.needs, "B": Need({"gpu": 8 * GB, "ram": 2 * GB}, NeedSource.DECLARED)}
    )
    card.story.load("A", 1)
    card.story.arrive(2, "B")
    (refused,) = refusals(card.fail(2, "terminate called after throwing an instance of 'std::bad_alloc'"))
    assert refused.message.endswith("it needs more than the 64.0 GB that were free on RAM (2.0 GB declared)")


def test_one_of_unknown_need_is_loaded_alone_and_not_tried_again() -> None:
    card = Card(A=4, B=None)
    a = card.story.load("A", 1)
    card.story.swap(a, 2, "B")
    (refused,) = refusals(card.fail(2))
    assert refused.message.endswith("it needs more than the 24.0 GB that were free on GPU 0")


def test_where_models_do_not_go_by_memory_the_words_are_in_the_reason() -> None:
    story = Story(together)
    story.arrive(1, "A")
    (refused,) = refusals(story.exited(1, DIED, out_of_memory=SAID))
    assert (refused.fault, refused.message) == (
        Fault.LOAD_FAILED,
        f"model A could not be loaded: {DIED}, out of memory: {SAID}",
    )
