"""What can be seen from outside of who waits and how the models are doing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from tests.e2e.conftest import RunProgram
from tests.e2e.gates import loads_until
from tests.e2e.program import demo, models, wait_until

SLOW = demo("--tokens-per-second", "25")
SLACK = timedelta(seconds=1)  # the server keeps time on a monotonic clock and shows it by another one


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)


def test_the_queue_tells_model_place_reason_and_estimate(run_program: RunProgram, tmp_path: Path) -> None:
    gate = tmp_path / "loaded"
    gate.touch()
    loads = loads_until(gate, "--load-seconds", "1.0")
    priority = {"routing": {"scheduler": {"settings": {"fifo": {"priority": {"c": 5}}}}}}
    with run_program({**models(a=SLOW, b=loads, c=SLOW), **priority}) as program:
        assert program.queue() == []
        assert program.chat("b", max_tokens=1).status == 200  # so that its load is known
        gate.unlink()
        with program.stream("a") as wire, ThreadPoolExecutor() as pool:
            wire.read_head_and_first_chunk()
            begun = datetime.now(timezone.utc) - SLACK
            answers = [pool.submit(program.chat, "b", max_tokens=1)]
            wait_until(lambda: len(program.queue()) == 1, "one waits")
            answers.append(pool.submit(program.chat, "b", max_tokens=1))
            wait_until(lambda: len(program.queue()) == 2, "two wait")
            answers.append(pool.submit(program.chat, "c", max_tokens=1))
            wait_until(lambda: len(program.queue()) == 3, "three wait")
            rows = program.queue()
            assert [(row["place"], row["model"]) for row in rows] == [(1, "c"), (2, "b"), (3, "b")]
            assert {row["reason"] for row in rows} == {"waiting for a: 1 request in progress"}
            assert rows[0]["estimate_seconds"] is None
            assert rows[1]["estimate_seconds"] >= 1.0
            assert rows[1]["waiting_seconds"] >= rows[2]["waiting_seconds"] >= rows[0]["waiting_seconds"] >= 0.0
            in_flight = {row["id"]: row["model"] for row in program.get("/api/inflight").json()["requests"]}
            assert [in_flight[row["request"]] for row in rows] == ["c", "b", "b"]
            assert len({row["request"] for row in rows}) == 3
            assert begun <= moment(rows[1]["since"]) <= moment(rows[2]["since"])
            assert program.states() == {"a": "ready"}
            assert program.get("/running").json()["running"][0]["waiting"] == 0
            wire.close()
            wait_until(lambda: [row["model"] for row in program.queue()] == ["b", "b"], "c is served")
            wait_until(lambda: [row["reason"] for row in program.queue()] == ["loading", "loading"], "b loads")
            assert program.running("b")["waiting"] == 2
            gate.touch()
            assert [answer.result().status for answer in answers] == [200, 200, 200]
        assert program.queue() == []


def test_running_tells_more_of_a_run(run_program: RunProgram, tmp_path: Path) -> None:
    gate = tmp_path / "loaded"
    loads = loads_until(gate, "--load-seconds", "0.5", "--tokens-per-second", "25")
    entry = {"cmd": loads, "ttl": 60, "concurrencyLimit": 3}
    with run_program(models(m=entry)) as program, ThreadPoolExecutor() as pool:
        answer = pool.submit(program.chat, "m", max_tokens=2)
        seen: list[dict[str, Any]] = []

        def is_loading() -> bool:
            seen[:] = program.get("/running").json()["running"]
            return bool(seen) and seen[0]["pid"] is not None

        wait_until(is_loading, "it has a process")
        [run] = seen
        assert run["state"] == "starting"
        assert (run["ready"], run["load_seconds"], run["ttl_remaining"]) == (None, None, None)
        assert (run["in_flight"], run["idle_seconds"], run["waiting"]) == (0, 0.0, 1)
        assert run["pid"] in program.relatives()
        gate.touch()
        assert answer.result().status == 200
        with program.stream("m") as wire:
            wire.read_head_and_first_chunk()
            busy = program.running("m")
            assert (busy["in_flight"], busy["concurrency_limit"], busy["waiting"]) == (1, 3, 0)
            assert (busy["idle_seconds"], busy["ttl_remaining"]) == (0.0, None)
        wait_until(lambda: program.running("m")["in_flight"] == 0, "the client is gone")
        idle = program.running("m")
        later = program.running("m")
        assert 0.0 <= idle["idle_seconds"] <= later["idle_seconds"]
        assert 0.0 < later["ttl_remaining"] <= idle["ttl_remaining"] <= 60.0
        assert (later["pid"], later["run_id"], later["started"]) == (run["pid"], run["run_id"], run["started"])
        assert later["port"] == program.port + 1
        assert later["load_seconds"] >= 0.5
        loaded = moment(later["ready"]) - moment(later["started"])
        assert abs(loaded.total_seconds() - later["load_seconds"]) < 0.01  # written with milliseconds
