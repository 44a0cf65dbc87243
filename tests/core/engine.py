"""A simulated world around the real scheduler and the real gates: clients, processes, a clock and an inbox.

One thread, virtual time: an agenda of (time, what to do). The controller's part is played as the runtime plays it: an
event is handled, the orders are carried out, a question is asked of the gates at once. Everything random comes from
the plan's seed.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from copy import deepcopy
from functools import partial

from llamaswap_lib.core import effects, events
from llamaswap_lib.core.effects import Effect
from llamaswap_lib.core.events import Event
from llamaswap_lib.core.eviction.growth import Standing
from llamaswap_lib.core.gate import Gate, ask_gates
from llamaswap_lib.core.handover import State
from llamaswap_lib.core.scheduler import Scheduler
from tests.core.books import BrokenError, Client, Life
from tests.core.queued import QueueWitness
from tests.core.reload import Reload, Upgrade, any_reload, other_priorities, specs, upgrade
from tests.core.truth import Truth
from tests.core.worlds import Plan, Span

MOST_STEPS = 300_000
STRANGER = "a stranger"


class Simulation:
    """`run()` plays the whole plan, and raises where a promise is broken."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.now = 0.0
        self.witness = QueueWitness(plan)
        self.requests = 0
        self.trace: deque[tuple[float, Event, list[Effect]]] = deque(maxlen=40)
        self._random = random.Random(f"{plan.seed} {plan.flavour}")
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._steps = 0
        self._numbers = 0
        self._inbox_until = 0.0
        self._on_the_way = 0
        self._alarm: float | None = None
        self.on_the_way: Callable[[State], State] = deepcopy
        self._alarms_at_once = 0
        self._is_over = False
        self._clients: dict[int, Client] = {}
        self._inside: dict[int, dict[int, Client]] = {}
        self._current: dict[str, Life] = {}
        self._on_machines: set[int] = set()  # runs that have one of the slots
        self._in_line: deque[Life] = deque()  # for one
        self._next_plan = plan  # what holds when all that was posted has arrived
        if self._truth is not None:
            self._truth.standing, self._truth.can_wake = self._standing, self.witness.can_wake
        self.scheduler = self._new_scheduler()

    @property
    def _truth(self) -> Truth | None:
        return self.plan.policy.truth

    def _new_scheduler(self) -> Scheduler:
        plan = self.plan
        return Scheduler(specs(plan), plan.policy.evict, plan.max_wait, rules=plan.policy.rules())

    def run(self) -> None:
        for model, habit in self.plan.habits.items():
            for _ in range(habit.workers):
                self._after(self._draw(habit.pause), partial(self._ask, model, True))
        for _ in range(self.plan.unloads):
            self._after(self._draw((0.0, self.plan.duration)), self._unload)
        for _ in range(self.plan.demands):
            self._after(self._draw((0.0, self.plan.duration)), self._demand)
        for _ in range(self.plan.reorders):
            self._after(self._draw((0.0, self.plan.duration)), self._reorder)
        for _ in range(self.plan.reloads):
            self._after(self._draw((0.0, self.plan.duration)), self._reload)
        for _ in range(self.plan.upgrades):
            self._after(self._draw((0.0, self.plan.duration)), self._upgrade)
        if self._truth is not None:
            self._begin_memory(self._truth)
        if self.plan.preload:
            self._post(events.PreloadRequested(self.plan.preload))
        self._after(self.plan.duration, self._end)
        self._play()
        if not self.plan.abrupt:
            waiting = self.witness.waiting | self.witness.orphans
            self.witness.require(not waiting, f"waits for ever: {waiting}")
            self._shut_down()
            self._play()
        self.witness.finish(repr(self.scheduler))
        self.witness.require(self.scheduler.next_deadline() is None, "a deadline is left over")
        unanswered = [client for client in self._clients.values() if not client.is_answered]
        self.witness.require(not unanswered, f"never answered: {unanswered}")

    # -- time --

    def _play(self) -> None:
        while self._agenda:
            self.now, _, action = heapq.heappop(self._agenda)
            self.witness.now = self.now
            self._steps += 1
            self.witness.require(self._steps < MOST_STEPS, "the world does not come to an end")
            action()

    def _after(self, delay: float, action: Callable[[], None]) -> None:
        self._at(self.now + delay, action)

    def _at(self, time: float, action: Callable[[], None]) -> None:
        if grid := self.plan.grid:
            time = max(self.now, math.ceil(time / grid - 1e-9) * grid)
        self._push(time, action)

    def _push(self, time: float, action: Callable[[], None]) -> None:
        self._numbers += 1
        heapq.heappush(self._agenda, (time, self._numbers, action))

    def _draw(self, span: Span) -> float:
        return self._random.uniform(*span)

    def _may(self, probability: float) -> bool:
        """A chance that, where there is none, leaves the world's other chances as they were."""
        return probability > 0 and self._chance(probability)

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    # -- clients --

    def _ask(self, model: str, is_worker: bool = False) -> None:
        """A request: through the gate if it is open, else with a ticket."""
        if self._is_over and not (self.plan.abrupt and self._chance(0.5)):
            return
        asked = STRANGER if self._chance(self.plan.strangers) else model
        client = Client(self._ticket(), asked, is_worker)
        self._clients[client.ticket] = client
        life = self._current.get(asked)
        if life is not None and life.gate.enter(client.ticket):
            self._be_served(client, life)
            return
        self._post(events.RequestArrived(client.ticket, asked))
        if self._chance(self.plan.hangs_up):
            self._after(self._draw((0.0, 3.0)), partial(self._hang_up, client))

    def _ticket(self) -> int:
        self.requests += 1
        return self.requests

    def _hang_up(self, client: Client) -> None:
        """It leaves; the answer may be on its way already, which makes the notice a late one."""
        client.has_left = True
        if not client.is_answered or self._chance(0.3):
            self._post(events.RequestAbandoned(client.ticket))

    def _be_served(self, client: Client, life: Life) -> None:
        client.is_answered = True
        self._inside[life.run_id][client.ticket] = client
        if life.gone_since is not None and life.is_alive:  # it gets no connection
            client.was_sent = False
            self._after(0.05, partial(self._leave, client, life))
            return
        habit = self.plan.habits[client.model]
        length = 0.0 if client.has_left else self._draw(habit.request) if life.is_alive else 0.05
        self._after(length, partial(self._leave, client, life))

    def _leave(self, client: Client, life: Life) -> None:
        if life.hangs_since is not None and life.is_alive and not life.is_cut:
            return
        if life.gone_since is not None and life.is_alive and client.was_sent and not life.is_cut:
            return
        if self._inside[life.run_id].pop(client.ticket, None) is None:
            return
        life.gate.leave(client.ticket)
        is_lost = not life.is_alive or life.is_cut or not client.was_sent or self._may(self.plan.hiccups)
        if is_lost and not (client.has_left or client.has_retried) and self._may(self.plan.retries):
            self._retry(client, life)
        else:
            self._ask_again(client)

    def _retry(self, lost: Client, life: Life) -> None:
        client = Client(self._ticket(), lost.model, lost.is_worker, has_retried=True)
        self._clients[client.ticket] = client
        self._post(events.RequestArrived(client.ticket, client.model, life.run_id, lost.was_sent))
        if self._chance(self.plan.hangs_up):
            self._after(self._draw((0.0, 3.0)), partial(self._hang_up, client))

    def _ask_again(self, client: Client) -> None:
        if client.is_worker:
            model = self._random.choice(self.plan.models) if client.model == STRANGER else client.model
            self._after(self._draw(self.plan.habits[model].pause), partial(self._ask, model, True))

    def _refused(self, client: Client) -> None:
        client.is_answered = True
        if client.is_worker:
            model = self._random.choice(self.plan.models) if client.model == STRANGER else client.model
            self._after(self._draw((0.1, 2.0)), partial(self._ask, model, True))

    def _demand(self) -> None:
        """Somebody loads a model by hand."""
        if not self._is_over:
            model = self._random.choice(self.plan.models)
            self._post(events.LoadDemanded(model))
            self._ask(model)

    def _unload(self) -> None:
        if self._is_over:
            return
        models = self.plan.models
        chosen = None if self._chance(0.3) else tuple(self._random.sample(models, self._random.choice([1, 1, 2])))
        ticket = self._ticket()
        self._post(events.UnloadRequested(ticket, chosen))
        if self._chance(0.2):
            self._after(self._draw((0.0, 3.0)), partial(self._post, events.RequestAbandoned(ticket)))

    def _reorder(self) -> None:
        self._change(other_priorities(self._next_plan, self._random))

    def _reload(self) -> None:
        self._change(any_reload(self._next_plan, self._random))

    def _upgrade(self) -> None:
        self._change(upgrade(self._next_plan, self._random))

    def _change(self, reload: Reload) -> None:
        self._next_plan = reload.plan
        self._post(reload)

    def _end(self) -> None:
        self._is_over = True
        if self.plan.abrupt:
            self._shut_down()

    def _shut_down(self) -> None:
        self._post(events.ShutdownRequested(self._ticket(), self._random.choice([0.0, 1.0, 10.0])))
        if self.plan.reloads:
            self._after(self._draw((0.0, 2.0)), self._reload)  # too late

    # -- the inbox --

    def _post(self, event: Event) -> None:
        """It arrives later, and never before what was posted before it."""
        self._inbox_until = max(self._inbox_until, self.now + self._draw(self.plan.inbox_delay))
        self._on_the_way += 1
        self._at(self._inbox_until, partial(self._deliver, event))

    def _deliver(self, event: Event) -> None:
        self._on_the_way -= 1
        if isinstance(event, Upgrade) and not self.witness.is_closing:
            event = event.going_on_from(self._hand_over())
        self._drive(event)

    def _hand_over(self) -> State:
        """Another scheduler, whose gates are all shut, in place of this one; what has been looked at is forgotten."""
        state = self.on_the_way(self.scheduler.hand_over())
        self.scheduler = self._new_scheduler()
        self._alarm = None
        for life in self.witness.lives.values():
            life.gate.shut, life.gate.watched = True, False
            life.looks, life.is_unreachable = life.looks + 1, False
            life.checks, life.checked_since, life.proof = life.checks + 1, None, ""
        return state

    def _ring(self, time: float) -> None:
        if time == self._alarm:
            self._alarm = None
            self._drive(events.TimePassed())

    # -- the controller's part --

    def _drive(self, event: Event) -> None:
        """Handle one event, and the answers to the questions that follow from it."""
        self.witness.note(event)
        question: Event | None = event
        length = 0
        while question is not None:
            orders = self.scheduler.handle(question, self.now)
            self.trace.append((self.now, question, orders))
            self.witness.check_shown(orders)
            question = self._carry_out(orders)
            length += 1
            self.witness.require(length <= 6 + 4 * len(self.plan.habits), f"an endless chain of questions: {event}")
        self.witness.settle(self._on_the_way == 0)
        if self.requests % 8 == 0:
            self._check_queue()
        self._set_alarm()

    def _carry_out(self, orders: list[Effect]) -> Event | None:
        for order in orders:
            self.witness.check(order)
            if isinstance(order, effects.CheckLaunch):
                self.witness.require(order is orders[-1], "a question that is not the last order")
                return self._check_launch(order.model)
            if isinstance(order, effects.ShutIfIdle | effects.ShutGates | effects.LookInside):
                self.witness.require(order is orders[-1], "a question that is not the last order")
                return ask_gates(order, [self.witness.lives[run_id].gate for run_id in order.run_ids], self.now)
            self._obey(order)
        return None

    def _check_launch(self, model: str) -> Event:
        problem = "" if self.witness.is_launchable(model) else "no such program"
        if problem:
            self.witness.note_unlaunchable(model)
        return events.LaunchChecked(model, problem)

    def _obey(self, order: Effect) -> None:
        match order:
            case effects.Admit(ticket, run_id):
                life = self.witness.lives[run_id]
                life.gate.admit(ticket)
                self._be_served(self._clients[ticket], life)
            case effects.Refuse(ticket):
                self._refused(self._clients[ticket])
            case effects.StartProcess(run_id, model, placement):
                self._start(run_id, model, placement.gpus)
            case effects.ProbeRun(run_id, address):
                self._probe(self.witness.lives[run_id], address)
            case effects.StopProcess(run_id):
                habit = self.plan.habits[self.witness.lives[run_id].model]
                self._after(self._draw(habit.stop), partial(self._exit, run_id))
            case effects.OpenGate(run_id) | effects.ShutGate(run_id):
                self.witness.lives[run_id].gate.shut = isinstance(order, effects.ShutGate)
            case effects.BeginChecks(run_id):
                self._begin_checks(self.witness.lives[run_id])
            case effects.AbortRequests(run_id):
                life = self.witness.lives[run_id]
                for client in list(self._inside[run_id].values()):
                    self._after(self._draw((0.0, 0.05)), partial(self._leave, client, life))
            case effects.DropRun(run_id):
                del self._current[self.witness.lives.pop(run_id).model]
            case _:
                self._obey_of_life(order)

    def _obey_of_life(self, order: Effect) -> None:
        match order:
            case effects.PutToSleep(run_id) | effects.WakeUp(run_id):
                self._turn(self.witness.lives[run_id], is_wake=isinstance(order, effects.WakeUp))
            case effects.LookForLoss(run_id) | effects.WatchForLoss(run_id):
                life = self.witness.lives[run_id]
                life.looks += 1
                if isinstance(order, effects.LookForLoss):
                    self._look_for_loss(life, life.looks, self.now)
            case effects.KillProcess(run_id):
                self._after(self.plan.kill_delay, partial(self._end_group, run_id))
            case _:
                pass

    def _set_alarm(self) -> None:
        deadline = self.scheduler.next_deadline()
        if deadline is None or deadline == self._alarm:
            self._alarm = deadline
            return
        self._alarms_at_once = self._alarms_at_once + 1 if deadline <= self.now else 0
        self.witness.require(self._alarms_at_once < 5, "a deadline that is met is named again and again")
        self._alarm = deadline
        self._push(max(self.now, deadline), partial(self._ring, deadline))

    def _check_queue(self) -> None:
        """Now and then: everyone who waits is shown, once, with a place and a reason."""
        shown = self.scheduler.snapshot().queue
        self.witness.require([view.place for view in shown] == list(range(1, len(shown) + 1)), "places are wrong")
        self.witness.require({view.ticket for view in shown} == self.witness.waiting.keys(), "the queue is wrong")
        self.witness.require(all(view.reason != "waiting" for view in shown), f"no reason: {shown}")

    # -- processes --

    def _start(self, run_id: int, model: str, gpus: tuple[str, ...]) -> None:
        life = Life(run_id, model, Gate(run_id, self._post, lambda: self.now))
        self.witness.lives[run_id] = self._current[model] = life
        self._inside[run_id] = {}
        if self._truth is not None:
            self._truth.start(model, gpus, self.witness.is_launchable(model))
        habit, load = self.plan.habits[model], self._draw(self.plan.habits[model].load)
        life.started_at, life.is_queued, life.is_preloaded = self.now, habit.announces, not self.witness.waits(model)
        if not self.witness.is_launchable(model):
            if self._truth is None:
                self._exit(run_id)
            else:  # what it frees is seen after all that was ordered at once
                self._after(0.0, partial(self._exit, run_id))
        elif self._chance(habit.fails_to_load):
            self._after(self._draw((0.0, load)), partial(self._exit, run_id))
        elif self._chance(habit.never_ready) and not habit.announces:
            timed_out = events.LoadTimedOut(run_id, "not ready in time")
            self._after(self.plan.health_timeout, partial(self._report, life, timed_out))
        else:
            if habit.announces:
                first = self._draw(habit.queued)
                self._report(life, events.RunQueued(run_id, "a machine"))
                self._after(first, partial(self._get_machine, life))
                if self._chance(0.3):
                    self._after(first + self._draw(habit.load), partial(self._announce, life))
            else:
                self._after(load, partial(self._end_load, life))
            if self._truth is not None and model in self._truth.unknown:
                self._after(load + self._draw((0.0, 2.0)), partial(self._measure, life))
            if self._chance(habit.crashes):
                self._after(load + self._draw((0.0, 6.0)), partial(self._exit, run_id))
            if self._may(habit.vanishes):
                self._after(load + self._draw((0.0, 6.0)), partial(self._vanish, life))
            if self._may(habit.hangs):
                self._after(load + self._draw((0.0, 6.0)), partial(self._hang, life))

    def _get_machine(self, life: Life) -> None:
        """It gets one and says where it listens, or waits in line for one."""
        if self.plan.slots and len(self._on_machines) >= self.plan.slots:
            self._in_line.append(life)
        elif life.is_alive:
            self._on_machines.add(life.run_id)
            self._announce(life)

    def _leave_machine(self, run_id: int) -> None:
        """A moment later the first in line gets it."""
        if not self.plan.slots or run_id not in self._on_machines:
            return
        self._on_machines.remove(run_id)
        while self._in_line:
            if (life := self._in_line.popleft()).is_alive:
                self._after(self._draw((0.0, 0.3)), partial(self._get_machine, life))
                return

    def _announce(self, life: Life) -> None:
        """It says where it listens; later it may say so again."""
        if life.run_id not in self._on_machines:
            return
        life.said += 1
        self._report(life, events.RunAnnounced(life.run_id, f"address {life.said}"))
        if life.is_alive and self._may(self.plan.habits[life.model].moves):
            self._after(self._draw((0.5, 12.0)), partial(self._announce, life))

    def _probe(self, life: Life, address: str) -> None:
        """It is ready there some time later, or not in time."""
        habit = self.plan.habits[life.model]
        if self._may(habit.never_ready):
            timed_out = events.LoadTimedOut(life.run_id, "not ready in time", address)
            self._after(self.plan.health_timeout, partial(self._end_probe, life, address, timed_out))
        else:
            self._after(self._draw(habit.load), partial(self._end_probe, life, address, None))

    def _end_probe(self, life: Life, address: str, timed_out: events.LoadTimedOut | None) -> None:
        """Unless it is looked for elsewhere by now; what is on its way then may arrive yet."""
        if life.address != address:
            return
        if timed_out is None:
            self._end_load(life, address)
        else:
            self._report(life, timed_out)

    def _end_load(self, life: Life, address: str = "") -> None:
        """It is ready, or has found too little memory."""
        truth = self._truth
        if truth is None or not life.is_alive:
            self._report(life, events.ProcessReady(life.run_id, address))
        elif truth.starves(life.model):
            life.words = "out of memory"
            self._exit(life.run_id)
        else:
            truth.loaded.add(life.model)
            if any(truth.hungry.get(life.model, {}).values()):
                truth.ever_grown.add(life.model)  # beyond what was known of it
            self._report(life, events.ProcessReady(life.run_id, address))

    def _turn(self, life: Life, *, is_wake: bool) -> None:
        """Its server falls asleep or wakes, or does not."""
        habit = self.plan.habits[life.model]
        assert habit.sleep is not None, f"{life.model} cannot sleep"
        life.turns += 1
        event: Event
        if is_wake:
            if self._truth is not None:
                self._truth.asleep.discard(life.model)
                self._truth.loaded.discard(life.model)
            is_failure = self._may(habit.never_wakes)
            event = events.WakeFailed(life.run_id, "no") if is_failure else events.ProcessReady(life.run_id)
        else:
            is_failure = self._may(habit.sleepless)
            event = events.SleepFailed(life.run_id, "no") if is_failure else events.FellAsleep(life.run_id)
        self._after(
            self._draw(habit.wake if is_wake else habit.sleep), partial(self._end_turn, life, life.turns, event)
        )

    def _end_turn(self, life: Life, turn: int, event: Event) -> None:
        """Unless it was told anew meanwhile, by another scheduler."""
        if turn == life.turns and life.stopped_at is None:
            if isinstance(event, events.FellAsleep) and life.is_alive:
                self._free(life.model, is_gone=False)
            if isinstance(event, events.ProcessReady):
                self._end_load(life)
            else:
                self._report(life, event)

    def _hang(self, life: Life) -> None:
        """Nobody inside is answered any more, mostly for ever."""
        life.hangs_since = self.now
        if self._chance(0.3):
            self._after(self._draw((0.5, 6.0)), partial(self._recover, life))

    def _recover(self, life: Life) -> None:
        life.hangs_since = None
        if life.is_alive:
            for client in list(self._inside[life.run_id].values()):
                self._after(self._draw((0.0, 0.3)), partial(self._leave, client, life))

    # -- memory --

    def _begin_memory(self, truth: Truth) -> None:
        truth.read(0.0)
        for begin, device, size in truth.spans:
            self._after(begin, partial(self._use_memory, device, size))
        for begin, model, device, size in truth.growths:
            self._after(begin, partial(self._grow, model, device, size))
        self._after(truth.every, self._read_memory)

    def _read_memory(self) -> None:
        """Closely all the time; the scheduler is only told where somebody waits for it."""
        assert self._truth is not None
        self._truth.read(self.now)
        if self.scheduler.queue().freeing:
            self._post(events.TimePassed())
        if self._agenda:
            self._after(self._truth.every, self._read_memory)

    def _use_memory(self, device: str, size: int) -> None:
        """Another program takes it, and gives it back later."""
        assert self._truth is not None
        self._truth.use(device, size)
        self._tell_memory()
        if size > 0:
            self._after(self._draw((0.5, 12.0)), partial(self._use_memory, device, -size))

    def _measure(self, life: Life) -> None:
        """While it runs; from then on its need is known."""
        assert self._truth is not None
        if life.is_alive:
            self._truth.unknown.discard(life.model)
            self._tell_memory()

    def _free(self, model: str, *, is_gone: bool = True) -> None:
        """What its process held, or does not hold while it sleeps; it may seem to be others' for a while."""
        truth = self._truth
        if truth is None or model not in truth.runs:
            return
        sizes = {device: truth.takes(model, device) for device in truth.devices}
        if is_gone:
            truth.runs.remove(model)
            truth.loaded.discard(model)
            truth.asleep.discard(model)
        else:
            truth.asleep.add(model)
            sizes = {device: size - truth.takes(model, device) for device, size in sizes.items()}
        if truth.freeing and not truth.is_hidden:
            self.witness.changed_at = self.now
        for device, size in sizes.items() if truth.freeing else ():
            if truth.is_hidden:
                truth.unfreed[device] = truth.unfreed.get(device, 0) + size
                self._after(self._draw((0.0, truth.freeing)), partial(self._give_back, device, size))
            else:
                truth.use(device, size)
                self._after(self._draw((0.0, truth.freeing)), partial(self._use_memory, device, -size))

    def _give_back(self, device: str, size: int) -> None:
        assert self._truth is not None
        self._truth.unfreed[device] -= size

    def _grow(self, model: str, device: str, size: int) -> None:
        """A model that serves takes more."""
        life, truth = self._current.get(model), self._truth
        if truth is not None and life is not None and life.is_ready and life.is_alive:
            truth.grow(model, device, size)
            self.witness.note_growth(life, device)
            self._tell_memory()

    def _standing(self) -> dict[str, Standing]:
        lives = self.witness.lives.values()
        there = [life for life in lives if life.is_staying or (life.is_asleep and not life.is_ending)]
        return {life.model: Standing(life.run_id, life.is_ready, life.is_asleep) for life in there}

    def _tell_memory(self) -> None:
        self.witness.disturbances += 1
        self.witness.changed_at = self.now
        self._post(events.TimePassed())

    # -- looks at what hangs --

    def _begin_checks(self, life: Life) -> None:
        if self.plan.hung_after:
            life.told, life.checks = None, life.checks + 1
            self._look(life, life.checks, self.now)

    def _look(self, life: Life, checks: int, since: float) -> None:
        """One that hangs is silent, for sure after a while; any other may be silent, which proves nothing."""
        if life.checked_since is None or life.checks != checks or not life.is_alive:
            return
        told = life.told
        if life.hangs_since is None:
            told = "" if self._chance(0.3) else None
        elif self.now - max(life.hangs_since, since) >= self.plan.hung_after:
            told = "it hangs"
        if told is None and life.told is not None:
            self._post(events.RunAnswered(life.run_id))
        elif told is not None and told != life.told:
            self._post(events.RunSilent(life.run_id, self.now, "is silent", told))
        life.told = told
        self._after(0.5, partial(self._look, life, checks, since))

    # -- out of reach --

    def _vanish(self, life: Life) -> None:
        """Nobody reaches it, for a while or for ever."""
        if not (life.is_alive and life.is_ready):
            return
        life.gone_since = self.now
        self._after(1.0, partial(self._notice_silence, life, life.gone_since))
        if self._chance(0.5):
            self._after(self._draw((0.0, 2 * self.plan.lost_after)), partial(self._come_back, life))

    def _come_back(self, life: Life) -> None:
        life.gone_since = None
        for client in self._inside.get(life.run_id, {}).values():
            self._after(self._draw(self.plan.habits[life.model].request), partial(self._leave, client, life))

    def _notice_silence(self, life: Life, since: float) -> None:
        """Requests inside have got no byte; those that come later get no connection."""
        if life.gone_since != since or not life.is_alive or not len(life.gate):
            return
        if not life.is_unreachable:
            life.looks += 1
            self._report(life, events.RunUnreachable(life.run_id))
            self._after(0.25, partial(self._look_for_loss, life, life.looks, self.now))
        self._after(1.0, partial(self._notice_silence, life, since))

    def _look_for_loss(self, life: Life, looks: int, since: float) -> None:
        if life.looks != looks or not life.is_alive:
            return
        if life.gone_since is None:
            self._post(events.RunReached(life.run_id))
        elif self.now >= since + self.plan.lost_after:
            self._post(events.RunLost(life.run_id, "no answer"))
        else:
            self._after(0.25, partial(self._look_for_loss, life, looks, since))

    def _report(self, life: Life, event: Event) -> None:
        if life.is_alive:
            self._post(event)

    def _exit(self, run_id: int) -> None:
        """The process ends, once; requests inside fail soon after."""
        life = self.witness.lives.get(run_id)
        if life is None or not life.is_alive:
            return
        life.is_alive = False
        is_told = life.stopped_at is None and self._may(self.plan.lingers)
        if self.plan.notice[1] or is_told:
            self._after(self._draw(self.plan.notice), partial(self._tell_exit, life, is_told))
        else:
            self._end_group(run_id)
        for client in list(self._inside[run_id].values()):
            self._after(self._draw((0.0, 0.05)), partial(self._leave, client, life))

    def _tell_exit(self, life: Life, is_told: bool) -> None:
        if is_told:
            self._post(events.LeaderExited(life.run_id, "exited"))
            self._after(self._draw(self.plan.habits[life.model].stop), partial(self._end_group, life.run_id))
        else:
            self._end_group(life.run_id)

    def _end_group(self, run_id: int) -> None:
        """Nobody of it is left; told once."""
        self._exit(run_id)
        life = self.witness.lives.get(run_id)
        if life is not None and not life.has_exited:
            life.has_exited = True
            self._free(life.model)
            self._leave_machine(run_id)
            self._post(events.ProcessExited(run_id, "exited", out_of_memory=life.words))


def play(plan: Plan) -> Simulation:
    """Play the plan to its end. A failure names the seed and the last things that happened."""
    simulation = Simulation(plan)
    try:
        simulation.run()
    except Exception as error:
        lines = [f"  {now:9.4f} {event}\n{'':12}-> {orders}" for now, event, orders in simulation.trace]
        header = f"seed {plan.seed} flavour {plan.flavour} policy {plan.policy.name}: {type(error).__name__}: {error}"
        story = str(error).partition("\n")[0] or type(error).__name__
        to_keep = f"to keep it, add to tests/core/seeds.txt:\n{plan.seed} {plan.flavour} {story}"
        raise BrokenError("\n".join([header, *lines[-14:], f"  now {simulation.scheduler!r}", to_keep])) from error
    return simulation
