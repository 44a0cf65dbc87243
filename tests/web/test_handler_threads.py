"""Handler threads: borrowed for what blocks, given back, and what becomes of clients that leave meanwhile."""

from __future__ import annotations

import gc
import os
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from llamaswap_lib.errors import ClientGone
from llamaswap_lib.net.loop import Loop
from llamaswap_lib.runtime.control.board import RunDetail
from llamaswap_lib.server.connection import ClientConnection
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.server.handler import Job
from tests.web.upstreams import wait_until
from tests.web.world import DEADLINE, OK, FakeQueue, World, answers, chat, get

LARGE_CHAT = chat(b'{"model":"m","x":"%b"}' % (b"x" * 200_000))  # a handler thread reads what stands in it


class Desk:
    """Stands between a server and its handler threads: jobs wait here until the test lets them go on."""

    def __init__(self, world: World) -> None:
        self._lend = world.server.lend
        self._jobs: list[Job] = []
        self._has_job = threading.Event()
        world.server.lend = self._take  # type: ignore[method-assign]

    def _take(self, job: Job) -> None:
        self._jobs.append(job)
        self._has_job.set()

    def await_job(self) -> None:
        assert self._has_job.wait(DEADLINE)
        self._has_job.clear()

    def let_go(self) -> None:
        """Have a thread do what came last."""
        self._lend(self._jobs.pop())


def the_connection(world: World) -> ClientConnection:
    (connection,) = world.loop.ask(world.server.table.all)
    return connection


class Done(threading.Event):
    """Is set when a job has ended."""

    def resume(self, _: object) -> None:
        self.set()


def handler_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("http-")}


@contextmanager
def held_up(world: World) -> Iterator[Callable[[], None]]:
    """Requests for /running wait in their handler thread, one after the other, until the block ends.

    Gives what blocks until one of them is there.
    """
    is_there, go_on = threading.Event(), threading.Event()

    def details() -> tuple[RunDetail, ...]:
        is_there.set()
        assert go_on.wait(DEADLINE)
        return ()

    def await_one() -> None:
        assert is_there.wait(DEADLINE)
        is_there.clear()

    world.controller.details = details  # type: ignore[method-assign]
    try:
        yield await_one
    finally:
        go_on.set()


# -- borrowed and given back --


def test_a_few_threads_serve_many_requests_one_after_the_other() -> None:
    with World() as world, world.connect() as client:
        for _ in range(50):
            client.send(get("/running"))
            client.read_message()
        assert len(handler_threads()) < 10  # now and then one is not back yet when the next request comes


def test_requests_that_block_at_the_same_time_have_a_thread_each() -> None:
    with World() as world, world.connect() as one, world.connect() as two:
        with held_up(world) as await_one:
            for client in (one, two):
                client.send(get("/running"))
                await_one()
            assert handler_threads() == {"http-1", "http-2"}
        for client in (one, two):
            assert client.read_message()[0].startswith(b"HTTP/1.1 200 ")


def test_what_needs_no_thread_has_none() -> None:
    with World(answers(OK)) as world:
        world.ask(get("/health"))
        world.ask(chat())
        assert handler_threads() == set()


def test_a_thread_that_waits_for_work_holds_nothing_of_its_last_request() -> None:
    class Large:
        """Something a job has made."""

    def is_forgotten() -> bool:
        gc.collect()
        return [large() for large in made] == [None, None]

    with World() as world:
        world.server.patience = 10 * DEADLINE  # they go on waiting
        made: list[weakref.ref[Large]] = []

        def make() -> Large:
            large = Large()
            made.append(weakref.ref(large))
            return large

        for _ in range(2):  # in a new thread, and in one that has waited
            is_done = Done()
            job = Job(make, world.loop, is_done.resume)
            world.server.lend(job)
            assert is_done.wait(DEADLINE)
            job.result()
            del job
        world.ask(get("/running"))  # the loop has got beyond it
        wait_until(is_forgotten)
        assert handler_threads()


