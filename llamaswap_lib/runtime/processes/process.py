"""One life of one upstream: its process group from the start to the exit of its last member.

The controller thread gives orders (`start`, `stop`, `kill`), which never block. The thread `watch-M` starts the
program, sleeps until the leader (the first process) exits, stops what is left of the group and posts `ProcessExited`
exactly once: after the last byte of output was handed on, and as the last event of this run. The threads `output-M`,
`probe-M` and, for a cmdStop, `stop-M` help it and end with the run.

Then no process of the run is left, wherever it went: see `group.RunEnding`. The scheduler measures the time between the
stop and the kill; here only the time of processes that outlive the leader is bounded. This file decides nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from llamaswap_lib.core.events import Event, LeaderExited, LoadTimedOut, ProcessExited, SleepFailed, WakeFailed
from llamaswap_lib.runtime.forward_proxies import ForwardProxy
from llamaswap_lib.runtime.guard.table import MARKER
from llamaswap_lib.runtime.health.check import HealthCheck
from llamaswap_lib.runtime.health.look import LookCancelled, Looker
from llamaswap_lib.runtime.health.server_calls import ServerCalls
from llamaswap_lib.runtime.logs.last_words import RunOutput
from llamaswap_lib.runtime.logs.out_of_memory import out_of_memory
from llamaswap_lib.runtime.ourselves import Ourselves
from llamaswap_lib.runtime.processes.announcements import Announcements
from llamaswap_lib.runtime.processes.command_run import SleepCommands, end_earlier_run
from llamaswap_lib.runtime.processes.end_order import Order
from llamaswap_lib.runtime.processes.group import (
    KILL_GRACE,
    Guard,
    ProcessGroup,
    RunEnding,
    await_end,
    describe_exit,
    strangers,
)
from llamaswap_lib.runtime.processes.launch import LaunchSpec, check_command, describe_error, is_shortage, with_pid
from llamaswap_lib.runtime.processes.obstacles import await_free_address
from llamaswap_lib.runtime.processes.oom_killer import oom_kills, words_of_kill
from llamaswap_lib.runtime.processes.output import OutputPipe
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.wakeup import Wakeup, seconds_until


class Process:
    """One run. `post`, `output` and `note` are called from its threads and must neither block nor call back."""

    def __init__(
        self,
        run_id: int,
        spec: LaunchSpec,
        post: Callable[[Event], None],
        output: Callable[[bytes], None],
        guard: Guard,
        ourselves: Ourselves | None = None,
        note: Callable[[bytes], None] | None = None,
        way_to: Callable[[str], ForwardProxy | None] = lambda _: None,
        *,
        clock: Callable[[], float] = time.monotonic,
        kills: Callable[[], int | None] = oom_kills,
    ) -> None:
        """`output` gets what the process writes, from one thread; `note` our own lines, from any; None: `output`.

        `way_to`: the proxy on the way to a URL that the process announces. `clock` says when the time for a stop is up.
        `kills` is how many processes the kernel has ended for want of memory.
        """
        self.run_id = run_id
        self._spec = spec
        self._unload_timeout = spec.unload_timeout
        self._post = post
        self._clock = clock
        self._kills = kills
        self.output = RunOutput(output, note)
        self.announcements = Announcements(run_id, spec.token, post, self.output)
        self._guard = guard
        self._ourselves = ourselves or Ourselves()
        self._commands = SleepCommands(spec.model, self._start_command, spec.describe)
        self._calls = ServerCalls(run_id, spec, post, self._ourselves, way_to, self._commands.order)
        self._pipe: OutputPipe | None = None  # while there is a group
        self._mark = ""  # by which processes are found that left the group; '' if the model's `env` removes it
        self._lock = threading.Lock()  # protects what follows
        self._order = Order.RUN  # the strongest order so far
        self._kill_at = 0.0  # when the time for the stop is up, once it has begun
        self._has_exited = False  # the leader
        self._group: ProcessGroup | None = None  # while it exists
        self._waiting: Wakeup | None = None  # while it waits for its address to be free
        self._probe: Looker | None = None  # what asks its server last: to be ready, to sleep or to wake
        self._stopper: ProcessGroup | None = None  # cmdStop, while it runs
        self._stop_thread: Thread | None = None
        self._is_handed = False  # another process has what it needs to go on with it
        self._is_let_go = False  # and does

    # -- any thread; the controller's orders --

    @property
    def pid(self) -> int | None:
        """The leader's pid, while its group has processes to signal."""
        group = self._group
        return group.pid if group and not group.has_ended else None

    @property
    def model(self) -> str:
        return self._spec.model

    def change(self, unload_timeout: float, sleep_timeout: float, sleep_check: str) -> None:
        """Use others for its stop and for falling asleep, if that has not begun."""
        self._unload_timeout = unload_timeout
        self._calls.sleep_timeout, self._calls.sleep_check = sleep_timeout, sleep_check

    def probe(self, address: str) -> None:
        """Look there whether it is ready, and nowhere else any more."""
        with self._lock:
            if self._order is not Order.RUN or self._has_exited:
                return
            if self._probe:
                self._probe.cancel()
            self._calls.address = address
            try:
                self._probe = self._calls.look_for_readiness(self._calls.check())
            except (OSError, ValueError, RuntimeError, MemoryError) as error:
                self._post(LoadTimedOut(self.run_id, f"its health probe failed: {describe_error(error)}", address))

    def start(self) -> None:
        """Start it, on a thread of its own; call this once."""
        try:
            Thread(self._watch, f"watch-{self._spec.model}").start()
        except (RuntimeError, MemoryError) as error:  # the system gives us no thread
            self.kill()  # one that was adopted has processes already
            self._post(self._not_started(error))

    def stop(self) -> None:
        """Ask it to stop: by cmdStop, else by SIGTERM to the group. If it has not started yet, it never will."""
        with self._lock:
            if self._order is Order.RUN:
                self._order = Order.STOP
                self._kill_at = self._kill_at or self._clock() + self._unload_timeout
                self._carry_out()

    def sleep(self) -> None:
        """Have its server sleep; `FellAsleep` or `SleepFailed` follows, unless it is to end or does."""
        self._call(self._calls.sleep, SleepFailed)

    def wake(self) -> None:
        """Have its server wake; what follows is as after a start, or `WakeFailed`."""
        self._call(self._calls.wake, WakeFailed)

    def _call(self, call: Callable[[], Looker], failed: type[SleepFailed] | type[WakeFailed]) -> None:
        with self._lock:
            if self._order is not Order.RUN or self._has_exited:
                return
            try:
                self._probe = call()
            except (OSError, ValueError, RuntimeError, MemoryError) as error:
                self._post(failed(self.run_id, self._spec.describe(error)))

    def kill(self) -> None:
        """SIGKILL to the group, and to a cmdStop that still runs."""
        with self._lock:
            self._order = Order.KILL
            self._carry_out()

    # -- for another process that takes over --

    def hand_over(self) -> tuple[dict[str, Any], list[int]] | None:
        """What that needs to know of it, and a descriptor of its output, which the caller closes; None before it runs.

        The output is held from now on: `let_go` or `keep` follows. If its end has begun it stays ours, and there is no
        descriptor. Raises OSError.
        """
        with self._lock:
            is_ending = self._order is not Order.RUN or self._has_exited
            if self._group is None and not is_ending:
                return None
            self._is_handed = True
            group, copies = self._group, []
            if self._pipe is not None and not is_ending:
                copies.append(self._pipe.hold())
            leader = {} if group is None else {"pid": group.pid, "begun": group.begun}
            words = list(self.output.last_words())
            unread = self.announcements.unread.decode("latin-1")
            described = {"last_words": words, "spec": self._spec.described(), "unread": unread}
            return {**leader, "is_ending": is_ending, **described}, copies

    def let_go(self) -> bool:
        """The other process has it from now on. We only tell of its leader's exit, for it is our child.

        False if it stays ours: its end has begun, or it had not begun to run when it could be handed over. Then it
        ends, or never begins: the other process starts another one.
        """
        with self._lock:
            if not self._is_handed and self._order is Order.RUN:
                self._order = Order.KILL
                self._carry_out()
            self._is_let_go = self._order is Order.RUN and not self._has_exited
            if self._is_let_go and self._probe:
                self._probe.cancel()
            return self._is_let_go

    def keep(self) -> None:
        """The other process is not there any more: at least its output is read here."""
        with self._lock:
            self._is_handed = False
            if self._pipe is not None and self._group is not None and not self._has_exited:
                self._pipe.go_on()

    # -- under the lock --

    def _carry_out(self) -> None:
        """Carry out the last order on what exists now: a cmdStop may outlive the group."""
        if self._waiting:
            self._waiting.set()
        if self._probe:
            self._probe.cancel()
        if self._order is Order.KILL:
            for group in filter(None, (self._group, self._stopper)):
                self._signal(group.kill)
        elif self._group is None:
            pass  # not started yet, and never will be; or gone
        elif self._spec.stop_argv and not self._has_exited:
            try:
                self._stop_thread = Thread(self._run_stop_command, f"stop-{self._spec.model}", (self._group.pid,))
                self._stop_thread.start()
            except (RuntimeError, MemoryError):  # there is no thread; the controller must not get this error
                self._stop_thread = None
                self._signal(self._group.terminate)
        else:
            self._signal(self._group.terminate)

    def _signal(self, send: Callable[[], None]) -> None:
        try:
            send()
        except PermissionError as error:  # a leader that changed user, as with sudo
            self._note(f"the process could not be signalled: {describe_error(error)}")

    # -- thread watch-M --

    def _watch(self) -> None:
        ended = ProcessExited(self.run_id, "was lost: the thread that watched it failed")
        try:
            ended = self._live()
            ended = replace(ended, out_of_memory=ended.out_of_memory or out_of_memory(self.output.tail()))
        finally:
            self._post(ended)

    def _live(self) -> ProcessExited:
        """The whole life of the group, from its start; returns how it ended. Ends the group whatever happens."""
        spec = self._spec
        with ExitStack() as stack:
            try:
                check_command(spec.argv)
                check = self._calls.check() if spec.proxy else None
                self._pipe = stack.enter_context(OutputPipe(spec.model, self.announcements.write))
                environment = self._environment()  # may take a while
                if obstacle := self._find_obstacle(environment, self._pipe.write_end):
                    return ProcessExited(self.run_id, f"could not start: {obstacle}")
                if self._order is not Order.RUN:
                    return ProcessExited(self.run_id, "stopped before it was started")
                before, kills = strangers(), self._kills()
                group = ProcessGroup.start(spec.argv, environment, self._pipe.write_end, self._guard, spec.packed_stop)
                stack.callback(self._finish, group, before)
                self._begin(group, check)
            except (OSError, ValueError, RuntimeError, MemoryError) as error:
                return self._not_started(error)
            status, words = group.wait(), ""
            detail = describe_exit(status)
            if self._order is Order.RUN:
                self._post(LeaderExited(self.run_id, detail))
                words = words_of_kill(status, kills, self._kills())
            return ProcessExited(self.run_id, detail, out_of_memory=words)

    def _not_started(self, error: Exception) -> ProcessExited:
        return ProcessExited(self.run_id, f"could not start: {self._spec.describe(error)}", is_shortage(error))

    def _environment(self) -> dict[str, str]:
        """Blocks while leftovers of an earlier llamaswap are stopped. A model's own `env` may remove the mark."""
        marks = self._guard.marks(self.run_id)
        added = dict(entry.partition("=")[::2] for entry in self._spec.env)
        self._mark = "" if MARKER in added else marks.get(MARKER, "")
        return {**os.environ, **marks, **added}

    def _find_obstacle(self, environment: Mapping[str, str], output: int) -> str:
        """Why it cannot be started, '' if it can: an earlier run is still there, or another server where it listens.

        Blocks until that is known, or the run is to be stopped.
        """
        spec = self._spec
        if spec.proxy and (loop := self._ourselves.loop_through(spec.proxy, may_resolve=True)):
            return loop
        ending = Wakeup()
        try:
            with self._lock:
                self._waiting = ending if self._order is Order.RUN else None
            if self._waiting:
                left = end_earlier_run(spec, environment, output, self._guard, ending, self._note)
                how = spec.check_endpoint, spec.argv, ending, self._note, spec.through
                return left or (await_free_address(spec.proxy, *how) if spec.proxy else "")
        except LookCancelled:
            pass
        finally:
            with self._lock:
                self._waiting = None
            ending.close()
        return ""

    def _begin(self, group: ProcessGroup, check: HealthCheck | None) -> None:
        """Make the group known, and carry out an order that came while it was being started."""
        with self._lock:
            self._group = group
            if self._order is not Order.RUN:
                self._carry_out()
            elif self._spec.proxy:
                self._probe = self._calls.look_for_readiness(check)

    def _finish(self, group: ProcessGroup, before: Mapping[int, int]) -> None:
        """Wait until no process of the run and no cmdStop is left; signal those that stay.

        All within one `unloadTimeout`, which counts from the stop, or from the leader's exit if there was no stop.
        """
        with self._lock:
            self._has_exited = True
            if self._probe:
                self._probe.cancel()
            if self._is_let_go:
                return
            self._kill_at = self._kill_at or self._clock() + self._unload_timeout
            stop_thread = self._stop_thread
        self._commands.await_end()  # what still runs was cancelled
        ending = RunEnding(group, self._mark, before, is_time_up=self._is_time_up, signal=self._signal, note=self._note)
        if stop_thread:
            ending.end_group()
            self._await_stop_command(stop_thread)  # which may be about to stop those that left the group
        ending.end_all()
        with self._lock:
            self._group = None

    def _await_stop_command(self, stop_thread: threading.Thread) -> None:
        """Wait for cmdStop: what it does after the exit (free a device, remove a container) belongs to the stop."""
        stop_thread.join(seconds_until(self._kill_at, self._clock()))
        with self._lock:
            if stop_thread.is_alive():
                self._order = Order.KILL
            if self._stopper:
                self._signal(self._stopper.kill)
        stop_thread.join()

    def _is_time_up(self) -> bool:
        return self._order is Order.KILL or self._clock() >= self._kill_at

    # -- thread stop-M --

    def _run_stop_command(self, pid: int) -> None:
        """Run cmdStop to its end; if it fails, send SIGTERM instead."""
        failure = self._stop_by_command(pid)
        with self._lock:
            group = self._group
            if failure and group and not group.has_ended and self._order is not Order.KILL:
                self._note(f"cmdStop {failure}; the process gets SIGTERM instead")
                self._signal(group.terminate)

    def _stop_by_command(self, pid: int) -> str:
        """How cmdStop failed, '' if it did not."""
        try:
            stopper = self._start_command(self._spec.stop_argv, pid)
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            return f"could not start: {self._spec.describe(error)}"
        with self._lock:
            self._stopper = stopper
            if self._order is Order.KILL:
                self._signal(stopper.kill)
        status = stopper.wait()
        with self._lock:
            self._stopper = None
        if not stopper.is_gone():
            self._signal(stopper.kill)
            await_end(stopper, KILL_GRACE)
        return "" if status == 0 else describe_exit(status)

    # -- any thread --

    def _start_command(self, argv: Sequence[str], pid: int | None = None) -> ProcessGroup:
        assert self._pipe is not None, "told something before it was started"
        return ProcessGroup.start(
            with_pid(argv, pid or self.pid or 0), self._environment(), self._pipe.write_end, self._guard
        )

    def _note(self, message: str) -> None:
        self.output.note(f"llamaswap: {message}\n".encode())
