"""`proxy: announced`: the server of a model says where it listens, and is believed by the token of its run alone."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from llamaswap_lib.upgrade.child import why_impossible
from tests.e2e.program import DEADLINE, HELLO, Program, demo, models, wait_until

SCRIPT = Path(__file__).with_name("announcing.py")


class Job:
    """The model `m`, whose server does what it is told."""

    def __init__(self, folder: Path, program: Program) -> None:
        self.program = program
        self._fifo = folder / "orders"

    def tell(self, *orders: str) -> None:
        """Blocks until it listens to us."""
        with self._fifo.open("w") as file:
            file.writelines(f"{order}\n" for order in orders)

    def answers(self) -> int:
        """The port that has answered a request."""
        reply = self.program.chat("m")
        assert reply.status == 200, reply.text
        port: int = reply.json()["port"]
        return port

    def log(self) -> str:
        return self.program.stdout

    def reasons(self) -> list[str]:
        """Why requests wait."""
        return [row["reason"] for row in self.program.queue()]


@contextmanager
def job(folder: Path, *arguments: str, others: Mapping[str, str] | None = None, **entry: object) -> Iterator[Job]:
    os.mkfifo(folder / "orders")
    words = (sys.executable, "-S", str(SCRIPT), str(folder / "orders"), "m", *arguments)
    cmd = " ".join(word if word.startswith("$") else shlex.quote(word) for word in words)
    config = {**models(m={"cmd": cmd, "proxy": "announced", **entry}, **(others or {})), "logToStdout": "both"}
    with Program(folder, config) as program:
        yield Job(folder, program)


@contextmanager
def asked(one: Job) -> Iterator[None]:
    """A client that waits for the model meanwhile, and is answered."""
    with one.program.wire() as wire:
        wire.request("POST", "/v1/chat/completions", {"model": "m", **HELLO})
        yield
        assert wire.status() == 200


def test_a_model_that_chooses_its_port_is_found_where_it_says(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        with asked(one):
            one.tell("listen", "announce")
        row = one.program.running("m")
        assert (row["state"], row["phase"]) == ("ready", None)
        assert row["proxy"] == f"http://127.0.0.1:{row['port']}"
        assert one.answers() == row["port"]


def test_a_line_with_another_token_is_not_believed_and_no_log_shows_the_token(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        with asked(one):
            one.tell("listen", "say LLAMASWAP_ADDRESS=_0123456789abcdef0123456789abcdef http://127.0.0.1:1", "announce")
        port = one.answers()
        prompt = "LLAMASWAP_ADDRESS=*** http://127.0.0.1:1"
        assert one.program.chat("m", messages=[{"role": "user", "content": f"\n{prompt}\n"}]).status == 200
        assert one.answers() == port
        one.program.await_log(f"LLAMASWAP_ADDRESS=*** http://127.0.0.1:{port}\n")
        assert not re.search(r"_[0-9a-f]{32}", one.log().replace("_0123456789abcdef0123456789abcdef", ""))


def test_a_queued_job_says_what_it_waits_for_and_is_withdrawn_when_nobody_waits_any_more(tmp_path: Path) -> None:
    with job(tmp_path, "${ANNOUNCE}") as one:
        with one.program.wire() as wire:
            wire.request("POST", "/v1/chat/completions", {"model": "m", **HELLO})
            one.tell("state job 31, Resources")
            wait_until(lambda: one.reasons() == ["queued: job 31, Resources"], "it says so")
            row = one.program.running("m")
            assert (row["state"], row["phase"], row["reason"]) == ("starting", "queued", "job 31, Resources")
        wait_until(lambda: not one.program.states(), "it is withdrawn")
        one.program.await_log("m: stopping, it is queued, and nobody waits for it any more")
        with asked(one):
            one.tell("listen", "announce")
        one.program.await_starts("m", 2)


def test_a_client_of_a_stream_is_told_what_a_queued_job_waits_for(tmp_path: Path) -> None:
    with job(tmp_path, sendLoadingState=True) as one, one.program.wire() as wire:
        wire.request("POST", "/v1/chat/completions", {"model": "m", "stream": True, **HELLO})
        one.tell("state job 31, Priority")
        assert wire.status() == 200
        wire.read_to(b"queued: job 31, Priority")
        one.tell("listen", "announce")
        assert b"m is ready after" in b"".join(wire.chunks())


def test_a_job_that_is_queued_for_too_long_is_503_and_the_next_request_starts_another(tmp_path: Path) -> None:
    with job(tmp_path, queueTimeout=2) as one:
        refused = one.program.chat("m")
        assert refused.status == 503
        assert refused.headers["retry-after"] == "2"
        error = refused.json()["error"]
        assert (error["code"], error["retry_in"]) == ("queue_timeout", 2)
        assert error["message"].startswith("model m was queued for ")
        wait_until(lambda: not one.program.states(), "the first job reads no orders any more")
        with asked(one):
            one.tell("listen", "announce")
        one.program.await_starts("m", 2)


def test_what_is_no_address_is_not_used_and_the_log_says_so(tmp_path: Path) -> None:
    with job(tmp_path, "${ANNOUNCE}") as one, one.program.wire() as wire:
        wire.request("POST", "/v1/chat/completions", {"model": "m", **HELLO})
        one.tell("listen", "announce")
        assert wire.status() == 200
        [token] = one.program.chat("m").json()["argv"]
        one.tell(f"say LLAMASWAP_ADDRESS={token} ftp://127.0.0.1")
        said = "what it says of its address is not used: expected an address such as http://node1:8080, got 'ftp:"
        wait_until(lambda: said in one.log(), "it is said")
        assert "${ANNOUNCE}" in one.program.running("m")["cmd"]
        assert one.program.post(f"/api/announce/{token}", {"address": "http://"}).status == 400
        assert one.program.post(f"/api/announce/{token}", ["address"]).status == 400
        assert one.program.post("/api/announce/_0", {"address": "http://127.0.0.1:1"}).status == 404


def test_a_job_can_ask_whether_its_run_is_known_and_at_which_address(tmp_path: Path) -> None:
    with job(tmp_path, "${ANNOUNCE}") as one:
        with asked(one):
            one.tell("listen", "announce")
        [token] = one.program.chat("m").json()["argv"]
        known = one.program.get(f"/api/announce/{token}")
        assert (known.status, known.json()) == (200, {"address": one.program.running("m")["proxy"]})
        assert one.program.post("/api/models/unload/m", None).status == 200
        wait_until(lambda: one.program.get(f"/api/announce/{token}").status == 404, "the run is forgotten")


def test_a_model_that_says_that_it_has_moved_is_asked_there(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        with asked(one):
            one.tell("listen", "announce")
        first = one.answers()
        one.tell("close", "listen", "announce")
        wait_until(lambda: one.program.running("m")["port"] != first, "it has moved")
        second = one.answers()
        assert second == one.program.running("m")["port"] != first
        wait_until(lambda: f"[INFO] m: moves to http://127.0.0.1:{second}" in one.program.stdout, "the log says so")
        one.program.await_starts("m", 1)


@pytest.mark.skipif(why_impossible() != "", reason="needs Linux")
def test_a_model_goes_on_saying_where_it_listens_after_an_upgrade(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        with asked(one):
            one.tell("state job 31")
            wait_until(lambda: one.reasons() == ["queued: job 31"], "it says so")
            one.program.upgrade()
            assert one.program.running("m")["phase"] == "queued"
            one.tell("listen", "announce")
        first = one.answers()
        assert one.program.before.wait(DEADLINE) == 0
        one.program.upgrade()
        assert one.answers() == first
        one.tell("listen", "announce")
        wait_until(lambda: one.program.running("m")["port"] != first, "it has moved")
        assert one.answers() != first
        one.program.await_starts("m", 1)


def test_a_model_that_says_where_it_listens_swaps_with_others(tmp_path: Path) -> None:
    with job(tmp_path, others={"other": demo()}) as one:
        assert one.program.chat("other").status == 200
        with asked(one):
            one.tell("listen", "announce")
        assert set(one.program.states()) == {"m"}
        plan = one.program.get("/api/models/other/plan").json()
        assert [victim["model"] for victim in plan["evicts"]] == ["m"]
        assert one.program.chat("other").status == 200
        assert set(one.program.states()) == {"other"}


def test_an_address_is_told_by_a_request_without_a_key(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "orders")
    words = (sys.executable, "-S", str(SCRIPT), str(tmp_path / "orders"), "m")
    entry = {"cmd": shlex.join(words), "proxy": "announced"}
    with Program(tmp_path, {**models(m=entry), "apiKeys": ["secret"]}) as program, program.wire() as wire:
        wire.request("POST", "/v1/chat/completions", {"model": "m", **HELLO}, extra="Authorization: Bearer secret\r\n")
        Job(tmp_path, program).tell("listen", f"post http://127.0.0.1:{program.port}")
        assert wire.status() == 200
        program.await_log('"POST /api/announce/*** HTTP/1.1" 200')
