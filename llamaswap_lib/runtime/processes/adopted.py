"""One life of an upstream that another process of ours has started: taken over as it is, with its output.

The other one, the elder, is the parent. While it lives it tells how the leader has exited; and a run whose end had
begun there, it ends to the end. If it dies first, what is left is done here, by what the system tells of any process:
a pidfd says when the leader exits, though not how. Orders are as in `process`, and so is the end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from llamaswap_lib.core.events import Event, LeaderExited, ProcessExited
from llamaswap_lib.runtime.forward_proxies import ForwardProxy
from llamaswap_lib.runtime.guard.table import read_stat
from llamaswap_lib.runtime.ourselves import Ourselves
from llamaswap_lib.runtime.processes.end_order import Order
from llamaswap_lib.runtime.processes.group import Guard, ProcessGroup
from llamaswap_lib.runtime.processes.launch import LaunchSpec
from llamaswap_lib.runtime.processes.output import OutputPipe
from llamaswap_lib.runtime.processes.process import Process
from llamaswap_lib.runtime.wakeup import Wakeup, poll_for_input

UNKNOWN_EXIT = "exited (how is not known)"
_PATIENCE = 1.0  # seconds for the elder to tell how the leader has exited, which it learns when we do


class AdoptedProcess(Process):
    """Made of what `Process.hand_over` gives; `settle`, then `start`, which never fails to have it watched or ended."""

    def __init__(
        self,
        run_id: int,
        spec: LaunchSpec,
        post: Callable[[Event], None],
        output: Callable[[bytes], None],
        guard: Guard,
        ourselves: Ourselves,
        note: Callable[[bytes], None] | None,
        handed: Mapping[str, Any],
        read_end: int | None,
        way_to: Callable[[str], ForwardProxy | None] = lambda _: None,
    ) -> None:
        """`read_end` of its output, owned from now on; None if its end has begun. Raises KeyError and OSError."""
        super().__init__(run_id, spec, post, output, guard, ourselves, note, way_to)
        if spec.token:
            self._calls.address = self.announcements.address = handed["proxy"]
            self.announcements.go_on(handed["unread"].encode("latin-1"))
        self.output.recall(handed["last_words"])
        self._is_of_elder = bool(handed["is_ending"])  # it ends the run
        self._loading_since: float | None = None
        self._news = Wakeup()
        self._detail = ""  # how the leader has exited, once it was told
        self._is_gone = False  # all of it, as it was told
        self._is_elder_gone = False
        self._is_over = False  # nobody reads the news any more
        self._exit = -1  # a pidfd of the leader; -1 if that has exited, as far as can be seen
        if pid := handed.get("pid"):
            self._group = ProcessGroup(pid, handed["begun"], guard)
            self._exit = _open_process(pid, handed["begun"])
        if read_end is not None:
            self._pipe = OutputPipe(spec.model, self.announcements.write, read_end)

    # -- before `start` --

    def settle(self, *, is_of_elder: bool, loading_since: float | None) -> None:
        """What has become of it: whether the elder ends it, and since when it has been loading, if it is probed."""
        self._is_of_elder, self._loading_since = is_of_elder, loading_since

    # -- any thread --

    def probe(self, address: str) -> None:
        """It has said so anew, perhaps before the thread that watches it has begun to look where it was."""
        self._loading_since = None
        super().probe(address)

    def hear(self, detail: str, *, is_gone: bool) -> None:
        """The elder tells how the leader has exited, or (`is_gone`) that no process of the run is left."""
        self._detail = detail
        self._is_gone = self._is_gone or is_gone
        self._wake()

    def note_elder_gone(self) -> None:
        """There will be no more news."""
        self._is_elder_gone = True
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            if not self._is_over:
                self._news.set()

    # -- thread watch-M --

    def _live(self) -> ProcessExited:
        with ExitStack() as stack:
            stack.callback(self._close_news)
            group = self._group
            if group is not None:
                stack.callback(self._finish, group, {})
                self._go_on(stack)
                self._await_exit()
            if not self._is_of_elder:
                self._await_news(lambda: bool(self._detail), _PATIENCE)
            detail = self._detail or UNKNOWN_EXIT
            if self._order is Order.RUN:
                self._post(LeaderExited(self.run_id, detail))
            if self._is_of_elder:
                self._await_news(lambda: self._is_gone)
            return ProcessExited(self.run_id, self._detail or detail)

    def _close_news(self) -> None:
        with self._lock:
            self._is_over = True
            self._news.close()

    def _go_on(self, stack: ExitStack) -> None:
        """Read its output, and have it probed if it is loading."""
        if self._pipe is not None:
            stack.enter_context(self._pipe)
        self._environment()  # for its mark
        with self._lock:
            if self._loading_since is not None and self._order is Order.RUN:
                self._probe = self._calls.look_for_readiness(self._calls.check(), self._loading_since)

    def _await_exit(self) -> None:
        """Until the leader has exited; the end of an elder that was to end it leaves that to us."""
        if self._exit < 0:
            return
        poll = poll_for_input(self._exit, self._news.fileno())
        while not any(descriptor == self._exit for descriptor, _ in poll.poll()):
            self._news.clear()
            if self._is_elder_gone:
                poll.unregister(self._news)
                if self._is_of_elder:
                    self._is_of_elder = False
                    self.stop()
        os.close(self._exit)

    def _await_news(self, has_come: Callable[[], bool], timeout: float | None = None) -> None:
        """Until that is so, or the elder is gone, for `timeout` seconds at most."""
        until = None if timeout is None else time.monotonic() + timeout
        poll = poll_for_input(self._news.fileno())
        while not (has_come() or self._is_elder_gone):
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return
            poll.poll(None if left is None else left * 1000)
            self._news.clear()


def _open_process(pid: int, begun: str) -> int:
    """A pidfd of the process that has begun then; -1 if it has exited and nobody waits for it any more."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    entry = read_stat(pid)
    if entry is not None and entry.start == begun:
        return descriptor
    os.close(descriptor)
    return -1
