"""Everything at once for a few seconds: every request is answered, nothing is left over, nothing grows.

`LLAMASWAP_SOAK_SECONDS` makes it longer; with `pytest -s` figures are shown.
"""

from __future__ import annotations

import json
import os
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.conftest import RunProgram
from tests.e2e.program import HELLO, Program, demo, models, wait_until
from tests.e2e.talk import Cut, Wire

CLIENTS = 50
SECONDS = float(os.environ.get("LLAMASWAP_SOAK_SECONDS", "4"))
PATIENCE = {"routing": {"scheduler": {"settings": {"fifo": {"maxWait": 1}}}}}


class Client:
    """One client that asks without a pause, streams or not, and sometimes leaves in the middle."""

    def __init__(self, program: Program, seed: int, ending: threading.Event) -> None:
        self._program = program
        self._random = random.Random(seed)
        self._ending = ending
        self.outcomes: Counter[str] = Counter()

    def run(self) -> Counter[str]:
        while not self._ending.is_set():
            with Wire(self._program.port) as wire:
                self.outcomes[self._ask(wire)] += 1
        return self.outcomes

    def _ask(self, wire: Wire) -> str:
        choice = self._random
        is_stream = choice.random() < 0.7
        model = choice.choice(("a", "b", "crashes"))
        body = {"model": model, **HELLO, "stream": is_stream, "max_tokens": choice.randrange(1, 30), "ignore_eos": True}
        wire.request("POST", "/v1/chat/completions", body)
        if choice.random() < 0.15:
            return "left at once"
        try:
            return self._read(wire, is_stream)
        except Cut:
            assert model == "crashes"
            return "cut by the crash"

    def _read(self, wire: Wire, is_stream: bool) -> str:
        head = wire.head()
        status = head.split(" ", 2)[1]
        if status != "200" or not is_stream:
            length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
            told = json.loads(wire.exactly(length))
            assert status == "200" or told["error"]["message"]
            return status
        if self._random.random() < 0.2:
            wire.chunk()
            return "left in mid-stream"
        data = b"".join(wire.chunks())
        assert data.endswith(b"data: [DONE]\n\n")
        return "streamed"


def storm(program: Program, seconds: float) -> Counter[str]:
    """What became of all requests of fifty clients."""
    ending = threading.Event()
    clients = [Client(program, seed, ending) for seed in range(CLIENTS)]

    def count(*outcomes: str) -> int:
        return sum(client.outcomes[outcome] for client in clients for outcome in outcomes)

    def is_enough() -> bool:
        return count("200", "streamed") > 50 and count("502", "cut by the crash") > 0

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(client.run) for client in clients]
        try:
            ending.wait(seconds)
            wait_until(is_enough, "some are served, and some are cut by the crash")
        finally:
            ending.set()
        return sum((client.result() for client in running), Counter[str]())


def test_fifty_clients_over_three_models_of_which_one_crashes(run_program: RunProgram) -> None:
    fast = ("--tokens-per-second", "500", "--quiet")
    entries = models(a=demo(*fast), b=demo(*fast), crashes=demo(*fast, "--crash-after", "40"))
    groups = {"pair": {"swap": False, "members": ["a", "crashes"]}}
    with run_program({**entries, **PATIENCE, "groups": groups}) as program:
        assert program.chat("a", max_tokens=1).status == 200
        threads, descriptors = program.thread_count(), program.descriptor_count()
        total = storm(program, SECONDS / 2)
        wait_until(lambda: program.thread_count() <= 30, "the storm is over")
        before = program.resident_bytes()
        total += storm(program, SECONDS / 2)
        assert set(total) <= {
            "200", "502", "streamed", "left at once", "left in mid-stream", "cut by the crash",
        }, total  # fmt: skip
        wait_until(lambda: not program.get("/api/inflight").json()["requests"], "those that left are forgotten")
        assert program.get("/unload").status == 200
        assert (program.states(), program.relatives()) == ({}, {})
        wait_until(lambda: program.thread_count() <= threads, "no thread is left")
        wait_until(lambda: program.descriptor_count() <= descriptors, "no descriptor is left")
        grown = program.resident_bytes() - before
        told = f"{sum(total.values())} requests, {dict(total.most_common())}, {grown / 1e6:.1f} MB grown"
        print(f"\n{SECONDS:.0f} s: {told}")
        assert grown < 8_000_000
        assert program.resident_bytes() < 60_000_000
        assert [program.chat(name, max_tokens=1).status for name in ("a", "b", "crashes")] == [200] * 3
