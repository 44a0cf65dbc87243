"""What `/metrics` counts: requests from their rows, and runs from what the controller tells."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from llamaswap_lib.activity.counters import EACH_TOKEN, FIRST_TOKEN, REQUEST, Counters
from llamaswap_lib.activity.exposition import Family, written
from llamaswap_lib.activity.meter import row_of
from llamaswap_lib.activity.record import Ended, Record
from llamaswap_lib.activity.row import Row
from llamaswap_lib.core.eviction import Explanation
from llamaswap_lib.core.run import RunState
from llamaswap_lib.core.snapshot import RunView

ROW = row_of(Record(0.0, 1.0, "a", "/v1/chat/completions", "POST", 200, Ended.COMPLETE))

GROUP = Explanation("group g runs one model at a time", reasons={"a": "group g"})


def run_view(state: str, ready_at: float | None = None) -> RunView:
    """A run of `a` that was started at 80, and has been loading since 90."""
    return RunView(1, "a", 1, state, RunState(state), 80.0, ready_at, loading_since=90.0)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def counters(clock: Clock | None = None) -> Counters:
    return Counters({"a", "b", "p/remote"}.__contains__, clock or Clock())


def lines(counters: Counters) -> set[str]:
    return {line for line in written(counters.families(), is_open=False).decode().splitlines() if line[0] != "#"}


def row(**fields: Any) -> Row:
    return ROW._replace(**fields)


def family(counters: Counters, name: str) -> Family:
    return next(family for family in counters.families() if family.name == name)


def values(counters: Counters, name: str, suffix: str) -> dict[str, float]:
    """By model."""
    samples = family(counters, name).samples
    return {dict(sample.labels)["model"]: sample.value for sample in samples if sample.suffix == suffix}


def test_requests_are_counted_by_model_status_and_ending() -> None:
    counted = counters()
    counted.observe([row(), row(), row(status=404, ended="refused", model="nope"), row(model="p/remote")])
    assert {
        'llamaswap_requests_total{model="a",status="200",ended="complete"} 2',
        'llamaswap_requests_total{model="p/remote",status="200",ended="complete"} 1',
        'llamaswap_requests_total{model="other",status="404",ended="refused"} 1',
    } <= lines(counted)


def test_a_client_that_left_before_an_answer_counts_as_499() -> None:
    counted = counters()
    counted.observe([row(status=502, ended="client_left", first_byte_ms=-1)])
    counted.observe([row(status=200, ended="client_left", first_byte_ms=-1), row(status=502, ended="upstream_broke")])
    assert {
        'llamaswap_requests_total{model="a",status="499",ended="client_left"} 1',
        'llamaswap_requests_total{model="a",status="200",ended="client_left"} 1',
        'llamaswap_requests_total{model="a",status="502",ended="upstream_broke"} 1',
    } <= lines(counted)


def test_clients_cannot_make_series_by_inventing_names() -> None:
    counted = counters()
    counted.observe([row(model=f"name {number}") for number in range(100)])
    assert values(counted, "llamaswap_request_duration_seconds", "_count") == {"other": 100}


def test_tokens_are_counted_where_they_are_reported() -> None:
    counted = counters()
    counted.observe([row(input_tokens=7, output_tokens=5, cache_tokens=-1), row(input_tokens=1, cache_tokens=3)])
    tokens = family(counted, "llamaswap_tokens")
    assert {sample.labels[1][1]: sample.value for sample in tokens.samples} == {"input": 8, "output": 5, "cached": 3}


def test_durations_fall_into_their_buckets() -> None:
    counted = counters()
    counted.observe([row(duration_ms=10), row(duration_ms=11), row(duration_ms=900_000)])
    samples = family(counted, "llamaswap_request_duration_seconds").samples
    by_bound = {dict(sample.labels)["le"]: sample.value for sample in samples if sample.suffix == "_bucket"}
    assert (by_bound["0.01"], by_bound["0.02"], by_bound["600.0"], by_bound["+Inf"]) == (1, 2, 2, 3)
    assert values(counted, "llamaswap_request_duration_seconds", "_sum") == {"a": pytest.approx(900.021)}


def test_only_streams_have_a_first_token() -> None:
    counted = counters()
    counted.observe([row(first_token_ms=-1), row(first_token_ms=250)])
    assert values(counted, "llamaswap_time_to_first_token_seconds", "_sum") == {"a": 0.25}


def test_the_time_of_a_token_is_the_upstreams_or_as_we_saw_it() -> None:
    counted = counters()
    fast = row(tokens_per_second=50.0, seen_per_second=10.0, output_tokens=9)
    counted.observe([fast, row(tokens_per_second=-1, seen_per_second=10.0, output_tokens=9)])
    counted.observe([row(tokens_per_second=50.0, output_tokens=1), row(tokens_per_second=0.0, output_tokens=9)])
    assert values(counted, "llamaswap_time_per_output_token_seconds", "_sum") == {"a": pytest.approx(0.12)}
    assert values(counted, "llamaswap_time_per_output_token_seconds", "_count") == {"a": 2}


def test_bounds_go_on_to_ten_minutes() -> None:
    assert REQUEST[-1] == FIRST_TOKEN[-1] == 600.0
    lists: tuple[tuple[float, ...], ...] = (REQUEST, FIRST_TOKEN, EACH_TOKEN)
    for bounds in lists:
        assert list(bounds) == sorted(set(bounds))


# -- runs --


def test_a_load_is_counted_once_it_is_ready() -> None:
    counted = counters()
    starting = run_view("starting")
    ready = run_view("ready", 93.5)
    for runs in ((), (starting,), (ready,), (ready,), (run_view("stopping", 93.5),), ()):
        counted.note_runs(runs, ())
    assert values(counted, "llamaswap_load_duration_seconds", "_sum") == {"a": 3.5}
    assert values(counted, "llamaswap_load_duration_seconds", "_count") == {"a": 1}


def test_a_stop_is_counted_once_it_is_over() -> None:
    clock = Clock()
    counted = counters(clock)
    run = run_view("ready", 93.5)
    counted.note_runs([run], ())
    counted.note_stop(1, "a", "swap")
    clock.now = 104.0
    counted.note_runs([run_view("stopping", 93.5)], ())
    assert values(counted, "llamaswap_stop_duration_seconds", "_count") == {}
    counted.note_runs([], ())
    counted.note_runs([], ())
    assert values(counted, "llamaswap_stop_duration_seconds", "_sum") == {"a": 4.0}
    assert 'llamaswap_evictions_total{model="a",reason="swap"} 1' in lines(counted)


def test_a_model_that_is_put_to_sleep_is_counted_apart_from_those_that_are_told_to_end() -> None:
    counted = counters()
    falling = run_view("falling asleep", 93.5)
    counted.note_swap("b", Explanation("b needs 2 GB", reasons={"a": "holds 2 GB"}, room="2 GB", for_room=("a",)))
    for runs in ((), (run_view("ready", 93.5),), (falling,), (falling,), (run_view("sleeping", 93.5),)):
        counted.note_runs(runs, ())
    counted.note_swap("b", GROUP)
    for state in ("ready", "falling asleep"):
        counted.note_runs((run_view(state, 93.5),), ())
    found = {line for line in lines(counted) if line.startswith(("llamaswap_sleeps", "llamaswap_evictions"))}
    assert found == {
        'llamaswap_sleeps_total{model="a",reason="memory"} 1',
        'llamaswap_sleeps_total{model="a",reason="swap"} 1',
    }


def test_one_that_was_falling_asleep_when_another_process_took_over_is_not_counted_again() -> None:
    counted = counters()
    counted.note_runs((run_view("falling asleep", 93.5),), ())
    assert values(counted, "llamaswap_sleeps", "_total") == {}


def test_what_goes_for_memory_is_told_apart_from_what_goes_by_rules() -> None:
    counted = counters()
    why = Explanation("b needs 2 GB", reasons={"a": "holds 2 GB", "c": "group g"}, room="2 GB", for_room=("a",))
    counted.note_swap("b", why)
    for run_id, model in enumerate("ac"):
        counted.note_stop(run_id, model, "swap")
    counted.note_swap("b", why)
    counted.note_stop(2, "a", "unload")  # it went for another reason, and next time by a rule
    counted.note_stop(3, "a", "swap")
    counted.note_swap("b", why)
    counted.note_swap("b", GROUP)  # that one was given up
    counted.note_stop(4, "a", "swap")
    assert {
        'llamaswap_evictions_total{model="a",reason="memory"} 1',
        'llamaswap_evictions_total{model="a",reason="swap"} 2',
        'llamaswap_evictions_total{model="a",reason="unload"} 1',
        'llamaswap_evictions_total{model="c",reason="swap"} 1',
        'llamaswap_swaps_total{model="b",reason="memory"} 3',
    } <= lines(counted)


def test_failures_are_counted_as_they_come() -> None:
    counted = counters()
    for tries in ({}, {"a": 1}, {"a": 1, "b": 1}, {"a": 2, "b": 2}, {"a": 3}, {}, {"a": 1}):
        counted.note_runs([], [(model, count, 100.0) for model, count in tries.items()])
    failures = {'llamaswap_start_failures_total{model="a"} 4', 'llamaswap_start_failures_total{model="b"} 2'}
    assert failures <= lines(counted)


def test_one_that_loads_and_dies_again_and_again_has_failed_once_each_time() -> None:
    counted = counters()
    for tries in ({}, {"a": 1}, {}, {"a": 2}, {}, {"a": 3}):  # while it serves it does not fail
        counted.note_runs([], [(model, count, 100.0) for model, count in tries.items()])
    assert values(counted, "llamaswap_start_failures", "_total") == {"a": 3}


def test_what_was_loaded_and_has_failed_before_this_process_took_over_is_not_counted_again() -> None:
    counted = counters()
    moved = RunView(1, "a", 1, "ready", RunState.READY, 80.0, 93.5, loading_since=95.0)  # it was ready where it was
    counted.note_runs([moved], [("b", 3, 99.0)])
    assert values(counted, "llamaswap_load_duration_seconds", "_sum") == {}
    assert values(counted, "llamaswap_start_failures", "_total") == {}
    counted.note_runs([moved], [("b", 4, 99.0)])
    assert values(counted, "llamaswap_start_failures", "_total") == {"b": 1}


def test_swaps_and_reloads_are_counted() -> None:
    counted = counters()
    counted.note_swap("b", GROUP)
    counted.note_reload("failure")
    assert {
        'llamaswap_swaps_total{model="b",reason="group"} 1',
        'llamaswap_config_reloads_total{result="success"} 0',
        'llamaswap_config_reloads_total{result="failure"} 1',
    } <= lines(counted)


def test_counting_and_asking_at_once_loses_nothing() -> None:
    counted = counters()

    def count() -> None:
        for _ in range(500):
            counted.observe([row()])

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        written(counted.families(), is_open=True)
    for thread in threads:
        thread.join()
    assert values(counted, "llamaswap_request_duration_seconds", "_count") == {"a": 2_000}
