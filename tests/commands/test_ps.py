"""`llamaswap ps`: what runs, in a pipe and on a terminal."""

from __future__ import annotations

from tests.commands.conftest import Serve
from tests.e2e.program import demo, models


def test_it_lists_what_runs(serve: Serve) -> None:
    with serve() as shell:
        assert shell.run("ps").rows() == [["NAME", "STATE", "SIZE", "DEVICE", "IN-FLIGHT", "QUEUE", "UNTIL"]]
        assert shell.program.chat("large").status == 200
        ended = shell.run("ps")
    assert ended.code == 0
    [_, row] = ended.rows()
    assert row[:2] == ["large", "ready"]
    assert row[-2:] == ["5", "min"]


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
