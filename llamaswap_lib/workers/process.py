"""One worker as its parent sees it: a child process, from its start to its end.

Any thread asks it something and waits for the answer. The thread `link-in` hears it, and `worker-output-N` has what it
writes, its lines of log, put into ours. Guarantee: what it has said before its end is heard before `end` returns, and
each request of which it has not handed over the row gets one then.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any, Protocol

from llamaswap_lib import __version__
from llamaswap_lib.activity.bare_row import bare_row
from llamaswap_lib.activity.record import Ended, Record
from llamaswap_lib.activity.row import Row
from llamaswap_lib.runtime.descriptors import keep_inherited_descriptors
from llamaswap_lib.runtime.logs.server_logs import Logs
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.upgrade.link import Link, Message
from llamaswap_lib.workers.ledger import Ledger, Noted, new_ledger
from llamaswap_lib.workers.messages import PICKLE, Begin, HandedRows, InForce, Kind, Question, Words
from llamaswap_lib.workers.pulse import MOST_MISSED, PAUSE, Pulse

ANSWER_TIMEOUT = 2.0  # seconds; one that does not answer is left out
END_TIMEOUT = 2.0  # seconds for what a process that has ended has said
ABORT_TIMEOUT = 2.0  # seconds for one that hangs to say where its threads are
PIECE_BYTES = 65_536
_BOOT = """\
import sys
sys.path[:1] = filter(None, sys.path[:1])  # no modules from the folder that we are in
import json, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = json.loads(sys.argv[1])[0]
from llamaswap_lib.runtime.put_off import put_off
put_off()
from llamaswap_lib.workers.worker import main
main(sys.argv[1])
"""


class Household(Protocol):
    """What the parent does for a worker. Any thread."""

    def take_rows(self, rows: Sequence[Row], records: Sequence[Record | None]) -> None:
        """Of requests that have ended; a record where a capture is wanted."""

    def take_events(self, events: bytes) -> None:
        """About requests in progress."""

    def take_connection(self, client: Message, descriptor: int) -> None:
        """Serve the request that comes there; the descriptor is its own."""

    def take_left(self, client: Message, descriptor: int) -> None:
        """A client's connection, for another process to serve; the descriptor is its own."""

    def note_refused(self, name: str, error: str) -> None:
        """That peer takes no connection."""


