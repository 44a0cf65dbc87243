"""`use: memory` in the real program: declared needs, where there are 2000 MB for models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, demo, wait_until

FAST, SLOW = demo("--tokens-per-second", "200"), demo("--tokens-per-second", "10")
SAID = "needs 800 MB on RAM, where"


def config(needs: Mapping[str, int], min_residency: float = 0.0, command: str = FAST) -> dict[str, Any]:
    """Needs in MB; what is called `pinned` is pinned."""
    models = {
        name: {"cmd": command, "memory": {"ram": f"{size}MB"}, "pinned": name == "pinned"}
        for name, size in needs.items()
    }
    devices = {"ram": {"capacity": "2000MB", "reserve": "100MB"}}
    settings = {"memory": {"minResidency": min_residency, "devices": devices}}
    return {"models": models, "routing": {"router": {"use": "memory", "settings": settings}}}


def running(program: Program) -> set[str]:
    return set(program.states())


def test_models_stay_until_the_next_one_does_not_fit_and_then_the_one_that_was_idle_for_longest_goes(
    run_program: RunProgram,
) -> None:
    with run_program(config({"a": 800, "b": 800, "c": 800})) as program:
        for name in "ab":
            assert program.chat(name).status == 200
        assert running(program) == {"a", "b"}
        plan = program.get("/api/models/c/plan").json()
        assert [victim["model"] for victim in plan["evicts"]] in (["a"], ["b"])
        assert plan["evicts"][0]["reason"] == "holds 800 MB on RAM"
        assert plan["rule"]["kind"] == "memory"
        assert program.chat("c").status == 200
        assert running(program) == {"a", "b", "c"} - {plan["evicts"][0]["model"]}
        wait_until(lambda: f"c {SAID}" in program.stdout, "the log says so")
        gone = plan["evicts"][0]["model"]
        assert f'llamaswap_evictions_total{{model="{gone}",reason="memory"}} 1' in program.get("/metrics").text


def test_what_can_never_fit_is_refused_and_nobody_goes_for_it(run_program: RunProgram) -> None:
    with run_program(config({"a": 800, "huge": 1920})) as program:
        assert program.chat("a").status == 200
        answer = program.chat("huge")
        assert answer.status == 507
        assert answer.headers["x-should-retry"] == "false"
        error = answer.json()["error"]
        assert error["code"] == "insufficient_memory"
        said = "model huge needs 1.9 GB on RAM (declared), and there are 2.0 GB, of which 100 MB are kept free"
        assert error["message"] == said
        assert program.get("/api/models/huge/plan").json()["refusal"] == said
        assert running(program) == {"a"}


def test_a_pinned_model_stays(run_program: RunProgram) -> None:
    with run_program(config({"pinned": 800, "a": 800, "b": 800, "large": 1400})) as program:
        for name in ("pinned", "a", "b"):
            assert program.chat(name).status == 200
        assert running(program) == {"pinned", "b"}
        refused = program.chat("large")
        assert refused.status == 507
        assert "and pinned, which is pinned, holds 800 MB" in refused.json()["error"]["message"]


def test_who_waits_is_told_for_how_much_and_who_holds_it(run_program: RunProgram) -> None:
    with run_program(config({"a": 1600, "b": 800}, command=SLOW)) as program, program.stream("a"):
        wait_until(lambda: program.states() == {"a": "ready"}, "a is ready")
        with program.stream("b"):
            said = re.compile(r"waiting for \d+ MB on RAM, held by a: 1 request in progress")
            wait_until(lambda: any(said.fullmatch(row["reason"]) for row in program.queue()), "b waits for a")


def test_a_change_of_the_needs_holds_soon_after_a_reload(run_program: RunProgram) -> None:
    with run_program(config({"a": 800, "b": 1400})) as program:
        assert program.chat("a").status == 200
        program.reload(config({"a": 800, "b": 600}))
        wait_until(lambda: program.get("/api/models/b/plan").json()["evicts"] == [], "the need is known")
        assert program.chat("b").status == 200
        assert running(program) == {"a", "b"}
