"""A fuzzer for everything that reads what others sent: `python tests/web/fuzz_wire.py --inputs 1000000 --seed 0`.

Each input must be taken or refused with a declared error, at the same place however it is cut, within a second of CPU
time; what is sent on must be read the same by h11. The first failure is told with its number: `--only N` runs it again.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.web.fuzz_bodies import try_chunks, try_document, try_encoded, try_form, try_upstream_path
from tests.web.fuzz_heads import try_answer, try_request
from tests.web.fuzz_lenient import try_lenient_answer
from tests.web.mutations import random_of

MOST_CPU_SECONDS = 1.0  # for one input; the usual is a ten-thousandth


class TooSlow(Exception):
    """An input took more CPU time than any should."""


TRIES = (
    *(try_request,) * 4,
    *(try_answer,) * 3,
    *(try_lenient_answer,) * 3,
    *(try_chunks,) * 2,
    *(try_form,) * 3,
    try_encoded,
    *(try_document,) * 2,
    try_upstream_path,
)


@contextmanager
def bounded_cpu_time() -> Iterator[Callable[[], None]]:
    """Gives what begins the time of one input anew; past it, TooSlow is raised wherever the input is."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    earlier = signal.signal(signal.SIGVTALRM, end)
    try:
        yield lambda: signal.setitimer(signal.ITIMER_VIRTUAL, MOST_CPU_SECONDS) and None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, earlier)


def fuzz(seed: int, numbers: range, on_bad: Callable[[int, BaseException], None]) -> dict[str, list[int]]:
    """Try the inputs of these numbers: for each kind, how many there were and how many were taken."""
    counts = {kind.__name__: [0, 0] for kind in TRIES}
    with bounded_cpu_time() as begin:
        for number in numbers:
            kind = TRIES[number % len(TRIES)]
            begin()
            try:
                taken = kind(random_of(seed, number))
            except Exception as bad:  # noqa: BLE001 - whatever it is, it is what we look for
                on_bad(number, bad)
                continue
            counts[kind.__name__][0] += 1
            counts[kind.__name__][1] += taken
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one input, with its traceback")
    arguments = parser.parse_args()
    if arguments.only is not None:
        TRIES[arguments.only % len(TRIES)](random_of(arguments.seed, arguments.only))
        return 0
    bad: list[int] = []

    def tell(number: int, error: BaseException) -> None:
        bad.append(number)
        if len(bad) <= 50:
            kind = TRIES[number % len(TRIES)].__name__
            print(f"input {number} ({kind}): {type(error).__name__}: {str(error)[:300]}", flush=True)

    started = time.monotonic()
    counts = fuzz(arguments.seed, range(arguments.inputs), tell)
    for kind, (tried, taken) in counts.items():
        print(f"{kind}: {tried} tried, {taken} taken")
    print(f"{arguments.inputs} inputs in {time.monotonic() - started:.0f} s: {len(bad)} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
