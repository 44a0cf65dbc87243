"""The choice of GPUs for one model while 20 others run on 1, 2, 4 or 8 of them, and some of those have to go.

Processor time, the least of five times for each case, for the machine may be busy.
"""

from __future__ import annotations

import operator
import random
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from llamaswap_lib.core.eviction import RunningModel
from llamaswap_lib.core.eviction.devices import GB, Device, Memory, Movable, NeedSource
from llamaswap_lib.core.eviction.manners import Manners
from llamaswap_lib.core.eviction.memory import MemoryPolicy
from tests.bench.rig import median, report

RUNNING = 20
CASES, TIMES = 100, 5
TARGET = "target"


def main() -> int:
    medians, worst, figures = [], 0.0, []
    for count in (1, 2, 4, 8):
        chance = random.Random(count)
        took = [seconds * 1000 for _ in range(CASES) if (seconds := decide(*world(chance, count)))]
        medians.append(median(took))
        worst = max(worst, *took)
        figures.append(f"{count} GPU{'s' * (count > 1)} {medians[-1]:.2f} ms, {max(took):.1f} at most")
    return report("placing", "; ".join(figures), (max(medians), operator.lt, 1.0), (worst, operator.lt, 10.0))


def decide(memory: Memory, seen: dict[str, RunningModel]) -> float:
    """Seconds that one decision takes; 0 where nobody has to go."""
    policy, best = MemoryPolicy(lambda: memory, Manners()), float("inf")
    for _ in range(TIMES):
        policy.observe(partial(view, seen), lambda _: False)
        begun = time.process_time()
        evicted = policy.evict(TARGET, tuple(seen))
        best = min(best, time.process_time() - begun)
    return best if evicted else 0.0


def view(seen: dict[str, RunningModel], model: str) -> RunningModel:
    return seen.get(model) or RunningModel(model, is_planned=True)


def world(chance: random.Random, count: int) -> tuple[Memory, dict[str, RunningModel]]:
    """GPUs that are full to a few GB, by models of which some are spread over several; one more is asked for."""
    gpus = tuple(f"gpu{number}" for number in range(count))
    movable, seen, used = {}, {}, dict.fromkeys(gpus, 0)
    for number in range(RUNNING):
        at = tuple(sorted(chance.sample(gpus, min(count, chance.choice([1, 1, 1, 2, 4])))))
        share, name = int(chance.uniform(0.5, 12) * GB), f"model-{number}"
        known = {at: dict.fromkeys(at, share)}
        movable[name] = Movable(gpus, 0, share * len(at), NeedSource.MEASURED, known, {"ram": GB})
        used |= {gpu: used[gpu] + share for gpu in at}
        idle, load = 10 ** chance.uniform(0, 5), chance.uniform(2, 90)
        seen[name] = RunningModel(name, "ready", idle, 0, load, 1e6, gpus=at)
    devices = {gpu: Device(used[gpu] + chance.choice([2, 4]) * GB, GB, label=gpu) for gpu in gpus}
    devices["ram"] = Device(512 * GB)
    wanted = min(count, chance.choice([0, 0, 0, 1, 2, 4]))
    largest = max(devices[gpu].capacity for gpu in gpus)
    size = int(chance.uniform(0.3, 0.8) * largest * max(1, wanted))
    movable[TARGET] = Movable(gpus, wanted, size, NeedSource.MEASURED, beside={"ram": GB})
    return Memory(devices, {}, movable=movable), seen


if __name__ == "__main__":
    sys.exit(main())
