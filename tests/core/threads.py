"""Real threads, real gates and the real scheduler, with processes that are ready and gone as soon as they are told."""

from __future__ import annotations

import queue
import random
import threading
import time
from dataclasses import dataclass, field

from llamaswap_lib.core import effects, events
from llamaswap_lib.core.effects import Effect
from llamaswap_lib.core.eviction.group import Group, GroupPolicy
from llamaswap_lib.core.gate import Gate, ask_gates
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.scheduler import Scheduler

PATIENCE = 600.0  # seconds


@dataclass(slots=True)
class _Run:
    run_id: int
    model: str
    gate: Gate
    is_stopped: bool = False
    guests: set[int] = field(default_factory=set)  # threads that were let in; the gate counts those it turns away, too


@dataclass(slots=True)
class _Wait:
    event: threading.Event = field(default_factory=threading.Event)
    run: _Run | None = None


class Crowd:
    """`clients` threads ask for `models`, of which one runs at a time, until each has had its requests."""

    def __init__(self, models: str, clients: int, requests_each: int, max_wait: float) -> None:
        self.broken: list[str] = []
        self.swaps = 0
        self.by_gate = 0
        self.served = 0
        self._models = models
        self._requests_each = requests_each
        policy = GroupPolicy([Group("all", tuple(models))])
        self._scheduler = Scheduler({model: ModelSpec() for model in models}, policy.evict, max_wait)
        self._inbox: queue.Queue[events.Event | None] = queue.Queue()
        self._runs: dict[int, _Run] = {}
        self._by_model: dict[str, _Run] = {}
        self._waits: dict[int, _Wait] = {}
        self._clients = [threading.Thread(target=self._ask, args=(number,), name="client") for number in range(clients)]
        self._count = threading.Lock()

    def run(self) -> None:
        """Until everybody was served, or it takes too long."""
        controller = threading.Thread(target=self._control, name="controller")
        controller.start()
        for client in self._clients:
            client.start()
        deadline = time.monotonic() + PATIENCE
        for client in self._clients:
            client.join(max(0.0, deadline - time.monotonic()))
        if any(client.is_alive() for client in self._clients):
            self.broken.append(f"somebody waits for ever: {self._scheduler!r}")
            for wait in list(self._waits.values()):
                wait.event.set()
        self._inbox.put(None)
        controller.join(PATIENCE)

    # -- client threads --

    def _ask(self, number: int) -> None:
        dice = random.Random(number)
        for turn in range(self._requests_each):
            ticket = number * self._requests_each + turn
            run = self._enter(ticket, dice.choice(self._models))
            if run is None:
                return
            run.guests.add(number)
            self._be_inside(run, dice)
            run.guests.discard(number)
            run.gate.leave(ticket)
            with self._count:
                self.served += 1

    def _enter(self, ticket: int, model: str) -> _Run | None:
        run = self._by_model.get(model)
        if run is not None and run.gate.enter(ticket):
            with self._count:
                self.by_gate += 1
            return run
        wait = self._waits[ticket] = _Wait()
        self._inbox.put(events.RequestArrived(ticket, model))
        wait.event.wait(PATIENCE)
        return wait.run

    def _be_inside(self, run: _Run, dice: random.Random) -> None:
        for _ in range(dice.randint(1, 200)):
            if run.is_stopped:
                self.broken.append(f"{run.model} was stopped with a request inside")
                return

    # -- controller thread only --

    def _control(self) -> None:
        while True:
            event: events.Event | None = events.TimePassed()
            deadline = self._scheduler.next_deadline()
            try:
                event = self._inbox.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                pass
            if event is None:
                return
            while event is not None:
                event = self._carry_out(self._scheduler.handle(event, time.monotonic()))

    def _carry_out(self, orders: list[Effect]) -> events.Event | None:
        for order in orders:
            match order:
                case effects.ShutIfIdle(run_ids) | effects.ShutGates(run_ids):
                    return ask_gates(order, [self._runs[run_id].gate for run_id in run_ids], time.monotonic())
                case effects.CheckLaunch(model):
                    return events.LaunchChecked(model, "")
                case _:
                    self._obey(order)
        return None

    def _obey(self, order: Effect) -> None:
        match order:
            case effects.Admit(ticket, run_id):
                wait = self._waits.pop(ticket)
                wait.run = self._runs[run_id]
                wait.run.gate.admit(ticket)
                wait.event.set()
            case effects.StartProcess(run_id, model):
                if any(not run.is_stopped for run in self._runs.values()):
                    self.broken.append(f"{model} was started beside another")
                gate = Gate(run_id, self._inbox.put, time.monotonic)
                self._runs[run_id] = self._by_model[model] = _Run(run_id, model, gate)
                self._inbox.put(events.ProcessReady(run_id))
            case effects.StopProcess(run_id):
                run = self._runs[run_id]
                run.is_stopped = True
                self.swaps += 1
                if run.guests:
                    self.broken.append(f"{run.model} was stopped with {len(run.guests)} inside")
                self._inbox.put(events.ProcessExited(run_id, "exited"))
            case effects.OpenGate(run_id):
                self._runs[run_id].gate.shut = False
            case effects.ShutGate(run_id):
                self._runs[run_id].gate.shut = True
            case effects.ReportSwap():
                pass
            case effects.DropRun(run_id):
                del self._by_model[self._runs.pop(run_id).model]
            case _:
                self.broken.append(f"nobody asked for {order}")
