"""What the table of costs makes of its measurements; nothing is measured here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.bench import rendering, table
from tests.bench.results import Results, Took
from tests.bench.rig import LoadFailedError
from tests.bench.rows import ROWS, Bound, Figure, Row, at_most, share_at_least, share_at_most
from tests.bench.subjects import Place, Setup, Subject, Target, filled
from tests.bench.table import Table

TIME, RATE, BYTES = ROWS[0], ROWS[1], next(row for row in ROWS if row.name == "idle")
WHO = [
    Took("direct", "direct", ""),
    Took("nginx", "proxy", "1.2"),
    Took("old", "ours", "0.1"),
    Took("new", "ours", "0.2 at abc"),
]


def results(row: Row, *figures: Mapping[str, Sequence[float]], failures: Mapping[str, str] | None = None) -> Results:
    values = {figure.key: found for figure, found in zip(row.figures, figures, strict=False)}
    failed = {row.name: failures} if failures else {}
    return Results("a machine", "3.12", "2026-01-02", 0.1, 3, WHO, ["llama-swap"], {row.name: values}, failed)


def test_a_ratio_is_taken_within_each_run_and_then_the_median() -> None:
    found = results(TIME, {"direct": [100, 200, 100], "new": [150, 600, 200]})
    ratio = found.ratio(TIME, TIME.figures[0], "new")
    assert ratio is not None
    assert (ratio.low, ratio.middle, ratio.high) == (1.5, 2.0, 3.0)


def test_a_ratio_over_nothing_is_none() -> None:
    found = results(TIME, {"direct": [0, 1, 1], "new": [1, 1, 1]})
    assert found.ratio(TIME, TIME.figures[0], "new") is None
    assert found.ratio(TIME, TIME.figures[0], "nginx") is None


@pytest.mark.parametrize(
    ("bound", "ours", "is_kept"),
    [
        (share_at_most(2), 200, True),
        (share_at_most(2), 201, False),
        (share_at_least(0.5), 50, True),
        (share_at_least(0.5), 49, False),
        (at_most(70), 70, True),
        (at_most(70), 71, False),
    ],
)
def test_a_bound_is_kept_up_to_its_limit(bound: Bound, ours: float, is_kept: bool) -> None:
    figure = dataclasses.replace(TIME.figures[0], bound=bound)
    found = results(TIME, {"direct": [100], "new": [ours]})
    assert found.is_kept(TIME, figure, "new") is is_kept


def test_what_was_not_measured_keeps_no_bound() -> None:
    found = results(RATE, {"direct": [100], "old": [100]}, failures={"new": "failed: 503"})
    assert [(row.name, ours.name) for row, _, ours in found.missed()] == [(RATE.name, "new")]


def test_results_are_the_same_after_they_have_been_saved() -> None:
    found = results(BYTES, {"nginx": [1.5]}, {"nginx": [0]}, failures={"new": "failed: why"})
    assert Results.from_json(found.to_json()) == found


def test_a_row_shows_ranges_ratios_to_direct_and_to_the_first_checkout_and_what_is_missed() -> None:
    found = results(
        TIME, {"direct": [100, 100, 100], "nginx": [120, 120, 120], "old": [400, 400, 400], "new": [200, 200, 210]}
    )
    _, heading, direct, nginx, old, new = rendering.block(found, TIME).splitlines()
    assert heading == "  us, must be at most 2.2 of direct"
    assert direct.split() == ["direct", "100", "(100", "to", "100)"]
    assert nginx.endswith("1.20 (1.20 to 1.20) of direct")
    assert old.endswith("4.00 (4.00 to 4.00) of direct  MISSED")
    assert new.split()[:4] == ["new", "200", "(200", "to"]
    assert new.endswith("2.00 (2.00 to 2.10) of direct  0.50 (0.50 to 0.53) of old")


def test_a_row_says_why_somebody_has_no_figures() -> None:
    found = results(RATE, {"direct": [100]}, failures={"nginx": "failed: 3 of 4 requests failed: EOF"})
    assert "nginx            failed: 3 of 4 requests failed: EOF" in rendering.block(found, RATE)


def test_the_last_line_counts_the_bounds_of_every_checkout_and_names_those_missed() -> None:
    found = results(TIME, {"direct": [100], "old": [300], "new": [100]})
    assert rendering.verdict(found) == "2 bounds, 1 missed: one us of old"
    assert rendering.verdict(dataclasses.replace(found, subjects=[WHO[0], WHO[3]])) == "1 bound, 0 missed"


def test_the_table_of_the_readme_has_a_line_for_each_of_its_rows_with_all_figures() -> None:
    found = results(BYTES, {"nginx": [473], "new": [5000, 4000, 5100]}, {"nginx": [0], "new": [0]})
    assert rendering.short_table(found).splitlines()[-1] == (
        "| 5,000 idle connections, each | – | 473 bytes; 0 threads | 5,000 bytes (4,000 to 5,100); 0 threads (0 to 0) |"
    )


def test_the_table_of_the_readme_says_what_ours_is_of_direct() -> None:
    found = results(RATE, {"direct": [100], "nginx": [80], "new": [40]})
    assert rendering.short_table(found).splitlines()[-1] == (
        "| 8 kept-alive clients | 100 a second | 80 a second | 40 a second, 0.40 (0.40 to 0.40) of direct |"
    )


def test_the_full_table_has_no_details() -> None:
    found = results(TIME, {"direct": [100], "new": [200]}, {"new": [70]})
    *lines, last = rendering.full_table(found).splitlines()
    assert last == (
        "| `one`: one kept-alive client; us | 100 (100 to 100) | – | 200 (200 to 200) "
        "| 2.00 (2.00 to 2.00) | at most 2.2 of direct |"
    )
    assert not [line for line in lines if "processor" in line]


def test_a_busy_machine_is_named_so() -> None:
    found = results(TIME, {"direct": [100]})
    assert rendering.where(found) == "3 runs on a machine; llamaswap 0.2, Python 3.12, 2026-01-02"
    assert rendering.where(dataclasses.replace(found, load=3.0)).endswith("; a busy machine, load average 3")


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (2.0, "2"), (0.125, "0.12"), (12.34, "12.3"), (123.4, "123"), (45600, "45,600")]
)
def test_numbers_have_the_digits_that_count(value: float, text: str) -> None:
    assert rendering.number(value) == text


def test_a_block_of_a_page_is_replaced_up_to_the_next_end() -> None:
    page = "a\n<!-- made by x -->\nold\n<!-- until here -->\nb\n<!-- made by y -->\nz\n<!-- until here -->\n"
    assert rendering.with_block(page, "y", "new") == page.replace("z", "new")
    assert rendering.with_block(page, "x", "new") == page.replace("old", "new")


# -- how runs are made --


class Recorder:
    """Subjects that only note that they were started, and a row that fails for one of them."""

    def __init__(self, failing: str = "") -> None:
        self.started: list[str] = []
        self.row = Row("one", "a row", [Figure("us", "us")], self._measure)
        self._failing = failing
        self.subjects = [
            Subject(name, kind, "", self._start(name))
            for name, kind in (("direct", "direct"), ("a", "proxy"), ("b", "ours"))
        ]

    def _start(self, name: str) -> Callable[[Place, Setup], AbstractContextManager[Target]]:
        @contextmanager
        def start(_: Place, __: Setup) -> Iterator[Target]:
            self.started.append(name)
            yield Target(name, "")

        return start

    def _measure(self, target: Target, _: float) -> Mapping[str, float]:
        if target.url == self._failing:
            raise LoadFailedError("no answer")
        return {"us": float(len(self.started))}


def measured(recorder: Recorder, runs: int) -> Results:
    made = Table(recorder.subjects, [], runs)
    made.measure(recorder.row, Place(Path(), "", ""), 1.0)
    return made.results


def test_in_each_run_another_one_goes_first() -> None:
    recorder = Recorder()
    found = measured(recorder, 3)
    assert recorder.started == ["direct", "a", "b", "a", "b", "direct", "b", "direct", "a"]
    assert found.values["one"]["us"] == {"direct": [1, 6, 8], "a": [2, 4, 9], "b": [3, 5, 7]}


def test_who_fails_is_not_measured_again_and_the_others_are() -> None:
    recorder = Recorder(failing="a")
    found = measured(recorder, 2)
    assert recorder.started == ["direct", "a", "b", "b", "direct"]
    assert found.failures == {"one": {"a": "failed: no answer"}}
    assert set(found.values["one"]["us"]) == {"direct", "b"}


def test_rows_have_names_of_their_own() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert set(rendering.SHORT) <= set(names)


@pytest.mark.parametrize(
    "arguments", [["--rows", "one,nothing"], ["--write", "--rows", "one"], ["--write", "--tree", "a", "--tree", "b"]]
)
def test_arguments_that_make_no_sense_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        table.command_line(arguments)
    assert ": error: " in capsys.readouterr().err


def test_a_configuration_is_written_with_its_values(tmp_path: Path) -> None:
    path = filled(tmp_path / "c", "<folder>/x <port> <other>", port=80)
    assert path.read_text() == f"{tmp_path}/x 80 <other>"
