"""What can be shown of a server that has few of our routes is shown, and the rest says so."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs

from tests.client.answers import answering, reply
from tests.commands.older_server import RUNNING, older_server
from tests.commands.terminal import Shell
from tests.e2e.program import COMMAND


def test_its_log_is_shown_though_it_does_not_say_how_long_the_history_is() -> None:
    with older_server() as server:
        shell = Shell(server.url)
        assert shell.run("logs").out == "one\ntwo\n— 12 bytes dropped —\nthree\nunfin\n"
        assert shell.run("logs", "-n", "2").out == "three\nunfin\n"


def test_dropped_bytes_are_marked() -> None:
    with older_server() as server:
        shell = Shell(server.url)
        lines = [json.loads(line) for line in shell.run("logs", "--json").out.splitlines()]
        assert lines[2] == {"source": "stdout", "dropped_bytes": 12}
        with shell.screen("logs") as screen:
            assert screen.end() == 0
            assert screen.colour("dropped") == "brown"


def test_a_line_without_an_end_is_shown_as_far_as_it_is_and_once() -> None:
    with older_server() as server, Shell(server.url).screen("logs", "-f", "-n", "1") as screen:
        screen.wait_for("unfin")
        server.goes_on.set()
        screen.wait_for("unfinished")
        assert screen.lines == ["three", "unfinished"]


def test_requests_says_that_there_is_no_list() -> None:
    with older_server() as server:
        ended = Shell(server.url).run("requests")
        assert (ended.code, ended.out) == (6, "")
        assert "keeps no list of requests: it is an earlier version, or llama-swap" in ended.err


def test_top_shows_what_runs_and_says_what_is_missing() -> None:
    with older_server() as server:
        shell = Shell(server.url)
        assert re.search(r"^  m +ready ", shell.run("top").out, re.MULTILINE)
        with shell.screen("top") as screen:
            screen.wait_for("this server tells no events: requests and queue are not shown")
            screen.wait_for(lambda screen: re.search(r"^> m +ready ", screen.text, re.MULTILINE) is not None)
            screen.type("q")
            assert screen.end() == 0


def test_top_shows_no_speed_of_requests_of_long_ago() -> None:
    answers = {"/running": RUNNING, "/api/version": {"version": "1"}, "/api/metrics/activity": {"data": []}}
    before = datetime.now(timezone.utc)
    with answering({path: reply(json.dumps(value)) for path, value in answers.items()}) as it:
        assert Shell(it.url).run("top").code == 0
        after = datetime.now(timezone.utc)
        [asked] = [head for head in it.heads if head.startswith("GET /api/metrics/activity?")]
    start = datetime.fromisoformat(parse_qs(asked.split()[1])["start"][0].replace("Z", "+00:00"))
    assert before - timedelta(seconds=601) <= start <= after - timedelta(seconds=600)


def test_top_without_stdin_prints_once() -> None:
    with older_server() as server:
        without = ("sh", "-c", 'exec "$0" "$@" <&-', *COMMAND)
        with Shell(server.url).screen("top", command=without) as screen:
            assert screen.end() == 0
            assert re.search(r"^  m +ready ", screen.text, re.MULTILINE)
