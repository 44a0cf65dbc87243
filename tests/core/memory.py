"""A witness of what the memory policy promises, with sums of its own, by the truth."""

from __future__ import annotations

from collections.abc import Collection

from llamaswap_lib.core import effects, events
from llamaswap_lib.core.decision import FREEING
from llamaswap_lib.core.effects import Effect, Fault
from llamaswap_lib.core.events import Event
from tests.core.books import Life, Waiter
from tests.core.line import LineWitness
from tests.core.reload import Reload, Upgrade
from tests.core.truth import Truth

MOMENT = 1e-6
Room = dict[str, int]
TO_MAKE_ROOM = "to make room for "


class MemoryWitness(LineWitness):
    """The witness, and what memory promises."""

    _unfit: dict[str, float]  # model that is waited for -> since when it does not fit, whatever goes
    _fitted: dict[str, float]  # one of these -> when it would have fitted last, before others were let in
    _exits: dict[str, float]  # model -> when the scheduler was told that its last process has gone
    _old_exits: list[float]  # when others have
    _starved: set[str]  # models that ran out of memory, and were not ready since
    _seconds: set[str]  # models that may only be started once more
    _tries: dict[str, tuple[Room, bool]]  # model -> what there was for its last start, and whether that was shown
    _open: str  # the model whose load has just ended for want of memory: those who wait go on waiting, or not

    def __post_init__(self) -> None:
        LineWitness.__post_init__(self)
        self._unfit, self._fitted, self._exits, self._old_exits, self._tries = {}, {}, {}, [], {}
        self._starved, self._seconds, self._open = set(), set(), ""

    @property
    def _truth(self) -> Truth | None:
        return self.plan.policy.truth

    def _patience(self, waiter: Waiter) -> float:
        truth = self._truth
        more = 0.0 if truth is None else 2 * FREEING + (1 + len(self.plan.models)) * truth.settle
        return LineWitness._patience(self, waiter) + more

    def note(self, event: Event) -> None:
        self._open = ""
        if isinstance(event, events.ProcessExited | events.FellAsleep) and event.run_id in self.lives:
            self._note_exit(self.lives[event.run_id].model)
        LineWitness.note(self, event)
        if self._truth is None:
            return
        self._note_memory(event)
        self._truth.told.clear()
        self._fitted |= {model: self.now for model in self._unfit if self._fits_at_best(model)}
        if isinstance(event, Upgrade):
            self._unfit = {}  # the other one counts anew
        if isinstance(event, events.RequestArrived) and event.ticket in self.waiting and self._never_fits(event.model):
            self._doomed.add(event.ticket)

    def _note_exit(self, model: str) -> None:
        if model in self._exits:
            self._old_exits.append(self._exits[model])
        self._exits[model] = self.now

    def _note_memory(self, event: Event) -> None:
        if isinstance(event, Reload) and not self.is_closing:
            self._starved -= {*event.replaced, *self.plan.missing}
            self._tries = {}
        if isinstance(event, events.ProcessReady) and event.run_id in self.lives:
            self._starved.discard(self.lives[event.run_id].model)
            self._seconds.discard(self.lives[event.run_id].model)

    def _may_be_tried_again(self, life: Life, event: Event) -> bool:
        """One that ran out of memory while it loaded may be started once more, for those who wait."""
        if not isinstance(event, events.ProcessExited) or not event.out_of_memory:
            return False
        self._starved.add(life.model)
        self._note_room_left(life.model)
        if life.is_ready or life.model in self._seconds or not self.waits(life.model):
            self._seconds.discard(life.model)
            return False
        self._open = life.model
        return True

    def _note_room_left(self, model: str) -> None:
        """For its next start there is to be more than there was, also when it ended."""
        truth, before = self._truth, self._tries.get(model)
        if truth is not None and before is not None:
            others = [other for other in self._existing() if other != model and other in self.plan.configured]
            left = {name: min(size, truth.room(name, others)) for name, size in before[0].items()}
            self._tries[model] = left, before[1]

    def check(self, effect: Effect) -> None:
        if self._truth is not None:
            match effect:
                case effects.StartProcess(_, model, placement):
                    self._check_room(self._truth, model, placement.gpus)
                case effects.StopProcess(run_id, _, reason) if reason.startswith(TO_MAKE_ROOM):
                    self._check_victim(self._truth, self.lives[run_id], reason.removeprefix(TO_MAKE_ROOM))
                case effects.ShutGates(run_ids):
                    self._check_calm(self._truth, [self.lives[run_id] for run_id in run_ids])
                case _:
                    pass
        LineWitness.check(self, effect)

    def _may_have_to_go(self) -> bool:
        """One that sleeps, or has until it was stopped, may hold what another needs."""
        return any(life.phase == "asleep" for life in self.lives.values())

    def _may_be_stopped_asleep(self, life: Life) -> bool:
        """It holds what one that can start now lacks with all that sleep; or there is no room for it where it is."""
        truth = self._truth
        if truth is None or not life.is_asleep:
            return False
        if self.waits(life.model) and not self._fits_at_best(life.model):
            return True
        existing = [other for other in self._existing() if other in self.plan.configured]
        asleep = [one.model for one in self.lives.values() if one.phase == "asleep"]
        for target in self._startable() - {life.model}:
            for way in truth.ways_now(target):
                lacking = [
                    name
                    for name, size in way.items()
                    if target in truth.unknown | self._starved
                    or size > truth.room(name, existing) - sum(truth.takes(one, name) for one in asleep)
                ]
                if any(truth.takes(life.model, name) for name in lacking):
                    return True
        return False

    def _check_room(self, truth: Truth, model: str, gpus: tuple[str, ...]) -> None:
        """Never over capacity, those that are ending counted, on the GPUs that were chosen."""
        existing = [other for other in self._existing() if other in self.plan.configured]
        # Until a pinned one started others may have fitted, for a moment.
        self._fitted |= {other: self.now for other in self._unfit if self._fits_at_best(other)}
        self.require((model in truth.movable) == bool(gpus), f"started {model} on {gpus}")
        if gpus:
            one = truth.movable[model]
            is_choice = set(gpus) <= set(one.among) and len(gpus) == (one.count or len(gpus))
            self.require(is_choice, f"started {model} on {gpus}, which it may not have")
            fits = truth.fits_on(model, gpus, existing, self.plan.policy.manners.pinned)
            self.require(fits, f"started {model} on {gpus}, where it does not fit beside {existing}")
        self.require(self._fits(model, existing), f"started {model}, which does not fit beside {existing}")
        recent = {one: at for one, at in self._exits.items() if self.now < at + truth.settle - MOMENT}
        way = truth.sizes_on(model, gpus) if gpus else truth.sizes[model]
        self._check_sleepers(truth, model, way, existing)
        is_shown = truth.is_shown(model, way, existing, recent)
        room = {name: truth.room(name, existing) for name in way}
        has_waited = any(at + truth.settle <= self.now + MOMENT for at in (*self._exits.values(), *self._old_exits))
        self.require(is_shown or has_waited, f"started {model} before its devices show the room")
        if model in self._seconds and (before := self._tries.get(model)):
            has_more = any(room.get(name, 0) > size for name, size in before[0].items()) or not before[1]
            has_more = has_more or room.keys() != before[0].keys()  # it is put elsewhere
            others = [other for other in existing if any(truth.taken(other, name) for name in way)]
            is_alone = not [other for other in others if other not in self.plan.policy.manners.pinned]
            self.require(has_more or is_alone, f"started {model} once more with no more room")
        late = {one: at for one, at in self._exits.items() if self.now <= at + 2 * truth.settle + MOMENT}
        is_late_shown = truth.is_shown(model, way, existing, late)
        self._tries[model] = room, is_late_shown and model not in self._starved  # which waits for more than that

    def _check_sleepers(self, truth: Truth, model: str, way: Room, existing: Collection[str]) -> None:
        """It fits beside what those hold that sleep, as far as that was read since then."""
        since = {life.model: self._exits.get(life.model, 0.0) for life in self.lives.values() if life.phase == "asleep"}
        read = [one for one, at in since.items() if truth.readings and truth.readings[-1].at > at and one != model]
        for name, size in way.items():
            held = sum(truth.takes(one, name) for one in read if one in truth.runs)
            fits = size <= truth.room(name, existing) - held or model in truth.unknown
            self.require(fits, f"started {model} beside {read}, which sleep and hold {held} of {name}")

    def _check_victim(self, truth: Truth, life: Life, target: str) -> None:
        staying = [other for other in self._staying() if other in self.plan.configured]
        manners = self.plan.policy.manners
        by_rules = manners.goes_by_rules(target, staying)
        is_kept = life.model in manners.pinned and life.model not in by_rules
        self.require(not is_kept, f"stopped {life.model}, which is pinned")
        self.require(not self._never_fits(target), f"stopped {life.model} for {target}, which never fits")
        gone = set(truth.told.get((target, frozenset(staying)), ()))  # what was said for all of those that go at once
        if target in staying:  # it is there, and only rules may want others gone
            self.require(life.model in by_rules, f"stopped {life.model} for {target}, which runs")
        elif target in self._starved:
            pass  # it is taken to need more than it says
        elif target in self._startable() and life.model in gone and not truth.unknown & {target, *staying}:
            rest = [other for other in staying if other not in gone]
            self.require(self._fits(target, rest), f"stops {gone} for {target}, which is not enough")
            spared = [one for one in gone - by_rules if self._fits(target, [*rest, one])]
            self.require(not spared, f"stops {gone} for {target}, but {spared} could stay")
        if life.is_ready and life.ready_at is not None and not self._is_model_overdue(target):
            age = self.now - life.ready_at
            self.require(age >= manners.min_residency - MOMENT, f"stopped {life.model} after {age:.2f} s")

    def _check_calm(self, truth: Truth, asked: list[Life]) -> None:
        """A busy one is shut only if all that nobody has to wait for are not enough."""
        busy = [life for life in asked if len(life.gate) and life.is_staying]
        if not busy or truth.unknown or self._starved:
            return
        staying = [life for life in self.lives.values() if life.is_staying and life.model in self.plan.configured]
        pinned = self.plan.policy.manners.pinned
        rest = [life.model for life in staying if not life.is_ready or len(life.gate) or life.model in pinned]
        names = frozenset(life.model for life in staying)
        asked_for = {life.model for life in asked}
        wanting = [model for model in {waiter.model for waiter in self.waiting.values()} if not self._is_up(model)]
        wanting = [model for model in wanting if asked_for <= set(truth.told.get((model, names), ()))]
        is_needed = any(self._is_needed(model, {life.model for life in busy}, rest) for model in wanting)
        self.require(is_needed or not wanting, f"shut {busy} for {wanting}, and idle ones are enough")

    def _is_needed(self, target: str, busy: set[str], rest: Collection[str]) -> bool:
        """Whether rules want all of the busy ones gone, or it does not fit beside the rest."""
        by_rules = self.plan.policy.manners.goes_by_rules(target, [*busy, *rest])
        return busy <= by_rules or not self._fits(target, [other for other in rest if other not in by_rules])

    def _check_refuse(self, ticket: int, fault: Fault, retry_after: float) -> None:
        if fault is Fault.OUT_OF_MEMORY and self.waiting[ticket].model == self._open:
            self._records.note_failed_load(self._open, self.now)
            self._doom(self._open)
            self._open = ""
        if self._truth is None or fault not in (Fault.NEVER_FITS, Fault.SHORTAGE):
            LineWitness._check_refuse(self, ticket, fault, retry_after)
            return
        waiter = self._answer(ticket)
        if fault is Fault.NEVER_FITS:
            self.require(self._never_fits(waiter.model), f"{waiter.model} is said never to fit")
        else:
            since = self._unfit.get(waiter.model, self.now)
            self.require(not self._fits_at_best(waiter.model), f"{waiter.model} is said not to fit")
            begun = since, self._fitted.get(waiter.model, since)
            is_due = any(abs(self.now - at - FREEING) < MOMENT for at in begun)
            self.require(is_due, f"{waiter.model} was given up after {self.now - since}")

    def settle(self, is_quiet: bool) -> None:
        LineWitness.settle(self, is_quiet)
        if self._truth is None:
            return
        if self._open:
            self._seconds.add(self._open)
        self._seconds &= {waiter.model for waiter in self.waiting.values()} | set(self._existing())
        models = {waiter.model for waiter in self.waiting.values() if waiter.model in self.plan.configured}
        unfit = [model for model in models if not self._is_there(model) and not self._fits_at_best(model)]
        self._unfit = {model: self._unfit.get(model, self.now) for model in unfit}
        for model, since in self._unfit.items():
            begun = max(since, self._fitted.get(model, since))
            self.require(self.now - begun <= FREEING + MOMENT, f"waits for {model}, which does not fit")

    def _check_alone(self, model: str) -> None:
        if self._truth is None or not self._is_excused(model):
            LineWitness._check_alone(self, model)

    def _is_excused(self, model: str) -> bool:
        """Whether it waits for other programs, for the time that a model stays, or for memory to become free."""
        if self._is_freeing(model):
            return True
        if any(life.is_asleep and life.is_ending for life in self.lives.values()):  # and may hold what it needs
            return True
        stays = self.plan.policy.manners.min_residency
        young = any(life.ready_at is not None and self.now < life.ready_at + stays for life in self.lives.values())
        return young or not self._fits_at_best(model)

    def _is_freeing(self, model: str) -> bool:
        truth = self._truth
        if truth is None:
            return False
        recent = {one: at for one, at in self._exits.items() if self.now <= at + 2 * truth.settle + MOMENT}
        is_shown = truth.is_shown(model, truth.sizes[model], self._existing(), recent, is_strict=True)
        is_moved = not truth.movable.keys().isdisjoint((model, *recent))
        return bool(recent) and (model in self._starved or is_moved or not is_shown)

    # -- look-up --

    def _fits(self, target: str, staying: Collection[str]) -> bool:
        return self._truth is None or self._truth.fits(target, staying, self.plan.policy.manners.pinned)

    def _pinned(self, target: str) -> list[str]:
        """Those that do not go for it."""
        manners, staying = self.plan.policy.manners, self._staying()
        by_rules = manners.goes_by_rules(target, staying)
        return [model for model in staying if model in manners.pinned and model not in by_rules]

    def _never_fits(self, model: str) -> bool:
        truth = self._truth
        if truth is None or model not in self.plan.configured or model in truth.unknown or self._is_there(model):
            return False
        pinned = self._pinned(model)
        rooms = {name: truth.room(name, pinned) + device.others for name, device in truth.devices.items()}
        return not any(all(size <= rooms[name] for name, size in way.items()) for way in truth.ways(model))

    def _fits_at_best(self, model: str) -> bool:
        """If all go that may."""
        truth = self._truth
        if truth is None or model in truth.unknown:
            return True
        pinned = self._pinned(model)
        rooms = {name: truth.room(name, pinned) for name in truth.devices}
        return any(all(size <= rooms[name] for name, size in way.items()) for way in truth.ways_now(model))

    def _is_there(self, model: str) -> bool:
        return any(life.model == model and life.is_staying for life in self.lives.values())

    def _is_model_overdue(self, model: str) -> bool:
        max_wait = self.plan.max_wait
        waiters = [waiter for waiter in self.waiting.values() if waiter.model == model]
        return max_wait > 0 and any(waiter.since + max_wait <= self.now + MOMENT for waiter in waiters)
