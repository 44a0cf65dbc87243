"""The stream of events as a client of the real program sees it."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.conftest import RunProgram
from tests.e2e.gates import loads_until, stops_after
from tests.e2e.program import Program, demo, models, python, wait_until
from tests.e2e.talk import Wire
from tests.events import EventReader

SLOW = demo("--tokens-per-second", "25")


def follow(program: Program) -> tuple[Wire, EventReader]:
    """A client and its events; the head is read."""
    wire = program.wire()
    wire.request("GET", "/api/events")
    assert wire.status() == 200
    return wire, EventReader(wire.chunk)


def states_to(events: EventReader, last: dict[str, str]) -> list[dict[str, str]]:
    """The states of all models as they are told, up to these."""
    seen: list[dict[str, str]] = []
    while not seen or seen[-1] != last:
        seen.append({row["id"]: row["state"] for row in events.next_of("modelStatus")})
    return seen


def test_the_start_and_the_headers_as_httpx_sees_them(run_program: RunProgram) -> None:
    config = {
        **models(b=demo(), a={"cmd": demo(), "unlisted": True}),
        "peers": {"p": {"proxy": "http://127.0.0.1:1", "models": ["m1"]}},
        "logToStdout": "none",
    }
    with run_program(config) as program, httpx.Client(base_url=f"http://127.0.0.1:{program.port}") as client:
        with client.stream("GET", "/api/events") as answer:
            assert {
                "content-type": "text/event-stream",
                "cache-control": "no-cache",
                "x-accel-buffering": "no",
                "x-content-type-options": "nosniff",
            }.items() <= dict(answer.headers).items()
            pieces = answer.iter_bytes()
            events = EventReader(lambda: next(pieces, b""))
            proxy, upstream, rows, _, profile, in_flight, queue, memory = (event.data for event in events.start())
            assert [row["model"] for row in memory["models"]] == ["a", "b"]
            assert "listening on" in proxy["data"]
            assert upstream["data"] == ""
            assert [(row["id"], row["state"], row["unlisted"]) for row in rows] == [
                ("a", "stopped", True),
                ("b", "stopped", False),
                ("p/m1", "", False),
            ]
            assert (profile, queue) == ({"active": None}, {"queue": []})
            assert in_flight == {"operation": "snapshot", "requests": []}
        assert program.states() == {}


def test_a_section_ui_that_a_reload_changes_is_told(run_program: RunProgram) -> None:
    config = models(a=demo())
    with run_program(config) as program:
        wire, events = follow(program)
        with wire:
            events.start()
            program.reload({**config, "ui": {"activity": {"session_id": ["X-Mine"]}}})
            assert events.next_of("uiConfig") == {"activity": {"session_id": ["X-Mine"]}}


def test_a_swap_is_seen_from_state_to_state_with_the_logs(run_program: RunProgram, tmp_path: Path) -> None:
    def gate(name: str) -> Path:
        return tmp_path / name

    entries = {
        name: {"cmd": loads_until(gate(f"{name}-loaded")), "cmdStop": stops_after(gate(f"{name}-stopped"))}
        for name in "ab"
    }
    with run_program(models(**entries)) as program, ThreadPoolExecutor() as pool:
        wire, events = follow(program)

        def see(states: dict[str, str], then: str = "") -> None:
            """What is told next is this; so go on with what waits for `then`."""
            assert states_to(events, states)[:-1] in ([], [before[0]])
            before[0] = states
            if then:
                gate(then).touch()

        before = [{"a": "stopped", "b": "stopped"}]
        with wire:
            events.start()
            loading = pool.submit(program.post, "/api/models/load/a", {})
            see({"a": "starting", "b": "stopped"}, "a-loaded")
            see({"a": "ready", "b": "stopped"})
            assert loading.result().status == 200
            swapping = pool.submit(program.post, "/api/models/load/b", {})
            see({"a": "stopping", "b": "stopped"}, "a-stopped")
            see({"a": "stopped", "b": "starting"}, "b-loaded")
            see({"a": "stopped", "b": "ready"})
            assert swapping.result().status == 200
            unloading = pool.submit(program.get, "/unload")
            see({"a": "stopped", "b": "stopping"}, "b-stopped")
            see({"a": "stopped", "b": "stopped"})
            assert unloading.result().status == 200
        wire, events = follow(program)
        with wire:
            proxy, upstream = (event.data for event in events.start()[:2])
            assert "swap to b: stopping a;" in proxy["data"]
            assert upstream["data"].count("listening on") == 2


def test_the_queue_is_told_while_two_models_contend(run_program: RunProgram, tmp_path: Path) -> None:
    gate = tmp_path / "loaded"
    with run_program(models(a=SLOW, b=loads_until(gate))) as program, ThreadPoolExecutor() as pool:
        assert program.post("/api/models/load/a", {}).status == 200
        wire, events = follow(program)
        with wire, program.stream("a") as busy, program.stream("a") as also_busy:
            events.start()
            busy.read_head_and_first_chunk()
            also_busy.read_head_and_first_chunk()

            def rows() -> list[tuple[int, str, str]]:
                told: dict[str, Any] = events.next_of("queue")
                return [(row["place"], row["model"], row["reason"]) for row in told["queue"]]

            answers = [pool.submit(program.chat, "b", max_tokens=1)]
            assert rows() == [(1, "b", "waiting for a: 2 requests in progress")]
            answers.append(pool.submit(program.chat, "b", max_tokens=1))
            assert [row[:2] for row in rows()] == [(1, "b"), (2, "b")]
            also_busy.close()  # through the gate, of which the controller hears nothing
            assert [row[2] for row in rows()] == ["waiting for a: 1 request in progress"] * 2
            busy.close()
            last = rows()
            while "loading" not in [row[2] for row in last]:
                last = rows()
            gate.touch()
            while last:
                last = rows()
            assert [answer.result().status for answer in answers] == [200, 200]


def test_a_change_of_profile_is_told_to_everybody(run_program: RunProgram) -> None:
    with run_program({**models(m=demo()), "profiles": {"night": {"pins": {"x": "m"}}}}) as program:
        followers = [follow(program) for _ in range(3)]
        for _, events in followers:
            events.start()
        for name in ("night", None):
            assert program.ask("PUT", "/api/profiles/active", json.dumps({"name": name}).encode()).status == 200
            for _, events in followers:
                assert events.next_of("profileChanged") == {"active": name}
                assert [row["id"] for row in events.next_of("modelStatus")] == ["m"]
        for wire, _ in followers:
            wire.close()


def test_a_client_that_stops_reading_costs_nothing_and_is_told_what_it_lost(run_program: RunProgram) -> None:
    source = (
        "import os, signal\n"
        "for number in range(500): os.write(1, b'%099d\\n' % number * 1000)\n"
        "os.write(1, b'printed all of it\\n')\nsignal.pause()"
    )
    with run_program(models(m={"cmd": python(source), "checkEndpoint": "none"})) as program:
        wire, events = follow(program)
        with wire:
            events.start()
            before = program.resident_bytes()
            assert program.post("/api/models/load/m", {}).status == 200
            with program.wire() as reader:
                reader.request("GET", "/logs/stream/m")
                assert reader.status() == 200
                reader.read_to(b"printed all of it\n")  # 50 MB
            assert program.resident_bytes() - before < 20_000_000
            text = events.text_to("upstream", "printed all of it\n")
        dropped = sum(int(part.rpartition("— ")[2]) for part in text.split(" bytes dropped —\n")[:-1])
        kept = sum(len(line) + 1 for line in text.splitlines() if "dropped" not in line)
        assert dropped > 0
        assert 50_000_000 < dropped + kept < 50_100_000
        assert program.get("/health").status == 200


def test_followers_come_and_go_and_leave_nothing(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program, ExitStack() as stack:
        assert program.chat("m").status == 200
        program.ask("GET", "/health")
        threads, descriptors = program.thread_count(), program.descriptor_count()
        wires = [stack.enter_context(follow(program)[0]) for _ in range(50)]
        assert program.thread_count() > 50  # that of a connection before may have been counted, and ended since
        for number, wire in enumerate(wires):
            (Wire.close if number % 2 else Wire.reset)(wire)
        wait_until(lambda: program.thread_count() <= threads, "their threads have ended")
        wait_until(lambda: program.descriptor_count() <= descriptors, "their descriptors are closed")
        assert program.get("/unload").status == 200  # nobody is told


def test_the_stream_has_a_proper_end_when_the_program_ends(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        assert program.post("/api/models/load/m", {}).status == 200
        wire, events = follow(program)
        with wire:
            events.start()
            program.signal(signal.SIGTERM)
            while events.next():
                pass
            assert program.wait() == 0
