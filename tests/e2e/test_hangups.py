"""Clients that leave: the upstream's work ends at once, wherever the request was, and nobody else is disturbed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.gates import loads_until, stops_after
from tests.e2e.program import Program, demo, models, upstream, wait_until
from tests.e2e.talk import Wire, events

PACED = demo("--tokens-per-second", "100")
SHORT = {"max_tokens": 3, "ignore_eos": True}


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset])
def test_a_client_that_leaves_in_mid_stream_ends_the_work_for_it(
    run_program: RunProgram, leave: Callable[[Wire], None]
) -> None:
    with run_program(models(m=PACED)) as program, program.stream("m", max_tokens=100) as other:
        leaver = program.stream("m")
        for wire in (leaver, other):
            wire.read_head_and_first_chunk()
        leave(leaver)
        assert events(b"".join(other.chunks()))[-1] == "[DONE]"
        program.await_stats("m", cancelled=1, in_progress=0)


def test_a_half_closed_connection_counts_as_left(run_program: RunProgram) -> None:
    with run_program(models(m=PACED)) as program, program.stream("m") as wire:
        wire.read_head_and_first_chunk()
        wire.sock.shutdown(1)
        program.await_stats("m", cancelled=1, in_progress=0)


def test_a_half_closed_connection_gets_the_answers_of_our_own_endpoints(run_program: RunProgram) -> None:
    with run_program(models(m=demo("--stop-seconds", "0.3"))) as program, program.wire() as wire:
        assert program.chat("m").status == 200
        for path in ("/v1/models", "/unload", "/running"):
            wire.request("GET", path)
        wire.sock.shutdown(1)
        assert [wire.answer()[0] for _ in range(2)] == [200, 200]
        assert wire.answer() == (200, b'{"running":[]}')
        assert wire.sock.recv(1) == b""


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_client_that_leaves_during_prefill_ends_the_work_for_it(run_program: RunProgram, is_stream: bool) -> None:
    with run_program(models(m=demo("--prompt-seconds", "30"))) as program:
        wire = program.stream("m", stream=is_stream)
        program.await_stats("m", in_progress=1)
        wire.close()
        program.await_stats("m", cancelled=1, in_progress=0)


def test_a_client_that_leaves_while_a_whole_answer_is_made_ends_the_work_for_it(run_program: RunProgram) -> None:
    with run_program(models(m=PACED)) as program:
        wire = program.stream("m", stream=False)
        program.await_stats("m", in_progress=1)
        wire.close()
        program.await_stats("m", cancelled=1, in_progress=0)


def test_a_client_that_sent_its_next_request_ahead_and_leaves_is_noticed(run_program: RunProgram) -> None:
    with run_program(models(m=PACED)) as program:
        wire = program.stream("m")
        wire.read_head_and_first_chunk()
        wire.request("GET", "/health")
        wire.reset()
        program.await_stats("m", cancelled=1, in_progress=0)


def test_a_client_that_leaves_during_a_load_does_not_end_it_for_another(
    run_program: RunProgram, tmp_path: Path
) -> None:
    gate = tmp_path / "loaded"
    with run_program(models(m=loads_until(gate)), log_level="debug") as program:
        with program.stream("m", **SHORT) as stays:
            leaver = program.stream("m")
            wait_until(lambda: program.states() == {"m": "starting"}, "it loads")
            leaver.close()
            wait_until(lambda: '" 499 0 ' in program.stdout, "the request is over")
            assert program.states() == {"m": "starting"}
            gate.touch()
            assert stays.status() == 200
            assert events(b"".join(stays.chunks()))[-1] == "[DONE]"
        stats = program.stats("m")
        assert (stats["requests"], stats["cancelled"]) == (1, 0)  # the one who left never reached it
        program.await_starts("m", 1)


def test_a_load_that_nobody_waits_for_gives_way_at_once(run_program: RunProgram) -> None:
    with run_program(models(slow=demo("--load-seconds", "60"), quick=demo())) as program:
        wire = program.stream("slow")
        wait_until(lambda: program.states() == {"slow": "starting"}, "it loads")
        wire.close()
        assert program.chat("quick").status == 200
        assert program.states() == {"quick": "ready"}


def test_a_client_that_leaves_while_it_waits_for_a_busy_model_to_finish(run_program: RunProgram) -> None:
    with run_program(models(busy=PACED, wanted=demo())) as program, program.stream("busy") as other:
        other.read_head_and_first_chunk()
        leaver = program.stream("wanted")
        with ThreadPoolExecutor() as pool:
            program.get("/health")
            leaver.close()
            wait_until(lambda: '" 499 0 ' in program.stdout, "the request is over")
            again = pool.submit(program.chat, "busy", **SHORT)  # not held up by who has left
            assert again.result().status == 200
        program.await_stats("busy", cancelled=0, in_progress=1)
        assert program.states() == {"busy": "ready"}
        assert program.starts("wanted") == 0


def test_a_client_that_leaves_an_unload_does_not_end_it(run_program: RunProgram, tmp_path: Path) -> None:
    gate = tmp_path / "stopped"
    with run_program(models(m={"cmd": demo(), "cmdStop": stops_after(gate)})) as program:
        assert program.chat("m").status == 200
        with program.wire() as wire:
            wire.request("GET", "/unload")
            wait_until(lambda: program.states() == {"m": "stopping"}, "it stops")
        assert program.states() == {"m": "stopping"}
        gate.touch()
        wait_until(lambda: program.states() == {}, "it has stopped")


def test_a_client_that_leaves_a_silent_upstream_gives_its_place_back(run_program: RunProgram) -> None:
    with run_program(models(m={"cmd": upstream(), "concurrencyLimit": 1})) as program:
        assert program.post("/api/models/load/m", {}).status == 200
        with program.wire() as wire:
            wire.request("GET", "/upstream/m/silent")
            wait_until(lambda: program.running("m")["in_flight"] == 1, "its only place is taken")
            assert program.get("/upstream/m/x").status == 429
        wait_until(lambda: program.get("/upstream/m/x").status == 200, "the place is back")


def test_a_client_that_leaves_in_the_middle_of_its_body_is_noticed(run_program: RunProgram) -> None:
    with run_program(models(m=upstream())) as program:
        for sent in (b"", b"x" * 100_000):
            with program.wire() as wire:
                wire.send(b"POST /upstream/m/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + sent)
        wait_until(lambda: program.stdout.count('" 499 0 ') == 2, "both are over")
        assert program.get("/upstream/m/x").status == 200


def test_fifty_clients_that_leave_at_once_are_all_noticed(run_program: RunProgram) -> None:
    with run_program(models(m=PACED)) as program, program.stream("m", max_tokens=150) as other:
        wires = [program.stream("m") for _ in range(50)]
        for wire in (*wires, other):
            wire.read_head_and_first_chunk()
        assert program.thread_count() < 50  # streams have none
        for wire in wires:
            wire.close()
        assert events(b"".join(other.chunks()))[-1] == "[DONE]"
        program.await_stats("m", cancelled=50, in_progress=0)
        _assert_is_quiet(program)


def _assert_is_quiet(program: Program) -> None:
    """No connection to the upstream is left in use, and the next request works."""
    assert program.chat("m", **SHORT).status == 200
    wait_until(lambda: program.stats("m")["in_progress"] == 0, "nothing is in progress")
