"""`requests`: rows of activity, those that come, and one in detail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import Serve
from tests.commands.terminal import Screen, Shell
from tests.e2e.ports import PortBlock
from tests.e2e.program import Program, demo, models

HEAD = ["ID", "TIME", "MODEL", "STATUS", "DURATION", "FIRST", "IN", "OUT", "TOK/S", "QUEUE", "ENDED"]


def ids(text: str) -> list[str]:
    """What stands first in each line that begins with a number."""
    return [words[0] for line in text.splitlines() if (words := line.split()) and words[0].isdigit()]


def test_the_newest_are_last_and_the_filters_are_those_of_activity(serve: Serve) -> None:
    with serve() as shell:
        for model in ("small", "large", "small", "nobody"):
            shell.program.chat(model)
        everything = shell.run("requests")
        assert everything.code == 0
        head, *rows = everything.rows()
        assert head == HEAD
        assert [(row[0], row[2], row[3]) for row in rows] == [
            ("1", "small", "200"), ("2", "large", "200"), ("3", "small", "200"), ("4", "nobody", "404"),
        ]  # fmt: skip
        assert rows[0][-1] == "complete"
        assert "refused: model not found: 'nobody'" in everything.out
        assert ids(shell.run("requests", "-n", "2").out) == ["3", "4"]
        assert ids(shell.run("requests", "--model", "small", "--model", "large", "-n", "2").out) == ["2", "3"]
        assert ids(shell.run("requests", "--status", "!200").out) == ["4"]
        assert ids(shell.run("requests", "--ended", "complete", "--q", "LARGE").out) == ["2"]
        assert ids(shell.run("requests", "--min-duration", "1h").out) == []
        assert ids(shell.run("requests", "--since", "1h").out) == ["1", "2", "3", "4"]
        assert ids(shell.run("requests", "--since", "2126-01-01T00:00:00Z").out) == []


def test_for_programs_each_row_is_one_line_of_json(serve: Serve) -> None:
    with serve() as shell:
        for _ in range(3):
            shell.program.chat("small")
        lines = shell.run("requests", "--json", "-n", "2").out.splitlines()
        assert [json.loads(line)["id"] for line in lines] == [2, 3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--status", "x"], "the server does not accept the filter status: expected a status such as 200"),
        (["--since", "x"], "--since: expected a time such as 30m or 2h, or a moment in RFC 3339, got 'x'"),
        (["show"], "expected the ID of one request, as llamaswap requests lists them, got 'show'"),
        (["x"], "expected the ID of one request, as llamaswap requests lists them, got 'x'"),
        (["-n", "-1"], "expected"),
    ],
)
def test_a_wrong_argument_is_told(serve: Serve, words: list[str], said: str) -> None:
    with serve() as shell:
        ended = shell.run("requests", *words)
        assert (ended.code, ended.out) == (1, "")
        assert said in ended.err


def test_one_request_is_shown_with_where_its_time_went_and_its_capture(serve: Serve) -> None:
    with serve() as shell:
        shell.program.chat("large")
        ended = shell.run("requests", "show", "1")
        assert ended.out == shell.run("requests", "1").out
        assert "loading the model  " in ended.out
        assert '"content": "Hello there, my friend"' in ended.out
        told = shell.run("requests", "1", "--json").json()
        assert told["request"]["model"] == "large"
        assert told["capture"]["req_path"] == "/v1/chat/completions"
        gone = shell.run("requests", "2")
        assert (gone.code, gone.out) == (4, "")
        assert gone.err == "llamaswap: there is no request 2; llamaswap requests lists those that are kept\n"


def test_on_a_terminal_a_streamed_answer_is_shown_as_its_text(serve: Serve) -> None:
    with serve() as shell:
        text = shell.program.chat("small").json()["choices"][0]["message"]["content"]
        shell.program.chat("small", stream=True)
        with shell.screen("requests", "2", rows=60, columns=200) as screen:
            assert screen.end() == 0
            assert text.split("load")[0] in screen.text
            assert "put together from" in screen.text
            assert "data: {" not in screen.text
        assert "data: {" in shell.run("requests", "2").out


def test_requests_in_progress_are_marked(serve: Serve) -> None:
    with serve(models(slow=demo("--tokens-per-second", "5"))) as shell:
        shell.program.chat("slow", max_tokens=1)
        with shell.program.stream("slow") as stream:
            stream.read_head_and_first_chunk()
            *_, row = shell.run("requests").rows()
            assert (row[0], row[2], row[3]) == ("-", "slow", "...")
            assert "in progress:" in " ".join(row)
            with shell.screen("requests", "-f") as screen:
                screen.wait_for("1 in progress: slow")
                screen.type("\x03")
                assert screen.end() == 130
                assert "in progress" not in screen.text


@pytest.mark.parametrize("columns", [40, 80])
def test_a_narrow_terminal_has_fewer_columns_and_one_line_for_each_request(serve: Serve, columns: int) -> None:
    with serve() as shell:
        shell.program.chat("small")
        shell.program.chat("nobody-has-such-a-long-name-for-a-model")
        with shell.screen("requests", columns=columns) as screen:
            assert screen.end() == 0
            assert len(screen.lines) == 3
            assert screen.lines[0].split()[-4:-1] if columns > 40 else screen.lines[0].split()[0] == "TIME"


def followed(screen: Screen) -> list[str]:
    return ids(screen.text)


def test_each_row_that_comes_is_shown_once(serve: Serve) -> None:
    with serve() as shell:
        shell.program.chat("small")
        with shell.screen("requests", "-f", "--model", "small", columns=120, rows=50) as screen:
            screen.wait_for("complete")
            for _ in range(5):
                shell.program.chat("small")
                shell.program.chat("large")
            screen.wait_for(lambda screen: len(followed(screen)) == 6)
            assert followed(screen) == ["1", "2", "4", "6", "8", "10"]
            screen.type("\x03")
            assert screen.end() == 130


@pytest.mark.parametrize("store", [{}, {"store": {"path": "activity.db"}}])
def test_it_goes_on_after_a_restart_of_the_server(tmp_path: Path, store: Mapping[str, Any]) -> None:
    """In memory ids begin again, in a file they go on."""
    config = {**models(m=demo()), **store}
    with Program(tmp_path, config) as program:
        port = program.port
        program.chat("m")
        program.chat("m")
        screen = Shell(port).screen("requests", "-f", columns=120)
        screen.__enter__()
        screen.wait_for(lambda screen: followed(screen) == ["1", "2"])
    with screen:
        screen.wait_for("the server is gone")
        with Program(tmp_path, config, ports=PortBlock(port)) as program:
            screen.wait_for("the server is back")
            program.chat("m")
            screen.wait_for(lambda screen: followed(screen) == ["1", "2", "3" if store else "1"])
            screen.type("\x03")
            assert screen.end() == 130
