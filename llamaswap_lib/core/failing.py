"""What the failure of a run means for those who wait: they are refused, or the model is started once more.

Pure; part of the scheduler.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from llamaswap_lib.core.effects import Fault, Refuse, WriteLog
from llamaswap_lib.core.eviction import Shortfall
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
        self.second_tries: set[str] = set()  # models that ran out of memory and are started once more

    def end_load(self, model: str, detail: str, words: str) -> None:
        """Its process has ended while it loaded. One that ran out of memory is started once more, with more room."""
        if words:
            detail = f"{detail}, out of memory: {words}"
        if not words or (shortfall := self._shortfall(model, words)) is None:
            self.fail_load(model, detail)
        elif shortfall.has_more and model not in self.second_tries and self._waiting.has(model):
            self.second_tries.add(model)
            message = f"{model}: {detail}; {shortfall.text}; it is started once more, with more room"
            self._world.out.append(WriteLog("warn", message))
            return
        else:
            self.fail_load(model, f"{detail}; {shortfall.text}", Fault.OUT_OF_MEMORY)
        self.second_tries.discard(model)

    def note_end(self, run: Run, words: str) -> None:
        """It had served, and has ended by itself. If it ran out of memory its next start gets more room."""
        if words and not run.is_retired and (shortfall := self._shortfall(run.model, words)) is not None:
            said = f"out of memory: {words}; {shortfall.text}"
            self._world.out.append(WriteLog("warn", f"{run.model}: {said}; its next start gets more room"))

    def _shortfall(self, model: str, words: str) -> Shortfall | None:
        """None where models do not go by memory."""
        room = self._world.in_force.rules.room
        return None if room is None else room.note_out_of_memory(model, words, tuple(self._world.staying()))

    def note_ready(self, model: str) -> None:
        """It has loaded: should it run out of memory later, that is for the first time."""
        self._failures.note_ready(model)
        self.second_tries.discard(model)

    def forget(self, models: Collection[str]) -> None:
        """They are started otherwise from now on, or not any more."""
        if room := self._world.in_force.rules.room:
            room.forget(models)

    def floors(self) -> Mapping[str, Mapping[str, int]]:
        """What models that ran out of memory are taken to need."""
        room = self._world.in_force.rules.room
        return room.hand_over() if room else {}

    def restore(self, second_tries: Collection[str], floors: Mapping[str, Mapping[str, int]]) -> None:
        """Go on from what another one has found."""
        self.second_tries = set(second_tries)
        if room := self._world.in_force.rules.room:
            room.restore(floors)

    def settle(self) -> None:
        """The second try of one for which nobody waits any more is over."""
        self.second_tries &= {*self._waiting.models(), *self._world.by_model}

    def fail_load(self, model: str, detail: str, fault: Fault = Fault.LOAD_FAILED) -> None:
        """Refuse all requests that wait for the model now, and later ones for a while."""
        is_memory = fault is Fault.OUT_OF_MEMORY
        backoff = self._failures.note_failed_load(model, detail, self._world.now, is_memory=is_memory)
        message = f"{model}: could not be loaded: {detail}; not tried again for {backoff:g} s"
        self._world.out.append(WriteLog("error", message, "" if self._waiting.has(model) else model))
        self.refuse_all(model, fault, f"model {model} could not be loaded: {detail}", backoff)

    def settle_queued(self) -> None:
        """Withdraw the runs that have been queued for too long, or that nobody waits for any more."""
        for run in [run for run in self._world.runs.values() if run.phase == "queued"]:
            if run.deadline is not None and run.deadline <= self._world.now:
                self.end_queue(run)
            elif not (run.is_preloaded or self._waiting.has(run.model)):
                self._world.stop(run, "withdrawn", "it is queued, and nobody waits for it any more")

    def end_queue(self, run: Run) -> None:
        """It has been queued for too long. That says nothing of the next try."""
        waited = f"was queued for {self._world.now - run.started_at:.0f} s"
        detail = f"{waited}: {run.reason}" if run.reason else waited
        self._world.out.append(WriteLog("warn", f"{run.model}: {detail}; it is withdrawn (queueTimeout)"))
        message = f"model {run.model} {detail} (queueTimeout)"
        self.refuse_all(run.model, Fault.QUEUE_TIMEOUT, message, self._world.models[run.model].queue_timeout)
        self._world.stop(run, "queue timeout", "it was queued for too long")

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
