"""`llamaswap show`: all that is known of one model."""

from __future__ import annotations

from tests.commands.conftest import Serve, by_memory
from tests.e2e.program import demo

CONFIG = {
    "models": {
        "small": {
            "cmd": f"env API_KEY=very-secret-key {demo()}",
            "name": "A small one",
            "aliases": ["tiny"],
            "concurrencyLimit": 4,
            "capabilities": {"in": ["text", "image"], "tools": True, "context": 8192},
        },
        "large": {"cmd": demo(), "ttl": 300},
        "broken": {"cmd": demo("--exit-at-start", "3")},
        "hidden": {"cmd": demo(), "unlisted": True},
    },
    "selectors": {"any": {"strategy": "pin", "targets": ["large", "small"]}},
    "peers": {"box": {"proxy": "http://127.0.0.1:1", "models": ["far"]}},
}


def shown(out: str) -> dict[str, str]:
    return {line[:14].strip(): line[14:] for line in out.splitlines()}


def test_a_model_that_runs(serve: Serve) -> None:
    with serve(CONFIG) as shell:
        shell.program.chat("small")
        ended = shell.run("show", "tiny")
        assert ended.code == 0, ended
        told = shown(ended.out)
        assert shell.run("show", "small", "--json").json()["running"]["model"] == "small"
    assert told["name"] == "tiny"
    assert told["leads to"] == "an alias of small"
    assert told["state"].startswith("ready, after a load of ")
    assert told["in flight"] == "0 of 4 places"
    assert told["until"] == "forever"
    assert told["can do"] == "vision, function calling, a context of 8,192 tokens"
    assert "tokens a second" in told["speed"]
    assert "very-secret-key" not in ended.out
    assert "[hidden]" in told["command"]
    assert "a load" not in told


def test_a_model_that_does_not_run_and_what_its_load_would_unload(serve: Serve) -> None:
    with serve(CONFIG) as shell:
        assert shown(shell.run("show", "large").out)["a load"] == "would unload nothing"
        shell.program.chat("small")
        told = shown(shell.run("show", "large").out)
    assert told["state"] == "stopped"
    assert told["a load"].startswith("would unload small, because ")
    assert told["ttl"] == "5 min"


def test_what_it_needs_and_what_that_would_unload(serve: Serve) -> None:
    with serve(by_memory(a="1600MB", b="800MB", large="4GB")) as shell:
        shell.program.chat("a", max_tokens=1)
        told = shown(shell.run("show", "b").out)
        assert shown(shell.run("show", "large").out)["a load"].startswith("would be refused: model large needs 4.0 GB")
        assert shell.run("show", "b", "--json").json()["need"] == {"source": "declared", "devices": {"ram": 800 << 20}}
    assert told["needs"] == "800 MB on RAM, declared"
    assert told["a load"].startswith("would unload a, because b needs 800 MB on RAM, where ")
    assert told["a load"].endswith("; a holds 1.6 GB on RAM")


def test_a_model_that_fails(serve: Serve) -> None:
    with serve(CONFIG) as shell:
        shell.program.chat("broken")
        told = shown(shell.run("show", "broken").out)
    assert told["state"] == "failing"
    assert "exited with code 3; 1 try so far, the next one " in told["failure"]


def test_what_is_no_model_of_its_own_and_what_is_not_listed(serve: Serve) -> None:
    with serve(CONFIG) as shell:
        assert shown(shell.run("show", "any").out)["leads to"] == "pin: large, small"
        assert shown(shell.run("show", "box/far").out)["leads to"] == "at box"
        assert shown(shell.run("show", "hidden").out)["kind"] == "unlisted model"


def test_a_name_that_leads_nowhere_is_told_with_what_is_near(serve: Serve) -> None:
    with serve(CONFIG) as shell:
        ended = shell.run("show", "smal")
    assert (ended.code, ended.out) == (4, "")
    assert "small" in ended.err


def test_a_long_command_goes_on_below_itself_on_a_terminal(serve: Serve) -> None:
    with serve(CONFIG) as shell:
        assert max(map(len, shell.run("show", "small").out.splitlines())) > 80
        with shell.screen("show", "small", columns=60) as screen:
            assert screen.end() == 0
        assert all(len(line) <= 60 for line in screen.lines)
        assert [line for line in screen.lines if line.startswith("command")]
