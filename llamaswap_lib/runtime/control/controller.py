"""The thread that decides: it takes events from a queue, asks the scheduler, and carries the effects out.

Owns the queue, the thread `controller`, the gates and the processes of all runs. Any thread may take a lease, unload,
and read what runs and what waits. It guarantees what the scheduler guarantees, and that each waiting thread is answered
exactly once. The controller thread never blocks: it starts and signals processes, it does not wait for them.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from llamaswap_lib.core import events
from llamaswap_lib.core.effects import (
    Admit,
    CheckLaunch,
    CheckOrder,
    DropRun,
    Effect,
    KillProcess,
    LookInside,
    OpenGate,
    ProbeRun,
    PutToSleep,
    Refuse,
    ReportSwap,
    ShutGate,
    ShutGates,
    ShutIfIdle,
    StartProcess,
    StopProcess,
    Unloaded,
    WakeUp,
    WriteLog,
)
from llamaswap_lib.core.eviction import Placement
from llamaswap_lib.core.failures import ModelFailure
from llamaswap_lib.core.gate import ask_gates
from llamaswap_lib.core.plan import Plan
from llamaswap_lib.core.scheduler import Scheduler
from llamaswap_lib.core.snapshot import RunView, TicketView
from llamaswap_lib.runtime.control.board import Board, Listener, RunDetail, StopListener, SwapListener
from llamaswap_lib.runtime.control.entrance import Client, Entrance, new_gate
from llamaswap_lib.runtime.control.lease import Lease, Places
from llamaswap_lib.runtime.control.live_run import Launch, LiveRun, RunChecks, Upstream
from llamaswap_lib.runtime.control.swaps import Swap, Swaps
from llamaswap_lib.runtime.logs.last_words import RunOutput
from llamaswap_lib.runtime.logs.logger import Logger
from llamaswap_lib.runtime.processes.launch import is_shortage
from llamaswap_lib.runtime.vital import Failures, VitalThread, report
from llamaswap_lib.runtime.wakeup import seconds_until

KILL_TIMEOUT = 2.0  # seconds for the signals to be sent
SETTLE_LOOK = 0.1  # seconds between two looks whether the thread is still alive
_UNLIMITED = Places({})


class _Stop:
    """A command: the thread ends."""


class Call:
    """A command: call `function` on the controller thread, and handle the event that it returns.

    `error` is why that failed.
    """

    def __init__(self, function: Callable[[], events.Event | None]) -> None:
        self.function = function
        self.error: Exception | None = None

    def __repr__(self) -> str:
        return f"<call of {self.function!r}>"


Command = events.Event | _Stop | Call | threading.Event


class Controller:
    """Leases on models, and the thread behind them."""

    def __init__(
        self,
        scheduler: Scheduler,
        launch: Launch,
        *,
        limits: Mapping[str, int],
        log: Logger,
        checks: RunChecks,
        check_launch: Callable[[str, Collection[str]], str] = lambda _model, _running: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`limits`: places of each model, 0 for no limit.

        `check_launch`: why a model cannot be started beside the runs with these proxies, '' if no reason is known.
        `checks` looks whether runs in the way live.
        """
        self._scheduler = scheduler
        self._launch = launch
        self._log = log
        self._check_launch = check_launch
        self._clock = clock
        self._places = Places(limits)
        self._queue: queue.Queue[Command] = queue.Queue()
        self._live: dict[int, LiveRun] = {}
        self._current: dict[str, LiveRun] = {}
        self.entrance = Entrance(self._current, self._queue.put)
        self._outputs: dict[str, RunOutput] = {}  # by model: of its last run; none if a later start was not even tried
        self._board = Board(self._live, log, scheduler.published())
        self._swaps = Swaps()
        self._checks = checks
        self._thread = VitalThread(self._work, "controller")

    # -- any thread --

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float | None = None) -> None:
        """End the thread, after it has done what it was told before. Processes are left as they are.

        Waits for `timeout` seconds at most: a policy that the user has written may hang.
        """
        self._queue.put(_Stop())
        self._thread.join(timeout)
        self._checks.close()

    def listen(self, listener: Listener) -> None:
        """Call `listener` on the controller thread when what runs or fails has changed. Before `start`; quick."""
        self._board.listen(listener)

    def listen_to_queue(self, listener: Callable[[], None]) -> None:
        """The same after every decision while requests wait, and once when none waits any more."""
        self._board.listen_to_queue(listener)

    def listen_to_waits(self, listener: Callable[[frozenset[int]], None]) -> None:
        """The same with the ids of the runs whose requests are waited for to end, when they have changed."""
        self._board.listen_to_waits(listener)

    def listen_to_orders(self, on_stop: StopListener, on_swap: SwapListener) -> None:
        """The same with each run that is told to stop, and with each swap that begins."""
        self._board.listen_to_orders(on_stop, on_swap)

    def listen_to_swaps(self, listener: Callable[[Swap], None]) -> None:
        """The same with each swap that is over."""
        self._swaps.listen(listener)

    def lease(self, model: str, client: Client) -> Lease:
        """A place inside a ready run of `model`, for a `with` block; `client` waits for it."""
        return Lease(self.entrance, self._places, model, client)

    def load(self, model: str, client: Client) -> None:
        """Block until `model` is ready, even if its load just failed. Takes no place; raises what a lease raises."""
        self._queue.put(events.LoadDemanded(model))
        with Lease(self.entrance, _UNLIMITED, model, client):
            pass

    def unload(self, models: Sequence[str] | None, client: Client) -> None:
        """Block until the runs of `models` (ids; None: all) have exited; raises ClientGone, and why that cannot be."""
        with self.entrance.new(None) as waiter:
            self._queue.put(events.UnloadRequested(waiter.ticket, None if models is None else tuple(models)))
            waiter.wait_done(client, self.entrance.cancel)

    def change_models(
        self, make: Callable[[Sequence[Upstream]], events.ModelsChanged], limits: Mapping[str, int]
    ) -> None:
        """Other models and rules from now on; returns when they are in force. Raises what `make` raises.

        `make` is called on the controller thread with the addresses of all runs, and returns what is configured now.
        From that call on, `launch` and the like must use the new configuration too. `limits` as for `__init__`.
        """
        change = Call(lambda: self._make_change(make, limits))
        self._queue.put(change)
        self.settle()
        if change.error is not None:
            raise change.error

    def shut_down(self, grace: float, timeout: float) -> bool:
        """Refuse what waits, give requests inside `grace` seconds, stop all runs; False if `timeout` was too short."""
        waiter = self.entrance.new_without_descriptor()
        self._queue.put(events.ShutdownRequested(waiter.ticket, grace))
        return waiter.wait_for(timeout)

    def kill_all(self) -> None:
        """Kill every process at once; returns when the signals are sent, or after KILL_TIMEOUT if the thread hangs."""
        self._queue.put(Call(self._kill_all))
        self.answers(KILL_TIMEOUT)

    def settle(self) -> None:
        """Return when the controller has done everything that it was told before this call, or its thread has ended."""
        marker = threading.Event()
        self._queue.put(marker)
        while not marker.wait(SETTLE_LOOK) and self._thread.is_alive():
            pass

    def answers(self, timeout: float) -> bool:
        """Whether its thread answers within `timeout` seconds; blocks until then."""
        marker = threading.Event()
        self._queue.put(marker)
        return marker.wait(timeout)

    def runs(self) -> tuple[RunView, ...]:
        """What runs, sorted by model, as of the last change. No lock, no wait."""
        return self._board.runs

    def details(self) -> tuple[RunDetail, ...]:
        """The same, with what each run does now. No lock, no wait."""
        return self._board.details(self._clock())

    def tickets(self) -> tuple[TicketView, ...]:
        """Which requests wait for what, as of the last decision. No lock, no wait."""
        return self._board.tickets(self._clock())

    @property
    def is_freeing(self) -> bool:
        """Whether a start waits for memory to become free. No lock, no wait."""
        return self._board.is_freeing

    def behind(self, model: str, since: float) -> str:
        """The other model that requests for `model` have waited for since then; '' for none. No lock, no wait."""
        return self._board.behind(model, since)

    def plan(self, model: str) -> Plan:
        """What a load of `model`, which is configured, would do if it were asked for now. No lock, no wait."""
        return self._board.plan(model, self._clock())

    def failing(self) -> Mapping[str, ModelFailure]:
        """The models whose last load failed, or that keep dying. No lock, no wait."""
        return self._board.failing

    def is_ready(self, model: str) -> bool:
        return self._board.is_ready(model)

    def ready_upstream(self, model: str) -> Upstream | None:
        """Where the ready run of `model` listens, without a place inside it: the run may end at any time."""
        run, ready = self._current.get(model), {run.run_id for run in self._board.runs if run.state == "ready"}
        return run.upstream if run is not None and run.upstream.run_id in ready else None

    def post(self, event: events.Event) -> None:
        self._queue.put(event)

    # -- controller thread only --

    def _work(self) -> None:
        failures = Failures("controller", self._log.error)
        command: Command | None = None
        while not isinstance(command, _Stop):
            command = None
            try:
                command = self._next()
                self._obey(command)
                failures.forget()
            except Exception as error:  # noqa: BLE001 - the top of the thread, which has to go on deciding
                if isinstance(command, Call):
                    command.error = error
                failures.endure((command, self._scheduler))
                if ticket := self.entrance.fail(command):
                    self._queue.put(events.RequestAbandoned(ticket))

    def _next(self) -> Command:
        deadline = self._scheduler.next_deadline()
        try:
            return self._queue.get(timeout=None if deadline is None else seconds_until(deadline, self._clock()))
        except queue.Empty:
            return events.TimePassed()

    def _obey(self, command: Command) -> None:
        if isinstance(command, threading.Event):
            command.set()
        elif not isinstance(command, _Stop):
            event = command.function() if isinstance(command, Call) else command
            if event is not None:
                self._decide(event)

    def _decide(self, event: events.Event) -> None:
        """Have the scheduler handle it, and carry out what follows, to the end."""
        next_event: events.Event | None = event
        while next_event is not None:
            effects = self._scheduler.handle(next_event, self._clock())
            try:
                self._put_up()
            except Exception:  # noqa: BLE001 - as in `_carry_out`
                report("controller", self._log.error, "showing what runs")
            next_event = self._carry_out(effects)

    def _kill_all(self) -> None:
        for run in self._live.values():
            run.process.kill()

    def _make_change(
        self, make: Callable[[Sequence[Upstream]], events.ModelsChanged], limits: Mapping[str, int]
    ) -> events.Event:
        event = make([run.upstream for run in self._live.values()])
        self._places.change(limits)
        return event

    def _put_up(self) -> None:
        published = self._scheduler.published()
        self._board.put_up(published, self._scheduler.failing(), self._clock())
        self._swaps.look(published.runs, published.queue.models, self._clock())

    def _carry_out(self, effects: list[Effect]) -> events.Event | None:
        """Do it in order; the answer to the question at the end, if there is one, is the next event.

        An effect that fails is logged, and the thread that waits for it is told so. The effects after it are still
        carried out, because other threads wait for them.
        """
        for effect in effects:
            if isinstance(effect, ShutIfIdle | ShutGates | LookInside):
                gates = [self._live[run_id].gate for run_id in effect.run_ids]
                return ask_gates(effect, gates, self._clock())
            if isinstance(effect, CheckLaunch):
                return self._check(effect.model)
            try:
                if isinstance(effect, CheckOrder):
                    if run := self._live.get(effect.run_id):  # else it could not be started
                        self._checks.obey(effect, run, self.post)
                elif not self.entrance.has_failed(effect):
                    self._do(effect)
            except Exception:  # noqa: BLE001 - see above
                report("controller", self._log.error, effect)
                self.entrance.fail(effect)
        return None

    def _check(self, model: str) -> events.LaunchChecked:
        problem = self._find_problem(model)
        if problem:
            self._outputs.pop(model, None)  # what is wrong now has no last words
        return events.LaunchChecked(model, problem)

    def _find_problem(self, model: str) -> str:
        try:
            return self._check_launch(model, [run.upstream.proxy for run in self._live.values()])
        except Exception:  # noqa: BLE001 - a thread waits for an answer: what is wrong, the start will tell
            report("controller", self._log.error, model)
            return ""

    def _do(self, effect: Effect) -> None:
        match effect:
            case Admit(ticket, run_id):
                run, waiter = self._live[run_id], self.entrance.of(ticket)
                run.gate.admit(waiter.token)
                self.entrance.pop(ticket).admit(run.gate, run.upstream)
            case Refuse(ticket, fault, message, retry_after):
                waiter = self.entrance.pop(ticket)
                waiter.refuse(fault, message, retry_after, self._outputs.get(waiter.model))
            case Unloaded(ticket):
                self.entrance.pop(ticket).wake()
            case StartProcess(run_id, model, placement):
                self._start(run_id, model, placement)
            case ProbeRun(run_id, address):
                self._live[run_id].probe(address)
                self._checks.forget(run_id)  # what was seen of it was of its server elsewhere
            case StopProcess(run_id, kind, reason):
                run = self._live[run_id]
                run.process.stop()
                self._board.note_stop(run_id, run.upstream.model, kind, reason)
            case PutToSleep(run_id) | WakeUp(run_id) | KillProcess(run_id):
                self._live[run_id].obey(effect, self._log)
            case OpenGate(run_id) | ShutGate(run_id):
                self._live[run_id].gate.shut = isinstance(effect, ShutGate)
            case DropRun(run_id):
                self._drop(run_id)
            case ReportSwap(model, evicted, why, sleepers):
                self._board.note_swap(model, evicted, why, sleepers)
                self._swaps.begin(model, evicted, str(why), self._clock())
            case WriteLog(level, message, last_words_of):
                self._report(level, message, self._outputs.get(last_words_of))

    def _report(self, level: str, message: str, output: RunOutput | None) -> None:
        if output is not None and output.claim():
            self._log.error(message, output.last_words())
        else:
            {"info": self._log.info, "warn": self._log.warn, "error": self._log.error}[level](message)

    def _start(self, run_id: int, model: str, placement: Placement) -> None:
        self._outputs.pop(model, None)
        try:
            self._log.info(f"{model}: starting{placement.where and f' on {placement.where}'}")
            process, upstream = self._launch(run_id, model, placement.gpus, self.post)
            self._outputs[model] = process.output
            run = LiveRun(new_gate(run_id, self.post, self._clock), process, upstream)
            self._live[run_id] = self._current[model] = run
            process.start()
        except Exception as error:  # noqa: BLE001 - else requests would wait for this run for ever
            report("controller", self._log.error, model)
            detail = f"could not start: {str(error) or type(error).__name__}"
            self.post(events.ProcessExited(run_id, detail, is_shortage(error)))

    def _drop(self, run_id: int) -> None:
        """The gate stays shut: a thread that still has it takes the slow path; a request inside may still leave."""
        if run := self._live.pop(run_id, None):  # else it could not be started
            run.gate.shut = True
            model = run.upstream.model
            del self._current[model]
            if model not in self._board.failing:
                self._outputs.pop(model, None)
        self._checks.forget(run_id)
