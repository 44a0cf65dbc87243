"""What the strategies are worth, in a small fleet that is played (`simulation.py`) with the program's own choice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fleet.simulation import Figures, World, played

SWAPPING = World(boxes=8, models=60, rate=4.0, seconds=100.0)
# Four replicas of one model that are ready, and conversations of eight turns.
REPLICAS = World(boxes=4, places=1, models=1, rate=4.0, seconds=240.0, pause=75.0, ready=True, look=0.0)


def figures(world: World, *routers: str) -> list[Figures]:
    return [played(world, router) for router in routers]


@pytest.mark.parametrize("seed", [1, 2])
def test_where_models_are_ready_requests_wait_less_than_anywhere_else(seed: int) -> None:
    world = replace(SWAPPING, seed=seed)
    round_robin, failover, spread = figures(world, "round robin", "failover", "spread")
    assert round_robin.requests == failover.requests == spread.requests > 300
    assert spread.mean_wait < 0.4 * round_robin.mean_wait
    assert spread.mean_wait < failover.mean_wait
    assert spread.loads_a_minute < 0.7 * round_robin.loads_a_minute


@pytest.mark.parametrize("seed", [1, 2])
def test_a_session_that_stays_finds_its_prefix_and_no_box_has_more_than_its_bound(seed: int) -> None:
    world = replace(REPLICAS, seed=seed)
    round_robin, spread, sticky = figures(world, "round robin", "spread", "spread, sticky")
    assert sticky.found > 0.6
    assert max(spread.found, round_robin.found) < 0.5
    assert (sticky.over, round_robin.over > 0) == (0, True)
    assert sticky.mean_wait < 0.5


def test_two_fronts_agree_well_enough_though_what_they_know_of_each_other_is_old() -> None:
    spread, sticky = figures(replace(REPLICAS, fronts=2, look=1.0), "spread", "spread, sticky")
    assert sticky.found > spread.found + 0.25


def test_the_same_comes_of_it_each_time() -> None:
    assert played(SWAPPING, "spread") == played(SWAPPING, "spread")
