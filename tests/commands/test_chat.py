"""`llamaswap run M` without a question: a chat in a terminal."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.commands.conftest import MODELS, Serve, Served
from tests.commands.terminal import Screen
from tests.commands.test_run import PNG, TALKING, TALKS
from tests.e2e.program import demo, models

PROMPT = ">>> "


@pytest.fixture
def state(tmp_path: Path) -> dict[str, str]:
    """The environment in which the history is in the test's own folder."""
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


def chat(shell: Served, state: dict[str, str], model: str, *flags: str, columns: int = 80) -> Screen:
    return shell.screen("run", model, *flags, env=state, columns=columns)


def is_at_prompt(screen: Screen) -> bool:
    return bool(screen.lines) and screen.lines[-1].rstrip() == PROMPT.strip()


def ask(screen: Screen, text: str) -> None:
    """Type it at the prompt, and wait for the next one."""
    screen.wait_for(is_at_prompt)
    count = prompts(screen)
    screen.type(f"{text}\r")
    screen.wait_for(lambda screen: is_at_prompt(screen) and prompts(screen) > count)


def prompts(screen: Screen) -> int:
    return sum(line.startswith(PROMPT.strip()) for line in screen.lines)


def test_questions_and_answers_go_on_until_bye(serve: Serve, state: dict[str, str]) -> None:
    with serve() as shell, chat(shell, state, "small") as screen:
        ask(screen, "good morning")
        assert "“good morning”" in screen.text
        ask(screen, "and you")
        assert "agree more. and you”" in " ".join(screen.text.split())  # the demo has heard what was said before
        screen.type("/bye\r")
        assert screen.end() == 0


def test_the_history_is_kept_for_its_user_alone(serve: Serve, state: dict[str, str], tmp_path: Path) -> None:
    history = tmp_path / "state" / "llamaswap" / "history"
    with serve() as shell:
        with chat(shell, state, "small", "--no-history") as screen:
            ask(screen, "not this one")
        assert not history.exists()
        with chat(shell, state, "small") as screen:
            ask(screen, "good morning")
        assert stat.S_IMODE(history.stat().st_mode) == 0o600
        assert "good morning" in history.read_text()
        with chat(shell, state, "small") as screen:
            screen.wait_for(is_at_prompt)
            screen.type("\x1b[A")  # up
            screen.wait_for(f"{PROMPT}good morning")


def test_two_chats_at_once_keep_the_history_of_both(serve: Serve, state: dict[str, str], tmp_path: Path) -> None:
    with serve() as shell, chat(shell, state, "small") as one, chat(shell, state, "small") as other:
        other.wait_for(is_at_prompt)
        for screen, text in ((one, "first"), (other, "second"), (other, "second"), (one, "third")):
            ask(screen, text)
    history = (tmp_path / "state" / "llamaswap" / "history").read_text()
    assert history.split() == ["first", "second", "third"]


def test_a_question_may_have_several_lines(serve: Serve, state: dict[str, str]) -> None:
    with serve(TALKING) as shell, chat(shell, state, "m", columns=200) as screen:
        screen.wait_for(is_at_prompt)
        screen.type('"""one\r')
        screen.wait_for("...")
        screen.type('two"""\r')
        screen.wait_for(r"one\ntwo")


def test_ctrl_c_stops_the_answer_and_not_the_chat(serve: Serve, state: dict[str, str]) -> None:
    with serve(TALKING) as shell, chat(shell, state, "m") as screen:
        screen.wait_for(is_at_prompt)
        screen.type("slow\r")
        screen.wait_for("one")
        screen.type("\x03")
        screen.wait_for("stopped")
        ask(screen, "whole")
        screen.type("\x03")
        screen.wait_for("Ctrl-D or /bye ends")
        screen.wait_for(is_at_prompt)  # a key before that is for what comes before it
        screen.type("\x03")
        assert screen.end() == 0


def test_ctrl_c_takes_back_what_is_typed(serve: Serve, state: dict[str, str]) -> None:
    with serve() as shell, chat(shell, state, "small") as screen:
        screen.wait_for(is_at_prompt)
        screen.type("half a quest\x03")
        screen.wait_for("Ctrl-C again")
        ask(screen, "hello there")
        assert "“hello there”" in screen.text


