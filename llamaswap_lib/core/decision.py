"""One pass over the models that requests wait for: what can be done for each of them now?

Pure; part of the scheduler, which makes a new pass after every event. If a pass has to know how many requests are
inside a run, it ends early with a question. The answer is an event and starts the next pass. Only runs, tickets and
claims are kept from one pass to the next. A question is asked again only after a new event, so the passes come to an
end. If no request waits, a pass starts what is to be preloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from llamaswap_lib.core.effects import Admit, CheckLaunch, Fault, LookInside, Question, Refuse, ShutGates, ShutIfIdle
from llamaswap_lib.core.eviction import NoRoom, Placement
from llamaswap_lib.core.in_force import find_clash
from llamaswap_lib.core.relief import Ask, ask_relief, ask_room, leaving_for
from llamaswap_lib.core.run import Run, RunState
from llamaswap_lib.core.snapshot import Reason
from llamaswap_lib.core.waiting import WaitingRoom
from llamaswap_lib.core.world import World

FREEING = 5.0  # seconds in which memory of what has ended is expected to be free


class Pass:
    """Call `run` once, then read the public attributes."""

    def __init__(self, world: World, waiting: WaitingRoom, preload: Callable[[World], tuple[str, ...]]) -> None:
        """`preload` starts what is to be loaded before it is asked for, and says which of it waits: `Preload.go_on`."""
        self.asked_for = ""  # the model for whose swap the question is asked
        self.order: list[str] | None = None  # of the models that requests wait for; None if the pass ended before
        self.reasons: dict[str, Reason] = {}
        self._world = world
        self._waiting = waiting
        self._preload = preload
        self.places: list[str] = []  # models in front: nothing behind them may clash with them
        self.outgoing: set[str] = set()  # models that will be unloaded for those
        self._needed_shut: dict[int, str] = {}  # run id -> the model for which its gate is shut
        self._in_the_way: dict[int, float] = {}  # id of a busy run that is waited for -> since when
        self._looks: list[float] = []  # when something may be done that cannot be done yet

    def run(self) -> Question | None:
        if not self._world.is_observed:
            return self._look_inside()
        self._admit_loaded()
        question = self._ask_unloading() or self._serve_all()
        if question is None:
            preloading = () if self._waiting.models() else self._preload(self._world)
            freeing = [model for model, reason in self.reasons.items() if reason.kind == "freeing"]
            self._world.freeing.keep_only([*freeing, *preloading])
            self._world.settle_gates(self._needed_shut, self._waiting.models())
            self._world.settle_checks(self._in_the_way)
            question = self._ask_relief() or self._ask_ttl() or self._ask_room()
        return question

    @property
    def look_at(self) -> float | None:
        """When to decide again, if nothing happens before."""
        return min(self._looks, default=None)

    def _look_inside(self, *, watch: bool = False) -> LookInside:
        """For a policy that wants to know. While requests wait, a run that becomes idle may change its answer."""
        serving = [run for run in self._world.runs.values() if run.state.is_serving]
        return LookInside(_ids(serving), watch or bool(self._waiting.models()))

    def _admit_loaded(self) -> None:
        """Admit the requests that joined a load before any request in front can shut its gate: it was loaded for them.

        Not if the policy now wants a model unloaded for it that was started beside it meanwhile.
        """
        for run in self._world.runs.values():
            if run.is_new:
                run.is_new = False
                if not self._world.evict(run.model, self._world.existing()):
                    self._admit(run)

    def _ask_unloading(self) -> ShutGates | None:
        runs = [run for run in self._world.runs.values() if run.state is RunState.UNLOADING and run.has_news]
        return ShutGates(_ids(runs)) if runs else None

    def _ask_relief(self) -> ShutIfIdle | LookInside | None:
        world = self._world
        runs = [run for run in world.runs.values() if run.model in world.models]
        return self._ask(ask_relief(world.in_force.rules, runs, self._waiting.has, world.now))

    def _ask_room(self) -> ShutIfIdle | LookInside | None:
        world, turn = self._world, self._has_turn
        return self._ask(ask_room(world.runs.values(), world.models, turn, world.now, has_looked=world.has_looked))

    def _ask(self, ask: Ask) -> ShutIfIdle | LookInside | None:
        world = self._world
        world.asked_why = ask.why or world.asked_why
        self._looks += ask.looks
        for run in ask.sleepers:
            world.stop(run, *world.asked_why)
        return self._look_inside(watch=True) if ask.watches else ask.question

    def _has_turn(self, model: str, queued: str) -> bool:
        """Whether requests wait for `model`, and not for `queued` to load, nor for anybody who does."""
        found = [model]
        for other in found:
            found += [one for one in (self.reasons[other].others if other in self.reasons else ()) if one not in found]
        return self._waiting.has(model) and queued not in found

    def _ask_ttl(self) -> ShutIfIdle | None:
        world = self._world
        for run in world.runs.values():
            is_idle = run.state in (RunState.READY, RunState.SLEEPING)
            if is_idle and run.deadline is not None and run.deadline <= world.now:
                if self._waiting.has(run.model):
                    run.deadline = world.ttl_look(run, world.now)
                elif run.state is RunState.SLEEPING:
                    world.stop(run, "ttl", "its ttl is over, and it sleeps")
                else:
                    world.asked_why = "ttl", "its ttl is over"
                    return ShutIfIdle((run.run_id,), world.models[run.model].ttl)
        return None

    def _serve_all(self) -> Question | None:
        self.order = self._waiting.order(self._world.now)
        self._world.unfit = {model: since for model, since in self._world.unfit.items() if self._waiting.has(model)}
        for model in self.order:
            question = self._serve(model)
            if question is not None:
                self.asked_for = model
                return question
        # Somebody was let in or started, which may change what the policy wants for those in front.
        return None if self._world.is_observed else self._look_inside()

    def _serve(self, model: str) -> Question | None:
        """Do for `model` what can be done now.

        1. It is starting: its tickets join the load, and it holds its place.
        2. Another model must be unloaded for its start: whether it can start is checked now, not in its turn.
        3. It is shut for a model in front, or would clash with a place that is held in front: it waits.
        4. Another model must be unloaded: see `_make_room`.
        5. All that must be unloaded is on its way out, or its own last run is: it waits for the exits and holds its
           place. A run that may take as long as its requests do is checked while it is in the way: see
           `_attend_retired`.
        6. Nothing is in the way: its tickets are admitted, or it starts on GPUs of nobody in front: `_load_if_free`.

        Before 2, one that does not fit whatever goes for it is turned away. What sleeps is woken, without a check.
        """
        run = self._world.by_model.get(model)
        if run is not None and run.state.is_loading:  # 1
            self._hold_place(model, ())
            self._note_load(run)
            return None
        is_up = run is not None and run.state.is_up
        is_there = is_up or (run is not None and run.state.can_wake)
        if not is_up and (refusal := self._world.refusal(model)):
            self._turn_away(model, refusal)
            return None
        self._world.unfit.pop(model, None)
        if not (is_there or self._waiting.is_checked(model)) and self._world.evict(model, self._world.staying()):  # 2
            self._note(model, "busy", self._world.evict(model, self._world.staying()))  # until the answer says more
            return CheckLaunch(model)
        if holder := self._needed_shut.get(run.run_id) if run and is_up else self._clash(model):  # 3
            self._wait_behind(model, holder)
            return None
        retired = self._attend_retired(model)
        if victims := self._world.evict(model, self._world.staying()):  # 4
            if not is_up and self.outgoing and not self._world.evict(model, self._future()):
                self._wait_for_outgoing(model)
                return None
            return self._make_room(model, victims, is_there)
        leaving = self._world.evict(model, self._world.existing())
        if leaving or (run is not None and run.state.is_leaving):  # 5
            self._hold_place(model, ())
            going = [other for other, its in self._world.by_model.items() if its.state.is_leaving]
            others = [other for other in leaving or [model] if other in going] or going
            self._note(model, "busy" if retired else "stopping", retired or others)
        elif run is not None and is_up:  # 6
            self._admit(run)
        elif (placement := self._world.place(model, self.places)) is None:
            self._wait_for_outgoing(model)
        else:
            return self._load_if_free(model, placement, is_there)
        return None

    def _turn_away(self, model: str, refusal: NoRoom) -> None:
        """For good, or when it has not fitted for a while: what has ended may yet give its memory back."""
        until = self._world.unfit.setdefault(model, self._world.now) + FREEING
        run = self._world.by_model.get(model)
        if until > self._world.now and not refusal.is_final:
            self._looks.append(until)
            self.reasons[model] = Reason("no room", room=refusal.room)
            return
        del self._world.unfit[model]
        if refusal.is_elsewhere and run is not None:
            if run.state is RunState.SLEEPING:
                self._world.stop(run, "swap", "there is no room for it where it sleeps")
            self._note(model, "stopping", [model])
            return
        fault = Fault.NEVER_FITS if refusal.is_final else Fault.SHORTAGE
        tickets = self._waiting.remove_all(model)
        self._world.out += [Refuse(ticket, fault, refusal.message) for ticket in tickets]

    def _wait_for_outgoing(self, model: str) -> None:
        """What goes for those in front makes room for this one too."""
        self._hold_place(model, ())
        self._note(model, "stopping", [other for other in self._world.by_model if other in self.outgoing])

    def _make_room(self, model: str, victims: Collection[str], is_there: bool) -> Question | None:
        """Have `victims` unloaded: idle ones all at once; busy ones only for a model that is overdue.

        Until then, what is loaded keeps serving, so A B C A B C becomes A A B B C C. A victim that loads for waiting
        requests may finish its load and serve them first; one that loads for no request goes with the others. A victim
        that holds a place in front is left alone: it may be loaded, and wait for others to stop before it serves.

        No run is shut or stopped for a model that then could not start: unless it is there, that is checked before, and
        an older check does not count once something has happened.
        """
        is_overdue = self._waiting.is_overdue(model, self._world.now)
        if is_overdue or self._waiting.is_claimed(model):
            self._hold_place(model, victims)
        runs = [self._world.by_model[victim] for victim in victims]
        loading = [run for run in runs if run.state.is_loading]
        wanted = [run.model for run in loading if self._waiting.has(run.model)]
        if wanted:
            self._note(model, "loading for others", wanted)
            return None
        if holder := next((victim for victim in victims if victim in self.places), ""):
            self._wait_behind(model, holder)
            return None
        live = [run for run in runs if not run.state.is_loading]
        self._note(model, "busy" if live else "stopping", [run.model for run in live or loading])
        self._note_in_the_way(model, live)
        if not is_overdue and (until := self._residency(live)) > self._world.now:
            self._looks.append(until)
            self._note(model, "resident", [run.model for run in live])
            return None
        unwanted = loading if is_overdue or not live else []
        question = self._question_for(model, live, is_overdue)
        hanging = [run for run in live if run.silence is not None and run.silence.proof]
        if question or not is_overdue:
            hanging = []
        if (unwanted or question or hanging) and not (is_there or model in self._world.launchable):
            return CheckLaunch(model)
        if unwanted:
            self._stop_loading(model, unwanted, victims)
        for run in hanging:
            self._end_hung(model, run)
        return question

    def _residency(self, live: list[Run]) -> float:
        """Until when the youngest of them stays, as the rules want it."""
        stays = self._world.in_force.rules.stays
        return max([run.ready_at + stays for run in live if run.ready_at is not None], default=0.0) if stays else 0.0

    def _question_for(self, model: str, live: list[Run], is_overdue: bool) -> Question | None:
        """What to ask of the gates of the victims that serve; None if there is nothing to ask now."""
        if is_overdue:
            return self._shut(model, live)
        return None if not live or any(run.is_watched for run in live) else ShutIfIdle(_ids(live))

    def _stop_loading(self, model: str, loading: list[Run], victims: Collection[str]) -> None:
        if not self._waiting.is_claimed(model):
            self._world.report_swap(model)
        for run in loading:
            self._world.stop(run, "swap", f"to make room for {model}")
            self._waiting.claim(model)
            self._hold_place(model, victims)

    def _shut(self, model: str, live: list[Run]) -> ShutGates | None:
        """Ask for all gates at once, and again whenever one of them may have emptied."""
        for run in live:
            self._needed_shut.setdefault(run.run_id, model)
        is_known = all(run.state is RunState.DRAINING and not run.has_news for run in live)
        return None if is_known else ShutGates(_ids(live))

    def _end_hung(self, model: str, run: Run) -> None:
        if not self._waiting.is_claimed(model):
            self._world.report_swap(model)
        self._world.end_hung(run, model)
        self._waiting.claim(model)
        self._note(model, "stopping", [run.model])

    def _attend_retired(self, model: str) -> list[str]:
        """Have the runs in the way checked that may take as long as their requests do: such a run may hang.

        Returns the models of those that go on.
        """
        untimed = [run for run in self._world.runs.values() if run.is_untimed]
        if not untimed:
            return []
        in_the_way = {model, *self._world.evict(model, self._world.existing())}
        retired = [run for run in untimed if run.model in in_the_way]
        self._note_in_the_way(model, retired)
        if self._waiting.is_overdue(model, self._world.now):
            for run in retired:
                if run.silence is not None and run.silence.proof:
                    self._world.end_hung(run, model)
        return [run.model for run in retired if run.is_untimed]

    def _note_in_the_way(self, model: str, live: list[Run]) -> None:
        since = self._waiting.since(model)
        for run in live:
            self._in_the_way[run.run_id] = min(since, self._in_the_way.get(run.run_id, since))

    def _clash(self, model: str) -> str:
        """The model in front with which `model` would clash, judged by what will run then; '' for none."""
        if not self.places:
            return ""
        return find_clash(model, self.places, self._remaining(), self._is_up, self._world.evict)

    def _remaining(self) -> list[str]:
        return [other for other in self._world.staying() if other not in self.outgoing]

    def _future(self) -> list[str]:
        """What will run once those in front have started."""
        return list(dict.fromkeys([*self._remaining(), *self.places]))

    def _is_up(self, model: str) -> bool:
        run = self._world.by_model.get(model)
        return run is not None and run.state.is_up

    def _wait_behind(self, model: str, holder: str) -> None:
        run = self._world.by_model.get(holder)
        is_loading = run is not None and run.state.is_loading
        self._note(model, "loading for others" if is_loading else "after", [holder])

    def _hold_place(self, model: str, victims: Collection[str]) -> None:
        if model not in self.places:
            self.places.append(model)
        self.outgoing.update(victims)

    def _admit(self, run: Run) -> None:
        """Let in who waits for it; while it moves, they join that as they join a load, or wait until it is found."""
        if run.is_moving or run.is_unreachable:
            self._hold_place(run.model, ())
            self._note(run.model, "loading" if run.is_moving else "unreachable")
            return
        if run.state is RunState.DRAINING:
            self._world.become_ready(run)
        tickets = self._waiting.remove_all(run.model)
        run.inside += len(tickets)  # a policy of the user's own may be asked about others yet
        self._world.out += [Admit(ticket, run.run_id) for ticket in tickets]
        if tickets:
            self._world.note_change()

    def _load_if_free(self, model: str, placement: Placement, is_there: bool) -> Question | None:
        """Or hold its place until its devices show the memory of what has just ended or fallen asleep.

        What sleeps, and holds memory that it needs, is stopped.
        """
        heavy = self._world.heavy_sleepers(model, placement.gpus)
        if holder := next((run.model for run in heavy if run.model in self.places), ""):
            self._wait_behind(model, holder)
        elif heavy and not (is_there or model in self._world.launchable):
            return CheckLaunch(model)
        elif heavy:
            self._hold_place(model, ())
            for run in heavy:
                if run.state is RunState.SLEEPING:
                    self._world.stop(run, "swap", f"it sleeps, and holds memory that {model} needs")
            self._waiting.claim(model)
            self._note(model, "stopping", [run.model for run in heavy])
        elif wait := self._world.unfreed(model, placement.gpus):
            self._hold_place(model, ())
            self.reasons[model] = Reason("freeing", wait.unfreed.after, room=wait.unfreed.room)
        else:
            self._waiting.end_claim(model)
            self._world.load(model, placement)
            self._note_load(self._world.by_model[model])
        return None

    def _note_load(self, run: Run) -> None:
        runs, models = self._world.runs.values(), self._world.models
        leaving = tuple(leaving_for(runs, models, run)) if run.is_queued else ()
        reason = Reason("queued", leaving, told=run.reason) if run.is_queued else Reason("loading")
        self.reasons[run.model] = reason

    def _note(self, model: str, kind: str, others: Collection[str] = ()) -> None:
        by_model = self._world.by_model
        known = [by_model[other] for other in others if other in by_model]
        silent = tuple([(run.model, run.silence) for run in known if run.silence is not None and kind == "busy"])
        room = self._world.room(model) if others and kind != "after" else ""
        if kind == "stopping" and known and all(run.state is RunState.FALLING_ASLEEP for run in known):
            kind = "falling asleep"
        self.reasons[model] = Reason(kind, tuple(others), sum([run.inside for run in known]), silent, room)


def _ids(runs: list[Run]) -> tuple[int, ...]:
    return tuple(run.run_id for run in runs)
