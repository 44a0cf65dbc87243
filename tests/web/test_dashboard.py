"""docs/grafana/llamaswap.json: each of its queries finds something in a real Prometheus that has scraped `/metrics`."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from llamaswap_lib import endpoints
from llamaswap_lib.activity.counters import Counters
from llamaswap_lib.activity.meter import row_of
from llamaswap_lib.activity.record import Ended
from llamaswap_lib.core.eviction import Explanation
from llamaswap_lib.core.eviction.devices import GB, Device, Memory, Need, NeedSource
from tests.activity.answers import SHAPES, record
from tests.web.test_metrics import MadeHardware
from tests.web.world import DEADLINE, MODELS, OK, Running, World, answers

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "docs" / "grafana" / "llamaswap.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus: apt-get install it")


def test_no_panel_lies_upon_another() -> None:
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(squares) == len(set(squares))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def note_a_day(counters: Counters) -> None:
    """Requests of all kinds, loads, swaps and failures of the model `m`."""
    rows = [row_of(record(shape, sent_at=0.1)) for shape in SHAPES]
    failed = row_of(record(SHAPES[0], status=500, ended=Ended.UPSTREAM_BROKE))
    too_large = row_of(record(SHAPES[0], status=507, ended=Ended.FAILED))
    streamed = row_of(record(SHAPES[1]))._replace(first_token_ms=300)
    counters.observe([*rows, failed, too_large, streamed])
    starting = Running("m", 1, "starting", 1.0)
    for runs in ((), (starting,), (Running("m", 1, "ready", 1.0, 4.0),)):
        counters.note_runs(runs, [])
    counters.note_swap("m", Explanation("group g runs one model at a time", reasons={"n": "group g"}))
    counters.note_stop(1, "m", "ttl")
    counters.note_runs([], [("m", 1, time.monotonic())])
    counters.note_runs([], [])


class Prometheus:
    """A real one, and what it is asked."""

    def __init__(self, port: int) -> None:
        self._port = port

    def finds(self, query: str) -> list[Any]:
        """The series that the query has now; [] where it does not answer yet."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", "/api/v1/query?" + urlencode({"query": query}))
            response = connection.getresponse()
            if response.status == 503:  # it still starts
                return []
            answer = json.loads(response.read())
        except OSError:
            return []
        finally:
            connection.close()
        assert answer["status"] == "success", answer
        return [series for series in answer["data"]["result"] if series["value"][1] != "NaN"]

    def await_value(self, query: str) -> None:
        """Block until the query has one: a number, for nothing divided by nothing is none."""
        deadline, pause = time.monotonic() + DEADLINE, threading.Event()
        while not self.finds(query):
            assert time.monotonic() < deadline, f"never: {query}"
            pause.wait(0.05)


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """One that scrapes the target every 200 ms."""
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "scrape_configs": [{"job_name": "llamaswap", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.json").write_text(json.dumps(config))
    with World(answers(OK)) as spare:
        port = spare.server.address[1]  # free again when it is closed
    command = ["prometheus", f"--config.file={folder}/prometheus.json", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
@needs_prometheus
def test_each_query_finds_something(tmp_path: Path) -> None:
    assert len(QUERIES) > 20
    counters = Counters({"m"}.__contains__)
    with World(answers(OK), config=MODELS, hardware=MadeHardware()) as world:
        world.controller.running = [Running("m", 1, "ready", 1.0, 2.0)]
        needs = {"m": Need({"ram": GB}, NeedSource.MEASURED)}
        world.app.memory.now = Memory({"ram": Device(16 * GB, GB, GB, "RAM")}, needs)
        world.server.change(endpoints.settings_of(replace(world.app, counters=counters)))
        note_a_day(counters)
        with prometheus(tmp_path, f"127.0.0.1:{world.server.address[1]}") as scraping:
            scraping.await_value("llamaswap_requests_total")
            note_a_day(counters)  # a rate is there once something has changed
            for query in QUERIES:
                scraping.await_value(query.replace("$model", ".*").replace("$__rate_interval", "1m"))
