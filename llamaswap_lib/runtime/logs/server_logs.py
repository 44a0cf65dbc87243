"""All logs of one server: its own lines, the output of its models, and what of both is shown on stdout.

Any thread writes and reads; stdout has a thread of its own (`StdoutSink`). A `LogMonitor` keeps what was written and
serves its readers. Guarantees: a line of ours is one write, and a thread that logs never waits for a reader or for
stdout. If several write to stdout, their lines stay whole there (see `whole_lines`), and with several models each line
says which one wrote it. What is kept, and what readers get, is as it was written.
"""

from __future__ import annotations

import errno
import math
import os
import select
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from llamaswap_lib.printable import printable
from llamaswap_lib.runtime.logs.logger import Logger
from llamaswap_lib.runtime.logs.monitor import LogMonitor, Subscription
from llamaswap_lib.runtime.logs.whole_lines import WholeLines
from llamaswap_lib.runtime.vital import Failures, VitalThread
from llamaswap_lib.runtime.wakeup import Wakeup, poll_for_input

PAUSE_MS = 10  # after a write; a lone line is shown at once
RETRY_PAUSE_MS = 250  # before the next try, when it takes nothing: a full disk
PIECE_BYTES = select.PIPE_BUF  # a pipe that polls as writable takes this much without blocking
HELD_BYTES = 32_768  # kept of what stdout refuses: a disk that was full may have little room
_GONE = (errno.EPIPE, errno.EBADF)


class Logs:
    """All monitors of one server, and stdout, wired by `logToStdout`.

    `combined` is what is shown: the shown source itself if there is only one; it stays empty for `none`.
    """

    def __init__(
        self, *, level: str = "info", time_format: str = "", to_stdout: str = "proxy", stdout: int | None = 1
    ) -> None:
        """`to_stdout` is proxy, upstream, both or none, and anything else counts as proxy.

        `stdout` is a file descriptor, None if there is none.
        """
        self.proxy = LogMonitor()
        self.upstream = LogMonitor()
        shown = {"upstream": self.upstream, "both": LogMonitor(), "none": LogMonitor()}
        self.combined = shown.get(to_stdout, self.proxy)
        self._is_both = to_stdout == "both"
        self._has_several_models = False
        self.write = self._write_both if self._is_both else self.proxy.write  # whole lines that are ours
        self.log = Logger(self.write, level=level, time_format=time_format)
        self._lock = threading.Lock()  # protects the two below
        self._models: dict[str, LogMonitor] = {}
        self._streams_ended = False
        self._lines: LogMonitor | None = None  # what is shown on stdout, if that is not `combined` byte for byte
        self._stdout: Subscription | None = None
        self._sink: StdoutSink | None = None
        if stdout is not None and to_stdout != "none":
            if self.combined is not self.proxy:
                self._lines = LogMonitor()
            self._stdout = (self._lines or self.combined).subscribe(history=False, goes_on_at_line=True)
            self._sink = StdoutSink(self._stdout, stdout)

    # -- any thread --

    def model(self, model_id: str) -> LogMonitor:
        """The monitor of one model, made on first use."""
        with self._lock:
            if model_id not in self._models:
                self._models[model_id] = LogMonitor()
                if self._streams_ended:
                    self._models[model_id].close()
            return self._models[model_id]

    def keep_only(self, model_ids: Collection[str]) -> None:
        """Forget the monitors of all other models, and close their readers' subscriptions."""
        self._has_several_models = len(model_ids) > 1
        with self._lock:
            gone = [self._models.pop(model_id) for model_id in self._models.keys() - model_ids]
        for monitor in gone:
            monitor.close()

    def model_output(self, model_id: str) -> ModelOutput:
        """Where the output of a model's process goes, for one run."""
        kept = [self.model(model_id), self.upstream]
        if self._is_both:
            kept.append(self.combined)
        prefix = f"[{printable(model_id)}] ".encode("utf-8", "backslashreplace")
        return ModelOutput(kept, self._lines, lambda: prefix if self._has_several_models else b"", self._is_alone)

    def histories(self) -> dict[str, bytes]:
        """What is kept, for another process to `put_before` its own: by whose it is."""
        with self._lock:
            models = {f"model {name}": monitor for name, monitor in self._models.items()}
        return {name: monitor.history() for name, monitor in {**self._own, **models}.items()}

    def put_before(self, histories: Mapping[str, bytes], model_ids: Collection[str]) -> None:
        """Keep those of another process, of the models that there are here."""
        models = {f"model {name}": self.model(name) for name in model_ids if f"model {name}" in histories}
        for name, monitor in {**self._own, **models}.items():
            monitor.put_before(histories.get(name, b""))

    @property
    def _own(self) -> dict[str, LogMonitor]:
        both = {"both": self.combined} if self._is_both else {}
        return {"proxy": self.proxy, "upstream": self.upstream, **both}

    def close_streams(self) -> None:
        """Close every reader's subscription, and all later ones; lines are still kept, and shown on stdout."""
        with self._lock:
            self._streams_ended = True
            monitors = [self.proxy, self.upstream, self.combined, *self._models.values()]
        for monitor in monitors:
            monitor.close(keep=self._stdout)

    def close(self, flush_timeout: float = 1.0) -> None:
        """Close the streams, write what stdout has yet to show, and end its thread; later lines are only kept."""
        self.close_streams()
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close(flush_timeout)

    def _write_both(self, data: bytes) -> None:
        self.proxy.write(data)
        self.combined.write(data)
        if self._lines is not None:
            self._lines.write(data)

    def _is_alone(self) -> bool:
        """Whether one model is all that writes to stdout."""
        return not (self._is_both or self._has_several_models)


