"""How long a model that fails is left alone, and what ends it."""

from __future__ import annotations

from llamaswap_lib.core.failures import ModelFailure, ModelFailures


def test_each_failed_load_in_a_row_doubles_the_backoff_up_to_a_minute() -> None:
    failures = ModelFailures()
    told = [failures.note_failed_load("A", "exited", 0.0) for _ in range(9)]
    assert told == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_thousand_failures_are_no_trouble() -> None:
    failures = ModelFailures()
    assert {failures.note_failed_load("A", "exited", 0.0) for _ in range(5000)} == {1, 2, 4, 8, 16, 32, 60}


def test_a_model_is_refused_until_its_time_has_come() -> None:
    failures = ModelFailures()
    failures.note_failed_load("A", "exited with code 3", 10.0)
    assert failures.refusal("A", 10.0) == ("model A could not be loaded: exited with code 3; next try in 1 s", 1.0)
    assert failures.refusal("A", 10.75) == ("model A could not be loaded: exited with code 3; next try in 1 s", 0.25)
    assert failures.refusal("A", 11.0) is None
    assert failures.refusal("B", 10.0) is None


def test_the_second_failure_in_a_row_says_that_it_keeps_failing() -> None:
    failures = ModelFailures()
    failures.note_failed_load("A", "exited with code 3", 0.0)
    failures.note_failed_load("A", "exited with code 4", 5.0)
    assert failures.refusal("A", 5.5) == ("model A keeps failing to load: exited with code 4; next try in 2 s", 1.5)


def test_a_load_that_succeeds_ends_the_count_of_failed_loads() -> None:
    failures = ModelFailures()
    for _ in range(4):
        failures.note_failed_load("A", "exited", 0.0)
    failures.note_ready("A")
    assert failures.note_failed_load("A", "exited", 20.0) == 1


def test_the_first_early_crash_costs_nothing_and_each_further_one_doubles_the_backoff() -> None:
    failures = ModelFailures()
    told = []
    for _ in range(9):
        failures.note_ready("A")
        told.append(failures.note_crash("A", "killed", 0.5, 0.0))
    assert told == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    text = "model A keeps dying: killed 0.5 s after it was ready; next try in 60 s"
    assert failures.refusal("A", 0.0) == (text, 60.0)


def test_a_life_that_is_not_short_ends_the_count_of_crashes() -> None:
    failures = ModelFailures()
    for ready_time in (4.9, 4.9, 5.0):
        failures.note_crash("A", "killed", ready_time, 0.0)
    assert failures.refusal("A", 0.0) is None
    assert failures.note_crash("A", "killed", 4.9, 0.0) == 0
    assert failures.note_crash("A", "killed", 4.9, 0.0) == 1


def test_crashes_and_failed_loads_add_up() -> None:
    failures = ModelFailures()
    failures.note_crash("A", "killed", 1.0, 0.0)
    assert failures.note_failed_load("A", "exited", 0.0) == 1
    failures.note_ready("A")
    assert failures.note_crash("A", "killed", 1.0, 0.0) == 1
    assert failures.note_failed_load("A", "exited", 0.0) == 2


def test_a_pardon_ends_everything_and_only_for_whom_it_is() -> None:
    failures = ModelFailures()
    for model in "AB":
        failures.note_failed_load(model, "exited", 0.0)
    failures.pardon(["A", "C"])
    assert failures.refusal("A", 0.0) is None
    assert failures.refusal("B", 0.0) is not None
    assert failures.note_failed_load("A", "exited", 0.0) == 1


def test_a_model_is_shown_to_fail_from_the_first_failed_load_to_the_first_that_succeeds() -> None:
    failures = ModelFailures()
    assert failures.failing == {}
    failures.note_failed_load("A", "exited with code 3", 10.0)
    assert failures.failing == {"A": ModelFailure("could not be loaded: exited with code 3", 10.0, 1, 11.0)}
    failures.note_failed_load("A", "exited with code 4", 12.0)
    assert failures.failing == {"A": ModelFailure("keeps failing to load: exited with code 4", 10.0, 2, 14.0)}
    failures.note_ready("A")
    assert failures.failing == {}
    failures.note_failed_load("A", "exited with code 5", 20.0)
    assert failures.failing["A"].since == 20.0


def test_one_early_death_is_no_failure_to_be_shown_and_the_second_is_until_it_is_ready_again() -> None:
    failures = ModelFailures()
    failures.note_crash("A", "killed", 1.0, 10.0)
    assert failures.failing == {}
    failures.note_crash("A", "killed", 1.0, 12.0)
    assert failures.failing == {"A": ModelFailure("keeps dying: killed 1.0 s after it was ready", 12.0, 1, 13.0)}
    failures.note_ready("A")
    assert failures.failing == {}
    failures.note_crash("A", "killed", 1.0, 15.0)
    assert (failures.failing["A"].since, failures.failing["A"].tries) == (12.0, 2)
    failures.note_ready("A")
    failures.note_crash("A", "killed", 99.0, 200.0)
    assert failures.failing == {}


def test_a_pardon_ends_what_is_shown_and_what_was_shown_before_does_not_change() -> None:
    failures = ModelFailures()
    failures.note_failed_load("A", "exited", 10.0)
    failures.note_failed_load("B", "exited", 10.0)
    shown = failures.failing
    failures.pardon(["A", "C"])
    assert failures.failing.keys() == {"B"}
    assert shown.keys() == {"A", "B"}
