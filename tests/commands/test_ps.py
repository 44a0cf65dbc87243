"""`llamaswap ps`: what runs, in a pipe and on a terminal."""

from __future__ import annotations

import signal

from tests.commands.conftest import Serve, by_memory
from tests.e2e.program import demo, models, wait_until


def test_it_lists_what_runs(serve: Serve) -> None:
    with serve() as shell:
        assert shell.run("ps").rows() == [["NAME", "STATE", "SIZE", "DEVICE", "IN-FLIGHT", "QUEUE", "UNTIL"]]
        assert shell.program.chat("large").status == 200
        ended = shell.run("ps")
    assert ended.code == 0
    [_, row] = ended.rows()
    assert row[:2] == ["large", "ready"]
    assert row[-2:] == ["5", "min"]


def test_with_use_memory_it_shows_what_models_need_and_what_is_waited_for(serve: Serve) -> None:
    with serve(by_memory(a="1600MB", b="800MB")) as shell, shell.program.stream("a"):
        wait_until(lambda: shell.program.states() == {"a": "ready"}, "a is ready")
        with shell.program.stream("b"):
            wait_until(lambda: bool(shell.program.queue()), "b waits")
            head, a, b = (" ".join(row) for row in shell.run("ps").rows())
    assert head == "NAME STATE SIZE NEED DEVICE IN-FLIGHT QUEUE UNTIL WAITS FOR"
    assert a.startswith("a ready ")
    assert " 1.6 GB declared " in a
    assert b.startswith("b queued - 800 MB declared - 0 1 - waiting for ")
    assert b.endswith(" MB on RAM, held by a: 1 request in progress")


def test_a_model_that_sleeps_is_told_as_such_here_and_where_all_of_it_is_shown(serve: Serve) -> None:
    sleeper = {"cmd": demo("--sleep-seconds", "0"), "sleep": "vllm"}
    with serve(models(a=sleeper, b=demo())) as shell:
        for name in "ab":
            assert shell.program.chat(name).status == 200
        assert [row[:2] for row in shell.run("ps").rows()[1:]] == [["a", "sleeping"], ["b", "ready"]]
        assert "sleeping" in shell.run("show", "a").out


def test_it_prints_json_for_programs(serve: Serve) -> None:
    with serve() as shell:
        assert shell.run("ps", "--json").json() == {"running": [], "queue": []}
        shell.program.chat("small")
        [row] = shell.run("ps", "--json").json()["running"]
    assert (row["model"], row["state"]) == ("small", "ready")


def test_a_terminal_shows_it_in_colours_and_a_pipe_does_not(serve: Serve) -> None:
    with serve() as shell:
        shell.program.chat("small")
        assert "\x1b" not in shell.run("ps").out
        for env, colour in (({}, "green"), ({"NO_COLOR": "1"}, "default"), ({"TERM": "dumb"}, "default")):
            with shell.screen("ps", env=env) as screen:
                assert screen.end() == 0
                assert screen.colour("ready") == colour


def test_a_narrow_terminal_cuts_names_and_a_pipe_does_not(serve: Serve) -> None:
    name = "a-model-with-a-rather-long-name-of-its-own"
    with serve(models(**{name: demo()})) as shell:
        shell.program.chat(name)
        assert name in shell.run("ps").out
        with shell.screen("ps", columns=60) as screen:
            assert screen.end() == 0
            assert len(screen.lines) == 2
            assert "…" in screen.text


def test_a_configuration_that_cannot_be_used_is_one_line_until_one_can(serve: Serve) -> None:
    with serve() as shell:
        program, good = shell.program, shell.program.config_path.read_text()
        assert "configuration" not in shell.run("ps").out
        program.config_path.write_text("models: 3\ngroups: 4\n")
        program.signal(signal.SIGHUP)
        wait_until(lambda: program.get("/api/config").json()["error"] is not None, "it was not taken")
        last = shell.run("ps").out.splitlines()[-1]
        said = f"the changed configuration cannot be used, and the old one goes on: {program.config_path}:1: models: "
        assert (last.startswith(said), last.endswith(" ...")) == (True, True), last
        assert shell.run("ps", "--json").json()["config_error"] == program.get("/api/config").json()["error"]
        program.config_path.write_text(good)
        program.signal(signal.SIGHUP)
        wait_until(lambda: program.get("/api/config").json()["error"] is None, "it was taken")
        assert "configuration" not in shell.run("ps").out
