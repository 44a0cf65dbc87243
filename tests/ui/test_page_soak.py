"""A page that stays open while 20 events and 50 log lines a second come: it does not grow, and costs little.

`LLAMASWAP_PAGE_SECONDS` makes it longer (an hour in `.ci/long`); with `pytest -s` figures are shown.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.program import demo
from tests.ui.conftest import CONFIG, Served, Watched

SECONDS = float(os.environ.get("LLAMASWAP_PAGE_SECONDS", "6"))
MOST_GROWTH = 6_000_000  # bytes of the heap of scripts, between two collections
PAGES = ("models", "queue", "activity", "logs?show=proxy", "performance")


class Meter:
    """What one page takes: the heap of its scripts after a collection, the nodes of its document, processor time."""

    def __init__(self, page: Any) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})  # of the processor, not of the clock

    def read(self) -> dict[str, float]:
        self._session.send("HeapProfiler.collectGarbage")
        found = self._session.send("Performance.getMetrics")["metrics"]
        return {each["name"]: each["value"] for each in found}


def cpu_seconds(pid: int) -> float:
    """Of a process, all its threads."""
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_pages_stay_as_they_are_while_much_happens(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    config = {**CONFIG, "models": {**CONFIG["models"], "chatty": {"cmd": demo("--log-spam", "0.005")}}}
    config["groups"] = {"all": {"swap": False, "members": ["small", "embed", "chatty"]}}
    with run_server(config) as server:
        assert server.chat("chatty", max_tokens=1).status == 200
        pages = {name: watch(server).open(name) for name in PAGES}
        meters = {name: Meter(page) for name, page in pages.items()}
        ending = threading.Event()

        def ask() -> None:
            while not ending.wait(0.15):  # each request is three events: it begins, ends and has a row
                server.chat("small", max_tokens=2)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            ending.wait(SECONDS / 3)
            before = {name: meter.read() for name, meter in meters.items()}
            begun, used = time.monotonic(), cpu_seconds(server.process.pid)
            ending.wait(SECONDS * 2 / 3)
            after = {name: meter.read() for name, meter in meters.items()}
            share = (cpu_seconds(server.process.pid) - used) / (time.monotonic() - begun)
        finally:
            ending.set()
            asking.join()
        told = []
        for name in PAGES:
            heap = after[name]["JSHeapUsedSize"] - before[name]["JSHeapUsedSize"]
            nodes = after[name]["Nodes"] - before[name]["Nodes"]
            busy = (after[name]["TaskDuration"] - before[name]["TaskDuration"]) / (time.monotonic() - begun)
            told.append(f"{name} {heap / 1e6:+.1f} MB, {nodes:+.0f} nodes, {busy:.0%} of a core")
            assert heap < MOST_GROWTH, told[-1]
        print(f"{SECONDS:.0f} s: {'; '.join(told)}; the server {share:.0%} of a core")
