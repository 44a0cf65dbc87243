"""All logs of one server: its own lines, the output of its models, and what of both is shown on stdout.

Any thread writes and reads; stdout has a thread of its own, see `sink`. What is kept, and how it is read along, is a
`LogMonitor`'s. Guarantees: a line is one write, and nobody who logs waits for a reader or for stdout.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

from llamaswap_lib.printable import printable_message
from llamaswap_lib.runtime.log_monitor import LogMonitor, Subscription
from llamaswap_lib.runtime.sink import StdoutSink
from llamaswap_lib.runtime.timefmt import time_stamp

DEBUG, INFO, WARN, ERROR = range(4)
LEVELS = {"debug": DEBUG, "info": INFO, "warn": WARN, "error": ERROR}


class Logger:
    """The server's own lines: `[time ][LEVEL] message`, each in one write."""

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        level: str = "info",
        time_format: str = "",
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """An unknown `level` counts as info, an unknown `time_format` as none; `clock` gives nanoseconds."""
        self._write = write
        self._clock = clock
        self.change(level, time_format)

    # -- any thread --

    def change(self, level: str, time_format: str) -> None:
        """Say it so from now on; unknown values count as at the start."""
        self._threshold = LEVELS.get(level.lower(), INFO)
        self._stamp = time_stamp(time_format)

    def debug(self, message: str) -> None:
        if self._threshold <= DEBUG:
            self._say("DEBUG", message)

    def info(self, message: str) -> None:
        if self._threshold <= INFO:
            self._say("INFO", message)

    def warn(self, message: str) -> None:
        if self._threshold <= WARN:
            self._say("WARN", message)

    def error(self, message: str) -> None:
        self._say("ERROR", message)

    def _say(self, level: str, message: str) -> None:
        if not message.isprintable():
            message = printable_message(message)
        when = f"{self._stamp(self._clock())} " if self._stamp else ""
        self._write(f"{when}[{level}] {message}\n".encode("utf-8", "backslashreplace"))


class Logs:
    """All monitors of one server, and stdout, wired by `logToStdout`.

    `combined` is what is shown, so it is the shown source itself where only one is, and stays empty for `none`.
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
        self.log = Logger(self._write_proxy, level=level, time_format=time_format)
        self._lock = threading.Lock()  # protects the two below
        self._models: dict[str, LogMonitor] = {}
        self._streams_ended = False
        self._stdout: Subscription | None = None
        self._sink: StdoutSink | None = None
        if stdout is not None and to_stdout != "none":
            self._stdout = self.combined.subscribe(history=False)
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
        """Forget the monitors of all other models, and end their readers' subscriptions."""
        with self._lock:
            gone = [self._models.pop(model_id) for model_id in self._models.keys() - model_ids]
        for monitor in gone:
            monitor.close()

    def model_output(self, model_id: str) -> Callable[[bytes], None]:
        """Where the output of a model's process goes."""
        own = self.model(model_id)

        def write(data: bytes) -> None:
            own.write(data)
            self.upstream.write(data)
            if self._is_both:
                self.combined.write(data)

        return write

    def end_streams(self) -> None:
        """End every reader's subscription, and those to come; lines are still kept, and shown on stdout."""
        with self._lock:
            self._streams_ended = True
            monitors = [self.proxy, self.upstream, self.combined, *self._models.values()]
        for monitor in monitors:
            monitor.close(keep=self._stdout)

    def close(self, flush_timeout: float = 1.0) -> None:
        """End the streams, bring out what stdout still owes, and end its thread; what comes later is only kept."""
        self.end_streams()
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close(flush_timeout)

    def _write_proxy(self, data: bytes) -> None:
        self.proxy.write(data)
        if self._is_both:
            self.combined.write(data)
