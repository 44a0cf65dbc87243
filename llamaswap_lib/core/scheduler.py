"""Decides which run starts, which stops, and which requests may enter. Events in, effects out; `now` is an argument.

Pure; the controller thread is the only one that calls it. It guarantees that

- every ticket is answered exactly once, with `Admit` or `Refuse`;
- no request waits for a model that is backing off: it is refused at once;
- no run is shut or stopped for a model that is known to be unable to start: its load has failed then;
- a run is stopped or put to sleep only on an answer that says that its gate is shut and no request is inside; or
  stopped when an unload ran out of time, or when it is known to hang and a request is overdue that needs it to stop;
- where the server of a model can sleep, it is put to sleep for a swap in place of being stopped, and woken in place of
  being started; it is stopped if it does not fall asleep or wake, or holds memory that another model needs;
- a change of the configuration breaks no request: a retired run gets no more requests and is stopped once it is empty,
  and requests that wait for a model that is still configured go on waiting;
- a run starts, and admits requests, only while the policy wants none of the existing processes unloaded;
- nobody goes for a model that does not fit whatever goes, and its requests wait for `FREEING` seconds at most;
- where the rules say how long a model stays, it goes for another one sooner only if a request has waited `max_wait`;
- no ticket waits longer than `max_wait`, the swap under way, for each other model in front one (longest request, stop
  and load), and its own load, whose job may be queued elsewhere before. A request inside a run that hangs lasts until
  the scheduler learns that it hangs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from llamaswap_lib.core import events
from llamaswap_lib.core.decision import Pass
from llamaswap_lib.core.effects import Effect, Fault, LookInside, Question, Refuse, ShutGates, ShutIfIdle, Unloaded
from llamaswap_lib.core.eviction import Evict, Explain, Observe, Rules, unexplained
from llamaswap_lib.core.failing import Failing
from llamaswap_lib.core.failures import ModelFailure, ModelFailures
from llamaswap_lib.core.handover import State
from llamaswap_lib.core.in_force import InForce
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.news import RunNews
from llamaswap_lib.core.plan import Published
from llamaswap_lib.core.preload import Preload
from llamaswap_lib.core.relief import sharing
from llamaswap_lib.core.run import Run, RunState
from llamaswap_lib.core.snapshot import Queue, Reason, RunView, Snapshot, view_queue, view_runs
from llamaswap_lib.core.waiting import Orphan, Orphans, WaitingRoom
from llamaswap_lib.core.world import RETIRED, World

_CLOSING = "the server is shutting down"


class Scheduler:
    """The one place where swap state lives."""

    def __init__(
        self,
        models: Mapping[str, ModelSpec],
        evict: Evict,
        max_wait: float,
        *,
        explain: Explain = unexplained,
        observe: Observe | None = None,
        rules: Rules | None = None,
    ) -> None:
        """`max_wait` in seconds: for a request that has waited longer, the gates in front are shut; 0 for never.

        `explain` says why the models that `evict` names are unloaded. `observe` is told what runs before `evict` is
        asked. `rules` are all of these, and what else a policy may want.
        """
        self._world = World(models, rules or Rules(evict, explain, observe))
        self._waiting = WaitingRoom({model: spec.priority for model, spec in models.items()}, max_wait)
        self._failures = ModelFailures()
        self._failing = Failing(self._world, self._waiting, self._failures)
        self._news = RunNews(self._world, self._failing)
        self._orphans = Orphans(self._is_looked_for)
        self._preload = Preload(self._failures)
        self._unloads: dict[int, set[int]] = {}  # ticket -> run ids that have yet to exit
        self._is_closing = False
        self._asked_for = ""
        self._order: list[str] = []
        self._reasons: dict[str, Reason] = {}
        self._places: Sequence[str] = ()
        self._outgoing: Collection[str] = ()
        self._look_at: float | None = None

    def __repr__(self) -> str:
        return f"<scheduler {self._world!r} {self._waiting!r} unloads[{len(self._unloads)}]>"

    def handle(self, event: events.Event, now: float) -> list[Effect]:
        """Take note of `event` and say what to do, in order. Monotonic seconds; `now` never goes back."""
        world = self._world
        world.now = now
        if not isinstance(event, events.GatesAnswered | events.LaunchChecked):
            world.expire_observation()
        self._note(event)
        world.meet_deadlines()
        self._failing.settle_queued()
        self._settle_orphans()
        decision = Pass(world, self._waiting, self._preload.go_on)
        question = decision.run()
        while self._settle_orphans() and question is None:  # whose run was stopped: they are in the line from now on
            decision = Pass(world, self._waiting, self._preload.go_on)
            question = decision.run()
        self._failing.settle()
        if question:
            world.out.append(question)
        self._asked_for = decision.asked_for
        self._remember(decision, question)
        effects, world.out = world.out, []
        return effects

    def next_deadline(self) -> float | None:
        """When `TimePassed` is due at the latest, if nothing happens before."""
        times = (self._world.next_deadline(), self._waiting.next_overdue(self._world.now), self._look_at)
        return min((time for time in (*times, self._orphans.next_deadline()) if time is not None), default=None)

    def runs(self) -> tuple[RunView, ...]:
        return view_runs(self._world.runs.values())

    def failing(self) -> Mapping[str, ModelFailure]:
        """The models whose last load failed, or that keep dying; never changed, but replaced."""
        return self._failures.failing

    def snapshot(self) -> Snapshot:
        """What runs and which requests wait for what, as immutable data."""
        runs = self.runs()
        return Snapshot(runs, view_queue(self.queue(), runs, self._world.now))

    def queue(self) -> Queue:
        """Which requests wait, as of the last decision; cheap, because it is taken after each."""
        waiting = self._waiting
        models = [model for model in self._order if waiting.has(model)]
        tickets = [waiting.tickets(model) for model in models]
        urgent = [model for model in models if waiting.is_urgent(model, self._world.now)]
        known = (self._reasons, self._world.load_times, urgent, self._places, self._outgoing)
        return Queue(models, tickets, *known, tuple(self._world.freeing.waits), self._world.wake_times)

    def published(self) -> Published:
        """For everybody to read, until the next decision is made."""
        return Published(self.runs(), self.queue(), self._world.in_force)

    def hand_over(self) -> State:
        """All that another one needs to go on from here. Call it between two decisions."""
        world, waiting = self._world, self._waiting
        return State(
            models=world.models,
            former=world.former,
            blocked=world.in_force.blocked,
            runs=tuple([replace(run) for run in world.runs.values()]),
            next_run_id=world.next_run_id,
            incarnations=world.incarnations,
            load_times=world.load_times,
            wake_times=world.wake_times,
            cut_short=world.cut_short,
            hung=world.hung,
            failures=self._failures.records(),
            preload=self._preload.models(),
            tickets=waiting.everybody(),
            orphans=self._orphans.everybody(),
            claims=waiting.claims(),
            unloads={ticket: frozenset(runs) for ticket, runs in self._unloads.items()},
            ended=world.freeing.ended,
            second_tries=frozenset(self._failing.second_tries),
            floors=self._failing.floors(),
        )

    def _restore(self, state: State) -> None:
        world = self._world
        world.in_force = InForce(state.models, world.in_force.rules, state.blocked)
        world.restore(state.runs, state.former)
        world.next_run_id, world.incarnations = state.next_run_id, dict(state.incarnations)
        world.load_times, world.wake_times = state.load_times, state.wake_times
        world.cut_short, world.hung = dict(state.cut_short), dict(state.hung)
        world.freeing.ended = state.ended
        self._failing.restore(state.second_tries, state.floors)
        self._failures.restore(state.failures)
        self._preload.add(state.preload)
        for ticket, runs in state.unloads.items():
            if runs:
                self._unloads[ticket] = set(runs)
            else:
                world.out.append(Unloaded(ticket))
        for run in world.runs.values():
            run.is_unreachable = False
            self._news.watch(run)
        for waiting in state.tickets:
            self._arrive(events.RequestArrived(waiting.ticket, waiting.model), waiting.since)
        for orphan in state.orphans:
            self._arrive_once_more(orphan)
        for model in state.claims:
            self._waiting.claim(model)

    def _remember(self, decision: Pass, question: Question | None) -> None:
        """Order and reasons. A pass that ended with a question knows only some; the last pass knows the rest."""
        if decision.order is not None:
            self._order = decision.order
        self._reasons = {**self._reasons, **decision.reasons} if question else decision.reasons
        self._places, self._outgoing, self._look_at = decision.places, decision.outgoing, decision.look_at

    # -- what happened --

    def _note(self, event: events.Event) -> None:
        match event:
            case events.RequestArrived():
                self._arrive(event, self._world.now)
            case events.RequestAbandoned(ticket):
                self._abandon(ticket)
            case events.PreloadRequested(models):
                self._preload.add([model for model in models if model in self._world.models and not self._is_closing])
            case events.LoadDemanded(model):
                self._failures.pardon([model])
            case events.UnloadRequested(ticket, models):
                self._unload(ticket, models, None)
            case events.ShutdownRequested(ticket, grace):
                self._shut_down(ticket, grace)
            case events.ModelsChanged():
                self._change_models(event)
            case events.GatesAnswered():
                self._take_answer(event)
            case events.LaunchChecked(model, problem):
                self._take_check(model, problem)
            case events.TimePassed():
                pass
            case _:
                if run := self._world.runs.get(event.run_id):  # else a late fact about a dead run
                    self._note_run(run, event)

    def _note_run(self, run: Run, event: events.RunEvent) -> None:
        if isinstance(event, events.ProcessExited):
            self._forget(run, event)
        else:
            self._news.take(run, event)
        if isinstance(event, events.RunReached):
            for orphan in self._orphans.take_unsent(run.run_id):
                self._waiting.add(orphan.ticket, orphan.model, self._world.now)

    def _is_looked_for(self, run_id: int) -> bool:
        return run_id in self._world.runs and self._world.runs[run_id].is_unreachable

    def _arrive_once_more(self, orphan: Orphan, now: float | None = None) -> None:
        arrived = events.RequestArrived(orphan.ticket, orphan.model, orphan.run_id, orphan.was_sent)
        self._arrive(arrived, orphan.since if now is None else now)

    def _arrive(self, arrived: events.RequestArrived, since: float) -> None:
        world, ticket, model, lost_run = self._world, arrived.ticket, arrived.model, arrived.lost_run
        if self._is_closing:
            world.out.append(Refuse(ticket, Fault.SHUTTING_DOWN, _CLOSING))
        elif model not in world.models:
            world.out.append(Refuse(ticket, Fault.UNKNOWN_MODEL, f"model not found: {model}"))
        elif lost_run is not None and (hung := world.hung.get(model)) and hung[0] == lost_run:
            world.out.append(Refuse(ticket, Fault.HUNG, hung[1]))
        elif lost_run is not None and lost_run == world.cut_short.get(model):
            world.out.append(Refuse(ticket, Fault.NOT_DEAD, "the run was stopped"))
        elif lost_run is not None and world.may_serve(lost_run):
            self._orphans.add(Orphan(ticket, model, lost_run, since, arrived.was_sent))
            self._news.doubt(world.runs[lost_run])
        elif refusal := self._failures.refusal(model, world.now):
            fault = Fault.OUT_OF_MEMORY if self._failures.is_short_of_memory(model) else Fault.BACKING_OFF
            world.out.append(Refuse(ticket, fault, *refusal))
        else:
            self._waiting.add(ticket, model, since)

    def _abandon(self, ticket: int) -> None:
        if self._waiting.remove(ticket) or self._orphans.remove(ticket):
            self._world.out.append(Refuse(ticket, Fault.ABANDONED, "the client left"))
        elif self._unloads.pop(ticket, None) is not None:  # what it began goes on
            self._world.out.append(Unloaded(ticket))

    def _forget(self, run: Run, ended: events.ProcessExited) -> None:
        """A run is gone: a load that failed, or a crash if it served, unless it was known to be ending."""
        self._world.forget(run)
        for other in sharing(self._world.runs.values(), self._world.models, run):
            other.others_left_at = self._world.now  # what it held may be given to one that is queued
        if run.state.is_loading:
            if ended.is_shortage:
                self._failing.break_off_load(run.model, ended.detail)
            else:
                self._failing.end_load(run.model, ended.detail, ended.out_of_memory)
        elif run.state is not RunState.STOPPING:
            self._failing.crash(run, ended.detail)
            self._failing.note_end(run, ended.out_of_memory)
        elif run.has_died:
            self._failing.note_end(run, ended.out_of_memory)
        elif run.ready_at is not None and not (run.is_retired or run.is_moving):
            self._failures.pardon([run.model])  # it ended well
        for ticket, pending in list(self._unloads.items()):
            pending.discard(run.run_id)
            if not pending:
                del self._unloads[ticket]
                self._world.out.append(Unloaded(ticket))

    def _settle_orphans(self) -> bool:
        """If their run is ending or gone they come once more; later the others hear that it lives. False: none."""
        for orphan in (settled := self._orphans.take_settled(self._world.may_serve, self._world.now)):
            if self._world.may_serve(orphan.run_id):
                self._world.out.append(Refuse(orphan.ticket, Fault.NOT_DEAD, "the run lives on"))
            else:
                self._arrive_once_more(orphan, self._world.now)
        return bool(settled)

    def _unload(self, ticket: int, models: Iterable[str] | None, grace: float | None) -> None:
        named = {*self._world.models, *self._world.by_model} if models is None else set(models)
        self._preload.drop(named)
        self._failures.pardon(named)  # by hand: whatever was wrong may be mended
        runs = [run for run in self._world.runs.values() if run.model in named]
        for run in runs:
            self._world.unload(run, self._world.unload_timeout(run.model) if grace is None else grace)
        if runs:
            self._unloads[ticket] = {run.run_id for run in runs}
        else:
            self._world.out.append(Unloaded(ticket))

    def _shut_down(self, ticket: int, grace: float) -> None:
        self._is_closing = True
        for model in self._waiting.models():
            self._failing.refuse_all(model, Fault.SHUTTING_DOWN, _CLOSING)
        for orphan in self._orphans.take_all():
            self._world.out.append(Refuse(orphan.ticket, Fault.SHUTTING_DOWN, _CLOSING))
        self._unload(ticket, None, grace)

    def _change_models(self, change: events.ModelsChanged) -> None:
        if self._is_closing:
            return
        if change.state is not None:
            self._restore(change.state)
        gone = [model for model in self._world.models if model not in change.models]
        self._preload.drop(gone)
        self._failures.pardon([*gone, *change.replaced])  # whatever was wrong may be mended
        self._failing.forget([*gone, *change.replaced])
        for model in gone:
            self._failing.refuse_all(model, Fault.UNKNOWN_MODEL, f"model {model} is not configured any more")
        priorities = {model: spec.priority for model, spec in change.models.items()}
        self._waiting.change_rules(priorities, change.max_wait)
        before = self._world.models
        self._world.change(change.models, change.replaced, change.rules, change.blocked)
        self._news.watch_otherwise(before)
        for orphan in self._orphans.take_of(gone):
            self._arrive_once_more(orphan, self._world.now)

    # -- answers to questions --

    def _take_check(self, model: str, problem: str) -> None:
        """As if it had been started and had failed, except that no model was unloaded for it."""
        if problem:
            self._failing.fail_load(model, f"could not start: {problem}")
        else:
            self._world.launchable.add(model)
            self._waiting.note_checked(model)

    def _take_answer(self, answer: events.GatesAnswered) -> None:
        question, gates = answer.question, answer.gates
        if isinstance(question, LookInside):
            self._world.observe(gates, question.watch, self._is_settled)
            return
        for run_id in question.run_ids:
            run = self._world.runs[run_id]
            run.inside, run.idle_since = gates[run_id]
            run.has_news = False
            if isinstance(question, ShutGates):
                self._take_shut(run)
            elif answer.done:
                self._stop_empty(run)
            else:
                self._take_no(run, question)

    def _is_settled(self, model: str) -> bool:
        """Whether the policy's answer for this model is kept: a policy that changes it must not keep it waiting."""
        waiting = self._waiting
        return waiting.is_claimed(model) or (waiting.has(model) and waiting.is_overdue(model, self._world.now))

    def _take_shut(self, run: Run) -> None:
        if run.state is RunState.READY:
            run.move(RunState.DRAINING)
        if not run.inside:
            self._stop_empty(run)

    def _take_no(self, run: Run, question: ShutIfIdle) -> None:
        run.is_watched = run.inside > 0
        if question.idle_for:
            run.deadline = self._world.ttl_look(run, self._world.now if run.inside else run.idle_since)

    def _stop_empty(self, run: Run) -> None:
        """Its gate is shut and no request is inside: only so a swap stops a run. With it, the swap has begun."""
        if run.state is RunState.UNLOADING:
            self._world.stop(run, *(("reload", RETIRED) if run.is_retired else ("unload", "unloaded")))
        elif self._asked_for:
            if not self._waiting.is_claimed(self._asked_for):
                self._world.report_swap(self._asked_for)
            self._world.put_away(run, f"to make room for {self._asked_for}")
            self._waiting.claim(self._asked_for)
        else:
            kind, reason = self._world.asked_why
            self._world.stop(run, kind, reason)
            run.reason = reason if kind == "queue" else ""
