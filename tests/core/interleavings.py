"""Scenes in which the real gate's operations meet in every order, and what must be true afterwards.

`python tests/core/interleavings.py` plays them all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

sys.path.append(str(Path(__file__).resolve().parents[2]))

from llamaswap_lib.core import gate as gates
from llamaswap_lib.core.events import GateDrained
from llamaswap_lib.core.gate import Gate, LockedGate, Notice
from tests.core.turns import Operation, StepLock, Turns, every_order, stepwise

MOST_NOTICES = 6


class StepSet(set[object]):
    """A set of which each access is a step."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns

    def add(self, token: object) -> None:
        self._turns.step()
        super().add(token)

    def discard(self, token: object) -> None:
        self._turns.step()
        super().discard(token)

    def __len__(self) -> int:
        self._turns.step()
        return super().__len__()

    def __bool__(self) -> bool:
        return len(self) > 0

    def __iter__(self) -> Iterator[object]:
        self._turns.step()
        return super().__iter__()


class _Flag:
    """An attribute of the gate of which each access is a step."""

    def __init__(self, name: str) -> None:
        self._slot = getattr(Gate, name)

    def __get__(self, gate: _Stepping, owner: object = None) -> object:
        gate.turns.step()
        return self._slot.__get__(gate)

    def __set__(self, gate: _Stepping, value: object) -> None:
        gate.turns.step()
        self._slot.__set__(gate, value)


class _Stepping(Gate):
    turns: Turns


class StepGate(_Stepping):
    shut = cast(bool, _Flag("shut"))
    watched = cast(bool, _Flag("watched"))
    idle_since = cast(float, _Flag("idle_since"))

    def __init__(self, turns: Turns, run_id: int, post: Callable[[Notice], None]) -> None:
        self.turns = turns
        super().__init__(run_id, post, lambda: float(turns.clock))
        self._inside = StepSet(turns)


class LockedStepGate(LockedGate):
    turns: Turns
    shut = cast(bool, _Flag("shut"))
    watched = cast(bool, _Flag("watched"))
    idle_since = cast(float, _Flag("idle_since"))

    def __init__(self, turns: Turns, run_id: int, post: Callable[[Notice], None]) -> None:
        self.turns = turns
        super().__init__(run_id, post, lambda: float(turns.clock), StepLock(turns))
        self._inside = StepSet(turns)


Kind = type[StepGate] | type[LockedStepGate]