class ModelOutput:
    """Where the output of one run goes."""

    def __init__(
        self,
        kept: Sequence[LogMonitor],
        lines: LogMonitor | None,
        prefix: Callable[[], bytes],
        is_alone: Callable[[], bool],
    ) -> None:
        """Everything goes to `kept` as it is, and to `lines`, if that is not None, in whole lines unless `is_alone`."""
        self._kept = kept
        self._lines = lines
        self._prefix = prefix
        self._is_alone = is_alone
        self._whole = WholeLines(prefix)

    # -- the thread that empties the process's pipe --

    def __call__(self, data: bytes) -> None:
        """What the process has written; b"" at its end."""
        for monitor in self._kept:
            monitor.write(data)
        if self._lines is None:
            return
        if data and not self._is_alone():
            self._lines.write(self._whole.add(data))
        else:
            self._lines.write(self._whole.flush() + data)

    # -- any thread --

    def note(self, line: bytes) -> None:
        """A whole line of ours about the run."""
        for monitor in self._kept:
            monitor.write(line)
        if self._lines is not None:
            self._lines.write(self._prefix() + line)


class StdoutSink:
    """Shows `lines` on file descriptor `fd`, on the thread `log-stdout`, until it is closed; then leaves them.

    A thread that logs never waits for a terminal or a pipe: the subscription holds what stdout does not take, up to its
    capacity, and tells what it dropped. One write takes all that has come since the last one, and a short pause follows
    it. So a busy server pays for a system call and a thread switch a hundred times a second, not for each line.
    (Writing from the caller's thread whenever `poll` allows it was rejected: it costs every request two system calls, a
    slow disk stops it too, and the last lines before a quiet hour are not shown.)

    If stdout is closed (EPIPE, EBADF), the thread ends. On any other error, such as a full disk, it tries again: the
    newest HELD_BYTES are kept, and once there is room a line says how much was lost, and why.
    """

    def __init__(self, lines: Subscription, fd: int, retry_pause_ms: int = RETRY_PAUSE_MS) -> None:
        self._retry_pause_ms = retry_pause_ms
        self._lines = lines
        self._fd = fd
        self._deadline = math.inf  # of the flush: finite once closing, written before `_stop` is set
        self._stop = Wakeup()
        self._is_over = False
        self._thread = VitalThread(self._run, "log-stdout")
        self._thread.start()

    # -- any thread but the sink's --

    def close(self, flush_timeout: float) -> None:
        """Write what there is, within `flush_timeout` seconds, and end the thread; call it once.

        A stdout that blocks although it polled as writable (a stopped terminal) blocks only that daemon thread.
        """
        self._deadline = time.monotonic() + flush_timeout
        self._stop.set()
        self._thread.join(flush_timeout + 0.1)
        if not self._thread.is_alive():
            self._stop.close()

    # -- thread log-stdout only --

    def _run(self) -> None:
        failures = Failures("log-stdout", _nobody)  # stdout is where it would be said
        with self._lines:
            while not self._is_over:
                try:
                    self._show_all()
                except Exception:  # noqa: BLE001, PERF203 - the top of the thread
                    failures.endure()

    def _show_all(self) -> None:
        stop = poll_for_input(self._stop.fileno())
        stop_or_lines = poll_for_input(self._stop.fileno(), self._lines.wakeup.fileno())
        while not self._is_over:
            stop_or_lines.poll()
            is_last = self._deadline < math.inf  # read before taking, so that what was written before `close` is taken
            self._is_over = not self._show(self._lines.take()) or is_last
            if not self._is_over:
                stop.poll(PAUSE_MS)

    def _show(self, data: bytes) -> bool:
        """Write it all, blocking; False when stdout is gone or the time to flush is over."""
        rest, refused = data, _Unwritten()
        while rest:
            if not self._is_writable():
                return False
            try:
                written = os.write(self._fd, rest[:PIECE_BYTES])
            except BlockingIOError:  # another process has filled it since
                if not self._pause(PAUSE_MS):
                    return False
            except OSError as error:
                if error.errno in _GONE or not self._pause(self._retry_pause_ms):
                    return False
                rest = refused.more(rest, self._lines.take(), error.strerror or "")
            else:
                refused.note_written(rest[:written])
                rest = rest[written:]
        return True

    def _pause(self, pause_ms: int) -> bool:
        """Wait a while before the next try; False when the time to flush is over."""
        if self._deadline == math.inf and not poll_for_input(self._stop.fileno()).poll(pause_ms):
            return True
        left_ms = (self._deadline - time.monotonic()) * 1000
        if left_ms > 0:
            select.poll().poll(min(left_ms, pause_ms))
        return left_ms > 0

    def _is_writable(self) -> bool:
        """Block until stdout takes something, or has an error; False when the time to flush is over."""
        while True:
            poller = select.poll()
            poller.register(self._fd, select.POLLOUT)
            timeout_ms = None
            if self._deadline == math.inf:
                poller.register(self._stop.fileno(), select.POLLIN)
            else:
                timeout_ms = max(0.0, self._deadline - time.monotonic()) * 1000
            ready = poller.poll(timeout_ms)
            if any(fd == self._fd for fd, _ in ready):
                return True
            if not ready:
                return False


class _Unwritten:
    """What stdout did not take, and gets again."""

    def __init__(self) -> None:
        self._held = b""
        self._offer = b""
        self._lost_bytes = 0
        self._at_line_start = True

    def note_written(self, data: bytes) -> None:
        self._at_line_start = data.endswith(b"\n")

    def more(self, rest: bytes, data: bytes, reason: str) -> bytes:
        """What to offer after `rest` was refused for `reason` and `data` has come: the newest lines of both."""
        if rest is not self._offer:  # the first time, or some of the last offer was taken
            self._held, self._lost_bytes = rest, 0
        held = self._held + data
        excess_bytes = len(held) - HELD_BYTES
        if excess_bytes > 0:
            cut = held.find(b"\n", excess_bytes - 1) + 1 or excess_bytes  # whole lines, where there are any
            self._lost_bytes += cut
            held = held[cut:]
        self._held = self._offer = held
        if self._lost_bytes:
            line_end = "" if self._at_line_start else "\n"
            self._offer = f"{line_end}— {self._lost_bytes} bytes dropped: {reason} —\n".encode() + held
        return self._offer


def _nobody(_message: str) -> None: ...
