"""The writer's thread: rows in order, at once after a rest and in batches otherwise, whatever fails beside them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from llamaswap_lib.activity import writer as writer_module
from llamaswap_lib.activity.bare_row import bare_row
from llamaswap_lib.activity.captures import FRESH_BYTES, Captures
from llamaswap_lib.activity.database import Database, open_file, select_rows
from llamaswap_lib.activity.record import Record
from llamaswap_lib.activity.row import Row
from llamaswap_lib.activity.store import Store, StoreSettings
from llamaswap_lib.activity.writer import (
    BATCH_BYTES,
    BATCH_ROWS,
    BUSY_ROWS,
    MOST_WAITING,
    MOST_WAITING_BYTES,
    QUIET_PAUSE,
    Writer,
)
from tests.activity.rows import DEADLINE, record


class Rig:
    """A writer, its store, and what it said."""

    def __init__(self, path: Path | None = None) -> None:
        self.errors: list[str] = []
        self.batches: list[list[Row]] = []
        self.has_heard = threading.Event()
        self.may_read = threading.Event()  # the door of `row_of`
        self.may_read.set()
        self.reads = threading.Event()
        self.store = Store(StoreSettings(path))
        self.captures = Captures(1 << 20)
        self.writer = Writer(self.store, self.captures, self.row_of, self.errors.append)
        self.writer.listen(self._hear)

    def row_of(self, record: Record) -> Row:
        self.reads.set()
        assert self.may_read.wait(DEADLINE)
        if record.path == "/unreadable":
            raise ValueError("no such answer")
        row = bare_row(record)._replace(output_tokens=5)
        return row._replace(input_tokens=None) if record.model == "unstorable" else row  # type: ignore[arg-type]

    def _hear(self, rows: Sequence[Row]) -> None:
        self.batches.append([*rows])
        self.has_heard.set()

    def shown(self) -> list[Row]:
        with self.store.reading() as connection:
            return select_rows(connection, "ORDER BY id")


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    rig.writer.start()
    yield rig
    rig.may_read.set()
    assert rig.writer.close(DEADLINE)


def test_a_record_becomes_a_row_and_who_listens_is_told(rig: Rig) -> None:
    rig.writer.append(partial(record, model="a"))
    assert rig.has_heard.wait(DEADLINE)
    assert rig.writer.flush(DEADLINE)
    ((told,),) = rig.batches
    assert (told.id, told.model, told.output_tokens) == (1, "a", 5)
    assert rig.shown() == [told]
    assert rig.captures.has(1)


def test_all_that_was_appended_is_there_after_a_flush_in_its_order(rig: Rig) -> None:
    for number in range(2 * BATCH_ROWS + 7):
        rig.writer.append(partial(record, model=f"m{number}"))
    assert rig.writer.flush(DEADLINE)
    assert [one.model for one in rig.shown()] == [f"m{number}" for number in range(2 * BATCH_ROWS + 7)]
    assert [one.id for batch in rig.batches for one in batch] == [*range(1, 2 * BATCH_ROWS + 8)]
    assert max(map(len, rig.batches)) <= BATCH_ROWS


def test_a_flush_does_not_wait_for_the_next_batch() -> None:
    """The clock stands still, so that a batch would never come."""
    store = Store(StoreSettings())
    writer = Writer(store, Captures(0), bare_row, print, clock=lambda: 0.0)
    writer.start()
    for _ in range(20):  # each would have to wait for a tenth of a second, and is told to hurry
        writer.append(record)
        assert writer.flush(DEADLINE)
    assert writer.close(DEADLINE)


def test_a_flush_gives_up_after_its_time(rig: Rig) -> None:
    rig.may_read.clear()
    rig.writer.append(record)
    assert not rig.writer.flush(0.01)
    rig.may_read.set()
    assert rig.writer.flush(DEADLINE)


def test_a_flush_of_what_does_not_run_is_no_wait() -> None:
    assert not Rig().writer.flush(DEADLINE)


def test_an_answer_that_cannot_be_read_costs_its_row_what_it_said_and_no_more(rig: Rig) -> None:
    for path in ("/good", "/unreadable", "/good"):
        rig.writer.append(partial(record, path=path, model="m", retries=3))
    assert rig.writer.flush(DEADLINE)
    assert [(one.path, one.model, one.output_tokens, one.retries) for one in rig.shown()] == [
        ("/good", "m", 5, 3), ("/unreadable", "m", 0, 3), ("/good", "m", 5, 3),
    ]  # fmt: skip
    (error,) = rig.errors
    assert "no such answer" in error


def test_a_request_that_cannot_be_noted_costs_no_other_one(rig: Rig) -> None:
    def fail() -> Record:
        raise KeyError("lost")

    for make in (record, fail, record):
        rig.writer.append(make)
    assert rig.writer.flush(DEADLINE)
    assert [one.id for one in rig.shown()] == [1, 2]
    (error,) = rig.errors
    assert "lost" in error


def test_a_row_that_cannot_be_stored_in_a_file_costs_no_other_one(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "a.db")
    rig.writer.start()
    for model in ("a", "unstorable", "c"):
        rig.writer.append(partial(record, model=model))
    assert rig.writer.flush(DEADLINE)
    shown = rig.shown()
    assert rig.writer.close(DEADLINE)
    assert [(one.model, one.output_tokens) for one in shown] == [("a", 5), ("unstorable", 0), ("c", 5)]
    (error,) = rig.errors
    assert "storing rows" in error


def test_a_row_that_cannot_be_stored_in_memory_costs_no_other_one(rig: Rig) -> None:
    for model in ("a", "unstorable", "c"):
        rig.writer.append(partial(record, model=model))
    assert rig.writer.flush(DEADLINE)
    assert [one.model for one in rig.shown()] == ["a", "c"]


def test_a_capture_that_cannot_be_compressed_costs_no_row(rig: Rig) -> None:
    rig.writer.append(partial(record, request_body="no bytes", captures=True))
    assert rig.writer.flush(DEADLINE)
    rig.writer.append(partial(record, model="after"))
    assert rig.writer.flush(DEADLINE)
    assert [row.model for row in rig.shown()] == ["m", "after"]
    assert "TypeError" in rig.errors[0]


def test_a_listener_that_fails_costs_nobody_anything() -> None:
    rig = Rig()

    def fail(rows: Sequence[Row]) -> None:
        raise RuntimeError("a bad listener")

    rig.writer = Writer(rig.store, rig.captures, rig.row_of, rig.errors.append)
    rig.writer.listen(fail)
    rig.writer.listen(rig._hear)
    rig.writer.start()
    rig.writer.append(record)
    assert rig.writer.flush(DEADLINE)
    rig.writer.append(record)
    assert rig.writer.close(DEADLINE)
    assert [len(batch) for batch in rig.batches] == [1, 1]
    assert len(rig.errors) == 2
    assert "a bad listener" in rig.errors[0]


def test_all_is_written_at_an_orderly_end(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "activity.db")
    rig.writer.start()
    for number in range(1_000):
        rig.writer.append(partial(record, model=f"m{number}"))
    assert rig.writer.close(DEADLINE)
    database = open_file(tmp_path / "activity.db")
    try:
        assert [one.model for one in select_rows(database.connection, "ORDER BY id")] == [f"m{n}" for n in range(1_000)]
    finally:
        database.close()


def test_the_end_of_what_was_never_started_is_no_wait() -> None:
    assert Rig().writer.close(DEADLINE)


def test_a_job_is_done_after_what_was_appended_before_it(rig: Rig) -> None:
    rig.writer.append(record)
    seen: list[int] = []
    assert rig.writer.do(lambda: seen.append(len(rig.batches)), DEADLINE)
    assert seen == [1]


def test_who_asks_for_a_job_that_fails_gets_its_error(rig: Rig) -> None:
    def fail() -> None:
        raise ValueError("it cannot be done")

    with pytest.raises(ValueError, match="it cannot be done"):
        rig.writer.do(fail, DEADLINE)
    rig.writer.append(record)
    assert rig.writer.flush(DEADLINE)


def test_a_job_that_nobody_waits_for_tells_the_log_of_its_failure(rig: Rig) -> None:
    def fail() -> None:
        raise ValueError("it cannot be done")

    rig.writer.post(fail)
    assert rig.writer.flush(DEADLINE)
    assert "it cannot be done" in rig.errors[0]


def test_records_that_are_too_many_are_lost_and_told(rig: Rig) -> None:
    rig.may_read.clear()
    rig.writer.append(record)
    assert rig.reads.wait(DEADLINE)  # it has taken the first one
    for _ in range(MOST_WAITING + 3):
        rig.writer.append(partial(record, captures=False))
    rig.may_read.set()
    assert rig.writer.flush(DEADLINE)
    rig.writer.append(record)
    assert rig.writer.flush(DEADLINE)
    assert sum(map(len, rig.batches)) == MOST_WAITING + 2
    assert [error for error in rig.errors if "3 requests have no row" in error]


def test_bodies_may_wait_up_to_a_bound_and_those_of_one_request_always(rig: Rig) -> None:
    assert rig.writer.has_room(2 * MOST_WAITING_BYTES)
    rig.may_read.clear()
    rig.writer.append(record, MOST_WAITING_BYTES - 10)
    assert rig.writer.has_room(10)
    assert not rig.writer.has_room(11)
    rig.may_read.set()
    assert rig.writer.flush(DEADLINE)
    assert rig.writer.has_room(2 * MOST_WAITING_BYTES)


def test_what_holds_many_bytes_is_written_in_smaller_batches(rig: Rig) -> None:
    rig.may_read.clear()
    for _ in range(10):
        rig.writer.append(partial(record, captures=False), BATCH_BYTES // 2)
    rig.may_read.set()
    assert rig.writer.flush(DEADLINE)
    assert [len(batch) for batch in rig.batches] == [3, 3, 3, 1]


def test_many_bytes_do_not_wait_for_the_next_batch() -> None:
    """The clock stands still, so that a batch would never come."""
    has_heard = threading.Semaphore(0)
    writer = Writer(Store(StoreSettings()), Captures(0), bare_row, print, clock=lambda: 0.0)
    writer.listen(lambda _: has_heard.release())
    writer.start()
    for _ in range(20):
        writer.append(record, BATCH_BYTES + 1)
        assert has_heard.acquire(timeout=DEADLINE)
    assert writer.close(DEADLINE)


def test_the_store_is_tended_though_nothing_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    old = open_file(path)
    old.insert([bare_row(record())] * 500)
    old.close()
    opened: list[Database] = []

    def open_at(path: Path) -> Database:
        opened.append(open_file(path))
        return opened[-1]

    has_pruned = threading.Event()
    store = Store(StoreSettings(path, max_rows=10), open_at=open_at)
    tend = store.tend

    def tend_and_look() -> float | None:
        rest = tend()
        if opened and opened[0].count == 10:
            has_pruned.set()
        return rest

    store.tend = tend_and_look  # type: ignore[method-assign]
    writer = Writer(store, Captures(0), bare_row, print)
    writer.start()
    assert has_pruned.wait(DEADLINE)
    assert writer.close(DEADLINE)


def test_the_interpreter_is_given_away_after_a_few_records() -> None:
    pauses: list[float] = []
    rig = Rig()
    rig.writer = Writer(rig.store, rig.captures, rig.row_of, rig.errors.append, pause=pauses.append)
    for _ in range(BATCH_ROWS):
        rig.writer.append(partial(record, captures=False))
    rig.writer.start()
    assert rig.writer.flush(DEADLINE)
    assert rig.writer.close(DEADLINE)
    assert len(pauses) == BATCH_ROWS // writer_module.GROUP_ROWS


def test_who_falls_behind_makes_no_pauses() -> None:
    pauses: list[float] = []
    rig = Rig()
    rig.writer = Writer(rig.store, rig.captures, rig.row_of, rig.errors.append, pause=pauses.append)
    for _ in range(writer_module.MOST_IN_HAND + 3 * writer_module.GROUP_ROWS):
        rig.writer.append(partial(record, captures=False))
    rig.writer.start()
    assert rig.writer.flush(DEADLINE)
    assert rig.writer.close(DEADLINE)
    assert len(pauses) == writer_module.MOST_IN_HAND // writer_module.GROUP_ROWS


def test_when_a_busy_time_is_over_the_memory_that_it_needed_is_given_back_once() -> None:
    rig, is_over = Rig(), threading.Semaphore(0)
    rig.writer = Writer(rig.store, rig.captures, rig.row_of, rig.errors.append, after_rush=is_over.release)
    for _ in range(BUSY_ROWS):
        rig.writer.append(record)
    rig.writer.start()
    assert is_over.acquire(timeout=DEADLINE)
    assert len(rig.shown()) == BUSY_ROWS
    for _ in range(3):
        rig.writer.append(record)
        assert rig.writer.flush(DEADLINE)
    assert rig.writer.close(DEADLINE)
    assert not is_over.acquire(blocking=False)


def test_a_small_batch_right_behind_a_large_one_is_no_end_of_a_busy_time() -> None:
    rig, now, is_over = Rig(), [0.0], threading.Semaphore(0)
    rig.writer = Writer(
        *(rig.store, rig.captures, rig.row_of, rig.errors.append), clock=lambda: now[0], after_rush=is_over.release
    )
    for _ in range(BUSY_ROWS):
        rig.writer.append(record)
    rig.writer.start()
    assert rig.writer.flush(DEADLINE)
    for _ in range(2):  # what is done behind the first one is done before the second
        rig.writer.append(record)
        assert rig.writer.flush(DEADLINE)
    assert not is_over.acquire(blocking=False)
    assert rig.captures.size_bytes > (BUSY_ROWS + 2) * FRESH_BYTES  # none is compressed
    now[0] = QUIET_PAUSE
    assert rig.writer.flush(DEADLINE)
    assert is_over.acquire(timeout=DEADLINE)
    assert rig.captures.size_bytes < (BUSY_ROWS + 2) * FRESH_BYTES
    assert rig.writer.close(DEADLINE)


def test_a_failure_to_give_memory_back_ends_nothing() -> None:
    rig, is_called = Rig(), threading.Event()

    def fail() -> None:
        is_called.set()
        raise MemoryError

    rig.writer = Writer(rig.store, rig.captures, rig.row_of, rig.errors.append, after_rush=fail)
    for _ in range(BUSY_ROWS):
        rig.writer.append(record)
    rig.writer.start()
    assert is_called.wait(DEADLINE)
    rig.writer.append(record)
    assert rig.writer.flush(DEADLINE)
    assert len(rig.shown()) == BUSY_ROWS + 1
    assert "MemoryError" in rig.errors[0]
    assert rig.writer.close(DEADLINE)
