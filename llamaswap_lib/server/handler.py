"""Handler threads, borrowed by exchanges for what blocks: waiting for a model, connecting by name, our own endpoints.

A `Job` is what one exchange has done on such a thread; `HandlerThreads` are those of one server. The thread runs
straight-line blocking code; what only the loop can do (send to the client, read the body) it asks the loop for, and
waits (`on_loop`). Guarantees: the exchange goes on when the job has ended, and not before; a client that leaves
meanwhile is noticed by the loop, which tells the job's `Watch`: whatever waits there raises ClientGone.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from llamaswap_lib.errors import ClientGone, HttpError, OutOfResources, ServiceUnavailable
from llamaswap_lib.net.loop import Loop
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.vital import Failures, VitalThread, report
from llamaswap_lib.runtime.wakeup import Wakeup, poll_for_input

MOST_WAITING = 16  # handler threads that wait for work: each holds memory for its stack
OnLoop = Callable[[], Coroutine[Any, Any, Any]]


class Waiting(Protocol):
    """Something that is waited for; `fileno` is readable once it is over, `ticket` its number in the queue."""

    @property
    def ticket(self) -> int: ...

    def fileno(self) -> int: ...


class Watch:
    """Waits for descriptors, with an eye on one client."""

    __slots__ = ("_wakeup", "is_gone")

    def __init__(self) -> None:
        self.is_gone = False
        self._wakeup: Wakeup | None = None  # made when something is waited for

    # -- handler thread --

    def check(self) -> None:
        """Raise ClientGone if the client has left."""
        if self.is_gone:
            raise ClientGone

    def wait_for(self, waiting: Waiting) -> None:
        """Block until it is over; raises ClientGone."""
        self.wait(waiting.fileno())

    def wait(self, *fds: int, timeout: float | None = None) -> bool:
        """Block until one of them is readable or broken; False after `timeout` seconds; raises ClientGone."""
        if self._wakeup is None:
            self._wakeup = Wakeup()
        self.check()  # only now: the loop sets the flag first, then the wakeup
        ready = poll_for_input(self._wakeup.fileno(), *fds).poll(None if timeout is None else max(0.0, timeout * 1000))
        self.check()
        return bool(ready)

    # -- loop thread --

    def note_gone(self) -> None:
        """The client has left."""
        self.is_gone = True
        if self._wakeup is not None:
            self._wakeup.set()

    def close(self) -> None:
        """Nobody waits any more."""
        if self._wakeup is not None:
            self._wakeup.close()
            self._wakeup = None


class Job:
    """What a handler thread does for one exchange, once."""

    __slots__ = ("_answer", "_error", "_function", "_loop", "_refusal", "_result", "_resume", "_turn", "watch")

    def __init__(self, function: Callable[[], Any], loop: Loop, resume: Callable[[Any], object]) -> None:
        """`resume` is called on the loop with what the thread asks the loop for, and with None at the end."""
        self.watch = Watch()
        self._function = function
        self._loop = loop
        self._resume = resume
        self._result: Any = None
        self._error: BaseException | None = None
        self._answer: Any = None
        self._refusal: BaseException | None = None
        self._turn: threading.Lock | None = None  # held while the loop does something for the thread

    # -- handler thread --

    def run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # noqa: BLE001 - it is that of the exchange
            self._error = error
        self._loop.call(self._resume, None)

    def on_loop(self, make: OnLoop) -> Any:
        """Have the loop run the coroutine that `make` makes; blocks; what it returns, and raises what it raises."""
        if self._turn is None:
            self._turn = threading.Lock()
            self._turn.acquire()
        self._loop.call(self._resume, make)
        self._turn.acquire()
        refusals, self._refusal = [self._refusal], None
        _raise(refusals)
        return self._answer

    # -- the thread that starts handler threads --

    def give_up(self, error: HttpError) -> None:
        """There is no thread for it."""
        self._error = error
        self._loop.call(self._resume, None)

    # -- loop thread --

    def answer(self, answer: Any) -> None:
        """What was asked for is done."""
        assert self._turn is not None, "nothing was asked for"
        self._answer = answer
        self._turn.release()

    def refuse(self, error: BaseException) -> None:
        """What was asked for could not be done."""
        assert self._turn is not None, "nothing was asked for"
        self._refusal = error
        self._turn.release()

    def result(self) -> Any:
        """What came of it, at its end; raises what it raised."""
        self.watch.close()
        errors, self._error = [self._error], None
        _raise(errors)
        return self._result


def _raise(errors: list[BaseException | None]) -> None:
    """Raise the one that is taken out: an error keeps all that it goes through, and what kept the error too."""
    error = errors.pop()
    try:
        if error is not None:
            raise error
    finally:
        del error


class Handler(BaseHTTPRequestHandler):
    """A handler thread: `request` is a list with its first job."""

    request: list[Job]
    server: HandlerThreads

    def setup(self) -> None:
        """There is no file to be made of a job."""

    def handle(self) -> None:
        job: Job | None = self.request.pop()  # what it holds is not to live as long as the thread
        while job is not None:
            job.run()
            job = None
            job = self.server.next_job()

    def finish(self) -> None:
        """Nothing is left to be written."""


class HandlerThreads(ThreadingHTTPServer):
    """The handler threads of a server: each does one job after the other, and ends when it was not needed for a while.

    Thread `handlers` starts them.
    """

    daemon_threads = True
    patience = 10.0  # seconds that a thread waits for another job

    def __init__(self, address: tuple[str, int], on_error: Callable[[str], None]) -> None:
        super().__init__(address, Handler, bind_and_activate=False)
        self._on_error = on_error
        self._numbers = itertools.count(1)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()  # for threads that wait for one; None: end
        self._waiting: deque[None] = deque()  # an entry for each of those threads that nobody has a job for
        self._orders: queue.SimpleQueue[Job | None] = queue.SimpleQueue()  # jobs that need a new thread; None: no more
        self._threads_open: set[threading.Thread] = set()
        self._is_closed = False
        self._starting = VitalThread(self.serve_forever, "handlers")

    # -- main thread --

    def start_lending(self) -> None:
        self._starting.start()

    def join_threads(self, grace: float) -> None:
        """Behind `end_lending`: block until the threads have ended, for at most `grace` seconds."""
        self._orders.put(None)
        if self._starting.ident is not None:
            self._starting.join()
        while self._waiting:
            with suppress(IndexError):
                self._waiting.pop()
                self._jobs.put(None)
        deadline = time.monotonic() + grace
        for thread in list(self._threads_open):
            thread.join(max(0.0, deadline - time.monotonic()))

    # -- loop thread only --

    def lend(self, job: Job) -> None:
        """Have a handler thread run it."""
        if self._is_closed:
            job.give_up(ServiceUnavailable("the server is shutting down"))
            return
        try:
            self._waiting.pop()
        except IndexError:
            self._orders.put(job)
        else:
            self._jobs.put(job)

    def end_lending(self) -> None:
        """From now on there is no thread for a job."""
        self._is_closed = True

    # -- thread handlers --

    def serve_forever(self, poll_interval: float = 0.0) -> None:  # noqa: ARG002 - the signature is not ours
        """Start a thread for each job that needs one."""
        failures = Failures("handlers", self._on_error)
        while self._serve_order(failures):
            pass

    def _serve_order(self, failures: Failures) -> bool:
        """Wait for one, and start its thread; False at the end. What a job holds is not held here while it waits."""
        job = self._orders.get()
        if job is None:
            return False
        try:
            self.process_request([job], None)
        except (RuntimeError, MemoryError) as error:
            job.give_up(OutOfResources(f"there is no thread for the request: {str(error) or 'not enough memory'}"))
        except Exception:  # noqa: BLE001 - the top of the thread
            job.give_up(OutOfResources("there is no thread for the request"))
            failures.endure()
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a handler thread whose first job is in `request`; raises RuntimeError and MemoryError."""
        thread = Thread(self.process_request_thread, f"http-{next(self._numbers)}", (request, client_address))
        self._threads_open.add(thread)
        try:
            thread.start()
        except BaseException:
            self._threads_open.discard(thread)
            raise

    # -- handler threads --

    def next_job(self) -> Job | None:
        """Block for another job for a while; None: the thread is not needed any more."""
        if len(self._waiting) >= MOST_WAITING:
            return None
        self._waiting.append(None)
        if self._is_closed:
            return None
        try:
            return self._jobs.get(timeout=self.patience)
        except queue.Empty:
            pass
        try:
            self._waiting.pop()
        except IndexError:  # somebody has a job for one of us
            return self._jobs.get()
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the signature is not ours
        """Something of ours is broken, beyond what a job tells its exchange."""
        report(threading.current_thread().name, self._on_error)

    def shutdown_request(self, request: Any) -> None:  # noqa: ARG002 - as above
        """The thread ends; there is nothing to be closed."""
        self._threads_open.discard(threading.current_thread())
