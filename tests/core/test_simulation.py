"""Seeded random worlds: the scheduler, the gates and the policies among clients and processes that misbehave.

More of them: `python tests/core/simulation.py --worlds 5000 --seed 0`, or `LLAMASWAP_WORLDS=5000 pytest ...`.
"""

from __future__ import annotations

import os

import pytest

from tests.core.engine import play
from tests.core.worlds import FLAVOURS, make_plan

WORLDS = int(os.environ.get("LLAMASWAP_WORLDS", "300"))
BATCHES = 10

# Seeds (with the flavour that was given, if any) of worlds that once were broken, and what was.
ONCE_BROKEN = [
    (20, "", "admitted beside a model that must go for it, and was started while it loaded"),
    (49, "", "an unload without time left the gate open"),
    (113, "", "a start let others pass who already waited"),
    (1250, "", "what had loaded was evicted by those behind, again and again"),
    (
        4,
        "failing",
        "who lost a run to a crash was turned away, since the empty run was stopped before the news of its end",
    ),
    (8, "failing", "who lost a run that was being stopped was told that it lives"),
]


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_promise_is_broken_in_random_worlds(batch: int) -> None:
    for seed in range(batch, WORLDS, BATCHES):
        play(make_plan(seed))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_no_promise_is_broken_in_worlds_of_each_flavour(flavour: str) -> None:
    for seed in range(10_000, 10_005):
        play(make_plan(seed, flavour))


@pytest.mark.parametrize("batch", range(5))
def test_no_promise_is_broken_where_models_keep_failing(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, 5):  # a seed alone chooses no such world
        play(make_plan(seed, "failing"))


@pytest.mark.parametrize(("seed", "flavour", "story"), ONCE_BROKEN)
def test_worlds_that_once_were_broken_stay_whole(seed: int, flavour: str, story: str) -> None:
    play(make_plan(seed, flavour))


def test_a_world_is_the_same_each_time_it_is_played() -> None:
    first, second = play(make_plan(7)), play(make_plan(7))
    assert list(first.trace) == list(second.trace)
    assert first.requests == second.requests > 20


def test_the_bound_on_waiting_is_not_generous() -> None:
    """Somebody waits for half of what is allowed, so twice the waiting would be seen."""
    longest = max(play(make_plan(seed, "hot")).witness.longest_wait for seed in range(20))
    assert longest > 0.3
