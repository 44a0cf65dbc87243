"""Hundreds and thousands of clients that send or take little, beside honest ones; a few seconds each.

`LLAMASWAP_CROWD_SECONDS` makes it longer, `LLAMASWAP_CROWD_CLIENTS` is how many bad clients there are; with `pytest -s`
figures are shown.
"""

from __future__ import annotations

import json
import os
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from statistics import median_low

from tests.e2e.conftest import RunProgram
from tests.e2e.program import DEADLINE, HELLO, Program, demo, models, soft_limit, wait_until
from tests.e2e.talk import Cut, Wire
from tests.slow_clients import Habit, SlowClients

SECONDS = float(os.environ.get("LLAMASWAP_CROWD_SECONDS", "4"))
BAD = int(os.environ.get("LLAMASWAP_CROWD_CLIENTS", "300"))
DESCRIPTORS_EACH = 3  # that the program reckons with, for each connection
SLOW, OTHERS = 200, 300
ASKING_THREADS = 10
SMALL_BUFFER = 4_096  # bytes
LEAST = 20  # honest requests a second
BATCH = 300  # clients that come at once
CHAT = "/v1/chat/completions"
POST = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def asked(**more: object) -> bytes:
    """A whole request, for the model `slow`."""
    body = json.dumps({"model": "slow", **HELLO, "ignore_eos": True, **more}).encode()
    return f"{POST}Content-Length: {len(body)}\r\n\r\n".encode() + body


WHOLE = asked(max_tokens=100_000)  # some 680 KB at once
BAD_HABITS = (
    Habit(b"POST /v1/chat", drips=b"x"),
    Habit(f"{POST}Content-Length: 100000\r\n\r\n{{".encode(), drips=b" "),
    Habit(WHOLE, buffer_bytes=SMALL_BUFFER),
)
SLOW_HABITS = (
    *[Habit(WHOLE, takes=512, buffer_bytes=SMALL_BUFFER)] * 3,
    Habit(asked(stream=True, max_tokens=100_000), takes=512, buffer_bytes=SMALL_BUFFER),
)


def most_descriptors() -> int:
    """That the system allows, or are of use."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)


class Tally:
    """What became of the requests of many threads, and how long the answers took."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self._seconds: list[float] = []
        self._lock = threading.Lock()

    def add(self, outcome: str, begun: float) -> None:
        with self._lock:
            self.outcomes[outcome] += 1
            self._seconds.append(time.monotonic() - begun)

    @property
    def share_served(self) -> float:
        return (self.outcomes["200"] + self.outcomes["streamed"]) / max(1, self.outcomes.total())

    def __str__(self) -> str:
        waits = sorted(self._seconds) or [0.0]
        median, late = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
        told = f"{self.outcomes.total()} honest requests, {dict(self.outcomes.most_common())}, "
        return f"{told}median {median * 1e3:.1f} ms, p99 {late * 1e3:.0f} ms, longest {waits[-1]:.1f} s"


def ask(wire: Wire, is_stream: bool) -> None:
    wire.request("POST", CHAT, {"model": "fast", **HELLO, "stream": is_stream, "max_tokens": 10})


def outcome_of(wire: Wire, is_stream: bool) -> str:
    """How the answer ended: `200` or `streamed` if it is whole, else its status; raises Cut."""
    if not is_stream:
        return str(wire.answer()[0])
    return "streamed" if b"".join(wire.chunks_of_answer()).endswith(b"data: [DONE]\n\n") else "unfinished"


def ask_on_new_connections(program: Program, tally: Tally, ending: threading.Event) -> None:
    """Five requests on each connection, whole and streamed ones, until the end; what fails is counted."""
    while not ending.is_set():
        begun = time.monotonic()
        try:
            with program.wire() as wire:
                for number in range(5):
                    begun = time.monotonic()
                    ask(wire, number % 2 == 1)
                    tally.add(outcome_of(wire, number % 2 == 1), begun)
        except (OSError, Cut) as error:
            tally.add(type(error).__name__, begun)


