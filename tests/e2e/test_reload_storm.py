"""Reloads with random edits under a load of clients with streams: no request fails that should not, nothing leaks.

Ten reloads and eight clients unless `LLAMASWAP_RELOADS` and `LLAMASWAP_RELOAD_CLIENTS` say otherwise; with `pytest -s`
figures are shown.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, demo, wait_until
from tests.e2e.talk import Reply, Wire

pytestmark = pytest.mark.slow

RELOADS = int(os.environ.get("LLAMASWAP_RELOADS", "10"))
CLIENTS = int(os.environ.get("LLAMASWAP_RELOAD_CLIENTS", "8"))
SEED = int(os.environ.get("LLAMASWAP_RELOAD_SEED", "1"))
STEADY = "steady"
COMING = [f"m{number}" for number in range(6)]  # they come, go and change
MOST_GROWTH_MEGABYTES = 20.0  # 200 reloads and 600 come to 8, on some machine
PAUSE = (0.0, 0.3)  # seconds between two edits
BAD = ('{"models": [', '{"models": {"a": {"cmd": 7, "proxy": 7}}}', '{"macros": {"x": "${x}"}}')
SPEED = ("--tokens-per-second", "400")


@dataclass
class Storm:
    """What is configured when, and what became of the requests."""

    program: Program
    choice: random.Random
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    edits: int = 0
    _absent: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(COMING, 0.0)
    )  # model -> since when it may be missing
    _back: dict[str, float] = field(default_factory=dict)  # model -> when it was certainly back
    _ending: threading.Event = field(default_factory=threading.Event)

    def run(self, clients: int, reloads: int) -> None:
        self._ending.clear()
        with ThreadPoolExecutor(clients + 1) as pool:
            tasks = [pool.submit(self._ask_on, random.Random(self.choice.random())) for _ in range(clients)]
            try:
                self._edit_on(reloads)
            finally:
                self._ending.set()
            for task in tasks:
                task.result()

    # -- the editor --

    def _edit_on(self, reloads: int) -> None:
        choice = self.choice
        for _ in range(reloads):
            if choice.random() < 0.2:
                self.program.config_path.write_text(choice.choice(BAD))
                assert self.program.post("/api/config/reload", None).status == 400
                self.outcomes["bad configuration"] += 1
            else:
                self._edit(choice)
            threading.Event().wait(choice.uniform(*PAUSE))

    def _edit(self, choice: random.Random) -> None:
        config = storm_config(choice)
        here = config["models"].keys()
        for name in COMING:
            if name not in here:
                self._absent.setdefault(name, time.monotonic())
                self._back.pop(name, None)
        self.program.write_config(config)
        if choice.random() < 0.3:
            before = self.program.stdout.count("configuration reloaded")
            self.program.signal(signal.SIGHUP)
            wait_until(lambda: self.program.stdout.count("configuration reloaded") > before, "it is reloaded")
        else:
            answer = self.program.post("/api/config/reload", None)
            assert answer.status == 200, answer.text
        for name in here:
            if name in self._absent:
                self._back.setdefault(name, time.monotonic())
        self.edits += 1

    # -- clients --

    def _ask_on(self, choice: random.Random) -> None:
        while not self._ending.is_set():
            model = choice.choice([STEADY, *COMING])
            name = f"{model}-alias" if model != STEADY and choice.random() < 0.3 else model
            begun = time.monotonic()
            try:
                kind = self._stream(name) if choice.random() < 0.5 else self._whole(name)
            except Exception as error:  # noqa: BLE001 - every one counts
                kind = f"{type(error).__name__}: {error}"
            self.outcomes[kind if kind in ("whole", "stream", "404") else "wrong"] += 1
            if kind == "404" and self._may_be_missing(model, begun):
                continue
            if kind not in ("whole", "stream"):
                self.wrong.append(f"{model}: {kind}")

    def _may_be_missing(self, model: str, begun: float) -> bool:
        back = self._back.get(model)
        return model in self._absent and (back is None or begun <= back)

    def _whole(self, model: str) -> str:
        answer = self.program.chat(model, max_tokens=8, ignore_eos=True)
        return "whole" if _is_of(answer, model.partition("-")[0]) else _kind(answer)

    def _stream(self, model: str) -> str:
        with Wire(self.program.port) as wire:
            body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": True}
            wire.request("POST", "/v1/chat/completions", {**body, "max_tokens": 60, "ignore_eos": True})
            head = wire.head()
            if not head.startswith("HTTP/1.1 200 "):
                return head.split(" ", 2)[1]
            text = b"".join(wire.chunks())
            return "stream" if text.rstrip().endswith(b"data: [DONE]") else f"half a stream: {text[-200:]!r}"


def _is_of(answer: Reply, model: str) -> bool:
    return answer.status == 200 and f"this is {model}." in answer.json()["choices"][0]["message"]["content"]


def _kind(answer: Reply) -> str:
    return "404" if answer.status == 404 else f"{answer.status} {answer.text[:300]}"


def storm_config(choice: random.Random) -> dict[str, Any]:
    """The steady model, and some of the others, each as it was or otherwise."""
    here = choice.sample(COMING, choice.randint(0, len(COMING)))
    models: dict[str, Any] = {STEADY: {"cmd": demo(*SPEED)}}
    for name in here:
        flags = ("--prompt-seconds", str(choice.choice([0, 0, 0.01])))
        models[name] = {"cmd": demo(*SPEED, *flags), "ttl": choice.choice([0, 0, 1, 60]), "aliases": [f"{name}-alias"]}
    half = len(here) // 2
    return {
        "models": dict(choice.sample(list(models.items()), len(models))),
        "logLevel": "info",
        "groups": {
            "always": {"swap": False, "exclusive": False, "persistent": True, "members": [STEADY]},
            "first": {"swap": choice.random() < 0.5, "exclusive": False, "members": here[:half]},
            "second": {"swap": choice.random() < 0.5, "exclusive": choice.random() < 0.3, "members": here[half:]},
        },
    }


def test_reloads_under_load_break_no_request_and_leave_nothing_behind(run_program: RunProgram) -> None:
    with run_program({"models": {STEADY: {"cmd": demo(*SPEED)}}}) as program:
        assert program.chat(STEADY).status == 200
        steady = program.running(STEADY)["pid"]
        storm = Storm(program, random.Random(SEED))
        storm.run(CLIENTS, 3)  # threads, connections and caches are there
        threads, descriptors, memory = program.thread_count(), program.descriptor_count(), program.resident_bytes()
        storm.run(CLIENTS, RELOADS)
        assert not storm.wrong, storm.wrong[:10]
        assert program.running(STEADY)["pid"] == steady
        program.write_config({"models": {STEADY: {"cmd": demo(*SPEED)}}})
        assert program.post("/api/config/reload", None).status == 200
        wait_until(lambda: program.states() == {STEADY: "ready"}, "the others have been stopped")
        assert program.running(STEADY)["pid"] == steady
        wait_until(lambda: len(program.relatives()) == 1, "no other process is left")
        grown = (program.resident_bytes() - memory) / 1e6
        outcomes = ", ".join(f"{count} {kind}" for kind, count in sorted(storm.outcomes.items()))
        now_threads, now_descriptors = program.thread_count(), program.descriptor_count()
        print(
            f"\n{RELOADS} reloads, {CLIENTS} clients, seed {SEED}: {outcomes}; grown by {grown:.1f} MB,"
            f" threads {threads} -> {now_threads}, descriptors {descriptors} -> {now_descriptors}"
        )
        assert grown < MOST_GROWTH_MEGABYTES, "memory is not given back"
        idle = CLIENTS  # connections to the steady model, at most, that wait for its next request
        wait_until(lambda: program.descriptor_count() <= descriptors + idle, "no descriptor is left over")
        wait_until(lambda: program.thread_count() <= threads, "no thread is left over")
