"""One decision of the matrix policy: 12 models run, of 200 in two sets of ten by ten alternatives. Below 0.3 ms."""

from __future__ import annotations

import operator
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from llamaswap_lib.core.eviction.dsl import compile_sets
from llamaswap_lib.core.eviction.matrix import MatrixPolicy
from tests.bench.rig import median, report

RUNNING = 12
DECISIONS = 2000
GRIDS = {letter: [[f"{letter}{group}x{n}" for n in range(10)] for group in range(10)] for letter in "ab"}


def main() -> int:
    chance = random.Random(1)
    texts = {name: " & ".join(f"({'|'.join(group)})" for group in groups) for name, groups in GRIDS.items()}
    policy = MatrixPolicy(compile_sets(texts, lambda name: name), {})
    models = [model for groups in GRIDS.values() for group in groups for model in group]
    took = []
    for _ in range(DECISIONS):
        target, *running = chance.sample(models, RUNNING + 1)
        begun = time.perf_counter()
        policy.choose(target, tuple(running))
        took.append((time.perf_counter() - begun) * 1000)
    figures = f"{median(took):.3f} ms, {max(took):.2f} at most"
    return report("matrix", figures, (median(took), operator.lt, 0.3))


if __name__ == "__main__":
    sys.exit(main())
