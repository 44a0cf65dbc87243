"""Upstreams that misbehave. Whatever one of them does, the next request works."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.gates import after, in_its_first_life
from tests.e2e.program import Program, demo, models, python, wait_until
from tests.e2e.talk import Cut, Wire, events

PACED = ("--tokens-per-second", "100")
SHORT = {"max_tokens": 3, "ignore_eos": True}


def assert_swaps_to(program: Program, model: str) -> None:
    assert program.chat(model).status == 200
    assert program.states() == {model: "ready"}
    assert len(program.relatives()) == 1


@pytest.mark.parametrize("flag", ["--hang-on-sigterm", "--ignore-sigterm"])
def test_one_that_does_not_stop_is_killed_after_its_unload_timeout(run_program: RunProgram, flag: str) -> None:
    with run_program(models(a={"cmd": demo(flag), "unloadTimeout": 1}, b=demo())) as program:
        assert program.chat("a").status == 200
        assert_swaps_to(program, "b")
        program.await_log("a: did not stop in time, killing it")
        assert program.chat("a").status == 200


@pytest.mark.parametrize("stop", ["sleep 1000", "sh -c 'trap \"\" TERM; sleep 1000 & sleep 1000'"])
def test_a_stop_command_that_hangs_holds_up_a_swap_no_longer_than_that(run_program: RunProgram, stop: str) -> None:
    with run_program(models(a={"cmd": demo(), "unloadTimeout": 1, "cmdStop": stop}, b=demo())) as program:
        assert program.chat("a").status == 200
        assert_swaps_to(program, "b")
        assert program.chat("a").status == 200


def test_a_global_unload_timeout_counts_where_a_model_has_none(run_program: RunProgram) -> None:
    with run_program({**models(a=demo("--ignore-sigterm")), "unloadTimeout": 1}) as program:
        assert program.chat("a").status == 200
        assert program.get("/unload").status == 200
        program.await_log("a: did not stop in time, killing it")


@pytest.mark.parametrize("flag", ["--fork-grandchild", "--grandchild-ignores-sigterm"])
def test_a_grandchild_that_keeps_the_pipe_ends_with_it(run_program: RunProgram, flag: str) -> None:
    with run_program(models(a={"cmd": demo(flag), "unloadTimeout": 1}, b=demo())) as program:
        assert program.chat("a").status == 200
        wait_until(lambda: len(program.relatives()) == 2, "the grandchild lives")
        assert_swaps_to(program, "b")
        assert program.chat("a").status == 200


def test_a_grandchild_does_not_outlive_a_leader_that_crashes(run_program: RunProgram) -> None:
    entry = {"cmd": demo("--grandchild-ignores-sigterm", "--crash-after", "0"), "unloadTimeout": 1}
    with run_program(models(a=entry, b=demo())) as program:
        assert program.chat("a").status == 502
        assert_swaps_to(program, "b")


def test_one_that_exits_at_once_is_502_that_says_why(run_program: RunProgram) -> None:
    with run_program(models(a=demo("--exit-at-start", "3"), b=demo())) as program:
        refused = program.chat("a")
        assert (refused.status, refused.json()["error"]["code"]) == (502, "bad_gateway")
        assert refused.message.startswith("model a could not be loaded: exited with code 3\n")
        assert "error: told to fail at the start" in refused.message
        assert_swaps_to(program, "b")


def test_one_that_dies_while_loading_fails_all_who_wait_and_no_later_one(
    run_program: RunProgram, tmp_path: Path
) -> None:
    gate = tmp_path / "all-wait"
    dies = demo("--load-seconds", "60", "--die-while-loading", "0.1")
    with run_program(models(a=after(gate, f"exec {dies}"), b=demo())) as program, ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(program.chat, "a") for _ in range(5)]
        wait_until(lambda: len(program.queue()) == 5, "they wait")
        behind = pool.submit(program.chat, "b")
        wait_until(lambda: len(program.queue()) == 6, "one more waits behind them")
        gate.touch()
        for answer in waiting:
            refused = answer.result()
            assert refused.status == 502
            assert "exited with code 1" in refused.message
            assert "error: the model could not be loaded" in refused.message
        assert behind.result().status == 200
        assert program.states() == {"b": "ready"}


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("/no/such/program --port ${PORT}", "No such file or directory: '/no/such/program'"),
        ("/etc --port ${PORT}", "Permission denied: '/etc'"),
        ("sh -c 'kill -SEGV $$' ${PORT}", "killed by SIGSEGV"),
    ],
)
def test_a_wrong_program_is_502_that_says_why(run_program: RunProgram, command: str, reason: str) -> None:
    with run_program(models(a=command, b=demo())) as program:
        refused = program.chat("a")
        assert refused.status == 502
        assert reason in refused.message
        assert_swaps_to(program, "b")


def test_an_empty_command_is_502_that_says_so(run_program: RunProgram) -> None:
    with run_program({"models": {"a": {"cmd": "", "proxy": "http://localhost:1"}, "b": {"cmd": demo()}}}) as program:
        refused = program.chat("a")
        assert refused.status == 502
        assert "could not start" in refused.message
        assert program.chat("b").status == 200


def test_a_crash_while_ready_is_noticed_and_the_next_request_loads_it_again(run_program: RunProgram) -> None:
    with run_program(models(a=demo(*PACED))) as program:
        assert program.chat("a", **SHORT).status == 200
        [pid] = program.relatives()
        first = program.run_ids()["a"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: program.states() == {}, "it is noticed")
        assert program.chat("a", **SHORT).status == 200
        assert program.run_ids()["a"] > first
        program.await_log("a: killed by SIGKILL while it was ready")


def test_a_crash_while_serving_fails_only_those_who_have_had_a_byte(run_program: RunProgram, tmp_path: Path) -> None:
    flags = ("--tokens-per-second", "3", "--crash-after", "3", "--crash-exit", "9")
    with run_program(models(a=in_its_first_life(tmp_path / "mark", *flags))) as program:
        wires = [program.stream("a") for _ in range(2)]
        for wire in wires:
            wire.read_head_and_first_chunk()
        whole = program.stream("a", stream=False, max_tokens=30)
        program.await_stats("a", in_progress=3)
        last = program.stream("a")  # dies with its first token
        with pytest.raises(Cut):
            list(last.chunks_of_answer())
        for wire in wires:
            with pytest.raises(Cut):
                list(wire.chunks())
        assert whole.answer()[0] == 200  # not a byte of it had come: it was tried again
        for wire in (*wires, whole, last):
            wire.close()
        assert program.chat("a", **SHORT).status == 200
        program.await_starts("a", 2)


def test_a_stream_that_the_upstream_cuts_off_is_cut_off(run_program: RunProgram) -> None:
    with run_program(models(a=demo("--cut-stream-after", "4"))) as program:
        with program.stream("a") as wire:
            assert wire.status() == 200
            got = b"".join(wire.chunk() for _ in range(5))
            assert len(events(got)) == 5
            with pytest.raises(Cut):
                wire.chunk()
        wait_until(lambda: "a: the answer broke off after" in program.stdout, "it is told")
        assert program.chat("a").status == 200
        program.await_starts("a", 1)


@pytest.mark.parametrize("milliseconds", ["0", "1", "20"])
def test_kept_alive_connections_that_the_upstream_closes_fail_no_request(
    run_program: RunProgram, milliseconds: str
) -> None:
    with run_program(models(a=demo("--close-kept-alive", milliseconds))) as program:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: program.post("/v1/embeddings", {"model": "a", "input": "x"}), range(100)))
        assert [answer.status for answer in answers] == [200] * 100


def test_one_that_answers_slowly_is_waited_for(run_program: RunProgram) -> None:
    with run_program(models(a=demo("--prompt-seconds", "1.5"))) as program:
        assert program.chat("a").status == 200


def test_one_that_opens_its_port_late_is_waited_for(run_program: RunProgram) -> None:
    with run_program(models(a=demo("--load-seconds", "0.5", "--bind-late"))) as program:
        assert program.chat("a").status == 200


def test_one_without_a_check_is_ready_at_once(run_program: RunProgram) -> None:
    entry = {"cmd": demo("--load-seconds", "60"), "checkEndpoint": "none"}
    with run_program(models(a=entry)) as program:
        wait_until(lambda: program.post("/api/models/load/a", {}).status == 200, "ready")
        wait_until(lambda: program.chat("a").status == 503, "its own 503 passes through")
        assert "Loading model" in program.chat("a").message


def test_one_that_leaves_its_port_closed_is_502_when_it_is_asked(run_program: RunProgram) -> None:
    entry = {"cmd": python("import signal; signal.pause()"), "checkEndpoint": "none"}
    with run_program(models(a=entry)) as program:
        refused = program.chat("a")
        assert refused.status == 502
        assert "cannot connect to a at http://localhost:" in refused.message
        assert "onnection refused" in refused.message


def test_a_stop_command_is_run_with_the_pid(run_program: RunProgram) -> None:
    stop = "sh -c 'echo stopping ${PID} as $WHO; kill -INT ${PID}'"
    entry = {"cmd": demo("--ignore-sigterm"), "cmdStop": stop, "env": ["WHO=me"]}
    with run_program({**models(a=entry), "logToStdout": "both"}) as program:
        assert program.chat("a").status == 200
        [pid] = program.relatives()
        assert program.get("/unload").status == 200
        wait_until(lambda: f"stopping {pid} as me\n" in program.stdout, "it is shown")
        assert "killing it" not in program.stdout


def test_a_model_gets_its_environment(run_program: RunProgram) -> None:
    entry = {"cmd": python("import os, sys; print('GOT', os.environ['X'], os.environ['OURS']); sys.exit(5)"),
             "env": ["X=first", "X=a b=c"]}  # fmt: skip
    with run_program(models(a=entry), env={"OURS": "as we have it"}) as program:
        assert "GOT a b=c as we have it" in program.chat("a").message


def test_an_entry_of_its_environment_that_is_no_variable_changes_nothing(run_program: RunProgram) -> None:
    entry = {"cmd": python("import os, sys; print('GOT', os.environ['OURS']); sys.exit(5)"),
             "env": ["OURS", "=x", "", "X=1"]}  # fmt: skip
    with run_program(models(a=entry), env={"OURS": "as we have it"}) as program:
        assert "GOT as we have it" in program.chat("a").message


def test_upstreams_hold_no_descriptor_of_ours_and_block_no_signal(run_program: RunProgram) -> None:
    source = (
        "import os, signal; print('FDS', sorted(map(int, os.listdir('/proc/self/fd')))[:-1],"
        " signal.pthread_sigmask(signal.SIG_BLOCK, []), flush=True); os._exit(5)"
    )
    with run_program(models(a=python(source))) as program:
        assert "FDS [0, 1, 2] set()" in program.chat("a").message


@pytest.mark.slow
def test_one_that_is_never_ready_is_502_after_the_health_timeout(run_program: RunProgram) -> None:
    never = {"cmd": demo("--never-ready"), "unloadTimeout": 1}
    with run_program({**models(a=never, b=demo()), "healthCheckTimeout": 1}) as program:
        refused = program.chat("a")
        assert refused.status == 502
        assert "not ready after 15 s; last health answer: 503" in refused.message  # below 15 counts as 15
        assert_swaps_to(program, "b")


def test_a_wire_to_a_dead_upstream_is_not_reused_for_its_successor(run_program: RunProgram) -> None:
    with run_program(models(a=demo(), b=demo())) as program, Wire(program.port) as wire:
        for name in "abab":
            wire.request("POST", "/v1/embeddings", {"model": name, "input": "x"})
            status, body = wire.answer()
            assert (status, b'"model": "%s"' % name.encode() in body) == (200, True)
