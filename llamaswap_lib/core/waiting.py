"""Which requests wait for which model, since when, and in which order the models are served.

Pure; part of the scheduler. Requests wait in the `WaitingRoom`. Those whose run has just closed the connection wait
among the `Orphans` until it is known whether its process has ended.

The order is: models whose swap has begun, then those whose oldest ticket has waited longer than `max_wait` by age
whatever their priority, then by priority and age. A claim (a swap begun) belongs to one ticket and ends with it.
Priorities are looked up when the order is made, so a change of them applies to all requests that wait; claims stay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

EXIT_NOTICE_TIMEOUT = 2.0  # a process that held a GPU takes its time from closing its connections to its exit


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

    def add(self, ticket: int, model: str, since: float) -> None:
        self._arrivals += 1
        self._by_model.setdefault(model, {})[ticket] = Ticket(ticket, model, self._arrivals, since)
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
        """Take out all tickets of `model`, oldest first."""
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
        """A swap has begun for the oldest ticket of `model`, unless one has begun already or there is no ticket."""
        if model not in self._claims and model in self._by_model:
            self._claims[model] = next(iter(self._by_model[model]))

    def end_claim(self, model: str) -> None:
        self._claims.pop(model, None)

    def is_claimed(self, model: str) -> bool:
        return model in self._claims

    def claims(self) -> frozenset[str]:
        return frozenset(self._claims)

    # -- whether it can be started at all --

    def note_checked(self, model: str) -> None:
        """It can be started, as was found for the tickets that wait now."""
        if model in self._by_model:
            self._checked.add(model)

    def is_checked(self, model: str) -> bool:
        return model in self._checked

    def everybody(self) -> tuple[Ticket, ...]:
        """In the order of arrival."""
        tickets = [ticket for tickets in self._by_model.values() for ticket in tickets.values()]
        return tuple(sorted(tickets, key=lambda ticket: ticket.number))

    # -- order and time --

    def change_rules(self, priorities: Mapping[str, int], max_wait: float) -> None:
        """Also for the tickets that wait already. What is known of models that can be started is forgotten."""
        self._priorities = priorities
        self._max_wait = max_wait
        self._checked.clear()

    def is_overdue(self, model: str, now: float) -> bool:
        return self._is_late(self._oldest(model), now)

    def is_urgent(self, model: str, now: float) -> bool:
        """Whether it comes first whatever the priorities: its swap has begun, or it is overdue."""
        return self._rank(model, now)[0] < 2

    def order(self, now: float) -> list[str]:
        """The models with tickets, in the order in which they are decided."""
        return sorted(self._by_model, key=lambda model: self._rank(model, now))

    def _rank(self, model: str, now: float) -> tuple[int, int, int]:
        if model in self._claims:
            return 0, 0, self._by_model[model][self._claims[model]].number
        oldest = self._oldest(model)
        if self._is_late(oldest, now):
            return 1, 0, oldest.number
        return 2, -self._priorities.get(model, 0), oldest.number

    def since(self, model: str) -> float:
        """When the oldest ticket of `model` came; it must have one."""
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


@dataclass(frozen=True, slots=True)
class Orphan:
    """A request whose run closed the connection before a byte of its answer."""

    ticket: int
    model: str
    run_id: int
    since: float
    was_sent: bool = True  # the run may have got the request

    @property
    def until(self) -> float:
        return self.since + EXIT_NOTICE_TIMEOUT


class Orphans:
    """Requests whose run closed the connection before a byte of its answer: has its process ended?

    The end of a process is noticed a moment after that of its connections. Until then, such a request waits here, and
    not with the requests that would be admitted to the run that it has just lost. After `EXIT_NOTICE_TIMEOUT` it is
    clear that the process lives and only closed the connection; unless its server, on another machine, is being looked
    for. If that is found, a request that was not sent is tried there once more.
    """

    def __init__(self, is_looked_for: Callable[[int], bool]) -> None:
        """`is_looked_for`: whether the server of the run is, so that they wait on."""
        self._is_looked_for = is_looked_for
        self._by_ticket: dict[int, Orphan] = {}

    def add(self, orphan: Orphan) -> None:
        self._by_ticket[orphan.ticket] = orphan

    def remove(self, ticket: int) -> bool:
        """False if it is not here."""
        return self._by_ticket.pop(ticket, None) is not None

    def everybody(self) -> tuple[Orphan, ...]:
        return tuple(self._by_ticket.values())

    def take_settled(self, may_serve: Callable[[int], bool], now: float) -> list[Orphan]:
        """Those whose run is known to be ending or gone, and those that have waited for that long enough."""
        return self._take(
            [
                orphan
                for orphan in self._by_ticket.values()
                if not may_serve(orphan.run_id) or (orphan.until <= now and not self._is_looked_for(orphan.run_id))
            ]
        )

    def take_unsent(self, run_id: int) -> list[Orphan]:
        """Those of the run that it cannot have got."""
        everybody = self._by_ticket.values()
        return self._take([orphan for orphan in everybody if orphan.run_id == run_id and not orphan.was_sent])

    def take_of(self, models: Collection[str]) -> list[Orphan]:
        return self._take([orphan for orphan in self._by_ticket.values() if orphan.model in models])

    def take_all(self) -> list[Orphan]:
        return self._take(list(self._by_ticket.values()))

    def next_deadline(self) -> float | None:
        settling = [orphan for orphan in self._by_ticket.values() if not self._is_looked_for(orphan.run_id)]
        return min((orphan.until for orphan in settling), default=None)

    def _take(self, orphans: list[Orphan]) -> list[Orphan]:
        for orphan in orphans:
            del self._by_ticket[orphan.ticket]
        return orphans
