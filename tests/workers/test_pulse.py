"""When a worker counts as one that hangs."""

from __future__ import annotations

from llamaswap_lib.workers.pulse import MOST_MISSED, Pulse


class Asked:
    """How often the loop was asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def looks_until_stopped(pulse: Pulse) -> int:
    """How many of them find it alive."""
    count = 0
    while not pulse.has_stopped():
        count += 1
    return count


def test_one_that_answers_is_asked_again_and_never_hangs() -> None:
    asked = Asked()
    pulse = Pulse(asked)
    for _ in range(3 * MOST_MISSED):
        assert not pulse.has_stopped()
        pulse.note_answer()
    assert asked.count == 3 * MOST_MISSED


def test_one_that_does_not_answer_is_asked_once_and_hangs_after_so_many_looks() -> None:
    asked = Asked()
    pulse = Pulse(asked)
    assert looks_until_stopped(pulse) == MOST_MISSED
    assert asked.count == 1


def test_one_whose_answer_waits_behind_its_rows_does_not_hang_while_they_come() -> None:
    pulse = Pulse(Asked())
    for _ in range(3 * MOST_MISSED):
        assert not pulse.has_stopped()
        pulse.note_work()
    assert looks_until_stopped(pulse) == MOST_MISSED
