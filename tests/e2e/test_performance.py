"""The whole program measures the machine that it runs on, and the models that it has started."""

from __future__ import annotations

import os
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, demo, models, wait_until
from tests.hardware.nvml_library import compile_library, environment, needs_compiler

LARGE = 80 << 20  # bytes that a model takes
# A program that takes LARGE, with a demo as its child.
HELD = "import os,sys; data=b'x'*int(sys.argv[1]); os.fork() or os.execv(sys.executable,sys.argv[2:]); os.wait()"


def holding() -> str:
    """The command of it."""
    return f"{shlex.join((sys.executable, '-S', '-c', HELD, str(LARGE)))} {demo()}"


def memory_of(program: Program, model: str) -> dict[str, Any]:
    """What a run takes, by device; {} before that was read."""
    return {row["device"]: row for row in program.running(model)["memory"] or ()}


def has_gpu(program: Program, model: str) -> bool:
    return "GPU-aaaa" in memory_of(program, model)


def has_peak(memory: dict[str, Any]) -> bool:
    return "ram" in memory and memory["ram"]["peak_bytes"] is not None


@pytest.mark.skipif(sys.platform == "darwin", reason="ps tells less than /proc")
def test_the_memory_of_a_model_is_told_while_it_runs(run_program: RunProgram) -> None:
    with run_program(models(m=holding())) as program:
        assert program.chat("m", max_tokens=1).status == 200
        wait_until(lambda: has_peak(memory_of(program, "m")), "its memory is known")
        wait_until(lambda: memory_of(program, "m")["ram"]["bytes"] >= LARGE, "it was seen with all that it takes")
        ram = memory_of(program, "m")["ram"]
        assert ram["witness"] == "ram"
        assert LARGE <= ram["bytes"] <= ram["peak_bytes"] < 3 * LARGE
        assert ram["mapped_bytes"] > 0


CARD = """count 1
0.uuid GPU-aaaa
0.name Card
0.temp 41
"""


@needs_compiler
def test_a_gpu_whose_processes_cannot_be_seen_tells_by_what_is_in_use_what_a_model_takes(
    run_program: RunProgram, tmp_path: Path
) -> None:
    """By a library that plays NVIDIA's: a real GPU is not asked."""
    told = tmp_path / "told"

    def in_use(gigabytes: int) -> str:
        return f"{CARD}0.memory {24 << 30} {gigabytes << 30}\n"

    def taking(gigabytes: int) -> str:
        """The command of a model with which so much more is in use, from its start on and not before."""
        new = tmp_path / f"with-{gigabytes}"
        new.write_text(in_use(1 + gigabytes))
        return f"sh -c {shlex.quote(shlex.join(('mv', str(new), str(told))) + ' && exec ' + demo())}"

    told.write_text(in_use(1))
    environ = environment(compile_library(tmp_path), told)
    with run_program(models(m=taking(5), n=taking(2)), env=environ) as program:
        wait_until(lambda: program.get("/api/performance").json()["gpu_stats"], "the first sample")
        sample = program.get("/api/performance").json()["gpu_stats"][0]
        assert [sample[key] for key in ("id", "name", "temp_c", "fan_speed_pct")] == [0, "Card", 41, None]
        for model, taken in (("m", 5), ("n", 2)):
            assert program.post(f"/api/models/load/{model}", None).status == 200
            wait_until(partial(has_gpu, program, model), "its memory is known")
            gpu = memory_of(program, model)["GPU-aaaa"]
            assert (gpu["bytes"], gpu["peak_bytes"], gpu["witness"]) == (taken << 30, taken << 30, "delta")


def test_samples_come_and_go_on_after_a_moment(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        wait_until(lambda: program.get("/api/performance").json()["sys_stats"], "the first sample")
        told = program.get("/api/performance").json()
        sample = told["sys_stats"][-1]
        assert told["enabled"] is True
        assert 0 < sample["mem_free_mb"] <= sample["mem_total_mb"]
        after = program.get(f"/api/performance?after={sample['timestamp']}").json()["sys_stats"]
        assert sample["timestamp"] not in [later["timestamp"] for later in after]  # the next one may have come
        assert len(after) < 3
        machine = program.get("/api/hardware").json()
        assert machine["memory"]["capacity_bytes"] > 0
        assert machine["cpu"]["logical_cores"] == os.cpu_count()
        assert isinstance(machine["accelerators"], list)


def test_a_reload_switches_samples_off_and_on(run_program: RunProgram) -> None:
    config = models(m=demo())
    with run_program({**config, "performance": {"disabled": True}}) as program:
        assert program.get("/api/performance").status == 503
        assert program.get("/api/performance").json() == {"enabled": False}
        assert program.get("/api/hardware").status == 503
        assert program.reload(config)["settings"] == ["performance"]
        assert program.get("/api/performance").status == 200
        assert program.get("/api/hardware").status == 200
