"""Churn: many clients over many models and one place, processes killed at random, and every request accounted for.

Each request names itself in its User-Agent, so the access log says how often it was answered. What is not a 200 must
be the error of a kill of that very model. Kills and choices come from a seed; the machine's pace does not.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import select
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median_low as median

from tests.e2e.program import HELLO, Program
from tests.e2e.talk import events

SOON = 3.0  # seconds within which a kill is felt, on a busy machine
LONGEST_BACKOFF = 60.0  # seconds for which a model that keeps dying may be refused at once, with a Retry-After
KILL_PAUSE = (0.5, 2.5)  # seconds between two kills


@dataclass(frozen=True, slots=True)
class Kill:
    model: str
    at: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request: `kind` is `ok`, `cut` (in the middle of the answer), or the status of an error."""

    number: int
    model: str
    kind: str
    begun: float
    ended: float
    said: str = ""
    is_refused_for_a_while: bool = False

    def is_due_to(self, kill: Kill) -> bool:
        patience = LONGEST_BACKOFF if self.is_refused_for_a_while else SOON
        return kill.model == self.model and self.begun - patience <= kill.at <= self.ended


@dataclass
class Churn:
    """One storm; `run` it, then read what happened."""

    program: Program
    models: Sequence[str]
    seed: int
    clients: int = 64
    outcomes: list[Outcome] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    most_at_once: int = 0  # processes of models that lived at the same time
    resident_bytes: list[int] = field(default_factory=list)  # looked at five times a second
    _ending: threading.Event = field(default_factory=threading.Event)
    _numbers: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, seconds: float) -> None:
        with ThreadPoolExecutor(self.clients + 1) as pool:
            tasks = [pool.submit(self._ask_on, random.Random(f"{self.seed} {n}")) for n in range(self.clients)]
            tasks.append(pool.submit(self._kill_on, random.Random(f"{self.seed} kills")))
            until = time.monotonic() + seconds
            while time.monotonic() < until and not self._ending.wait(0.2):
                self.resident_bytes.append(self.program.resident_bytes())
                self.most_at_once = max(self.most_at_once, len(self.servers()))
            self._ending.set()
            for task in tasks:
                task.result()

    # -- clients --

    def _ask_on(self, choice: random.Random) -> None:
        connection = self._connect()
        try:
            while not self._ending.is_set():
                outcome = self._ask(connection, choice)
                with self._lock:
                    self.outcomes.append(outcome)
                if outcome.kind != "ok":
                    connection.close()
        finally:
            connection.close()
            self._ending.set()  # at once for all where one has failed

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.program.port, timeout=120)

    def _ask(self, connection: http.client.HTTPConnection, choice: random.Random) -> Outcome:
        """One request and its one answer; raises if there is none, or more."""
        with self._lock:
            self._numbers += 1
            number = self._numbers
        model, tokens, is_stream = choice.choice(self.models), choice.randrange(1, 24), choice.random() < 0.5
        body = {"model": model, **HELLO, "max_tokens": tokens, "ignore_eos": True, "stream": is_stream}
        headers = {"Content-Type": "application/json", "User-Agent": f"churn-{number}"}
        begun = time.monotonic()
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        kind, said = str(answer.status), ""
        try:
            data = answer.read()
            if answer.status == 200:
                kind = "ok"
                _check_tokens(data, is_stream, tokens)
            else:
                said = json.loads(data)["error"]["message"]
        except (http.client.IncompleteRead, ConnectionResetError):
            kind = "cut"
        else:
            _check_silence(connection.sock)
        is_refused = answer.getheader("Retry-After") is not None
        return Outcome(number, model, kind, begun, time.monotonic(), said, is_refused)

    # -- kills --

    def _kill_on(self, choice: random.Random) -> None:
        while not self._ending.wait(choice.uniform(*KILL_PAUSE)):
            for pid, model in self.servers().items():
                kill = Kill(model, time.monotonic())
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                self.kills.append(kill)

    def servers(self) -> dict[int, str]:
        """The processes of models: pid -> model."""
        found = {pid: re.search(r"/(\w+)\.gguf", command) for pid, command in self.program.relatives().items()}
        return {pid: match[1] for pid, match in found.items() if match}

    # -- what happened --

    def unexplained(self) -> list[Outcome]:
        """Failures that no kill explains."""
        failed = [outcome for outcome in self.outcomes if outcome.kind != "ok"]
        return [outcome for outcome in failed if not any(outcome.is_due_to(kill) for kill in self.kills)]

    def not_logged_once(self) -> dict[int, int]:
        """Requests whose answers in the access log are not exactly one: number -> answers."""
        logged = Counter(map(int, re.findall(r'"churn-(\d+)"', self.program.stdout)))
        return {number: logged[number] for number in range(1, self._numbers + 1) if logged[number] != 1}

    def resident_megabytes(self) -> list[float]:
        """The program's memory in each quarter of the time."""
        size = len(self.resident_bytes) // 4
        return [median(self.resident_bytes[place * size :][:size]) / 1e6 for place in range(4)]

    def summary(self) -> str:
        kinds = Counter(outcome.kind for outcome in self.outcomes)
        waits = sorted(outcome.ended - outcome.begun for outcome in self.outcomes)
        memory = " ".join(f"{megabytes:.1f}" for megabytes in self.resident_megabytes())
        starts = sum(self.program.starts(model) for model in self.models)
        return (
            f"{len(self.outcomes)} requests, {dict(kinds.most_common())}, {starts} loads, {len(self.kills)} kills, "
            f"median {waits[len(waits) // 2]:.2f} s, p95 {waits[len(waits) * 95 // 100]:.2f}, longest {waits[-1]:.2f}; "
            f"by quarters {memory} MB"
        )


def _check_tokens(data: bytes, is_stream: bool, tokens: int) -> None:
    """The answer is whole, and that to this request: it has as many tokens as were asked for."""
    if is_stream:
        told = events(data)
        assert told[-1] == "[DONE]"
        assert told[-2]["timings"]["predicted_n"] == tokens
    else:
        assert json.loads(data)["usage"]["completion_tokens"] == tokens


def _check_silence(sock: socket.socket | None) -> None:
    """Nothing comes behind the answer but the end of the connection."""
    if sock is not None and select.select([sock], [], [], 0)[0]:
        assert sock.recv(1) == b"", "an answer to nothing"
