"""Models that go though no request asks for their room: which gates are asked, and when to look again.

Pure; part of a pass. They go for other programs, or for a model that has grown: who does, says the policy
(`Rules.relieve`). Nobody goes for whose model a request waits, or that was ready for less than the rules let it stay.
Who would help and is busy has its gate watched, so that it is looked at as soon as it is idle.

Or one at a time goes for a run that is queued where they run. Of the models that share its engine and make room there,
the one goes that has been idle longest. The first one goes `PATIENCE` seconds after the run has said that it is queued,
or `SUBMITTING` seconds after its start where it says nothing: its client has to connect, to submit and to start
something, and an engine with room has not even been asked before that. The next ones go `PATIENCE` seconds after each
exit there, for the engine takes its time to give away what is free. Nobody goes for a run that no request waits for,
while another one there is ending, or before it has been ready for as long as its load took: else two models would throw
each other out. One that is waited for goes only if its requests wait for the queued one, or for somebody who does: else
none of them would ever be served.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from llamaswap_lib.core.effects import ShutIfIdle, StopKind
from llamaswap_lib.core.eviction import Rules
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.run import Run, RunState

PATIENCE = 1.0  # seconds
SUBMITTING = 5.0  # seconds


class Ask(NamedTuple):
    """What to ask now, and for what kind of reason.

    `watches`: one that is busy would help. `looks`: moments at which somebody may go who may not yet. `sleepers` go at
    once: they serve nobody.
    """

    question: ShutIfIdle | None = None
    why: tuple[StopKind, str] | None = None
    watches: bool = False
    looks: tuple[float, ...] = ()
    sleepers: tuple[Run, ...] = ()


def ask_relief(rules: Rules, runs: Collection[Run], is_awaited: Callable[[str], bool], now: float) -> Ask:
    """`runs`: all of models that are configured; `is_awaited`: whether a request waits for this model."""
    if rules.relieve is None:
        return Ask()
    staying = [run for run in runs if not run.state.is_leaving]
    idle = (RunState.READY, RunState.SLEEPING)
    free = [run for run in staying if run.state in idle and not is_awaited(run.model)]
    settled = [run for run in free if _settled_at(run, rules.stays) <= now]
    relief = rules.relieve(tuple(run.model for run in staying), frozenset(run.model for run in settled))
    if relief is None:
        return Ask()
    if relief.models:
        going = [run for run in settled if run.model in relief.models]
        asked = tuple(run.run_id for run in going if run.state is RunState.READY)
        sleepers = tuple(run for run in going if run.state is RunState.SLEEPING)
        return Ask(ShutIfIdle(asked) if asked else None, (relief.kind, relief.reason), sleepers=sleepers)
    later = [run for run in free if run.model in relief.later]
    looks = tuple(_settled_at(run, rules.stays) for run in later if run not in settled)
    return Ask(watches=any(run.inside and not run.is_watched for run in later if run in settled), looks=looks)


def ask_room(
    runs: Collection[Run],
    models: Mapping[str, ModelSpec],
    has_turn: Callable[[str, str], bool],
    now: float,
    *,
    has_looked: bool,
) -> Ask:
    """Whom to shut now, if idle; `watches`: it is not known who is idle, for nobody `has_looked`.

    `has_turn`: whether requests wait for the first model, other than for the load of the second one.
    """
    looks: list[float] = []
    for queued in runs:
        if not (queued.phase == "queued" and _engine(models, queued) and has_turn(queued.model, "")):
            continue
        if leaving_for(runs, models, queued):
            continue
        due = max(_queued_for_sure_at(queued), queued.others_left_at + PATIENCE)
        others = [run for run in sharing(runs, models, queued) if _may_go(models, run)]
        free = [run for run in others if not has_turn(run.model, queued.model)]
        looks += [at for run in free if (at := max(due, _settled_at(run, run.load_took))) > now]
        candidates = [run for run in free if max(due, _settled_at(run, run.load_took)) <= now]
        if all(run.is_watched for run in candidates):
            continue
        if not has_looked:
            return Ask(watches=True, looks=tuple(looks))
        if idle := sorted((run for run in candidates if not run.inside), key=_idle_since):
            why: tuple[StopKind, str] = "queue", f"idle, makes room in the queue of {queued.model}"
            if idle[0].state is RunState.SLEEPING:
                return Ask(None, why, looks=tuple(looks), sleepers=(idle[0],))
            return Ask(ShutIfIdle((idle[0].run_id,)), why, looks=tuple(looks))
    return Ask(looks=tuple(looks))


def _queued_for_sure_at(queued: Run) -> float:
    return queued.started_at + SUBMITTING if queued.queued_at is None else queued.queued_at + PATIENCE


def leaving_for(runs: Collection[Run], models: Mapping[str, ModelSpec], queued: Run) -> list[str]:
    """The models that share its engine and are ending: what they hold will be free soon."""
    ending = (RunState.UNLOADING, RunState.STOPPING)
    return [run.model for run in sharing(runs, models, queued) if run.state in ending and not run.is_untimed]


def sharing(runs: Collection[Run], models: Mapping[str, ModelSpec], one: Run) -> list[Run]:
    """The other runs of its engine."""
    engine = _engine(models, one)
    return [run for run in runs if run is not one and engine and _engine(models, run) == engine]


def _engine(models: Mapping[str, ModelSpec], run: Run) -> str:
    """What it shares with others; '' for nothing."""
    return models[run.model].engine if run.model in models else ""


def _may_go(models: Mapping[str, ModelSpec], run: Run) -> bool:
    is_there = run.state in (RunState.READY, RunState.SLEEPING) and not run.is_moving
    return is_there and models[run.model].makes_room


def _idle_since(run: Run) -> float:
    return max(run.idle_since, run.ready_at or 0.0)


def _settled_at(run: Run, stays: float) -> float:
    """From when on it may go, having stayed for so many seconds."""
    assert run.ready_at is not None, f"{run!r} is not ready"
    return run.ready_at + stays
