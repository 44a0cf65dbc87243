"""`use: memory` on a GPU: a library that plays NVIDIA's driver says what a test wants, to the real program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, demo, wait_until
from tests.e2e.told_cards import ToldCards
from tests.hardware.nvml_library import compile_library, environment, needs_compiler

pytestmark = needs_compiler

GIB = 1 << 30
CARD = "GPU-aaaa"
SIZES = {"a": 10 * GIB, "b": 8 * GIB, "c": 9 * GIB}


class Card(ToldCards):
    """24 GB, of which others take what a test says, and each model its size while it runs."""

    def __init__(self, told: Path) -> None:
        self.others = 0
        super().__init__(told)

    def tell(self, pids: Mapping[str, int]) -> None:
        used = self.others + sum(SIZES[model] for model in pids)
        processes = " ".join(f"{pid}:{SIZES[model]}" for model, pid in pids.items())
        lines = ["count 1", f"0.uuid {CARD}", "0.name Card", f"0.memory {24 * GIB} {used}"]
        self.write([*lines, f"0.compute {processes}" if processes else ""])


def memory(program: Program) -> dict[str, Any]:
    return {row["model"]: row for row in program.get("/api/memory").json()["models"]}


def test_a_gpu_is_filled_as_far_as_it_goes_and_a_game_on_it_counts(run_program: RunProgram, tmp_path: Path) -> None:
    card = Card(tmp_path / "told")
    settings = {"minResidency": 0, "devices": {"0": {"reserve": "1GB"}}}
    config = {
        "models": {name: {"cmd": demo()} for name in SIZES},
        "store": {"path": str(tmp_path / "rows.db")},
        "performance": {"every": "5s"},
        "routing": {"router": {"use": "memory", "settings": {"memory": settings}}},
    }

    def has_learned(program: Program, name: str) -> bool:
        card.follow(program)
        need = memory(program)[name]["need"]
        return bool(need["source"] == "measured" and need["devices"].get(CARD) == SIZES[name])

    with run_program(config, env=environment(compile_library(tmp_path), card.told)) as program:
        for name in SIZES:
            card.chat(program, name)
            wait_until(lambda name=name: has_learned(program, name), f"a figure for {name}")  # type: ignore[misc]
        card.follow(program)
        assert program.states() == {"c": "ready"}  # each was loaded alone
        card.chat(program, "a")
        assert program.states() == {"a": "ready", "c": "ready"}  # 19 of 23 GB
        card.others = 2 * GIB
        card.follow(program)

        def sees_the_game() -> bool:
            card.follow(program)
            return bool(program.get("/api/memory").json()["devices"][1]["others_bytes"] == card.others)

        wait_until(sees_the_game, "what others use")
        assert len(memory(program)["b"]["load"]["evicts"]) == 1
        card.chat(program, "b")
        assert len(program.states()) == 2
