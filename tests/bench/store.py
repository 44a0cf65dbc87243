"""Questions about a million rows of activity, and what it costs to write one.

The first page, ranges of ids, facets, stats and series in 50 ms; text search and free combinations in 500 ms.
`--rows 100000` tries it with fewer; `--keep FILE` keeps the store, and asks it again where it is there already. The
bounds are on processor time, which other programs on the machine do not change.
"""

from __future__ import annotations

import argparse
import operator
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from llamaswap_lib.activity.bare_row import bare_row
from llamaswap_lib.activity.connections import connect
from llamaswap_lib.activity.database import open_file, open_memory
from llamaswap_lib.activity.facets import facets_of
from llamaswap_lib.activity.queries import page_of
from llamaswap_lib.activity.query import Parameters, read_filter, read_query, text_of
from llamaswap_lib.activity.record import Ended, Record
from llamaswap_lib.activity.row import Row
from llamaswap_lib.activity.series import read_span, series_of
from llamaswap_lib.activity.stats import stats_of
from tests.bench.rig import median, report

BEGIN, PAUSE = 1_700_000_000.0, 2.0  # seconds: the first row, and from one to the next
BATCH_ROWS = 100
TRIES = 5
HOUR, DAY = 3_600.0, 86_400.0  # seconds
QUICK_MS, FREE_MS = 50.0, 500.0
WRITE_US = 100.0  # of processor time for a row, in batches

QUICK = (
    "", "page=2000", "min_id=5000", "min_id=900000&max_id=950000", "model=org/model-3", "model=org/model-19",
    "status=4xx", "sort=time&order=asc", "sort=model&order=asc", "session=s-77",
)  # fmt: skip
FREE = (
    "q=model-7", "q=499", "q=completions", "q=nothing", "q=upstream&model=org/model-3&status=500", "min_duration=9s",
    "min_duration=9s&sort=prompt&key=key-1", "ended=client_left&q=chat", "sort=duration", "sort=req_path",
    "sort=gen_speed&model=org/model-1", "path=/v1/embeddings&key=key-2&status=!200",
    "start=2023-11-16T00:00:00Z&end=2023-11-18T00:00:00Z&status=5xx&min_duration=1s",
)  # fmt: skip
FACETS = (
    "model=org/model-3", "q=chat", "session=s-777", "min_duration=9s", "path=/v1/chat/completions&status=5xx",
    "model=org/model-3&q=upstream&status=4xx&key=key-1&ended=failed",
)  # fmt: skip


def made_rows(count: int) -> list[Row]:
    """As a busy server has them: 20 models of unequal use, 50,000 sessions, 5 % errors."""
    chance = random.Random(1)
    rows = []
    for number in range(count):
        status = chance.choice([200] * 95 + [500, 429, 404, 502, 400])
        model = f"org/model-{min(19, int(chance.expovariate(0.3)))}"
        path = chance.choice(["/v1/chat/completions"] * 8 + ["/v1/embeddings", "/v1/completions"])
        record = Record(
            BEGIN + PAUSE * number,
            chance.expovariate(0.5),
            model,
            path,
            "POST",
            status,
            Ended.COMPLETE,
            "text/event-stream",
        )
        rows.append(
            bare_row(record)._replace(
                error="" if status == 200 else f"upstream said {chance.randrange(5000)} is wrong",
                ended="complete" if status == 200 else chance.choice(["failed", "refused", "client_left"]),
                session=f"s-{chance.randrange(50_000)}" if chance.random() < 0.5 else "",
                key=f"key-{chance.randrange(20)}",
                remote_ip=f"10.0.0.{chance.randrange(200)}",
                input_tokens=chance.randrange(5000),
                output_tokens=chance.randrange(900),
                prompt_per_second=chance.lognormvariate(6, 1),
                tokens_per_second=chance.lognormvariate(3.5, 0.5),
                queue_ms=int(chance.expovariate(0.01)),
                load_ms=chance.choice([0] * 50 + [4000]),
            )
        )
    return rows


