"""The process that this one has taken over from, the elder, as the controller counts it: who is inside, who waits.

A request that the elder has inside a run is inside its gate here, so the run is not stopped; it holds a place of a
`concurrencyLimit` like any other. One that waits there has a ticket here. What the elder had is given back when it has
gone.

Controller thread only, but for `is_inside`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from llamaswap_lib.core import events
from llamaswap_lib.core.gate import Gate
from llamaswap_lib.core.handover import State
from llamaswap_lib.core.snapshot import RunView
from llamaswap_lib.errors import ConcurrencyLimit
from llamaswap_lib.runtime.control.entrance import Entrance, Waiter
from llamaswap_lib.runtime.control.handover import LIMIT, Message
from llamaswap_lib.runtime.control.lease import Count, Places
from llamaswap_lib.runtime.control.live_run import LiveRun, Upstream
from llamaswap_lib.runtime.wakeup import CallingWakeup


class _Inside(NamedTuple):
    """A request of the elder inside a run; `taken` if it took a place here."""

    gate: Gate
    token: object
    taken: Count | None


class Elder:
    """Its requests."""

    def __init__(
        self,
        live: Mapping[int, LiveRun],
        entrance: Entrance,
        places: Places,
        send: Callable[[dict[str, Any]], None],
    ) -> None:
        """`send` never blocks."""
        self._live = live
        self._entrance = entrance
        self._places = places
        self._send = send
        self._inside: dict[int, _Inside] = {}  # by what the elder calls it
        self._taken: dict[str, list[Count]] = {}  # places that its requests had at the moment of the change
        self._waiters: dict[int, Waiter] = {}  # by the elder's ticket
        self._ready: list[Upstream] | None = None  # where ready runs listen, as it was told last
        self._has_gone = False

    # -- any thread --

    def is_inside(self, run_id: int) -> bool:
        """Whether it has a request inside the run."""
        return any(inside.gate.run_id == run_id for inside in list(self._inside.values()))

    # -- the moment of the change --

    def begin(self, state: State, commit: Message, places: Mapping[int, int]) -> State:
        """Count who is inside. The state with our tickets for those that wait; `places`: what each is called."""
        for run_id, names in commit["inside"]:
            if run := self._live.get(run_id):  # else it had not begun: nobody was inside
                for name in names:
                    self._enter(name, run.gate)
        self._taken = self._places.take_over(commit["taken"])
        new = partial(self._new, places=places)
        return replace(
            state,
            tickets=tuple([replace(one, ticket=new(one.ticket, one.model)) for one in state.tickets]),
            orphans=tuple([replace(one, ticket=new(one.ticket, one.model)) for one in state.orphans]),
            unloads={new(ticket, ""): runs for ticket, runs in state.unloads.items()},
        )

    def _new(self, ticket: int, model: str, places: Mapping[int, int]) -> int:
        return self._wait(ticket, model, places.get(ticket, 0), None).ticket

    # -- what it says --

    def hear(self, message: Message) -> events.Event | None:
        """What has happened, for the scheduler."""
        match message["kind"]:
            case "arrived":
                return self._arrive(message)
            case "abandoned":
                waiter = self._waiters.get(message["ticket"])
                return None if waiter is None else events.RequestAbandoned(waiter.ticket)
            case "unload":
                models = None if message["models"] is None else tuple(message["models"])
                return events.UnloadRequested(self._wait(message["ticket"], "", 0, None).ticket, models)
            case "load":
                return events.LoadDemanded(message["model"])
            case "announced":
                return events.RunAnnounced(message["run_id"], message["address"], message.get("is_here", False))
            case "queued":
                return events.RunQueued(message["run_id"], message["reason"])
            case "left":
                self._leave(message["place"])
            case "released":
                if counts := self._taken.get(message["model"]):
                    self._places.release(counts.pop())
        return None

    def note_awaited(self, run_ids: frozenset[int]) -> None:
        """These runs are waited for: it is to read ahead where its clients are slow."""
        self._send({"kind": "awaited", "run_ids": sorted(run_ids)})

    def note_runs(self, runs: Sequence[RunView]) -> None:
        """What runs has changed: it is to know which models are ready, for requests that take no place in them."""
        ready = [self._live[run.run_id].upstream for run in runs if run.state == "ready" and run.run_id in self._live]
        if ready != self._ready:
            self._ready = ready
            self._send({"kind": "ready", "runs": [_told(upstream) for upstream in ready]})

    def abandoned(self) -> list[events.Event]:
        """It has gone: nobody waits there any more. `lose` follows, when the scheduler knows."""
        self._has_gone = True
        return [events.RequestAbandoned(waiter.ticket) for waiter in self._waiters.values()]

    def lose(self) -> None:
        """Give back all that it had."""
        for place in list(self._inside):
            self._leave(place)
        for counts in self._taken.values():
            for count in counts:
                self._places.release(count)
        self._taken.clear()

    def _arrive(self, message: Message) -> events.Event | None:
        ticket, model, lost_run, count = message["ticket"], message["model"], message["lost_run"], None
        if message["wants_place"]:
            try:
                count = self._places.take(model)
            except ConcurrencyLimit:
                if lost_run is None:  # else it had one until now
                    self._refuse(ticket, LIMIT)
                    return None
        waiter, was_sent = self._wait(ticket, model, message["place"], count), message.get("was_sent", True)
        return events.RequestArrived(waiter.ticket, model, lost_run, was_sent)

    def _wait(self, ticket: int, model: str, place: int, count: Count | None) -> Waiter:
        wakeup = CallingWakeup(lambda: self._answer(ticket, place, count))
        waiter = self._waiters[ticket] = self._entrance.new(object(), model, wakeup)
        return waiter

    def _answer(self, ticket: int, place: int, count: Count | None) -> None:
        waiter = self._waiters.pop(ticket)
        if inside := waiter.admission():
            gate, upstream = inside
            self._inside[place] = _Inside(gate, waiter.token, count)
            if self._has_gone:
                self._leave(place)
            self._send({"kind": "admitted", "ticket": ticket, **_told(upstream)})
            return
        self._places.release(count)
        if waiter.model:
            fault, message, retry_after = waiter.refusal or (None, "", 0.0)
            self._refuse(ticket, fault.value if fault else "", message, retry_after, list(waiter.last_words()))
        else:
            self._send({"kind": "unloaded", "ticket": ticket})

    def _refuse(
        self, ticket: int, fault: str, message: str = "", retry_after: float = 0.0, last_words: list[str] | None = None
    ) -> None:
        told = {"fault": fault, "message": message, "retry_after": retry_after, "last_words": last_words or []}
        self._send({"kind": "refused", "ticket": ticket, **told})

    def _enter(self, place: int, gate: Gate) -> None:
        token = object()
        gate.admit(token)
        self._inside[place] = _Inside(gate, token, None)

    def _leave(self, place: int) -> None:
        if inside := self._inside.pop(place, None):
            inside.gate.leave(inside.token)
            self._places.release(inside.taken)


def _told(upstream: Upstream) -> dict[str, Any]:
    return {"run_id": upstream.run_id, "model": upstream.model, "proxy": upstream.proxy, "port": upstream.port}
