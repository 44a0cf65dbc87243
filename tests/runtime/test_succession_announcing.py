"""What a run says of itself while one controller takes over from another."""

from __future__ import annotations

from tests.runtime.launches import Stage, Visit
from tests.runtime.test_succession import ready, succession

THERE = "http://node1:5800"


def test_what_the_elder_hears_of_a_run_goes_to_the_heir() -> None:
    with Stage("a", obeys=False) as elder:
        process = ready(elder, "a")
        with succession(elder, "a") as (heir, _):
            process.announce(THERE)
            heir.processes[0].await_order(f"probe {THERE}")
            assert process.orders == ["start", "hand over", "let go"]


def test_a_run_that_is_queued_is_looked_for_when_it_has_said_where_it_listens() -> None:
    with Stage("a", obeys=False, is_announced=True) as elder:
        visit = Visit(elder, "a")
        process = elder.next_process()
        with succession(elder, "a", is_announced=True) as (heir, _):
            process.tell_state("job 31")
            heir.await_until(lambda: [ticket.reason for ticket in heir.tickets()] == ["queued: job 31"])
            [adopted] = heir.processes
            assert adopted.loading_since is None
            process.announce(THERE)
            adopted.await_order(f"probe {THERE}")
            adopted.become_ready(THERE)
            assert visit.await_in().proxy == THERE
            visit.leave()