def fill(path: Path, count: int) -> None:
    database, written = open_file(path), 0
    while written < count:
        rows = made_rows(min(10_000, count - written))
        rows = [row._replace(timestamp=row.timestamp + PAUSE * written) for row in rows]
        for begin in range(0, len(rows), BATCH_ROWS):
            database.insert(rows[begin : begin + BATCH_ROWS])
        written += len(rows)
    database.close()


def write_cost(count: int = 5_000) -> float:
    """Microseconds of processor time for one row in memory, the removal of another one included."""
    rows, database = made_rows(count), open_memory()
    begun = time.process_time()
    for begin in range(0, count, BATCH_ROWS):
        database.insert(rows[begin : begin + BATCH_ROWS])
        if (surplus := database.count - 1_000) > 0:
            database.remove_oldest(surplus)
    took = time.process_time() - begun
    database.close()
    return took / count * 1e6


def slowest(questions: dict[str, Callable[[], object]]) -> tuple[str, float]:
    """Which takes most processor time, and its median in milliseconds: nothing of it waits for a disk."""
    took = {}
    for name, ask in questions.items():
        times, worked = [], []
        for _ in range(TRIES):
            begun, begun_work = time.perf_counter(), time.process_time()
            ask()
            times.append((time.perf_counter() - begun) * 1000)
            worked.append((time.process_time() - begun_work) * 1000)
        took[name] = median(worked)
        print(f"{took[name]:8.1f} ms of processor time, {median(times):8.1f} ms in all  {name}")
    name = max(took, key=lambda one: took[one])
    return name, took[name]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = chosen.keep or Path(folder) / "activity.db"
        if not path.exists():
            fill(path, chosen.rows)
        connection = connect(path, "ro")
        (newest,) = connection.execute("SELECT max(timestamp) FROM requests").fetchone()

        def page(query: str) -> Callable[[], object]:
            return lambda: page_of(connection, read_query(query))

        def facets(query: str) -> Callable[[], object]:
            return lambda: facets_of(connection, read_filter(Parameters(query)))

        def series(query: str) -> Callable[[], object]:
            return lambda: series_of(connection, read_span(query, newest))

        quick: dict[str, Callable[[], object]] = {
            **{f"page {query}": page(query) for query in QUICK},
            "facets": facets(""),
            "stats": lambda: stats_of(connection),
            "stats of a model": lambda: stats_of(connection, "org/model-3"),
            **{
                f"series of {span / HOUR:g} hours{query}": series(f"start={text_of(newest - span)}{query}")
                for span in (HOUR, DAY, 30 * DAY)
                for query in ("", "&model=org/model-3")
            },
            "series in many points": series(f"start={text_of(newest - 1990 * 600)}&bucket=10m"),
        }
        free: dict[str, Callable[[], object]] = {
            **{f"page {query}": page(query) for query in FREE},
            **{f"facets {query}": facets(query) for query in FACETS},
            "series of some": series(f"start={text_of(newest - 30 * DAY)}&status=5xx"),
            "series of most": series(f"start={text_of(newest - 30 * DAY)}&path=/v1/chat/completions"),
        }
        (quick_name, quick_ms), (free_name, free_ms) = slowest(quick), slowest(free)
        connection.close()
        megabytes = path.stat().st_size / 1e6
    cost = write_cost()
    figures = (
        f"{quick_ms:.1f} ms ({quick_name}) and {free_ms:.0f} ms ({free_name}) at most, {megabytes:.0f} MB,"
        f" {cost:.0f} us of processor time to write a row"
    )
    bounds = ((quick_ms, operator.le, QUICK_MS), (free_ms, operator.le, FREE_MS), (cost, operator.le, WRITE_US))
    return report("store", figures, *bounds)


if __name__ == "__main__":
    sys.exit(main())
