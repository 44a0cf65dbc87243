"""A controller with processes that become ready and exit when the test says so, and clients that are real sockets."""

from __future__ import annotations

import queue
import select
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Any

from llamaswap_lib.core.events import (
    Event,
    FellAsleep,
    LeaderExited,
    LoadTimedOut,
    ProcessExited,
    ProcessReady,
    RunAnnounced,
    RunQueued,
)
from llamaswap_lib.core.eviction import Evict, Explain, unexplained
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.scheduler import Scheduler
from llamaswap_lib.core.snapshot import RunView, TicketView
from llamaswap_lib.errors import ClientGone
from llamaswap_lib.runtime.control.entrance import Client, Waiter
from llamaswap_lib.runtime.control.live_run import Upstream
from llamaswap_lib.runtime.control.succession import SuccessionController
from llamaswap_lib.runtime.health.watchdog import CheckPlan, Checks
from llamaswap_lib.runtime.logs.last_words import RunOutput
from llamaswap_lib.runtime.logs.logger import Logger

PATIENCE = 30.0


def one_at_a_time(target: str, running: Collection[str]) -> list[str]:
    """The policy of models that all clash."""
    return [model for model in running if model != target]


def side_by_side(target: str, running: Collection[str]) -> list[str]:
    """The policy of models that do not clash."""
    del target, running
    return []


def standing_still() -> float:
    """A clock by which no pause after a failure comes to its end."""
    return 100.0


class FakeProcess:
    """What the controller starts: it does nothing by itself, but for those that are told to obey."""

    def __init__(self, run_id: int, model: str, post: Callable[[Event], None], *, obeys: bool) -> None:
        self.run_id = run_id
        self.model = model
        self.pid: int | None = 1000 + run_id
        self.orders: list[str] = []
        self.is_of_elder = False
        self.loading_since: float | None = None
        self.output = RunOutput(lambda _: None)
        self.output.write(f"last words of run {run_id} of {model}\n".encode())
        self._ordered = threading.Condition()
        self._post = post
        self._obeys = obeys

    # -- the test's side --

    def lose_leader(self, detail: str) -> None:
        self._post(LeaderExited(self.run_id, detail))

    def become_ready(self, address: str = "") -> None:
        self._post(ProcessReady(self.run_id, address))

    def fall_asleep(self) -> None:
        self._post(FellAsleep(self.run_id))

    def announce(self, address: str) -> None:
        self._post(RunAnnounced(self.run_id, address))

    def tell_state(self, text: str) -> None:
        self._post(RunQueued(self.run_id, text))

    def exit(self, detail: str = "exited with code 0") -> None:
        self._post(ProcessExited(self.run_id, detail))

    def exit_when_stopped(self) -> None:
        self._obeys = True

    def time_out(self, detail: str = "not ready after 15 s") -> None:
        self._post(LoadTimedOut(self.run_id, detail))

    def await_order(self, order: str) -> None:
        with self._ordered:
            assert self._ordered.wait_for(lambda: order in self.orders, PATIENCE), f"{order} not in {self.orders}"

    # -- controller thread --

    def hand_over(self) -> tuple[dict[str, Any], list[int]] | None:
        self._order("hand over")
        return {"is_ending": self.is_of_elder}, []

    def let_go(self) -> bool:
        self._order("let go")
        return not self.is_of_elder

    def keep(self) -> None:
        self._order("keep")

    def settle(self, *, is_of_elder: bool, loading_since: float | None) -> None:
        self.is_of_elder, self.loading_since = is_of_elder, loading_since

    def hear(self, detail: str, *, is_gone: bool) -> None:
        self._order(f"gone: {detail}" if is_gone else detail)

    def note_elder_gone(self) -> None:
        self._order("elder gone")

    def start(self) -> None:
        self._order("start")
        if self._obeys:
            self.become_ready()

    def probe(self, address: str) -> None:
        self._order(f"probe {address}")
        if self._obeys:
            self.become_ready(address)

    def sleep(self) -> None:
        self._order("sleep")
        if self._obeys:
            self.fall_asleep()

    def wake(self) -> None:
        self._order("wake")
        if self._obeys:
            self.become_ready()

    def stop(self) -> None:
        self._order("stop")
        if self._obeys:
            self.exit()

    def kill(self) -> None:
        self._order("kill")
        if self._obeys:
            self.exit("killed by SIGKILL")

    def _order(self, order: str) -> None:
        with self._ordered:
            self.orders.append(order)
            self._ordered.notify_all()


