"""`llamaswap ls`: what can be asked for, from each kind of name."""

from __future__ import annotations

import json
import shlex
import subprocess

from tests.client.answers import answering, reply
from tests.commands.conftest import MODELS, Serve
from tests.e2e.program import COMMAND, DEADLINE, demo, environment

EVERY_KIND = {
    "models": {
        "small": {"cmd": demo(), "name": "A small one", "description": "quick", "aliases": ["tiny"]},
        "large": {"cmd": demo()},
        "hidden": {"cmd": demo(), "unlisted": True},
        "broken": {"cmd": demo("--exit-at-start", "3")},
    },
    "includeAliasesInList": True,
    "peers": {"box": {"proxy": "http://127.0.0.1:1", "models": ["far"]}},
    "selectors": {"any": {"strategy": "warm", "targets": ["small", "large"]}},
    "profiles": {"day": {"pins": {"default": "small"}}},
}


def test_it_lists_every_kind_of_name_with_its_state(serve: Serve) -> None:
    with serve(EVERY_KIND) as shell:
        assert shell.program.chat("broken").status == 502
        shell.program.chat("small")
        rows = shell.run("ls", "--json").json()["models"]
        lines = shell.run("list").out.splitlines()
    known = {row["name"]: (row["kind"], row["state"], row["about"]) for row in rows}
    assert known == {
        "small": ("model", "ready", "A small one: quick"),
        "tiny": ("alias", "ready", "an alias of small"),
        "large": ("model", "", ""),
        "hidden": ("unlisted", "", ""),
        "broken": ("model", "failing", ""),
        "box/far": ("peer", "", "at box"),
        "any": ("selector", "loaded", "warm: small, large"),
    }
    assert lines[0].split() == ["NAME", "STATE", "KIND", "ALIASES", "ABOUT"]
    assert [line.split()[0] for line in lines[1:]] == sorted(known)


def test_a_profile_adds_its_names(serve: Serve) -> None:
    with serve(EVERY_KIND) as shell:
        assert shell.run("profile", "day").out == "the active profile is day\n"
        rows = {row["name"]: row for row in shell.run("ls", "--json").json()["models"]}
    assert (rows["default"]["kind"], rows["default"]["about"]) == ("profile", "of the active profile")


def test_a_reader_that_leaves_is_no_error() -> None:
    models = {"data": [{"id": f"model-{number}"} for number in range(3000)]}
    with answering({"/v1/models": reply(json.dumps(models))}) as it:
        argv = ("sh", "-c", f"{shlex.join((*COMMAND, 'ls', '--url', it.url))} | head -2")
        ended = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert [line.split()[0] for line in ended.stdout.splitlines() if line] == ["NAME", "model-0"]
    assert ended.stderr == ""


def test_a_narrow_terminal_keeps_names_and_states(serve: Serve) -> None:
    with serve(MODELS) as shell:
        for columns in (120, 80, 40, 20):
            with shell.screen("ls", columns=columns) as screen:
                assert screen.end() == 0
                assert screen.lines[0].startswith("NAME")
                assert [line.split()[0] for line in screen.lines[1:]] == ["broken", "large", "small"]


def test_a_name_with_what_moves_a_cursor_is_shown_and_moves_none(serve: Serve) -> None:
    name = "a\x1b]0;owned\x07b\x9b2Jc"
    with serve({"models": {name: {"cmd": demo()}}}) as shell, shell.screen("ls") as screen:
        assert screen.end() == 0
        assert "a\\x1b]0;owned\\x07b\\x9b2Jc" in screen.text
        assert screen.title == ""
    assert b"\x1b]" not in screen.sent
