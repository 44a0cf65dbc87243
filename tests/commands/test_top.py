"""`top` in a terminal: what it shows, its keys, and the terminal as it leaves it."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.commands.conftest import Serve
from tests.commands.terminal import Screen, Shell
from tests.e2e.ports import PortBlock
from tests.e2e.program import Program, demo, models

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?7h\x1b[?25h\x1b[?1049l"


def assert_is_as_before(screen: Screen) -> None:
    """The terminal, after the command has ended."""
    assert screen.sent.count(ENTER) == screen.sent.count(LEAVE) > 0
    assert screen.sent.rindex(LEAVE) > screen.sent.rindex(ENTER)
    assert screen.echoes


def selected(screen: Screen) -> list[str]:
    """The name in the row that is marked; what stands behind it may change at any time."""
    return [line.split()[1] for line in screen.lines if line.startswith("> ")]


def is_selected(screen: Screen, name: str) -> bool:
    return selected(screen) == [name]


def select(screen: Screen, name: str) -> None:
    """By the arrow, until it is there."""
    for _ in range(20):
        if is_selected(screen, name):
            return
        before = selected(screen)
        screen.type("\x1b[B")
        # between two parts of a frame no row is marked, or two are
        screen.wait_for(lambda screen: len(selected(screen)) == 1 and selected(screen) != before)  # noqa: B023
    raise AssertionError(name)


def test_it_shows_models_and_q_leaves(serve: Serve) -> None:
    with serve() as shell, shell.screen("top") as screen:
        screen.wait_for("stopped")
        screen.wait_for("CPU ")
        assert screen.lines[0].startswith("llamaswap ")
        assert not screen.echoes
        shell.program.chat("small")
        screen.wait_for(lambda screen: re.search(r"small +ready .* forever", screen.text) is not None)
        assert screen.colour("ready") == "green"
        screen.type("q")
        assert screen.end() == 0
        assert_is_as_before(screen)


def test_keys_load_and_unload_a_model(serve: Serve) -> None:
    with serve() as shell, shell.screen("top") as screen:
        screen.wait_for("large")
        select(screen, "large")
        screen.type("l")
        screen.wait_for("load large: done")
        assert shell.program.states() == {"large": "ready"}
        screen.wait_for(lambda screen: is_selected(screen, "large"))
        screen.type("u")
        screen.wait_for("[y/n] unload large?")
        screen.type("n")
        screen.wait_for("q quit")
        assert shell.program.states() == {"large": "ready"}
        screen.type("uy")
        screen.wait_for("unload large: done")
        assert shell.program.states() == {}


def test_a_load_that_fails_is_told(serve: Serve) -> None:
    with serve() as shell, shell.screen("top", columns=120) as screen:
        screen.wait_for("broken")
        select(screen, "broken")
        screen.type("l")
        screen.wait_for("load broken: ")
        screen.wait_for(lambda screen: re.search(r"broken +failing .*exited with code 3", screen.text) is not None)


def test_a_request_is_cancelled(serve: Serve) -> None:
    with serve() as shell, shell.screen("top") as screen, shell.program.stream("small") as stream:
        stream.read_head_and_first_chunk()
        screen.wait_for("POST /v1/chat/completions")
        screen.type("\x1b[6~")
        screen.wait_for("c cancel")
        screen.type("c")
        screen.wait_for("[y/n] cancel the request for small?")
        screen.type("y")
        screen.wait_for("cancel the request for small: done")
        screen.wait_for("nothing is in flight")


def test_who_waits_is_told_with_the_reason(serve: Serve) -> None:
    with serve(models(slow=demo(), other=demo())) as shell, shell.program.stream("slow") as stream:
        stream.read_head_and_first_chunk()
        with shell.program.stream("other"), shell.screen("top", columns=120) as screen:
            screen.wait_for("waiting for slow: 1 request in progress")
            screen.wait_for(lambda screen: re.search(r"other +queued", screen.text) is not None)


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 20), (200, 60)])
def test_it_follows_the_size_of_the_window(serve: Serve, columns: int, rows: int) -> None:
    with serve() as shell, shell.screen("top", columns=100, rows=30) as screen:
        screen.wait_for("small")
        screen.resize(columns, rows)
        screen.wait_for(lambda screen: len(screen.lines) == rows and screen.lines[-1].startswith("q quit"))
        screen.wait_for("small")
        assert all(line.isprintable() for line in screen.lines)


@pytest.mark.parametrize(("env", "colour"), [({}, "green"), ({"NO_COLOR": "1"}, "default")])
def test_without_colours_the_selected_row_is_still_marked(serve: Serve, env: dict[str, str], colour: str) -> None:
    with serve() as shell, shell.screen("top", env=env) as screen:
        shell.program.chat("small")
        screen.wait_for("ready")
        select(screen, "broken")
        assert screen.colour("ready") == colour
        if env:
            assert not re.search(rb"\x1b\[[0-9;]*m", screen.sent)


def test_help_comes_and_goes(serve: Serve) -> None:
    with serve() as shell, shell.screen("top") as screen:
        screen.wait_for("small")
        screen.type("?")
        screen.wait_for("cancel the selected request")
        screen.type("?")
        screen.wait_for("small")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 128 + signal.SIGHUP)]
)
def test_a_signal_leaves_the_terminal_as_it_was(serve: Serve, number: int, code: int) -> None:
    with serve() as shell, shell.screen("top") as screen:
        screen.wait_for("small")
        screen.signal(number)
        assert screen.end() == code
        assert_is_as_before(screen)


def test_ctrl_c_leaves_the_terminal_as_it_was(serve: Serve) -> None:
    with serve() as shell, shell.screen("top") as screen:
        screen.wait_for("small")
        screen.type("\x03")
        assert screen.end() == 130
        assert_is_as_before(screen)


def test_a_server_that_wants_a_key_is_told_before_anything_is_drawn(serve: Serve) -> None:
    with serve({**models(m=demo()), "apiKeys": ["secret"]}) as shell:
        with shell.screen("top", columns=120) as screen:
            assert screen.end() == 5
            assert ENTER not in screen.sent
            assert "LLAMASWAP_API_KEY" in screen.text
        with shell.screen("top", env={"LLAMASWAP_API_KEY": "secret"}) as screen:
            screen.wait_for("m ")


def test_a_server_that_was_never_there_is_told(shell: Shell) -> None:
    ports = PortBlock()
    try:
        with shell.screen("top", "--url", f"http://127.0.0.1:{ports.first}") as screen:
            assert screen.end() == 3
            assert ENTER not in screen.sent
    finally:
        ports.close()


def test_a_server_that_goes_away_is_told_and_taken_up_again(tmp_path: Path) -> None:
    config = models(m=demo())
    with Program(tmp_path, config) as program:
        port = program.port
        screen = Shell(port).screen("top", columns=120)
        screen.__enter__()
        screen.wait_for("stopped")
    with screen:
        screen.wait_for("the server is gone")
        with Program(tmp_path, config, ports=PortBlock(port)) as program:
            screen.wait_for(lambda screen: "gone" not in screen.text)
            program.chat("m")
            screen.wait_for("ready")
            screen.type("q")
            assert screen.end() == 0
            assert_is_as_before(screen)


def test_an_error_leaves_the_terminal_as_it_was_and_is_told_below(tmp_path: Path) -> None:
    config = models(m=demo())
    with Program(tmp_path, config) as program:
        port = program.port
        screen = Shell(port).screen("top", columns=120)
        screen.__enter__()
        screen.wait_for("stopped")
    with screen, Program(tmp_path, {**config, "apiKeys": ["secret"]}, ports=PortBlock(port)):
        assert screen.end() == 5
        assert_is_as_before(screen)
        assert screen.sent.index(b"unauthorized") > screen.sent.index(LEAVE)


def test_into_a_pipe_it_prints_how_things_are_once(serve: Serve) -> None:
    with serve() as shell:
        shell.program.chat("small")
        ended = shell.run("top")
        assert ended.code == 0
        assert re.search(r"^  small +ready ", ended.out, re.MULTILINE)
        assert "\x1b" not in ended.out
        assert [row["model"] for row in shell.run("top", "--json").json()["running"]] == ["small"]
        with shell.screen("top", env={"TERM": "dumb"}) as screen:
            assert screen.end() == 0
            assert b"\x1b" not in screen.sent
