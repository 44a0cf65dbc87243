"""The shape that the product was asked to have, found in the program's parts while one cold request passes.

`ThreadingHTTPServer` accepts, and its handler threads do what blocks; a request that waits for a model is a command in
the controller's `queue.Queue`; the connection to the upstream is an `http.client.HTTPConnection`; the logs are ring
buffers, each of whose readers has what it has not read yet, bounded, for itself.
"""

from __future__ import annotations

import http.client
import http.server
import queue
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import pytest

from llamaswap_lib.core.events import Event
from llamaswap_lib.endpoints import settings_of
from llamaswap_lib.proxy.connection import TlsUpstreamConnection, UpstreamConnection
from llamaswap_lib.runtime.control.live_run import Upstream
from llamaswap_lib.runtime.logs.monitor import LogMonitor
from llamaswap_lib.server.handler import Handler
from llamaswap_lib.server.listener import Server
from tests.runtime.launches import FakeProcess, Stage
from tests.web.world import DEADLINE, Peer, World, chat, sized


class RealStage(Stage):
    """The real controller; what it starts is the upstream of a world, and ready when the test says so."""

    proxy = ""

    def _launch(
        self, run_id: int, model: str, gpus: tuple[str, ...], post: Callable[[Event], None]
    ) -> tuple[FakeProcess, Upstream]:
        process, _ = super()._launch(run_id, model, gpus, post)
        return process, Upstream(run_id, model, self.proxy)


@contextmanager
def cold(script: Callable[[Peer], None]) -> Iterator[tuple[World, RealStage]]:
    """A world whose model `m` is not loaded."""
    stage = RealStage("m", obeys=False)
    with stage, World(script) as world:
        stage.proxy = world.upstream.proxy
        world.app = replace(world.app, controller=stage.controller)  # in place of the fake one
        world.server.change(settings_of(world.app))
        world.app.take_over()
        yield world, stage


def names_of_threads() -> set[str]:
    return {thread.name.rstrip("0123456789") for thread in threading.enumerate()}


def test_one_cold_request_passes_through_handler_queue_connection_and_answer() -> None:
    seen: dict[str, object] = {}

    def script(peer: Peer) -> None:
        seen["request"] = peer.read_message()
        [seen["connection"]] = world.app.pool.traffic._runs[1].open
        seen["inside"] = stage.inside("m")
        peer.send(sized(b"answered"))

    with cold(script) as (world, stage), world.connect() as client:
        assert isinstance(world.server, http.server.ThreadingHTTPServer)
        assert world.server.RequestHandlerClass is Handler
        client.send(chat())
        process = stage.next_process()  # by the controller's thread, behind its queue
        stage.await_queue("m")
        [ticket] = stage.controller.tickets()
        assert (ticket.model, ticket.reason) == ("m", "loading")
        assert "http-" in names_of_threads()  # a handler thread waits for the model
        process.become_ready()
        assert client.read_message()[1] == b"answered"
        assert isinstance(seen["connection"], http.client.HTTPConnection)
        assert seen["inside"] == 1
        stage.await_until(lambda: stage.inside("m") == 0)
        assert {"controller", "loop", "handlers"} <= names_of_threads()


def test_a_request_for_a_ready_model_is_not_put_into_the_queue() -> None:
    def script(peer: Peer) -> None:
        for _ in range(2):
            peer.read_message()
            peer.send(sized(b"answered"))

    with cold(script) as (world, stage):
        with world.connect() as client:
            client.send(chat())
            stage.next_process().become_ready()
            assert client.read_message()[1] == b"answered"
        stage.controller.settle()
        put_before = stage.controller._queue.unfinished_tasks  # all that were ever put in: nobody says they are done
        with world.connect() as client:
            client.send(chat())
            assert client.read_message()[1] == b"answered"
        assert stage.controller._queue.unfinished_tasks == put_before > 0


def test_the_handler_threads_are_those_of_the_standard_library() -> None:
    assert issubclass(Server, http.server.ThreadingHTTPServer)
    assert issubclass(Handler, http.server.BaseHTTPRequestHandler)
    assert Server.process_request_thread is http.server.ThreadingHTTPServer.process_request_thread
    assert Server.finish_request is http.server.ThreadingHTTPServer.finish_request


def test_what_decides_is_one_thread_behind_one_queue() -> None:
    with RealStage("m", obeys=False) as stage:
        assert type(stage.controller._queue) is queue.Queue
        who: list[str] = []
        stage.controller.listen(lambda _: who.append(threading.current_thread().name))
        lease = threading.Thread(target=lambda: stage.controller.load("m", None))
        lease.start()
        stage.next_process().become_ready()
        lease.join(DEADLINE)
        stage.controller.settle()
        assert set(who) == {"controller"}


@pytest.mark.parametrize("kind", [UpstreamConnection, TlsUpstreamConnection])
def test_every_connection_to_an_upstream_is_one_of_the_standard_library(kind: type[UpstreamConnection]) -> None:
    assert issubclass(kind, http.client.HTTPConnection)


def test_a_log_is_a_ring_whose_readers_each_have_a_bounded_backlog_of_their_own() -> None:
    monitor = LogMonitor(capacity_bytes=100)
    with (
        monitor.subscribe(capacity_bytes=50) as slow,
        monitor.subscribe(capacity_bytes=1_000) as fast,
    ):
        heard = b""
        for number in range(100):
            monitor.write(b"%09d\n" % number)
            heard += fast.take()
        assert heard == b"".join(b"%09d\n" % number for number in range(100))
        assert slow.take().endswith(b"%09d\n" % 99)
        assert len(monitor.history()) <= 100


MOST_CALLS, MOST_FILES = 50, 23


def test_a_small_request_for_a_ready_model_takes_few_calls() -> None:
    """Of Python's functions, on the loop's thread; a coroutine that is resumed counts anew, with all that await it."""
    count, calls = 20, Counter[tuple[str, str]]()

    def script(peer: Peer) -> None:
        for _ in range(count + 1):
            peer.read_message()
            peer.send(sized(b"answered"))

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            calls[frame.f_code.co_filename, frame.f_code.co_name] += 1

    with cold(script) as (world, stage), world.connect() as client:
        client.send(chat())
        stage.next_process().become_ready()
        assert client.read_message()[1] == b"answered"
        world.loop.ask(lambda: sys.setprofile(note))
        for _ in range(count):
            client.send(chat())
            assert client.read_message()[1] == b"answered"
        world.loop.ask(lambda: sys.setprofile(None))
    each = {where: times // count for where, times in calls.items() if times >= count}
    told = "\n".join(f"{times} x {Path(file).name}: {name}" for (file, name), times in each.items())
    assert sum(each.values()) <= MOST_CALLS, told
    assert len({file for file, _ in each}) <= MOST_FILES, told
