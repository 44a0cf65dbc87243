"""What is kept of an answer's body: its beginning and its end, or all of it, within a budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.activity.observer import (
    HEAD_BYTES,
    MOST_BYTES,
    MOST_STAMPS,
    OWN_BYTES,
    STEP_BYTES,
    TAIL_BYTES,
    Budget,
    Observer,
)


class Clock:
    """Each look at it is a second later."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def observed(*pieces: bytes, whole: bool = False, budget: Budget | None = None) -> Observer:
    observer = Observer(budget or Budget(), Clock(), is_whole_wanted=whole)
    for piece in pieces:
        observer.take(piece)
    return observer


def numbered(size: int) -> bytes:
    """Bytes of which each part is told from each other."""
    return b"".join(b"%07d." % number for number in range(size // 8 + 1))[:size]


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def kept_bytes(observer: Observer) -> int:
    sample = observer.sample(0.0)
    return len(sample.head) + len(sample.tail)


def test_a_short_body_is_kept_whole_with_the_time_of_each_piece() -> None:
    sample = observed(b"one", b"", b"three").sample(100.0)
    assert (sample.head, sample.tail, sample.size_bytes, sample.is_whole) == (b"onethree", b"", 8, True)
    assert sample.stamps == ((0, 1.0), (3, 2.0), (3, 3.0))
    assert (sample.first_at, sample.last_at) == (1.0, 3.0)


def test_a_body_that_never_came_has_no_times() -> None:
    sample = observed().sample(100.0)
    assert (sample.head, sample.size_bytes, sample.stamps) == (b"", 0, ())
    assert sample.first_at is None
    assert sample.last_at is None


def test_only_the_first_pieces_are_stamped_and_the_last_is_known_all_the_same() -> None:
    sample = observed(*[b"x"] * 100).sample(100.0)
    assert len(sample.stamps) == MOST_STAMPS
    assert sample.last_at == 100.0


@pytest.mark.parametrize("piece_bytes", [100, 1_000, 65_536])
def test_of_a_long_body_the_beginning_and_the_end_are_kept(piece_bytes: int) -> None:
    data = numbered(3_000_000)
    observer = observed(*cut(data, piece_bytes))
    sample = observer.sample(0.0)
    assert not sample.is_whole
    assert sample.size_bytes == len(data)
    assert data.startswith(sample.head)
    assert data.endswith(sample.tail)
    assert len(sample.head) >= HEAD_BYTES
    assert len(sample.tail) >= TAIL_BYTES
    assert kept_bytes(observer) <= OWN_BYTES + STEP_BYTES + 65_536


@pytest.mark.parametrize("size", [OWN_BYTES, OWN_BYTES + 1, 200_000, MOST_BYTES])
def test_all_of_it_is_kept_where_that_is_wanted_up_to_a_bound(size: int) -> None:
    data = numbered(size)
    assert observed(*cut(data, 4_096), whole=True).sample(0.0).head == data


def test_beyond_that_bound_it_is_as_for_any_other_and_the_rest_goes_back() -> None:
    budget = Budget()
    before = budget.left_bytes
    observer = observed(*cut(numbered(MOST_BYTES + 100_000), 4_096), whole=True, budget=budget)
    assert not observer.sample(0.0).is_whole
    assert before - budget.left_bytes <= STEP_BYTES


def test_where_the_budget_is_spent_little_is_kept_and_a_short_body_still_whole() -> None:
    spent = Budget(0)
    data = numbered(1_000_000)
    observer = observed(*cut(data, 300), whole=True, budget=spent)
    sample = observer.sample(0.0)
    assert data.startswith(sample.head)
    assert data.endswith(sample.tail)
    assert len(sample.head) >= OWN_BYTES // 4
    assert len(sample.tail) >= OWN_BYTES // 2
    assert kept_bytes(observer) <= OWN_BYTES + 300
    assert observed(data[:OWN_BYTES], budget=spent).sample(0.0).is_whole


def test_what_was_granted_goes_back_when_its_observer_is_gone() -> None:
    budget = Budget()
    before = budget.left_bytes
    observer = observed(*cut(numbered(500_000), 4_096), whole=True, budget=budget)
    assert budget.left_bytes < before
    del observer
    assert budget.left_bytes == before


def test_what_is_not_wanted_whole_any_more_is_kept_as_a_long_one() -> None:
    data, budget = numbered(500_000), Budget()
    before = budget.left_bytes
    observer = observed(*cut(data, 4_096), whole=True, budget=budget)
    assert observer.kept_bytes == len(data)
    observer.shorten()
    sample = observer.sample(0.0)
    assert (len(sample.head), sample.size_bytes) == (HEAD_BYTES, len(data))
    assert TAIL_BYTES <= len(sample.tail) < TAIL_BYTES + 4_096
    assert data.startswith(sample.head)
    assert data.endswith(sample.tail)
    assert observer.kept_bytes <= OWN_BYTES + STEP_BYTES == OWN_BYTES + before - budget.left_bytes


def test_a_short_one_stays_as_it_is() -> None:
    observer = observed(numbered(HEAD_BYTES + TAIL_BYTES), whole=True)
    observer.shorten()
    assert observer.sample(0.0).is_whole


def test_of_what_is_forgotten_its_times_and_its_size_are_known() -> None:
    budget = Budget()
    before = budget.left_bytes
    observer = observed(*cut(numbered(100_000), 50_000), budget=budget)
    observer.forget()
    sample = observer.sample(100.0)
    assert (sample.head, sample.tail, sample.size_bytes) == (b"", b"", 100_000)
    assert (sample.first_at, sample.last_at) == (1.0, 2.0)
    assert budget.left_bytes == before


@given(st.lists(st.binary(max_size=40_000), max_size=30), st.booleans(), st.sampled_from([0, 65_536, 32 << 20]))
def test_whatever_comes_what_is_kept_is_the_beginning_and_the_end(
    pieces: list[bytes], whole: bool, budget_bytes: int
) -> None:
    budget, data = Budget(budget_bytes), b"".join(pieces)
    observer = observed(*pieces, whole=whole, budget=budget)
    sample = observer.sample(0.0)
    assert sample.size_bytes == len(data)
    assert data.startswith(sample.head)
    assert data.endswith(sample.tail)
    assert sample.is_whole == (sample.tail == b"" and sample.head == data)
    assert budget.left_bytes >= 0
    del observer
    assert budget.left_bytes == budget_bytes
