"""A front of several workers: it is one server, whichever worker a client comes to."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.workers.workers import START_TIMEOUT
from tests.e2e.conftest import RunProgram
from tests.e2e.freezing import freeze
from tests.e2e.program import COMMAND, DEADLINE, HELLO, Program, demo, environment, models, wait_until
from tests.e2e.talk import events
from tests.e2e.test_events import follow
from tests.e2e.workers import (
    COUNT,
    Streams,
    await_workers,
    front_of_workers,
    in_flight,
    kill,
    pid_of_worker,
    worker_of,
    workers,
)

CLIENTS, REQUESTS = 8, 6  # of each client
COUNTED = re.compile(r'^llamaswap_requests_total\{.*status="200".*\} (\d+)$', re.MULTILINE)
TRIES = 4 * COUNT  # connections in a row, so that more than one worker is asked


def rows_of(front: Program, **headers: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = front.get("/api/metrics/activity?limit=100", **headers).json()["data"]
    return found


def await_rows(front: Program, count: int, **headers: str) -> list[dict[str, Any]]:
    """Until there are so many: a worker notes a request behind its answer, while another one is already asked."""
    wait_until(lambda: len(rows_of(front, **headers)) == count, f"{count} rows")
    return rows_of(front, **headers)


def test_concurrent_clients_are_answered_and_each_request_has_one_row(tmp_path: Path) -> None:
    with front_of_workers(tmp_path) as fleet:
        front = fleet.front

        def client(number: int) -> list[int]:
            return [
                front.chat("m", max_tokens=3, user=f"{number}", stream=bool(turn % 2)).status
                for turn in range(REQUESTS)
            ]

        with ThreadPoolExecutor(CLIENTS) as pool:
            statuses = [status for found in pool.map(client, range(CLIENTS)) for status in found]
        assert Counter(statuses) == {200: CLIENTS * REQUESTS}
        rows = await_rows(front, CLIENTS * REQUESTS)
        assert Counter(row["ended"] for row in rows) == {"complete": CLIENTS * REQUESTS}
        assert len({row["id"] for row in rows}) == CLIENTS * REQUESTS
        assert {row["remote_ip"] for row in rows} == {"127.0.0.1"}
        assert {row["tokens"]["output_tokens"] for row in rows} == {3}
        capture = front.get(f"/api/captures/{rows[0]['id']}")
        assert capture.status == 200
        assert capture.json()["req_path"] == "/v1/chat/completions"
        for _ in range(TRIES):
            assert sum(map(int, COUNTED.findall(front.get("/metrics").text))) == CLIENTS * REQUESTS
        line = '"POST /v1/chat/completions HTTP/1.1" 200'
        wait_until(lambda: front.stdout.count(line) == CLIENTS * REQUESTS, "each has a line")
        front.await_log('"GET /api/captures/')
        assert front.stdout.count('"GET /api/captures/') == 1, "the parent's line alone"


def test_a_stream_comes_whole(tmp_path: Path) -> None:
    with front_of_workers(tmp_path) as fleet, fleet.front.wire() as wire:
        wire.request("POST", "/v1/chat/completions", {"model": "m", **HELLO, "stream": True, "max_tokens": 20})
        told = events(b"".join(wire.chunks_of_answer()))
        assert told[-1] == "[DONE]"
        assert sum("content" in each["choices"][0]["delta"] for each in told[:-1] if each["choices"]) >= 20


def test_requests_in_progress_are_seen_and_ended_by_whichever_worker_is_asked(tmp_path: Path) -> None:
    with front_of_workers(tmp_path) as fleet, Streams(fleet.front) as streams:
        front = fleet.front
        for _ in range(TRIES):
            assert {row["id"] for row in in_flight(front)} == streams.by_id.keys()

        def connections() -> int:
            gauge = re.search(r"^llamaswap_connections (\d+)$", front.get("/metrics").text, re.MULTILINE)
            assert gauge is not None
            return int(gauge[1])

        wait_until(lambda: connections() == len(streams.by_id) + 1, "those that asked before are closed")
        wire, told = follow(front)
        with wire:
            [snapshot] = [event.data for event in told.start() if event.type == "inflight"]
            assert {row["id"] for row in snapshot["requests"]} == streams.by_id.keys()
            for number in streams.by_id:
                assert front.post(f"/api/inflight/{number}/cancel", {}).status == 200
            gone: set[str] = set()
            while gone != streams.by_id.keys():
                change = told.next_of("inflight")
                gone |= {change["id"]} if change["operation"] == "remove" else set()
        for one in streams.by_id.values():
            assert not one.rest().endswith(b"0\r\n\r\n")
        wait_until(lambda: in_flight(front) == [], "none is left")
        rows = await_rows(front, len(streams.by_id))
        assert {row["ended"] for row in rows} == {"cancelled"}
        assert front.post("/api/inflight/7/cancel", {}).status == 404
        assert front.post("/api/inflight/9000000001/cancel", {}).status == 404


def test_events_tell_of_requests_of_all_workers(tmp_path: Path) -> None:
    with front_of_workers(tmp_path) as fleet:
        front = fleet.front
        wire, told = follow(front)
        with wire:
            told.start()
            assert [front.chat("m", max_tokens=1).status for _ in range(TRIES)] == [200] * TRIES
            begun: set[str] = set()
            ended: set[str] = set()
            while len(ended) < TRIES:
                change = told.next_of("inflight")
                if change["operation"] == "upsert":
                    begun.add(change["request"]["id"])
                elif change["operation"] == "remove":
                    ended.add(change["id"])
            assert begun == ended
        wire, told = follow(front)  # nobody has followed meanwhile
        with wire:
            told.start()
            assert front.chat("m", max_tokens=1).status == 200
            seen: dict[str, Any] = {}
            while not {"inflight", "activity"} <= seen.keys():
                event = told.next()
                assert event is not None
                seen.setdefault(event.type, event.data)
            assert seen["inflight"]["request"]["id"] not in begun


def test_a_reload_is_in_force_in_every_worker_once_it_is_answered(tmp_path: Path) -> None:
    with front_of_workers(tmp_path) as fleet:
        front = fleet.front
        for turn in range(3):
            name = f"new{turn}"
            config = {"peers": fleet.peers, "selectors": {name: {"strategy": "pin", "targets": ["box1/m"]}}}
            assert front.reload(config)["changed"]
            assert [front.chat(name, max_tokens=1).status for _ in range(TRIES)] == [200] * TRIES
            assert f"new{turn - 1}" not in {entry["id"] for entry in front.get("/v1/models").json()["data"]}
        front.write_config({"peers": fleet.peers, **models(own=demo())})
        refused = front.post("/api/config/reload", None)
        assert (refused.status, "-workers is for a configuration with peers only" in refused.text) == (400, True)
        front.write_config({"peers": fleet.peers, "selectors": 1})
        assert front.post("/api/config/reload", None).status == 400
        assert [front.chat("new2", max_tokens=1).status for _ in range(TRIES)] == [200] * TRIES


def test_a_profile_is_active_in_every_worker_once_that_is_answered(tmp_path: Path) -> None:
    profiles = {"on": {"pins": {"x": "box2/m"}}}
    with front_of_workers(tmp_path, {"profiles": profiles}) as fleet:
        front = fleet.front
        for name, status in (("on", 200), (None, 404), ("on", 200)):
            changed = front.ask("PUT", "/api/profiles/active", json.dumps({"name": name}).encode())
            assert (changed.status, changed.json()) == (200, {"active": name})
            assert [front.chat("x", max_tokens=1).status for _ in range(TRIES)] == [status] * TRIES
            assert front.get("/api/profiles").json()["active"] == name
        kill(next(iter(workers(front))))
        wait_until(lambda: len(workers(front)) == COUNT, "another one is started")
        assert [front.chat("x", max_tokens=1).status for _ in range(TRIES)] == [200] * TRIES


def test_a_worker_that_is_killed_takes_only_its_own_requests_with_it(tmp_path: Path) -> None:
    with front_of_workers(tmp_path) as fleet, Streams(fleet.front) as streams:
        front, by_worker = fleet.front, streams.by_worker()
        killed = min(by_worker)
        kill(pid_of_worker(front, killed))
        for one in by_worker[killed]:
            assert not one.rest().endswith(b"0\r\n\r\n")
        left = {number for number in streams.by_id if worker_of({"id": number}) != killed}
        for number in left:
            assert streams.by_id[number].chunk()
        wait_until(lambda: len(workers(front)) == COUNT, "another one is started")
        assert {row["id"] for row in in_flight(front)} == left
        broken = [row for row in await_rows(front, len(streams.by_id) - len(left)) if row["ended"] == "failed"]
        assert len(broken) == len(streams.by_id) - len(left)
        assert {row["req_path"] for row in broken} == {"/v1/chat/completions"}
        assert {row["remote_ip"] for row in broken} == {"127.0.0.1"}
        wait_until(lambda: f"[ERROR] worker {killed} (process " in front.stdout, "the log says so")
        assert [front.chat("m", max_tokens=1).status for _ in range(TRIES)] == [200] * TRIES


def test_a_worker_that_dies_during_a_reload_is_not_taken_for_one_that_hangs(tmp_path: Path) -> None:
    with front_of_workers(tmp_path) as fleet, ThreadPoolExecutor(1) as pool:
        front = fleet.front
        pid = min(workers(front))
        freeze(pid)
        config = {"peers": fleet.peers, "selectors": {"new": {"strategy": "pin", "targets": ["box1/m"]}}}
        reload = pool.submit(front.reload, config)
        wait_until(lambda: "new" in front.get("/v1/models").text, "the parent has it")
        kill(pid)
        assert reload.result()["changed"]
        wait_until(lambda: len(workers(front) - {pid}) == COUNT, "another one is started")
        assert [front.chat("new", max_tokens=1).status for _ in range(TRIES)] == [200] * TRIES
        assert "does not take what has changed" not in front.stdout


def test_a_worker_that_is_told_to_end_finishes_what_it_has(tmp_path: Path) -> None:
    with front_of_workers(tmp_path) as fleet, fleet.front.wire() as wire:
        front = fleet.front
        wire.request("POST", "/v1/chat/completions", {"model": "m", **HELLO, "stream": True, "max_tokens": 40})
        wire.read_head_and_first_chunk()
        [row] = in_flight(front)
        pid = pid_of_worker(front, worker_of(row))
        os.kill(pid, signal.SIGTERM)
        assert events(b"".join(wire.chunks()))[-1] == "[DONE]"
        wait_until(lambda: pid not in workers(front) and len(workers(front)) == COUNT, "it is replaced")
        assert [row["ended"] for row in await_rows(front, 1)] == ["complete"]


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    with front_of_workers(tmp_path) as fleet:
        front = fleet.front
        with front.stream("m") as wire:
            wire.read_head_and_first_chunk()
            front.signal(signal.SIGKILL)
            front.wait()
            assert not wire.rest().endswith(b"0\r\n\r\n")
            wait_until(lambda: not workers(front), "they end")


def test_what_is_in_progress_ends_before_all_do(tmp_path: Path) -> None:
    with front_of_workers(tmp_path) as fleet, ExitStack() as stack:
        front = fleet.front
        wires = [stack.enter_context(front.wire()) for _ in range(TRIES)]
        for wire in wires:
            wire.request("POST", "/v1/chat/completions", {"model": "m", **HELLO, "stream": True, "max_tokens": 40})
        for wire in wires:
            wire.read_head_and_first_chunk()
        follower, told = follow(front)
        stack.enter_context(follower)
        told.start()
        front.signal(signal.SIGTERM)
        for wire in wires:
            assert events(b"".join(wire.chunks()))[-1] == "[DONE]"
        assert front.wait() == 0
        while told.next():
            """To the proper end."""
        assert front.stdout.count('"POST /v1/chat/completions HTTP/1.1" 200') == TRIES


def test_a_worker_that_has_not_begun_yet_holds_up_no_end(tmp_path: Path) -> None:
    with front_of_workers(tmp_path) as fleet:
        front, before = fleet.front, workers(fleet.front)
        kill(min(before))
        wait_until(lambda: workers(front) - before != set(), "another one is started")
        front.signal(signal.SIGTERM)
        # It would be waited for until it serves, which it never does.
        wait_until(lambda: front.process.poll() is not None, "all have ended", START_TIMEOUT - 5)
        assert front.wait() == 0


def test_keys_are_for_all_of_it(tmp_path: Path) -> None:
    with front_of_workers(tmp_path, {"apiKeys": ["secret"]}, apiKey="theirs") as fleet:
        front = fleet.front
        paths = ["/v1/models", "/api/inflight", "/running", "/metrics", "/api/events", "/logs"]
        assert [front.get(path).status for path in paths] == [401] * len(paths)
        assert front.chat("m").status == 401
        assert front.post("/api/config/reload", None).status == 401
        key = {"authorization": "Bearer secret"}
        assert [front.get(path, **key).status for path in ("/v1/models", "/running", "/logs")] == [200] * 3
        body = {"model": "m", **HELLO, "max_tokens": 1}
        assert front.post("/v1/chat/completions", body, x_forwarded_for="192.0.2.7", **key).status == 200
        [row] = await_rows(front, 1, **key)
        assert (row["remote_ip"], row["key"][:4]) == ("192.0.2.7", "key-")
        assert front.get("/running", x_forwarded_for="192.0.2.9", **key).status == 200
        wait_until(lambda: 'Request 192.0.2.9 "GET /running HTTP/1.1" 200' in front.stdout, "the log has the address")
        assert 'Request 127.0.0.1 "GET /logs HTTP/1.1" 200' in front.stdout


def test_a_peer_that_one_worker_cannot_reach_is_out_for_all(tmp_path: Path) -> None:
    with front_of_workers(tmp_path) as fleet:
        front = fleet.front
        fleet.boxes["box1"].kill()
        assert [front.chat("m", max_tokens=1).status for _ in range(TRIES)] == [200] * TRIES
        fleet.await_up("box1", is_up=False)
        assert front.chat("box1/m").status == 502
        wait_until(lambda: "peer box1 is out" in front.stdout, "the log says so")
        fleet.boxes["box1"].start()
        fleet.await_up("box1", is_up=True)
        wait_until(lambda: front.chat("box1/m", max_tokens=1).status == 200, "it is known to all")


def test_a_parent_without_free_descriptors_hears_its_workers_all_the_same(run_program: RunProgram) -> None:
    config = {"peers": {"box": {"proxy": "http://127.0.0.1:9", "models": ["m"]}}}
    with run_program(config, flags=("-workers", str(COUNT)), is_hurt=True) as front:
        await_workers(front)
        before, pid = workers(front), front.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (front.descriptor_count() // 2, hard))
        assert {front.get("/running").status for _ in range(TRIES)} == {502}
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert {front.get("/running").status for _ in range(TRIES)} == {200}
        assert workers(front) == before
        front.await_log("[ERROR] a message was left out: too many open files")


def test_models_of_ones_own_are_refused(run_program: RunProgram, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(models(own=demo())))
    command = (*COMMAND, "-c", str(file), "-listen", "127.0.0.1:0", "-workers", "2")
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, env=environment(), check=False)
    assert ended.returncode == 1
    assert "-workers is for a configuration with peers only, and this one has models (own)" in ended.stderr
    with run_program(models(own=demo()), flags=("-workers", "1")) as program:
        assert program.chat("own", max_tokens=1).status == 200
        assert not workers(program)


REFUSED = (  # path, body, more headers
    ("/v1/chat/completions", b'{"model":"zzz"}', ""),
    ("/v1/chat/completions", b'{"model":', ""),
    ("/v1/chat/completions", b'{"model":"gone"}', ""),
    ("/v1/chat/completions", b'{"model":"gone"}', "Authorization: Bearer wrong\r\n"),
    ("/v1/chat/completions", b'{"model":"gone","pad":"%b"}' % (b"x" * 2_000_000), ""),
    ("/upstream/zzz/v1/chat/completions", b"{}", ""),
    ("/upstream/gone/v1/chat/completions", b"x" * 2_000_000, ""),
    ("/upstream/gone/v1/chat/completions", b"x", "Content-Encoding: no\r\n"),
    ("/v1/none", b"{}", ""),
)
NAMED = 5  # of them are known to be for a model, and have a row
SEEN = ("model", "req_path", "resp_status_code", "ended", "error_msg", "request_bytes", "method", "metadata", "retries")
OF_REQUESTS = re.compile(r"^llamaswap_request[a-z_]*(?:total|count)\{.*$", re.MULTILINE)


def what_is_kept_of_refused(folder: Path, *flags: str) -> tuple[list[int], list[dict[str, Any]], list[str]]:
    """Their statuses; what of their rows has to be the same in any front, and the samples that count requests."""
    folder.mkdir()
    config = {
        "peers": {"box": {"proxy": "http://127.0.0.1:9", "models": ["gone"]}},
        "apiKeys": ["k"],
        "limits": {"maxBodyMB": 1},
    }
    key = {"Authorization": "Bearer k"}
    with Program(folder, config, flags=flags) as program:
        if flags:
            await_workers(program)
        statuses = []
        for path, body, more in REFUSED:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            own = more if "Authorization" in more else f"{more}Authorization: Bearer k\r\n"
            with program.wire() as wire:
                wire.send(f"{head}{own}Content-Length: {len(body)}\r\n\r\n".encode())
                with suppress(OSError):  # it may be refused before all of it was sent
                    wire.send(body)
                statuses.append(wire.answer()[0])
        rows = await_rows(program, NAMED, **key)
        kept = [{name: row.get(name) for name in SEEN} for row in rows]
        counted = sorted(OF_REQUESTS.findall(program.get("/metrics", **key).text))
    return statuses, sorted(kept, key=str), counted


def test_of_a_request_that_is_refused_the_same_is_kept_as_by_one_process(tmp_path: Path) -> None:
    one = what_is_kept_of_refused(tmp_path / "one")
    several = what_is_kept_of_refused(tmp_path / "several", "-workers", str(COUNT))
    assert one == several
    assert one[2]


def has_openssl(pid: int) -> bool:
    return "/_ssl." in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what a process has loaded is read in /proc")
def test_openssl_is_loaded_once_a_peer_is_asked_over_tls(tmp_path: Path) -> None:
    peers = {"box": {"proxy": "http://127.0.0.1:9", "models": ["m"]}}
    with Program(tmp_path, {"peers": peers}, flags=("-workers", str(COUNT))) as front:
        await_workers(front)
        processes = {front.process.pid, *workers(front)}
        assert [has_openssl(pid) for pid in processes] == [False] * (1 + COUNT)
        front.reload({"peers": {**peers, "safe": {"proxy": "https://127.0.0.1:9", "models": ["s"]}}})
        assert [has_openssl(pid) for pid in processes] == [True] * (1 + COUNT)
