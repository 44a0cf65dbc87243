"""Moments as people read them."""

from __future__ import annotations

from llamaswap_lib.runtime.wall_clock import WallClock


class Clocks:
    def __init__(self) -> None:
        self.monotonic, self.wall = 1000.0, 1_700_000_000.0

    def make(self) -> WallClock:
        return WallClock(lambda: self.monotonic, lambda: self.wall)


def test_a_moment_is_written_in_utc_with_milliseconds() -> None:
    clock = Clocks().make()
    assert clock.text(1000.0) == "2023-11-14T22:13:20.000Z"
    assert clock.text(998.5) == "2023-11-14T22:13:18.500Z"
    assert clock.text(1060.0409) == "2023-11-14T22:14:20.041Z"


def test_a_moment_is_written_the_same_each_time() -> None:
    clocks = Clocks()
    clock = clocks.make()
    before = clock.text(990.0)
    clocks.monotonic, clocks.wall = 2000.0, 1_700_001_000.4  # they never run quite alike
    assert clock.text(990.0) == before


def test_when_the_wall_clock_is_set_all_moments_move_along() -> None:
    clocks = Clocks()
    clock = clocks.make()
    clocks.wall += 3600.0
    assert clock.text(1000.0) == "2023-11-14T23:13:20.000Z"
    clocks.wall -= 7200.0
    assert clock.text(1000.0) == "2023-11-14T21:13:20.000Z"
