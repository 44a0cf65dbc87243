"""The requests of a benchmark: some at a time, each streamed, and how long a swap takes.

Each request has a prompt of its own, so that no cache of prompts answers in the model's place. Guarantees: a request
that fails is a sample that says why; a server that cannot be reached ends the benchmark.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llamaswap_lib.benchmark.figures import Level, Sample, Swap
from llamaswap_lib.client.background import Background
from llamaswap_lib.client.completion import Completion
from llamaswap_lib.client.connection import Refused, Server, ServerError, Unreachable, in_path

# Short usual words: with most tokenizers each of them is one token.
WORDS = [
    "the",
    "sun",
    "goes",
    "over",
    "hill",
    "and",
    "sea",
    "while",
    "we",
    "walk",
    "home",
    "with",
    "bread",
    "for",
    "all",
    "who",
    "wait",
    "in",
    "this",
    "old",
    "town",
    "by",
    "night",
]
TASK = "Tell a long story with these words:"
TICK = 0.2  # seconds between two looks
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Load:
    """What each request asks for; tokens."""

    prompt_tokens: int
    max_tokens: int


class Bench:
    """Measures the models of one server."""

    def __init__(self, server: Server, load: Load, progress: Progress) -> None:
        self._server = server
        self._load = load
        self._progress = progress
        self._serial = itertools.count(1)
        self._is_strict: dict[str, bool] = {}  # by model: its server refuses `ignore_eos`

    def warm_up(self, model: str) -> None:
        """Have the model loaded and answer once, which is not measured; raises ServerError."""
        self._progress(f"{model}: warming up")
        try:
            self._ask(model, 4)
        except Refused as error:
            if error.status not in (400, 422):
                raise
            self._is_strict[model] = True
            self._ask(model, 4)

    def level(self, model: str, parallel: int, requests: int) -> Level:
        """So many requests, so many of them at a time; raises Unreachable."""
        samples: list[Sample] = []
        numbers = iter(range(requests))
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    if next(numbers, None) is None:
                        return
                sample = self._sample(model)
                with lock:
                    samples.append(sample)

        started = time.monotonic()
        workers = [Background(work) for _ in range(parallel)]
        for worker in workers:
            while not worker.is_over(TICK):
                self._progress(f"{model}: {parallel} at a time, {len(samples)} of {requests}")
        seconds = time.monotonic() - started
        for worker in workers:
            worker.result()
        return Level(parallel, seconds, tuple(samples))

    def cold_start(self, model: str) -> Swap:
        """Unload the model, load it, and ask it, while all that cannot run beside it is gone; raises ServerError."""
        path = in_path(model)
        self._ask(model, 1)
        self._progress(f"{model}: unloading")
        unload = self._timed(lambda: self._server.ask("POST", f"/api/models/unload/{path}", seconds=None))
        self._progress(f"{model}: loading")
        load = self._timed(lambda: self._server.ask("POST", f"/api/models/load/{path}", seconds=None))
        return Swap(model, "", unload, load, self._ask(model, 1).first_seconds)

    def swap(self, before: str, model: str) -> Swap:
        """Ask one model, and then the other: how long its first token takes; raises ServerError."""
        self._progress(f"from {before} to {model}")
        self._ask(before, 1)
        return Swap(model, before, None, None, self._ask(model, 1).first_seconds)

    def _sample(self, model: str) -> Sample:
        try:
            completion = self._ask(model, self._load.max_tokens)
        except Unreachable:
            raise
        except ServerError as error:
            return Sample(error=str(error).partition("\n")[0])
        prompt = completion.usage.get("prompt_tokens")
        return Sample(
            completion.first_seconds, time.monotonic() - completion.started, completion.tokens,
            prompt if isinstance(prompt, int) else None, completion.speed, completion.is_counted,
        )  # fmt: skip

    def _ask(self, model: str, tokens: int) -> Completion:
        messages = [{"role": "user", "content": prompt_of(next(self._serial), self._load.prompt_tokens)}]
        body: dict[str, Any] = {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0}
        if not self._is_strict.get(model):
            body["ignore_eos"] = True  # llama.cpp and vLLM go on to `max_tokens`: answers of the same length
        completion = Completion(self._server, body)
        for _ in completion.pieces():
            pass
        return completion

    @staticmethod
    def _timed(work: Callable[[], Any]) -> float:
        started = time.monotonic()
        work()
        return time.monotonic() - started


def prompt_of(serial: int, tokens: int) -> str:
    """Words of about so many tokens, which differ from those of every other request from the first one on."""
    dice = random.Random(f"{serial} {time.time_ns()}")
    return " ".join([str(dice.randrange(10_000)), TASK, *dice.choices(WORDS, k=max(tokens - 12, 1))])
