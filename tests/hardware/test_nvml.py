"""NVIDIA's GPUs by NVML: a library in C that says what a test wants, loaded as the real one is, in a child process.

No real GPU is asked. The child finds the library by LD_LIBRARY_PATH.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hardware.folders import HOST, LINK, write
from tests.hardware.nvml_library import compile_library, environment, needs_compiler

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [needs_compiler, pytest.mark.slow]  # each process of the tests compiles the library

CHILD = """
import json, sys
from llamaswap_lib.hardware.nvml import open_nvml
from llamaswap_lib.hardware.readings import SourceLost
proc, sys_folder, pids = *sys.argv[1:3], [int(pid) for pid in sys.argv[3:]]
try:
    nvml = open_nvml(proc, sys_folder)
    if nvml is None:
        print(json.dumps("nothing"))
    else:
        gpus = [gpu._asdict() for gpu in nvml.read()]
        print(json.dumps([gpus, nvml.held_by(pids)]))
        nvml.close()
except SourceLost as error:
    print(json.dumps(f"lost: {error}"))
"""
CARD = """count 1
driver 580.95.05
0.uuid GPU-aaaa
0.name NVIDIA RTX Test
0.memory 25769803776 1073741824
0.temp 41
0.memory_temp 58
0.busy 73 12
0.fan 30
0.power 123456
0.limit 350000
0.architecture 8
0.pci 0:65:0
0.compute 100:524288000 101:1000 200:7
0.graphics 100:524288000 300:?
"""
Ask = Callable[..., Any]


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with the library for each kind of driver."""
    return {kind: compile_library(tmp_path_factory.mktemp(kind), kind) for kind in ("V3", "V2", "PLAIN")}


@pytest.fixture
def ask(libraries: dict[str, Path], tmp_path: Path) -> Ask:
    """What a child reads where the library says `told`: GPUs, and what the pids hold; or a text."""

    def run(told: str, *pids: int, kind: str = "V3", proc: str = "") -> Any:
        (tmp_path / "told").write_text(told)
        proc = proc or write(tmp_path / "proc", HOST)
        env = {**os.environ, **environment(libraries[kind], tmp_path / "told")}
        argv = (sys.executable, "-c", CHILD, proc, str(tmp_path / "sys"), *map(str, pids))
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_card_tells_what_it_is_and_how_busy(ask: Ask) -> None:
    ((gpu,), _) = ask(CARD)
    assert gpu == {
        "key": "GPU-aaaa",
        "vendor": "nvidia",
        "name": "NVIDIA RTX Test",
        "uuid": "GPU-aaaa",
        "pci": "0000:65:00.0",
        "used_bytes": 1073741824,
        "total_bytes": 25769803776,
        "is_shared": False,
        "temperature": 41,
        "memory_temperature": 58,
        "utilization": 73.0,
        "memory_utilization": 12.0,
        "fan": 30.0,
        "power": 123.456,
        "power_limit": 350.0,
        "architecture": "Ada",
        "driver": "nvidia",
        "driver_version": "580.95.05",
        "shows_processes": True,
    }


@pytest.mark.parametrize("kind", ["V3", "V2", "PLAIN"])
def test_processes_are_listed_by_every_version_of_the_library(ask: Ask, kind: str) -> None:
    _, held = ask(CARD, 100, 101, kind=kind)
    assert held == {"GPU-aaaa": [524288000 + 1000, "nvml"]}


def test_a_process_that_computes_and_draws_counts_once_and_one_of_somebody_else_not_at_all(ask: Ask) -> None:
    assert ask(CARD, 100)[1] == {"GPU-aaaa": [524288000, "nvml"]}
    assert ask(CARD, 999)[1] == {}


def test_a_process_whose_memory_nobody_tells_makes_the_sum_unknown(ask: Ask) -> None:
    assert ask(CARD, 300)[1] == {"GPU-aaaa": [None, "nvml"]}
    assert ask(CARD, 100, 300)[1] == {"GPU-aaaa": [None, "nvml"]}


def test_more_processes_than_fit_at_first_are_all_listed(ask: Ask) -> None:
    many = " ".join(f"{pid}:1" for pid in range(1000, 1200))
    told = CARD.replace("0.compute 100:524288000 101:1000 200:7", f"0.compute {many}")
    assert ask(told, *range(1000, 1200))[1] == {"GPU-aaaa": [200, "nvml"]}