def test_a_thread_learns_of_a_client_that_left_while_the_loop_had_another_thread_work_for_it() -> None:
    is_inside, was_told = threading.Event(), threading.Event()

    async def serve(exchange: Exchange) -> None:
        def wait_inside() -> None:
            is_inside.set()
            with suppress(ClientGone):
                exchange.watch.wait(timeout=DEADLINE)

        def work() -> None:
            exchange.on_loop(lambda: exchange.in_thread(wait_inside))
            with suppress(ClientGone):
                exchange.watch.wait(timeout=DEADLINE)
                return
            was_told.set()

        await exchange.in_thread(work)

    with World() as world:
        world.server.change(replace(world.server.settings, serve=serve))
        with world.connect() as client:
            client.send(get("/"))
            assert is_inside.wait(DEADLINE)
        assert was_told.wait(DEADLINE)


def test_threads_end_with_the_server() -> None:
    with World() as world:
        with held_up(world) as await_one, world.connect() as one, world.connect() as two:
            for client in (one, two):
                client.send(get("/running"))
                await_one()
        assert world.server.wait_idle(DEADLINE)
    assert handler_threads() == set()


def test_a_job_after_the_end_is_refused() -> None:
    with World() as world:
        world.server.begin_stop()
        world.server.close()
        is_done = Done()
        job = Job(lambda: None, world.loop, is_done.resume)
        world.loop.ask(lambda: world.server.lend(job))
        assert is_done.wait(DEADLINE)
        with pytest.raises(Exception, match="shutting down"):
            job.result()


def test_a_job_that_comes_as_a_thread_gives_up_waiting_is_done_all_the_same() -> None:
    with World() as world:
        world.server.patience = 0.0  # they give up all the time
        for number in range(2_000):
            is_done = Done()
            world.server.lend(Job(lambda: None, world.loop, is_done.resume))
            assert is_done.wait(DEADLINE), f"job {number} is lost"


# -- clients that leave, and connections that are cut off, meanwhile --


def test_a_connection_that_is_cut_off_meanwhile_stays_until_its_thread_is_back_and_gets_no_answer() -> None:
    with World() as world, world.connect() as client:
        with held_up(world) as await_one:
            client.send(get("/running"))
            await_one()
            connection = the_connection(world)
            world.loop.ask(lambda: connection.cut_off(b"farewell"))
            assert (len(world.server.table), world.server.table.staying_count) == (1, 0)
        assert client.read_to_end() == b"farewell"
        assert world.server.wait_idle(DEADLINE)
        world.wait_for_log('"GET /running HTTP/1.1" 499 0 ')


@pytest.mark.parametrize("how", ["cut off", "aborted"])
def test_a_request_whose_connection_is_ended_while_a_thread_reads_it_goes_to_no_upstream(how: str) -> None:
    with World(answers(OK)) as world, world.connect() as client:
        desk = Desk(world)
        client.send(LARGE_CHAT)
        desk.await_job()
        connection = the_connection(world)
        world.loop.ask(connection.cut_off if how == "cut off" else connection.abort)
        desk.let_go()
        with suppress(ConnectionResetError):
            assert client.read_to_end() == b""
        assert world.server.wait_idle(DEADLINE)
        assert (world.controller.inside, world.upstream.accepted) == (0, 0)


def test_a_place_that_a_thread_has_taken_is_given_back_though_its_connection_has_failed_meanwhile() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        desk = Desk(world)
        world.controller.waiting = FakeQueue()  # a thread takes the place
        client.send(chat())
        desk.await_job()
        connection = the_connection(world)
        world.loop.ask(lambda: connection.fail(ZeroDivisionError()))
        world.controller.waiting.is_over.close()
        world.controller.waiting = None
        desk.let_go()
        with suppress(ConnectionResetError):
            assert client.read_to_end() == b""
        assert world.server.wait_idle(DEADLINE)
        assert (world.controller.leased, world.controller.inside) == (["m"], 0)


