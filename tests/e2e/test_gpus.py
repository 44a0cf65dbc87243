"""`gpus`: models get the GPUs that are chosen for them, on two that a library plays; the server takes memory there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.upgrade.child import why_impossible
from tests.e2e.conftest import RunProgram
from tests.e2e.program import DEADLINE, Program, demo, wait_until
from tests.e2e.told_cards import ToldCards
from tests.hardware.nvml_library import compile_library, environment, needs_compiler

pytestmark = needs_compiler

GIB = 1 << 30
CARDS = ("GPU-aaaa", "GPU-bbbb")


class Cards(ToldCards):
    """Two of 24 GB. Each model takes its size where its CUDA_VISIBLE_DEVICES says, in equal parts of several."""

    def __init__(self, told: Path, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        super().__init__(told)

    def tell(self, pids: Mapping[str, int]) -> None:
        held: dict[str, dict[int, int]] = {card: {} for card in CARDS}
        for model, pid in pids.items():
            cards = visible(pid)
            for card in cards:
                held[card][pid] = self.sizes[model] * GIB // len(cards)
        lines = [f"count {len(CARDS)}"]
        for number, card in enumerate(CARDS):
            processes = " ".join(f"{pid}:{size}" for pid, size in held[card].items())
            lines += [f"{number}.uuid {card}", f"{number}.name Card", f"{number}.pci 0:{number + 1}:0"]
            lines += [f"{number}.memory {24 * GIB} {sum(held[card].values())}"]
            lines += [f"{number}.compute {processes}"]
        self.write(lines)

    def settle(self, program: Program, *models: str) -> None:
        """Until it is seen what these hold, and that others hold nothing."""

        def is_seen() -> bool:
            self.follow(program)
            told = program.get("/api/memory").json()
            held = {row["model"]: sum(row["held"].values()) for row in told["models"] if row["held"]}
            return all(held.get(name, 0) >= self.sizes[name] * GIB for name in models) and not any(
                row["others_bytes"] for row in told["devices"] if row["device"] in CARDS
            )

        wait_until(is_seen, f"what {models} hold")


def visible(pid: int) -> list[str]:
    """What the process was told; nothing where it has just ended, or is not that program yet."""
    try:
        said = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    except OSError:
        return []
    told = dict(entry.partition("=")[::2] for entry in said).get("CUDA_VISIBLE_DEVICES")
    return [] if told is None else told.split(",")


def where(program: Program) -> dict[str, list[str]]:
    """The GPUs of each model, as `/running` has them and its process was told them."""
    rows = {row["model"]: row for row in program.get("/running").json()["running"]}
    assert {name: row["gpus"] for name, row in rows.items()} == {
        name: visible(row["pid"]) for name, row in rows.items()
    }
    return {name: row["gpus"] for name, row in rows.items()}


def config(tmp_path: Path, models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    settings = {"minResidency": 0, "devices": {"ram": {"reserve": 0}}}
    return {
        "models": {name: {"cmd": demo(), **keys} for name, keys in models.items()},
        "store": {"path": str(tmp_path / "rows.db")},
        "performance": {"every": "5s"},
        "routing": {
            "router": {"use": "memory", "settings": {"memory": settings}},
            "scheduler": {
                "use": "fifo",
                "settings": {"fifo": {"priority": {name: 9 for name in models if name == "b"}}},
            },  # its loss weighs most
        },
    }


def test_models_are_put_on_two_gpus_and_the_next_one_where_it_costs_least(
    run_program: RunProgram, tmp_path: Path
) -> None:
    sizes = {"a": 18, "b": 18, "c": 18, "wide": 40}
    cards = Cards(tmp_path / "told", sizes)
    models: dict[str, dict[str, Any]] = {}
    models |= {name: {"gpus": "auto", "memory": {"gpu": f"{sizes[name]}GB"}} for name in "abc"}
    models["wide"] = {"gpus": 2, "memory": {"gpu": "40GB"}}
    models["far"] = {"gpus": [7], "memory": {"gpu": "1GB"}}
    with run_program(config(tmp_path, models), env=environment(compile_library(tmp_path), cards.told)) as program:
        for name in "ab":
            cards.chat(program, name)
            cards.settle(program, name)
        assert where(program) == {"a": [CARDS[0]], "b": [CARDS[1]]}
        wait_until(lambda: "a: starting on GPU 0\n" in program.stdout, "the log says so")
        rows = {row["model"]: row for row in program.get("/api/memory").json()["models"]}
        assert (rows["b"]["placement"], rows["c"]["placement"]) == ([CARDS[1]], None)
        assert {name: size for name, size in rows["b"]["need"]["devices"].items() if name != "ram"} == {
            CARDS[1]: 18 * GIB
        }
        assert rows["c"]["load"]["evicts"] == ["a"]
        cards.chat(program, "c")
        cards.settle(program, "b", "c")
        assert where(program) == {"b": [CARDS[1]], "c": [CARDS[0]]}
        cards.chat(program, "wide")
        cards.settle(program, "wide")
        assert where(program) == {"wide": [*CARDS]}
        wait_until(lambda: "wide: starting on GPU 0 and GPU 1\n" in program.stdout, "the log says so")
        refused = program.chat("far")
        assert refused.status == 507
        said = "model far: gpus names 7, which is not there; there are 0 (GPU-aaaa), 1 (GPU-bbbb)"
        assert refused.json()["error"]["message"] == said
        assert set(where(program)) == {"wide"}


def test_what_was_learned_on_one_gpu_counts_on_the_other(run_program: RunProgram, tmp_path: Path) -> None:
    cards = Cards(tmp_path / "told", {"a": 18, "first": 20})
    models: dict[str, dict[str, Any]] = {"a": {"gpus": "auto"}, "first": {"gpus": [0], "memory": {"gpu": "20GB"}}}

    def need(program: Program) -> Any:
        cards.follow(program)
        return {row["model"]: row["need"] for row in program.get("/api/memory").json()["models"]}["a"]

    with run_program(config(tmp_path, models), env=environment(compile_library(tmp_path), cards.told)) as program:
        cards.chat(program, "a")
        wait_until(lambda: need(program)["source"] == "measured", "a figure for a")
        assert where(program) == {"a": [CARDS[0]]}
        cards.chat(program, "first")
        cards.settle(program, "first")
        assert where(program) == {"first": [CARDS[0]]}
        cards.chat(program, "a")
        cards.settle(program, "a", "first")
        assert where(program) == {"a": [CARDS[1]], "first": [CARDS[0]]}
        assert need(program)["devices"][CARDS[1]] == 18 * GIB


@pytest.mark.skipif(why_impossible() != "", reason="needs Linux")
def test_an_upgrade_carries_the_choice_to_the_new_process(run_program: RunProgram, tmp_path: Path) -> None:
    cards = Cards(tmp_path / "told", {"a": 18, "b": 18})
    models = {name: {"gpus": "auto", "memory": {"gpu": "18GB"}} for name in "ab"}
    with run_program(config(tmp_path, models), env=environment(compile_library(tmp_path), cards.told)) as program:
        cards.chat(program, "a")
        cards.settle(program, "a")
        before = {row["pid"] for row in program.get("/running").json()["running"]}
        program.upgrade()
        assert program.before.wait(DEADLINE) == 0
        assert program.chat("a").status == 200
        assert {row["pid"] for row in program.get("/running").json()["running"]} == before
        assert where(program) == {"a": [CARDS[0]]}
        assert os.getpid() not in before
        cards.chat(program, "b")
        cards.settle(program, "a", "b")
        assert where(program) == {"a": [CARDS[0]], "b": [CARDS[1]]}
