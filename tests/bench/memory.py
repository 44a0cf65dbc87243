"""Resident memory after 50,000 requests: below 45 MB, and flat from the first 10,000 on."""

from __future__ import annotations

import operator
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.rig import report, rig

REQUESTS = 50_000
WARM_UP = 10_000
FLAT_MB = 1.0


def main() -> int:
    done, warm_mb = 0.0, 0.0
    with rig() as bench:
        while done < REQUESTS:
            done += bench.load(bench.through, "-c", 8, "-d", "2s")["ok"]
            if not warm_mb and done >= WARM_UP:
                warm_mb = bench.resident_mb()
        end_mb = bench.resident_mb()
    grown_mb = end_mb - warm_mb
    figures = f"{end_mb:.1f} MB after {done:.0f} requests, {grown_mb:+.2f} MB since {WARM_UP}"
    return report("memory", figures, (end_mb, operator.lt, 45.0), (grown_mb, operator.lt, FLAT_MB))


if __name__ == "__main__":
    sys.exit(main())
