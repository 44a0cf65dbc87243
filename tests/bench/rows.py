"""Every row of the table of costs: what is measured, how, and what must hold. Bounds stand only here."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tests.bench.rig import LoadFailedError, Usage, load_tool, run_load
from tests.bench.subjects import KEY, Setup, Target

PLAIN = Setup()
ALL = ("direct", "proxy", "swapper", "ours")
PROXIES = ("proxy", "swapper", "ours")
SWAPPERS = ("swapper", "ours")
WARM_UP = ("-c", 8, "-d", "200ms")
WARM_REQUESTS, REQUESTS = 10_000, 50_000


@dataclass(frozen=True)
class Bound:
    """What ours must keep: a share of direct's figure, or a figure itself."""

    limit: float
    is_most: bool
    is_share: bool

    def __str__(self) -> str:
        kind = "of direct" if self.is_share else ""
        return f"at {'most' if self.is_most else 'least'} {self.limit:g} {kind}".rstrip()


def share_at_least(limit: float) -> Bound:
    return Bound(limit, is_most=False, is_share=True)


def share_at_most(limit: float) -> Bound:
    return Bound(limit, is_most=True, is_share=True)


def at_most(limit: float) -> Bound:
    return Bound(limit, is_most=True, is_share=False)


@dataclass(frozen=True)
class Figure:
    """One number of a row: its key in what is measured, its unit for people, and what must hold of ours."""

    key: str
    unit: str
    bound: Bound | None = None


Measure = Callable[[Target, float], Mapping[str, float]]


@dataclass(frozen=True)
class Row:
    """`measure(target, scale)` gives the figures; `scale` below 1 makes it shorter. `kinds` are who takes part."""

    name: str
    what: str
    figures: Sequence[Figure]
    measure: Measure
    setup: Setup = PLAIN
    kinds: Sequence[str] = ALL


# -- how things are measured --


def under_load(clients: int, *arguments: object, seconds: float = 2.0) -> Measure:
    """Clients that send small chats, each the next one when it has its answer, for so many seconds."""

    def measure(target: Target, scale: float) -> Mapping[str, float]:
        keyed = ("-key", KEY) if KEY in arguments else ()
        run_load("requests", target.url, *WARM_UP, *keyed)
        return run_load("requests", target.url, "-c", clients, "-d", f"{seconds * scale}s", *arguments)

    return measure


def streaming(count: int, gap_ms: int, chunks: int) -> Measure:
    """So many streams at once, one for each of as many new connections."""

    def measure(target: Target, scale: float) -> Mapping[str, float]:
        run_load("requests", target.url, *WARM_UP)
        chunks_each = max(20, round(chunks * scale))
        words = ("-stream", "-c", count, "-n", 1, "-gap", f"{gap_ms}ms", "-chunks", chunks_each)
        return run_load("requests", target.url, *words)

    return measure


def echoing(clients: int) -> Measure:
    def measure(target: Target, scale: float) -> Mapping[str, float]:
        run_load("requests", target.url, *WARM_UP)
        return run_load("websocket", target.echo, "-c", clients, "-d", f"{2 * scale}s")

    return measure


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
    return each(count, before, during)


def waiting(count: int, target: Target, _: float) -> Mapping[str, float]:
    """What each of so many requests takes at most while all wait for one model to load."""
    command = (str(load_tool()), "requests", "-url", target.url, "-c", str(count), "-n", "1")
    before = most = target.usage()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as clients:
        while True:
            now = target.usage()
            most = Usage(max(most.memory, now.memory), max(most.threads, now.threads))
            try:
                clients.wait(0.05)
                break
            except subprocess.TimeoutExpired:
                continue
        said, error = clients.communicate()
    if clients.returncode or '"bad":0' not in said:
        raise LoadFailedError(said or error)
    return each(count, before, most)


def each(count: int, before: Usage, during: Usage) -> Mapping[str, float]:
    return {
        "bytes": (during.memory - before.memory) / count,
        "threads": (during.threads - before.threads) / count,
        "all_threads": during.threads,
    }


def starting(target: Target, _: float) -> Mapping[str, float]:
    return {"ms": target.start_seconds * 1000}


def growing(target: Target, scale: float) -> Mapping[str, float]:
    """Resident memory after many requests, and how much of it came since the first of them."""

    def after(requests: int) -> float:
        run_load("requests", target.url, "-c", 8, "-n", max(1, round(requests * scale / 8)))
        return target.usage().memory / 1e6

    warm = after(WARM_REQUESTS)
    end = after(REQUESTS - WARM_REQUESTS)
    return {"mb": end, "grown_mb": end - warm}


