"""What a row of activity costs a request: processor time of the server, by thread and by stage.

Three servers take turns with the same number of requests from 8 clients: `off`, which notes nothing of them; `on`, with
the defaults; and `all`, which also writes to a disk, captures, and has somebody listening to its events. `--stages`
measures the steps of a row one by one instead, in this process. Processor time is less moved by other programs on the
machine than rates are.
"""

from __future__ import annotations

import argparse
import gc
import operator
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from llamaswap_lib.activity.captures import Captures
from llamaswap_lib.activity.counters import Counters
from llamaswap_lib.activity.in_flight import Caller, InFlight, InFlightTable
from llamaswap_lib.activity.meter import row_of
from llamaswap_lib.activity.record import Record
from llamaswap_lib.activity.row import Row
from llamaswap_lib.activity.store import Store, StoreSettings
from llamaswap_lib.activity.writer import BATCH_ROWS
from llamaswap_lib.runtime.heap import COLLECTOR
from llamaswap_lib.server.request_body import RequestBody
from llamaswap_lib.wire.parser import parse_request_head, parse_response_head
from tests.bench.listeners import listening
from tests.bench.rig import ROOT, Usage, free_port, median, paced_upstream, report, run_load, running, wait_until_ok

CLIENTS = 8
WARM_REQUESTS = 1_000  # of each client
LEAST_SHARE = 0.9  # of what is served without activity
MODEL = 'models: {model1: {cmd: sleep 1000000, checkEndpoint: none, proxy: "PACED", concurrencyLimit: 1000}}\n'
CONFIGS = {
    "off": "captureBuffer: 0\n",
    "on": "",
    "all": "store: {path: FOLDER/activity.db}\ncaptureBuffer: 5\n",
}
SERVED, OFF = Path(__file__).with_name("served.py"), "off"
PATH = "/v1/chat/completions"
CALLER = Caller("", "", "127.0.0.1")
ASKED = parse_request_head(
    b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 162\r\n\r\n" % PATH.encode()
)
HEAD = parse_response_head(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 232\r\n\r\n")
ANSWER = (
    b'{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"%b"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}' % (b"x" * 64)
)

_T = TypeVar("_T")


@dataclass(frozen=True)
class Server:
    url: str
    pid: int

    def cpu(self) -> dict[str, float]:
        """Seconds of processor time so far, by thread."""
        times = {}
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            times[task.name] = int((task / "schedstat").read_text().split()[0]) / 1e9
        return times


@contextmanager
def server(kind: str, upstream: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        port, path = free_port(), Path(folder) / "config.yaml"
        path.write_text(CONFIGS[kind].replace("FOLDER", folder) + MODEL.replace("PACED", upstream))
        command = [sys.executable, str(SERVED), kind, "-c", str(path), "-listen", f"127.0.0.1:{port}"]
        process = stack.enter_context(running(command, {"PYTHONPATH": str(ROOT)}))
        url = f"http://127.0.0.1:{port}"
        wait_until_ok(f"{url}/health", process)
        if kind == "all":
            stack.enter_context(listening(url, 1))
        run_load("requests", url, "-c", CLIENTS, "-n", WARM_REQUESTS)
        yield Server(url, process.pid)


@dataclass(frozen=True)
class Took:
    """Of each request: microseconds of the server's processor time, in all and of the loop; and how many a second."""

    all_us: float
    loop_us: float
    per_second: float


def measured(one: Server, requests: int) -> Took:
    before = one.cpu()
    found = run_load("requests", one.url, "-c", CLIENTS, "-n", requests // CLIENTS)
    threading.Event().wait(0.3)  # what the writer has still to do belongs to it
    spent = {thread: seconds - before.get(thread, 0.0) for thread, seconds in one.cpu().items()}
    each = 1e6 / found["good"]
    return Took(sum(spent.values()) * each, max(spent.values()) * each, found["per_second"])


def compare(pairs: int, requests: int) -> int:
    kinds = list(CONFIGS)
    took: dict[str, list[Took]] = {kind: [] for kind in kinds}
    with paced_upstream() as upstream, ExitStack() as stack:
        servers = {kind: stack.enter_context(server(kind, upstream)) for kind in kinds}
        for number in range(pairs):
            for kind in [*kinds[number % 3 :], *kinds[: number % 3]]:
                took[kind].append(measured(servers[kind], requests))
        for kind in kinds:
            all_us, loop_us = (median([getattr(one, name) for one in took[kind]]) for name in ("all_us", "loop_us"))
            rate = median([one.per_second for one in took[kind]])
            memory = Usage.of(servers[kind].pid).memory / 1e6
            print(
                f"{kind:4} {all_us:6.1f} us each, {loop_us:6.1f} of them by the loop;"
                f" {rate:6.0f} a second; {memory:.1f} MB"
            )
    shares, rates = {}, {}
    for kind in kinds[1:]:
        shares[kind] = median([a.all_us / b.all_us for a, b in zip(took[OFF], took[kind], strict=True)])
        rates[kind] = median([b.per_second / a.per_second for a, b in zip(took[OFF], took[kind], strict=True)])
    figures = ", ".join(f"{kind} {shares[kind]:.3f} (rate {rates[kind]:.3f})" for kind in shares)
    bounds = [(share, operator.ge, LEAST_SHARE) for share in shares.values()]
    return report("activity", f"of what is served with it off, by processor time: {figures}", *bounds)


# -- by stage --


class NoClient:
    """The connection of a request that nobody serves."""

    def cancel(self) -> None: ...


class Waiting:
    """A journal that only keeps what waits."""

    captures = True

    def __init__(self) -> None:
        self.makes: list[Callable[[], Record]] = []

    def append(self, make: Callable[[], Record], kept_bytes: int) -> None:
        self.makes.append(make)

    def has_room(self, kept_bytes: int) -> bool:
        return True


class Answered:
    """A small chat, at its end."""

    status, sent_bytes, reply, failure, has_lost_client = 200, len(ANSWER), b"", None, False


def noted(table: InFlightTable, body: RequestBody) -> None:
    """What the loop does for the row of one request."""
    started = table.clock()
    trace = InFlight(table, NoClient(), ASKED, CALLER, started, "model1", PATH, is_recorded=True)
    trace.body, trace.request_bytes = body, body.size_bytes
    trace.sent_at, trace.answer, trace.head_at = started, HEAD, started
    trace.piece = bytes(bytearray(ANSWER))  # of its own, as they come
    trace.end(Answered(), 0.0006)


def stages(count: int) -> int:
    """Print what each step of so many rows takes, in this thread and with nothing else to do."""
    waiting, body = (
        Waiting(),
        RequestBody(b'{"model":"model1","messages":[{"role":"user","content":"%b"}]}' % (b"w " * 50)),
    )
    table, captures, counters = InFlightTable(waiting), Captures(5 << 20), Counters(lambda _: True)

    def in_batches(do: Callable[[list[Row]], object], rows: list[Row]) -> None:
        for begin in range(0, len(rows), BATCH_ROWS):
            do(rows[begin : begin + BATCH_ROWS])

    def timed(name: str, do: Callable[[], _T]) -> _T:
        begun = time.process_time()
        result = do()
        print(f"{(time.process_time() - begun) / count * 1e6:6.2f} us  {name}")
        return result

    gc.set_threshold(*COLLECTOR)  # as in the server

    def note() -> None:
        for _ in range(count):
            noted(table, body)

    timed("the loop notes it", note)
    records = timed("a record of it", lambda: [make() for make in waiting.makes])
    rows = timed("a row of that: the answer is read", lambda: [row_of(record) for record in records])
    with tempfile.TemporaryDirectory() as folder:
        for name, path in (("memory", None), ("a file", Path(folder) / "activity.db")):
            store = Store(StoreSettings(path))
            store.open()
            timed(f"stored in {name}", partial(in_batches, store.write, rows))
            store.close()
    timed("its capture kept", lambda: [captures.add(number, record) for number, record in enumerate(records)])
    timed("counted", lambda: in_batches(counters.observe, rows))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=24_000, help="of each server in each turn")
    parser.add_argument("--stages", action="store_true")
    chosen = parser.parse_args()
    if chosen.stages:
        return stages(chosen.requests)
    return compare(chosen.pairs, chosen.requests)


if __name__ == "__main__":
    sys.exit(main())
