"""Idle models go, one at a time, for one that is queued where they run. Pure; part of a pass.

Of the models that share its engine and make room there, the one goes that has been idle longest. A run has to be queued
for `PATIENCE` seconds before the first one goes, and again after each exit there, for the engine takes its time to give
away what is free. Nobody goes for a run that no request waits for, while another one there is ending, or before it has
been ready for as long as its load took: else two models would throw each other out. One that is waited for goes only if
its requests wait for the queued one, or for somebody who does: else none of them would ever be served.
"""

from __future__ import annotations

from collections.abc import Callable

from llamaswap_lib.core.effects import ShutIfIdle, StopKind
from llamaswap_lib.core.relief import Ask
from llamaswap_lib.core.run import Run, RunState
from llamaswap_lib.core.world import World

PATIENCE = 1.0  # seconds


def ask_room(world: World, has_turn: Callable[[str, str], bool]) -> Ask:
    """Whom to shut now, if idle; `watches`: it is not known who is idle.

    `has_turn`: whether requests wait for the first model, other than for the load of the second one.
    """
    looks: list[float] = []
    for queued in world.runs.values():
        if not (queued.phase == "queued" and engine_of(world, queued) and has_turn(queued.model, "")):
            continue
        if leaving_for(world, queued):
            continue
        due = max(queued.started_at, queued.others_left_at) + PATIENCE
        others = [run for run in _sharing(world, queued) if _may_go(world, run)]
        free = [run for run in others if not has_turn(run.model, queued.model)]
        looks += [max(due, _settled_at(run)) for run in free if max(due, _settled_at(run)) > world.now]
        candidates = [run for run in free if due <= world.now and _settled_at(run) <= world.now]
        if all(run.is_watched for run in candidates):
            continue
        if not world.has_looked:
            return Ask(watches=True, looks=tuple(looks))
        if idle := sorted((run for run in candidates if not run.inside), key=_idle_since):
            why: tuple[StopKind, str] = "queue", f"idle, makes room in the queue of {queued.model}"
            if idle[0].state is RunState.SLEEPING:
                return Ask(None, why, looks=tuple(looks), sleepers=(idle[0],))
            return Ask(ShutIfIdle((idle[0].run_id,)), why, looks=tuple(looks))
    return Ask(looks=tuple(looks))


def leaving_for(world: World, queued: Run) -> list[str]:
    """The models that share its engine and are ending: what they hold will be free soon."""
    ending = (RunState.UNLOADING, RunState.STOPPING)
    return [run.model for run in _sharing(world, queued) if run.state in ending and not run.is_untimed]


def note_exit(world: World, gone: Run) -> None:
    """What it held may be given to one that is queued now."""
    for run in _sharing(world, gone):
        run.others_left_at = world.now


def engine_of(world: World, run: Run) -> str:
    """What it shares with others; '' for nothing."""
    spec = world.models.get(run.model)
    return spec.engine if spec else ""


def _sharing(world: World, one: Run) -> list[Run]:
    """The other runs of its engine."""
    engine = engine_of(world, one)
    return [run for run in world.runs.values() if run is not one and engine and engine_of(world, run) == engine]


def _may_go(world: World, run: Run) -> bool:
    is_there = run.state in (RunState.READY, RunState.SLEEPING) and not run.is_moving
    return is_there and world.models[run.model].makes_room


def _settled_at(run: Run) -> float:
    """From when on it may go."""
    assert run.ready_at is not None, f"{run!r} is not ready"
    return run.ready_at + run.load_took


def _idle_since(run: Run) -> float:
    return max(run.idle_since, run.ready_at or 0.0)