class WorkerProcess:
    """One of them."""

    def __init__(
        self,
        number: int,
        place: int,
        listening: socket.socket,
        counts: int,
        household: Household,
        logs: Logs,
        look_pause: float = PAUSE,
    ) -> None:
        """Start it; `counts` is the descriptor of those. Raises OSError, RuntimeError and MemoryError."""
        self.number = number
        self._look_pause = look_pause
        self._household = household
        self._logs = logs
        self._numbers = itertools.count(1)
        self._answers: dict[int, queue.SimpleQueue[Any]] = {}  # to questions; None for one that has ended
        self._lock = threading.Lock()  # protects the answers, and `_has_ended`
        self._has_ended = False
        self._version = ""
        self._is_ready, self.is_serving = threading.Event(), threading.Event()
        self._has_said_all = threading.Event()
        keep_inherited_descriptors()
        with ExitStack() as undo:
            memory = new_ledger()
            undo.callback(os.close, memory)
            self._ledger = Ledger(memory)
            ours, theirs = socket.socketpair()
            undo.callback(theirs.close)
            try:
                descriptors = (theirs.fileno(), listening.fileno(), memory, counts)
                self._process = _spawn(Words(sys.path, number, *descriptors, place))
            except BaseException:
                ours.close()
                raise
        self.link = Link(ours, self._hear, self._note_end, logs.log.error, PICKLE, may_lose=True)
        self._pulse = Pulse(lambda: self.link.send({"kind": Kind.PING}))
        self._reader = Thread(self._read, f"worker-output-{number}", (self._process.stdout,))
        try:
            self._reader.start()
            self.link.start()
        except BaseException:
            self.kill()
            self._process.wait()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    # -- any thread --

    def await_ready(self, timeout: float) -> str:
        """Block until it waits for BEGIN; why it cannot be used, '' if it can."""
        if not self._is_ready.wait(timeout) or not self._version:
            return "it did not begin"
        if self._version == __version__:
            return ""
        return f"it is llamaswap {self._version} by now, and this is {__version__}: say llamaswap upgrade"

    def begin(self, begin: Begin) -> None:
        self.link.send({"kind": Kind.BEGIN, "begin": begin})

    def ask(self, question: Question, argument: object = None) -> queue.SimpleQueue[Any]:
        """Where its answer comes; None if it ends."""
        return self._send({"kind": Kind.ASK, "question": question, "argument": argument})

    def change(self, in_force: InForce) -> queue.SimpleQueue[Any]:
        """Have this in force; where it says that it is."""
        return self._send({"kind": Kind.CHANGE, "in_force": in_force})

    def _send(self, message: Mapping[str, Any]) -> queue.SimpleQueue[Any]:
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        number = next(self._numbers)
        with self._lock:
            if self._has_ended:
                answer.put(None)
                return answer
            self._answers[number] = answer
        self.link.send({**message, "number": number})
        return answer

    def kill(self) -> None:
        self._process.kill()

    # -- the thread that looks after it --

    def wait(self) -> str:
        """Block until it has ended; how. One that hangs, or that nobody hears any more, is of no use, and ends."""
        while not self._has_said_all.wait(self._look_pause):
            if self._pulse.has_stopped():
                self._abort()
        try:
            code = self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _abort(self) -> None:
        """End it; what it writes then says where each of its threads is."""
        seconds = MOST_MISSED * self._look_pause
        self._logs.log.error(
            f"worker {self.number} (process {self.pid}) has not answered for {seconds:.0f} s, and is ended;"
            " what it says next is where its threads are"
        )
        self._process.send_signal(signal.SIGABRT)
        self._process.send_signal(signal.SIGCONT)  # it may have been stopped, and hears nothing else then
        if not self._has_said_all.wait(ABORT_TIMEOUT):
            self.kill()
            self._has_said_all.wait()

    def end(self) -> int:
        """Behind its end: hear what is still to be heard, and write rows for the requests that it had; how many."""
        self._has_said_all.wait(END_TIMEOUT)
        self.link.close(END_TIMEOUT)
        self._reader.join(END_TIMEOUT)
        left = list(self._ledger.left())
        self._ledger.close()
        if left:
            rows = [bare_row(_record_of(noted, self.number)) for noted in left]
            self._household.take_rows(rows, [None] * len(rows))
        return len(left)

    # -- thread link-in --

    def _hear(self, message: Message, descriptors: Sequence[int]) -> None:
        kind = message["kind"]
        if kind is Kind.ROWS:
            self._pulse.note_work()
            self._take_rows(message["handed"])
        elif kind is Kind.PONG:
            self._pulse.note_answer()
        elif kind is Kind.CONNECTION:
            self._household.take_connection(message, *descriptors)
        elif kind is Kind.LEFT:
            self._household.take_left(message, *descriptors)
        elif kind is Kind.ANSWER:
            with self._lock:
                self._answers.pop(message["number"]).put(message["answer"])
        elif kind is Kind.EVENTS:
            self._household.take_events(message["events"])
        elif kind is Kind.REFUSED:
            self._household.note_refused(message["name"], message["error"])
        elif kind is Kind.READY:
            self._version = message["version"]
            self._is_ready.set()
        elif kind is Kind.SERVING:
            self.is_serving.set()

    def _take_rows(self, handed: HandedRows) -> None:
        for place in handed.places:
            if place >= 0:
                self._ledger.clear(place)
        self._household.take_rows(handed.rows, handed.records)

    def _note_end(self) -> None:
        with self._lock:
            self._has_ended = True
            answers, self._answers = self._answers, {}
        for answer in answers.values():
            answer.put(None)
        self._is_ready.set()
        self.is_serving.set()
        self._has_said_all.set()

    # -- thread worker-output-N --

    def _read(self, pipe: IO[bytes]) -> None:
        """Whole lines: they were made by a log like ours, or tell of something that is broken."""
        rest = b""
        with pipe:
            while data := os.read(pipe.fileno(), PIECE_BYTES):
                lines, newline, rest = (rest + data).rpartition(b"\n")
                if newline:
                    self._logs.write(lines + newline)
        if rest:
            self._logs.write(rest + b"\n")


def _spawn(words: Words) -> subprocess.Popen[bytes]:
    """In our session, since the system may share its time out by them; a terminal's SIGINT is for us alone."""
    return subprocess.Popen(
        (sys.executable, "-c", _BOOT, json.dumps(words)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(words.link, words.listening, words.ledger, words.counts),
    )


def _record_of(noted: Noted, number: int) -> Record:
    """Of a request whose worker has ended before it had told how that went."""
    return Record(
        timestamp=noted.timestamp,
        seconds=max(0.0, time.time() - noted.timestamp),
        model=noted.model,
        path=noted.path,
        method=noted.method,
        status=0,
        ended=Ended.FAILED,
        error=f"worker {number} ended before it had told how the request went",
        selector=noted.selector,
        is_local=False,
        session=noted.session,
        key=noted.key,
        remote_ip=noted.remote_ip,
    )
