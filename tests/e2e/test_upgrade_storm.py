"""Upgrades under a load of streams, WebSockets and connections that stay: no request fails, nothing is left.

Two upgrades and eight clients unless `LLAMASWAP_UPGRADES` and `LLAMASWAP_UPGRADE_CLIENTS` say otherwise; with
`pytest -s` figures are shown.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from llamaswap_lib.upgrade.child import why_impossible
from tests.e2e.conftest import RunProgram
from tests.e2e.program import HELLO, Program, demo, wait_until
from tests.e2e.talk import Wire

pytest.importorskip("websockets", reason="the websockets library is not installed")

from websockets.sync.client import connect

from tests.e2e.test_websockets import ECHO

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_impossible() != "", reason="needs Linux")]

UPGRADES = int(os.environ.get("LLAMASWAP_UPGRADES", "2"))
CLIENTS = int(os.environ.get("LLAMASWAP_UPGRADE_CLIENTS", "8"))
SEED = int(os.environ.get("LLAMASWAP_UPGRADE_SEED", "1"))
DEADLINE = 120.0  # seconds, of each: many clients on few cores
STEADY = ("steady", "limited", "socket")
TURNS = ("a", "b")
SPEED = ("--tokens-per-second", "400")
CONFIG: dict[str, Any] = {
    "models": {
        "steady": {"cmd": demo(*SPEED)},
        "limited": {"cmd": demo(*SPEED), "concurrencyLimit": CLIENTS},
        "socket": {"cmd": ECHO, "checkEndpoint": "/health"},
        **{name: {"cmd": demo(*SPEED)} for name in TURNS},
    },
    "groups": {
        "always": {"swap": False, "exclusive": False, "persistent": True, "members": list(STEADY)},
        "turns": {"swap": True, "exclusive": False, "members": list(TURNS)},
    },
}


@dataclass
class Storm:
    """What the clients do, and what comes of it."""

    port: int
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)

    def ask_on(self, choice: random.Random) -> None:
        kinds: tuple[Callable[[random.Random], str], ...] = (self._kept, self._kept, self._stream, self._socket)
        while not self.ending.is_set():
            kind = choice.choice(kinds)
            try:
                self.outcomes[kind(choice)] += 1
            except Exception as error:  # noqa: BLE001 - every one counts
                self.wrong.append(f"{kind.__name__}: {type(error).__name__}: {error}")

    def _kept(self, choice: random.Random) -> str:
        """Some requests on one connection, with pauses."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)) as connection:
            for _ in range(choice.randint(1, 12)):
                model = choice.choice(("steady", "steady", "limited", *TURNS))
                body = json.dumps({"model": model, **HELLO, "max_tokens": choice.randint(1, 40), "ignore_eos": True})
                connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
                assert answer.status == 200, f"{model}: {answer.status} {text[:300]!r}"
                assert answer.headers["Connection"] != "close"
                self.outcomes["requests on connections that stay"] += 1
                self.ending.wait(choice.uniform(0.0, 0.2))
        return "connections that stay"

    def _stream(self, choice: random.Random) -> str:
        with Wire(self.port) as wire:
            wire.sock.settimeout(DEADLINE)
            model = choice.choice(("steady", "limited", *TURNS))
            body = {"model": model, **HELLO, "stream": True, "max_tokens": choice.randint(1, 400), "ignore_eos": True}
            wire.request("POST", "/v1/chat/completions", body)
            head = wire.head()
            assert head.startswith("HTTP/1.1 200 "), f"{model}: {head}"
            text = b"".join(wire.chunks())
            assert text.rstrip().endswith(b"data: [DONE]"), f"half a stream: {text[-200:]!r}"
        return "streams"

    def _socket(self, choice: random.Random) -> str:
        url = f"ws://127.0.0.1:{self.port}/upstream/socket/"
        with connect(url, open_timeout=DEADLINE, compression=None) as socket:
            for number in range(choice.randint(1, 20)):
                socket.send(f"{number}")
                assert socket.recv(DEADLINE) == f"{number}"
                self.ending.wait(choice.uniform(0.0, 0.1))
        return "WebSockets"


def upgrade(program: Program) -> float:
    """One, and how long it took; the process before has ended."""
    begun = time.monotonic()
    answer = json.loads(_post(program.port))
    seconds = time.monotonic() - begun
    program.go_on_with(answer["pid"])
    assert program.before.wait(DEADLINE) == 0
    return seconds


def _post(port: int) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)) as connection:
        connection.request("POST", "/api/upgrade")
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return text


def run(program: Program, clients: int, upgrades: int, choice: random.Random) -> tuple[Storm, list[float]]:
    storm = Storm(program.port)
    with ThreadPoolExecutor(clients) as pool:
        tasks = [pool.submit(storm.ask_on, random.Random(choice.random())) for _ in range(clients)]
        try:
            seconds = [upgrade(program) for _ in range(upgrades)]
        finally:
            storm.ending.set()
        for task in tasks:
            task.result()
    return storm, seconds


def test_upgrades_under_load_break_no_request_and_leave_nothing_behind(run_program: RunProgram) -> None:
    choice = random.Random(SEED)
    with run_program(CONFIG) as program:
        for model in ("steady", "limited"):
            assert program.chat(model).status == 200
        assert program.get("/upstream/socket/").status == 200
        pids = {model: program.running(model)["pid"] for model in STEADY}
        run(program, CLIENTS, 1, choice)  # threads, connections and caches are there
        descriptors = program.descriptor_count()
        storm, seconds = run(program, CLIENTS, UPGRADES, choice)
        outcomes = ", ".join(f"{count} {kind}" for kind, count in sorted(storm.outcomes.items()))
        print(f"\n{UPGRADES} upgrades, {CLIENTS} clients, seed {SEED}: {outcomes}; at most {max(seconds):.1f} s each")
        assert not storm.wrong, (len(storm.wrong), storm.wrong[:10])
        assert {model: program.running(model)["pid"] for model in STEADY} == pids
        assert [program.starts(model) for model in STEADY] == [1, 1, 1]
        assert "is not known" not in program.stdout
        kept = len(STEADY) + sum(model in TURNS for model in program.states())
        wait_until(lambda: len(program.relatives()) == kept, "no other process is left")
        assert len(program.guardians()) == 1
        idle = 2 * CLIENTS  # connections to models, at most, that wait for their next request
        wait_until(lambda: program.descriptor_count() <= descriptors + idle, "no descriptor is left over")
        rows = program.get("/api/metrics/activity").json()
        assert rows["total"] > 0
