"""`whenQueued: evict`: idle models make room in the queue of an engine with fewer machines than models."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.program import Program, models, wait_until

SCRIPT = Path(__file__).with_name("engine.py")


def sharing(folder: Path, slots: int, **group: Any) -> dict[str, Any]:
    """The models a, b and c, which run side by side on so many machines."""
    entries = {}
    for name in "abc":
        words = (sys.executable, "-S", str(SCRIPT), str(folder), str(slots), name)
        entries[name] = {"cmd": shlex.join(words), "proxy": "announced"}
    return {**models(**entries), "groups": {"cluster": {"swap": False, "members": list("abc"), **group}}}


@contextmanager
def busy(program: Program, folder: Path, model: str) -> Iterator[None]:
    """A request is inside it meanwhile."""
    os.mkfifo(folder / "go")
    with program.wire() as wire:
        hold = [{"role": "user", "content": "hold"}]
        wire.request("POST", "/v1/chat/completions", {"model": model, "messages": hold})
        wait_until(lambda: program.states() == {model: "ready"}, "it is ready")
        wait_until(lambda: program.running(model)["in_flight"] == 1, "it is busy")
        yield
        (folder / "go").write_text("")
        assert wire.status() == 200


def test_the_longest_idle_model_makes_room_for_one_that_is_queued(tmp_path: Path) -> None:
    with Program(tmp_path, sharing(tmp_path, 2, whenQueued="evict")) as program:
        with busy(program, tmp_path, "a"):  # else it goes, where the other one takes a second to say where it listens
            assert program.chat("b").status == 200
        for name in "ab":
            assert program.chat(name).json()["name"] == name
        assert program.chat("c").json()["name"] == "c"
        wait_until(lambda: set(program.states()) == {"b", "c"}, "the end of a is noticed")
        program.await_log("[INFO] a: stopping, idle, makes room in the queue of c\n")
        assert program.chat("b").status == 200
        assert 'llamaswap_evictions_total{model="a",reason="queue"} 1' in program.get("/metrics").text
        program.await_starts("b", 1)


def test_a_busy_model_makes_no_room_and_what_is_queued_waits_for_an_idle_one(tmp_path: Path) -> None:
    with Program(tmp_path, sharing(tmp_path, 2, whenQueued="evict")) as program, busy(program, tmp_path, "a"):
        assert program.chat("b").status == 200
        assert program.chat("c").json()["name"] == "c"
        wait_until(lambda: set(program.states()) == {"a", "c"}, "the end of b is noticed")
