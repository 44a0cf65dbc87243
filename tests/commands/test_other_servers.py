"""A server that is gone, wants a key, is older, or is not ours: each command has a message and an exit code."""

from __future__ import annotations

import json
import socket

import pytest

from llamaswap_lib.client.shapes import ANSWERS, wrong_in_answer
from tests.client.answers import answering, emptiest, reply
from tests.commands.conftest import MODELS, Serve
from tests.commands.terminal import Shell

ASKING = (
    ("ps",), ("ls",), ("show", "m"), ("load", "m"), ("unload", "m"), ("unload", "--all"),
    ("profile",), ("profile", "p"), ("profile", "--none"), ("reload",), ("upgrade",),
)  # fmt: skip
named = pytest.mark.parametrize("words", ASKING, ids=" ".join)


@named
def test_a_server_that_is_gone(words: tuple[str, ...]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else can
        port = taken.getsockname()[1]
        ended = Shell(port).run(*words)
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith(f"llamaswap: no server at http://127.0.0.1:{port}: ")
    assert ended.err.count("\n") == 1


def test_a_server_that_wants_a_key(serve: Serve) -> None:
    with serve({**MODELS, "apiKeys": ["secret"]}) as shell:
        for words in ASKING[:-1]:
            ended = shell.run(*words)
            assert (ended.code, ended.out) == (5, ""), words
            assert "--api-key or LLAMASWAP_API_KEY has the key" in ended.err
        assert shell.run("ps", "--api-key", "wrong").code == 5
        assert shell.run("ps", "--api-key", "secret").code == 0
        assert shell.run("ps", env={"LLAMASWAP_API_KEY": "secret"}).code == 0


@named
def test_something_else_that_listens_there(words: tuple[str, ...]) -> None:
    with answering(reply("<html>a page</html>", kind="text/html")) as page, answering(reply('{"a": 1}')) as other:
        for it in (page, other):
            ended = Shell(it.url).run(*words)
            assert ended.code in (0, 6), ended
            assert ended.code == 6 or words[0] in ("load", "unload")


@named
def test_a_server_without_the_routes(words: tuple[str, ...]) -> None:
    with answering(reply("404 page not found", "404 Not Found", "text/plain")) as it:
        ended = Shell(it.url).run(*words)
    assert ended.code == 6
    assert "the server has no such route" in ended.err


def test_an_older_server_is_shown_as_far_as_it_tells() -> None:
    running = {"running": [{"model": "m", "state": "ready", "cmd": "serve --port 1", "proxy": "http://x", "ttl": 0}]}
    models = {"data": [{"id": "m", "object": "model", "owned_by": "llama-swap"}, {"id": "n"}]}
    routes = {
        "/running": reply(json.dumps(running)),
        "/v1/models": reply(json.dumps(models)),
        "/unload": reply("OK", kind="text/plain"),
    }
    with answering(routes) as it:
        shell = Shell(it.url)
        assert shell.run("ps").rows()[1] == ["m", "ready", "-", "-", "-", "0", "forever"]
        assert [row[:3] for row in shell.run("ls").rows()[1:]] == [["m", "ready", "model"], ["n", "-", "model"]]
        told = shell.run("show", "m")
        assert told.code == 0
        assert "serve --port 1" in told.out
        assert shell.run("show", "x").code == 4
        assert shell.run("unload", "--all").out == "no model was loaded\n"
        for words in (("load", "m"), ("reload",), ("profile",), ("version",)):
            ended = shell.run(*words)
            assert ended.code == 6
            assert "the server has no such route: it is older, or no llamaswap" in ended.err + ended.out


def test_an_address_that_is_none(shell: Shell) -> None:
    for url in ("ftp://a", "http://", "http://a:99999", "http://a/?b", "x y", "http://a/é", "http://user@a"):
        ended = shell.run("ps", "--url", url)
        assert ended.code == 1, url
        assert ended.err.startswith("llamaswap: --url: "), url


def test_an_address_as_clients_of_openai_have_it(serve: Serve) -> None:
    with serve() as shell:
        for url in (
            f":{shell.program.port}",
            f"localhost:{shell.program.port}",
            f"http://127.0.0.1:{shell.program.port}/v1/",
        ):
            assert shell.run("ps", "--url", url).code == 0


@pytest.mark.parametrize("command", ["load", "unload", "show"])
def test_no_name_is_the_name_of_no_model(command: str, serve: Serve) -> None:
    with serve() as shell:
        ended = shell.run(command, "")
    assert (ended.code, ended.out, ended.err) == (4, "", "llamaswap: model not found: ''\n")


USAGE = {"device": "ram", "name": "ram", "kind": "ram", "bytes": 5}
RUN = {"model": "m", "state": "ready", "memory": [USAGE]}
ROW = {"id": 1, "timestamp": "2026-01-01T00:00:00Z", "tokens": {}}


@pytest.mark.parametrize(
    ("words", "path", "answer", "place"),
    [
        (("ps",), "/running", {"running": 5}, "running"),
        (
            ("ps",),
            "/running",
            {"running": [{**RUN, "memory": [{**USAGE, "bytes": "5"}]}]},
            "running[0].memory[0].bytes",
        ),
        (("ls",), "/v1/models", {"data": [{"id": ["m"]}]}, "data[0].id"),
        (("show", "m"), "/api/models/m/plan", {"evicts": [{"model": 5, "reason": "x"}]}, "evicts[0].model"),
        (("requests",), "/api/metrics/activity", {"data": [{**ROW, "tokens": 7}]}, "data[0].tokens"),
        (("profile",), "/api/profiles", {"active": [], "profiles": []}, "active"),
        (("top",), "/running", {"running": {}}, "running"),
        (("version",), "/api/version", {"version": 1}, "version"),
    ],
)
def test_an_answer_that_is_made_of_something_else_is_one_clear_error(
    words: tuple[str, ...], path: str, answer: object, place: str
) -> None:
    usual = {
        "/running": {"running": [RUN]},
        "/v1/models": {"data": [{"id": "m"}]},
        "/v1/models/m": {"id": "m"},
        "/api/version": {"version": "1"},
    }
    with answering({route: reply(json.dumps(value)) for route, value in {**usual, path: answer}.items()}) as it:
        ended = Shell(it.url).run(*words)
    assert ended.code == 6, ended
    assert f" at {place}, got " in ended.err + ended.out
    assert f"in the server's answer to {path}" in ended.err + ended.out
    assert "Traceback" not in ended.err
    assert ended.err.count("\n") <= 1


CHANGING = ("/api/profiles/active", "/api/config/reload", "/api/upgrade")  # what only a change answers


def test_what_the_program_answers_is_as_commands_expect_it(serve: Serve) -> None:
    with serve() as shell:
        shell.program.chat("small")
        shell.program.chat("broken")
        shell.program.chat("nobody")
        asked = [path.replace("*", "small") for path in ANSWERS if path not in CHANGING and "captures" not in path]
        wrong = {path: wrong_in_answer(path, shell.program.get(path).json()) for path in asked}
    assert {path: told for path, told in wrong.items() if told} == {}
    assert len(asked) > 12


@pytest.mark.parametrize("is_null", [True, False], ids=["null", "missing"])
@pytest.mark.parametrize("words", [("ps",), ("ls",), ("show", "m"), ("requests",), ("requests", "1"), ("top",)])
def test_what_an_answer_may_lack_is_lacked(words: tuple[str, ...], is_null: bool) -> None:
    answers = {path.replace("*", "m"): emptiest(shape, is_null=is_null) for path, shape in ANSWERS.items()}
    with answering({path: reply(json.dumps(value)) for path, value in answers.items()}) as it:
        ended = Shell(it.url).run(*words)
    assert (ended.code, ended.err) == (0, "")
