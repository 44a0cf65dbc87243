"""Models that go though none asks for their room: which gates are asked, and when to look again. Pure; part of a pass.

Who goes says the policy (`Rules.relieve`). Nobody goes for whose model a request waits, or that was ready for less than
the rules let it stay. Who would help and is busy has its gate watched, so that it is looked at as soon as it is idle.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from llamaswap_lib.core.effects import ShutIfIdle, StopKind
from llamaswap_lib.core.eviction import Rules
from llamaswap_lib.core.run import Run, RunState


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


def _settled_at(run: Run, stays: float) -> float:
    """Until when it stays."""
    assert run.ready_at is not None, f"{run!r} is not ready"
    return run.ready_at + stays
