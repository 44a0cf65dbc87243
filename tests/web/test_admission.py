"""How long the server waits where there is no room for a connection, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from llamaswap_lib.server.admission import Admission, CrowdReport, Unbounded
from tests.web.test_connection_table import Crowd

_T = TypeVar("_T")


def done(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """What a coroutine returns that waits for nothing but the pauses of `Door`, which are over at once."""
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    result: _T = stop.value.value
    return result


class Door:
    """An admission to a crowd, the pauses that it took and the lines that it wrote."""

    def __init__(self, crowd: Crowd, most: int) -> None:
        self.crowd = crowd
        self.pauses: list[float] = []
        self.lines: list[str] = []
        self.is_one_lingering = False
        report = CrowdReport(self.lines.append, lambda: crowd.now)
        self.admission = Admission(
            crowd.table, Unbounded(most), report, lambda: self.is_one_lingering, self._pause, lambda: crowd.now
        )

    async def _pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.crowd.now += seconds
        return True


@pytest.fixture
def crowd() -> Crowd:
    return Crowd()


def test_with_no_descriptor_and_nobody_to_close_it_tries_again_ten_times_a_second(crowd: Crowd) -> None:
    door = Door(crowd, 10)
    for _ in range(120):
        done(door.admission.endure("no descriptor"))
    assert sorted(set(door.pauses)) == [0.02, 0.1]  # at first it looks for somebody who leaves
    assert sum(pause for pause in door.pauses if pause < 0.1) == pytest.approx(2.0, abs=0.03)


def test_once_a_connection_was_closed_its_descriptor_is_soon_there(crowd: Crowd) -> None:
    door = Door(crowd, 10)
    crowd.add("idle", age=5.0)
    done(door.admission.endure("no descriptor"))
    door.is_one_lingering = True
    done(door.admission.endure("no descriptor"))
    assert door.pauses == [0.005, 0.005]


def test_where_all_are_served_a_newcomer_waits_for_two_seconds_and_then_not_for_ten(crowd: Crowd) -> None:
    door = Door(crowd, 9)
    for number in range(9):
        crowd.serve(str(number))
    assert not done(door.admission.has_room())
    assert sum(door.pauses) == pytest.approx(2.0, abs=0.03)
    assert max(door.pauses) <= 0.02
    waited = len(door.pauses)
    crowd.now += 5.0
    assert not done(door.admission.has_room())
    assert len(door.pauses) == waited
    crowd.now += 5.0
    assert not done(door.admission.has_room())
    assert sum(door.pauses) == pytest.approx(4.0, abs=0.06)


def test_what_had_to_be_closed_is_told_at_most_every_ten_seconds(crowd: Crowd) -> None:
    door = Door(crowd, 0)
    for _ in range(200):
        assert not done(door.admission.has_room())
        crowd.now += 0.1
    assert len(door.lines) == 2
