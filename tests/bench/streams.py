"""Streams of 50 chunks a second: the share of direct's chunks that arrive, and the median delay of a chunk.

300 streams: above 0.95, below 1 ms. 600 streams: above 0.85, below 2 ms. The delay is from the upstream's writing to
the client's reading, so it holds the load tool's own share, which direct shows.
"""

from __future__ import annotations

import operator
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.rig import median, report, rig

ROUNDS = 3
BOUNDS = {300: (0.95, 1.0), 600: (0.85, 2.0)}


def main() -> int:
    figures, bounds = [], []
    with rig() as bench:
        for count, (least_share, most_ms) in BOUNDS.items():
            arguments = ("-stream", "-c", count, "-chunks", 200, "-gap", "20ms", "-d", "3s")
            pairs = list(bench.in_turns(ROUNDS, *arguments))
            share = median([through["chunks/s"] / direct["chunks/s"] for direct, through in pairs])
            ms = median([through["chunk_us p50"] for _, through in pairs]) / 1000
            direct_ms = median([direct["chunk_us p50"] for direct, _ in pairs]) / 1000
            figures.append(f"{count}: share {share:.2f}, {ms:.2f} ms (direct {direct_ms:.2f})")
            bounds += [(share, operator.gt, least_share), (ms, operator.lt, most_ms)]
    return report("streams", "; ".join(figures), *bounds)


if __name__ == "__main__":
    sys.exit(main())
