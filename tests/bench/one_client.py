"""One kept-alive client, small chat requests: the time through the server over the time directly. Below 2.2."""

from __future__ import annotations

import operator
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.rig import median, report, rig

ROUNDS = 5


def main() -> int:
    with rig() as bench:
        pairs = list(bench.in_turns(ROUNDS, "-c", 1, "-d", "2s"))
    ratio = median([direct["rps"] / through["rps"] for direct, through in pairs])
    added = median([through["lat_us p50"] - direct["lat_us p50"] for direct, through in pairs])
    return report("one client", f"through/direct {ratio:.2f}, {added:.0f} us added", (ratio, operator.lt, 2.2))


if __name__ == "__main__":
    sys.exit(main())