class Scene:
    """Two open gates, `first` with the token `guest` inside; clients and the controller meet there."""

    def __init__(self, turns: Turns, kind: Kind) -> None:
        self.notices: list[Notice] = []
        self.turns = turns
        self.first, self.second = (kind(turns, number, self.notices.append) for number in (1, 2))
        self.first.admit("guest")
        for gate in (self.first, self.second):
            gate.shut = False
        self.entered: list[str] = []
        self.done: bool | None = None
        self.asked_at = 0.0
        self.answer: dict[int, tuple[int, float]] = {}
        self.noticed_before = 0  # notices that were there when the controller had its answer

    # -- operations --

    def leave(self) -> None:
        self.first.leave("guest")

    def enter_first(self) -> None:
        if self.first.enter("visitor"):
            self.entered.append("visitor")

    def visit_first(self) -> None:
        if self.first.enter("passer-by"):
            self.first.leave("passer-by")

    def enter_second(self) -> None:
        if self.second.enter("stranger"):
            self.entered.append("stranger")

    def ask_first(self) -> None:
        self._ask([self.first])

    def ask_both(self) -> None:
        self._ask([self.first, self.second])

    def ask_whether_idle(self) -> None:
        self._ask([self.first], 5.0)

    def _ask(self, asked: Sequence[Gate], idle_for: float = 0.0) -> None:
        now = self.asked_at = float(self.turns.clock)
        self.done, self.answer = gates.shut_if_idle(asked, idle_for, now)
        if self.done:
            assert all(not inside for inside, _ in self.answer.values()), "said idle, and named somebody inside"

    def shut_both(self) -> None:
        self.answer = gates.shut_all([self.first, self.second])
        self.noticed_before = len(self.notices)

    def watch_twice(self) -> None:
        self.first.watch()
        self.first.watch()

    # -- what must be true --

    def everybody_leaves(self) -> None:
        for gate in (self.first, self.second):
            for token in list(gate._inside):
                gate.leave(token)

    def check_question(self) -> None:
        """Shut and empty, all of them, or all as they were, and those that were in the way are watched."""
        asked = [gate for gate in (self.first, self.second) if gate.run_id in self.answer]
        if self.done:
            assert all(gate.shut for gate in asked), "said shut, and one is open"
            assert not any(len(gate) for gate in asked), f"said shut and empty, and {self.entered} is inside"
        else:
            assert not any(gate.shut for gate in asked), "said no, and left one shut"
            assert any(inside for inside, _ in self.answer.values()), "said no, and nobody was inside"
            self.everybody_leaves()
            busy = {run_id for run_id, (inside, _) in self.answer.items() if inside}
            noticed = {notice.run_id for notice in self.notices}
            assert busy <= noticed, f"the watch of {busy - noticed} was lost"
        assert len(self.notices) <= MOST_NOTICES, f"{len(self.notices)} notices"

    def check_idle_question(self) -> None:
        if self.done:
            assert len(self.first) == 0, "said idle, and somebody is inside"
            assert self.first.idle_since + 5.0 <= self.asked_at, "said idle, and somebody has just left"

    def check_shut(self) -> None:
        """Nobody comes in after the answer, and the last of those inside says so."""
        inside = {run_id: count for run_id, (count, _) in self.answer.items()}
        assert len(self.first) <= inside[1], "somebody entered the shut gate 1"
        assert len(self.second) <= inside[2], "somebody entered the shut gate 2"
        self.everybody_leaves()
        for run_id in (1, 2):
            said = [notice for notice in self.notices[self.noticed_before :] if notice.run_id == run_id]
            was_empty = inside[run_id] == 0
            assert was_empty or GateDrained(run_id) in self.notices, f"gate {run_id} drained in silence"
            assert len(said) <= MOST_NOTICES
        assert not self.first.enter("late"), "a shut gate let somebody in"

    def check_watch(self) -> None:
        self.everybody_leaves()
        assert 1 <= len(self.notices) <= MOST_NOTICES, f"{len(self.notices)} notices of a watch"
        before = len(self.notices)
        self.first.admit("later")
        self.first.leave("later")
        assert len(self.notices) == before, "a watch that is over was told again"


SCENES: dict[str, tuple[tuple[Callable[[Scene], None], ...], Callable[[Scene], None]]] = {
    "a guest leaves while an idle gate is looked for": ((Scene.leave, Scene.ask_first), Scene.check_question),
    "somebody enters while an idle gate is looked for": (
        (Scene.enter_second, Scene.leave, Scene.ask_both),
        Scene.check_question,
    ),
    "somebody passes through while the last guest leaves": (
        (Scene.visit_first, Scene.leave, Scene.ask_first),
        Scene.check_question,
    ),
    "somebody takes the place of the last guest": (
        (Scene.enter_first, Scene.leave, Scene.ask_first),
        Scene.check_question,
    ),
    "both gates are shut while people come and go": (
        (Scene.enter_first, Scene.leave, Scene.shut_both),
        Scene.check_shut,
    ),
    "a gate is shut whatever is inside": ((Scene.visit_first, Scene.enter_second, Scene.shut_both), Scene.check_shut),
    "the ttl is over just as the last guest leaves": ((Scene.leave, Scene.ask_whether_idle), Scene.check_idle_question),
    "a gate is watched while the last guest leaves": (
        (Scene.leave, Scene.visit_first, Scene.watch_twice),
        Scene.check_watch,
    ),
}


def play_scene(name: str, kind: Kind, preemptions: int) -> int:
    """Every order of the scene's operations; returns how many there were."""
    operations, check = SCENES[name]

    with stepwise(len(operations)) as turns:

        def scene() -> tuple[list[Operation], Operation]:
            made = Scene(turns, kind)
            return [partial(operation, made) for operation in operations], partial(check, made)

        return every_order(turns, scene, preemptions)


def main() -> None:
    """Ends with a traceback where a scene is broken."""
    for name in SCENES:
        print(play_scene(name, StepGate, preemptions=2), "orders:", name)


if __name__ == "__main__":
    main()