def test_what_fails_is_said_and_can_be_asked_again(serve: Serve, state: dict[str, str]) -> None:
    with serve() as shell, chat(shell, state, "broken") as screen:
        ask(screen, "good morning")
        assert "exited with code 3" in screen.text
        ask(screen, "/model nope")
        assert "model not found" in screen.text
        ask(screen, "/model small")
        ask(screen, "/retry")
        assert "“good morning”" in screen.text


def test_too_many_requests_are_said(serve: Serve, state: dict[str, str]) -> None:
    config = models(m={"cmd": TALKS, "concurrencyLimit": 1})
    with serve(config) as shell, shell.program.wire() as wire:
        wire.request("POST", "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "slow"}]})
        with chat(shell, state, "m") as screen:
            ask(screen, "hello")
            assert "/retry asks again" in screen.text


def test_a_server_that_goes_away_in_an_answer_ends_no_chat(serve: Serve, state: dict[str, str]) -> None:
    with serve(models(m=demo("--tokens-per-second", "3"))) as shell, chat(shell, state, "m") as screen:
        screen.wait_for(is_at_prompt)
        screen.type("hello\r")
        screen.wait_for("Hello, this")
        shell.program.process.kill()
        shell.program.wait()
        screen.wait_for("/retry asks again")
        ask(screen, "/retry")
        assert "no server at" in screen.text
        screen.type("/bye\r")
        assert screen.end() == 0


def test_an_unknown_model_or_a_missing_server_begins_no_chat(serve: Serve, state: dict[str, str]) -> None:
    with serve() as shell, chat(shell, state, "smal") as screen:
        assert screen.end() == 4
        assert "did you mean" in screen.text or "model not found" in screen.text
    with chat(shell, state, "small") as screen:
        assert screen.end() == 3


def test_system_clear_stats_and_help(serve: Serve, state: dict[str, str]) -> None:
    with serve(TALKING) as shell, chat(shell, state, "m", "--system", "Be kind", columns=160) as screen:
        ask(screen, "/system")
        assert "the system prompt: Be kind" in screen.text
        ask(screen, "/system Be brief")
        ask(screen, "told")
        assert '"content": "Be brief"' in screen.text.replace("\n", "")
        ask(screen, "/clear")
        ask(screen, "/stats")
        assert "1 answer of" in screen.text
        ask(screen, "/nonsense")
        assert "there is no /nonsense" in screen.text
        ask(screen, "/help")
        assert "/retry" in screen.text


def test_a_chat_is_saved_and_loaded(serve: Serve, state: dict[str, str], tmp_path: Path) -> None:
    saved, other = tmp_path / "chat.json", tmp_path / "notes.txt"
    other.write_text("mine")
    with serve() as shell:
        with chat(shell, state, "small", columns=200) as screen:
            ask(screen, "good morning")
            ask(screen, f"/save {saved}")
            ask(screen, f"/save {other}")
            assert "expected a chat that /save has written" in " ".join(screen.text.split())
        with chat(shell, state, "small", columns=150) as screen:
            ask(screen, f"/load {saved}")
            ask(screen, "and you")
            assert "agree more. and you”" in " ".join(screen.text.split())
    assert other.read_text() == "mine"
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert [it["role"] for it in json.loads(saved.read_text())["messages"]] == ["user", "assistant"]


def test_a_picture_by_its_path(serve: Serve, state: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    with serve(TALKING) as shell, chat(shell, state, "m", columns=200) as screen:
        ask(screen, f"told {tmp_path / 'a.png'}")
        assert "with the picture a.png" in screen.text
        assert "data:image/png;base64" in screen.text
        ask(screen, "told /nowhere/b.png told")
        assert "no such file: /nowhere/b.png" in screen.text


def test_tab_completes_orders_and_models(serve: Serve, state: dict[str, str]) -> None:
    with serve(MODELS) as shell, chat(shell, state, "small") as screen:
        screen.wait_for(is_at_prompt)
        screen.type("/mod\t")
        screen.wait_for("/model")
        screen.type("la\t")
        screen.wait_for("/model large")
