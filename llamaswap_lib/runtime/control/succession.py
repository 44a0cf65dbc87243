"""A controller that can hand its runs over to another process, its heir, and begin with those of its elder.

The order, in the process that hands over: `freeze`; the heir `adopt`s; `retire`, or `resume` if there will be no heir.
In the heir: `adopt` in place of a start, and `begin` with what `retire` gave. From then on each gets what the other one
sends by `receive`, and `note_link_lost` when it has ended. While a controller is frozen it decides nothing; requests
for models that are ready go on through the gates.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from llamaswap_lib.core import events
from llamaswap_lib.core.gate import Gate
from llamaswap_lib.core.handover import State
from llamaswap_lib.core.run import RunState
from llamaswap_lib.runtime.control.controller import Call, Command, Controller
from llamaswap_lib.runtime.control.elder import Elder
from llamaswap_lib.runtime.control.entrance import new_gate
from llamaswap_lib.runtime.control.handover import FORMAT, Message, described, read
from llamaswap_lib.runtime.control.live_run import LiveRun, ProcessHandle, Upstream
from llamaswap_lib.runtime.control.retired import Retired
from llamaswap_lib.runtime.logs.last_words import remembered

Send = Callable[[dict[str, Any]], None]
Handed = tuple[dict[str, Any], list[int]]
"""A state for JSON, and descriptors, which its owner closes."""


class AdoptedHandle(ProcessHandle, Protocol):
    """A process that was taken over."""

    def settle(self, *, is_of_elder: bool, loading_since: float | None) -> None: ...
    def hear(self, detail: str, *, is_gone: bool) -> None: ...
    def note_elder_gone(self) -> None: ...


class Adoption(Protocol):
    """How runs are taken over, by the configuration of this process."""

    def adopt(
        self, described: Message, read_end: int | None, post: Callable[[events.Event], None]
    ) -> tuple[AdoptedHandle, Upstream]:
        """The process of a run, not yet started. Raises KeyError, TypeError, ValueError and OSError."""

    def change(self, running: Mapping[str, str], former: Collection[str]) -> events.ModelsChanged:
        """What is configured here. `running`: model -> the URL of its run, of all that were taken over.

        `former` are models that were not configured any more.
        """


class _Freeze:
    """What passes between the thread that hands over and the controller thread, which waits meanwhile."""

    def __init__(self, describe: Callable[[], Handed]) -> None:
        self._describe = describe
        self._lock = threading.Lock()  # protects the two below
        self._is_given_up = False
        self._handed: Handed | Exception | None = None
        self._has_answered = threading.Event()
        self.orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def wait(self, timeout: float) -> Handed:
        self._has_answered.wait(timeout)
        with self._lock:
            self._is_given_up = self._handed is None
        if self._handed is None:
            raise TimeoutError(f"the controller has not answered for {timeout:g} s")
        if isinstance(self._handed, Exception):
            raise self._handed
        return self._handed

    # -- controller thread --

    def run(self) -> None:
        with self._lock:
            if self._is_given_up:
                return
            try:
                self._handed = self._describe()
            except Exception as error:  # noqa: BLE001 - for the other thread
                self._handed = error
        self._has_answered.set()
        if not isinstance(self._handed, Exception):
            self.orders.get()()


class SuccessionController(Controller):
    """See above."""

    _freeze: _Freeze | None = None
    _retired: Retired | None = None
    _elder: Elder | None = None
    _adopted: Mapping[int, AdoptedHandle] = {}
    _state: State
    _change: events.ModelsChanged
    _places_of_waiting: Mapping[int, int]

    # -- the thread that hands over --

    def freeze(self, timeout: float) -> Handed:
        """Decide nothing more until `resume` or `retire`; what the heir is to begin with.

        Raises TimeoutError if the controller does not answer in time, and OSError if there is no descriptor left; then
        all goes on.
        """
        freeze = _Freeze(self._describe)
        self._queue.put(Call(freeze.run))
        handed = freeze.wait(timeout)
        self._freeze = freeze
        return handed

    def resume(self) -> None:
        """There is no heir: go on as if nothing had been."""
        assert self._freeze is not None, "resumed, and was not frozen"
        self._freeze.orders.put(self._keep_all)

    def retire(self, send: Send) -> dict[str, Any]:
        """There is an heir, for good. What it needs to know before anything that is sent.

        `send` never blocks; any thread may call it, from now on.
        """
        assert self._freeze is not None, "retired, and was not frozen"
        answers: queue.SimpleQueue[dict[str, Any] | Exception] = queue.SimpleQueue()

        def begin() -> None:
            self._retired = Retired(self._live, self.entrance, self._board, self._new_gate, send)
            try:
                answers.put(self._retired.begin(self._places))
            except Exception as error:
                answers.put(error)
                raise

        self._freeze.orders.put(begin)
        answer = answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def is_ready(self, model: str) -> bool:
        return super().is_ready(model) if self._heirs_ready is None else model in self._heirs_ready

    def ready_upstream(self, model: str) -> Upstream | None:
        return super().ready_upstream(model) if self._heirs_ready is None else self._heirs_ready.get(model)

    @property
    def _heirs_ready(self) -> Mapping[str, Upstream] | None:
        """Where ready runs listen, once another process decides that."""
        return None if self._retired is None else self._retired.ready

    @property
    def is_retired(self) -> bool:
        return self._retired is not None

    # -- the heir's main thread --

    def adopt(self, state: Message, descriptors: Sequence[int], adoption: Adoption) -> None:
        """Have the runs of the elder, which are not touched yet. Call it before `begin`; owns the descriptors.

        Raises ValueError, KeyError or TypeError for a state that is not understood, and OSError.
        """
        if state.get("format") != FORMAT:
            raise ValueError(f"the process before speaks of format {state.get('format')}, and {FORMAT} is understood")
        self._state = read(state["scheduler"])
        self._places_of_waiting = dict(state["waiting"])
        for model, words in state["said"].items():
            self._outputs[model] = remembered(tuple(words))
            self._outputs[model].claim()  # the elder's log, which we go on with, has them
        read_ends = iter(descriptors)
        adopted = {}
        for run in state["runs"]:
            read_end = next(read_ends) if run["has_output"] else None
            process, upstream = adoption.adopt(run, read_end, self.post)
            gate = self._new_gate(upstream.run_id)
            gate.idle_since = run["idle_since"]
            self._live[upstream.run_id] = self._current[upstream.model] = LiveRun(gate, process, upstream)
            self._outputs[upstream.model] = process.output
            adopted[upstream.run_id] = process
        self._adopted = adopted
        running = {run.upstream.model: run.upstream.proxy for run in self._live.values()}
        self._change = adoption.change(running, self._state.former)

    def begin(self, commit: Message, send: Send) -> None:
        """Decide from now on, in place of `start`. `commit` is what the elder's `retire` gave; `send` as there."""
        self._elder = elder = Elder(self._live, self.entrance, self._places, send)
        self._checks.is_unseen = elder.is_inside
        self._board.listen_to_waits(elder.note_awaited)
        if "ready" in commit.get("hears", ()):  # one of an older version takes it for a mistake
            self._board.listen(elder.note_runs)
        state = elder.begin(self._state, commit, self._places_of_waiting)
        for run in state.runs:
            # one that wakes is told to wake anew, and looked at after that
            loading_since = run.loading_since if run.is_probed and run.state is not RunState.WAKING else None
            is_of_elder = run.run_id in commit["kept"]
            self._adopted[run.run_id].settle(is_of_elder=is_of_elder, loading_since=loading_since)
        self._queue.put(Call(partial(self._take_over, replace(self._change, state=state))))
        self.start()

    # -- any thread --

    @property
    def has_elder(self) -> bool:
        """Whether the process before has requests yet."""
        return self._elder is not None

    def receive(self, message: Message) -> None:
        """What the other process has sent."""
        self._queue.put(Call(partial(self._hear, message)))

    def note_link_lost(self) -> None:
        """The other process has ended."""
        self._queue.put(Call(self._lose))

    # -- controller thread only --

    def _next(self) -> Command:
        return super()._next() if self._retired is None else self._queue.get()

    def _decide(self, event: events.Event) -> None:
        if self._retired is not None:
            self._retired.obey(event)
        else:
            super()._decide(event)

    def _kill_all(self) -> None:
        if self._retired is None:
            super()._kill_all()

    def _describe(self) -> Handed:
        copies: list[int] = []
        runs = []
        try:
            for run_id, run in self._live.items():
                handed = run.process.hand_over()
                if handed is None:  # it has not begun, and is begun by the heir
                    continue
                copies += handed[1]
                runs.append(
                    {
                        **handed[0],
                        "run_id": run_id,
                        "model": run.upstream.model,
                        "proxy": run.upstream.proxy,
                        "port": run.upstream.port,
                        "given": dict(run.upstream.given),
                        "idle_since": run.gate.idle_since,
                        "has_output": bool(handed[1]),
                    }
                )
        except BaseException:
            _close(copies)
            self._keep_all()
            raise
        waiting = [[ticket, id(self.entrance.of(ticket).token)] for ticket in self.entrance.tickets()]
        state = _only(self._scheduler.hand_over(), [run["run_id"] for run in runs])
        said = {model: out.last_words() for model, out in self._outputs.items() if model not in self._current}
        told = {"format": FORMAT, "scheduler": described(state), "runs": runs, "waiting": waiting, "said": said}
        return told, copies

    def _keep_all(self) -> None:
        for run in self._live.values():
            run.process.keep()

    def _take_over(self, change: events.ModelsChanged) -> None:
        try:
            self._decide(change)
        finally:
            for process in self._adopted.values():
                process.start()

    def _hear(self, message: Message) -> events.Event | None:
        if self._retired is not None:
            self._retired.hear(message)
        elif message["kind"] == "exited":
            if process := self._adopted.get(message["run_id"]):
                process.hear(message["detail"], is_gone=message["is_gone"])
        elif self._elder is not None:
            return self._elder.hear(message)
        return None

    def _lose(self) -> None:
        if self._retired is not None:
            self._retired.lose_heir()
        elif self._elder is not None:
            for event in self._elder.abandoned():
                self._decide(event)
            self._elder.lose()
            for process in self._adopted.values():
                process.note_elder_gone()
            self._elder = None

    def _new_gate(self, run_id: int) -> Gate:
        return new_gate(run_id, self.post, self._clock)


def _only(state: State, run_ids: Collection[int]) -> State:
    """Without the runs that are not handed over."""
    unloads = {ticket: runs.intersection(run_ids) for ticket, runs in state.unloads.items()}
    return replace(state, runs=tuple([run for run in state.runs if run.run_id in run_ids]), unloads=unloads)


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
