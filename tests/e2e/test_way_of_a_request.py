"""How much of the program takes part in one request: what has to be read by those who want to follow it.

The numbers are ceilings that can only fall, as in `tests/test_house.py`.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import and_
from pathlib import Path

from tests.e2e.conftest import RunProgram
from tests.e2e.program import COMMAND, HELLO, Program, demo, models
from tests.test_house import WAY
from tests.test_layers import PACKAGE

FOLLOWED = Path(__file__).with_name("followed.py")
Called = tuple[str, str, str]  # the thread, the file below the package, and the function
# Files of these rooms, and lines in them. Goal: 7,500 lines.
SMALL_REQUEST = (15, 4_000)
SWAP = (48, 9_600)
# Calls of Python functions by the loop, and files in which they are, of any room. Goals: 45 calls in 12 files.
MOST_CALLS = 52
MOST_FILES_CALLED = 23
SWAPS = "bababa"  # the model of each request
SAME = 20  # requests of one kind, one after the other: what happens now and then does not count


@dataclass
class Followed:
    """A program whose calls are counted."""

    program: Program
    orders: int
    answers: Iterator[str]

    def calls(self) -> Counter[Called]:
        """How often each function was called since the last time."""
        os.write(self.orders, b"\n")
        told = json.loads(next(self.answers))
        return Counter(
            {(thread, str(Path(file).relative_to(PACKAGE)), name): times for thread, file, name, times in told}
        )


@contextmanager
def followed(run_program: RunProgram, tmp_path: Path, to_stdout: str = "proxy") -> Iterator[Followed]:
    orders, answers = tmp_path / "orders", tmp_path / "answers"
    os.mkfifo(orders)
    os.mkfifo(answers)
    command = (*COMMAND[:-1], str(FOLLOWED), f"{PACKAGE}/", str(orders), str(answers), COMMAND[-1])
    with (
        run_program({**models(a=demo(), b=demo()), "logToStdout": to_stdout}, command=command) as program,
        orders.open("wb", 0) as asked,
        answers.open() as told,
    ):
        yield Followed(program, asked.fileno(), told)


def to_be_read(calls: Counter[Called]) -> tuple[int, int]:
    """How many files of the rooms that a request goes through take part, and how many lines they have."""
    files = {PACKAGE / file for _, file, _ in calls if file.partition("/")[0] in WAY}
    return len(files), sum(len(path.read_text().splitlines()) for path in files)


def typical(calls: Counter[Called], requests: int) -> Counter[Called]:
    """What one of so many like requests calls: what happens now and then, by the clock, is not in it."""
    return Counter({called: round(times / requests) for called, times in calls.items() if round(times / requests)})


def test_a_small_request_for_a_ready_model_calls_little_and_passes_through_few_files(
    run_program: RunProgram, tmp_path: Path
) -> None:
    # A line that is shown wakes the thread that shows it, if that rests: on a slow machine it does so each time.
    with followed(run_program, tmp_path, to_stdout="none") as it, it.program.wire() as client:

        def ask() -> None:
            client.request("POST", "/v1/chat/completions", {"model": "a", **HELLO, "max_tokens": 1})
            assert client.answer()[0] == 200

        ask()
        it.calls()
        for _ in range(SAME):
            ask()
        found = typical(it.calls(), SAME)
    by_loop = Counter({called: times for called, times in found.items() if called[0] == "loop"})
    told = "\n".join(map(str, sorted(by_loop.items())))
    assert 0 < sum(by_loop.values()) <= MOST_CALLS, told
    assert len({file for _, file, _ in by_loop}) <= MOST_FILES_CALLED, told
    files, lines = to_be_read(by_loop)
    assert files <= SMALL_REQUEST[0], (files, told)
    assert lines <= SMALL_REQUEST[1], (lines, told)


def test_a_request_that_causes_a_swap_passes_through_half_of_what_there_is(
    run_program: RunProgram, tmp_path: Path
) -> None:
    each: list[Counter[Called]] = []
    with followed(run_program, tmp_path) as it:
        assert it.program.chat("a", max_tokens=1).status == 200
        it.calls()
        for model in SWAPS:
            assert it.program.chat(model, max_tokens=1).status == 200
            each.append(it.calls())
    found = reduce(and_, each)  # what each of them called: the rest depends on the clock
    files, lines = to_be_read(found)
    told = "\n".join(sorted({file for _, file, _ in found}))
    assert "core/scheduler.py" in told
    assert "server/handler.py" in told
    assert files <= SWAP[0], (files, told)
    assert lines <= SWAP[1], (lines, told)