# -- the rows --

LATENCY, RATE = partial(Figure, "us", "us"), partial(Figure, "per_second", "a second")
CLIENT_TLS, MODEL_TLS = Setup(is_client_tls=True), Setup(is_model_tls=True)
CONFIGURED = Setup(config="configured")
STREAMS = {300: (0.985, 400.0), 600: (0.97, 900.0)}


def streams(count: int) -> Row:
    share, delay = STREAMS[count]
    figures = (
        Figure("chunks", "chunks a second", share_at_least(share)),
        Figure("chunk_us", "us delay", at_most(delay)),
    )
    return Row(f"streams-{count}", f"{count} streams of 50 chunks a second", figures, streaming(count, 20, 200))


ROWS: tuple[Row, ...] = (
    Row("one", "one kept-alive client", [LATENCY(share_at_most(2.2))], under_load(1)),
    Row("eight", "8 kept-alive clients", [RATE(share_at_least(0.32))], under_load(8)),
    Row("sixty-four", "64 kept-alive clients", [RATE(share_at_least(0.42))], under_load(64)),
    Row(
        "new-eight",
        "a new connection for each request, 8 clients",
        [RATE(share_at_least(0.38))],
        under_load(8, "-fresh"),
    ),
    Row("new-sixty-four", "the same, 64 clients", [RATE(share_at_least(0.36))], under_load(64, "-fresh")),
    streams(300),
    streams(600),
    Row(
        "streams-950",
        "950 streams of 20 chunks a second",
        [Figure("chunks", "chunks a second", share_at_least(0.97)), Figure("chunk_us", "us delay")],
        streaming(950, 50, 80),
    ),
    Row(
        "large-answers", "answers of 20 MB, 2 clients", [RATE(share_at_least(0.65))], under_load(2, "-pad", 20_000_000)
    ),
    Row(
        "large-requests",
        "requests of 8 MB, 2 clients",
        [RATE(share_at_least(0.6))],
        under_load(2, "-padreq", 8_000_000),
    ),
    Row(
        "medium-requests",
        "requests of 100 KB, 4 clients",
        [RATE(share_at_least(0.55))],
        under_load(4, "-padreq", 100_000),
    ),
    Row("websocket-one", "WebSocket echo, one client", [LATENCY()], echoing(1)),
    Row("websocket-eight", "WebSocket echo, 8 clients", [RATE()], echoing(8)),
    Row("tls-one", "HTTPS towards the client, one client", [LATENCY()], under_load(1), CLIENT_TLS),
    Row("tls-eight", "HTTPS towards the clients, 8 clients", [RATE()], under_load(8), CLIENT_TLS),
    Row("model-tls-one", "HTTPS towards the model, one client", [LATENCY()], under_load(1), MODEL_TLS),
    Row("model-tls-eight", "HTTPS towards the model, 8 clients", [RATE()], under_load(8), MODEL_TLS),
    Row(
        "configured-one",
        "a key, a profile, a selector and filters, one client",
        [LATENCY(share_at_most(2.2))],
        under_load(1, "-key", KEY),
        CONFIGURED,
        ("direct", "ours"),
    ),
    Row(
        "configured-eight",
        "the same, 8 clients",
        [RATE(share_at_least(0.25))],
        under_load(8, "-key", KEY),
        CONFIGURED,
        ("direct", "ours"),
    ),
    Row(
        "idle",
        "5,000 idle connections, each",
        [Figure("bytes", "bytes", at_most(6000)), Figure("threads", "threads", at_most(0.001))],
        partial(idling, 5000),
        Setup(config="wide"),
        PROXIES,
    ),
    Row(
        "waiting",
        "300 requests that wait for one load, each",
        [Figure("bytes", "bytes"), Figure("threads", "threads")],
        partial(waiting, 300),
        Setup(config="loading"),
        SWAPPERS,
    ),
    Row("start", "from the start to the first answer", [Figure("ms", "ms", at_most(250))], starting, kinds=SWAPPERS),
    Row(
        "memory",
        "resident memory after 50,000 requests, and since the first 10,000",
        [Figure("mb", "MB", at_most(45)), Figure("grown_mb", "MB more", at_most(1))],
        growing,
        kinds=PROXIES,
    ),
)
