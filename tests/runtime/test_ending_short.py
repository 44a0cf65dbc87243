"""The end of a run where a look fails for want of memory or descriptors: it is looked again."""

from __future__ import annotations

import errno

import pytest

from llamaswap_lib.runtime.guard.table import HAS_PROC, mark_of
from llamaswap_lib.runtime.processes.group import ProcessGroup, RunEnding, await_end

SHORTAGES = (MemoryError(), OSError(errno.EMFILE, "no descriptor"))


class Unseen(ProcessGroup):
    """A group of nobody, at which the first looks fail."""

    def __init__(self, *shortages: Exception) -> None:  # not as in `ProcessGroup`, which starts a program
        self.pid, self.begun = 2**30, ""
        self.shortages = list(shortages)
        self.signals: list[str] = []

    def terminate(self) -> None:
        self.signals.append("SIGTERM")

    def kill(self) -> None:
        self.signals.append("SIGKILL")

    def _look(self) -> bool:
        if self.shortages:
            raise self.shortages.pop()
        return True

    def is_gone(self) -> bool:
        return self._look()


class UnseenStrangers(Unseen):
    """The same, but only the looks at those that left the group fail."""

    def is_gone(self) -> bool:
        return True

    @property
    def has_ended(self) -> bool:
        return self._look()


def end(group: Unseen, mark: str) -> None:
    told: list[str] = []
    RunEnding(group, mark, {}, is_time_up=lambda: False, signal=lambda send: send(), note=told.append).end_all()
    assert told == []
    assert group.shortages == []


def test_a_group_that_cannot_be_looked_at_is_asked_to_end_and_looked_at_again() -> None:
    group = Unseen(*SHORTAGES)
    end(group, "")
    assert group.signals == ["SIGTERM"]


@pytest.mark.skipif(not HAS_PROC, reason="nobody finds them without a /proc")
def test_those_that_left_a_group_are_looked_for_again() -> None:
    end(UnseenStrangers(*SHORTAGES), mark_of("test-nobody", 1))


def test_the_end_of_a_stop_command_is_awaited_though_a_look_fails() -> None:
    group = Unseen(*SHORTAGES)
    assert await_end(group, 30.0)
    assert group.shortages == []
