"""GET /api/performance, GET /api/hardware, and `memory` in /running: what was measured, as a client reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from llamaswap_lib.hardware.readings import Held
from llamaswap_lib.hardware.sampler import FIRST, SamplerSettings
from tests.hardware.folders import process, write
from tests.hardware.machines import MIB, Cards, Detail, Run, gpu
from tests.hardware.test_processes import ROLLUP
from tests.hardware.test_sampler import Machine
from tests.web.world import Running, World

OFF = (503, {"enabled": False})


def ask(world: World, path: str, method: str = "GET", host: str = "localhost") -> tuple[int, Any]:
    """Status and JSON."""
    head, body = world.ask(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return int(head.split()[1]), json.loads(body) if body else None


def measured(tmp_path: Path) -> Machine:
    """A machine with one GPU, of which three samples were taken."""
    machine = Machine(tmp_path, Cards(gpu()))
    machine.turn(FIRST)
    machine.turn(5.0)
    machine.turn(5.0)
    return machine


def test_samples_are_told_oldest_first(tmp_path: Path) -> None:
    machine = measured(tmp_path)
    with World(hardware=machine.hardware) as world:
        status, told = ask(world, "/api/performance")
    assert status == 200
    assert told == {
        "enabled": True,
        "sys_stats": machine.hardware.system_samples(),
        "gpu_stats": machine.hardware.gpu_samples(),
    }
    for rows in (told["sys_stats"], told["gpu_stats"]):
        times = [row["timestamp"] for row in rows]
        assert len(times) == 3
        assert times == sorted(times)


def test_both_lists_are_there_before_the_first_sample() -> None:
    with World() as world:
        assert ask(world, "/api/performance") == (200, {"enabled": True, "sys_stats": [], "gpu_stats": []})


@pytest.mark.parametrize(
    ("after", "count"),
    [
        ("2026-01-31T12:00:06.250Z", 1),
        ("2026-01-31T13:00:06.250+01:00", 1),
        ("2026-01-31T12:00:06.249999999Z", 2),
        ("2000-01-01T00:00:00Z", 3),
        ("2030-01-01T00:00:00Z", 0),
        ("", 3),
    ],
)
def test_only_samples_after_the_moment_are_told(tmp_path: Path, after: str, count: int) -> None:
    with World(hardware=measured(tmp_path).hardware) as world:
        for written in (after, quote(after)):
            _, told = ask(world, f"/api/performance?other=1&after={written}")
            assert [len(told[name]) for name in ("sys_stats", "gpu_stats")] == [count, count]


@pytest.mark.parametrize("after", ["zz", "2026-01-31", "1769860800", "2026-01-31T12:00:00Zjunk"])
def test_what_is_no_moment_is_refused(after: str) -> None:
    with World() as world:
        status, told = ask(world, f"/api/performance?after={after}")
    assert (status, told["error"]["code"]) == (400, "bad_request")
    assert told["error"]["message"].startswith("invalid 'after'")


def test_head_shows_that_it_lives() -> None:
    with World() as world, world.connect() as client:
        client.send(b"HEAD /api/performance HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = client.read_to_end()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n")


def test_what_is_switched_off_says_so(tmp_path: Path) -> None:
    machine = measured(tmp_path)
    machine.hardware.change(SamplerSettings(is_disabled=True))
    with World(hardware=machine.hardware) as world:
        assert ask(world, "/api/performance") == OFF
        assert ask(world, "/api/performance?after=zz") == OFF
        assert ask(world, "/api/hardware") == OFF


def test_the_machine_is_described(tmp_path: Path) -> None:
    machine = measured(tmp_path)
    with World(hardware=machine.hardware) as world:
        status, told = ask(world, "/api/hardware")
    assert status == 200
    assert set(told) == {
        *("schema_version", "captured_at", "capture", "architecture", "operating_system", "environment"),
        *("cpu", "memory", "accelerators"),
    }
    assert [one["model"] for one in told["accelerators"]] == ["Card"]


def test_a_machine_that_cannot_be_looked_at_is_an_error_that_passes(tmp_path: Path) -> None:
    hardware = Machine(tmp_path).hardware
    hardware.close()
    with World(hardware=hardware) as world:
        status, told = ask(world, "/api/hardware")
    assert (status, told["error"]["code"]) == (503, "service_unavailable")


@pytest.mark.parametrize("path", ["/api/performance", "/api/hardware"])
def test_a_name_that_may_be_another_sites_is_refused(path: str) -> None:
    with World() as world:
        assert ask(world, path, host="evil.example.org")[0] == 403


def test_running_tells_what_each_run_takes_of_each_device(tmp_path: Path) -> None:
    cards = Cards(gpu())
    cards.held = {100: {"GPU-1": Held(5 * MIB, "nvml")}}
    machine = Machine(tmp_path, cards)
    write(tmp_path / "proc", process(100, 1, 100, smaps_rollup=ROLLUP))
    machine.runs = [Detail(Run(7, "m"))]
    machine.turn()
    with World(hardware=machine.hardware) as world:
        world.controller.running = [Running("m", 7, "ready", 0.0, 1.0)]
        _, told = ask(world, "/running")
        assert told["running"][0]["memory"] == [
            {
                "device": "GPU-1",
                "name": "Card",
                "kind": "gpu",
                "bytes": 5 * MIB,
                "peak_bytes": 5 * MIB,
                "witness": "nvml",
            },
            {
                "device": "ram",
                "name": "ram",
                "kind": "ram",
                "bytes": 2000 << 10,
                "peak_bytes": 2000 << 10,
                "witness": "ram",
                "mapped_bytes": 3000 << 10,
            },
        ]
        world.controller.running = [Running("m", 8, "starting")]
        assert ask(world, "/running")[1]["running"][0]["memory"] is None
