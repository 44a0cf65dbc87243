"""One decision of the memory policy: 20 models run on two GPUs, of many sizes and uses. Median below a millisecond."""

from __future__ import annotations

import operator
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from llamaswap_lib.core.eviction import RunningModel
from llamaswap_lib.core.eviction.devices import GB, Device, Memory, Need, NeedSource
from llamaswap_lib.core.eviction.manners import Manners
from llamaswap_lib.core.eviction.memory import MemoryPolicy
from tests.bench.rig import median, report

RUNNING = 20
DECISIONS = 400
MODELS = [f"model-{number}" for number in range(60)]


def main() -> int:
    chance = random.Random(1)
    took = []
    for _ in range(DECISIONS):
        target, *running = chance.sample(MODELS, RUNNING + 1)
        policy = MemoryPolicy(partial(world, chance, target, running), Manners())
        policy.observe(views(chance, running), lambda _: False)
        begun = time.process_time()
        policy.evict(target, tuple(running))
        took.append((time.process_time() - begun) * 1000)
    figures = f"{median(took):.3f} ms, {max(took):.2f} at most"
    return report("choosing", figures, (median(took), operator.lt, 1.0))


def world(chance: random.Random, target: str, running: list[str]) -> Memory:
    """Full to a few GB, so that about half of the models have to go for the target."""
    sizes = {model: {name: int(chance.uniform(0.5, 6) * GB) for name in some_devices(chance)} for model in running}
    used = {name: sum(one.get(name, 0) for one in sizes.values()) for name in ("a", "b", "ram")}
    devices = {name: Device(size + GB, 0) for name, size in used.items()}
    sizes[target] = {name: size // 2 for name, size in used.items()}
    return Memory(devices, {model: Need(one, NeedSource.MEASURED) for model, one in sizes.items()})


def some_devices(chance: random.Random) -> list[str]:
    return [*chance.choice([["a"], ["b"], ["a", "b"]]), "ram"]


def views(chance: random.Random, running: list[str]) -> Callable[[str], RunningModel]:
    seen = {
        model: RunningModel(model, "ready", 10 ** chance.uniform(0, 5), 0, chance.uniform(2, 90), 1e6)
        for model in running
    }
    return seen.__getitem__


if __name__ == "__main__":
    sys.exit(main())
