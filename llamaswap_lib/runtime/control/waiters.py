"""The threads that wait for an answer of the controller, by ticket. Any thread joins; the controller thread does the
rest."""

from __future__ import annotations

import itertools

from llamaswap_lib.runtime.control.lease import PlainWaiter, Waiter


class Waiters:
    """The open tickets of one controller."""

    def __init__(self) -> None:
        self._tickets = itertools.count(1)
        self._waiters: dict[int, Waiter] = {}
        self._failed: set[int] = set()  # tickets that were told so: what is decided on them later is for nobody

    # -- any thread --

    def new(self, token: object, model: str = "") -> Waiter:
        """One with a ticket of its own, for `model`; it is answered once."""
        waiter = Waiter(next(self._tickets), token, model)
        self._waiters[waiter.ticket] = waiter
        return waiter

    def new_without_descriptor(self) -> Waiter:
        """The same for who watches no client meanwhile."""
        waiter = PlainWaiter(next(self._tickets))
        self._waiters[waiter.ticket] = waiter
        return waiter

    # -- controller thread only --

    def of(self, ticket: int) -> Waiter:
        """The one that has the ticket; it goes on waiting."""
        return self._waiters[ticket]

    def pop(self, ticket: int) -> Waiter:
        """The one that is about to be answered."""
        return self._waiters.pop(ticket)

    def fail(self, command: object) -> int:
        """Tell whoever waits for a decision on `command`, or for that answer, that there is none; its ticket, or 0."""
        ticket = getattr(command, "ticket", 0)
        waiter = self._waiters.pop(ticket, None)
        if waiter is None:
            return 0
        self._failed.add(ticket)
        waiter.fail()
        return int(ticket)

    def has_failed(self, effect: object) -> bool:
        """Whether the effect is the answer to a ticket that was told already."""
        return getattr(effect, "ticket", 0) in self._failed
