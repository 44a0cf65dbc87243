"""`GET /api/memory`: what there is, who needs and holds what; and its documentation, key by key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llamaswap_lib.core.eviction import Explanation
from llamaswap_lib.core.eviction.devices import GB, Device, Memory, Need, NeedSource
from llamaswap_lib.core.plan import Plan, Victim
from tests.web.world import OK, Running, World, answers, get

CONFIG = """
models: {a: {cmd: "x ${PORT}", pinned: true}, b: {cmd: "x ${PORT}"}, c: {cmd: "x ${PORT}"}}
routing: {router: {use: memory}}
"""
NOTHING = Explanation("")
PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
SECTION = PAGE.partition("\n### Memory\n")[2].partition("\n### ")[0]
SIZES = (("GPU-1", 24), ("ram", 64))
OF_DEVICES = {"GPU-1", "ram"}  # keys that are names


def told(path: str = "/api/memory") -> bytes:
    """By a server on which `a` runs, with what `b` needs known, and `gone` configured no more."""
    with World(answers(OK), config=CONFIG) as world:
        world.controller.running = [Running("a", 1, "ready"), Running("gone", 2, "stopping")]
        world.app.memory.now = Memory(
            {"GPU-1": Device(24 * GB, GB, 2 * GB, "GPU 0"), "ram": Device(64 * GB, 0, 70 * GB, "RAM")},
            {"a": Need({"GPU-1": 8 * GB}, NeedSource.MEASURED), "b": Need({"GPU-1": 18 * GB}, NeedSource.DECLARED)},
            {"a": {"GPU-1": 9 * GB, "ram": GB}},
        )
        world.controller.plans = {
            "a": Plan("a", "ready", (), (), NOTHING, 0.0),
            "b": Plan("b", "stopped", (Victim("a", "ready", 0, "holds"),), (), NOTHING, None),
            "c": Plan("c", "stopped", (), (), NOTHING, None, "it does not fit"),
        }
        return world.ask(get(path))[1]


def test_devices_models_and_what_a_load_would_do() -> None:
    answer = json.loads(told())
    gpu, ram = answer["devices"]
    assert gpu == {
        "device": "GPU-1", "name": "GPU 0", "capacity_bytes": 24 * GB, "reserve_bytes": GB, "yield_to": "nobody",
        "others_bytes": 2 * GB, "held_bytes": 9 * GB, "free_bytes": 12 * GB,
    }  # fmt: skip
    assert ram["free_bytes"] == 0
    a, b, c, gone = answer["models"]
    assert (a["held"], a["pinned"], a["load"]) == (
        {"GPU-1": 9 * GB, "ram": GB},
        True,
        {"evicts": [], "refusal": None},
    )
    assert b["need"] == {"source": "declared", "devices": {"GPU-1": 18 * GB}}
    assert (b["state"], b["held"], b["load"]) == ("stopped", None, {"evicts": ["a"], "refusal": None})
    assert (c["need"], c["load"]["refusal"]) == ({"source": "unknown", "devices": None}, "it does not fit")
    assert (gone["model"], gone["state"], gone["load"]) == ("gone", "stopping", None)


def test_metrics_have_devices_and_needs_with_their_source() -> None:
    lines = {line for line in told("/metrics").decode().splitlines() if "_device_" in line or "_need_" in line}
    assert {line for line in lines if not line.startswith("#")} == {
        *(f'llamaswap_memory_device_capacity_bytes{{device="{name}"}} {size * GB}' for name, size in SIZES),
        f'llamaswap_memory_device_reserve_bytes{{device="GPU-1"}} {GB}',
        'llamaswap_memory_device_reserve_bytes{device="ram"} 0',
        f'llamaswap_memory_device_others_bytes{{device="GPU-1"}} {2 * GB}',
        f'llamaswap_memory_device_others_bytes{{device="ram"}} {70 * GB}',
        f'llamaswap_model_memory_need_bytes{{model="a",device="GPU-1",source="measured"}} {8 * GB}',
        f'llamaswap_model_memory_need_bytes{{model="b",device="GPU-1",source="declared"}} {18 * GB}',
    }


def keys_of(value: Any, path: str = "") -> Iterator[str]:
    """Of an answer, as the documentation names them: `devices.name`."""
    if isinstance(value, list):
        for item in value:
            yield from keys_of(item, path)
    elif isinstance(value, dict) and not value.keys() & OF_DEVICES:
        for name, item in value.items():
            yield (name := f"{path}.{name}".lstrip("."))
            yield from keys_of(item, name)


def test_the_documentation_names_every_key_and_no_other() -> None:
    assert {*re.findall(r"^\| `([a-z_.]+)` \|", SECTION, re.MULTILINE)} == {*keys_of(json.loads(told()))}


def test_the_example_in_the_documentation_is_such_an_answer() -> None:
    example = json.loads(SECTION.partition("```json")[2].partition("```")[0])
    answer = json.loads(told())
    for name in ("devices", "models"):
        assert [*example[name][0]] == [*answer[name][0]]
    assert [*example] == [*answer]
