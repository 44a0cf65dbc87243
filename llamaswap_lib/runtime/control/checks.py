"""The watchdogs of all runs, as the scheduler orders them.

Controller thread only. `main` says how a run is watched and how its connections are cut; without that, no run is
watched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llamaswap_lib.core.effects import BeginChecks, CutRequests, EndChecks
from llamaswap_lib.core.events import Event
from llamaswap_lib.runtime.control.board import Entry
from llamaswap_lib.runtime.control.lease import Upstream
from llamaswap_lib.runtime.health.check import HealthCheck
from llamaswap_lib.runtime.health.watchdog import Movement, Subject, Watchdog
from llamaswap_lib.runtime.logs.server_logs import Logger

CheckOrder = BeginChecks | EndChecks | CutRequests


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """How runs are looked at. `check_of` gives the health check (None for none) and `hungAfter` of a run."""

    check_of: Callable[[Upstream], tuple[HealthCheck | None, float]]
    look_at: Callable[[int], Movement | None]
    """What has moved between us and the run of that id; called on its watchdog's thread."""
    cut: Callable[[int], None]
    """Break off every connection to the run of that id."""


class Checks:
    """A watchdog for each run that was ever looked at."""

    def __init__(self, plan: CheckPlan | None, log: Logger) -> None:
        self._plan = plan
        self._log = log
        self._watchdogs: dict[int, Watchdog] = {}

    def obey(self, order: CheckOrder, entry: Entry, post: Callable[[Event], None]) -> None:
        plan, run_id = self._plan, order.run_id
        if plan is None:
            return
        if isinstance(order, BeginChecks):
            self._begin(plan, entry, post)
        elif isinstance(order, CutRequests):
            plan.cut(run_id)
        elif run_id in self._watchdogs:
            self._watchdogs[run_id].end()

    def _begin(self, plan: CheckPlan, entry: Entry, post: Callable[[Event], None]) -> None:
        upstream, process = entry.upstream, entry.process
        run_id = upstream.run_id
        if run_id not in self._watchdogs:
            check, hung_after = plan.check_of(upstream)
            self._watchdogs[run_id] = Watchdog(
                Subject(
                    run_id,
                    upstream.model,
                    entry.gate,
                    lambda: process.pid,
                    check,
                    hung_after,
                    lambda: plan.look_at(run_id),
                ),
                post,
            )
        try:
            self._watchdogs[run_id].begin()
        except (OSError, RuntimeError, MemoryError) as error:  # the orders behind this one are still to be carried out
            self._log.warn(f"{upstream.model}: cannot be watched, though requests wait for it to stop: {error}")

    def forget(self, run_id: int) -> None:
        """The run has ended."""
        if watchdog := self._watchdogs.pop(run_id, None):
            watchdog.end()

    def close(self) -> None:
        for run_id in list(self._watchdogs):
            self.forget(run_id)
