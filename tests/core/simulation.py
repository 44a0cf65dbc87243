"""Plays random worlds: `python tests/core/simulation.py --worlds 5000 --seed 0 [--flavour churn]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.core.books import BrokenError
from tests.core.engine import Simulation, play
from tests.core.worlds import FLAVOURS, Plan, make_plan


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--flavour", choices=["", *FLAVOURS], default="")
    parser.add_argument("--first", type=int, metavar="SEED", help="of a world to play before the others")
    parser.add_argument("--keep-going", action="store_true")
    chosen = parser.parse_args()
    broken = requests = 0
    longest = 0.0
    first = [] if chosen.first is None else [chosen.first]
    for seed in (*first, *range(chosen.seed, chosen.seed + chosen.worlds)):
        simulation = _play(make_plan(seed, chosen.flavour))
        if simulation is not None:
            requests += simulation.requests
            longest = max(longest, simulation.witness.longest_wait)
            continue
        broken += 1
        if not chosen.keep_going:
            break
    print(f"{chosen.worlds} worlds, {requests} requests, {broken} broken, longest wait {longest:.0%} of the bound")
    return 1 if broken else 0


def _play(plan: Plan) -> Simulation | None:
    try:
        return play(plan)
    except BrokenError as error:
        print(error)
        return None


if __name__ == "__main__":
    sys.exit(main())
