"""A front whose models are those of real boxes: loading, unloading, cancelling, and reading logs through it."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.commands.terminal import Shell
from tests.e2e.fleet import Box, Fleet
from tests.e2e.program import DEADLINE, Program, demo, models, wait_until
from tests.e2e.talk import Wire


def inside(box: Box, model: str) -> int:
    """Requests, by what the box says itself."""
    rows = box.program.get("/running").json()["running"]
    return sum(row["in_flight"] for row in rows if row["model"] == model)


def in_flight(program: Program) -> list[str]:
    return [row["id"] for row in program.get("/api/inflight").json()["requests"]]


def test_models_are_loaded_and_unloaded_where_they_are(tmp_path: Path) -> None:
    with Fleet(tmp_path, [models(m=demo(), bad=demo("--exit-at-start", "7")), models(m=demo())], {}) as fleet:
        front, one, two = fleet.front, fleet.boxes["box1"].program, fleet.boxes["box2"].program
        assert front.post("/api/models/load/box2/m", None).json() == {"msg": "ok"}
        assert (one.states(), two.states()) == ({}, {"m": "ready"})
        fleet.await_running("box2", "m")
        assert front.post("/api/models/load/m", None).status == 200  # where it is ready already
        assert one.states() == {}
        assert front.post("/api/models/load/box1%2Fm", None).status == 200
        fleet.await_running("box1", "m")
        assert front.post("/api/models/unload/m", None).text == "OK"
        assert (one.states(), two.states()) == ({}, {})
        failed = front.post("/api/models/load/bad", None)
        assert (failed.status, "exited with code 7" in failed.message) == (502, True)
        unknown = front.post("/api/models/load/box1/mm", None)
        assert (unknown.status, "did you mean 'box1/m'" in unknown.message) == (404, True)


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_request_that_is_cancelled_here_ends_at_the_box(tmp_path: Path, is_streamed: bool) -> None:
    slow = models(m=demo("--tokens-per-second", "1"))
    with Fleet(tmp_path, [slow], {}) as fleet, fleet.front.wire() as client:
        box, front = fleet.boxes["box1"], fleet.front
        body = {"model": "box1/m", "messages": [], "stream": is_streamed, "max_tokens": 10_000}
        client.request("POST", "/v1/chat/completions", body)
        wait_until(lambda: inside(box, "m") == 1, "the box is at work")
        if is_streamed:
            client.read_head_and_first_chunk()
        [number] = in_flight(front)
        assert front.post(f"/api/inflight/{number}/cancel", None).json() == {"msg": "ok"}
        wait_until(lambda: inside(box, "m") == 0, "the box has ended it")
        box.program.await_stats("m", in_progress=0, cancelled=1)
        wait_until(lambda: (in_flight(front), in_flight(box.program)) == ([], []), "no row of it is left")


def follow(program: Program, path: str) -> Wire:
    wire = program.wire()
    wire.request("GET", path)
    return wire


def test_a_log_of_a_box_is_read_through_the_front_until_the_front_ends(tmp_path: Path) -> None:
    with Fleet(tmp_path, [models(m=demo())], {"shutdownTimeout": 3600, "upgradeTimeout": 0}) as fleet:
        front, box = fleet.front, fleet.boxes["box1"].program
        with follow(front, "/logs/stream/box1/m") as wire:
            assert "x-history-bytes: 0" in wire.head().lower()
            assert front.chat("m").status == 200
            wire.read_to(b"POST /v1/chat/completions")
        with follow(front, "/logs/stream/m") as wire, follow(box, "/logs/stream/m") as same:
            assert "x-history-bytes: 0" not in wire.head().lower()
            same.head()
            assert wire.read_to(b"POST /v1/chat") == same.read_to(b"POST /v1/chat")
            front.signal(signal.SIGTERM)
            assert front.wait() == 0  # it waits for nobody who follows


def test_a_log_of_a_box_ends_with_the_process_that_an_upgrade_replaces(tmp_path: Path) -> None:
    with Fleet(tmp_path, [models(m=demo())], {}) as fleet, follow(fleet.front, "/logs/stream/m") as wire:
        wire.head()
        fleet.front.upgrade()
        assert wire.rest() == b""
        assert fleet.front.before.wait(DEADLINE) == 0
        with follow(fleet.front, "/logs/stream/m") as again:
            assert again.status() == 200


def test_the_list_of_a_box_outlives_a_restart_of_the_front(tmp_path: Path) -> None:
    able = {"cmd": demo(), "capabilities": {"in": ["text", "image"], "out": ["text"]}}
    box = Box(tmp_path / "box", {**models(m=able), "apiKeys": ["sek"]})
    peers = {"box1": {"proxy": box.url, "models": "auto", "apiKey": "sek"}}
    config = {"peers": peers, "store": {"path": str(tmp_path / "activity.db")}, **models(own=demo())}
    front = Box(tmp_path / "front", config)
    kept = tmp_path / "activity.db.peers.json"
    try:
        wait_until(kept.exists, "the list is kept")
        assert "sek" not in kept.read_text()
        box.kill()
        front.kill()
        front.start()
        [entry] = [one for one in front.program.get("/v1/models").json()["data"] if one["id"] == "box1/m"]
        assert entry["capabilities"] == {"vision": True}
        assert front.program.chat("m").status == 502  # and no 404: it is known, and out
        box.config = {**models(other=demo()), "apiKeys": ["sek"]}
        box.start()
        wait_until(lambda: front.program.chat("other").status == 200, "it has said its own list")
        assert front.program.chat("m").status == 404
        front.program.reload({**config, "peers": {}})
        assert "box1" not in kept.read_text()
        front.close()
        kept.write_text("{")
        front.config = config
        front.start()
        told = f"[WARN] {kept}: Expecting property name"
        wait_until(lambda: told in front.program.stdout, "the log says that it is set aside")
        assert (tmp_path / f"{kept.name}.damaged").read_text() == "{"
        assert front.program.chat("other").status == 200
    finally:
        front.close()
        box.close()


def test_the_commands_work_with_models_of_boxes(tmp_path: Path) -> None:
    with Fleet(tmp_path, [models(m=demo())], {}) as fleet:
        shell, box = Shell(fleet.front.port), fleet.boxes["box1"].program
        loaded = shell.run("load", "box1/m")
        assert (loaded.code, loaded.out.startswith("box1/m: ready after ")) == (0, True)
        assert box.states() == {"m": "ready"}
        wait_until(lambda: "listening on" in shell.run("logs", "m").out, "it has said all")
        assert (
            shell.run("logs", "box1/m").out == shell.run("logs", "m").out == Shell(box.port).run("logs", "m").out != ""
        )
        fleet.await_running("box1", "m")
        plans = [f"/api/models/{name}/plan" for name in ("box1%2Fm", "m")]
        wait_until(lambda: all(fleet.front.get(path).json()["state"] == "ready" for path in plans), "it is known here")
        assert re.match("m: (is ready already|ready after [1-9])", shell.run("load", "m").out)
        assert shell.run("unload", "m").out == "m: unloaded\n"
        assert box.states() == {}
        wait_until(lambda: fleet.peer("box1")["models"] == [], "the front knows")
        assert shell.run("unload", "box1/m").out == "box1/m: was not loaded\n"
        assert shell.run("unload", "box1/m", "--json").json() == {"unloaded": []}
        unknown = shell.run("unload", "box1/mm")
        assert box.chat("m").status == 200
        paid = {"proxy": f"http://127.0.0.1:{box.upstream_port('m')}", "models": ["gpt"]}  # a server, and no llamaswap
        fleet.front.reload({"peers": {"box1": {"proxy": fleet.boxes["box1"].url, "models": "auto"}, "paid": paid}})
        wait_until(lambda: fleet.peer("paid")["kind"] == "other", "it is looked at")
        for words in (("load", "paid/gpt"), ("unload", "paid/gpt"), ("logs", "paid/gpt")):
            refused = shell.run(*words)
            assert (refused.code, "only a llamaswap loads and unloads models" in refused.err) == (4, True)
        assert (unknown.code, "did you mean 'box1/m'" in unknown.err) == (4, True)
