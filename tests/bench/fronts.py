"""Requests a second through a front to a peer: by one process, and by several (`-workers`), beside the peer directly.

`--workers 4` and `--seconds 5` for each measurement, `--clients 32` kept-alive connections. The peer is the load tool's
upstream. Each part has its turn in each of `--rounds 3`, and the line has the medians. All of it runs on one machine:
workers help only as far as it has cores that the load tool and its upstream leave free. No bound: it depends on that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.rig import Usage, llamaswap, median, paced_upstream, report, run_load

CONFIG = """
logLevel: warn
peers:
  box: {{proxy: "{url}", models: [model1]}}
"""


def rate(url: str, clients: int, seconds: float) -> float:
    """Requests a second."""
    return run_load("requests", url, "-c", clients, "-d", f"{seconds}s")["per_second"]


class Through(NamedTuple):
    """What a front came to: requests a second, its processor time for each in seconds, its memory in bytes."""

    per_second: float
    cpu: float
    memory: float


def through(upstream: str, workers: int, clients: int, seconds: float) -> Through:
    """Through a front of so many processes."""
    with llamaswap(CONFIG.format(url=upstream), "-workers", str(workers)) as (url, server):
        rate(url, clients, 0.5)
        before = Usage.of(server.pid, has_workers=True)
        per_second = rate(url, clients, seconds)
        after = Usage.of(server.pid, has_workers=True)
        return Through(per_second, (after.cpu - before.cpu) / (per_second * seconds), after.memory)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    clients, seconds = options.clients, options.seconds
    with paced_upstream() as upstream:
        directly: list[float] = []
        one: list[Through] = []
        many: list[Through] = []
        for _ in range(options.rounds):
            directly.append(rate(upstream, clients, seconds))
            one.append(through(upstream, 1, clients, seconds))
            many.append(through(upstream, options.workers, clients, seconds))
    direct = median(directly)
    told = [f"{direct:,.0f} a second directly"]
    for count, found in ((1, one), (options.workers, many)):
        per_second, cpu, memory = map(median, zip(*found, strict=True))
        figures = f"{per_second:,.0f} ({per_second / direct:.2f}) by {count}"
        told.append(f"{figures}, {cpu * 1e6:.0f} us of processor time each, {memory / 2**20:.0f} MB")
    return report("fronts", "; ".join(told))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
