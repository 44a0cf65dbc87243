"""A server that hangs with a request inside, and somebody who waits for it to go: when it is ended, and when not."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.freezing import freeze
from tests.e2e.program import Program, demo, models, wait_until
from tests.e2e.talk import Cut, Reply, Wire, ask

CHAT = "/v1/chat/completions"


def stuck(kind: str, *late: str) -> str:
    """The command of a server with `one` thread, or `many`; it listens so many seconds `late`."""
    return (
        shlex.join((sys.executable, "-S", str(Path(__file__).with_name("stuck_server.py")), kind, *late)) + " ${PORT}"
    )


def config(a: str | dict[str, Any], **more: Any) -> dict[str, Any]:
    """`a` and a demo `b`, of which one runs at a time; a request that waits is overdue after a second."""
    fifo = {"routing": {"scheduler": {"settings": {"fifo": {"maxWait": 1}}}}}
    return {**models(a=a, b=demo()), **fifo, "hungAfter": "1s", "unloadTimeout": 2, **more}


def begin(pool: ThreadPoolExecutor, program: Program, **told: Any) -> Future[Reply]:
    """A request that is inside `a` when this returns."""
    reply = pool.submit(program.chat, "a", max_tokens=1, **told)
    wait_until(lambda: program.states().get("a") == "ready" and program.running("a")["in_flight"] == 1, "it is inside")
    return reply


def leader(program: Program, model: str = "a") -> int:
    pid = program.running(model)["pid"]
    assert isinstance(pid, int)
    return pid


def assert_hung(reply: Reply, *words: str) -> None:
    assert (reply.status, reply.json()["error"]["code"]) == (504, "model_hung")
    assert reply.headers["x-should-retry"] == "false"
    for word in words:
        assert word in reply.message


def test_a_stopped_server_is_ended_when_a_request_has_waited_longer_than_max_wait(run_program: RunProgram) -> None:
    with run_program(config(demo(), unloadTimeout=60)) as program, ThreadPoolExecutor() as pool:
        assert program.chat("a", max_tokens=1).status == 200
        freeze(leader(program))
        inside = begin(pool, program)
        assert program.chat("b", max_tokens=1).status == 200
        assert_hung(inside.result(), "the server of a hangs", "its processes are stopped", "for b")
        wait_until(lambda: program.stdout.count("[WARN] a: hangs: ") == 1, "it is told once")
        assert program.stdout.count("[WARN] a: has not answered its check") == 1
        assert program.chat("a", max_tokens=1).status == 200


def test_a_stopped_server_that_a_shell_started_is_ended_too(run_program: RunProgram) -> None:
    shell = {"cmd": shlex.join(("sh", "-c", f"{stuck('many').replace('${PORT}', '$0')}; exit 3")) + " ${PORT}"}
    with run_program(config(shell)) as program, ThreadPoolExecutor() as pool:
        assert program.post(CHAT, {"model": "a"}).status == 200
        [server] = [pid for pid, command in program.relatives().items() if command.startswith(sys.executable)]
        assert server != leader(program)
        freeze(server)
        inside = begin(pool, program)
        assert program.chat("b", max_tokens=1).status == 200
        assert_hung(inside.result(), "its processes are stopped")


def test_a_stopped_shell_says_nothing_of_the_server_that_it_started(run_program: RunProgram) -> None:
    shell = {"cmd": shlex.join(("sh", "-c", f"{stuck('one').replace('${PORT}', '$0')}; exit 3")) + " ${PORT}"}
    with run_program(config(shell)) as program, ThreadPoolExecutor() as pool:
        inside = begin(pool, program, sleep=5)
        freeze(leader(program))
        behind = pool.submit(program.chat, "b", max_tokens=1)
        assert inside.result().status == 200
        assert behind.result().status == 200
        assert "hangs" not in program.stdout


@pytest.mark.parametrize("what", ["burn", "until"])
def test_a_server_with_one_thread_may_be_silent_for_as_long_as_it_works(
    run_program: RunProgram, tmp_path: Path, what: str
) -> None:
    gate = tmp_path / "worked"
    with run_program(config(stuck("one"))) as program, ThreadPoolExecutor() as pool:
        inside = begin(pool, program, **{what: str(gate)})
        behind = pool.submit(program.chat, "b", max_tokens=1)
        wait_until(lambda: "a: has not answered its check" in program.stdout, "the warning")
        [row] = program.queue()
        assert row["reason"].startswith("waiting for a: 1 request in progress, a has not answered its check for")
        overdue = 5.0  # three times `hungAfter`, behind the second until it is overdue
        wait_until(lambda: program.queue()[0]["waiting_seconds"] >= overdue, "it would have been ended")
        gate.touch()
        assert inside.result().status == 200
        assert behind.result().status == 200
        assert program.stdout.count("a: has not answered its check") == 1
        assert "hangs" not in program.stdout


def test_a_server_with_one_thread_that_answers_its_check_between_two_requests_is_left_alone(
    run_program: RunProgram, tmp_path: Path
) -> None:
    gate = tmp_path / "worked"
    with run_program(config(stuck("one"))) as program, ThreadPoolExecutor() as pool:
        first = begin(pool, program, until=str(gate))
        second = pool.submit(program.post, CHAT, {"model": "a", "sleep": 3.5})
        wait_until(lambda: program.running("a")["in_flight"] == 2, "both are inside")
        behind = pool.submit(program.chat, "b", max_tokens=1)
        wait_until(lambda: bool(program.queue()) and program.queue()[0]["waiting_seconds"] >= 2, "it is looked at")
        gate.touch()
        assert [reply.result().status for reply in (first, second, behind)] == [200, 200, 200]
        assert "hangs" not in program.stdout


def test_a_server_that_answered_its_check_beside_a_request_and_then_hangs_is_ended(run_program: RunProgram) -> None:
    with run_program(config(stuck("many"))) as program, ThreadPoolExecutor() as pool:
        inside = begin(pool, program, sleep=60)
        behind = pool.submit(program.chat, "b", max_tokens=1)

        def checks() -> int:
            return int(ask(program.upstream_port("a"), "GET", "/checks").text)

        wait_until(lambda: checks() >= 3, "its check is answered beside the request")
        assert not behind.done()
        assert "a: has not answered" not in program.stdout
        os.kill(leader(program), signal.SIGUSR1)
        assert behind.result().status == 200
        assert_hung(inside.result(), "it had answered before while a request was inside")


def test_an_answer_that_had_begun_is_cut(run_program: RunProgram) -> None:
    slow = config(demo("--tokens-per-second", "50"))
    with run_program(slow) as program, ThreadPoolExecutor() as pool, program.stream("a") as wire:
        wire.read_head_and_first_chunk()
        freeze(leader(program))
        behind = pool.submit(program.chat, "b", max_tokens=1)
        with pytest.raises(Cut):
            list(wire.chunks())
        assert behind.result().status == 200


def test_an_answer_that_the_end_of_the_connection_ends_is_not_taken_for_whole(run_program: RunProgram) -> None:
    with run_program(config(stuck("many"))) as program, ThreadPoolExecutor() as pool, program.wire() as wire:
        wire.request("POST", CHAT, {"model": "a", "drip": 1000, "open": True})
        assert wire.status() == 200
        assert wire.exactly(4) == b"drip"
        freeze(leader(program))
        behind = pool.submit(program.chat, "b", max_tokens=1)
        with pytest.raises(Cut, match="reset"):
            wire.exactly(1000)
        assert behind.result().status == 200


def test_those_inside_are_told_at_once_however_long_the_stop_takes(run_program: RunProgram) -> None:
    stubborn = config(demo("--ignore-sigterm"), unloadTimeout=4)
    with run_program(stubborn) as program, ThreadPoolExecutor() as pool:
        assert program.chat("a", max_tokens=1).status == 200
        freeze(leader(program))
        inside = begin(pool, program)
        behind = pool.submit(program.chat, "b", max_tokens=1)
        assert_hung(inside.result(), "its processes are stopped")
        assert program.states() == {"a": "stopping"}
        assert behind.result().status == 200
        wait_until(lambda: "[WARN] a: did not stop in time, killing it" in program.stdout, "the log says so")


def test_a_request_that_was_told_of_the_loading_is_told_of_the_end_in_the_stream(run_program: RunProgram) -> None:
    entry = {"cmd": stuck("many", "0.5"), "sendLoadingState": True}  # a short wait is not told
    with run_program(config(entry)) as program, ThreadPoolExecutor() as pool, program.wire() as wire:
        value = {"model": "a", "stream": True, "sleep": 60, "messages": []}
        wire.request("POST", CHAT, value)
        assert wire.status() == 200
        wait_until(lambda: program.states().get("a") == "ready", "it is inside")
        freeze(leader(program))
        behind = pool.submit(program.chat, "b", max_tokens=1)
        said = b"".join(wire.chunks())
        assert b"event: error" in said
        assert b"model_hung" in said
        assert behind.result().status == 200


def test_without_a_check_nothing_can_be_known_and_there_is_only_a_warning(run_program: RunProgram) -> None:
    entry = {"cmd": demo(), "checkEndpoint": "none"}
    with run_program(config(entry)) as program, ThreadPoolExecutor() as pool:
        wait_until(lambda: program.chat("a", max_tokens=1).status == 200, "it listens")
        stopped = leader(program)
        freeze(stopped)
        inside = begin(pool, program)
        behind = pool.submit(program.chat, "b", max_tokens=1)
        wait_until(lambda: "[WARN] a: has sent nothing for" in program.stdout, "the warning")
        waited = program.queue()[0]["waiting_seconds"]
        wait_until(lambda: program.queue()[0]["waiting_seconds"] > waited + 2, "twice as long as it takes with a check")
        os.kill(stopped, signal.SIGCONT)
        assert (inside.result().status, behind.result().status) == (200, 200)
        assert "hangs" not in program.stdout


def test_nobody_looks_at_a_model_that_nobody_waits_for(run_program: RunProgram) -> None:
    with run_program(config(stuck("many"))) as program, ThreadPoolExecutor() as pool:
        inside = begin(pool, program, sleep=4)
        assert inside.result().status == 200
        assert ask(program.upstream_port("a"), "GET", "/checks").text == "0"


def test_a_stopped_server_that_nobody_waits_for_is_left_alone(run_program: RunProgram) -> None:
    with run_program(config(demo())) as program, ThreadPoolExecutor() as pool:
        assert program.chat("a", max_tokens=1).status == 200
        stopped = leader(program)
        freeze(stopped)
        inside = begin(pool, program)
        until = time.monotonic() + 4
        wait_until(lambda: time.monotonic() > until, "longer than it takes where somebody waits")
        os.kill(stopped, signal.SIGCONT)
        assert inside.result().status == 200
        assert "check" not in program.stdout


def test_a_stream_that_moves_now_and_then_is_not_silent(run_program: RunProgram) -> None:
    with run_program(config(stuck("one"))) as program, ThreadPoolExecutor() as pool:
        inside = begin(pool, program, drip=25)
        behind = pool.submit(program.chat, "b", max_tokens=1)
        assert inside.result().body == b"drip" * 25
        assert behind.result().status == 200
        assert "has not answered" not in program.stdout


def test_with_0_nothing_is_ended(run_program: RunProgram) -> None:
    entry = {"cmd": demo(), "hungAfter": 0}
    with run_program(config(entry)) as program, ThreadPoolExecutor() as pool:
        assert program.chat("a", max_tokens=1).status == 200
        stopped = leader(program)
        freeze(stopped)
        inside = begin(pool, program)
        behind = pool.submit(program.chat, "b", max_tokens=1)
        wait_until(lambda: "[WARN] a: has not answered its check for 10 s" in program.stdout, "the warning")
        os.kill(stopped, signal.SIGCONT)
        assert (inside.result().status, behind.result().status) == (200, 200)
        assert "hangs" not in program.stdout


def test_a_server_that_is_held_up_by_a_client_that_reads_nothing_is_left_alone(run_program: RunProgram) -> None:
    unspooled = config(stuck("one"), limits={"spoolMB": 0})
    with run_program(unspooled) as program, ThreadPoolExecutor() as pool, Wire(program.port) as wire:
        assert program.post(CHAT, {"model": "a"}).status == 200
        wire.request("POST", CHAT, {"model": "a", "fill": 50_000_000}, extra="Connection: close\r\n")
        assert wire.status() == 200
        behind = pool.submit(program.chat, "b", max_tokens=1)
        wait_until(lambda: "a: has not answered its check" in program.stdout, "the warning")
        waited = program.queue()[0]["waiting_seconds"]
        wait_until(lambda: program.queue()[0]["waiting_seconds"] > waited + 2, "three times `hungAfter`")
        size = sum(map(len, iter(partial(wire.sock.recv, 1 << 20), b"")))
        assert size >= 49_900_000  # a piece was read behind the head
        assert behind.result().status == 200
        assert "hangs" not in program.stdout
