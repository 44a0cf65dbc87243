"""`logs`: the history, what comes, and a server that goes away meanwhile."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.client.answers import answering, reply
from tests.commands.conftest import Serve
from tests.commands.terminal import Shell
from tests.e2e.ports import PortBlock
from tests.e2e.program import Program, demo, models, python, wait_until

ODD = r"""
import sys, http.server
print("\x1b[32mgreen\x1b[0m and \x1b[2Jcleared, \x1b]0;title\x07 and a bar")
for part in range(3): print(f"\r{part} of 2", end="", flush=True)
print("\nlast", flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *words): print(self.path, flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_without_a_name_it_shows_what_the_server_shows_and_ends(serve: Serve) -> None:
    with serve() as shell:
        shell.program.chat("small")
        ended = shell.run("logs")
        assert (ended.code, ended.err) == (0, "")
        assert "[INFO] small: starting\n" in ended.out
        assert shell.program.get("/logs").text.startswith(ended.out)  # a busy machine is told of at any moment


def test_each_line_of_several_logs_has_a_name_in_front(serve: Serve) -> None:
    with serve() as shell:
        said = re.compile(r"tiny  \| POST /v1/chat/completions 200.*\nproxy \| \[INFO\] Request.*\n")

        def are_last() -> bool:
            """What the model prints is read a moment after its answer, and a busy machine is told of at any moment."""
            shell.program.chat("small")
            return said.fullmatch(shell.run("logs", "tiny", "proxy", "-n", "1").out) is not None

        wait_until(are_last, "both lines")


def test_lines_are_searched_before_the_last_of_them_are_taken(serve: Serve) -> None:
    with serve() as shell:
        shell.program.chat("small")
        shell.program.chat("large")
        out = shell.run("logs", "proxy", "--grep", "(?i)INFO. [a-z]+: starting$", "-n", "1").out
        assert out == "[INFO] large: starting\n"


def test_nothing_of_a_model_moves_the_cursor_and_its_colours_stay_on_a_terminal(serve: Serve) -> None:
    with serve(models(odd=python(ODD))) as shell:
        shell.program.post("/api/models/load/odd", None)
        wait_until(lambda: "\nlast\n" in shell.run("logs", "odd").out, "it has said all")
        with shell.screen("logs", "odd") as screen:
            assert screen.end() == 0
            assert screen.text.startswith("green and \\x1b[2Jcleared, \\x1b]0;title\\x07 and a bar\n2 of 2\nlast\n")
            assert screen.colour("green") == "green"
            assert not screen.title
        piped = shell.run("logs", "odd").out
        assert piped.startswith("green and \\x1b[2Jcleared")
        line = json.loads(shell.run("logs", "odd", "--json").out.splitlines()[0])
        assert line == {
            "source": "odd",
            "line": "\x1b[32mgreen\x1b[0m and \x1b[2Jcleared, \x1b]0;title\x07 and a bar",
        }


def test_a_name_that_the_server_does_not_know_is_told_with_the_nearest(serve: Serve) -> None:
    with serve() as shell:
        ended = shell.run("logs", "smal")
        assert (ended.code, ended.out) == (4, "")
        assert ended.err == (
            "llamaswap: there is no log of 'smal' (did you mean \"small\"?); "
            "expected a model of the server, proxy or upstream\n"
        )


def test_a_server_that_was_never_there_is_not_waited_for(shell: Shell) -> None:
    ports = PortBlock()
    try:
        ended = shell.run("logs", "-f", "--url", f"http://127.0.0.1:{ports.first}")
    finally:
        ports.close()
    assert ended.code == 3
    assert ended.err.startswith("llamaswap: no server at ")


def test_with_f_it_goes_on_until_ctrl_c(serve: Serve) -> None:
    with serve() as shell, shell.screen("logs", "-f", "proxy", "-n", "1") as screen:
        screen.wait_for(lambda screen: bool(screen.text))
        shell.program.chat("small")
        screen.wait_for("small: ready")
        assert "listening" not in screen.text
        screen.type("\x03")
        assert screen.end() == 130


def test_a_server_that_is_started_anew_is_followed_further(tmp_path: Path) -> None:
    ports = PortBlock()
    config = models(m=demo())
    with Program(tmp_path, config, ports=ports) as program:
        port = program.port
        shell = Shell(port)
        screen = shell.screen("logs", "-f", columns=120)
        screen.__enter__()
        screen.wait_for("listening on")
    with screen:
        screen.wait_for("the server is gone; waiting until it is back")
        with Program(tmp_path, config, ports=PortBlock(port)) as program:
            screen.wait_for("the server is back")
            program.chat("m")
            screen.wait_for("m: ready")
            assert screen.text.count("listening on") == 2
            screen.type("\x03")
            assert screen.end() == 130


def test_json_is_json_where_characters_are_missing() -> None:
    with answering({"/logs/stream": reply("5 \xb5s", kind="text/plain")}) as it:
        ended = Shell(it.url).run("logs", "--json", env={"PYTHONIOENCODING": "ascii"})
    assert ended.json() == {"source": "stdout", "line": "5 \xb5s"}


def test_a_history_that_breaks_off_is_shown_and_is_an_error() -> None:
    head = b"HTTP/1.1 200 OK\r\nX-History-Bytes: 50\r\nContent-Length: 50\r\n\r\n"
    with answering({"/logs/stream": head + b"one\ntw"}) as it:
        ended = Shell(it.url).run("logs")
    assert (ended.code, ended.out) == (3, "one\ntw\n")
    assert ended.err == f"llamaswap: the connection to {it.url} broke off\n"
