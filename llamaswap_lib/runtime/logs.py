"""What was said: ring buffers of the newest output, and those who read along.

Any thread writes and reads; there is no thread here (stdout has one of its own, see `sink`). Bytes in, bytes out:
nothing is decoded, so partial lines, progress bars and invalid UTF-8 are ordinary. A writer never waits for a reader:
each reader has a bounded buffer that loses its oldest bytes when full, and is told how many. One `write` stays in one
piece. Memory is bounded by the capacities, whatever is written, and a write costs amortised O(its length).

A line is left in a queue, without a lock, for whoever reads to sort in: every request logs one, and a lock here made a
convoy of busy threads.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from llamaswap_lib.printable import printable_message
from llamaswap_lib.runtime.sink import StdoutSink
from llamaswap_lib.runtime.timefmt import time_stamp
from llamaswap_lib.runtime.wakeup import Wakeup

RING_BYTES = 100 * 1024
READER_BYTES = 256 * 1024
LINE_BYTES = 1024  # what is longer is sorted in at once
MANY = 64  # pieces, from which on the writer sorts them in

DEBUG, INFO, WARN, ERROR = range(4)
LEVELS = {"debug": DEBUG, "info": INFO, "warn": WARN, "error": ERROR}


class LogMonitor:
    """The newest `capacity_bytes` of one source, and its readers."""

    def __init__(self, capacity_bytes: int = RING_BYTES) -> None:
        self._capacity_bytes = capacity_bytes
        self._arrivals: deque[bytes] = deque()  # written, and not yet sorted in
        self._lock = threading.Lock()  # protects the ring, changes of the readers, and what the readers hold
        self._ring = bytearray()
        self._readers: tuple[Subscription, ...] = ()  # replaced as a whole
        self._closed = False

    # -- any thread --

    def write(self, data: bytes) -> None:
        """Keep `data` and pass it to every reader; never blocks on one of them."""
        if not data:
            return
        self._arrivals.append(data)
        if len(data) > LINE_BYTES or len(self._arrivals) > MANY:
            with self._lock:
                self._sort_in()
        for reader in self._readers:  # looked at after the append: see `subscribe`
            if not reader._is_woken:
                self._wake(reader)

    def history(self) -> bytes:
        """The newest bytes, oldest first."""
        with self._lock:
            self._sort_in()
            return bytes(self._ring)

    def subscribe(self, *, history: bool = True, capacity_bytes: int = READER_BYTES) -> Subscription:
        """Read along from now on, after the history: nothing is lost or doubled between the two."""
        reader = Subscription(self, self._lock, capacity_bytes)
        with self._lock:
            self._sort_in()
            if history and self._ring:
                reader._feed(bytes(self._ring))
            if self._closed:
                reader._end()
            else:
                self._readers = (*self._readers, reader)
        if self._arrivals or reader._pending:  # whoever wrote it may have looked before we were there
            self._wake(reader)
        return reader

    def close(self, *, keep: Subscription | None = None) -> None:
        """End every subscription but `keep`, and those to come; writing and history go on."""
        with self._lock:
            self._sort_in()
            self._closed = True
            ended = [reader for reader in self._readers if reader is not keep]
            self._readers = tuple(reader for reader in self._readers if reader is keep)
            for reader in ended:
                reader._end()

    def _wake(self, reader: Subscription) -> None:
        with self._lock:  # whoever forgets it closes its wakeup afterwards
            if reader in self._readers and not reader._is_woken:
                reader._is_woken = True
                reader.wakeup.set()

    # -- any thread, under the lock --

    def _sort_in(self) -> None:
        """Put what has arrived into the ring, and where the readers hold theirs."""
        pieces = []
        while self._arrivals:  # only who has the lock takes from it
            pieces.append(self._arrivals.popleft())
        if pieces:
            data = b"".join(pieces)
            _append(self._ring, data, self._capacity_bytes)
            for reader in self._readers:
                reader._feed(data)

    def _forget(self, reader: Subscription) -> None:
        self._readers = tuple(other for other in self._readers if other is not reader)


class Subscription:
    """One reader of a monitor; leave it with `with`, which unsubscribes.

    `wakeup` is readable while there is something to take, or nothing more will come; now and then for nothing.
    """

    def __init__(self, monitor: LogMonitor, lock: threading.Lock, capacity_bytes: int) -> None:
        self.wakeup = Wakeup()
        self._monitor = monitor
        self._lock = lock  # the monitor's
        self._capacity_bytes = capacity_bytes
        self._pending = bytearray()
        self._dropped_bytes = 0  # what was lost lies right before the first pending byte
        self._at_line_start = True
        self._is_woken = False
        self._ended = False

    # -- the reader's thread --

    def take(self) -> bytes:
        """All that is there, b"" if nothing; never blocks. A loss is told, on a line of its own, where it happened."""
        with self._lock:
            if not self._ended:
                self.wakeup.clear()
                self._is_woken = False  # after the clearing, before the look: who writes from here on wakes us again
                self._monitor._sort_in()
            pending, dropped_bytes = self._pending, self._dropped_bytes
            self._pending, self._dropped_bytes = bytearray(), 0
        data = bytes(pending)
        if dropped_bytes:
            line_end = "" if self._at_line_start else "\n"
            data = f"{line_end}— {dropped_bytes} bytes dropped —\n".encode() + data
        if data:
            self._at_line_start = data.endswith(b"\n")
        return data

    @property
    def closed(self) -> bool:
        """Nothing is there and nothing more will come: the monitor was closed."""
        with self._lock:
            return self._ended and not self._pending

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._monitor._forget(self)
        self.wakeup.close()

    # -- any thread, under the monitor's lock --

    def _feed(self, data: bytes) -> None:
        self._dropped_bytes += _append(self._pending, data, self._capacity_bytes)

    def _end(self) -> None:
        self._ended = True
        self.wakeup.set()


def _append(buffer: bytearray, data: bytes, capacity_bytes: int) -> int:
    """Append `data` and cut the front off to fit; how many bytes were cut.

    A bytearray gives up its front by moving a pointer, and is copied once for each eighth of its size written.
    """
    lost_bytes = len(data) - capacity_bytes
    if lost_bytes > 0:  # do not let the buffer grow to the size of the data
        data = data[lost_bytes:]
    buffer += data
    excess_bytes = len(buffer) - capacity_bytes
    if excess_bytes > 0:
        del buffer[:excess_bytes]
    return max(lost_bytes, 0) + max(excess_bytes, 0)


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
        self._threshold = LEVELS.get(level.lower(), INFO)
        self._stamp = time_stamp(time_format)
        self._clock = clock

    # -- any thread --

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
        """`to_stdout` is proxy, upstream, both or none; `stdout` is a file descriptor, None if there is none."""
        self.proxy = LogMonitor()
        self.upstream = LogMonitor()
        shown = {"proxy": self.proxy, "upstream": self.upstream}
        self.combined = shown[to_stdout] if to_stdout in shown else LogMonitor()
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