def test_what_a_card_does_not_tell_is_unknown_and_not_zero(ask: Ask) -> None:
    ((gpu,), held) = ask("count 1\n0.uuid GPU-b\n0.name Bare\n", 100)
    unknown = ("temperature", "memory_temperature", "utilization", "fan", "power", "power_limit", "used_bytes")
    assert [gpu[name] for name in unknown] == [None] * len(unknown)
    assert not gpu["shows_processes"]
    assert held == {}


def test_a_card_without_memory_of_its_own_shares_that_of_the_machine_and_still_tells_of_processes(ask: Ask) -> None:
    for memory in ("", "0.memory 0 0\n"):
        told = f"count 1\n0.uuid GPU-gb10\n0.name NVIDIA GB10\n{memory}0.compute 100:19135000000\n"
        ((gpu,), held) = ask(told, 100)
        assert (gpu["is_shared"], gpu["total_bytes"], gpu["used_bytes"]) == (True, None, None)
        assert held == {"GPU-gb10": [19135000000, "nvml"]}


def test_a_card_that_sleeps_is_not_woken_and_not_known(ask: Ask, tmp_path: Path) -> None:
    write(tmp_path / "sys", {"bus/pci/devices/0000:65:00.0/power/runtime_status": "suspended\n"})
    ((gpu,), held) = ask(CARD, 100)
    assert (gpu["name"], gpu["temperature"], gpu["used_bytes"]) == ("NVIDIA RTX Test", None, None)
    assert held == {}


def test_a_card_in_parts_is_told_as_its_parts(ask: Ask) -> None:
    told = """count 1
0.uuid GPU-a100
0.name NVIDIA A100
0.temp 30
0.memory 42949672960 100
0.mig 1
0.most_parts 7
0/0.uuid MIG-one
0/0.name NVIDIA A100 MIG 3g.20gb
0/0.memory 20937965568 1000
0/0.compute 100:900
0/2.uuid MIG-two
0/2.memory 9999 10
0/2.compute
"""
    (gpus, held) = ask(told, 100)
    assert [(gpu["key"], gpu["name"], gpu["used_bytes"], gpu["temperature"]) for gpu in gpus] == [
        ("MIG-one", "NVIDIA A100 MIG 3g.20gb", 1000, 30),
        ("MIG-two", "NVIDIA A100", 10, 30),
    ]
    assert held == {"MIG-one": [900, "nvml"]}


def test_a_card_that_is_to_be_divided_and_is_not_yet_is_whole(ask: Ask) -> None:
    ((gpu,), _) = ask(CARD + "0.mig 1\n0.most_parts 7\n")
    assert gpu["key"] == "GPU-aaaa"


def test_a_card_that_is_lost_is_left_out_and_the_others_are_told(ask: Ask) -> None:
    two = CARD.replace("count 1", "count 2") + "1.uuid GPU-bbbb\n1.name Other\n1.memory 10 5\n"
    assert [gpu["key"] for gpu in ask(two + "0.lost 1\n")[0]] == ["GPU-bbbb"]


@pytest.mark.parametrize("code", [15, 999])
def test_a_card_whose_memory_cannot_be_read_now_is_left_out_and_does_not_share_that_of_the_machine(
    ask: Ask, code: int
) -> None:
    assert ask(CARD + f"0.memory_error {code}\n", 100) == [[], {}]


def test_a_driver_that_is_not_there_is_nothing_and_one_that_does_not_work_is_told(ask: Ask) -> None:
    assert ask("init 9\n") == "nothing"
    assert ask("init 12\n") == "nothing"
    assert ask("init 18\n") == "lost: Driver/library version mismatch"
    assert ask("driver 1\n") == "lost: Unknown Error"  # it goes between the start and the question how many there are


def test_in_a_container_a_pid_counts_only_if_the_process_has_a_device_open(ask: Ask, tmp_path: Path) -> None:
    proc = write(
        tmp_path / "inside",
        {
            "self/ns/pid": LINK + "pid:[4026532999]",
            "100/fd/0": LINK + "/dev/null",
            "100/fd/7": LINK + "/dev/nvidia0",
            "101/fd/0": LINK + "/dev/null",
        },
    )
    ((gpu,), held) = ask(CARD, 100, 101, proc=proc)
    assert not gpu["shows_processes"]
    assert held == {"GPU-aaaa": [524288000, "nvml"]}


def test_a_machine_without_the_library_has_nothing() -> None:
    env = {**os.environ, "LD_LIBRARY_PATH": ""}
    done = subprocess.run(
        (sys.executable, "-c", CHILD, "/proc", "/sys"), cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    if not Path("/proc/driver/nvidia").exists():
        assert json.loads(done.stdout) == "nothing"
