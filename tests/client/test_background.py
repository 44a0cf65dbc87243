"""A question that is asked beside what is shown."""

from __future__ import annotations

import threading

import pytest

from llamaswap_lib.client.background import Background, together


def test_it_runs_beside_and_gives_its_result() -> None:
    may_end = threading.Event()
    asking = Background(lambda: may_end.wait(30))
    assert not asking.is_over()
    may_end.set()
    assert asking.is_over(30)
    assert asking.result() is True


def test_several_run_at_the_same_time() -> None:
    met = threading.Barrier(2, timeout=30)
    assert [number >= 0 for number in together(met.wait, met.wait)] == [True, True]
    with pytest.raises(ValueError, match="no number"):
        together(lambda: 1, lambda: int("no number"))


def test_what_it_raises_is_raised_where_the_result_is_asked_for() -> None:
    asking = Background(lambda: int("no number"))
    with pytest.raises(ValueError, match="no number"):
        asking.result()
