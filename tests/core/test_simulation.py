"""Seeded random worlds: the scheduler, the gates and the policies among clients and processes that misbehave.

More of them: `python tests/core/simulation.py --worlds 5000 --seed 0`, or `LLAMASWAP_WORLDS=5000 pytest ...`.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from tests.batches import batches, samples
from tests.core.books import BrokenError
from tests.core.engine import play
from tests.core.policies import Policy
from tests.core.worlds import FLAVOURS, Habits, Plan, make_plan

WORLDS = int(os.environ.get("LLAMASWAP_WORLDS", "150"))
BATCHES = 30  # of which the quick part plays one

SEEDS = Path(__file__).with_name("seeds.txt")
ONCE_BROKEN = [line for line in SEEDS.read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_in_random_worlds(batch: int) -> None:
    for seed in range(batch, WORLDS, BATCHES):
        play(make_plan(seed))


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("batch", batches(5))
def test_no_promise_is_broken_in_worlds_of_each_flavour(flavour: str, batch: int) -> None:
    play(make_plan(10_000 + batch, flavour))


@pytest.mark.parametrize("batch", batches(20))
def test_no_promise_is_broken_by_policies_that_change_their_minds_and_make_mistakes(batch: int) -> None:
    for seed in range(20_000 + batch, 20_060, 20):
        play(make_plan(seed, "whims"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_where_models_keep_failing(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):  # a seed alone chooses no such world
        play(make_plan(seed, "failing"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_where_models_cannot_be_started(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):
        play(make_plan(seed, "misconfigured"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_while_priorities_change(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):
        play(make_plan(seed, "reordered"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_where_models_hang(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):
        play(make_plan(seed, "hanging"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_where_models_hang_and_others_cannot_be_started(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):
        play(make_plan(seed, "combined"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_while_the_configuration_changes(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):
        play(make_plan(seed, "reloads"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_while_the_configuration_changes_and_models_hang_and_fail(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):
        play(make_plan(seed, "upheaval"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_where_other_processes_take_over(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):
        play(make_plan(seed, "upgrades"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_where_memory_decides(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):
        play(make_plan(seed, "memory"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_where_memory_decides_and_models_hang_and_fail(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):
        play(make_plan(seed, "pressure"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_where_models_make_room_for_other_programs_and_for_one_that_grows(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):
        play(make_plan(seed, "relief"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_where_models_are_put_on_gpus(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):
        play(make_plan(seed, "places"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_where_models_say_where_they_listen_and_move(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):
        play(make_plan(seed, "announced"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_where_models_are_out_of_reach(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):
        play(make_plan(seed, "lost"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_where_models_sleep(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):
        play(make_plan(seed, "sleepers"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_where_memory_decides_and_models_sleep(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):
        play(make_plan(seed, "drowsy"))


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_no_promise_is_broken_where_models_that_sleep_are_out_of_reach(batch: int) -> None:
    for seed in range(batch, WORLDS // 5, BATCHES):
        play(make_plan(seed, "remote"))


@pytest.mark.parametrize("line", samples(ONCE_BROKEN, 4))
def test_worlds_that_once_were_broken_stay_whole(line: str) -> None:
    seed, flavour, story = line.split(" ", 2)
    assert story
    play(make_plan(int(seed), flavour))


def test_a_world_that_breaks_says_the_line_to_keep() -> None:
    answers = itertools.cycle([(), ("A", "B")])  # never twice the same: the witness disagrees with the scheduler
    fickle = Policy(lambda *_: next(answers), True, "fickle")
    plan = Plan(7, "mixed", {"A": Habits(), "B": Habits()}, fickle, max_wait=1.0)
    with pytest.raises(BrokenError, match=r"\nto keep it, add to tests/core/seeds.txt:\n7 mixed [a-z]+"):
        play(plan)


def test_a_world_is_the_same_each_time_it_is_played() -> None:
    first, second = play(make_plan(7)), play(make_plan(7))
    assert list(first.trace) == list(second.trace)
    assert first.requests == second.requests > 20


@pytest.mark.slow
def test_the_bound_on_waiting_is_not_generous() -> None:
    """Somebody waits for half of what is allowed, so twice the waiting would be seen."""
    longest = max(play(make_plan(seed, "hot")).witness.longest_wait for seed in range(20))
    assert longest > 0.3
