"""What is heard of a run that exists, and what follows from it at once. Pure; part of the scheduler.

Of a server on another machine it may be heard that it cannot be reached. While it is being found out nobody enters, and
who got no connection waits too. If it is reached again they are let in. If it is not, for as long as the configuration
says, the run is lost: requests inside are broken off, so that those without a byte of their answer are tried on the
next run, and it is stopped. They are broken off too where its first process, which is here, exits: the run is over,
though its server may be silent, and hold its connections for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from llamaswap_lib.core import events
from llamaswap_lib.core.effects import AbortRequests, LookForLoss, ProbeRun, ShutGate, WatchForLoss, WriteLog
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.run import Run, RunState, Silence
from llamaswap_lib.core.world import World


class Failures(Protocol):
    """Is told how loads and runs end; see `failing.py`."""

    def note_ready(self, model: str) -> None: ...
    def fail_load(self, model: str, detail: str) -> None: ...
    def crash(self, run: Run, detail: str) -> None: ...


class RunNews:
    """Takes it in; what is late, and fits the state of the run no more, changes nothing."""

    def __init__(self, world: World, failing: Failures) -> None:
        self._world = world
        self._failing = failing

    def take(self, run: Run, event: events.RunEvent) -> None:
        match event:
            case events.RunAnnounced(_, address, is_here) if run.state is RunState.STARTING or run.state.is_up:
                run.is_here = is_here
                self._announce(run, address)
            case events.RunQueued(_, reason) if run.is_queued:
                run.reason = reason
                run.queued_at = self._world.now if run.queued_at is None else run.queued_at
            case events.ProcessReady(_, address) if run.is_probed and run.address == address:
                self._be_ready(run)
            case events.LeaderExited(_, detail) if run.ready_at is not None and run.state is not RunState.STOPPING:
                self._failing.crash(run, detail)
                self._break_off(run)
                self._world.lose(run)
            case events.LoadTimedOut(_, detail, address) if run.is_probed and run.address == address:
                self._failing.fail_load(run.model, detail)
                self._give_up(run)
            case events.RunSilent(_, since, what, proof) if run.is_checked:
                self._world.note_silence(run, Silence(since, what, proof))
            case events.RunAnswered():
                run.silence = None
            case events.RunUnreachable():
                self.doubt(run)
            case events.RunReached():
                run.is_unreachable = False
            case events.RunLost(_, detail) if self._may_be_lost(run):
                self._lose(run, detail)
            case events.GateIdle() | events.GateDrained():
                run.is_watched = False
                run.has_news = True
            case _:
                self._take_of_sleep(run, event)

    def _take_of_sleep(self, run: Run, event: events.RunEvent) -> None:
        match event:
            case events.FellAsleep() if run.state is RunState.FALLING_ASLEEP:
                self._fall_asleep(run)
            case events.SleepFailed(_, detail) if run.state is RunState.FALLING_ASLEEP:
                self._world.out.append(WriteLog("warn", f"{run.model}: could not be put to sleep: {detail}"))
                self._world.stop(run, "swap", "it did not fall asleep")
            case events.WakeFailed(_, detail) if run.state is RunState.WAKING:
                self._failing.fail_load(run.model, f"it did not wake: {detail}")
                self._world.stop(run, "load timeout", "it did not wake")

    def _announce(self, run: Run, address: str) -> None:
        """It says that it listens there. If it serves, it has moved: nobody enters before it is ready there.

        Requests that are inside go on where they are. To say so again while it is probed there gives it no more time.
        """
        if run.is_probed and run.address == address:
            return
        world = self._world
        run.address, run.loading_since = address, world.now
        if run.is_queued:
            run.is_queued, run.reason, run.deadline = False, "", None
        if run.state.is_up:
            world.out.append(WriteLog("info", f"{run.model}: moves to {address}"))
            run.is_moving, run.is_unreachable = True, False
            if run.is_open:
                run.is_open = False
                world.out.append(ShutGate(run.run_id))
            if run.is_checked:
                world.end_checks(run)  # they ask where it was
        world.out.append(ProbeRun(run.run_id, address))

    def _be_ready(self, run: Run) -> None:
        if not run.is_moving:
            self._world.become_ready(run)
            self._failing.note_ready(run.model)
            self.watch(run)
            return
        self._world.out.append(WriteLog("info", f"{run.model}: ready at {run.address}"))
        run.is_moving = False
        self.watch(run)
        if run.state is RunState.READY:
            run.deadline = self._world.ttl_look(run, self._world.now)

    def _give_up(self, run: Run) -> None:
        """It did not become ready in time. If it has moved, requests may be inside where it was."""
        if run.is_moving:
            self._world.unload(run, self._world.unload_timeout(run.model))
        else:
            self._world.stop(run, "load timeout", "it did not become ready in time")

    def _fall_asleep(self, run: Run) -> None:
        """Its ttl goes on. What it has given back may be free a moment later, as what a process held that has ended."""
        run.move(RunState.SLEEPING, self._world.idle_until(run))
        run.asleep_since = self._world.now
        self._world.freeing.note_end(run.model, self._world.now)

    # -- a server on another machine --

    def watch(self, run: Run) -> None:
        """It serves where it is now: requests in it that get no byte are noticed from now on."""
        if self._may_be_lost(run):
            self._world.out.append(WatchForLoss(run.run_id))

    def watch_otherwise(self, before: Mapping[str, ModelSpec]) -> None:
        """The configuration has changed, and may say another time. What is being looked for is looked for anew."""
        for run in self._world.runs.values():
            old, new = before.get(run.model), self._world.models.get(run.model)
            if old is None or new is None or old.lost_after == new.lost_after:
                continue
            was_unreachable, run.is_unreachable = run.is_unreachable, False
            self._world.out.append(WatchForLoss(run.run_id))
            if was_unreachable:
                self.doubt(run)

    def doubt(self, run: Run) -> None:
        """It is silent, or a request has lost it. It is looked for anew: who found it may have been ended."""
        if self._may_be_lost(run) and not run.is_unreachable:
            run.is_unreachable = True
            if run.is_open:
                run.is_open = False
                self._world.out.append(ShutGate(run.run_id))
            self._world.out.append(LookForLoss(run.run_id))

    def _lose(self, run: Run, detail: str) -> None:
        """It cannot be reached, for long enough."""
        run.is_unreachable = False
        self._world.out += [WriteLog("warn", f"{run.model}: lost: {detail}"), AbortRequests(run.run_id)]
        self._world.stop(run, "lost", f"lost: {detail}")

    def _break_off(self, run: Run) -> None:
        """Its first process, here, has exited."""
        if self._is_elsewhere(run):
            self._world.out.append(AbortRequests(run.run_id))

    def _may_be_lost(self, run: Run) -> bool:
        """Whether its server is elsewhere, and it is to be ended if that cannot be reached."""
        return self._is_elsewhere(run) and run.state.is_serving and not run.is_moving

    def _is_elsewhere(self, run: Run) -> bool:
        spec = self._world.models.get(run.model) or self._world.former[run.model]
        return spec.lost_after > 0 and not run.is_here
