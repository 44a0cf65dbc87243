"""Runs that sleep, or are told to sleep or to wake, while one controller takes over from another."""

from __future__ import annotations

from tests.runtime.launches import Stage, Visit
from tests.runtime.test_succession import ready, succession


def test_one_that_wakes_is_told_to_wake_anew_and_not_looked_at_before() -> None:
    """Its server may answer its check while it sleeps, as that of vLLM does."""
    with Stage("a", "b", obeys=False, can_sleep=True) as elder:
        process = ready(elder, "a")
        other = Visit(elder, "b")
        process.await_order("sleep")
        process.fall_asleep()
        second = elder.next_process()
        second.become_ready()
        other.await_in()
        other.leave()
        visit = Visit(elder, "a")
        second.await_order("sleep")
        second.fall_asleep()
        process.await_order("wake")
        with succession(elder, "a", "b", can_sleep=True) as (heir, _):
            adopted = next(one for one in heir.processes if one.model == "a")
            adopted.await_order("wake")
            adopted.await_order("start")
            assert adopted.loading_since is None
            adopted.become_ready()
            visit.await_in()
            visit.leave()
