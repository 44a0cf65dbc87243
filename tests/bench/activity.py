"""What a row of activity costs a request: processor time of the server, by thread and by stage.

Three servers take turns with the same number of requests from 8 clients: `off`, which notes nothing of them; `on`, with
the defaults; and `all`, which also writes to a disk, captures, and has somebody listening to its events. `--stages`
measures the steps of a row one by one instead, in this process. Processor time is less moved by other programs on the
machine than rates are.
"""

from __future__ import annotations

import argparse
import operator
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
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
SERVE, OFF = "serve", "off"


def serve(kind: str, arguments: list[str]) -> int:
    """Run the program; where it is `off`, nothing is noted of a request."""
    from llamaswap_lib.cli import main as run  # noqa: PLC0415 - only where it is served
    from llamaswap_lib.endpoints import proxied  # noqa: PLC0415
    from llamaswap_lib.server.trace import UNTRACED  # noqa: PLC0415

    if kind == OFF:
        vars(proxied)["InFlight"] = lambda *_, **__: UNTRACED
    return run(arguments)


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
        command = [sys.executable, __file__, SERVE, kind, "-c", str(path), "-listen", f"127.0.0.1:{port}"]
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


def main() -> int:
    if sys.argv[1:2] == [SERVE]:
        return serve(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=24_000, help="of each server in each turn")
    chosen = parser.parse_args()
    return compare(chosen.pairs, chosen.requests)


if __name__ == "__main__":
    sys.exit(main())
