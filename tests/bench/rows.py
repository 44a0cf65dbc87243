"""Every row of the table of costs: what is measured, how, and what must hold. Bounds stand only here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tests.bench.measures import Measure, echoing, growing, idling, starting, streaming, under_load, waiting
from tests.bench.subjects import KEY, Setup

PLAIN, CLIENT_TLS, MODEL_TLS = Setup(), Setup(is_client_tls=True), Setup(is_model_tls=True)
CONFIGURED = Setup(config="configured")
FRESH = "-fresh"  # a new connection for each request
ALL = ("direct", "proxy", "swapper", "ours")
PROXIES = ("proxy", "swapper", "ours")
SWAPPERS = ("swapper", "ours")
OURS = ("ours",)


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
    """One number of a row: its key in what is measured, its unit for people, and what must hold of ours.

    A detail is shown where checkouts are compared, and not in the tables of the pages.
    """

    key: str
    unit: str
    bound: Bound | None = None
    is_detail: bool = False


@dataclass(frozen=True)
class Row:
    """`measure(target, scale)` gives the figures; `scale` below 1 makes it shorter. `kinds` are who takes part."""

    name: str
    what: str
    figures: Sequence[Figure]
    measure: Measure
    setup: Setup = PLAIN
    kinds: Sequence[str] = ALL


# -- the rows --

CPU = Figure("cpu_us", "us of processor time each", is_detail=True)


def latency(bound: Bound | None = None) -> Sequence[Figure]:
    return (Figure("us", "us", bound), CPU)


def rate(bound: Bound | None = None) -> Sequence[Figure]:
    return (Figure("per_second", "a second", bound), CPU)


def chunks(share: Bound, delay: Bound | None) -> Sequence[Figure]:
    return (Figure("chunks", "chunks a second", share), Figure("chunk_us", "us delay", delay), CPU)


def each(memory: Bound | None = None, threads: Bound | None = None) -> Sequence[Figure]:
    return (Figure("bytes", "bytes", memory), Figure("threads", "threads", threads))


REQUESTS = (
    Row("one", "one kept-alive client", latency(share_at_most(2.2)), under_load(1)),
    Row("eight", "8 kept-alive clients", rate(share_at_least(0.32)), under_load(8)),
    Row("sixty-four", "64 kept-alive clients", rate(share_at_least(0.42)), under_load(64)),
    Row("new-eight", "a new connection for each request, 8 clients", rate(share_at_least(0.38)), under_load(8, FRESH)),
    Row("new-sixty-four", "the same, 64 clients", rate(share_at_least(0.36)), under_load(64, FRESH)),
)
STREAMS = (
    Row(
        "streams-300",
        "300 streams of 50 chunks a second",
        chunks(share_at_least(0.985), at_most(400)),
        streaming(300, 50),
    ),
    Row(
        "streams-600",
        "600 streams of 50 chunks a second",
        chunks(share_at_least(0.97), at_most(900)),
        streaming(600, 50),
    ),
    Row("streams-950", "950 streams of 20 chunks a second", chunks(share_at_least(0.97), None), streaming(950, 20)),
)
BODIES = (
    Row("large-answers", "answers of 20 MB, 2 clients", rate(share_at_least(0.65)), under_load(2, "-pad", 20_000_000)),
    Row(
        "large-requests", "requests of 8 MB, 2 clients", rate(share_at_least(0.6)), under_load(2, "-padreq", 8_000_000)
    ),
    Row(
        "medium-requests",
        "requests of 100 KB, 4 clients",
        rate(share_at_least(0.55)),
        under_load(4, "-padreq", 100_000),
    ),
)
WAYS = (
    Row("websocket-one", "WebSocket echo, one client", latency(), echoing(1)),
    Row("websocket-eight", "WebSocket echo, 8 clients", rate(), echoing(8)),
    Row("tls-one", "HTTPS towards the client, one client", latency(), under_load(1), CLIENT_TLS),
    Row("tls-eight", "HTTPS towards the clients, 8 clients", rate(), under_load(8), CLIENT_TLS),
    Row("model-tls-one", "HTTPS towards the model, one client", latency(), under_load(1), MODEL_TLS),
    Row("model-tls-eight", "HTTPS towards the model, 8 clients", rate(), under_load(8), MODEL_TLS),
    Row(
        "configured-one", "a key, a profile, a selector and filters, one client", latency(share_at_most(2.2)),
        under_load(1, "-key", KEY), CONFIGURED, ("direct", "ours"),
    ),
    Row(
        "configured-eight", "the same, 8 clients", rate(share_at_least(0.25)),
        under_load(8, "-key", KEY), CONFIGURED, ("direct", "ours"),
    ),
)  # fmt: skip
RESOURCES = (
    Row(
        "idle", "5,000 idle connections, each", each(at_most(6000), at_most(0.001)),
        partial(idling, 5000), Setup(config="wide"), PROXIES,
    ),
    Row(
        "waiting", "300 requests that wait for one load, each", each(),
        partial(waiting, 300), Setup(config="loading"), SWAPPERS,
    ),
    Row(
        "start", "from the start to the first answer", [Figure("ms", "ms", at_most(250))],
        starting, PLAIN, SWAPPERS,
    ),
    Row(
        "memory", "resident memory after 50,000 requests, and since the first 10,000",
        [Figure("mb", "MB", at_most(45)), Figure("grown_mb", "MB more", at_most(1))],
        partial(growing, 50_000, 0), PLAIN, PROXIES,
    ),
    Row(
        "memory-full", "the same after 200,000, with a store on disk, captures and one who listens to events",
        [Figure("mb", "MB", at_most(45)), Figure("grown_mb", "MB more", at_most(1))],
        partial(growing, 200_000, 1), Setup(config="full"), OURS,
    ),
)  # fmt: skip
ROWS: tuple[Row, ...] = (*REQUESTS, *STREAMS, *BODIES, *WAYS, *RESOURCES)
