"""What a swap adds to the model's own load time, for loads of 0.1 to 2.4 s: mean below 40 ms.

A model's own load time is measured in the same run: the same command started by hand, asked every millisecond.
"""

from __future__ import annotations

import operator
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.rig import ROOT, free_port, is_ok, llamaswap, median, report, running, wait_until_ok

LOADS = (0.1, 0.2, 0.4, 0.8, 1.6, 2.4)
ROUNDS = 3
MODEL = """
  {name}:
    cmd: {command} --port ${{PORT}} --load-seconds {load}
"""


def command() -> str:
    return f"{sys.executable} {ROOT / 'llamaswap_lib' / 'demo'} --quiet"


def own_load(load: float) -> float:
    """Seconds from the start of the process to its first 200."""
    port = free_port()
    words = [*command().split(), "--port", str(port), "--load-seconds", str(load)]
    started = time.monotonic()
    with running(words):
        wait_until_ok(f"http://127.0.0.1:{port}/health")
        return time.monotonic() - started


def swap(address: str, model: str) -> float:
    """Seconds until `model` has answered."""
    started = time.monotonic()
    body = f'{{"model":"{model}","max_tokens":1,"messages":[{{"role":"user","content":"hi"}}]}}'.encode()
    assert is_ok(f"{address}/v1/chat/completions", body)
    return time.monotonic() - started


def main() -> int:
    models = "".join(MODEL.format(name=f"m{load}", command=command(), load=load) for load in LOADS)
    models += MODEL.format(name="other", command=command(), load=0)
    added = []
    with llamaswap(f"models:{models}") as (address, _):
        for load in LOADS:
            own = median([own_load(load) for _ in range(ROUNDS)])
            for _ in range(ROUNDS):
                swap(address, "other")
                added.append(swap(address, f"m{load}") - own)
    mean_ms = statistics.mean(added) * 1000
    figures = f"adds {mean_ms:.1f} ms on the mean, {max(added) * 1000:.0f} ms at most"
    return report("swap", figures, (mean_ms, operator.lt, 40.0))


if __name__ == "__main__":
    sys.exit(main())
