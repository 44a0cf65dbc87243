"""A witness of who is next: where one model runs at a time, each swap is for the first in line.

The line is that of the rules as users know them: who has waited past `max_wait` by age, then by priority and age, by
the priorities as they are now. A swap that has begun belongs to the one ticket it was begun for.
"""

from __future__ import annotations

from collections.abc import Mapping

from llamaswap_lib.core.effects import Effect, PutToSleep, StartProcess, StopProcess, WakeUp
from llamaswap_lib.core.events import Event
from tests.core.reload import Reload, Upgrade
from tests.core.witness import Witness


class LineWitness(Witness):
    """The witness, and who is next."""

    _claimed: int | None = None  # the ticket for which a swap has begun
    _priorities: Mapping[str, int]

    def __post_init__(self) -> None:
        Witness.__post_init__(self)
        self._is_line = self.plan.policy.name == "one place"  # and it never was otherwise
        self._look_up_priorities()

    def note(self, event: Event) -> None:
        Witness.note(self, event)
        if isinstance(event, Reload) and not self.is_closing:
            self._is_line = self._is_line and self.plan.policy.name == "one place"
            self._look_up_priorities()

    def check(self, effect: Effect) -> None:
        if self._is_line and self.waiting:
            match effect:
                case StopProcess(_, "queue" | "queue timeout" | "withdrawn" | "lost" | "ttl"):
                    pass
                case StopProcess(run_id) | PutToSleep(run_id):
                    life = self.lives[run_id]
                    if life.unload_by is None and not (life.has_timed_out or life.is_retired or life.is_away):
                        self._claimed = self._first()
                case WakeUp() if isinstance(self._event, Upgrade):
                    pass  # it had begun
                case StartProcess() | WakeUp():
                    model = effect.model if isinstance(effect, StartProcess) else self.lives[effect.run_id].model
                    due = self._claimed if self._claimed in self.waiting else self._first()
                    self._claimed = None
                    next_model = self.waiting[due].model
                    self.require(model == next_model, f"started {model}, but {next_model} is first in line")
                case _:
                    pass
        Witness.check(self, effect)

    def _look_up_priorities(self) -> None:
        self._priorities = {model: habit.priority for model, habit in self.plan.habits.items()}

    def _first(self) -> int:
        """The oldest ticket of those that go first. `waiting` is in the order of arrival."""
        overdue = (ticket for ticket in self.waiting if self._is_overdue(ticket))
        return next(overdue, None) or max(self.waiting, key=self._priority)  # the first of those that are equal

    def _is_overdue(self, ticket: int) -> bool:
        max_wait = self.plan.max_wait
        waiter = self.waiting[ticket]
        return max_wait > 0 and max(waiter.since, waiter.in_line_since) + max_wait <= self.now

    def _priority(self, ticket: int) -> int:
        return self._priorities.get(self.waiting[ticket].model, 0)
