"""Who is served when, with real processes: priorities, grouping, and what `maxWait` bounds or, at 0, does not."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.conftest import RunProgram
from tests.e2e.held import Held
from tests.e2e.program import DEADLINE, HELLO, Program, demo, models, wait_until
from tests.e2e.talk import Wire, events

FAST = demo("--tokens-per-second", "200")
SHORT = {**HELLO, "max_tokens": 2, "stream": True, "ignore_eos": True}


def fifo(**settings: Any) -> dict[str, Any]:
    return {"routing": {"scheduler": {"settings": {"fifo": settings}}}}


def await_loads(program: Program, names: str) -> None:
    """Until these are all that were loaded, in this order, by the log; their names have one letter."""

    def loads() -> str:
        return "".join(re.findall(r"\[INFO\] (\w): starting\n", program.stdout))

    wait_until(lambda: loads() == names, f"{names} were loaded")


def ask(program: Program, stack: ExitStack, name: str) -> Wire:
    """One request, sent and not yet answered, that calls itself `as-NAME`."""
    wire = stack.enter_context(program.wire())
    wire.request("POST", "/v1/chat/completions", {"model": name, **SHORT}, extra=f"User-Agent: as-{name}\r\n")
    return wire


def stand_in_line(program: Program, stack: ExitStack, names: str) -> list[Wire]:
    """One request for each model named, in this order; none of these models may be loaded before the last one waits."""
    wires = []
    for place, name in enumerate(names, 1):
        wires.append(ask(program, stack, name))
        wait_for_line(program, place)
    return wires


def wait_for_line(program: Program, length: int) -> None:
    """Until so many requests wait for a model."""
    wait_until(lambda: len(json.loads(program.get("/api/queue").body)["queue"]) == length, f"{length} requests wait")


def read_all(wires: list[Wire]) -> None:
    for wire in wires:
        assert wire.status() == 200
        assert events(b"".join(wire.chunks()))[-1] == "[DONE]"


@contextmanager
def kept_hot(program: Program, model: str, *, ends: bool = True) -> Iterator[None]:
    """Somebody is inside `model` all the time: each stream begins half a second before the last one ends.

    If it does not end by itself it is left when the next one has begun: then nobody else gets in, however slow we are.
    """
    is_over, is_hot = threading.Event(), threading.Event()

    def begin() -> Wire:
        wire = program.stream(model, **({"max_tokens": 100} if ends else {}))
        wire.read_head_and_first_chunk()
        return wire

    def keep() -> None:
        wire = begin()
        is_hot.set()
        while not is_over.is_set():
            for _ in range(40):
                wire.chunk()
            following = begin()
            with wire:
                assert not ends or events(b"".join(wire.chunks()))[-1] == "[DONE]"
            wire = following
        wire.close()

    with ThreadPoolExecutor() as pool:
        hot = pool.submit(keep)
        try:
            assert is_hot.wait(DEADLINE)
            yield
        finally:
            is_over.set()
        hot.result()


def test_the_higher_priority_goes_first_and_equal_ones_as_they_came(run_program: RunProgram) -> None:
    entries = models(a=FAST, b=FAST, c=FAST, d={"cmd": FAST, "aliases": ["urgent"]})
    with run_program({**entries, **fifo(priority={"urgent": 5, "b": -1})}) as program, ExitStack() as stack:
        busy = stack.enter_context(program.stream("a"))
        busy.read_head_and_first_chunk()
        wires = stand_in_line(program, stack, "bcd")
        await_loads(program, "a")
        busy.close()
        read_all(wires)
        await_loads(program, "adcb")


def test_a_priority_does_not_interrupt(run_program: RunProgram, tmp_path: Path) -> None:
    held = Held(tmp_path)
    config = {**models(a=held.command, b=FAST), **fifo(priority={"b": 9})}
    with run_program(config) as program, ExitStack() as stack:
        busy = stack.enter_context(program.stream("a"))
        busy.read_head_and_first_chunk()
        waits = stand_in_line(program, stack, "b")
        also = ask(program, stack, "a")  # the loaded model still serves those who come later
        also.read_head_and_first_chunk()
        await_loads(program, "a")
        held.end(busy, also)
        read_all(waits)
        await_loads(program, "ab")


def test_a_b_c_a_b_c_becomes_a_a_b_b_c_c(run_program: RunProgram) -> None:
    with run_program(models(a=FAST, b=FAST, c=FAST, z=FAST)) as program, ExitStack() as stack:
        busy = stack.enter_context(program.stream("z"))
        busy.read_head_and_first_chunk()
        wires = stand_in_line(program, stack, "abcabc")
        busy.close()
        read_all(wires)
        wait_until(lambda: program.stdout.count('"as-') == 6, "all are in the log")
        assert re.findall(r'"as-(\w)"', program.stdout) == list("aabbcc")
        await_loads(program, "zabc")


def test_past_max_wait_a_hot_model_gives_way_whatever_its_priority_and_comes_back(run_program: RunProgram) -> None:
    entries = models(h=demo("--tokens-per-second", "100"), c=FAST)
    with run_program({**entries, **fifo(maxWait=1, priority={"h": 100})}) as program, kept_hot(program, "h"):
        for _ in range(2):
            assert program.chat("c", max_tokens=2).status == 200
            wait_until(lambda: program.states() == {"h": "ready"}, "the hot one is back")
        await_loads(program, "hchch")


def test_without_max_wait_a_hot_model_keeps_its_place(run_program: RunProgram) -> None:
    entries = models(h=demo("--tokens-per-second", "100"), c=FAST)
    with run_program({**entries, **fifo(maxWait=0)}) as program, ThreadPoolExecutor() as pool:
        with kept_hot(program, "h", ends=False):
            cold = pool.submit(program.chat, "c", max_tokens=2)
            wait_until(lambda: len(program.queue()) == 1, "it waits")
            wait_until(lambda: program.queue()[0]["waiting_seconds"] > 2.5, "it waits for long")
            assert program.chat("h", max_tokens=1).status == 200
            assert not cold.done()
            await_loads(program, "h")
        assert cold.result().status == 200
        await_loads(program, "hc")