class Stage:
    """A running controller, and the processes it has started so far."""

    def __init__(
        self,
        *models: str,
        evict: Evict = one_at_a_time,
        max_wait: float = 0.0,
        ttl: float = 0.0,
        unload_timeout: float = PATIENCE,
        limits: Mapping[str, int] | None = None,
        obeys: bool = True,
        is_announced: bool = False,
        can_sleep: bool = False,
        explain: Explain = unexplained,
        scheduler: type[Scheduler] = Scheduler,
        launch_faults: Sequence[Exception] = (),
        log_fault: str = "",
        clock: Callable[[], float] = time.monotonic,
        checks: CheckPlan | None = None,
    ) -> None:
        """`obeys`: processes become ready and exit as soon as they are told to; `launch_faults` come first.

        There is no memory for the first line of the log that holds `log_fault`.
        """
        self._launch_faults = list(launch_faults)
        self._log_fault = log_fault
        self.problem = ""  # that keeps every model from being started
        self.lines: list[str] = []
        self.processes: list[FakeProcess] = []
        self.published: list[tuple[RunView, ...]] = []
        self._started: queue.SimpleQueue[FakeProcess] = queue.SimpleQueue()
        self._obeys = obeys
        specs = {model: ModelSpec(0, ttl, unload_timeout, is_announced, can_sleep=can_sleep) for model in models}
        log = Logger(self._note_line, level="debug")
        self.controller = SuccessionController(
            scheduler(specs, evict, max_wait, explain=explain),
            self._launch,
            limits=limits or {},
            log=log,
            check_launch=lambda _model, _running: self.problem,
            clock=clock,
            checks=Checks(checks, log),
        )
        self.controller.listen(self.published.append)

    def _note_line(self, line: bytes) -> None:
        text = line.decode()
        if self._log_fault and self._log_fault in text:
            self._log_fault = ""
            raise MemoryError
        self.lines.append(text)

    def _launch(
        self, run_id: int, model: str, gpus: tuple[str, ...], post: Callable[[Event], None]
    ) -> tuple[FakeProcess, Upstream]:
        if self._launch_faults:
            raise self._launch_faults.pop(0)
        process = FakeProcess(run_id, model, post, obeys=self._obeys)
        self.processes.append(process)
        self._started.put(process)
        return process, Upstream(run_id, model, f"http://{model}")

    def __enter__(self) -> Stage:
        self.controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            if not self.controller.is_retired:
                process.exit("ended by the test")
        self.controller.close()

    def fail_launch(self, fault: Exception) -> None:
        """The next launch fails with it."""
        self._launch_faults.append(fault)

    def next_process(self) -> FakeProcess:
        """The one that was started next."""
        return self._started.get(timeout=PATIENCE)

    def states(self) -> dict[str, str]:
        self.controller.settle()
        return {run.model: run.state for run in self.controller.runs()}

    def tickets(self) -> tuple[TicketView, ...]:
        """Who waits, once everything told before is done."""
        self.controller.settle()
        return self.controller.tickets()

    def inside(self, model: str) -> int:
        """How many requests the run of `model` serves now."""
        return sum(detail.in_flight for detail in self.controller.details() if detail.run.model == model)

    def await_queue(self, *models: str) -> None:
        """Wait until exactly these models are waited for, one entry a ticket."""
        self.await_until(lambda: sorted(ticket.model for ticket in self.tickets()) == sorted(models))

    def await_until(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < deadline, self.tickets()
            threading.Event().wait(0.002)

    def is_queue_empty(self) -> bool:
        return not self.tickets()


def staying(client: socket.socket | None) -> Client:
    """Waits for as long as the client at the other end of `client` stays; raises ClientGone. None cannot leave."""
    if client is None:
        return None

    def wait(waiter: Waiter) -> None:
        poll = select.poll()
        poll.register(client, select.POLLIN)
        poll.register(waiter.fileno(), select.POLLIN)
        while waiter.fileno() not in dict(poll.poll()):
            if not client.recv(1, socket.MSG_PEEK):
                raise ClientGone
            poll.unregister(client)

    return wait


class Visit:
    """A thread with a lease: it goes in, stays until told to leave, and remembers what happened."""

    def __init__(self, stage: Stage, model: str, client: socket.socket | None = None) -> None:
        self._stage = stage
        self._model = model
        self._client = client
        self._is_in = threading.Event()
        self._may_leave = threading.Event()
        self._is_lost = False
        self._is_over = threading.Event()
        self.upstream: Upstream | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"visit-{model}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            lease = self._stage.controller.lease(self._model, staying(self._client))
            with lease as self.upstream:
                self._is_in.set()
                self._may_leave.wait(PATIENCE)
                if self._is_lost:
                    self._is_in.clear()
                    self._may_leave.clear()
                    self.upstream = lease.move_on()
                    self._is_in.set()
                    self._may_leave.wait(PATIENCE)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error
        self._is_over.set()

    def await_in(self) -> Upstream:
        assert self._is_in.wait(PATIENCE), self.error
        assert self.upstream is not None
        return self.upstream

    def is_in(self) -> bool:
        return self._is_in.is_set()

    def is_over(self) -> bool:
        return self._is_over.is_set()

    def lose(self) -> None:
        """Its run hung up: it moves on to the next one."""
        self._is_lost = True
        self._may_leave.set()

    def leave(self) -> None:
        self._may_leave.set()
        self._thread.join(PATIENCE)
        assert self.error is None

    def await_error(self) -> Exception:
        self._thread.join(PATIENCE)
        assert self.error is not None
        return self.error
