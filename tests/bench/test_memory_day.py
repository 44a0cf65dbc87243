"""The tables of a day are what the benchmark says, and each strategy plays by the rule that it names."""

from __future__ import annotations

import pytest

from llamaswap_lib.core.eviction import RunningModel
from tests.bench.memory_day import PAGE, SEEDS, STRATEGIES, Strategy, play, row, strategies
from tests.bench.mixes import MIXES, Mix
from tests.bench.rivals import LastUsed, OneAtATime, UntilItFits, by_idle_and_load, by_idle_time

FEW = 0.05  # of the sessions of a day
BY_NAME = {strategy.name: strategy for strategy in STRATEGIES}
BY_COUNT = "LRU by count, 3 models"
BY_MATRIX, BY_SIZE = "llama-swap, a matrix written by hand", "LRU until it fits"
OURS = "llamaswap, `use: memory`, `reserve: 0`"

each_mix = pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)


@pytest.mark.slow
@each_mix
def test_the_rows_of_llamaswap_in_the_documentation_are_what_the_benchmark_prints(mix: Mix) -> None:
    """Those of others take longer, and change only with the scheduler."""
    table = PAGE.read_text().partition(f"| {mix.name} |")[2].partition("\n\n")[0]
    ours = [strategy for strategy in strategies(mix) if strategy.name.startswith("llamaswap")]
    assert len(ours) == (2 if len(mix.capacity) == 1 else 3)
    for strategy in ours:
        assert row(strategy.name, [play(mix, strategy, seed) for seed in SEEDS]) in table


@each_mix
def test_every_request_is_served_and_nothing_starts_beyond_the_memory(mix: Mix) -> None:
    asked = sum(len(script.steps) for script in mix.scripts(1, FEW))
    for strategy in strategies(mix):
        day = play(mix, strategy, 1, FEW)
        assert len(day.waits) == asked > 100
        assert len(mix.models) <= day.loads < asked
        assert strategy.name == BY_COUNT or not day.beyond, strategy.name


@each_mix
def test_a_day_is_the_same_each_time(mix: Mix) -> None:
    assert play(mix, BY_NAME[OURS], 1, FEW) == play(mix, BY_NAME[OURS], 1, FEW)
    assert mix.scripts(1, FEW) != mix.scripts(2, FEW)


def loads(mix: Mix, strategy: Strategy) -> int:
    return play(mix, strategy, 1).loads


@pytest.mark.slow
@each_mix
def test_with_the_same_memory_nobody_loads_less_often_without_rules_written_by_hand(mix: Mix) -> None:
    """But for the first load of each model, alone: others are told what they need."""
    assert loads(mix, BY_NAME[OURS]) <= loads(mix, BY_NAME[BY_SIZE]) + len(mix.models)
    assert loads(mix, BY_NAME[OURS]) <= 1.1 * loads(mix, BY_NAME[BY_MATRIX])


# -- the rules of others --


def idle(model: str, seconds: float, load: float = 10.0) -> RunningModel:
    return RunningModel(model, "ready", seconds, 0, load, 1000.0)


BUSY = RunningModel("busy", "ready", 0.0, 1, 10.0, 1000.0)


def test_one_at_a_time_all_others_go() -> None:
    assert OneAtATime().evict("a", [idle("a", 1.0), idle("b", 1.0), BUSY]) == {"b", "busy"}


def test_by_count_the_one_used_longest_ago_goes_and_a_busy_one_last() -> None:
    running = [BUSY, idle("b", 50.0), idle("c", 90.0)]
    assert LastUsed(4).evict("a", running) == []
    assert LastUsed(3).evict("a", running) == ["c"]
    assert LastUsed(1).evict("a", running) == ["c", "b", "busy"]
    assert LastUsed(1).evict("b", running) == ()


SIZES = {"a": {"x": 6}, "b": {"x": 4}, "c": {"x": 4}, "d": {"y": 4}}
ROOM = {"x": 10, "y": 10}


def test_by_size_they_go_until_the_next_one_fits_and_who_is_elsewhere_stays() -> None:
    rule = UntilItFits(SIZES, ROOM, by_idle_time)
    assert rule.evict("a", [idle("b", 5.0)]) == []
    assert rule.evict("a", [idle("b", 5.0), idle("c", 9.0), idle("d", 99.0)]) == ["c"]
    assert rule.evict("b", [idle("b", 5.0), idle("a", 9.0)]) == ()


def test_by_lemonades_rule_who_loads_fast_goes_before_who_loads_slowly() -> None:
    rule = UntilItFits(SIZES, ROOM, by_idle_and_load)
    assert rule.evict("a", [idle("b", 50.0, load=20.0), idle("c", 9.0, load=3.0)]) == ["c"]
    assert rule.evict("a", [idle("b", 50.0, load=10.0), idle("c", 9.0, load=3.0)]) == ["b"]
