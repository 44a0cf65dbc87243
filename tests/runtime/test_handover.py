"""The state of a scheduler is the same after its way to another process: in the worlds in which it is handed over."""

from __future__ import annotations

import json

import pytest

from llamaswap_lib.core.handover import State
from llamaswap_lib.runtime.control.handover import described, read
from tests.core.engine import Simulation
from tests.core.worlds import make_plan


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_in_the_json(seed: int) -> None:
    ways = 0

    def on_the_way(state: State) -> State:
        nonlocal ways
        ways += 1
        arrived = read(json.loads(json.dumps(described(state))))
        for run in state.runs:
            run.silence = None
        assert arrived == state
        return arrived

    simulation = Simulation(make_plan(seed, "upgrades"))
    simulation.on_the_way = on_the_way
    simulation.run()
    assert ways


@pytest.mark.parametrize("key", ["runs", "models", "tickets", "failures", "next_run_id"])
def test_a_state_that_lacks_something_is_not_read(key: str) -> None:
    whole = described(Simulation(make_plan(0, "upgrades")).scheduler.hand_over())
    read(whole)
    del whole[key]
    with pytest.raises(KeyError):
        read(whole)
