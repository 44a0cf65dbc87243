"""All logs of one server: its own lines, the output of its models, and what of both is shown on stdout.

Any thread writes and reads; stdout has a thread of its own, see `sink`. What is kept, and how it is read along, is a
`LogMonitor`'s. Guarantees: a line of ours is one write, and nobody who logs waits for a reader or for stdout. Where
more than one writes to stdout, lines stay whole there (see `whole_lines`), and of several models each says whose it is;
what is kept, and read along, is as it was written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence

from llamaswap_lib.printable import printable, printable_message
from llamaswap_lib.runtime.logs.monitor import LogMonitor, Subscription
from llamaswap_lib.runtime.logs.sink import StdoutSink
from llamaswap_lib.runtime.logs.timefmt import time_stamp
from llamaswap_lib.runtime.logs.whole_lines import WholeLines

DEBUG, INFO, WARN, ERROR = range(4)
BELOW = "    | "  # what others say is not to be taken for what we do
TAB = "\t"
LEVELS = {"debug": DEBUG, "info": INFO, "warn": WARN, "error": ERROR}


class Logger:
    """The server's own lines: `[time ][LEVEL] message`, each in one write with the lines that stand below it."""

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

    @property
    def has_debug(self) -> bool:
        """Whether lines of that level are wanted: some cost something to make."""
        return self._threshold <= DEBUG

    def debug(self, message: str) -> None:
        if self._threshold <= DEBUG:
            self._say("DEBUG", message)

    def info(self, message: str) -> None:
        if self._threshold <= INFO:
            self._say("INFO", message)

    def warn(self, message: str, below: Sequence[str] = ()) -> None:
        """`below`: somebody else's words, each on a line of its own."""
        if self._threshold <= WARN:
            self._say("WARN", message, below)

    def error(self, message: str, below: Sequence[str] = ()) -> None:
        self._say("ERROR", message, below)

    def _say(self, level: str, message: str, below: Sequence[str] = ()) -> None:
        if not message.isprintable():
            message = printable_message(message)
        when = f"{self._stamp(self._clock())} " if self._stamp else ""
        lines = "".join([f"{BELOW}{printable(line, keep=TAB)}\n" for line in below]) if below else ""
        self._write(f"{when}[{level}] {message}\n{lines}".encode("utf-8", "backslashreplace"))


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
        self._has_several_models = False
        self.log = Logger(self._write_both if self._is_both else self.proxy.write, level=level, time_format=time_format)
        self._lock = threading.Lock()  # protects the two below
        self._models: dict[str, LogMonitor] = {}
        self._streams_ended = False
        self._lines: LogMonitor | None = None  # what is shown on stdout, where that is not `combined` byte for byte
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
        """These are all models from now on: forget the monitors of others, and end their readers' subscriptions."""
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

    def _write_both(self, data: bytes) -> None:
        self.proxy.write(data)
        self.combined.write(data)
        if self._lines is not None:
            self._lines.write(data)

    def _is_alone(self) -> bool:
        """Whether nobody but one model writes to stdout."""
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
        """Everything goes to `kept` as it is, and to `lines`, if there are any, in whole lines unless `is_alone`."""
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
            self._lines.write(self._whole.end() + data)

    # -- any thread --

    def note(self, line: bytes) -> None:
        """A whole line of ours about the run."""
        for monitor in self._kept:
            monitor.write(line)
        if self._lines is not None:
            self._lines.write(self._prefix() + line)
