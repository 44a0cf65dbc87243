"""A run that says where it listens, and the controller: where it is checked while others wait for it to stop."""

from __future__ import annotations

from llamaswap_lib.core.events import TimePassed
from llamaswap_lib.core.world import CHECK_AFTER
from llamaswap_lib.runtime.control.live_run import Upstream
from llamaswap_lib.runtime.health.watchdog import CheckPlan
from tests.runtime.launches import FakeProcess, Stage, Visit

HERE, THERE = "http://node1:5800", "http://node2:5801"


def become_ready(process: FakeProcess, address: str) -> None:
    process.announce(address)
    process.await_order(f"probe {address}")
    process.become_ready(address)


def test_a_run_that_moves_is_checked_where_it_is() -> None:
    now, checked = [100.0], list[str]()

    def check_of(upstream: Upstream) -> tuple[None, float]:
        checked.append(upstream.proxy)
        return None, 0.0

    plan = CheckPlan(check_of, lambda _: None, lambda _: None)
    with Stage("a", "b", obeys=False, is_announced=True, clock=lambda: now[0], checks=plan) as stage:
        visit = Visit(stage, "a")
        process = stage.next_process()
        become_ready(process, HERE)
        visit.await_in()
        waiting = Visit(stage, "b")
        stage.await_queue("b")
        now[0] += CHECK_AFTER
        stage.controller.post(TimePassed())
        become_ready(process, THERE)
        stage.controller.settle()
        assert checked == [HERE, THERE]
        visit.leave()
        process.await_order("stop")
        process.exit()
        become_ready(stage.next_process(), HERE)
        waiting.await_in()
        waiting.leave()
