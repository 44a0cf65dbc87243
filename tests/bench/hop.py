"""What a front adds: requests a second to a box through it, divided by those asked of the box directly.

`--rounds 3 --seconds 2`, with one client and with eight, in turns within a round. The box is a llamaswap with a model
that answers at once; it and the front, which has it as a peer, run beside each other, and so share the processor.
"""

from __future__ import annotations

import argparse
import operator
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.rig import Usage, llamaswap, median, paced_upstream, report, run_load

CLIENTS = (1, 8)
LEAST = {1: 0.35, 8: 0.35}  # of direct
BOX = 'models: {model1: {cmd: sleep 1000000, checkEndpoint: none, proxy: "PACED"}}\n'
FRONT = 'peers: {box: {proxy: "BOX", models: [model1]}}\n'


def rate(url: str, clients: int, seconds: float) -> float:
    return run_load("requests", url, "-c", clients, "-d", f"{seconds:g}s")["good"] / seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    chosen = parser.parse_args()
    told, bounds = [], []
    with (
        paced_upstream() as upstream,
        llamaswap(BOX.replace("PACED", upstream)) as (box, _),
        llamaswap(FRONT.replace("BOX", box)) as (front, server),
    ):
        for url in (box, front):
            rate(url, max(CLIENTS), 0.5)  # the model is ready now
        for clients in CLIENTS:
            found, spent = [], []
            for _ in range(chosen.rounds):
                direct, before = rate(box, clients, chosen.seconds), Usage.of(server.pid).cpu
                found.append((direct, rate(front, clients, chosen.seconds)))
                spent.append((Usage.of(server.pid).cpu - before) / found[-1][1] / chosen.seconds * 1000)
            ratio = median([through / direct for direct, through in found])
            direct, through = (median(rates) for rates in zip(*found, strict=True))
            told.append(
                f"{clients} client{'s' * (clients > 1)} {direct:,.0f} -> {through:,.0f} a second "
                f"({ratio:.2f} of direct, {median(spent):.2f} ms of the front's processor time each)"
            )
            bounds.append((ratio, operator.ge, LEAST[clients]))
    return report("hop", f"{', '.join(told)}; load average {os.getloadavg()[0]:.1f}", *bounds)


if __name__ == "__main__":
    sys.exit(main())
