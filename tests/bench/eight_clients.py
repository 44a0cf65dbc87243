"""Eight kept-alive clients, small chat requests: requests a second through the server over directly. Above 0.25."""

from __future__ import annotations

import operator
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.rig import median, report, rig

ROUNDS = 5


def main() -> int:
    with rig() as bench:
        pairs = list(bench.in_turns(ROUNDS, "-c", 8, "-d", "2s"))
    ratio = median([through["rps"] / direct["rps"] for direct, through in pairs])
    through = median([through["rps"] for _, through in pairs])
    return report("eight clients", f"through/direct {ratio:.2f}, {through:.0f} requests/s", (ratio, operator.gt, 0.25))


if __name__ == "__main__":
    sys.exit(main())
