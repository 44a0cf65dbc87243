"""What the failure of a run means for those who wait: they are refused, or the model is started once more.

Pure; part of the scheduler.
"""

from __future__ import annotations

from llamaswap_lib.core.effects import Fault, Refuse, WriteLog
from llamaswap_lib.core.failures import ModelFailures
from llamaswap_lib.core.run import Run
from llamaswap_lib.core.waiting import WaitingRoom
from llamaswap_lib.core.world import World


class Failing:
    """Loads that fail, and runs that die."""

    def __init__(self, world: World, waiting: WaitingRoom, failures: ModelFailures) -> None:
        self._world = world
        self._waiting = waiting
        self._failures = failures

    def fail_load(self, model: str, detail: str) -> None:
        """Refuse all requests that wait for the model now, and later ones for a while."""
        backoff = self._failures.note_failed_load(model, detail, self._world.now)
        message = f"{model}: could not be loaded: {detail}; not tried again for {backoff:g} s"
        self._world.out.append(WriteLog("error", message, "" if self._waiting.has(model) else model))
        self.refuse_all(model, Fault.LOAD_FAILED, f"model {model} could not be loaded: {detail}", backoff)

    def break_off_load(self, model: str, detail: str) -> None:
        """The same where the model is not to blame: the next request has it tried again."""
        self._world.out.append(
            WriteLog("error", f"{model}: could not be loaded, because resources are short: {detail}")
        )
        self.refuse_all(model, Fault.SHORTAGE, f"model {model} could not be loaded: {detail}")

    def crash(self, run: Run, detail: str) -> None:
        """Only the requests inside fail; unless it keeps dying, it is started again for those that wait."""
        now, state = self._world.now, run.state.value
        if run.is_retired:  # it would be started otherwise now, so nothing is learned from its end
            self._world.out.append(WriteLog("warn", f"{run.model}: {detail} while it was {state}"))
            return
        assert run.ready_at is not None, f"{run!r} served before it was ready"
        backoff = self._failures.note_crash(run.model, detail, now - run.ready_at, now)
        self._world.out.append(WriteLog("warn", f"{run.model}: {detail} while it was {state}"))
        if refusal := self._failures.refusal(run.model, now):
            self._world.out.append(WriteLog("error", f"{run.model}: keeps dying, not tried again for {backoff:g} s"))
            self.refuse_all(run.model, Fault.BACKING_OFF, *refusal)

    def refuse_all(self, model: str, fault: Fault, message: str, retry_after: float = 0.0) -> None:
        tickets = self._waiting.remove_all(model)
        self._world.out += [Refuse(ticket, fault, message, retry_after) for ticket in tickets]
