"""The gate: alone, in every order of steps, and among forty real threads."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

import pytest

from llamaswap_lib.core.events import GateDrained, GateIdle
from llamaswap_lib.core.gate import Gate, Notice, look_inside, shut_all, shut_if_idle
from tests.core.interleavings import SCENES, LockedStepGate, StepGate, play_scene
from tests.core.threads import Crowd


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Door:
    """A gate with its clock and what it posted."""

    def __init__(self, run_id: int = 1, is_open: bool = True) -> None:
        self.clock = Clock()
        self.posted: list[Notice] = []
        self.gate = Gate(run_id, self.posted.append, self.clock)
        self.gate.shut = not is_open


def test_a_new_gate_is_shut_and_empty() -> None:
    gate = Door(is_open=False).gate
    assert not gate.enter("a")
    assert len(gate) == 0


def test_an_open_gate_lets_in_and_counts() -> None:
    door = Door()
    assert door.gate.enter("a")
    assert door.gate.enter("b")
    assert len(door.gate) == 2
    door.gate.leave("a")
    assert len(door.gate) == 1
    assert door.posted == []


def test_the_controller_admits_to_a_shut_gate() -> None:
    door = Door(is_open=False)
    door.gate.admit("a")
    assert len(door.gate) == 1
    door.gate.leave("a")
    assert door.posted == [GateDrained(1)]


def test_a_watch_is_told_once() -> None:
    door = Door()
    door.gate.enter("a")
    door.gate.watch()
    door.gate.leave("a")
    door.gate.enter("b")
    door.gate.leave("b")
    assert door.posted == [GateIdle(1)]


def test_a_watch_of_an_empty_gate_is_told_at_once() -> None:
    door = Door()
    door.gate.watch()
    assert door.posted == [GateIdle(1)]


def test_only_the_last_one_out_tells() -> None:
    door = Door()
    door.gate.enter("a")
    door.gate.enter("b")
    door.gate.watch()
    door.gate.leave("a")
    assert door.posted == []
    door.gate.leave("b")
    assert door.posted == [GateIdle(1)]


def test_idle_since_is_when_the_last_one_left() -> None:
    door = Door()
    door.gate.enter("a")
    door.clock.now = 107.5
    door.gate.leave("a")
    assert door.gate.answer() == (0, 107.5)


def test_gates_are_shut_all_or_none() -> None:
    busy, idle = Door(1), Door(2)
    busy.gate.enter("a")
    done, answer = shut_if_idle([idle.gate, busy.gate], 0.0, 100.0)
    assert (done, answer) == (False, {2: (0, 100.0), 1: (1, 100.0)})
    assert not busy.gate.shut
    assert not idle.gate.shut
    busy.gate.leave("a")
    assert busy.posted == [GateIdle(1)]
    assert shut_if_idle([idle.gate, busy.gate], 0.0, 100.0)[0]
    assert busy.gate.shut
    assert idle.gate.shut


def test_a_gate_that_was_shut_stays_shut_after_a_no() -> None:
    shut, busy = Door(1, is_open=False), Door(2)
    busy.gate.enter("a")
    assert not shut_if_idle([shut.gate, busy.gate], 0.0, 100.0)[0]
    assert shut.gate.shut


@pytest.mark.parametrize(("idle_since", "ttl"), [(0.1, 0.2), (100.1, 0.1), (5.3, 0.1)])
def test_a_gate_is_idle_for_long_enough_at_its_very_deadline(idle_since: float, ttl: float) -> None:
    """The deadline and the test are one float expression: what was added may not be subtracted again."""
    door = Door()
    door.gate.idle_since = idle_since
    deadline = idle_since + ttl
    assert not shut_if_idle([door.gate], ttl, math.nextafter(deadline, 0.0))[0]
    assert shut_if_idle([door.gate], ttl, deadline)[0]


def test_a_question_without_a_time_is_not_refused_because_somebody_left_just_now() -> None:
    door = Door()
    door.gate.enter("a")
    door.clock.now = 100.5
    door.gate.leave("a")
    assert shut_if_idle([door.gate], 0.0, 100.0)[0]


def test_shutting_gates_says_who_is_inside() -> None:
    busy, idle = Door(1), Door(2)
    busy.gate.enter("a")
    assert shut_all([busy.gate, idle.gate]) == {1: (1, 100.0), 2: (0, 100.0)}
    assert not busy.gate.enter("b")
    busy.gate.leave("a")
    assert busy.posted == [GateDrained(1)]


def test_a_look_changes_nothing_but_may_watch_the_busy_ones() -> None:
    busy, idle = Door(1), Door(2)
    busy.gate.enter("a")
    assert look_inside([busy.gate, idle.gate], watch=False) == {1: (1, 100.0), 2: (0, 100.0)}
    busy.gate.leave("a")
    assert busy.posted == idle.posted == []
    busy.gate.enter("b")
    look_inside([busy.gate, idle.gate], watch=True)
    assert not busy.gate.shut
    busy.gate.leave("b")
    assert (busy.posted, idle.posted) == ([GateIdle(1)], [])


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
def test_no_order_of_steps_breaks_the_gate(scene: str) -> None:
    assert play_scene(scene, StepGate, preemptions=2) > 20


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.slow
def test_no_order_of_steps_breaks_the_gate_with_a_lock(scene: str) -> None:
    assert play_scene(scene, LockedStepGate, preemptions=1) > 10


@pytest.fixture
def hasty_interpreter() -> Iterator[None]:
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hasty_interpreter")
@pytest.mark.parametrize("max_wait", [0.0, 0.005])
@pytest.mark.slow
def test_forty_threads_share_four_models_and_nothing_breaks(max_wait: float) -> None:
    crowd = Crowd(models="ABCD", clients=40, requests_each=60, max_wait=max_wait)
    crowd.run()
    assert crowd.broken == []
    assert crowd.served == 40 * 60
    assert crowd.swaps > 10
    assert max_wait or crowd.by_gate > 10  # who waits so briefly leaves hardly an open gate
