"""The table of docs/scheduling.md is what the benchmark says, and the benchmark plays by the rules it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.arrivals import Pattern, Script, Step, hot_and_cold, patterns
from tests.bench.scheduling import LOAD_SECONDS, RULES, STOP_SECONDS, Rules, lines, played

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scheduling.md"
IN_ORDER, GO, OURS, _ = RULES


def test_the_table_in_the_documentation_is_what_the_benchmark_prints() -> None:
    assert "\n".join(["", *lines(), ""]) in PAGE.read_text()


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: rules.name)
def test_every_request_is_served(rules: Rules) -> None:
    for pattern in patterns():
        asked = sum(len(script.steps) for script in pattern.scripts)
        assert len(played(pattern, rules).waits) == asked


def burst(models: str) -> Pattern:
    """One request for each letter, all of them while the first model loads."""
    return Pattern("burst", "", [Script(model, 0.1 * place, [Step(model, 1.0)]) for place, model in enumerate(models)])


def test_in_arrival_order_nobody_overtakes() -> None:
    world = played(burst("abcabc"), IN_ORDER)
    assert [who for who, _ in world.waits] == list("abcabc")
    assert world.stops == 5


@pytest.mark.parametrize("rules", [GO, OURS], ids=lambda rules: rules.name)
def test_otherwise_the_loaded_model_goes_first(rules: Rules) -> None:
    world = played(burst("abcabc"), rules)
    assert [who for who, _ in world.waits] == list("aabbcc")
    assert world.stops == 2


def test_the_first_wait_is_the_load_and_the_next_a_request_a_stop_and_a_load() -> None:
    world = played(burst("ab"), GO)
    assert world.waits_of("a") == [LOAD_SECONDS]
    assert world.waits_of("b") == [pytest.approx(LOAD_SECONDS + 1.0 + STOP_SECONDS + LOAD_SECONDS - 0.1)]


def test_the_bound_that_the_page_states_is_kept_beside_a_hot_model() -> None:
    pattern = hot_and_cold()
    longest_request = max(step.work_seconds for script in pattern.scripts for step in script.steps)
    bound = OURS.max_wait + longest_request + STOP_SECONDS + LOAD_SECONDS
    assert bound - 10.0 < max(played(pattern, OURS).waits_of("cold")) <= bound
    assert max(played(pattern, GO).waits_of("cold")) > 10 * bound
