"""The same small requests with a key, a profile, a selector and filters on their way, beside those with nothing of it.

One kept-alive client: the time through the server over the time directly, below 2.2. Eight: requests a second through
over directly, above 0.25. Each request is renamed twice, by the active profile and by the selector, and filtered.
"""

from __future__ import annotations

import json
import operator
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.rig import Rig, llamaswap, median, report, rig

ROUNDS = 5
KEY = "a-key-of-the-benchmark"
CONFIG = f"""
apiKeys: [another-key, {KEY}]
models:
  m:
    cmd: sleep 1000000
    checkEndpoint: none
    proxy: DIRECT
    filters:
      stripParams: top_k, seed
      setParams: {{temperature: 0.5, min_p: 0.1}}
selectors:
  any:
    strategy: warm
    targets: [m]
profiles:
  work:
    pins: {{model1: any}}
"""


def main() -> int:
    figures, bounds = [], []
    with rig() as bench, llamaswap(CONFIG.replace("DIRECT", bench.direct)) as (configured, _):
        activate(configured, "work")
        for clients in (1, 8):
            plain, ours = figures_of(bench, configured, clients)
            if clients == 1:
                figures.append(f"one client: through/direct {ours:.2f} (without all that {plain:.2f})")
                bounds.append((ours, operator.lt, 2.2))
            else:
                figures.append(f"eight: {ours:.2f} ({plain:.2f})")
                bounds.append((ours, operator.gt, 0.25))
    return report("configured", "; ".join(figures), *bounds)


def figures_of(bench: Rig, configured: str, clients: int) -> Sequence[float]:
    """(without, with all that) as ratios of times for one client, of requests a second for more."""
    ratios: list[list[float]] = [[], []]
    for direct, through in bench.in_turns(ROUNDS, "-c", clients, "-d", "1500ms"):
        ours = bench.load(configured, "-c", clients, "-d", "1500ms", "-key", KEY)
        for found, kept in zip((through, ours), ratios, strict=True):
            share = found["rps"] / direct["rps"]
            kept.append(1 / share if clients == 1 else share)
    return [median(kept) for kept in ratios]


def activate(address: str, profile: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    body = json.dumps({"name": profile}).encode()
    request = urllib.request.Request(f"{address}/api/profiles/active", body, headers, method="PUT")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200, answer.status


if __name__ == "__main__":
    sys.exit(main())
