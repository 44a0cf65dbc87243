"""Churn: many clients over many models and one place, processes killed at random, and every request accounted for.

Each request names itself in its User-Agent, so the access log says how often it was answered. What is not a 200 must
be the error of a kill of that very model. Kills and choices come from a seed; the machine's pace does not.
"""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median_low as median
from typing import NamedTuple, Protocol

from tests.e2e.program import Program

PATIENCE = 120.0  # seconds, for what a busy machine does more slowly
SOON = 3.0  # seconds within which a kill is felt, on a busy machine
LONGEST_BACKOFF = 60.0  # seconds for which a model that keeps dying may be refused at once
KILL_PAUSE = (0.5, 2.5)  # seconds between two kills
GUARDIAN = "the guardian"


@dataclass(frozen=True, slots=True)
class Kill:
    model: str  # or GUARDIAN
    at: float


class Answered(NamedTuple):
    """What became of one request, as its client saw it.

    `kind` is `ok`, `cut` (in the middle of the answer), `left` (the client did), or the status of an error, which says
    `said`. `is_refused_for_a_while`: the model is not tried at the moment, for a kill that may be a while ago.
    """

    kind: str
    said: str = ""
    is_refused_for_a_while: bool = False


class Client(Protocol):
    """Asks one request after the other."""

    def ask(self, number: int, model: str, choice: random.Random) -> Answered:
        """One request, with `churn-NUMBER` as its User-Agent, and its one answer; raises if it is wrong."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request and what became of it."""

    number: int
    model: str
    answered: Answered
    begun: float
    ended: float

    @property
    def kind(self) -> str:
        return self.answered.kind

    def is_due_to(self, kill: Kill) -> bool:
        patience = LONGEST_BACKOFF if self.answered.is_refused_for_a_while else SOON
        return kill.model == self.model and self.begun - patience <= kill.at <= self.ended


@dataclass
class Churn:
    """One storm; `run` it, then read what happened.

    `new_client` makes a client of the program's port; `model_in_command` finds a model in the command line of its
    server. With `kills_guardians` the guardian is killed as well, alone or together with the servers.
    """

    program: Program
    models: Sequence[str]
    seed: int
    new_client: Callable[[int], Client]
    model_in_command: re.Pattern[str]
    kills_guardians: bool = False
    clients: int = 64
    outcomes: list[Outcome] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    most_at_once: int = 0  # processes of models that lived at the same time
    resident_bytes: list[int] = field(default_factory=list)  # looked at five times a second
    _ending: threading.Event = field(default_factory=threading.Event)
    _numbers: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, seconds: float, has_enough: Callable[[], bool]) -> None:
        """For so long, and on a busy machine until enough has happened, though not for ever."""
        with ThreadPoolExecutor(self.clients + 1) as pool:
            tasks = [pool.submit(self._ask_on, random.Random(f"{self.seed} {n}")) for n in range(self.clients)]
            tasks.append(pool.submit(self._kill_on, random.Random(f"{self.seed} kills")))
            until = time.monotonic() + seconds
            last = until + PATIENCE
            while (now := time.monotonic()) < until or (now < last and not has_enough()):
                if self._ending.wait(0.2):
                    break
                self.resident_bytes.append(self.program.resident_bytes())
                self.most_at_once = max(self.most_at_once, len(self.servers()))
            self._ending.set()
            for task in tasks:
                task.result()

    # -- clients --

    def _ask_on(self, choice: random.Random) -> None:
        client = self.new_client(self.program.port)
        try:
            while not self._ending.is_set():
                with self._lock:
                    self._numbers += 1
                    number = self._numbers
                model, begun = choice.choice(self.models), time.monotonic()
                outcome = Outcome(number, model, client.ask(number, model, choice), begun, time.monotonic())
                with self._lock:
                    self.outcomes.append(outcome)
                if outcome.kind != "ok":
                    client.close()
        finally:
            client.close()
            self._ending.set()  # at once for all where one has failed

    # -- kills --

    def _kill_on(self, choice: random.Random) -> None:
        while not self._ending.wait(choice.uniform(*KILL_PAUSE)):
            what = choice.choice(("servers", "guardian", "both")) if self.kills_guardians else "servers"
            if what != "servers":
                for pid in self.program.guardians():
                    self._kill(pid, GUARDIAN)
            if what != "guardian":
                for pid, model in self.servers().items():
                    self._kill(pid, model)

    def _kill(self, pid: int, model: str) -> None:
        kill = Kill(model, time.monotonic())
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.kills.append(kill)

    def servers(self) -> dict[int, str]:
        """The processes of models: pid -> model."""
        found = {pid: self.model_in_command.search(command) for pid, command in self.program.relatives().items()}
        return {pid: match[1] for pid, match in found.items() if match}

    # -- what happened --

    def kinds(self) -> Counter[str]:
        """How many outcomes there were of each kind."""
        return Counter(outcome.kind for outcome in list(self.outcomes))

    def unexplained(self) -> list[Outcome]:
        """Failures that no kill explains."""
        failed = [outcome for outcome in self.outcomes if outcome.kind not in ("ok", "left")]
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
        kinds = self.kinds()
        waits = sorted(outcome.ended - outcome.begun for outcome in self.outcomes)
        memory = " ".join(f"{megabytes:.1f}" for megabytes in self.resident_megabytes())
        starts = sum(self.program.starts(model) for model in self.models)
        guardians = sum(kill.model == GUARDIAN for kill in self.kills)
        return (
            f"{len(self.outcomes)} requests, {dict(kinds.most_common())}, {starts} loads, "
            f"{len(self.kills) - guardians} servers and {guardians} guardians killed, "
            f"median {waits[len(waits) // 2]:.2f} s, p95 {waits[len(waits) * 95 // 100]:.2f}, longest {waits[-1]:.2f}; "
            f"by quarters {memory} MB"
        )
