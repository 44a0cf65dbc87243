"""The group policy: who goes for whom, for every kind of group."""

from __future__ import annotations

from llamaswap_lib.core.eviction.group import Group, GroupPolicy

SWAPS = Group("swaps", ("a", "b"))
SHARES = Group("shares", ("c", "d"), swap=False)
ASIDE = Group("aside", ("e", "f"), swap=True, exclusive=False)
ALWAYS = Group("always", ("g", "h"), swap=False, exclusive=False, persistent=True)
EVERYBODY = tuple("abcdefgh")

POLICY = GroupPolicy([SWAPS, SHARES, ASIDE, ALWAYS])
evict = POLICY.evict


def test_a_group_that_swaps_runs_one_member_at_a_time_and_empties_the_others() -> None:
    assert evict("a", EVERYBODY) == set("bcdef")


def test_members_that_do_not_swap_stay_together_and_empty_the_others() -> None:
    assert evict("c", EVERYBODY) == set("abef")


def test_a_group_that_is_not_exclusive_leaves_the_others_alone() -> None:
    assert evict("e", EVERYBODY) == {"f"}


def test_a_persistent_group_that_neither_swaps_nor_is_exclusive_evicts_nobody() -> None:
    assert evict("g", EVERYBODY) == set()


def test_it_is_the_same_whether_the_model_runs_already() -> None:
    assert evict("a", ("a", "c")) == evict("a", ("c",)) == {"c"}


def test_no_model_is_evicted_where_none_runs() -> None:
    assert evict("a", ()) == evict("a", ("a",)) == set()


def test_two_meet_where_a_request_for_one_of_them_leaves_the_other_alone() -> None:
    assert not POLICY.may_meet("a", "b")
    assert POLICY.may_meet("c", "d")
    assert not POLICY.may_meet("a", "c")
    assert POLICY.may_meet("a", "e")  # a goes for nobody once e is asked for
    assert POLICY.may_meet("e", "a")
    assert POLICY.may_meet("a", "g")
    assert not POLICY.may_meet("e", "f")


def test_each_model_that_must_go_has_its_rule() -> None:
    assert POLICY.explain("a", ("g", "e", "b", "a")).reasons == {
        "b": "group swaps runs one model at a time",
        "e": "group swaps is exclusive",
    }
    assert POLICY.explain("g", EVERYBODY).rule == ""
    assert POLICY.explain("a", ("g", "e", "b", "a")).kind == "group"
