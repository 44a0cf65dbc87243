"""Activity at an upgrade: another journal goes on with the rows of one that pauses, and gets those that come later."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.activity.journal import Journal, JournalSettings
from llamaswap_lib.activity.query import read_query
from llamaswap_lib.activity.record import Record
from llamaswap_lib.activity.row import COLUMNS, Row, row_of_values, rows_of_table
from llamaswap_lib.activity.store import Store, StoreSettings
from tests.activity.rows import DEADLINE, record, row

KEPT = 1 << 20


def settings(path: Path | None) -> JournalSettings:
    return JournalSettings(StoreSettings(path), KEPT)


@contextmanager
def running(journal: Journal) -> Iterator[Journal]:
    journal.start()
    try:
        yield journal
    finally:
        assert journal.close(DEADLINE)


def models_of(journal: Journal) -> list[tuple[int, str, bool]]:
    """Of each row, the newest first: id, model, and whether there is a capture."""
    return [
        (found["id"], found["model"], found["has_capture"])
        for found in journal.page(read_query("page=1&limit=50"))["data"]
    ]


def whole(capture: Iterator[bytes] | None) -> Any:
    assert capture is not None, "nothing was captured"
    return json.loads(b"".join(capture))


def note(journal: Journal, *models: str) -> None:
    for model in models:
        journal.append(partial(record, model=model))


def sent(told: Mapping[str, Any]) -> Any:
    """As it comes in another process."""
    return json.loads(json.dumps(told))


@pytest.fixture(params=["memory", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return None if request.param == "memory" else tmp_path / "rows.db"


def test_another_one_goes_on_with_rows_ids_and_captures(path: Path | None) -> None:
    with running(Journal(settings(path))) as old:
        note(old, "a", "b")
        told = sent(old.pause())
        new = Journal(settings(path))
        new.inherit(told)
        with running(new):
            note(new, "c")
            assert models_of(new) == [(3, "c", True), (2, "b", True), (1, "a", True)]
            assert whole(new.capture(1)) == whole(old._captures.get(1))
            old.hand_on(lambda values, packed: new.take(sent(values), packed))
            note(old, "d", "e")
            assert old._writer.flush(DEADLINE)
            assert [model for _, model, _ in models_of(new)] == ["e", "d", "c", "b", "a"]
            assert [has_capture for *_, has_capture in models_of(new)] == [True] * 5
            note(new, "f")
            assert models_of(new)[0] == (6, "f", True)


def test_one_that_goes_on_itself_has_lost_nothing(path: Path | None) -> None:
    with running(Journal(settings(path))) as old:
        note(old, "a")
        old.pause()
        note(old, "b")
        old.go_on()
        note(old, "c")
        assert models_of(old) == [(3, "c", True), (2, "b", True), (1, "a", True)]


def test_who_pauses_has_closed_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    with running(Journal(settings(path))) as old:
        note(old, "a")
        old.pause()
        assert not path.with_name("rows.db-wal").exists()  # the last connection that writes has taken it away
        old.go_on()


def test_rows_of_a_file_that_could_not_be_written_go_to_the_one_that_can(tmp_path: Path) -> None:
    path = tmp_path / "no" / "rows.db"
    with running(Journal(settings(path))) as old:
        note(old, "a", "b")
        assert len(models_of(old)) == 2
        told = sent(old.pause())
        assert len(told["rows"]) == 2
        path.parent.mkdir()
        new = Journal(settings(path))
        new.inherit(told)
        with running(new):
            note(new, "c")
            assert models_of(new) == [(3, "c", True), (2, "b", True), (1, "a", True)]
            assert path.exists()
        old.hand_on(lambda _values, _packed: None)


def test_a_journal_that_has_no_rows_hands_on_none() -> None:
    with running(Journal(settings(None))) as old:
        told = sent(old.pause())
        new = Journal(settings(None))
        new.inherit(told)
        with running(new):
            assert models_of(new) == []
            note(new, "a")
            assert models_of(new) == [(1, "a", True)]
        old.go_on()


def test_listeners_hear_of_rows_that_come_from_elsewhere() -> None:
    heard: list[str] = []
    new = Journal(settings(None))
    new.listen(lambda rows: heard.extend(one.model for one in rows))
    with running(new):
        new.take(row(model="far")._asdict(), None)
        assert models_of(new) == [(1, "far", False)]
        assert heard == ["far"]


def test_a_row_of_another_version_is_read_as_far_as_it_is_known() -> None:
    whole = row(model="m")
    older = {name: value for name, value in whole._asdict().items() if name not in ("retries", "behind", "priority")}
    assert row_of_values({**older, "of_the_future": 1}) == whole._replace(retries=-1, behind="", priority=None)
    assert rows_of_table([*older], [[*older.values()]]) == [row_of_values(older)]
    assert rows_of_table([*COLUMNS], [[*whole]]) == [whole]
    kinds = {type(value) for value in row_of_values({})}
    assert kinds == {int, float, str, bool, type(None)}
    assert len(Row._make(row_of_values({}))) == len(COLUMNS)


def test_rows_that_one_process_makes_another_one_stores(path: Path | None) -> None:
    parent = Journal(settings(path))
    places: list[int] = []
    heard: list[str] = []

    def take(records: Sequence[Record], rows: Sequence[Row]) -> None:
        places.extend(one.number for one in records)
        parent.take_all(*pickle.loads(pickle.dumps((rows, [one if one.captures else None for one in records]))))  # noqa: S301 - our own

    parent.listen(lambda rows: heard.extend(one.model for one in rows))
    worker = Journal(settings(None))
    worker.hand_to(take)
    parent.gather = worker.flush
    with running(parent), running(worker):
        worker.append(partial(record, model="a", number=5), 0)
        worker.append(partial(record, model="b", number=6, captures=False), 0)
        assert models_of(parent) == [(2, "b", False), (1, "a", True)]
        assert (places, heard) == ([5, 6], ["a", "b"])
        assert whole(parent.capture(1))["req_path"] == record().path
        assert models_of(worker) == []


def test_rows_that_a_worker_makes_go_to_who_has_taken_over_from_its_parent(path: Path | None) -> None:
    with running(Journal(settings(path))) as parent:
        told = sent(parent.pause())
        parent.take_all([row(model="a")], [record(model="a")])
        new = Journal(settings(path))
        new.inherit(told)
        with running(new):
            parent.hand_on(lambda values, packed: new.take(sent(values), packed))
            parent.take_all([row(model="b")], [None])
            assert parent._writer.flush(DEADLINE)
            assert models_of(new) == [(2, "b", False), (1, "a", True)]


def test_a_store_whose_file_another_process_has_rests_until_it_comes_back(tmp_path: Path) -> None:
    store = Store(StoreSettings(tmp_path / "rows.db"))
    store.open()
    try:
        store.write([row()])
        store.leave()
        assert store.tend() is None
        store.come_back()
        assert [one.id for one in store.write([row()])] == [2]
    finally:
        store.close()
