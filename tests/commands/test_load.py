"""`llamaswap load` and `unload`: what is told while they work, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.client.answers import answering, reply
from tests.commands.conftest import Serve, gated
from tests.commands.terminal import Shell
from tests.e2e.program import DEADLINE, demo, models, wait_until

SLOW = models(slow=demo("--load-seconds", "60", "--progress-bar"), small=demo())
SLOW["models"]["small"]["aliases"] = ["tiny"]


def test_models_are_loaded_one_after_the_other(serve: Serve) -> None:
    with serve() as shell:
        ended = shell.run("load", "tiny", "large")
        assert ended.code == 0, ended
        assert shell.program.states() == {"large": "ready"}
        again = shell.run("load", "large")
    first, second = ended.out.splitlines()
    assert first.startswith("tiny: ready after ")
    assert second.startswith("large: ready after ")
    assert second.endswith("; unloaded for it: small")
    assert again.out == "large: is ready already\n"


def test_a_load_that_fails_is_told_with_the_last_lines_and_the_others_are_loaded(serve: Serve) -> None:
    with serve() as shell:
        ended = shell.run("load", "broken", "small", "nobody")
        as_json = shell.run("load", "broken", "small", "--json")
    assert ended.code == 6
    assert ended.out.startswith("small: ready after ")
    assert "exited with code 3" in ended.err
    assert "told to fail at the start" in ended.err
    assert "model not found: 'nobody'" in ended.err
    assert as_json.code == 6
    [broken, small] = as_json.json()["models"]
    assert (broken["state"], small["state"]) == ("failed", "ready")
    assert "exited with code 3" in broken["error"]


def test_a_model_that_is_not_known_has_an_exit_code_of_its_own(serve: Serve) -> None:
    with serve() as shell:
        assert shell.run("load", "nobody").code == 4
        assert shell.run("unload", "nobody").code == 4


def test_a_terminal_shows_how_far_a_load_is_and_what_the_process_says(serve: Serve) -> None:
    with serve(SLOW) as shell:
        with shell.screen("load", "slow", columns=100) as screen:
            screen.wait_for("slow: loading, ")
            screen.wait_for("%")  # the bar, which never ends its line
            assert len(screen.lines) == 1
            screen.type("\x03")
            assert screen.end() == 130
        assert screen.text.replace("^C", "").strip() == ""
        assert not shell.program.stderr


def test_a_load_that_waits_says_for_what(serve: Serve) -> None:
    with serve(SLOW) as shell:
        shell.program.chat("small")
        with shell.program.stream("small") as client:
            client.read_head_and_first_chunk()
            with shell.screen("load", "slow", columns=100) as screen:
                screen.wait_for("slow: waiting for small: 1 request in progress, ")
            with shell.screen("unload", "small", columns=100) as screen:
                screen.wait_for("small: unloading, ")
                screen.wait_for("1 request in progress")
                client.close()
                screen.wait_for("small: unloaded")
                assert screen.end() == 0


def test_models_are_unloaded_by_name_by_alias_and_all(serve: Serve) -> None:
    config = {**SLOW, "groups": {"both": {"swap": False, "members": ["slow", "small"]}}}
    with serve(config) as shell:
        shell.program.chat("small")
        assert shell.run("stop", "tiny").out == "small: unloaded\n"
        assert shell.run("unload", "small").out == "small: was not loaded\n"
        shell.program.chat("small")
        assert shell.run("unload", "--all", "--json").json() == {"unloaded": ["small"]}
        assert shell.run("unload", "--all").out == "no model was loaded\n"
        assert shell.program.states() == {}


def test_names_move_no_cursor(serve: Serve) -> None:
    name = "a\x1b]0;owned\x07"
    with serve({"models": {name: {"cmd": demo().replace("${MODEL_ID}", "a")}, "small": {"cmd": demo()}}}) as shell:
        for words in (("load", name), ("load", "small"), ("load", name), ("unload", "--all"), ("unload", name)):
            with shell.screen(*words) as screen:
                assert screen.end() == 0
                assert "a\\x1b]0;owned\\x07" in screen.text
                assert b"\x1b]" not in screen.sent


def test_without_a_model_it_says_how_the_server_is_ended(serve: Serve) -> None:
    with serve() as shell:
        ended = shell.run("stop")
        both = shell.run("stop", "small", "--all")
    assert ended.code == 1
    assert "name a model, or --all" in ended.err
    assert "systemctl stop llamaswap" in ended.err
    assert both.code == 1
    assert "--all: it takes no names" in both.err


def test_a_server_that_ends_meanwhile_is_told(serve: Serve) -> None:
    with serve(SLOW) as shell, shell.screen("load", "slow", columns=100) as screen:
        screen.wait_for("slow: loading, ")
        shell.program.process.terminate()
        code = screen.end()
        assert code in (3, 6)
        assert "llamaswap: " in screen.text
        shell.program.code = shell.program.process.wait(DEADLINE)


def test_a_load_that_has_begun_goes_on_after_ctrl_c(serve: Serve, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with serve(models(large=gated(gate))) as shell, shell.screen("load", "large") as screen:
        wait_until(lambda: "large" in shell.program.states(), "it loads")
        screen.type("\x03")
        assert screen.end() == 130
        gate.touch()
        wait_until(lambda: shell.program.states() == {"large": "ready"}, "it is ready")


@pytest.mark.parametrize("name", ["m", "tiny"])
def test_a_model_that_others_have_loaded_again_was_unloaded(name: str) -> None:
    about = {"m": {"type": "model"}, "tiny": {"type": "alias", "modelID": "m"}}
    answers = {
        "/running": {"running": [{"model": "m", "state": "ready"}]},
        f"/v1/models/{name}": {"id": name, "meta": {"llamaswap": about[name]}},
        f"/api/models/unload/{name}": "OK",
    }
    with answering({path: reply(json.dumps(value)) for path, value in answers.items()}) as it:
        assert Shell(it.url).run("unload", name).out == "m: unloaded\n"
