"""All runs that exist, the changes that can be made to them, and what the policy says of them.

Pure; part of the scheduler. Each method changes a run and adds the effect that belongs to the change, so that both
always agree.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from llamaswap_lib.core.effects import (
    AbortRequests,
    BeginChecks,
    DropRun,
    Effect,
    EndChecks,
    KillProcess,
    OpenGate,
    PutToSleep,
    ReportSwap,
    ShutGate,
    StartProcess,
    StopKind,
    StopProcess,
    WakeUp,
    WriteLog,
)
from llamaswap_lib.core.eviction import NOWHERE, NoRoom, Placement, Rules, RunningModel
from llamaswap_lib.core.freeing import Freeing, Wait
from llamaswap_lib.core.in_force import InForce, with_time
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.run import Run, RunState, Silence

RETIRED = "the configuration has changed"
CHECK_AFTER = 1.0  # seconds that a request waits for a busy run before the run is checked: most waits are shorter


class World:
    """The runs by id and by model (a model has one at most), and the effects that are due."""

    def __init__(self, models: Mapping[str, ModelSpec], rules: Rules) -> None:
        self.in_force = InForce(models, rules)
        self.runs: dict[int, Run] = {}
        self.by_model: dict[str, Run] = {}
        self.out: list[Effect] = []
        self.now = 0.0
        self.load_times: Mapping[str, float] = {}  # model -> seconds, the last loads counting most; never changed
        self.wake_times: Mapping[str, float] = {}  # the same of the times that it took to wake
        self.launchable: set[str] = set()  # models that can be started, as was found since the last event
        self.is_observed = True  # the policy was told what runs now, or need not be told
        self.has_looked = False  # who is inside each run was asked since the last event
        self.cut_short: dict[str, int] = {}  # the last run of each model that was stopped with requests inside
        self.hung: dict[str, tuple[int, str]] = {}  # the last one that hung, and the error of the requests inside
        self.freeing = Freeing()
        self.unfit: dict[str, float] = {}  # model that is waited for and does not fit now -> since when
        self.asked_why: tuple[StopKind, str] = ("ttl", "")  # why gates are asked to shut, if not for a model
        self.incarnations: dict[str, int] = {}
        self.former: dict[str, ModelSpec] = {}  # models that are not configured any more, and still run
        self.next_run_id = 1

    def __repr__(self) -> str:
        retired = " ".join({**self.former, **self.in_force.blocked})
        return f"runs[{' '.join(map(repr, self.runs.values()))}]{retired and f' retired[{retired}]'}"

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        return self.in_force.models

    # -- changes --

    def load(self, model: str, placement: Placement = NOWHERE, *, is_preloaded: bool = False) -> None:
        """Start it, or wake it if it sleeps."""
        wait = self.freeing.waits.get(model)
        if line := self.freeing.end(model, self.now):
            self.out.append(WriteLog(*line))
        if room := self.in_force.rules.room:
            is_early = wait is not None and wait.is_over
            room.note_start(model, self._known(), placement.gpus, is_early=is_early)
        if sleeper := self.by_model.get(model):
            sleeper.move(RunState.WAKING)
            sleeper.ready_at, sleeper.asleep_since = None, None
            sleeper.woken_at = sleeper.loading_since = self.now
            self.out.append(WakeUp(sleeper.run_id))
        else:
            self._start(model, placement, is_preloaded=is_preloaded)
        self.note_change()

    def _start(self, model: str, placement: Placement, *, is_preloaded: bool) -> None:
        incarnation = self.incarnations[model] = self.incarnations.get(model, 0) + 1
        run = Run(self.next_run_id, model, incarnation, self.now, gpus=placement.gpus, loading_since=self.now)
        run.is_queued, run.is_preloaded = self.models[model].is_announced, is_preloaded
        if run.is_queued:
            run.deadline = self._queued_until(run)
        self.next_run_id += 1
        self.runs[run.run_id] = self.by_model[model] = run
        self.out.append(StartProcess(run.run_id, model, placement))

    def become_ready(self, run: Run) -> None:
        """It has loaded, or is DRAINING and its gate need not be shut any more: its ttl starts again."""
        if run.state.is_loading:
            run.ready_at, run.is_new = self.now, True
            took = run.load_took = self.now - run.loading_since
            if run.state is RunState.WAKING:
                self.wake_times = with_time(self.wake_times, run.model, took)
            else:
                self.load_times = with_time(self.load_times, run.model, took)
            if room := self.in_force.rules.room:
                room.note_ready(run.model)
        run.move(RunState.READY, self.ttl_look(run, self.now))

    def unload(self, run: Run, timeout: float) -> None:
        """Let its requests finish for `timeout` seconds at most, then stop it; stop at once if it loads or sleeps."""
        if run.state.is_loading or run.state.can_wake:
            done = "loading" if run.state is RunState.STARTING else run.state.value
            self.stop(run, "unload", f"unloaded while it was {done}")
        elif run.state is RunState.UNLOADING:
            by = self.now + timeout
            run.deadline = by if run.deadline is None else min(run.deadline, by)
        elif run.state is not RunState.STOPPING:
            run.move(RunState.UNLOADING, self.now + timeout)
            run.has_news = True

    def retire(self, run: Run) -> None:
        """Its model was removed or has changed: admit no more requests, and stop it once it is empty.

        Others may have to wait for its end, even if it sleeps: for its port, say.
        """
        run.is_retired = True
        run.asleep_since = None
        if run.state.is_loading or run.state.can_wake:
            self.stop(run, "reload", RETIRED)
        elif run.state.is_up:
            run.move(RunState.UNLOADING)
            run.has_news = True

    def unload_timeout(self, model: str) -> float:
        """Of a model that is configured, or that was and still runs."""
        return (self.models.get(model) or self.former[model]).unload_timeout

    def stop(self, run: Run, kind: StopKind, reason: str) -> None:
        run.move(RunState.STOPPING, self.now + self.unload_timeout(run.model))
        self.out.append(StopProcess(run.run_id, kind, reason))

    def put_away(self, run: Run, reason: str) -> None:
        """It has to make room: have it sleep, if its server can, else stop it."""
        if self.can_sleep(run):
            run.move(RunState.FALLING_ASLEEP)
            self.out.append(PutToSleep(run.run_id, reason))
        else:
            self.stop(run, "swap", reason)

    def can_sleep(self, run: Run) -> bool:
        """Now: one whose server is out of reach is stopped, since that may never say whether it fell asleep."""
        is_there = run.state.is_up and not run.is_unreachable
        return is_there and run.model in self.models and self.models[run.model].can_sleep

    def end_hung(self, run: Run, target: str) -> None:
        """Stop it even if requests are inside: it is known to hang, and a request has waited for too long."""
        assert run.silence is not None, f"{run!r} does not hang"
        why = f"it {run.silence.describe(self.now)}, no byte has moved, and {run.silence.proof}"
        self.hung[run.model] = run.run_id, f"the server of {run.model} hangs: {why}; it was stopped for {target}"
        self.out += [WriteLog("warn", f"{run.model}: hangs: {why}"), AbortRequests(run.run_id)]
        self.stop(run, "hang", f"it hangs and {target} has waited for too long")

    def lose(self, run: Run) -> None:
        """Its first process has exited by itself; the others are being stopped."""
        run.has_died = True
        if run.is_open:
            self.out.append(ShutGate(run.run_id))
        run.move(RunState.STOPPING, self.now + self.unload_timeout(run.model))

    def forget(self, run: Run) -> None:
        del self.runs[run.run_id]
        del self.by_model[run.model]
        self.freeing.note_end(run.model, self.now)
        self.former.pop(run.model, None)
        if run.model in self.in_force.blocked:
            blocked = {model: others for model, others in self.in_force.blocked.items() if model != run.model}
            self.in_force = replace(self.in_force, blocked=blocked)
        if run.is_checked:
            self.out.append(EndChecks(run.run_id))
        self.out.append(DropRun(run.run_id))

    def change(
        self,
        models: Mapping[str, ModelSpec],
        replaced: Collection[str],
        rules: Rules,
        blocked: Mapping[str, frozenset[str]],
    ) -> None:
        """Other models and rules from now on: see `events.ModelsChanged`."""
        before, new = self.models, frozenset(models.keys() - self.models.keys())
        held_up = {model: others | new for model, others in self.in_force.blocked.items()}
        self.in_force = InForce(models, rules)
        known = {**self.former, **before}
        self.former = {model: known[model] for model in self.by_model if model not in models}
        for run in list(self.runs.values()):
            if run.model not in models or run.model in replaced:
                self.retire(run)
            elif run.state in (RunState.READY, RunState.SLEEPING) and models[run.model].ttl != before[run.model].ttl:
                run.deadline = self.idle_until(run)  # a look, which sets the next one
            elif run.phase == "queued":
                run.deadline = self._queued_until(run)
            if run.is_retired:
                others = held_up.get(run.model, frozenset())
                held_up[run.model] = others | blocked.get(run.model, frozenset())
        self.in_force = replace(self.in_force, blocked=held_up)
        kept = models.keys() - replaced
        self.load_times = {model: seconds for model, seconds in self.load_times.items() if model in kept}
        self.wake_times = {model: seconds for model, seconds in self.wake_times.items() if model in kept}
        self.expire_observation()

    def restore(self, runs: Iterable[Run], former: Mapping[str, ModelSpec]) -> None:
        """Go on with these runs. All gates are shut, and none is watched or checked yet.

        What was told to sleep or to wake is told so again: whether it did is not known here.
        """
        for run in runs:
            asked_again = replace(run, is_open=False, is_watched=False, has_news=True, is_checked=False, silence=None)
            self.runs[run.run_id] = self.by_model[run.model] = asked_again
            if run.state is RunState.FALLING_ASLEEP:
                self.out.append(PutToSleep(run.run_id, "as it was told before"))
            elif run.state is RunState.WAKING:
                self.out.append(WakeUp(run.run_id))
        self.former = dict(former)

    def report_swap(self, target: str) -> None:
        """It begins now; call this before the first run is stopped for it."""
        running = self.staying()
        why = self.in_force.rules.explain(target, tuple(running))
        evicted = tuple(self.evict(target, running))
        sleepers = tuple([model for model in evicted if self.can_sleep(self.by_model[model])])
        self.out.append(ReportSwap(target, evicted, why, sleepers))

    def meet_deadlines(self) -> None:
        """Stop runs that were unloaded, and kill those that were stopped, if their time is over."""
        for run in self.runs.values():
            if run.deadline is None or run.deadline > self.now:
                continue
            if run.state is RunState.UNLOADING and not run.has_news:  # else its gate is asked, and shut, first
                self.cut_short[run.model] = run.run_id
                self.stop(run, "unload", "unloaded, its time to finish is over")
            elif run.state is RunState.STOPPING:
                run.deadline = None
                self.out.append(KillProcess(run.run_id))

    def settle_gates(self, needed_shut: Collection[int], waited_for: Collection[str]) -> None:
        """Open the gates that need not be shut any more; the fast path only if the policy wants no model unloaded.

        No request overtakes one that waits: an unusual policy may want a model unloaded until another one has started.
        """
        for run in self.runs.values():
            if run.state is RunState.DRAINING and run.run_id not in needed_shut:
                self.become_ready(run)
            if run.state is RunState.READY:
                may_open = run.model not in waited_for and not (run.is_moving or run.is_unreachable)
                may_open = may_open and not self.evict(run.model, self.existing())
                if may_open != run.is_open:
                    run.is_open = may_open
                    self.out.append(OpenGate(run.run_id) if may_open else ShutGate(run.run_id))

    def settle_checks(self, in_the_way: Mapping[int, float]) -> None:
        """Have the runs checked that requests wait for to stop. `in_the_way`: run id -> since when."""
        for run in self.runs.values():
            since = in_the_way.get(run.run_id) if run.state.is_up or run.is_untimed else None
            run.check_at = None if since is None or run.is_checked else since + CHECK_AFTER
            if since is None and run.is_checked:
                self.end_checks(run)
            elif run.check_at is not None and run.check_at <= self.now:
                run.is_checked, run.check_at = True, None
                self.out.append(BeginChecks(run.run_id))

    def end_checks(self, run: Run) -> None:
        run.is_checked, run.silence = False, None
        self.out.append(EndChecks(run.run_id))

    def note_silence(self, run: Run, silence: Silence) -> None:
        """The log has each silence once."""
        if run.silence is None:
            message = f"{run.model}: {silence.describe(self.now)}, and requests wait for it to stop"
            self.out.append(WriteLog("warn", message))
        run.silence = silence

    # -- questions --

    def may_serve(self, run_id: int) -> bool:
        """Whether it exists where it was, and is not known to be ending."""
        run = self.runs.get(run_id)
        return run is not None and run.state is not RunState.STOPPING and not run.is_moving

    def existing(self) -> list[str]:
        """The models that run, those on their way out too; but for what sleeps, or has slept until it was stopped."""
        return [run.model for run in self.runs.values() if run.asleep_since is None]

    def staying(self) -> list[str]:
        """Those of them that are not on their way out."""
        return [run.model for run in self.runs.values() if not run.state.is_leaving and run.asleep_since is None]

    def evict(self, target: str, running: Collection[str]) -> list[str]:
        """What the policy wants unloaded, unknown names left out; all of `running` if it fails."""
        try:
            return self.in_force.evict(target, running)
        except Exception:  # noqa: BLE001 - a user's own policy may raise anything, and must not stop the server
            self.out.append(WriteLog("error", f"the policy failed for {target}:\n{traceback.format_exc()}"))
            return self.in_force.everybody(target, running)

    def place(self, target: str, in_front: Collection[str]) -> Placement | None:
        """Where it starts, beside all that runs and those in front that are to start; None if there is no place yet."""
        rules = self.in_force.rules
        if rules.place is None:
            return NOWHERE
        beside = dict.fromkeys([*self.existing(), *in_front])
        return rules.place(target, tuple(model for model in beside if model in self.models))

    def room(self, target: str) -> str:
        """The memory that it waits for, '' where that is not what it waits for."""
        rules = self.in_force.rules
        return rules.explain(target, self._known()).room if rules.refuse else ""

    def unfreed(self, target: str, gpus: tuple[str, ...]) -> Wait | None:
        """What has just ended and what of its memory `target`, for which nobody has to go, waits for yet."""
        room = self.in_force.rules.room
        return self.freeing.find(target, room, self._known(), gpus, self.now) if room else None

    def heavy_sleepers(self, target: str, gpus: tuple[str, ...]) -> list[Run]:
        """The runs that sleep, or are being stopped since then, and hold what `target` needs on these GPUs."""
        room, runs = self.in_force.rules.room, self.runs.values()
        since = {run.model: run.asleep_since for run in runs if run.asleep_since is not None and run.model != target}
        if room is None or not since:
            return []
        return [self.by_model[model] for model in room.heavy_sleepers(target, self._known(), gpus, since)]

    def _known(self) -> tuple[str, ...]:
        """The models that run and are configured."""
        return tuple(model for model in self.existing() if model in self.models)

    def refusal(self, target: str) -> NoRoom | None:
        """Why it cannot be loaded even if all go that may; None also if the policy fails, which says so elsewhere."""
        try:
            return self.in_force.refusal(target, self.staying())
        except Exception:  # noqa: BLE001 - as for `evict`
            return None

    def expire_observation(self) -> None:
        """Something happened: what was found before, and what the policy was told, may be out of date."""
        self.launchable.clear()
        self.has_looked = False
        self.is_observed = self.in_force.rules.observe is None

    def note_change(self) -> None:
        """Who runs, or is busy, has changed within a decision: the memory policy is to know before the next model."""
        self.is_observed = self.is_observed and self.in_force.rules.still is None

    def observe(self, gates: Mapping[int, tuple[int, float]], watch: bool, stands: Callable[[str], bool]) -> None:
        """Note what the gates said, and tell the policy, which keeps its answers only for the targets in `stands`."""
        for run_id, (inside, idle_since) in gates.items():
            run = self.runs[run_id]
            run.inside, run.idle_since = inside, idle_since
            run.is_watched = run.is_watched or (watch and inside > 0)
        self.is_observed = self.has_looked = True
        if self.in_force.rules.observe:
            self.in_force.rules.observe(self._view, stands)

    def _view(self, model: str) -> RunningModel:
        run = self.by_model.get(model)
        load_seconds = self.in_force.seconds_to_return(model, self.load_times, self.wake_times)
        if run is None or not run.state.is_serving:
            is_asleep = run is not None and run.state is RunState.SLEEPING
            state = "sleeping" if is_asleep else run.state.public_name if run else "starting"
            gpus, is_planned = run.gpus if run else (), is_asleep or run is None
            seen = RunningModel(model, state, load_seconds=load_seconds, is_planned=is_planned, gpus=gpus)
            return replace(seen, asleep_since=run.asleep_since) if run else seen
        ready_at = run.ready_at or 0.0
        idle_seconds = 0.0 if run.inside else max(0.0, self.now - max(run.idle_since, ready_at))
        seen = RunningModel(model, run.state.public_name, idle_seconds, run.inside, load_seconds, gpus=run.gpus)
        return replace(seen, ready_seconds=max(0.0, self.now - ready_at))

    def ttl_look(self, run: Run, since: float) -> float | None:
        """When to look whether the run has been idle for its ttl, if it is idle since `since`; None for never."""
        ttl = self.models[run.model].ttl
        return since + ttl if ttl > 0 else None

    def idle_until(self, run: Run) -> float | None:
        """When it has been idle for its ttl, awake and asleep, if no request came since it was last asked."""
        return self.ttl_look(run, max(run.idle_since, run.ready_at or 0.0))

    def _queued_until(self, run: Run) -> float | None:
        """Until when it may be queued; None for no bound."""
        timeout = self.models[run.model].queue_timeout
        return run.started_at + timeout if timeout > 0 else None

    def next_deadline(self) -> float | None:
        times = [time for run in self.runs.values() for time in (run.deadline, run.check_at)]
        times.append(self.freeing.next_deadline(self.now))
        return min((time for time in times if time is not None), default=None)
