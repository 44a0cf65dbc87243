"""How the rows are measured: each function gives, or is, what asks one target under load and returns its figures.

`scale` below 1 makes a measurement shorter. Figures are named as the load tool names them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench.listeners import listening
from tests.bench.rig import LoadFailedError, Usage, load_tool, run_load
from tests.bench.subjects import KEY, Target

CAN_TELL_USAGE = Path("/proc/self/stat").exists()
SECONDS, STREAM_SECONDS = 2.0, 4.0  # of load
WARM_UP = ("-c", 8, "-d", "200ms")
WARM_REQUESTS = 10_000

Measure = Callable[[Target, float], Mapping[str, float]]


def under_load(clients: int, *arguments: object) -> Measure:
    """Clients that send small chats, each the next one when it has its answer, for so many seconds."""

    def measure(target: Target, scale: float) -> Mapping[str, float]:
        keyed = ("-key", KEY) if KEY in arguments else ()
        run_load("requests", target.url, *WARM_UP, *keyed)
        words = ("-c", clients, "-d", f"{SECONDS * scale}s", *arguments)
        return with_cpu(target, "good", lambda: run_load("requests", target.url, *words))

    return measure


def streaming(count: int, chunks_a_second: int) -> Measure:
    """So many streams of four seconds at once, one on each of as many new connections."""

    def measure(target: Target, scale: float) -> Mapping[str, float]:
        run_load("requests", target.url, *WARM_UP)
        gap, chunks = f"{1000 / chunks_a_second}ms", round(STREAM_SECONDS * chunks_a_second * scale)
        words = ("-stream", "-c", count, "-n", 1, "-gap", gap, "-chunks", chunks)
        return with_cpu(target, "chunk_count", lambda: run_load("requests", target.url, *words))

    return measure


def echoing(clients: int) -> Measure:
    """Clients with a WebSocket each that say a message when they have heard the echo of the last one."""

    def measure(target: Target, scale: float) -> Mapping[str, float]:
        run_load("requests", target.url, *WARM_UP)
        words = ("-c", clients, "-d", f"{SECONDS * scale}s")
        return with_cpu(target, "good", lambda: run_load("websocket", target.echo, *words))

    return measure


def with_cpu(target: Target, key: str, load: Callable[[], Mapping[str, float]]) -> Mapping[str, float]:
    """The figures, and the microseconds of processor time for each of what `key` counts, where that can be told."""
    if not target.pid or not CAN_TELL_USAGE:
        return load()
    before = target.usage()
    found = load()
    return {**found, "cpu_us": (target.usage().cpu - before.cpu) / found[key] * 1e6}


def idling(count: int, target: Target, _: float) -> Mapping[str, float]:
    """What each of so many connections takes that has had an answer and waits."""
    run_load("requests", target.url, "-c", 64, "-d", "1s")
    before = target.usage()
    command = (str(load_tool()), "idle", "-url", target.url, "-c", str(count))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as clients:
        assert clients.stdout is not None
        assert clients.stderr is not None
        if clients.stdout.readline().strip() != "ready":
            raise LoadFailedError(clients.stderr.read().strip())
        during = target.usage()
        clients.communicate()
    return shares(count, before, during)


def waiting(count: int, target: Target, _: float) -> Mapping[str, float]:
    """What each of so many requests takes at most while all wait for one model to load."""
    command = (str(load_tool()), "requests", "-url", target.url, "-c", str(count), "-n", "1")
    before = most = target.usage()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as clients:
        while True:
            now = target.usage()
            most = Usage(max(most.memory, now.memory), max(most.threads, now.threads), now.cpu)
            try:
                clients.wait(0.05)
                break
            except subprocess.TimeoutExpired:
                continue
        said, error = clients.communicate()
    if clients.returncode or '"bad":0' not in said:
        raise LoadFailedError(said or error)
    return shares(count, before, most)


def shares(count: int, before: Usage, during: Usage) -> Mapping[str, float]:
    return {
        "bytes": (during.memory - before.memory) / count,
        "threads": (during.threads - before.threads) / count,
    }


def starting(target: Target, _: float) -> Mapping[str, float]:
    return {"ms": target.start_seconds * 1000}


def growing(requests: int, listeners: int, target: Target, scale: float) -> Mapping[str, float]:
    """Resident memory after so many requests, and how much of it came since the first of them; so many listen."""

    def after(count: int) -> float:
        run_load("requests", target.url, "-c", 8, "-n", max(1, round(count * scale / 8)))
        return target.usage().memory / 1e6

    with listening(target.url, listeners):
        warm = after(WARM_REQUESTS)
        end = after(requests - WARM_REQUESTS)
    return {"mb": end, "grown_mb": end - warm}
