"""Which models wait for a run that a change of the configuration retires, by the rules before and after the change."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from llamaswap_lib.config.difference import difference
from llamaswap_lib.config.load import load_text
from llamaswap_lib.scheduling import Standing, make_rules, models_changed

BESIDE = "{swap: false, exclusive: false"
TOGETHER = f"groups: {{g: {BESIDE}, members: [MEMBERS]}}}}"
MEMORY = "routing: {router: {use: memory}}"


def standing(names: str, rules: str = TOGETHER, **ports: int) -> Standing:
    """Models with one letter each, which have an automatic port or the one in `ports`."""
    models = "".join(
        f"  {name}: {{cmd: serve, proxy: 'http://localhost:{ports[name]}'}}\n"
        if name in ports
        else f"  {name}: {{cmd: 'serve ${{PORT}}'}}\n"
        for name in names
    )
    config = load_text(f"{rules.replace('MEMBERS', ', '.join(names))}\nmodels:\n{models}", environment={})
    return Standing(config, make_rules(config))


def blocked(
    old: Standing | None, new: Standing, running: Mapping[str, int], former: Collection[str] = ()
) -> dict[str, str]:
    """By the model of each run that is retired, or was before. `running`: model -> the port of its run."""
    replaced = difference(old.config, new.config).replaced if old else ()
    urls = {model: f"http://localhost:{port}" for model, port in running.items()}
    change = models_changed(old, new, replaced, urls, former)
    return {model: "".join(sorted(others)) for model, others in change.blocked.items()}


def test_a_model_that_is_removed_blocks_those_that_may_not_run_beside_it() -> None:
    assert blocked(standing("abc"), standing("bc"), {"a": 1}) == {"a": ""}
    assert blocked(standing("abc", ""), standing("bc", ""), {"a": 1}) == {"a": "bc"}


def test_what_is_new_is_blocked_by_it() -> None:
    assert blocked(standing("ab"), standing("bc"), {"a": 1}) == {"a": "c"}


def test_who_needs_its_port_is_blocked_whatever_the_rules_say() -> None:
    before = standing("abc", a=9001)
    assert blocked(before, standing("bc", b=9001), {"a": 9001}) == {"a": "b"}
    assert blocked(before, standing("abc", a=9002, c=9001), {"a": 9001}) == {"a": "c"}


def test_the_next_change_blocks_nobody_else_for_one_that_was_removed_before() -> None:
    assert blocked(standing("bc"), standing("bc"), {"a": 1}) == {"a": ""}
    assert blocked(standing("bc"), standing("bc", b=1), {"a": 1}) == {"a": "b"}


@pytest.mark.parametrize(("former", "others"), [("", "bc"), ("a", "")])
def test_another_process_blocks_everybody_only_for_what_its_own_configuration_has_removed(
    former: str, others: str
) -> None:
    assert blocked(None, standing("bc"), {"a": 1}, former) == {"a": others}


def test_where_memory_decides_nobody_starts_beside_what_is_not_configured() -> None:
    by_memory = standing("bc", MEMORY)
    assert blocked(standing("abc"), by_memory, {"a": 1}) == {"a": "bc"}
    assert blocked(standing("bc"), by_memory, {"a": 1}) == {"a": "bc"}
    assert blocked(None, by_memory, {"a": 1}, "a") == {"a": "bc"}
