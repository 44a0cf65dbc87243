"""Which requests wait for which model, since when, and in which order the models are served.

Pure. The order is: models whose swap has begun, then those whose oldest ticket has waited longer than `max_wait` by age
whatever their priority, then by priority and age. A claim (a swap begun) belongs to one ticket and ends with it.
Priorities are looked up when the order is made, so a change of them applies to all requests that wait; claims stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request that waits; `number` grows with arrival, `since` is in monotonic seconds."""

    ticket: int
    model: str
    number: int
    since: float


class WaitingRoom:
    """Tickets by model, oldest first. `max_wait` in seconds, 0 for no bound."""

    def __init__(self, priorities: Mapping[str, int], max_wait: float) -> None:
        self._priorities = priorities
        self._max_wait = max_wait
        self._by_model: dict[str, dict[int, Ticket]] = {}
        self._model_of: dict[int, str] = {}
        self._claims: dict[str, int] = {}
        self._checked: set[str] = set()
        self._arrivals = 0

    def __repr__(self) -> str:
        counts = (f"{model}:{len(tickets)}{'!' * (model in self._claims)}" for model, tickets in self._by_model.items())
        return f"waiting[{' '.join(counts)}]"

    def add(self, ticket: int, model: str, now: float) -> None:
        self._arrivals += 1
        self._by_model.setdefault(model, {})[ticket] = Ticket(ticket, model, self._arrivals, now)
        self._model_of[ticket] = model

    def remove(self, ticket: int) -> bool:
        """Take one ticket out, and the claim that belongs to it; False if it does not wait."""
        model = self._model_of.pop(ticket, None)
        if model is None:
            return False
        tickets = self._by_model[model]
        del tickets[ticket]
        if not tickets:
            del self._by_model[model]
            self._checked.discard(model)
        if self._claims.get(model) == ticket:
            del self._claims[model]
        return True

    def remove_all(self, model: str) -> list[int]:
        """Take out everyone who waits for `model`, oldest first."""
        tickets = list(self._by_model.get(model, ()))
        for ticket in tickets:
            self.remove(ticket)
        return tickets

    def has(self, model: str) -> bool:
        return model in self._by_model

    def models(self) -> list[str]:
        return list(self._by_model)

    # -- claims --

    def claim(self, model: str) -> None:
        """A swap has begun for the oldest ticket of `model`, unless one has begun already or nobody waits."""
        if model not in self._claims and model in self._by_model:
            self._claims[model] = next(iter(self._by_model[model]))

    def end_claim(self, model: str) -> None:
        self._claims.pop(model, None)

    def is_claimed(self, model: str) -> bool:
        return model in self._claims

    # -- whether it can be started at all --

    def note_checked(self, model: str) -> None:
        """It was found that it can, for those who wait now."""
        if model in self._by_model:
            self._checked.add(model)

    def is_checked(self, model: str) -> bool:
        return model in self._checked

    # -- order and time --

    def change_rules(self, priorities: Mapping[str, int], max_wait: float) -> None:
        """For those who wait already too; and nothing is known any more of what can be started."""
        self._priorities = priorities
        self._max_wait = max_wait
        self._checked.clear()

    def is_overdue(self, model: str, now: float) -> bool:
        return self._is_late(self._oldest(model), now)

    def is_urgent(self, model: str, now: float) -> bool:
        """Whether it goes before others whatever their priority: its swap has begun, or it is overdue."""
        return self._rank(model, now)[0] < 2

    def order(self, now: float) -> list[str]:
        """The models somebody waits for, in the order in which they are decided."""
        return sorted(self._by_model, key=lambda model: self._rank(model, now))

    def _rank(self, model: str, now: float) -> tuple[int, int, int]:
        if model in self._claims:
            return 0, 0, self._by_model[model][self._claims[model]].number
        oldest = self._oldest(model)
        if self._is_late(oldest, now):
            return 1, 0, oldest.number
        return 2, -self._priorities.get(model, 0), oldest.number

    def since(self, model: str) -> float:
        """When the oldest ticket of `model`, for which somebody waits, came."""
        return self._oldest(model).since

    def next_overdue(self, now: float) -> float | None:
        """When the next ticket that is not yet overdue will be."""
        if not self._max_wait:
            return None
        times = (self._oldest(model).since + self._max_wait for model in self._by_model)
        return min((time for time in times if time > now), default=None)

    def _is_late(self, ticket: Ticket, now: float) -> bool:
        return self._max_wait > 0 and ticket.since + self._max_wait <= now

    def _oldest(self, model: str) -> Ticket:
        return next(iter(self._by_model[model].values()))

    def tickets(self, model: str) -> tuple[Ticket, ...]:
        """Oldest first."""
        return tuple(self._by_model[model].values())
