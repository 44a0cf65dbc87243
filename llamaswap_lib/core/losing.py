"""Runs whose server, on another machine, cannot be reached: who waits meanwhile, and what becomes of them.

Pure; part of the scheduler. While it is being found out nobody enters, and who got no connection waits too. If the
server is reached again they are let in. If it is not, for as long as the configuration says, the run is lost: requests
inside are broken off, so that those without a byte of their answer are tried on the next run, and it is stopped. They
are broken off too where its first process, which is here, exits: the run is over, though its server may be silent.
"""

from __future__ import annotations

from collections.abc import Mapping

from llamaswap_lib.core.effects import AbortRequests, LookForLoss, ShutGate, WatchForLoss, WriteLog
from llamaswap_lib.core.in_force import ModelSpec
from llamaswap_lib.core.run import Run
from llamaswap_lib.core.world import World


def may_be_lost(world: World, run: Run) -> bool:
    """Whether its server is elsewhere, and it is to be ended if that cannot be reached."""
    return _is_elsewhere(world, run) and run.state.is_serving and not run.is_moving


def _is_elsewhere(world: World, run: Run) -> bool:
    spec = world.models.get(run.model) or world.former[run.model]
    return spec.lost_after > 0 and not run.is_here


def watch(world: World, run: Run) -> None:
    """It serves where it is now: requests in it that get no byte are noticed from now on."""
    if may_be_lost(world, run):
        world.out.append(WatchForLoss(run.run_id))


def watch_otherwise(world: World, before: Mapping[str, ModelSpec]) -> None:
    """The configuration has changed, and may say another time. What is being looked for is looked for anew."""
    for run in world.runs.values():
        old, new = before.get(run.model), world.models.get(run.model)
        if old is None or new is None or old.lost_after == new.lost_after:
            continue
        was_unreachable, run.is_unreachable = run.is_unreachable, False
        world.out.append(WatchForLoss(run.run_id))
        if was_unreachable:
            doubt(world, run)


def doubt(world: World, run: Run) -> None:
    """It is silent, as was found, or a request has lost it. It is looked for anew: who found it may have been ended."""
    if may_be_lost(world, run) and not run.is_unreachable:
        run.is_unreachable = True
        if run.is_open:
            run.is_open = False
            world.out.append(ShutGate(run.run_id))
        world.out.append(LookForLoss(run.run_id))


def lose(world: World, run: Run, detail: str) -> None:
    """It cannot be reached, for long enough."""
    run.is_unreachable = False
    world.out += [WriteLog("warn", f"{run.model}: lost: {detail}"), AbortRequests(run.run_id)]
    world.stop(run, "lost", f"lost: {detail}")


def break_off(world: World, run: Run) -> None:
    """Its first process, here, has exited; its server elsewhere may be silent, and hold its connections for ever."""
    if _is_elsewhere(world, run):
        world.out.append(AbortRequests(run.run_id))
