"""What must be true of every simulated world, checked after every order of the scheduler.

The witness knows what the scheduler was told and what it ordered, and keeps its own books of it; it never looks inside
the scheduler. `Broken` says which promise was broken.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from llamaswap_lib.core import effects, events
from llamaswap_lib.core.effects import Effect, Fault
from llamaswap_lib.core.events import Event
from tests.core.books import BrokenError, Life, Records, Unload, Waiter
from tests.core.reload import Reload, Upgrade
from tests.core.worlds import Plan

MOMENT = 1e-6  # for sums of floats


@dataclass(slots=True)
class Witness:
    plan: Plan
    lives: dict[int, Life] = field(default_factory=dict)
    waiting: dict[int, Waiter] = field(default_factory=dict)
    orphans: dict[int, Waiter] = field(default_factory=dict)  # whose run hung up, and may live
    unloads: dict[int, Unload] = field(default_factory=dict)
    now: float = 0.0
    is_closing: bool = False
    disturbances: int = 0
    longest_wait: float = 0.0  # as a share of what is allowed
    _event: Event = field(default_factory=events.TimePassed)
    _stays: list[list[str]] = field(default_factory=list)  # who stayed when this chain of questions asked
    _worlds: list[list[str]] = field(default_factory=list)  # and who existed
    _doomed: set[int] = field(default_factory=set)  # tickets that must be answered in this chain
    _may_fail: set[str] = field(default_factory=set)  # the models whose load has failed in this chain
    _looked_at: set[str] = field(default_factory=set)  # models asked about in this chain: can it start?
    _records: Records = field(default_factory=Records)
    _cut_short: set[int] = field(default_factory=set)  # runs that were stopped with requests inside
    _hung: set[int] = field(default_factory=set)  # runs that were stopped since they hung
    _retired: set[int] = field(default_factory=set)  # runs that were retired with this event
    _preload: list[str] = field(default_factory=list)
    _hop: float = 0.0  # the longest time for a message to arrive
    _units: dict[str, float] = field(default_factory=dict)  # model -> longest request, stop and load
    _is_fickle: bool = False  # there was a policy that changes its mind

    def __post_init__(self) -> None:
        self._hop = self.plan.inbox_delay[1] + self.plan.grid
        self._learn_plan()

    def _learn_plan(self) -> None:
        """The longest of what its models do; what ran under an earlier plan may take as long as that said."""
        plan = self.plan
        for model, habit in plan.habits.items():
            unit = (
                habit.request[1]
                + (plan.hung_after + 2.0 if plan.hung_after else 0.0)
                + (plan.lost_after + 3.0 if plan.lost_after else 0.0)
                + min(habit.stop[1], habit.unload_timeout + plan.kill_delay)
                + habit.queued[1]
                + (habit.sleep[1] if habit.sleep else 0.0)
                + max(habit.load[1], plan.health_timeout if habit.never_ready else 0.0, habit.wake[1])
                + 8 * self._hop
            )
            self._units[model] = max(unit, self._units.get(model, 0.0))
        self._is_fickle = self._is_fickle or plan.policy.told is not None

    def require(self, condition: bool, message: str) -> None:
        if not condition:
            raise BrokenError(message)

    # -- what the scheduler is told --

    def note(self, event: Event) -> None:
        """Before `handle` sees the event."""
        self._event = event
        for told in (self._may_fail, self._looked_at, self._doomed, self._retired):
            told.clear()
        self._stays, self._worlds = [], []
        self._remember_who_runs()
        match event:
            case events.RequestArrived(ticket, model, lost_run, was_sent):
                waiter = Waiter(model, self.now, self.disturbances, self.plan.max_wait, lost_run, was_sent=was_sent)
                self._note_arrival(ticket, waiter)
            case events.PreloadRequested(models):
                self._preload += models
            case events.LoadDemanded(model):
                self._records.pardon([model])
            case events.RequestAbandoned(ticket):
                self._doomed.add(ticket)
            case events.UnloadRequested(ticket, models):
                self._note_unload(ticket, models, None)
            case events.ShutdownRequested(ticket, grace):
                self.is_closing = True
                self._doomed.update(self.waiting, self.orphans)
                self._note_unload(ticket, None, grace)
            case Reload() if not self.is_closing:
                self._note_reload(event)
            case events.RunUnreachable(run_id) | events.RunReached(run_id) | events.RunLost(run_id):
                if run_id in self.lives:
                    self._note_reach(self.lives[run_id], event)
            case _:
                self._note_run(event)

    def _remember_who_runs(self) -> None:
        self._stays.append(self._staying())
        self._worlds.append(self._existing())

    def _note_reload(self, event: Reload) -> None:
        """Other models and rules, as `ModelsChanged` says. A request goes by the longest bound of its wait."""
        before, now = set(self.plan.configured), set(event.models)
        gone, new = before - now, now - before
        self.plan = event.plan
        self._learn_plan()
        self.disturbances += 1
        self._records.pardon([*gone, *event.replaced])
        self._preload = [model for model in self._preload if model not in gone]
        everybody = {**self.waiting, **self.orphans}
        self._doomed.update(ticket for ticket, waiter in everybody.items() if waiter.model in gone)
        for waiter in everybody.values():
            is_bounded = self.plan.max_wait > 0 and waiter.max_wait > 0
            waiter.max_wait = max(self.plan.max_wait, waiter.max_wait) if is_bounded else 0.0
        for life in self.lives.values():
            if life.is_retired:
                life.blocks |= new
            if life.model in event.replaced or life.model not in now:
                self._retired.update([life.run_id] if life.is_staying else [])
                life.is_retired = True
            if life.is_retired:
                life.blocks |= event.blocked.get(life.model, frozenset())
        for unload in self.unloads.values():
            unload.until += max(habit.unload_timeout for habit in self.plan.habits.values())
        self._stays, self._worlds = [], []
        self._remember_who_runs()

    def _note_run(self, event: Event) -> None:
        match event:
            case events.RunSilent(run_id) | events.RunAnswered(run_id):
                if run_id in self.lives and self.lives[run_id].checked_since is not None:
                    self.lives[run_id].proof = event.proof if isinstance(event, events.RunSilent) else ""
            case events.RunAnnounced(run_id, address):
                if run_id in self.lives:
                    self._note_address(self.lives[run_id], address)
            case events.ProcessReady(run_id, address) | events.LoadTimedOut(run_id, _, address):
                is_late = run_id in self.lives and self.lives[run_id].phase in ("falling asleep", "asleep")  # of before
                if run_id in self.lives and self.lives[run_id].address == address and not is_late:
                    self._note_probe(self.lives[run_id], event)
            case events.WakeFailed(run_id) if run_id in self.lives:
                self._note_process(self.lives[run_id], event)
            case events.FellAsleep(run_id) | events.SleepFailed(run_id) if run_id in self.lives:
                self._note_sleep(self.lives[run_id], event)
            case events.ProcessExited(run_id) | events.LeaderExited(run_id):
                if run_id in self.lives:
                    self._note_process(self.lives[run_id], event)
                    self._end_doubt(run_id)
            case _:
                pass

    def _note_sleep(self, life: Life, event: Event) -> None:
        if life.phase == "falling asleep" and not life.is_ending:
            life.phase = "asleep" if isinstance(event, events.FellAsleep) else "sleepless"
            life.ttl_counts_from = None
            self._remember_who_runs()

    def _note_arrival(self, ticket: int, waiter: Waiter) -> None:
        life = self.lives.get(waiter.lost_run or 0)
        is_bad = self.is_closing or waiter.model not in self.plan.configured
        is_in_doubt = life is not None and not (life.is_ending or life.is_moving)
        if is_in_doubt and not is_bad:
            self.orphans[ticket] = waiter
            return
        self.waiting[ticket] = waiter
        waiter.is_stranded = waiter.lost_run in self._cut_short
        waiter.has_hung = waiter.lost_run in self._hung
        if is_bad or waiter.is_stranded or waiter.has_hung or self._records.until(waiter.model) > self.now:
            self._doomed.add(ticket)

    def _note_reach(self, life: Life, event: Event) -> None:
        self.disturbances += 1
        if isinstance(event, events.RunReached):
            life.is_unreachable = False
            for ticket, waiter in list(self.orphans.items()):
                if waiter.lost_run == life.run_id and not waiter.was_sent:
                    waiter.in_line_since = self.now
                    self.waiting[ticket] = self.orphans.pop(ticket)
        elif isinstance(event, events.RunUnreachable):
            life.is_unreachable = life.is_ready and not (life.is_ending or life.is_moving)
        else:
            life.is_lost = life.is_ready and not (life.is_ending or life.is_moving)

    def _note_address(self, life: Life, address: str) -> None:
        """It counts while it stays; a run that serves has moved then."""
        if not life.is_staying:
            return
        life.address, life.is_moving, life.is_queued = address, life.is_ready, False
        life.is_unreachable = False
        self.disturbances += 1
        if life.is_moving:
            self._end_doubt(life.run_id)

    def _end_doubt(self, run_id: int) -> None:
        """The run has ended or moved: those it hung up on wait like others, or not at all."""
        for ticket in [ticket for ticket, waiter in self.orphans.items() if waiter.lost_run == run_id]:
            self.orphans[ticket].in_line_since = self.now
            self._note_arrival(ticket, self.orphans.pop(ticket))

    def _note_unload(self, ticket: int, models: tuple[str, ...] | None, grace: float | None) -> None:
        self.disturbances += 1
        self._records.pardon(models or self.plan.models)
        self._preload = [model for model in self._preload if models is not None and model not in models]
        named = [life for life in self.lives.values() if models is None or life.model in models]
        longest = 0.0
        for life in named:
            timeout = self.plan.habits[life.model].unload_timeout
            drain = timeout if grace is None else grace
            longest = max(longest, drain + timeout)
            if not life.is_ending:
                by = self.now + drain if life.is_ready else self.now
                life.unload_by = by if life.unload_by is None else min(life.unload_by, by)
        until = max([self.now + longest, *(life.kill_at for life in named)])
        self.unloads[ticket] = Unload(named, until + self.plan.kill_delay + 4 * self._hop)

    def _note_process(self, life: Life, event: Event) -> None:
        """What becomes of it. The end of a run that was retired says nothing of the next one."""
        is_ours = life.stopped_at is not None
        if isinstance(event, events.LeaderExited) and life.ready_at is None:
            return  # what it said last is still to be read
        life.has_died = life.has_died or isinstance(event, events.LeaderExited)
        if isinstance(event, events.ProcessReady):
            if life.is_staying:
                life.is_moving = False
            if not is_ours and not life.is_ready:
                life.is_ready, life.ready_at, life.phase, life.ttl_counts_from = True, self.now, "", None
                self._records.of(life.model).loads = 0
            return
        if is_ours and life.ready_at is not None and not (life.is_retired or life.is_moving):
            self._records.pardon([life.model])  # it ended well
        if is_ours or life.lost_at is not None:
            return
        self.disturbances += 1
        if not isinstance(event, events.LoadTimedOut | events.WakeFailed):
            life.lost_at = self.now
            life.kill_at = self.now + self.plan.habits[life.model].unload_timeout
        if life.is_retired or self._may_be_tried_again(life, event):
            return
        self._records.note_failure(life, self.now)
        if life.ready_at is None:
            self._may_fail.add(life.model)
            life.has_timed_out = isinstance(event, events.LoadTimedOut | events.WakeFailed)
        if self._records.until(life.model) > self.now:
            self._doom(life.model)

    def _note_probe(self, life: Life, event: Event) -> None:
        """Not ready in time where it has moved to is a load that failed; those inside elsewhere may finish."""
        if not (isinstance(event, events.LoadTimedOut) and life.is_ready):
            self._note_process(life, event)
            return
        if not (life.is_moving and life.is_staying):
            return
        self.disturbances += 1
        self._records.note_failed_load(life.model, self.now)
        self._may_fail.add(life.model)
        self._doom(life.model)
        life.unload_by = self.now + self.plan.habits[life.model].unload_timeout

    def _may_be_tried_again(self, life: Life, event: Event) -> bool:
        """Whether its end may be no failure for those who wait for it."""
        del life, event
        return False

    def note_unlaunchable(self, model: str) -> None:
        """The scheduler asked, and is told that it cannot be started: that is a load that failed."""
        self._records.note_failed_load(model, self.now)
        self._may_fail.add(model)
        self._doom(model)

    def _doom(self, model: str) -> None:
        """Requests that wait for it must be answered in this chain."""
        self._doomed.update(ticket for ticket, waiter in self.waiting.items() if waiter.model == model)

    # -- what it ordered --

    def check(self, effect: Effect) -> None:
        """Before the order is carried out."""
        match effect:
            case effects.Admit(ticket, run_id):
                self._check_admit(ticket, self.lives[run_id])
            case effects.Refuse(ticket, fault, _, retry_after):
                self._check_refuse(ticket, fault, retry_after)
            case effects.StartProcess(_, model):
                self._check_start(model)
            case effects.StopProcess(run_id, _, reason):
                self._check_stop(self.lives[run_id])
                self._note_stop(run_id, reason)
            case effects.ProbeRun(run_id, address):
                self.require(address == self.lives[run_id].address, f"looks for {run_id} where it does not listen")
            case effects.PutToSleep(run_id) | effects.WakeUp(run_id):
                self._check_turn(self.lives[run_id], is_wake=isinstance(effect, effects.WakeUp))
            case effects.OpenGate(run_id):
                life = self.lives[run_id]
                is_there = life.is_ready and life.is_staying and not (life.is_moving or life.is_unreachable)
                self.require(is_there, f"opened the gate of {life.model}, which is not ready")
            case effects.Unloaded(ticket):
                self._check_unloaded(ticket)
            case effects.DropRun(run_id):
                self.require(not self.lives[run_id].is_alive, "forgot a process that runs")
            case effects.ReportSwap(model, evicted):
                self._check_report(model, evicted)
            case effects.LookInside() | effects.CheckLaunch() | effects.ShutIfIdle() | effects.ShutGates():
                self._remember_who_runs()
                self._check_question(effect)
            case _:
                self._check_hanging(effect)

    def _check_hanging(self, effect: Effect) -> None:
        match effect:
            case effects.LookForLoss(run_id):
                life = self.lives[run_id]
                is_missed = any(waiter.lost_run == run_id for waiter in self.orphans.values())
                is_missed = (is_missed and not life.is_unreachable) or isinstance(self._event, events.RunUnreachable)
                self.require(is_missed, f"looks for {life.model}, which nobody has lost")
                life.is_unreachable = True
            case effects.BeginChecks(run_id):
                self._check_checks(self.lives[run_id], is_begin=True)
            case effects.EndChecks(run_id):
                self._check_checks(self.lives[run_id], is_begin=False)
            case effects.AbortRequests(run_id):
                self._check_cut(self.lives[run_id])
            case effects.KillProcess(run_id):
                self._check_kill(self.lives[run_id])
            case _:
                pass

    def _note_stop(self, run_id: int, reason: str) -> None:
        if reason == "unloaded, its time to finish is over":
            self._cut_short.add(run_id)
        self._end_doubt(run_id)

    def _check_checks(self, life: Life, *, is_begin: bool) -> None:
        """Nobody is looked at for whom nobody waits, and a wait that is over soon is none."""
        self.require(is_begin == (life.checked_since is None), f"looks at {life.model} that begin or end twice")
        life.checked_since, life.proof = (self.now if is_begin else None), ""
        self._remember_who_runs()
        if is_begin:
            self.require(life.is_ready and life.stopped_at is None, f"looked at {life.model}, which is not ready")
            self.require(self._is_in_the_way(life, 1.0), f"looked at {life.model}, for which nobody waits")

    def _check_cut(self, life: Life) -> None:
        """It was told to hang, and somebody is overdue for whom it must go."""
        has_exited_here = life.has_died and self.plan.lost_after > 0  # and its server, elsewhere, may be silent
        if (life.is_lost or has_exited_here) and not life.is_cut:
            life.is_cut = True
            return
        self.require(bool(life.proof), f"broke off {life.model}, which was not told to hang")
        is_due = self.plan.max_wait > 0 and self._is_in_the_way(life, self.plan.max_wait)
        self.require(is_due, f"broke off {life.model}, for which nobody is overdue")
        self.require(not life.is_cut, f"broke off {life.model} twice")
        life.is_cut = True
        self._hung.add(life.run_id)
        self.disturbances += 1

    def _is_in_the_way(self, life: Life, seconds: float) -> bool:
        """Of somebody who has waited for so long."""
        models = {waiter.model for waiter in self.waiting.values() if waiter.since + seconds <= self.now + MOMENT}
        if life.is_retired and life.model in models:
            return True
        worlds = self._worlds if life.is_retired else self._stays
        return any(life.model in self._victims(model, world) for model in models for world in worlds)

    def _check_admit(self, ticket: int, life: Life) -> None:
        waiter = self._answer(ticket)
        self.require(waiter.model == life.model, f"ticket {ticket} wants {waiter.model}, not {life.model}")
        is_there = life.is_ready and life.is_staying and not (life.is_moving or life.is_unreachable)
        self.require(is_there, f"admitted to {life.model}, which is not ready")
        unwanted = self._victims(life.model, self._existing())
        self.require(not unwanted, f"admitted to {life.model} beside {unwanted}")

    def _check_refuse(self, ticket: int, fault: Fault, retry_after: float) -> None:
        is_in_doubt = ticket in self.orphans
        waiter = self.orphans.pop(ticket) if is_in_doubt else self._answer(ticket)
        left = self._records.until(waiter.model) - self.now
        is_due = {
            Fault.QUEUE_TIMEOUT: self._is_over_in_queue(waiter.model),
            Fault.UNKNOWN_MODEL: waiter.model not in self.plan.configured,
            Fault.LOAD_FAILED: waiter.model in self._may_fail and abs(retry_after - left) < MOMENT,
            Fault.BACKING_OFF: left > 0 and abs(retry_after - left) < MOMENT,
            Fault.OUT_OF_MEMORY: left > 0 and abs(retry_after - left) < MOMENT,
            Fault.NOT_DEAD: waiter.is_stranded or (is_in_doubt and self._is_found_alive(waiter)),
            Fault.HUNG: waiter.has_hung,
            Fault.SHUTTING_DOWN: self.is_closing,
            Fault.ABANDONED: self._event == events.RequestAbandoned(ticket),
        }
        self.require(is_due[fault], f"refused ticket {ticket} for {waiter.model}: {fault.value}")

    def _is_found_alive(self, waiter: Waiter) -> bool:
        """After two seconds, or as soon as it was reached later."""
        is_reached = isinstance(self._event, events.RunReached) and self._event.run_id == waiter.lost_run
        is_late = is_reached and waiter.since + 2 <= self.now
        life = self.lives.get(waiter.lost_run or 0)
        is_looked_for = life is not None and life.is_unreachable
        return not is_looked_for and (is_late or abs(waiter.since + 2 - self.now) < MOMENT)

    def _answer(self, ticket: int) -> Waiter:
        self.require(ticket in self.waiting, f"answered ticket {ticket}, which does not wait")
        waiter = self.waiting.pop(ticket)
        if waiter.max_wait and waiter.model in self.plan.configured:
            allowed = self._patience(waiter)
            waited = self.now - waiter.since
            self.longest_wait = max(self.longest_wait, waited / allowed)
            self.require(waited <= allowed, f"{ticket} waited {waited:.2f} s for {waiter.model}, allowed {allowed:.2f}")
        return waiter

    def _patience(self, waiter: Waiter) -> float:
        """The swap under way, one for each other model in front, and its own; one more for each disturbance."""
        longest = max(self._units.values())
        patience = waiter.max_wait + longest + sum(self._units.values())
        if self._is_fickle:  # what it let start it may want gone again once it is ready
            patience *= 2
        return patience + (self.disturbances - waiter.disturbances) * longest

    def _check_start(self, model: str) -> None:
        existing = self._existing()
        self._remember_who_runs()
        self.require(not self.is_closing, f"started {model} after the shutdown")
        self.require(model in self.plan.configured, f"started {model}, which is not configured")
        is_there = any(life.model == model for life in self.lives.values())
        self.require(not is_there, f"started {model} twice")
        unwanted = self._victims(model, existing)
        self.require(not unwanted, f"started {model} beside {unwanted}")
        self.require(self._records.until(model) <= self.now, f"started {model} before its time")
        if not self.waits(model):
            self._check_preload(model)

    def _check_preload(self, model: str) -> None:
        """In order, when nobody waits and nothing loads, and at nobody's expense."""
        self.require(model in self._preload, f"started {model}, for which nobody waits")
        self._preload = self._preload[self._preload.index(model) + 1 :]
        self.require(not self.waiting, f"preloaded {model} while others wait")
        staying = [life for life in self.lives.values() if life.is_staying]
        loading = [life.model for life in staying if not (life.is_ready or life.is_queued)]
        self.require(not loading, f"preloaded {model} while {loading} loads")
        models = self._staying()
        losers = [other for other in models if model in self._victims(other, [*models, model])]
        self.require(not losers, f"preloaded {model}, which {losers} want gone")

    def _check_stop(self, life: Life) -> None:
        self.require(life.stopped_at is None, f"stopped {life.model} twice")
        inside = len(life.gate)
        self._remember_who_runs()
        is_due = life.unload_by is not None and (self.now >= life.unload_by or inside == 0)
        is_due = is_due or (life.is_retired and (inside == 0 or life.is_cut))
        is_due = is_due or self._is_over_in_queue(life.model) or self._is_queued_for_nobody(life)
        self.disturbances += life.is_queued
        is_due = is_due or life.has_timed_out or self._is_over(life) or life.phase == "sleepless" or life.is_cut
        is_spared = life.is_ready and self._can_sleep(life) and not life.is_unreachable
        self.require(is_due or not is_spared, f"stopped {life.model}, which can sleep")
        is_due = is_due or self._is_victim(life) or self._may_be_stopped_asleep(life)
        self.require(is_due, f"stopped {life.model} for no reason")
        is_overtime = life.unload_by is not None and self.now >= life.unload_by
        self.require(inside == 0 or is_overtime or life.is_cut, f"stopped {life.model} with {inside} inside")
        self.require(life.gate.shut, f"stopped {life.model} while its gate was open")
        self.require(life.lost_at is None, f"stopped {life.model}, which has ended")
        life.stopped_at = self.now
        life.kill_at = self.now + self.plan.habits[life.model].unload_timeout

    # -- sleep --

    def _can_sleep(self, life: Life) -> bool:
        return life.model in self.plan.configured and self.plan.habits[life.model].sleep is not None

    def _check_turn(self, life: Life, *, is_wake: bool) -> None:
        if is_wake:
            self._check_wake(life)
        else:
            self._check_sleep(life)

    def _check_sleep(self, life: Life) -> None:
        """Only of one that has to make room, serves nobody and can; told twice only by another scheduler."""
        if isinstance(self._event, Upgrade) and life.phase == "falling asleep":
            return
        self._remember_who_runs()
        self.require(self._can_sleep(life), f"told {life.model} to sleep, which cannot")
        self.require(not life.is_unreachable, f"told {life.model} to sleep, which is out of reach")
        self.require(life.is_ready and life.is_staying, f"told {life.model} to sleep, which is not ready")
        self.require(len(life.gate) == 0 and life.gate.shut, f"told {life.model} to sleep, which is busy or open")
        self.require(self._is_victim(life), f"told {life.model} to sleep for nobody")
        life.is_ready, life.phase = False, "falling asleep"

    def _check_wake(self, life: Life) -> None:
        """As a start: somebody waits for it, and nobody is in its way."""
        if isinstance(self._event, Upgrade) and life.phase == "waking":
            return
        self._remember_who_runs()
        self.require(life.is_asleep and not life.is_ending, f"woke {life.model}, which does not sleep")
        self.require(not self.is_closing, f"woke {life.model} after the shutdown")
        unwanted = self._victims(life.model, self._existing())
        self.require(not unwanted, f"woke {life.model} beside {unwanted}")
        self.require(self._records.until(life.model) <= self.now, f"woke {life.model} before its time")
        self.require(self.waits(life.model), f"woke {life.model}, for which nobody waits")
        life.ready_at, life.phase = None, "waking"
        self._remember_who_runs()

    def _is_victim(self, life: Life) -> bool:
        """Somebody waits for whom it must go, and if it is loading nobody waits for it."""
        if not life.is_ready and self.waits(life.model):
            return False
        return any(life.model in self._victims(model, stay) for model in self._startable() for stay in self._stays)

    def _is_over_in_queue(self, model: str) -> bool:
        """Its time to be queued is over."""
        queued = [life for life in self.lives.values() if life.model == model and life.is_queued]
        timeout = self.plan.habits[model].queue_timeout if queued else 0.0
        return any(timeout > 0 and life.started_at + timeout <= self.now for life in queued)

    def _is_queued_for_nobody(self, life: Life) -> bool:
        return life.is_queued and life.is_staying and not (life.is_preloaded or self.waits(life.model))

    def _is_over(self, life: Life) -> bool:
        ttl = self.plan.habits[life.model].ttl
        is_idle = life.is_ready or (life.is_asleep and not life.is_ending)
        since = max(life.gate.idle_since, life.ready_at or 0.0)
        return ttl > 0 and is_idle and since + ttl <= self.now and not self.waits(life.model)

    def _check_kill(self, life: Life) -> None:
        self.require(life.is_ending and self.now >= life.kill_at - MOMENT, f"killed {life.model} too early")

    def _check_unloaded(self, ticket: int) -> None:
        self.require(ticket in self.unloads, f"answered unload {ticket}, which does not wait")
        unload = self.unloads.pop(ticket)
        if self._event != events.RequestAbandoned(ticket):
            self.require(not any(life.is_alive for life in unload.lives), "answered an unload before the exit")
            self.require(self.now <= unload.until + MOMENT, "answered an unload too late")

    def _check_look(self, run_ids: tuple[int, ...]) -> None:
        """Only where the policy wants to know, and then at all that serve."""
        serving = {life.run_id for life in self.lives.values() if life.is_ready and not life.is_ending}
        is_wanted = self.plan.policy.observe is not None or self._wants_room()
        self.require(is_wanted, "looked inside for nobody")
        self.require(set(run_ids) == serving, f"looked inside {run_ids}, and {serving} serve")

    def _wants_room(self) -> bool:
        """Whether it has to be known who is idle, to make room in a queue."""
        return False

    def _check_report(self, model: str, evicted: tuple[str, ...]) -> None:
        """Somebody waits for the model, which can be started, and those go who stay now and must go for it."""
        self._remember_who_runs()
        self.require(model in self._startable(), f"a swap to {model}, for which nobody waits, or which cannot start")
        is_true = bool(evicted) and any(set(evicted) == self._victims(model, stay) for stay in self._stays)
        self.require(is_true, f"a swap to {model} is said to end {evicted}")

    def _check_question(self, question: effects.Question) -> None:
        match question:
            case effects.LookInside(run_ids):
                self._check_look(run_ids)
            case effects.CheckLaunch(model):
                self._check_launch_question(model)
            case _:
                self._check_shut_question(question)

    def _check_shut_question(self, question: effects.ShutIfIdle | effects.ShutGates) -> None:
        """It is about all that somebody wants gone and that serve, about one whose ttl is over, or about what leaves.

        Somebody: for whose model nothing is known that keeps it from starting, and which is not backing off.
        """
        asked = [self.lives[run_id] for run_id in question.run_ids]
        models = {life.model for life in asked}
        ready = {life.model for life in self.lives.values() if life.is_ready}
        if isinstance(question, effects.ShutIfIdle) and question.idle_for:
            is_due = len(asked) == 1 and question.idle_for == self.plan.habits[asked[0].model].ttl
        else:
            wanted = self._startable()
            is_due = any(models == self._victims(model, stay) & ready for model in wanted for stay in self._stays)
            is_due = is_due or all(life.unload_by is not None or life.is_retired for life in asked)
        self.require(is_due, f"asked about {models} for nobody")

    def _may_have_to_go(self) -> bool:
        """Whether one that sleeps may."""
        return False

    def _may_be_stopped_asleep(self, life: Life) -> bool:
        """Whether it sleeps, and somebody needs what it holds."""
        del life
        return False

    def _check_launch_question(self, model: str) -> None:
        """Once in a chain, and only of a model that somebody waits for, that has to start, and others to go for it."""
        is_there = self._is_up(model) or self.can_wake(model)
        self.require(not is_there, f"asked whether {model} can start, which is there")
        self.require(self.waits(model), f"asked whether {model} can start, for which nobody waits")
        self.require(model not in self._looked_at, f"asked twice whether {model} can start")
        self._looked_at.add(model)
        is_needed = self._may_have_to_go() or any(self._victims(model, stay) for stay in self._stays)
        self.require(is_needed, f"asked whether {model} can start, for which nobody has to go")

    def check_shown(self, orders: list[Effect]) -> None:
        """Before they are carried out: what a policy was shown meanwhile is true, those who are let in counted."""
        lives = {life.model: life for life in self.lives.values()}
        shown = self.plan.policy.shown
        while shown:
            seen = shown.pop()
            if seen.state == "ready":
                life = lives[seen.model]
                admitted = sum(isinstance(order, effects.Admit) and order.run_id == life.run_id for order in orders)
                inside = len(life.gate)
                idle = self.now - max(life.gate.idle_since, life.ready_at or 0.0)
                is_true = inside <= seen.in_flight <= inside + admitted
                is_true = is_true and seen.idle_seconds == (0.0 if seen.in_flight else idle)
                self.require(is_true, f"the policy was shown {seen}, but {inside} are inside, idle for {idle}")

    # -- when no question is open --

    def settle(self, is_quiet: bool) -> None:
        """After a chain of questions. `is_quiet`: nothing is on its way to the scheduler."""
        late = self._doomed & (self.waiting.keys() | self.orphans.keys() | self.unloads.keys())
        sought = {life.run_id for life in self.lives.values() if life.is_unreachable}
        orphans = {ticket: waiter for ticket, waiter in self.orphans.items() if waiter.lost_run not in sought}
        late |= {ticket for ticket, waiter in orphans.items() if waiter.since + 2 <= self.now}
        self.require(not late, f"tickets {late} were not answered")
        strangers = self.plan.policy.strangers
        self.require(not strangers, f"the policy was asked about {strangers}, which it does not know")
        for life in self.lives.values():
            self.require(not self._is_queued_for_nobody(life), f"{life.model} is queued for nobody")
            is_late = life.is_staying and self._is_over_in_queue(life.model)
            self.require(not is_late, f"{life.model} has been queued for too long")
            if life.is_ready and life.is_staying:
                self._check_gate(life)
                self._check_ttl(life)
            else:
                self.require(life.gate.shut, f"the gate of {life.model} is open")
                self._check_sleeper(life, is_quiet)
            if life.is_retired and not (life.is_ending or len(life.gate)):
                is_late = is_quiet or life.run_id in self._retired
                self.require(not is_late, f"{life.model} is empty, was retired, and goes on running")
        models = list(dict.fromkeys(waiter.model for waiter in self.waiting.values()))
        if is_quiet and len(models) == 1:
            self._check_alone(models[0])
        if self.plan.policy.is_pairwise:
            for model in models:
                self._check_side_by_side(model, models)

    def _check_gate(self, life: Life) -> None:
        if life.is_moving or life.is_unreachable:
            self.require(life.gate.shut, f"the gate of {life.model} is open while it moves or is looked for")
            self.require(not life.is_lost or life.is_ending, f"{life.model} is lost, and goes on")
        elif self._victims(life.model, self._existing()):
            self.require(life.gate.shut, f"the gate of {life.model} is open though others must go for it")
        elif life.gate.shut:
            stays = [*self._stays, self._staying()]
            is_needed = any(
                self.plan.max_wait > 0
                and waiter.since + self.plan.max_wait <= self.now
                and any(life.model in self._victims(waiter.model, stay) for stay in stays)
                for waiter in self.waiting.values()
            )
            # Where a policy makes little sense, a start may admit those who wait there, in the next decision.
            is_odd = not self.plan.policy.is_pairwise and self.waits(life.model)
            self.require(is_needed or is_odd, f"the gate of {life.model} is shut for nobody")
        else:
            self.require(not self.waits(life.model), f"somebody waits before the open gate of {life.model}")

    def _check_ttl(self, life: Life) -> None:
        ttl = self.plan.habits[life.model].ttl
        if life.gate.shut:
            life.ttl_counts_from = None
            return
        if life.ttl_counts_from is None or self.waits(life.model):
            life.ttl_counts_from = self.now
        if not ttl:
            return
        due = max(life.gate.idle_since, life.ttl_counts_from) + ttl
        self.require(len(life.gate) > 0 or self.now <= due + MOMENT, f"{life.model} has outlived its ttl by {due}")

    def _check_sleeper(self, life: Life, is_quiet: bool) -> None:
        """Its ttl goes on; what waits for it meanwhile prolongs that."""
        ttl = self.plan.habits[life.model].ttl
        if life.is_ending or not life.is_asleep:
            return
        if self.waits(life.model):
            life.ttl_counts_from = self.now
        elif ttl and is_quiet:
            due = max(life.gate.idle_since, life.ready_at or 0.0, life.ttl_counts_from or 0.0) + ttl
            self.require(self.now <= due + MOMENT, f"{life.model} sleeps, and has outlived its ttl by {due}")

    def _check_alone(self, model: str) -> None:
        """Nobody else waits and nothing is on its way: then something loads, ends, or is busy."""
        awake = [life for life in self.lives.values() if not life.is_asleep or (life.model == model and life.is_ending)]
        if any(life.is_moving or life.is_unreachable or not life.is_ready for life in awake):
            return
        unwanted = self._victims(model, self._existing())
        is_held_up = any(not life.is_staying or (life.model in unwanted and len(life.gate)) for life in awake)
        self.require(is_held_up, f"nothing is in the way of {model}, and nothing happens")
        if self.plan.policy.is_pairwise:
            unwanted = self._victims(model, self._staying())
            if not unwanted:  # then it waits for those that go
                going = {model, *self._victims(model, self._existing())}
                retired = (life for life in self.lives.values() if life.is_retired and not life.is_ending)
                unwanted = {life.model for life in retired if life.unload_by is None} & going
            self._check_looks(model, [life for life in self.lives.values() if life.model in unwanted])

    def _check_looks(self, model: str, victims: list[Life]) -> None:
        """What holds up somebody is looked at after a second, and one that hangs is ended for who is overdue."""
        since = [waiter.since for waiter in self.waiting.values() if waiter.lost_run is None]  # others began elsewhere
        waited = self.now - min(since, default=self.now)
        for life in victims:
            self.require(waited <= 1.0 or life.checked_since is not None, f"nobody looks at {life.model}")
            is_due = life.proof and self.plan.max_wait > 0 and waited > self.plan.max_wait
            self.require(not is_due, f"{life.model} hangs, and {model} waits for it")

    def _check_side_by_side(self, model: str, waiting: list[str]) -> None:
        existing = self._existing()
        is_ending = any(life.model == model and life.is_ending for life in self.lives.values())
        if is_ending or model in existing or self._victims(model, existing):
            return
        everybody = [*existing, *waiting]
        clashes = self._victims(model, everybody).intersection(waiting)
        clashes.update(other for other in waiting if model in self._victims(other, everybody))
        self.require(bool(clashes), f"{model} could run beside all others, and waits")

    def finish(self, said: str) -> None:
        """At the end of the world; `said` is the scheduler's own account."""
        self.require(not self.lives, f"left over: {list(self.lives.values())}")
        self.require(not self.waiting and not self.orphans, f"never answered: {self.waiting} {self.orphans}")
        self.require(not self.unloads, f"never answered: {self.unloads}")
        self.require(said == "<scheduler runs[] waiting[] unloads[0]>", f"the scheduler remembers: {said}")

    # -- look-up --

    def is_launchable(self, model: str) -> bool:
        """The truth about it now."""
        return not any(begin <= self.now < end for begin, end in self.plan.habits[model].unlaunchable)

    def _startable(self) -> set[str]:
        """The models that somebody waits for, and which are there, or can start and are not backing off."""
        models = {waiter.model for waiter in self.waiting.values() if waiter.model in self.plan.configured}
        ready = {model for model in models if self.is_launchable(model) and self._records.until(model) <= self.now}
        return ready.union(filter(self._is_up, models), filter(self.can_wake, models))

    def can_wake(self, model: str) -> bool:
        """Whether it sleeps, or is about to."""
        away = ("falling asleep", "asleep")
        return any(life.model == model and life.phase in away and not life.is_ending for life in self.lives.values())

    def _is_up(self, model: str) -> bool:
        return any(life.model == model and life.is_ready and life.is_staying for life in self.lives.values())

    def _existing(self) -> list[str]:
        return [life.model for life in self.lives.values() if not life.is_asleep]

    def _staying(self) -> list[str]:
        return [life.model for life in self.lives.values() if life.is_staying]

    def waits(self, model: str) -> bool:
        return any(waiter.model == model for waiter in self.waiting.values())

    def _victims(self, target: str, running: list[str]) -> set[str]:
        """Those it must go for by the rules of now, and before its start those that block it."""
        if target not in self.plan.configured:
            return set()
        victims = self.plan.policy.victims(target, [model for model in running if model in self.plan.configured])
        if target not in running:
            blocking = {life.model for life in self.lives.values() if target in life.blocks}
            victims |= blocking.intersection(running)
        return victims
