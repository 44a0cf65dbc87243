"""Whom the guardian ends: by what a look says, with made-up processes; and how, with a made-up clock."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from llamaswap_lib.runtime.guard.sweep import GRACE, PATIENCE, PAUSE, end, leftovers, of_owner, of_run
from llamaswap_lib.runtime.guard.table import ProcessEntry, has_living_owner, look, new_token

US = os.getpid()
OURS = 1000  # a user


def process(pid: int, parent: int = 1, group: int = 0, **more: object) -> ProcessEntry:
    """One that started at `s<pid>`, unless told otherwise; a leader of group and session unless told otherwise."""
    group = group or pid
    start, session = str(more.pop("start", f"s{pid}")), int(str(more.pop("session", group)))
    entry = ProcessEntry(pid, parent, group, session, start, is_dead=bool(more.pop("is_dead", False)))
    entry.uid = OURS
    for name, value in more.items():
        setattr(entry, name, value)
    return entry


def pids(entries: list[ProcessEntry]) -> list[int]:
    return sorted(entry.pid for entry in entries)


# -- whom --


def test_a_process_that_carries_the_token_is_ours_wherever_it_went() -> None:
    entries = [process(10, token="t"), process(11, group=77, token="t"), process(12, token="u"), process(13)]
    assert pids(of_owner(entries, "t", {})) == [10, 11]


def test_members_of_a_group_are_ours_also_without_the_token() -> None:
    entries = [process(10), process(11, parent=10, group=10), process(12, group=10), process(13)]
    assert pids(of_owner(entries, "t", {10: "s10"})) == [10, 11, 12]


def test_a_leader_that_started_at_another_time_is_a_stranger_and_so_is_its_group() -> None:
    entries = [process(10, start="later"), process(11, parent=10, group=10)]
    assert of_owner(entries, "t", {10: "s10"}) == []
    assert of_owner(entries, "t", {10: ""}) == []  # gone before its start was read


def test_a_group_whose_leader_is_gone_is_still_ours() -> None:
    entries = [process(11, group=10), process(12, group=10, session=9)]  # the latter is of another session: not ours
    assert pids(of_owner(entries, "t", {10: "s10"})) == [11]


def test_a_zombie_leader_vouches_for_its_group_and_is_not_signalled() -> None:
    entries = [process(10, is_dead=True), process(11, group=10)]
    assert pids(of_owner(entries, "t", {10: "s10"})) == [11]


def test_descendants_are_ours_whatever_became_of_them() -> None:
    entries = [process(10, token="t"), process(11, parent=10), process(12, parent=11, session=5), process(13, parent=9)]
    assert pids(of_owner(entries, "t", {})) == [10, 11, 12]


def test_a_circle_of_parents_ends() -> None:
    entries = [process(10, parent=11, token="t"), process(11, parent=10)]
    assert pids(of_owner(entries, "t", {})) == [10, 11]


def test_guardians_and_what_they_would_be_asked_about_are_spared() -> None:
    entries = [process(10, token="t"), process(11, parent=10, guards="o", token="t"), process(12, parent=11)]
    assert pids(of_owner(entries, "t", {})) == [10]


def test_this_process_and_its_ancestors_are_never_ended() -> None:
    entries = [process(1, parent=0), process(10, token="t"), process(11, parent=10, token="t")]
    entries += [process(US, parent=11, token="t"), process(12, parent=US, token="t")]
    assert pids(of_owner(entries, "t", {})) == [12]


def test_an_owner_without_a_token_is_an_error() -> None:
    with pytest.raises(AssertionError):
        of_owner([process(10)], "", {})


# -- one run --


def test_of_an_owners_processes_those_of_one_run_are_told_from_the_others() -> None:
    entries = [process(10, token="t", run="1"), process(11, token="t", run="11"), process(12, token="u", run="1")]
    entries += [process(13, token="t"), process(14, parent=10), process(15, parent=11, token="t", run="1")]
    assert pids(of_run(entries, "t", "1", {})) == [10, 14, 15]
    assert pids(of_run(entries, "t", "1", {11: "s11"})) == [10, 11, 14, 15]
    assert pids(of_owner(entries, "t", {})) == [10, 11, 13, 14, 15]


def test_a_run_without_a_number_is_an_error() -> None:
    with pytest.raises(AssertionError):
        of_run([process(10, token="t")], "t", "", {})


def test_a_process_that_was_found_before_stays_found_and_its_children_with_it() -> None:
    entries = [process(10), process(11, parent=10), process(12)]
    assert pids(of_owner(entries, "t", {}, {10: "s10", 12: "earlier"})) == [10, 11]
    assert pids(leftovers(entries, OURS, lambda _: False, {10: "s10"})) == [10, 11]


# -- leftovers --


def token_of(owner: ProcessEntry) -> str:
    """In our world."""
    world = new_token().partition(".")[0]
    return f"{world}.{owner.pid}.{owner.start}.c0ffee"


def test_leftovers_are_those_whose_owner_is_dead() -> None:
    living, dead, zombie = process(20), process(30), process(40, is_dead=True)
    reused = process(50, start="later")
    entries = [living, zombie, reused]
    entries += [process(21, token=token_of(living)), process(31, token=token_of(dead)), process(32, parent=31)]
    entries += [process(41, token=token_of(zombie)), process(51, token=token_of(process(50)))]
    assert pids(leftovers(entries, OURS, lambda _: False)) == [31, 32, 41, 51]


def test_an_owner_that_is_hidden_from_us_counts_as_living() -> None:
    entries = [process(31, token=token_of(process(30)))]
    assert leftovers(entries, OURS, lambda pid: pid == 30) == []
    assert pids(leftovers(entries, OURS, lambda _: False)) == [31]


def test_another_llamaswap_at_work_is_no_leftover_of_the_one_it_was_started_in() -> None:
    nested = process(31, token=token_of(process(30)))
    entries = [nested, process(33, token=token_of(process(30)))]
    entries += [process(32, parent=31, token=token_of(nested))]
    assert pids(leftovers(entries, OURS, lambda _: False)) == [33]


def test_what_is_another_users_is_no_leftover_of_ours() -> None:
    entries = [process(31, token=token_of(process(30)), uid=OURS + 1)]
    assert leftovers(entries, OURS, lambda _: False) == []


def test_a_life_in_another_world_counts_as_going_on() -> None:
    _, _, rest = token_of(process(30)).partition(".")
    entries = [process(31, token=f"4026539999.{rest}"), process(32, token="rubbish"), process(33, token="0.1.")]
    entries += [process(34, token=f"{new_token().partition('.')[0]}.30..c0ffee")]  # whose start nobody knew
    assert leftovers(entries, OURS) == []


def test_a_life_of_another_machine_or_of_another_boot_counts_as_going_on() -> None:
    world, _, rest = token_of(process(30)).partition(".")
    boot, _, namespace = world.rpartition("-")
    other = "00000000-0000-4000-8000-000000000000"
    assert (len(boot), namespace.isdigit()) == (len(other), True)
    entries = [process(31, token=f"{other}-{namespace}.{rest}"), process(32, token=f"{boot}-1.{rest}")]
    entries += [process(33, token=f"{namespace}.{rest}")]  # as version 0.1 named it
    entries += [process(34, token=f".{rest}"), process(35, token=f"{world}.{rest}")]
    assert pids(leftovers(entries, OURS, lambda _: False)) == [35]


def test_our_own_token_names_us() -> None:
    assert has_living_owner(new_token(), look())
    assert has_living_owner(new_token(), [])  # as where /proc hides us
    assert not has_living_owner(new_token(), [], lambda _: False)
    assert new_token() != new_token()


# -- how --


class World:
    """Processes that end as they are told, or not, in a time that passes only while somebody sleeps."""

    def __init__(self, *entries: ProcessEntry) -> None:
        self.entries = list(entries)
        self.now = 100.0
        self.signals: list[tuple[float, int, int]] = []
        self.ignore_term: set[int] = set()
        self.immortal: set[int] = set()
        self.forbidden: set[int] = set()
        self.groups: list[int] = []  # that were killed as a whole

    def send(self, pid: int, number: int) -> None:
        if pid < 0:
            assert number == signal.SIGKILL
            assert pid < -1, "a signal to everybody there is"
            self.groups.append(-pid)
            return
        if pid in self.forbidden:
            raise PermissionError
        self.signals.append((round(self.now - 100.0, 3), pid, number))
        if pid in self.immortal or (number == signal.SIGTERM and pid in self.ignore_term):
            return
        self.entries = [entry for entry in self.entries if entry.pid != pid]

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def end(self, look: Callable[[], list[ProcessEntry]] | None = None) -> bool:
        return end(
            lambda entries, known: of_owner(entries, "t", {}, known),
            look=look or (lambda: list(self.entries)),
            send=self.send,
            clock=lambda: self.now,
            sleep=self.sleep,
        )


def test_ending_no_process_ends_at_once() -> None:
    world = World(process(10))
    assert world.end()
    assert (world.signals, world.now) == ([], 100.0)


def test_a_process_that_hears_sigterm_hears_it_once_and_nothing_else() -> None:
    world = World(process(10, token="t"), process(11, token="t"), process(12))
    assert world.end()
    assert sorted(world.signals) == [(0.0, 10, signal.SIGTERM), (0.0, 11, signal.SIGTERM)]


def test_a_process_that_ignores_it_is_killed_after_the_grace_and_told_once_before() -> None:
    world = World(process(10, token="t"))
    world.ignore_term = {10}
    assert world.end()
    [first, second] = world.signals
    assert first == (0.0, 10, signal.SIGTERM)
    assert second[1:] == (10, signal.SIGKILL)
    assert 1.0 <= second[0] < 1.1  # README.md promises that nobody is left after 2 s


def test_a_process_that_comes_later_is_ended_too() -> None:
    world = World(process(10, token="t"))

    def send(pid: int, number: int) -> None:
        World.send(world, pid, number)
        if pid == 10:
            world.entries.append(process(11, token="t"))

    world.send = send  # type: ignore[method-assign]
    assert world.end()
    assert [pid for _, pid, _ in world.signals] == [10, 11]


def test_a_pid_that_is_given_away_in_between_is_not_signalled() -> None:
    world = World(process(10, token="t"))
    world.ignore_term = {10}

    def sleep(seconds: float) -> None:
        World.sleep(world, seconds)
        world.entries = [process(10, start="later")]

    world.sleep = sleep  # type: ignore[method-assign]
    assert world.end()
    assert world.signals == [(0.0, 10, signal.SIGTERM)]


def test_what_cannot_be_ended_is_given_up() -> None:
    world = World(process(10, token="t"), process(11, token="t"))
    world.immortal, world.forbidden = {10}, {11}
    assert not world.end()
    assert world.now <= 100.0 + GRACE + PATIENCE + 0.1


def test_what_may_not_be_signalled_is_not_waited_for_and_told() -> None:
    world = World(process(10, token="t"), process(11, token="t"))
    world.forbidden = {11}
    assert not world.end()
    assert (world.signals, world.now) == ([(0.0, 10, signal.SIGTERM)], 100.0 + PAUSE)


def test_a_process_that_drops_its_mark_and_loses_its_parent_on_sigterm_is_killed_all_the_same() -> None:
    world = World(process(10, token="t"), process(11, parent=10, group=10))
    world.ignore_term = {11}

    def send(pid: int, number: int) -> None:
        World.send(world, pid, number)
        for entry in world.entries:
            entry.parent = 1

    world.send = send  # type: ignore[method-assign]
    assert world.end()
    assert [(pid, number) for _, pid, number in world.signals] == [
        (10, signal.SIGTERM),
        (11, signal.SIGTERM),
        (11, signal.SIGKILL),
    ]


def test_a_group_is_killed_at_once_if_all_of_it_is_ours_and_can_be_named() -> None:
    everybody = [process(10, token="t"), process(11, group=10, token="t"), process(12, group=10, is_dead=True)]
    everybody += [process(20, token="t"), process(21, group=20)]  # a stranger's too
    everybody += [process(30, token="t", session=0), process(31, group=1, token="t")]
    everybody[5].group = 0
    world = World(*everybody)
    world.ignore_term = {entry.pid for entry in everybody}
    assert world.end()
    assert world.groups == [10]
    assert [entry.pid for entry in world.entries] == [12, 21]


def test_one_that_starts_another_whenever_it_is_looked_for_is_fought_until_it_stops() -> None:
    first = 10_000_000  # no process of this machine has such a number: of so many one might be our own, which is spared
    world = World(process(first, token="t"))
    world.ignore_term = set(range(first, first + 2000))

    def look() -> list[ProcessEntry]:
        seen = list(world.entries)
        newest = seen[-1].pid if seen else 0
        if 0 < newest < first + 1490:
            world.now += 0.01  # a look takes its time, so this goes on for longer than we are patient
            world.entries.append(process(newest + 1, parent=newest, group=first, token="t"))
        return seen

    assert world.end(look)
    assert world.now > 100.0 + GRACE + PATIENCE + 1