def ask_on_kept_connections(program: Program, tally: Tally, ending: threading.Event) -> None:
    """A share of the OTHERS, each with a request in progress; one that fails is raised."""
    with ExitStack() as stack:
        wires = [stack.enter_context(program.wire()) for _ in range(OTHERS // ASKING_THREADS)]
        while not ending.is_set():
            begun = time.monotonic()
            for number, wire in enumerate(wires):
                ask(wire, number % 2 == 1)
            for number, wire in enumerate(wires):
                tally.add(outcome_of(wire, number % 2 == 1), begun)


Task = Callable[[Program, Tally, threading.Event], None]  # asks until the event is set


class Watcher:
    """What was seen of a program while something else went on: every tenth of a second its threads and its memory."""

    def __init__(self) -> None:
        self.most_threads = 0
        self._bytes: list[int] = []

    def watch(self, program: Program, seconds: float, has_enough: Callable[[], bool]) -> None:
        """For so long, and on a busy machine until enough has happened, though not for ever."""
        until, pause = time.monotonic() + seconds, threading.Event()
        while (now := time.monotonic()) < until or (now < until + DEADLINE and not has_enough()):
            self.most_threads = max(self.most_threads, program.thread_count())
            self._bytes.append(program.resident_bytes())
            pause.wait(0.1)

    def quarters(self) -> list[float]:
        """The megabytes in each quarter of the time."""
        size = len(self._bytes) // 4
        return [median_low(self._bytes[place * size :][:size]) / 1e6 for place in range(4)]

    def __str__(self) -> str:
        memory = " ".join(f"{megabytes:.0f}" for megabytes in self.quarters())
        return f"by quarters {memory} MB, {self.most_threads} threads"


def ask_for(seconds: float, program: Program, task: Task, threads: int, watcher: Watcher) -> Tally:
    """Have so many threads ask for so long, and LEAST requests a second; what became of all requests."""
    tally, ending = Tally(), threading.Event()
    with ThreadPoolExecutor(threads) as pool:
        tasks = [pool.submit(task, program, tally, ending) for _ in range(threads)]
        try:
            watcher.watch(program, seconds, lambda: tally.outcomes.total() > LEAST * seconds)
        finally:
            ending.set()
        for one in tasks:
            one.result()
    return tally


def two_models() -> dict[str, object]:
    """`slow` for those that do not read, `fast` for the honest ones; both run."""
    entries = models(slow=demo("--quiet"), fast=demo("--quiet"))
    return {**entries, "groups": {"both": {"swap": False, "members": ["slow", "fast"]}}}


def load_both(program: Program) -> tuple[int, int]:
    """How many threads and descriptors the program has then."""
    assert [program.chat(name, max_tokens=1).status for name in ("slow", "fast")] == [200] * 2
    return program.thread_count(), program.descriptor_count()


def habits_in_turn(program: Program, habits: Sequence[Habit], count: int, waiting: int) -> Iterator[Habit]:
    """So many habits, BATCH of them and then no more until those are served: a model has a queue of its own.

    Of each round of the habits, `waiting` end up inside the model.
    """
    for number, habit in zip(range(count), cycle(habits), strict=False):
        if number % BATCH == 0:
            wait_until_inside(program, number // len(habits) * waiting)
        yield habit


def wait_until_inside(program: Program, count: int) -> None:
    wait_until(lambda: program.running("slow")["in_flight"] >= count, f"{count} are inside", 60)


def check_nothing_is_left(program: Program, threads: int, descriptors: int) -> None:
    wait_until(lambda: program.running("slow")["in_flight"] == 0, "none of them is inside any more", 60)
    assert program.get("/unload").status == 200
    assert (program.states(), program.relatives()) == ({}, {})
    wait_until(lambda: program.thread_count() <= threads, "no thread is left")
    wait_until(lambda: program.descriptor_count() <= descriptors, "no descriptor is left")


def test_honest_clients_are_served_beside_many_that_drip_heads_and_bodies_or_read_nothing(
    run_program: RunProgram,
) -> None:
    with soft_limit(most_descriptors()), run_program(two_models(), log_level="warn") as program:
        bad = min(BAD, most_descriptors() // DESCRIPTORS_EACH - 100)
        threads, descriptors = load_both(program)
        with SlowClients(program.port, habits_in_turn(program, BAD_HABITS, bad, 1)) as crowd:
            wait_until_inside(program, bad // 3)
            watcher = Watcher()
            tally = ask_for(SECONDS, program, ask_on_new_connections, 4, watcher)
            wait_until(lambda: program.descriptor_count() > bad, "those that were cut off have come back")
        told = f"{bad} bad clients, of which {crowd.lost} came back: {tally}"
        print(f"\n{SECONDS:.0f} s, {told}; {watcher}")
        assert tally.share_served >= 0.95
        assert tally.outcomes.total() > LEAST * SECONDS
        check_nothing_is_left(program, threads, descriptors)


def test_three_hundred_connections_are_answered_beside_two_hundred_slow_readers(run_program: RunProgram) -> None:
    with soft_limit(most_descriptors()), run_program(two_models(), log_level="warn") as program:
        threads, descriptors = load_both(program)
        habits = habits_in_turn(program, SLOW_HABITS, SLOW, len(SLOW_HABITS))
        with SlowClients(program.port, habits, pause=0.25) as readers:
            wait_until_inside(program, SLOW)
            watcher = Watcher()
            tally = ask_for(SECONDS, program, ask_on_kept_connections, ASKING_THREADS, watcher)
            assert program.running("slow")["in_flight"] == SLOW
        told = f"{SLOW} slow readers took {readers.taken_bytes / 1e6:.1f} MB, {readers.lost} were cut off: {tally}"
        print(f"\n{SECONDS:.0f} s, {told}; {watcher}")
        assert readers.lost == 0
        assert readers.taken_bytes > 0
        assert set(tally.outcomes) == {"200", "streamed"}
        assert watcher.most_threads <= threads + 20
        _, second, _, last = watcher.quarters()
        # In the first seconds captures and what is kept of answers fill their bounds.
        assert last - second < (8 if SECONDS > 60 else 40)
        check_nothing_is_left(program, threads, descriptors)
