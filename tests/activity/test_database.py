"""One database: what is stored comes back, what is counted agrees with it, ids only rise, versions move up."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.activity.database import BLOCK_ROWS, Database, UnusableStore, open_file, open_memory, select_rows
from llamaswap_lib.activity.periods import ALL_MODELS, PERIOD_SECONDS, SUMS
from llamaswap_lib.activity.row import Row
from llamaswap_lib.activity.schema import FIELDS, SPEED_KINDS, STEPS, bucket_of, lowest_of
from tests.activity.rows import BEGIN, row


@pytest.fixture
def database() -> Iterator[Database]:
    database = open_memory()
    yield database
    database.close()


def rows_of(database: Database) -> list[Row]:
    return select_rows(database.connection, "ORDER BY id")


def test_a_row_comes_back_as_it_was_but_for_its_id_and_its_capture(database: Database) -> None:
    given_row = row(
        model="org/m", error="it broke", selector="s", session="chat 1", key="key-1", remote_ip="10.0.0.1",
        behind="other", prompt_per_second=70.5, tokens_per_second=30.25, is_local=True, retries=2,
    )  # fmt: skip
    (stored,) = database.insert([given_row])
    assert stored == given_row._replace(id=1)
    assert rows_of(database) == [given_row._replace(id=1)]


def test_rows_without_a_priority_or_a_model_come_back_too(database: Database) -> None:
    database.insert([row(priority=None, model="")])
    assert (rows_of(database)[0].priority, rows_of(database)[0].model) == (None, "")


def test_ids_rise_after_rows_were_removed_and_after_all_were(database: Database) -> None:
    assert [one.id for one in database.insert([row(), row(), row()])] == [1, 2, 3]
    assert database.remove_oldest(2) == 2
    assert [one.id for one in database.insert([row()])] == [4]
    assert database.clear() == 2
    assert rows_of(database) == []
    assert [one.id for one in database.insert([row()])] == [5]


def test_ids_that_are_higher_are_kept_and_others_are_given_anew(database: Database) -> None:
    assert [one.id for one in database.insert([row(id=7), row(id=3), row(id=9)])] == [7, 8, 9]
    database.go_on_from(20)
    database.go_on_from(15)
    assert [one.id for one in database.insert([row()])] == [21]


def test_what_cannot_be_stored_as_it_is_is_stored_as_near_as_can_be(database: Database) -> None:
    database.insert(
        [
            row(
                model="half \ud800", error="zero \0 byte", input_tokens=2**70, output_tokens=-(2**70),
                prompt_per_second=math.nan, tokens_per_second=math.inf, session="ä" * 100_000,
            )
        ]
    )  # fmt: skip
    (found,) = rows_of(database)
    assert (found.model, found.error) == ("half \\ud800", "zero \0 byte")
    assert (found.input_tokens, found.output_tokens) == (2**53, -(2**53))
    assert (found.prompt_per_second, found.tokens_per_second) == (-1, 2**53)
    assert found.session == "ä" * 100_000


@pytest.mark.parametrize(
    "wrong",
    [pytest.param({"input_tokens": "none"}, id="for us"), pytest.param({"content_type": None}, id="for SQLite")],
)
def test_a_failure_in_the_middle_changes_nothing(database: Database, wrong: dict[str, Any]) -> None:
    database.insert([row(model="a")])
    with pytest.raises((TypeError, sqlite3.IntegrityError)):
        database.insert([*[row(model="b")] * (2 * BLOCK_ROWS - 1), row(**wrong)])
    assert [one.model for one in rows_of(database)] == ["a"]
    assert counted(database) == recounted(database)
    assert [one.id for one in database.insert([row(model="b")])] == [2]


EDGE = 1_700_000_100.0  # where one period ends and the next begins
MODELS = st.sampled_from(["a", "b", ""])
ROWS = st.builds(
    row,
    timestamp=st.sampled_from([-1.0, EDGE - 300.0, EDGE - 0.001, math.nextafter(EDGE, 0.0), EDGE]),
    model=MODELS,
    status=st.sampled_from([200, 404, 500]),
    error=st.sampled_from(["", "x", "y"]),
    session=st.sampled_from(["", "s"]),
    input_tokens=st.integers(-1, 5),
    output_tokens=st.integers(-1, 5),
    cache_tokens=st.integers(-1, 5),
    prompt_per_second=st.sampled_from([-1.0, 0.0, 1.0, 70.25]),
    tokens_per_second=st.floats(-1, 1e6),
    first_token_ms=st.integers(-1, 3),
    queue_ms=st.integers(0, 3),
    load_ms=st.integers(0, 3),
)


@given(st.lists(st.tuples(st.lists(ROWS, max_size=6), st.integers(0, 4)), max_size=6))
def test_what_is_counted_agrees_with_the_rows(steps: list[tuple[list[Row], int]]) -> None:
    database = open_memory()
    try:
        for rows, removed in steps:
            if rows:
                database.insert(rows)
            database.remove_oldest(removed)
            assert counted(database) == recounted(database)
            assert_periods_are_right(database)
            assert database.count == len(rows_of(database))
    finally:
        database.close()


def counted(database: Database) -> object:
    """All that is counted in tables of its own."""
    ask = database.connection.execute
    return (
        {(field, text): count for field, text, count in ask("SELECT field, text, count FROM texts")},
        {values[0]: values[1:] for values in ask("SELECT * FROM totals")},
        {values[:3]: values[3] for values in ask("SELECT * FROM speeds")},
    )


def assert_periods_are_right(database: Database) -> None:
    """Of each period that has rows there is a sum; where it says that it is whole, it is that of the rows."""
    cursor = database.connection.execute("SELECT * FROM periods")
    names = [described[0] for described in cursor.description]
    assert names == ["model", "period", "is_whole", *SUMS]
    found = {values[:2]: dict(zip(names, values, strict=True)) for values in cursor}
    rows: dict[tuple[int, int], list[Row]] = {}
    sql = "SELECT model FROM requests WHERE id = ?"
    for one in rows_of(database):
        (model,) = database.connection.execute(sql, (one.id,)).fetchone()
        for number in (model, ALL_MODELS):
            rows.setdefault((number, math.floor(one.timestamp / PERIOD_SECONDS)), []).append(one)
    assert {at: sums["requests"] for at, sums in found.items()} == {at: len(of) for at, of in rows.items()}
    for at, of in rows.items():
        if found[at].pop("is_whole"):
            speeds = [one.tokens_per_second for one in of if one.tokens_per_second > 0]
            waits = [one.first_token_ms for one in of if one.first_token_ms >= 0]
            assert found[at]["errors"] == sum(one.status >= 400 for one in of)
            assert found[at]["input_tokens"] == sum(max(0, one.input_tokens) for one in of)
            assert found[at]["speeds"] == len(speeds)
            assert found[at]["speed"] == pytest.approx(sum(speeds))
            assert found[at]["duration_ms"] == sum(one.duration_ms for one in of)
            assert (found[at]["first_tokens"], found[at]["first_token_ms"]) == (len(waits), sum(waits))
            assert found[at]["max_queue_ms"] == max(one.queue_ms for one in of)
            assert found[at]["load_ms"] == sum(one.load_ms for one in of)


def test_a_period_is_whole_until_one_of_its_rows_is_removed_and_goes_with_the_last(database: Database) -> None:
    def periods() -> list[tuple[int, int]]:
        sql = "SELECT is_whole, requests FROM periods WHERE model = ? ORDER BY period"
        return database.connection.execute(sql, (ALL_MODELS,)).fetchall()

    database.insert([row(timestamp=BEGIN), row(timestamp=BEGIN), row(timestamp=BEGIN + PERIOD_SECONDS)])
    assert periods() == [(1, 2), (1, 1)]
    database.remove_oldest(1)
    assert periods() == [(0, 1), (1, 1)]
    database.insert([row(timestamp=BEGIN)])
    assert periods() == [(0, 2), (1, 1)]
    database.clear()
    assert periods() == []


def test_numbers_without_measure_are_added_up_too(database: Database) -> None:
    for _ in range(3):
        database.insert([row(input_tokens=2**60)] * 1000)
    (found,) = database.connection.execute("SELECT input_tokens FROM periods WHERE model = ?", (ALL_MODELS,))
    assert found[0] == pytest.approx(3000 * 2**53)


def recounted(database: Database) -> object:
    texts: Counter[tuple[int, str]] = Counter()
    totals: dict[int, tuple[int, ...]] = {}
    speeds: Counter[tuple[int, int, int]] = Counter()
    for one in rows_of(database):
        for name, field in FIELDS.items():
            text = getattr(one, name)
            if text or (name == "model" and text is not None):
                texts[field, text] += 1
        texts[13, str(one.status)] += 1
        sql = "SELECT id FROM texts WHERE field = 1 AND text = ?"
        (model,) = database.connection.execute(sql, (one.model,)).fetchone()
        tokens = [max(0, count) for count in (one.input_tokens, one.output_tokens, one.cache_tokens)]
        for number in (model, ALL_MODELS):
            before = totals.get(number, (0, 0, 0, 0))
            totals[number] = tuple(map(sum, zip(before, (1, *tokens), strict=True)))
            for name, kind in SPEED_KINDS.items():
                if (speed := getattr(one, name)) > 0:
                    speeds[kind, number, bucket_of(speed)] += 1
    return (dict(texts), totals, dict(speeds))


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_a_speed_is_in_its_bucket(speed: float) -> None:
    bucket = bucket_of(speed)
    assert lowest_of(bucket) <= speed < lowest_of(bucket + 1)
    assert lowest_of(bucket + 1) / lowest_of(bucket) < 1.0021


def test_a_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    database = open_file(path)
    try:
        database.insert([row()])
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
        assert modes == dict.fromkeys(("activity.db", "activity.db-wal", "activity.db-shm"), 0o600)
    finally:
        database.close()
    path.chmod(0o644)
    open_file(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_was_removed_is_not_in_the_file_any_more(tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    database = open_file(path)
    try:
        database.insert([row(model="a name to be forgotten")] * 3)
        assert any(b"a name to be forgotten" in file.read_bytes() for file in tmp_path.iterdir())
        database.clear()
        assert not any(b"a name to be forgotten" in file.read_bytes() for file in tmp_path.iterdir())
    finally:
        database.close()


# -- versions --

OLDER = sorted(Path(__file__).parent.glob("version_*.sql"))


@pytest.mark.parametrize("text", OLDER, ids=lambda path: path.stem)
def test_a_file_of_any_version_is_read_and_written(text: Path, tmp_path: Path) -> None:
    assert len(OLDER) == len(STEPS)
    path = tmp_path / "activity.db"
    old = sqlite3.connect(path)
    old.executescript(text.read_text())
    old.close()
    database = open_file(path)
    try:
        assert [(one.id, one.model, one.session, one.priority) for one in rows_of(database)] == [
            (1, "m", "", "0"), (2, "org/n", "chat", None),
        ]  # fmt: skip
        database.insert([row(model="m")])
        assert counted(database) == recounted(database)
        assert_periods_are_right(database)
        named = database.connection.execute("SELECT model, status FROM activity ORDER BY id").fetchall()
        assert named == [("m", 200), ("org/n", 500), ("m", 200)]
    finally:
        database.close()


def test_an_older_file_gets_the_steps_that_it_lacks_and_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    database = open_file(path)
    database.insert([row(model="kept")])
    database.close()
    more = "ALTER TABLE requests ADD COLUMN note TEXT;\nCREATE INDEX requests_by_note ON requests (note);\n"
    database = open_file(path, steps=(*STEPS, more))
    try:
        assert [one.model for one in rows_of(database)] == ["kept"]
        assert database.connection.execute("SELECT note FROM requests").fetchall() == [(None,)]
    finally:
        database.close()
    with pytest.raises(UnusableStore, match="newer llamaswap"):
        open_file(path)


def test_a_step_that_fails_leaves_the_older_version(tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    open_file(path).close()
    with pytest.raises(sqlite3.OperationalError):
        open_file(path, steps=(*STEPS, "CREATE TABLE more (id INTEGER);\nnonsense;\n"))
    database = open_file(path)
    try:
        assert not database.connection.execute("SELECT * FROM sqlite_master WHERE name = 'more'").fetchall()
    finally:
        database.close()


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    other = sqlite3.connect(path)
    other.executescript("CREATE TABLE metrics (id INTEGER); INSERT INTO metrics VALUES (1);")
    other.close()
    before = path.read_bytes()
    with pytest.raises(UnusableStore, match="another program"):
        open_file(path)
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]
