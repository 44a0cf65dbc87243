"""A plan names exactly who goes when the load is then made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import DEADLINE, Program, demo, models, wait_until

FAST = demo("--tokens-per-second", "200")
SLOW = demo("--tokens-per-second", "25")
GROUPS = {
    **models(a=FAST, b=FAST, helper=FAST, kept=FAST),
    "groups": {
        "main": {"members": ["a", "b"]},
        "beside": {"exclusive": False, "members": ["helper"]},
        "always": {"persistent": True, "exclusive": False, "swap": False, "members": ["kept"]},
    },
}
MATRIX = {
    **models(big=FAST, fast=FAST, vision=FAST, huge=FAST, odd=FAST),
    "matrix": {
        "vars": {"v": "vision"},
        "sets": {"coding": "(big | fast) & v", "alone": "huge"},
        "evict_costs": {"big": 5},
    },
}


def plan(program: Program, name: str) -> dict[str, Any]:
    answer = program.get(f"/api/models/{name}/plan")
    assert answer.status == 200
    found = answer.json()
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("config", "asked"),
    [
        (GROUPS, ["a", "helper", "kept", "b", "helper", "b", "a", "kept", "a"]),
        (MATRIX, ["big", "vision", "fast", "vision", "huge", "odd", "big", "vision", "big"]),
    ],
    ids=["groups", "matrix"],
)
def test_who_is_named_by_a_plan_goes_and_nobody_else(
    run_program: RunProgram, config: dict[str, Any], asked: list[str]
) -> None:
    with run_program(config) as program:
        count = 0  # of swaps
        for name in asked:
            before, plans = program.states(), {model: plan(program, model) for model in config["models"]}
            assert program.states() == before  # to ask changes nothing
            assert program.chat(name).status == 200
            gone = set(before) - set(program.states())
            assert {victim["model"] for victim in plans[name]["evicts"]} == gone
            assert plans[name]["state"] == before.get(name, "stopped")
            if gone:
                count += 1
                wait_until(lambda count=count: len(swaps(program)) == count, "it is logged")  # type: ignore[misc]
                told, _, why = swaps(program)[-1].partition("; ")
                assert told.partition(": ")[0] == name
                assert set(told.partition(": stopping ")[2].split(", ")) == gone
                assert why == plans[name]["rule"]["text"]


def swaps(program: Program) -> list[str]:
    """What the log says of each."""
    return [line.partition("swap to ")[2] for line in program.stdout.splitlines() if "swap to " in line]


def test_a_plan_for_a_busy_model_says_what_it_waits_for_and_about_how_long(run_program: RunProgram) -> None:
    with run_program(models(a=SLOW, b=demo("--load-seconds", "0.5"))) as program:
        assert plan(program, "b")["estimate_seconds"] is None
        assert program.chat("b", max_tokens=1).status == 200
        with program.stream("a") as wire:
            wire.read_head_and_first_chunk()
            found = plan(program, "b")
            reason = "group (default) runs one model at a time"
            assert found["evicts"] == [{"model": "a", "state": "ready", "in_flight": 1, "reason": reason}]
            assert found["waits_for"] == [{"model": "a", "for": "requests", "in_flight": 1}]
            assert 0.5 <= found["estimate_seconds"] < DEADLINE
            assert program.states() == {"a": "ready"}
            wire.close()
        wait_until(lambda: plan(program, "b")["waits_for"] == [], "nobody is inside a")


def test_after_a_reload_plans_go_by_the_new_rules(run_program: RunProgram) -> None:
    with run_program({**models(a=FAST, b=FAST), "groups": {"g": {"members": ["a", "b"]}}}) as program:
        assert program.chat("a").status == 200
        assert [victim["model"] for victim in plan(program, "b")["evicts"]] == ["a"]
        together = {"g": {"members": ["a", "b", "new"], "swap": False}}
        program.write_config({**models(a=FAST, b=FAST, new=FAST), "groups": together})
        assert program.post("/api/config/reload", {}).status == 200
        for name in ("b", "new"):
            assert plan(program, name)["evicts"] == []
        assert program.chat("b").status == 200
        assert program.states() == {"a": "ready", "b": "ready"}


def test_a_policy_of_ones_own_is_not_asked_for_a_plan(run_program: RunProgram, tmp_path: Path) -> None:
    lines = (
        "class Own:",
        "  def evict(self, target, running):",
        "    print('asked for', target, flush=True)",
        "    return []",
    )
    (tmp_path / "own.py").write_text("\n".join(lines))
    with run_program({**models(a=FAST, b=FAST), "routing": {"router": {"use": "own.py:Own"}}}) as program:
        assert program.chat("a").status == 200
        found = plan(program, "b")
        assert found["evicts"] is None
        assert found["rule"] == {"kind": "policy", "text": "decided by own.py:Own"}
        assert "asked for b" not in program.stdout
        assert program.chat("b").status == 200
        wait_until(lambda: "asked for b" in program.stdout, "it is asked for the load")
