"""How long requests wait while somebody asks a store of a million rows: each of the heaviest questions, over and over.

`--rows 100000` with fewer, `--keep FILE` as in `store`; `--seconds 5` for each question. One client asks a model that
answers at once, alone at first and at the end, and beside the questions. SQLite works without the interpreter, and what
is made of rows is made in small pieces, so a question may hold up a request for 5 ms. The bound is on 99 requests of
100, for the worst one is one that the machine held up.
"""

from __future__ import annotations

import argparse
import operator
import shutil
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.rig import llamaswap, median, paced_upstream, report, run_load
from tests.bench.store import fill

MOST_ADDED_MS = 5.0
PIECE_BYTES = 65_536
CONFIG = """
models: {model1: {cmd: sleep 1000000, checkEndpoint: none, proxy: "PACED"}}
store: {path: "STORE"}
"""
QUESTIONS = (
    "activity?q=completions", "activity?limit=999&page=500", "activity?limit=999&sort=duration", "activity?q=nothing",
    "series?start=2023-11-01T00:00:00Z&end=2023-12-08T00:00:00Z&path=/v1/chat/completions",
    "series?start=2023-11-20T00:00:00Z&end=2023-12-03T00:00:00Z&bucket=10m", "facets?min_duration=1s", "stats",
    "activity?format=jsonl&max_id=200000",
)  # fmt: skip


@contextmanager
def asking(url: str) -> Iterator[list[float]]:
    """Ask it over and over; how long each answer took, in seconds."""
    took: list[float] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            begun = time.perf_counter()
            with urllib.request.urlopen(url) as answer:
                while not is_over.is_set() and answer.read(PIECE_BYTES):
                    """It may be large."""
            took.append(time.perf_counter() - begun)

    thread = threading.Thread(target=ask, name="questions")
    thread.start()
    try:
        yield took
    finally:
        is_over.set()
        thread.join()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "activity.db"
        if chosen.keep is not None and chosen.keep.exists():
            shutil.copy(chosen.keep, path)
        else:
            fill(path, chosen.rows)
        config = CONFIG.replace("STORE", str(path))
        with paced_upstream() as upstream, llamaswap(config.replace("PACED", upstream)) as (url, _):
            run_load("requests", url, "-c", 1, "-d", "500ms")  # the model is ready now

            def delays(what: str) -> tuple[float, float]:
                found = run_load("requests", url, "-c", 1, "-d", f"{chosen.seconds:g}s")
                most_of_99, most = found["us_99"] / 1000, found["us_most"] / 1000
                print(f"p50 {found['us'] / 1000:6.2f} ms  p99 {most_of_99:6.2f} ms  worst {most:6.1f} ms  {what}")
                return most_of_99, most

            alone = [delays("alone")]
            beside = {}
            for question in QUESTIONS:
                with asking(f"{url}/api/metrics/{question}") as took:
                    beside[question] = delays(question)
                print(f"{len(took):8} answers in {median(took) * 1000:.0f} ms each")
            alone.append(delays("alone"))
    p99, worst = (max(figures) for figures in zip(*alone, strict=True))
    slowest = max(beside, key=lambda question: beside[question])
    figures = f"p99 {p99:.2f} ms and worst {worst:.1f} ms alone, {beside[slowest][0]:.2f} ms beside {slowest}"
    figures += f", worst {max(most for _, most in beside.values()):.1f} ms"
    return report("questions", figures, (beside[slowest][0] - p99, operator.le, MOST_ADDED_MS))


if __name__ == "__main__":
    sys.exit(main())
