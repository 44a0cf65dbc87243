"""Idle models make room: for another program that takes memory and gives it back, and for a model that grows."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, demo, wait_until
from tests.e2e.test_events import follow
from tests.hardware.nvml_library import compile_library, environment, needs_compiler

GIB = 1 << 30
HOLDER = Path(__file__).with_name("holder.py")
GROUPS = Path("/sys/fs/cgroup")


def evictions(program: Program, model: str, reason: str) -> bool:
    return f'llamaswap_evictions_total{{model="{model}",reason="{reason}"}} 1' in program.get("/metrics").text


# -- the memory of the machine --


class Group:
    """A control group with 1000 MB, in which only the program, its models and another program are."""

    def __init__(self, folder: Path, limit: str) -> None:
        self.folder = folder
        (folder / limit).write_text(str(1000 << 20))
        self.wrapper = ("sh", "-c", f'echo $$ > {shlex.quote(str(folder / "cgroup.procs"))} && exec "$@"', "sh")

    def start_other(self) -> Other:
        return Other([*self.wrapper, sys.executable, "-S", str(HOLDER), "0", "0"])


class Other:
    """Another program."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hold(self, megabytes: int) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{megabytes}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ok\n"

    def end(self) -> None:
        self.process.communicate()


def own_group() -> tuple[Path, str] | None:
    """The folder of the group that we are in, and the file of its limit; None where there is none."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return GROUPS / "memory" / path.lstrip("/"), "memory.limit_in_bytes"
        if not controllers and (GROUPS / "cgroup.controllers").exists():
            return GROUPS / path.lstrip("/"), "memory.max"
    return None


@pytest.fixture
def group() -> Iterator[Group]:
    found = own_group()
    if found is None:
        pytest.skip("no control group for memory")
    above, limit = found
    folder = above / f"llamaswap-test-{os.getpid()}"
    try:
        folder.mkdir()
        made = Group(folder, limit)
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    try:
        yield made
    finally:
        wait_until(lambda: is_removed(folder), "the group is empty")


def is_removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def holders(ram: dict[str, Any]) -> dict[str, Any]:
    """Models that hold 200 MB."""
    command = shlex.join([sys.executable, "-S", str(HOLDER)]) + " ${PORT} 200"
    settings = {"minResidency": 0, "devices": {"ram": ram}}
    return {
        "models": {name: {"cmd": command, "memory": {"ram": "220MB"}} for name in "ab"},
        "performance": {"every": "5s"},
        "routing": {"router": {"use": "memory", "settings": {"memory": settings}}},
    }


def test_another_program_gets_the_memory_of_idle_models_and_they_come_back(
    run_program: RunProgram, group: Group
) -> None:
    config = holders({"reserve": "200MB", "yieldTo": "others"})
    other = group.start_other()
    try:
        with run_program(config, wrapper=group.wrapper) as program:
            for name in "ab":
                assert program.get(f"/upstream/{name}/").status == 200
            assert program.states() == {"a": "ready", "b": "ready"}
            wire, events = follow(program)
            with wire:
                events.start()
                other.hold(450)
                room = events.next_of("room")
                assert room["kind"] == "yield"
            wait_until(lambda: len(program.states()) == 1, "one makes room")
            assert room["model"] not in program.states()
            (stays,) = program.states()
            (gone,) = {"a", "b"} - {stays}
            why = f"{gone}: stopping, to make room on RAM for other programs, which use "
            wait_until(lambda: why in program.stdout, "the log says why")
            wait_until(lambda: evictions(program, gone, "yield"), "it is counted")
            assert program.get(f"/upstream/{stays}/").status == 200  # it has not been touched
            other.hold(0)
            wait_until(lambda: not evicts(program, gone), "there is room again")
            assert program.get(f"/upstream/{gone}/").status == 200
            assert program.states() == {"a": "ready", "b": "ready"}
    finally:
        other.end()


def evicts(program: Program, model: str) -> bool:
    """Whether a load of it is refused, or would end others."""
    plan = program.get(f"/api/models/{model}/plan").json()
    return bool(plan["evicts"] or plan.get("refusal"))


def test_an_idle_model_makes_room_for_one_that_grows(run_program: RunProgram, group: Group) -> None:
    with run_program(holders({"reserve": "200MB"}), wrapper=group.wrapper) as program:
        for name in "ab":
            assert program.get(f"/upstream/{name}/").status == 200
        assert program.get("/upstream/a/hold/600").status == 200
        wait_until(lambda: program.states() == {"a": "ready"}, "b makes room")
        why = "b: stopping, to make room on RAM for a, which has grown to "
        wait_until(lambda: why in program.stdout, "the log says why")
        wait_until(lambda: evictions(program, "b", "growth"), "it is counted")


# -- a GPU --


class Card:
    """24 GB, of which others take what a test says, and each model its size while it runs."""

    def __init__(self, told: Path) -> None:
        self.told = told
        self.others = 0
        self.sizes = {"a": 10 * GIB, "b": 8 * GIB}
        self.tell({})

    def tell(self, pids: dict[str, int]) -> None:
        used = self.others + sum(self.sizes[model] for model in pids)
        processes = " ".join(f"{pid}:{self.sizes[model]}" for model, pid in pids.items())
        lines = ["count 1", "0.uuid GPU-aaaa", "0.name Card", f"0.memory {24 * GIB} {used}"]
        new = self.told.with_suffix(".new")
        new.write_text("\n".join([*lines, f"0.compute {processes}" if processes else "", ""]))
        new.replace(self.told)

    def follow(self, program: Program) -> set[str]:
        """The models that run have their memory, and those that do not have given it back."""
        rows = program.get("/running").json()["running"]
        self.tell({row["model"]: row["pid"] for row in rows if row["pid"]})
        return {row["model"] for row in rows}


@needs_compiler
def test_a_game_on_a_gpu_gets_the_memory_of_an_idle_model_and_one_that_grows_does_too(
    run_program: RunProgram, tmp_path: Path
) -> None:
    card = Card(tmp_path / "told")
    settings = {"minResidency": 0, "devices": {"0": {"reserve": "1GB", "yieldTo": "others"}}}
    config = {
        "models": {name: {"cmd": demo(), "memory": {"0": f"{card.sizes[name] // GIB}GB"}} for name in "ab"},
        "performance": {"every": "5s"},
        "routing": {"router": {"use": "memory", "settings": {"memory": settings}}},
    }
    with run_program(config, env=environment(compile_library(tmp_path), card.told)) as program:

        def load_both() -> None:
            for name in "ab":
                assert program.chat(name).status == 200
            assert card.follow(program) == {"a", "b"}

        load_both()
        card.others = 12 * GIB
        wait_until(lambda: len(card.follow(program)) == 1, "one makes room")
        others = "to make room on GPU 0 for other programs, which use 12.0 GB"
        wait_until(lambda: others in program.stdout, "the log says why")
        card.others = 0
        wait_until(lambda: not any(evicts(program, name) for name in card.follow(program) ^ {"a", "b"}), "room")
        load_both()
        card.sizes["a"] = 16 * GIB
        wait_until(lambda: card.follow(program) == {"a"}, "b makes room for a")
        grown = "b: stopping, to make room on GPU 0 for a, which has grown to 16.0 GB"
        wait_until(lambda: grown in program.stdout, "the log says why")
