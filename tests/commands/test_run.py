"""`llamaswap run`: one question, in a pipe and on a terminal."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

from tests.commands.conftest import MODELS, Serve, gated
from tests.commands.terminal import Shell
from tests.e2e.program import COMMAND, models

TALKS = f"{shlex.join((sys.executable, '-S', str(Path(__file__).with_name('talking_server.py'))))} ${{PORT}}"
TALKING = models(m=TALKS)
PNG = b"\x89PNG\r\n\x1a\n and so on"


def test_a_pipe_gets_the_answer_and_nothing_else(serve: Serve) -> None:
    with serve() as shell:
        ended = shell.run("run", "large", "hello", "there", "--verbose")
    assert ended.code == 0
    assert ended.out.startswith("Hello, this is large.")
    assert ended.out.endswith("“hello there”, and I could not agree more.\n")
    assert ended.out.count("\n") == 1
    assert re.search(
        r"^first token after .*, of a prompt of \d+ tokens; \d+ tokens", ended.err
    )  # it may come all at once


def test_what_comes_on_stdin_stands_before_the_question(serve: Serve) -> None:
    with serve(TALKING) as shell:
        told = json.loads(shell.run("run", "m", "What is this?", "--system", "Be brief", given="some text\n").out)
        alone = json.loads(shell.run("run", "m", given="only this").out)
    assert told["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "some text\n\nWhat is this?"},
    ]
    assert alone["messages"] == [{"role": "user", "content": "only this"}]


def test_exit_codes_say_what_went_wrong(serve: Serve, shell: Shell) -> None:
    config = {**MODELS, "apiKeys": ["secret"]}
    with serve(config) as keyed:
        assert keyed.run("run", "small", "hi").code == 5
        assert keyed.run("run", "nope", "hi", "--api-key", "secret").code == 4
        failed = keyed.run("run", "broken", "hi", "--api-key", "secret")
        assert failed.code == 6
        assert "exited with code 3" in failed.err
    assert shell.run("run", "small", "hi", "--url", f"http://127.0.0.1:{keyed.program.port}").code == 3
    assert shell.run("run", "small").code == 1
    assert shell.run("run", "small", given="\n").err.startswith("llamaswap: nothing to ask")


def test_without_stdin_there_is_nobody_to_chat_with(shell: Shell) -> None:
    with shell.screen("run", "small", command=("sh", "-c", 'exec "$0" "$@" <&-', *COMMAND)) as screen:
        assert screen.end() == 1
        assert screen.text.startswith("llamaswap: nothing to ask")


def test_json_is_a_line_for_each_piece_and_one_of_all(serve: Serve) -> None:
    with serve(TALKING) as shell:
        *pieces, end = map(json.loads, shell.run("run", "m", "thinks", "--json").out.splitlines())
    assert [(it["type"], it["text"]) for it in pieces] == [
        ("thought", "Let me "), ("thought", "see."), ("text", "\n\nYes."),
    ]  # fmt: skip
    assert (end["type"], end["text"], end["finish_reason"]) == ("end", "\n\nYes.", "stop")


def test_reasoning_is_faint_on_a_terminal_and_not_in_a_pipe(serve: Serve) -> None:
    with serve(TALKING) as shell:
        for order, answer in (("thinks", "Yes."), ("tags", "No.")):
            assert shell.run("run", "m", order).out == f"{answer}\n"
        with shell.screen("run", "m", "thinks") as screen:
            assert screen.end() == 0
            assert screen.lines[:2] == ["Thinking:", "Let me see."]
            assert screen.lines[-1] == "Yes."
            assert b"\x1b[2mLet me " in screen.sent
        with shell.screen("run", "m", "tags", "--hide-thinking") as screen:
            assert screen.end() == 0
            assert screen.lines[0].startswith("Thought for")
            assert screen.lines[-1] == "No."


def test_a_model_that_can_reason_is_asked_not_to(serve: Serve) -> None:
    with serve(TALKING) as shell:
        told = json.loads(shell.run("run", "m", "told", "--no-think").out)
    assert told["chat_template_kwargs"] == {"enable_thinking": False}


def test_text_of_a_model_moves_no_cursor_and_sets_no_title(serve: Serve) -> None:
    with serve(TALKING) as shell, shell.screen("run", "m", "before", "escapes") as screen:
        assert screen.end() == 0
        assert screen.title == ""
        assert r"\x1b[2J\x1b[1;1Hup\x08\x08 and" in screen.text
        assert "family \U0001f468" in screen.text


def test_an_answer_that_comes_whole_is_shown_as_any_other(serve: Serve) -> None:
    with serve(TALKING) as shell:
        assert shell.run("run", "m", "whole").out == "whole\n"


def test_an_answer_that_breaks_off_is_no_answer(serve: Serve) -> None:
    with serve(TALKING) as shell:
        ended = shell.run("run", "m", "breaks")
    assert ended.code == 6
    assert "the model's server ended" in ended.err


def test_an_error_of_the_models_server_is_told(serve: Serve) -> None:
    with serve(TALKING) as shell:
        ended = shell.run("run", "m", "it", "fails")
    assert (ended.code, ended.out) == (6, "")
    assert ended.err == "llamaswap: the context is too small\n"


def test_pictures_go_with_the_question(serve: Serve, tmp_path: Path) -> None:
    picture, spaced, text = tmp_path / "a.png", tmp_path / "my cat.PNG", tmp_path / "b.png"
    picture.write_bytes(PNG)
    spaced.write_bytes(PNG)
    text.write_text("no picture")
    with serve(TALKING) as shell:
        for words in (("What is on it?", "--image", str(picture)), (f"What is on '{spaced}' it?",)):
            [message] = json.loads(shell.run("run", "m", *words).out)["messages"]
            assert message["content"][0] == {"type": "text", "text": "What is on it?"}
            assert message["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
        assert "expected a picture" in shell.run("run", "m", "x", "--image", str(text)).err
        assert "cannot be read" in shell.run("run", "m", "x", "--image", "/nowhere.png").err
        missing = shell.run("run", "m", "What is on /nowhere.png")
        assert (missing.code, missing.err) == (0, "no such file: /nowhere.png; it is sent as text\n")


def test_text_on_stdin_is_not_searched_for_pictures(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    with serve(TALKING) as shell:
        [message] = json.loads(shell.run("run", "m", "told", given=f"see {tmp_path / 'a.png'}").out)["messages"]
    assert message["content"] == f"see {tmp_path / 'a.png'}\n\ntold"


def test_a_wait_is_shown_while_it_lasts(serve: Serve, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    config = models(slow=gated(gate, "--tokens-per-second", "200"))
    with serve(config) as shell, shell.screen("run", "slow", "hi") as screen:
        screen.wait_for("slow is loading")
        gate.touch()
        assert screen.end() == 0
        assert "is loading" not in screen.text
        assert screen.lines[0].startswith("Hello, this is slow.")


def test_what_the_server_tells_of_a_load_is_no_part_of_the_answer(serve: Serve, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    slow = {"cmd": gated(gate, "--load-seconds", "1", "--tokens-per-second", "200"), "sendLoadingState": True}
    with serve(models(slow=slow)) as shell:
        pieces = [json.loads(line) for line in shell.run("run", "slow", "hi", "--json").out.splitlines()]
        assert pieces[0] == {"type": "loading", "text": "Loading slow\n"}
        assert pieces[-1]["text"].startswith("Hello, this is slow.")
        assert pieces[-1]["first_token_seconds"] > 1
        assert shell.run("unload", "slow").code == 0
        gate.unlink()
        with shell.screen("run", "slow", "hi") as screen:
            screen.wait_for("Loading slow")
            gate.touch()
            assert screen.end() == 0
            assert screen.lines[0].startswith("Hello, this is slow.")
            assert b"Thinking" not in screen.sent


def test_a_dumb_terminal_gets_neither_colours_nor_status(serve: Serve) -> None:
    with serve() as shell, shell.screen("run", "large", "hi", env={"TERM": "dumb"}) as screen:
        assert screen.end() == 0
        assert b"\x1b" not in screen.sent


def test_words_break_between_lines_but_not_in_code(serve: Serve) -> None:
    with serve() as shell:
        with shell.screen("run", "small", "hi", columns=30) as screen:
            assert screen.end() == 0
            assert all(len(line) <= 30 for line in screen.lines)
            assert "worth the wait." in " ".join(screen.lines)
        with shell.screen("run", "small", "hi", "--no-wrap", columns=31) as screen:
            assert screen.end() == 0
            assert all(len(line) == 31 for line in screen.lines[:2])
