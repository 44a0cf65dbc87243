"""A witness of who goes for a model that is queued where others run, which have all the machines there are."""

from __future__ import annotations

import math

from llamaswap_lib.core import effects, events
from llamaswap_lib.core.effects import Effect
from llamaswap_lib.core.events import Event
from tests.core.books import Life, Waiter
from tests.core.pressure import PressureWitness

PATIENCE = 1.0  # seconds after a run has said that it is queued before somebody goes, and after each exit there
SUBMITTING = 5.0  # the same from its start, where it says nothing
MOMENT = 1e-6


class QueueWitness(PressureWitness):
    """The witness, and what is promised of queues."""

    _left_at: float  # when one of them was gone last
    _made_room: int | None  # the run that is being stopped for one that is queued

    def __post_init__(self) -> None:
        PressureWitness.__post_init__(self)
        self._left_at, self._made_room = 0.0, None

    def note(self, event: Event) -> None:
        match event:
            case events.RunAnnounced(run_id, address) if life := self.lives.get(run_id):
                if life.is_staying and not life.is_ready and life.address != address:
                    life.load_began = self.now
            case events.RunQueued(run_id) if (life := self.lives.get(run_id)) and life.is_queued:
                life.queued_at = self.now if life.queued_at is None else life.queued_at
            case events.ProcessReady(run_id, address) if life := self.lives.get(run_id):
                if life.ready_at is None and life.address == address:
                    life.load_took = self.now - (life.load_began if address else life.started_at)
            case events.ProcessExited(run_id) if life := self.lives.get(run_id):
                if self._is_of_engine(life):
                    self._left_at = self.now
            case _:
                pass
        PressureWitness.note(self, event)

    def check(self, effect: Effect) -> None:
        match effect:
            case effects.StopProcess(run_id, "queue", reason):
                self._made_room = run_id
                self._check_queue_room(self.lives[run_id], reason)
                self.disturbances += 1
            case _:
                self._made_room = None
        PressureWitness.check(self, effect)

    def _is_over(self, life: Life) -> bool:
        return life.run_id == self._made_room or PressureWitness._is_over(self, life)

    def _patience(self, waiter: Waiter) -> float:
        """How long others have the machines is not known; each queue has an end, or else the world has none."""
        return math.inf if self.plan.slots else PressureWitness._patience(self, waiter)

    def _wants_room(self) -> bool:
        return bool(self._due())

    def _check_shut_question(self, question: effects.ShutIfIdle | effects.ShutGates) -> None:
        lives = [self.lives[run_id] for run_id in question.run_ids]
        is_for_room = isinstance(question, effects.ShutIfIdle) and not question.idle_for and len(lives) == 1
        if not (is_for_room and self._due() and (self._makes_room(lives[0]) or self._held_up(lives[0]))):
            PressureWitness._check_shut_question(self, question)

    def _check_queue_room(self, life: Life, reason: str) -> None:
        due = {queued.model for queued in self._due()}
        self.require(bool(due), f"stopped {life.model} {reason}, where nobody has been queued for long enough")
        self.require(any(reason.endswith(f"queue of {model}") for model in due), f"stopped {life.model} {reason}")
        is_held_up = bool(self._held_up(life))
        self.require(self._makes_room(life) or is_held_up, f"stopped {life.model} {reason}, which was to stay")
        longest = min(map(_idle_since, filter(self._makes_room, self.lives.values())), default=self.now)
        self.require(
            _idle_since(life) <= longest, f"stopped {life.model} {reason}, and another one was idle for longer"
        )

    def settle(self, is_quiet: bool) -> None:
        PressureWitness.settle(self, is_quiet)
        if is_quiet and (due := self._due()):
            staying = [life for life in self.lives.values() if self._makes_room(life) and not life.gate.shut]
            self.require(not staying, f"{due} is queued, and {staying} could make room")

    # -- who --

    def _due(self) -> list[Life]:
        """Those that somebody waits for and that are queued for long enough, unless one is ending there."""
        if self.is_closing or any(map(self._is_ending_there, self.lives.values())):
            return []
        return [
            life
            for life in self.lives.values()
            if life.is_queued and life.is_staying and self._is_of_engine(life) and self.waits(life.model)
            and max(_queued_for_sure_at(life), self._left_at + PATIENCE) <= self.now
        ]  # fmt: skip

    def _makes_room(self, life: Life) -> bool:
        return self._may_go_there(life) and not self.waits(life.model)

    def _held_up(self, life: Life) -> set[str]:
        """Those that keep it from serving who waits for it, if it could go."""
        others = [other for other in self.lives.values() if other is not life]
        waited = [other.model for other in others if self.waits(other.model) and not other.is_ready]
        waited += [waiter.model for waiter in self.waiting.values() if waiter.model != life.model]
        clashing = [model for model in waited if life.model in self._victims(model, [*self._staying(), model])]
        return {*self._victims(life.model, self._existing()), *clashing} if self._may_go_there(life) else set()

    def _may_go_there(self, life: Life) -> bool:
        is_calm = life.is_ready and life.is_staying and not life.is_moving and not len(life.gate)
        is_calm = is_calm and self._is_of_engine(life)
        is_old = life.ready_at is not None and self.now >= life.ready_at + life.load_took - MOMENT
        return is_calm and is_old and self.plan.habits[life.model].makes_room

    def _is_ending_there(self, life: Life) -> bool:
        return self._is_of_engine(life) and (life.is_ending or life.unload_by is not None)

    def _is_of_engine(self, life: Life) -> bool:
        is_configured = life.model in self.plan.configured
        return self.plan.slots > 0 and is_configured and self.plan.habits[life.model].announces


def _queued_for_sure_at(life: Life) -> float:
    return life.started_at + SUBMITTING if life.queued_at is None else life.queued_at + PATIENCE


def _idle_since(life: Life) -> float:
    return max(life.gate.idle_since, life.ready_at or 0.0)