def test_a_client_that_has_said_its_last_word_gets_its_answer_from_the_thread() -> None:
    with World() as world, world.connect() as client:
        with held_up(world) as await_one:
            client.send(get("/running"))
            await_one()
            client.end()
        assert client.read_to_end().startswith(b"HTTP/1.1 200 ")


def test_a_client_that_leaves_while_a_thread_waits_for_its_model_ends_that_wait() -> None:
    waiting = FakeQueue()
    with World() as world:
        world.controller.waiting = waiting
        with world.connect() as client:
            client.send(chat())
        world.wait_for_log(' 499 0 "" ')
        assert world.server.wait_idle(DEADLINE)
    waiting.is_over.close()


def test_a_body_in_a_file_that_an_endpoint_asks_for_leaves_it_its_own_thread() -> None:
    """Writing the file borrows a second one, while the first waits for the body."""
    heard: list[bool] = []

    def read(connection: ClientConnection) -> int:
        with job_of(connection).on_loop(lambda: read_body(connection)) as body:
            heard.append(job_of(connection).watch.is_gone)
            return int(body.size_bytes)

    def job_of(connection: ClientConnection) -> Job:
        assert connection.job is not None
        return connection.job

    async def read_body(connection: ClientConnection) -> object:
        return await connection.in_thread(lambda: Body(5))

    async def serve(exchange: Exchange) -> None:
        connection = exchange.client
        assert isinstance(connection, ClientConnection)
        exchange.answer_text(str(await connection.in_thread(lambda: read(connection))))

    with World() as world:
        world.server.change(replace(world.server.settings, serve=serve))
        assert world.ask(get("/"))[1] == b"5"
    assert heard == [False]


class Body:
    """Of so many bytes, to be closed."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None: ...


# -- no thread to be had --


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()], ids=["thread", "memory"])
def test_where_there_is_no_thread_the_request_is_a_503_and_the_log_says_why(error: Exception) -> None:
    with World(answers(OK)) as world, world.connect() as client:
        start, errors = world.server.process_request, [error]

        def fail_once(request: object, address: object) -> None:
            if errors:
                raise errors.pop()
            start(request, address)

        world.server.process_request = fail_once  # type: ignore[assignment, method-assign]
        client.send(get("/running"))
        head, body = client.read_message()
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"there is no thread for the request" in body
        client.send(get("/running"))
        assert client.read_message()[0].startswith(b"HTTP/1.1 200 ")
        assert '[WARN] "GET /running": 503, there is no thread for the request' in world.log


# -- a loop that has ended --


def test_what_a_thread_tells_a_loop_that_has_ended_is_written_nowhere() -> None:
    loop = Loop()
    loop.start()
    number = loop._wakeup.fileno()
    ours, theirs = socket.socketpair()
    loop.stop()
    with ours, theirs:
        os.dup2(ours.fileno(), number)  # somebody else has the number of its descriptor by now
        try:
            loop.call(print)
            theirs.setblocking(False)
            with pytest.raises(BlockingIOError):
                theirs.recv(1)
        finally:
            os.close(number)


def test_what_is_asked_of_a_loop_that_ends_just_then_is_answered_all_the_same() -> None:
    loop = Loop()
    loop.start()
    is_busy, go_on = threading.Event(), threading.Event()

    def end_when_told() -> None:
        is_busy.set()
        assert go_on.wait(DEADLINE)
        loop._stopping = True

    loop.call(end_when_told)
    assert is_busy.wait(DEADLINE)
    heard: list[str] = []
    asking = threading.Thread(target=lambda: heard.append(loop.ask(lambda: "answer")))
    asking.start()
    while len(loop._calls) < 1:
        assert asking.is_alive()
    go_on.set()
    asking.join(DEADLINE)
    loop.stop()
    assert heard == ["answer"]
