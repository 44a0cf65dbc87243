"""How an upgrade goes: the tables of legal moves, by themselves."""

from __future__ import annotations

import itertools

import pytest

from llamaswap_lib.upgrade.phases import DECIDED, NEW_MOVES, OLD_MOVES, Deed, New, News, Old, move

FAILURES = (News.GONE, News.LATE, News.CALLED_OFF, News.BROKEN)


def walk(*news: News) -> tuple[Old, list[Deed]]:
    """Where the old process comes to with these news, and what it does on the way."""
    phase, deeds = Old.STARTING, []
    for one in news:
        phase, deed = move(phase, one)
        deeds += [deed] if deed else []
    return phase, deeds


def test_an_upgrade_freezes_then_retires() -> None:
    assert walk(News.PREPARED, News.READY, News.COMMITTED) == (Old.RETIRING, [Deed.FREEZE, Deed.RETIRE])


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_before_anything_is_frozen_ends_the_new_process_alone(failure: News) -> None:
    assert walk(failure) == (Old.FAILED, [Deed.GIVE_UP])


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_while_frozen_has_the_old_process_decide_again(failure: News) -> None:
    assert walk(News.PREPARED, failure) == (Old.FAILED, [Deed.FREEZE, Deed.RESUME])


@pytest.mark.parametrize("failure", FAILURES)
def test_after_the_word_to_serve_nothing_goes_back(failure: News) -> None:
    phase, deeds = walk(News.PREPARED, News.READY, failure)
    assert phase in (Old.RETIRING, Old.ALONE)
    assert deeds == [Deed.FREEZE, Deed.RETIRE]


def test_the_old_process_learns_that_the_new_one_has_ended() -> None:
    assert walk(News.PREPARED, News.READY, News.COMMITTED, News.GONE)[0] is Old.ALONE
    assert walk(News.PREPARED, News.READY, News.GONE)[0] is Old.ALONE


@pytest.mark.parametrize("news", [News.READY, News.COMMITTED, News.STATE, News.COMMIT])
def test_what_the_new_process_says_too_early_is_a_failure(news: News) -> None:
    assert walk(news) == (Old.FAILED, [Deed.GIVE_UP])


def test_whatever_comes_in_whatever_order_a_process_that_has_frozen_resumes_or_retires_once() -> None:
    for news in itertools.product(News, repeat=4):
        phase, deeds = walk(*news)
        ends = [deed for deed in deeds if deed is not Deed.FREEZE]
        assert len(ends) <= 1, news
        if Deed.FREEZE in deeds:
            assert deeds[0] is Deed.FREEZE
            assert ends != [Deed.GIVE_UP], news
        if phase in DECIDED:
            assert len(ends) == 1, news


def test_every_phase_is_reached_and_every_one_that_is_not_the_end_is_left() -> None:
    assert {target.phase for target in OLD_MOVES.values()} | {Old.STARTING} == {*Old}
    assert {phase for phase, _ in OLD_MOVES} == {*Old} - {Old.ALONE, Old.FAILED}
    assert {*NEW_MOVES.values()} | {New.PREPARED} == {*New}
    assert {phase for phase, _ in NEW_MOVES} == {*New} - {New.ALONE, New.ENDING}


def test_the_new_process_ends_with_the_old_one_until_it_serves() -> None:
    ends = {phase: NEW_MOVES[phase, News.GONE] for phase in New if (phase, News.GONE) in NEW_MOVES}
    assert ends.pop(New.SERVING) is New.ALONE
    assert {*ends.values()} == {New.ENDING}
