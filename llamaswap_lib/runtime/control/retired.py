"""The controller of a process that another one, the heir, has taken over from: it asks that one in place of deciding.

All gates are shut for good. Each request that needs a place has the heir asked for one; each that leaves a run, or
gives back a place of a `concurrencyLimit`, is told to it. So it counts our requests among its own. Our processes are
its own, too; of those whose end has begun here we tell when they are gone.

Controller thread only, but for what `_tell` and the like send.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llamaswap_lib.core import events
from llamaswap_lib.core.effects import Fault
from llamaswap_lib.core.gate import Gate
from llamaswap_lib.errors import ConcurrencyLimit
from llamaswap_lib.runtime.control.board import Board
from llamaswap_lib.runtime.control.entrance import Entrance, Waiter
from llamaswap_lib.runtime.control.handover import LIMIT, Message
from llamaswap_lib.runtime.control.lease import Lease, Places
from llamaswap_lib.runtime.control.live_run import LiveRun, Upstream
from llamaswap_lib.runtime.logs.last_words import remembered

_ENDING = "the server is shutting down"


class Retired:
    """What is left to do here."""

    def __init__(
        self,
        live: Mapping[int, LiveRun],
        entrance: Entrance,
        board: Board,
        make_gate: Callable[[int], Gate],
        send: Callable[[dict[str, Any]], None],
    ) -> None:
        """`send` never blocks; any thread calls it. What is sent first, arrives first."""
        self._live = live
        self._entrance = entrance
        self._board = board
        self._make_gate = make_gate
        self._send = send
        self._gates = {run_id: run.gate for run_id, run in live.items()}
        self._let_go: set[int] = set()
        self.ready: Mapping[str, Upstream] | None = (
            None  # by model: where runs listen that are; None: as when we retired
        )
        self._is_alone = False  # nobody answers any more

    def begin(self, places: Places) -> dict[str, Any]:
        """Shut everything, and let the processes go. What the heir has to know: who is inside, and what stays ours."""
        inside = [(run_id, gate.hand_over(self._tell_left)) for run_id, gate in self._gates.items()]
        self._let_go = {run_id for run_id, run in self._live.items() if run.process.let_go()}
        return {
            "inside": [[run_id, list(map(id, tokens))] for run_id, tokens in inside],
            "taken": places.hand_over(self._tell_released),
            "hears": ["ready"],
            "kept": [run_id for run_id in self._live if run_id not in self._let_go],
        }

    # -- any thread --

    def _tell_left(self, token: object) -> None:
        self._send({"kind": "left", "place": id(token)})

    def _tell_released(self, model: str) -> None:
        self._send({"kind": "released", "model": model})

    # -- what happens here --

    def obey(self, event: events.Event) -> None:
        match event:
            case events.ShutdownRequested(ticket):
                self._refuse_all()
                self._entrance.pop(ticket).wake()
            case events.RequestArrived(ticket) | events.UnloadRequested(ticket) if self._is_alone:
                self._refuse(ticket)
            case events.RequestArrived(ticket, model, lost_run, was_sent):
                token = self._entrance.of(ticket).token
                wants_place = isinstance(token, Lease) and token.wants_place
                told = {
                    "model": model,
                    "lost_run": lost_run,
                    "was_sent": was_sent,
                    "place": id(token),
                    "wants_place": wants_place,
                }
                self._send({"kind": "arrived", "ticket": ticket, **told})
            case events.UnloadRequested(ticket, models):
                self._send({"kind": "unload", "ticket": ticket, "models": models})
            case events.RequestAbandoned(ticket):
                self._send({"kind": "abandoned", "ticket": ticket})
            case events.LoadDemanded(model):
                self._send({"kind": "load", "model": model})
            case events.LeaderExited(run_id, detail):
                self._send({"kind": "exited", "run_id": run_id, "detail": detail, "is_gone": False})
            case events.ProcessExited(run_id, detail) if run_id not in self._let_go:
                self._send({"kind": "exited", "run_id": run_id, "detail": detail, "is_gone": True})
            case events.RunAnnounced(run_id, address, is_here):  # by a request, or just before its output was held
                self._send({"kind": "announced", "run_id": run_id, "address": address, "is_here": is_here})
            case events.RunQueued(run_id, reason):
                self._send({"kind": "queued", "run_id": run_id, "reason": reason})
            case _:
                pass  # the heir sees for itself

    # -- what the heir says --

    def hear(self, message: Message) -> None:
        match message["kind"]:
            case "awaited":
                self._board.tell_awaited(frozenset(message["run_ids"]))
            case "ready":
                self.ready = {run["model"]: _upstream(run) for run in message["runs"]}
            case _ if message["ticket"] not in self._entrance.tickets():
                pass  # it was refused meanwhile, as we end
            case "admitted":
                self._admit(self._entrance.pop(message["ticket"]), message)
            case "refused":
                self._pass_on(self._entrance.pop(message["ticket"]), message)
            case "unloaded":
                self._entrance.pop(message["ticket"]).wake()

    def _admit(self, waiter: Waiter, message: Message) -> None:
        run_id = message["run_id"]
        gate = self._gates.get(run_id)
        if gate is None:
            gate = self._gates[run_id] = self._make_gate(run_id)
            gate.hand_over(self._tell_left)
        gate.admit(waiter.token)
        waiter.admit(gate, _upstream(message))

    def _pass_on(self, waiter: Waiter, message: Message) -> None:
        if message["fault"] == LIMIT:
            waiter.fail(ConcurrencyLimit())
        elif not message["fault"]:
            waiter.fail()
        else:
            words = remembered(tuple(message["last_words"])) if message["last_words"] else None
            waiter.refuse(Fault(message["fault"]), message["message"], message["retry_after"], words)

    def lose_heir(self) -> None:
        """It is not there any more: nobody can be let in. The models live until we end."""
        self._refuse_all()
        for run in self._live.values():
            run.process.keep()

    def _refuse_all(self) -> None:
        self._is_alone = True
        for ticket in self._entrance.tickets():
            if not self._entrance.of(ticket).is_ours:
                self._refuse(ticket)

    def _refuse(self, ticket: int) -> None:
        self._entrance.pop(ticket).refuse(Fault.SHUTTING_DOWN, _ENDING)


def _upstream(told: Message) -> Upstream:
    return Upstream(told["run_id"], told["model"], told["proxy"], told["port"])
