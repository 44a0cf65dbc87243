"""`use: memory` where memory is given back late, or is less than a model takes. The card is played by the test."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.e2e.card import UUID, Card
from tests.e2e.conftest import RunProgram
from tests.e2e.gates import after
from tests.e2e.program import Program, wait_until
from tests.e2e.talk import Reply
from tests.hardware.nvml_library import needs_compiler

pytestmark = needs_compiler

SAID = "cudaMalloc failed: out of memory"


def config(card: Card, use: str = "memory", settle: str = "60s", **models: tuple[int, int]) -> dict[str, Any]:
    """Of each model, what is declared and what it takes, in GB."""
    settings = {"minResidency": 0, "settleTimeout": settle, "devices": {"0": {"reserve": 0}}}
    return {
        "models": {
            name: {"cmd": card.command(takes), "memory": {"gpu": f"{said}GB"}} for name, (said, takes) in models.items()
        },
        "routing": {"router": {"use": use, "settings": {"memory": settings}}},
    }


def holds(program: Program, model: str) -> bool:
    """Whether it was seen on the card."""
    rows = program.get("/api/memory").json()["models"]
    return any(row["model"] == model and UUID in (row["held"] or {}) for row in rows)


def test_a_start_waits_until_the_card_shows_the_memory_of_the_one_that_has_gone(
    run_program: RunProgram, tmp_path: Path
) -> None:
    with (
        Card(tmp_path, delay=0.7) as card,
        run_program(config(card, a=(16, 16), b=(12, 12)), env=card.env) as program,
    ):
        for name in "aba":
            assert program.chat(name).status == 200
        assert card.answers == [(16, True), (12, True), (16, True)]
        program.await_log("for 12.0 GB on GPU 0 to become free after the end of a")
        program.await_log("for 16.0 GB on GPU 0 to become free after the end of b")


def test_who_waits_for_it_is_told_so(run_program: RunProgram, tmp_path: Path) -> None:
    with (
        Card(tmp_path, delay=None) as card,
        run_program(config(card, settle="60s", a=(16, 16), b=(12, 12)), env=card.env) as program,
    ):
        assert program.chat("a").status == 200
        with program.stream("b"):
            reason = "waiting for 12.0 GB on GPU 0 to become free, after the end of a"
            wait_until(lambda: reason in [row["reason"] for row in program.queue()], "the reason")


def test_what_is_not_given_back_is_not_waited_for_for_ever(run_program: RunProgram, tmp_path: Path) -> None:
    with (
        Card(tmp_path, delay=None) as card,
        run_program(config(card, settle="300ms", a=(16, 16), b=(12, 12)), env=card.env, is_hurt=True) as program,
    ):
        assert program.chat("a").status == 200
        wait_until(lambda: holds(program, "a"), "what a holds is seen")
        answer = program.chat("b")
        assert answer.status == 507
        assert answer.headers["x-should-retry"] == "false"
        error = answer.json()["error"]
        assert error["code"] == "insufficient_memory"
        assert error["message"].startswith(
            "model b could not be loaded: exited with code 1, out of memory: ggml_backend"
        )
        assert "that were free on GPU 0 (12.0 GB declared)\nggml_backend" in error["message"]
        assert error["message"].endswith("\nexiting")
        assert card.answers == [(16, True), (12, False), (12, False)]  # once more, for it came too early
        program.await_log("12.0 GB on GPU 0 did not become free within")


def test_a_model_that_takes_more_than_is_known_gets_more_and_is_started_once_more(
    run_program: RunProgram, tmp_path: Path
) -> None:
    with Card(tmp_path) as card:
        settings = config(card, a=(4, 4), b=(8, 22))
        gate = hold_back(settings, "b", tmp_path)
        with run_program(settings, env=card.env) as program:
            assert program.chat("a").status == 200
            assert [reply.status for reply in ask_twice(program, "b", gate)] == [200, 200]
            assert program.states() == {"b": "ready"}
            wait_until(lambda: "it is started once more, with more room" in program.stdout, "the log says so")
        assert card.answers == [(4, True), (22, False), (22, True)]


def hold_back(settings: dict[str, Any], model: str, folder: Path) -> Path:
    """Change its command so that it waits for a gate before it takes memory; the gate."""
    gate, entry = folder / "gate", settings["models"][model]
    entry["cmd"] = after(gate, f"exec {entry['cmd']}")
    return gate


def ask_twice(program: Program, model: str, gate: Path) -> list[Reply]:
    """The answers to two requests that wait for one load."""
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(program.chat, model) for _ in range(2)]
        wait_until(lambda: len(program.queue()) == 2, "both wait")
        gate.touch()
        return [answer.result() for answer in answers]


def test_a_model_that_takes_more_than_there_is_is_refused_with_the_words_of_its_log(
    run_program: RunProgram, tmp_path: Path
) -> None:
    said = "it needs more than the 24.0 GB that were free on GPU 0 (8.0 GB declared)"
    with Card(tmp_path) as card:
        settings = config(card, a=(4, 4), b=(8, 30))
        gate = hold_back(settings, "b", tmp_path)
        with run_program(settings, env=card.env, is_hurt=True) as program:
            assert program.chat("a").status == 200
            for reply in ask_twice(program, "b", gate):
                assert reply.status == 507
                assert said in reply.json()["error"]["message"]
            assert card.answers == [(4, True), (30, False), (30, False)]
            assert program.chat("a").status == 200


def test_without_use_memory_the_words_of_its_log_are_in_the_reason(run_program: RunProgram, tmp_path: Path) -> None:
    with Card(tmp_path) as card, run_program(config(card, "group", b=(8, 30)), env=card.env, is_hurt=True) as program:
        answer = program.chat("b")
        assert answer.status == 502
        assert f": {SAID}\n" in answer.json()["error"]["message"]
        assert card.answers == [(30, False)]
