"""Requests in progress as an operator of the real program sees and ends them, and what a swap is told as."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.e2e.conftest import RunProgram
from tests.e2e.gates import loads_until
from tests.e2e.program import ENDLESS, Program, demo, models, wait_until
from tests.e2e.test_events import follow
from tests.events import EventReader


def rows(program: Program) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = program.get("/api/inflight").json()["requests"]
    return found


def cancel(program: Program, number: str) -> int:
    return program.post(f"/api/inflight/{number}/cancel", {}).status


def id_of(events: EventReader, model: str) -> str:
    """The id of the next request to a model that begins."""
    while True:
        told = events.next_of("inflight")
        if told["operation"] == "upsert" and told["request"]["model"] == model:
            return str(told["request"]["id"])


def test_a_request_that_waits_for_a_load_is_ended_and_the_load_goes_on(run_program: RunProgram, tmp_path: Path) -> None:
    gate = tmp_path / "loaded"
    with run_program(models(slow=loads_until(gate))) as program, ThreadPoolExecutor() as pool:
        wire, events = follow(program)
        with wire:
            events.start()
            asked = pool.submit(program.chat, "slow", max_tokens=1)
            number = id_of(events, "slow")
            wait_until(lambda: bool(program.queue()), "somebody waits")
            assert cancel(program, number) == 200
            answer = asked.result()
            assert (answer.status, answer.json()["error"]["code"]) == (409, "cancelled")
            wait_until(lambda: program.queue() == [], "nobody waits any more")
            wait_until(lambda: rows(program) == [], "its row is gone")
            assert cancel(program, number) == 404
            gate.touch()
            assert program.chat("slow", max_tokens=1).status == 200
        program.await_starts("slow", 1)


def test_a_generation_is_ended_and_its_model_stops_working_on_it(run_program: RunProgram) -> None:
    with run_program(models(a=demo("--tokens-per-second", "50"))) as program:
        with program.stream("a", **ENDLESS) as wire:
            wire.read_head_and_first_chunk()
            [row] = rows(program)
            assert (row["model"], row["req_path"]) == ("a", "/v1/chat/completions")
            assert cancel(program, row["id"]) == 200
            assert not wire.rest().endswith(b"0\r\n\r\n")
        program.await_stats("a", cancelled=1)
        wait_until(lambda: rows(program) == [], "its row is gone")
        assert program.chat("a", max_tokens=1).status == 200


def test_a_swap_is_told_when_it_is_over(run_program: RunProgram) -> None:
    with run_program(models(a=demo(), b=demo("--load-seconds", "0.3"))) as program:
        assert program.chat("a", max_tokens=1).status == 200
        wire, events = follow(program)
        with wire:
            events.start()
            assert program.chat("b", max_tokens=1).status == 200
            swap = events.next_of("swap")
        assert (swap["from"], swap["to"]) == (["a"], "b")
        assert swap["seconds"] >= 0.3
        assert "one model at a time" in swap["reason"]
