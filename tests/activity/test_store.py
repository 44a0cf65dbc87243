"""The store: in the file while that can be written, in memory while it cannot, and back again by itself."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from llamaswap_lib.activity.connections import connect
from llamaswap_lib.activity.database import Database, open_file, select_rows
from llamaswap_lib.activity.store import STEP_ROWS, Store, StoreSettings
from llamaswap_lib.errors import ServiceUnavailable
from tests.activity.rows import BEGIN, row


class World:
    """A store with a clock, whose file may get into trouble."""

    def __init__(self, path: Path, **settings: object) -> None:
        self.path = path
        self.now, self.wall = 100.0, BEGIN
        self.warnings: list[str] = []
        self.news: list[str] = []
        self.renumbered: dict[int, int] = {}
        self.others: list[int] = []  # below which rows are those of another file
        self.trouble: Callable[[Database], None] | None = None  # for each database that is opened
        self.database: Database | None = None  # that is open
        self.settings = StoreSettings(path, shown_path="ACTIVITY")._replace(**settings)  # type: ignore[arg-type]
        self.store = Store(
            self.settings,
            on_warning=self.warnings.append,
            on_info=self.news.append,
            on_renumbered=self._note_renumbered,
            on_other_file=self.others.append,
            open_at=self._open,
            clock=lambda: self.now,
            wall=lambda: self.wall,
        )

    def _note_renumbered(self, ids: Mapping[int, int]) -> None:
        self.renumbered.update(ids)

    def _open(self, path: Path) -> Database:
        self.database = database = open_file(path, busy_timeout=0.05)
        if self.trouble is not None:
            try:
                self.trouble(database)
            except BaseException:
                database.close()
                raise
        return database

    def write(self, *models: str) -> list[int]:
        return [one.id for one in self.store.write([row(model=model, timestamp=self.wall) for model in models])]

    def shown(self) -> list[tuple[int, str]]:
        """What who asks is told."""
        with self.store.reading() as connection:
            return [(one.id, one.model) for one in select_rows(connection, "ORDER BY id")]

    def stored(self) -> list[tuple[int, str]]:
        """What is in the file."""
        connection = connect(self.path, "ro")
        try:
            return [(one.id, one.model) for one in select_rows(connection, "ORDER BY id")]
        finally:
            connection.close()

    def tend(self) -> None:
        """Until there is nothing more to do now."""
        for _ in range(1_000):
            if self.store.tend() != 0.0:
                return
        raise AssertionError("it does not come to an end")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(World(tmp_path / "activity.db")) as world:
        yield world


def next_life(world: World) -> World:
    """After the end of the first one, which wrote a row: the file cannot be opened."""
    world.write("of the first life")
    world.store.close()
    later = World(world.path)
    later.trouble = unreachable
    return later


@contextmanager
def opened(world: World) -> Iterator[World]:
    world.store.open()
    try:
        yield world
    finally:
        world.trouble = None
        world.store.close()


def test_rows_are_there_after_a_restart_and_ids_go_on(world: World) -> None:
    assert world.write("a", "b") == [1, 2]
    world.store.close()
    with opened(World(world.path)) as later:
        assert later.shown() == [(1, "a"), (2, "b")]
        assert later.write("c") == [3]


def test_without_a_path_rows_are_in_memory_up_to_the_bound() -> None:
    store = Store(StoreSettings(max_rows_in_memory=3))
    store.open()
    try:
        assert [one.id for one in store.write([row()] * 5)] == [1, 2, 3, 4, 5]
        with store.reading() as connection:
            assert [one.id for one in select_rows(connection, "ORDER BY id")] == [3, 4, 5]
        assert store.tend() is None
    finally:
        store.close()


# -- trouble; each says how it begins and how it ends --


def full(database: Database) -> None:
    """No page more than there is."""
    (pages,) = database.connection.execute("PRAGMA page_count").fetchone()
    database.connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()


def read_only(database: Database) -> None:
    database.connection.execute("PRAGMA query_only = ON")


def unreachable(database: Database) -> None:
    raise OSError(errno.EIO, "Input/output error")


def breaks_behind(database: Database, number: int) -> None:
    """It takes no row with a higher id."""
    database.connection.execute(
        f"CREATE TEMP TRIGGER breaks BEFORE INSERT ON main.requests WHEN new.id > {number} "
        "BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
    )


@pytest.mark.parametrize(
    ("trouble", "said"),
    [(full, "database or disk is full"), (read_only, "readonly database"), (unreachable, "Input/output error")],
)
def test_a_file_that_cannot_be_written_costs_no_row_and_one_warning(
    world: World, trouble: Callable[[Database], None], said: str
) -> None:
    assert world.write("before") == [1]
    world.trouble = trouble
    assert world.database is not None
    if trouble is unreachable:
        world.store.change(world.settings._replace(path=world.path.with_name("other.db")))
    else:
        trouble(world.database)
        big = "x" * 200_000  # more than what is left of a page
        assert world.write(big, "second") == [2, 3]
        assert world.shown() == [(2, big), (3, "second")]
    for _ in range(5):  # tried again, still in trouble
        world.now += 100
        world.tend()
    assert len(world.warnings) == 1
    assert said in world.warnings[0]
    assert "ACTIVITY" in world.warnings[0]
    assert world.news == []

    world.trouble = None
    kept = world.shown()
    (newest,) = world.write("meanwhile")
    world.now += 100
    world.tend()
    assert world.store.write([row(model="after")])[0].id == newest + 1
    in_order = [*kept, (newest, "meanwhile"), (newest + 1, "after")]
    assert world.shown()[-len(in_order) :] == in_order
    assert len(world.warnings) == len(world.news) == 1
    assert f"{len(kept) + 1} rows that were in memory are written" in world.news[0]


def test_a_file_that_another_program_locks_is_tried_again(world: World) -> None:
    world.write("before")
    other = sqlite3.connect(world.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        assert world.write("meanwhile") == [2]
        assert "locked" in world.warnings[0]
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert world.write("still in memory") == [3]
    world.now += 1.0
    assert world.write("after") == [4]
    assert world.stored() == [(1, "before"), (2, "meanwhile"), (3, "still in memory"), (4, "after")]
    assert (len(world.warnings), len(world.news)) == (1, 1)
    assert not world.others


def test_a_file_that_could_not_be_opened_at_the_start_gets_its_rows_later(world: World) -> None:
    with opened(next_life(world)) as later:
        assert later.write("a", "b") == [1, 2]
        later.trouble = None
        later.now += 1.0
        assert later.write("c") == [5]
        assert later.shown() == [(1, "of the first life"), (3, "a"), (4, "b"), (5, "c")]
        assert later.renumbered == {1: 3, 2: 4}


def test_no_row_gets_an_id_that_another_one_had_in_memory(world: World) -> None:
    """They move in steps: captures of the later ones would be taken for those of the ones before."""
    with opened(next_life(world)) as later:
        in_memory = later.write(*["m"] * (2 * STEP_ROWS + 1))
        later.trouble = None
        later.now += 1.0
        later.tend()
        assert [*later.renumbered] == in_memory
        assert min(later.renumbered.values()) > in_memory[-1]


def test_no_row_gets_an_id_of_one_that_has_moved_before_the_file_broke_again(world: World) -> None:
    with opened(next_life(world)) as later:
        in_memory = later.write(*["m"] * (2 * STEP_ROWS))
        later.trouble = lambda database: breaks_behind(database, in_memory[-1] + STEP_ROWS)
        later.now += 1.0
        later.tend()
        assert [*later.renumbered] == in_memory[:STEP_ROWS]
        assert later.write("meanwhile")[0] > max(later.renumbered.values())


@pytest.mark.slow
def test_memory_is_bounded_while_the_file_is_of_no_use(world: World) -> None:
    assert world.database is not None
    read_only(world.database)
    world.trouble = read_only
    for _ in range(11):
        world.store.write([row()] * 1_000)
    assert len(world.shown()) == 10_000
    assert world.shown()[-1][0] == 11_000


@pytest.mark.parametrize("is_replaced", [False, True], ids=["removed", "replaced"])
def test_a_file_that_is_removed_or_replaced_meanwhile_is_left_for_the_one_that_is_there(
    world: World, *, is_replaced: bool
) -> None:
    world.write("before", "before")
    assert world.shown()
    if is_replaced:
        other = open_file(world.path.with_name("other.db"))
        other.insert([row(model="other")])
        other.close()
        world.path.with_name("other.db").replace(world.path)
    else:
        world.path.unlink()
    assert world.write("meanwhile") == [3]
    assert world.shown() == [(3, "meanwhile")]
    assert "removed, or another file has taken its place" in world.warnings[0]
    world.now += 1.0
    assert world.write("after") == [4]
    assert world.stored() == [(1, "other")] * is_replaced + [(3, "meanwhile"), (4, "after")]
    assert (len(world.warnings), len(world.news)) == (1, 1)
    assert not world.renumbered
    assert world.others == [3]


def test_who_reads_a_file_that_is_removed_meanwhile_leaves_no_connection_to_it(world: World) -> None:
    world.write("before")
    with world.store.reading() as connection:
        assert len(select_rows(connection, "")) == 1
        world.path.unlink()
        world.write("meanwhile")
        world.now += 1.0
        world.write("after")
    assert world.shown() == [(2, "meanwhile"), (3, "after")]


def test_a_damaged_file_is_set_aside_and_a_new_one_begun(world: World) -> None:
    world.write("before")
    world.store.close()
    garbage = b"this is no database" * 1_000
    world.path.write_bytes(garbage)
    later = World(world.path)
    with opened(later):
        assert later.write("after") == [1]
        assert later.stored() == [(1, "after")]
    (aside,) = later.path.parent.glob("activity.db.corrupt-*")
    assert aside.read_bytes() == garbage
    assert len(later.warnings) == 1
    assert aside.name in later.warnings[0]
    assert later.news == []


def test_damage_that_a_question_meets_is_set_aside_too(world: World) -> None:
    world.store.write([row(model=f"model {number}") for number in range(3_000)])
    assert world.database is not None
    world.database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with world.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (world.path.stat().st_size - 8192))
    with pytest.raises(ServiceUnavailable, match="malformed"):
        world.shown()
    assert world.write("after")
    assert len([*world.path.parent.glob("activity.db.corrupt-*")]) >= 1
    assert [model for _, model in world.shown()] == ["after"]


def test_several_damaged_files_of_one_second_are_all_kept(world: World) -> None:
    world.store.close()
    for text in (b"one", b"two", b"three"):
        world.path.write_bytes(text * 1_000)
        with opened(World(world.path)):
            pass
    kept = {file.read_bytes()[:3] for file in world.path.parent.glob("activity.db.corrupt-*")}
    assert kept == {b"one", b"two", b"thr"}


def test_the_database_of_another_program_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (id INTEGER)")
    other.close()
    before = path.read_bytes()
    with opened(World(path)) as world:
        assert world.write("a") == [1]
        assert world.shown() == [(1, "a")]
        assert "another program" in world.warnings[0]
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]


def test_two_servers_on_one_file_lose_nothing_and_say_so_once(world: World) -> None:
    with opened(World(world.path)) as other:
        assert world.write("a", "b") == [1, 2]
        assert other.write("c") == [3]
        assert world.write("a", "b") == [4, 5]
        assert other.write("c") == [6]
        expected = [(1, "a"), (2, "b"), (3, "c"), (4, "a"), (5, "b"), (6, "c")]
        assert world.shown() == other.shown() == expected
        assert len(world.warnings) == len(other.warnings) == 1
        assert "another program writes to ACTIVITY" in world.warnings[0]
        assert world.store.clear() == 6
        assert other.write("c") == [7]  # whose texts the other one has removed
        assert world.shown() == [(7, "c")]


# -- bounds --


def test_surplus_rows_go_in_small_steps_the_oldest_first(world: World) -> None:
    world.store.change(world.settings._replace(max_rows=100))
    world.store.write([row()] * 750)
    assert world.store.tend() == 0.0
    assert world.shown()[0][0] == STEP_ROWS + 1
    world.tend()
    assert [number for number, _ in world.shown()] == [*range(651, 751)]
    assert world.store.tend() is None


def test_rows_that_are_too_old_go_and_younger_ones_stay(world: World) -> None:
    world.store.change(world.settings._replace(max_age=3600.0))
    world.write(*["old"] * 500)
    world.wall += 3000
    world.write("young")
    world.now += 100
    world.tend()
    assert len(world.shown()) == 501
    world.wall += 700
    world.now += 100
    world.tend()
    assert world.shown() == [(501, "young")]
    rest = world.store.tend()
    assert rest is not None
    assert 0 < rest <= 60


def test_rows_that_are_too_old_go_though_the_clock_was_wrong_before_them(world: World) -> None:
    world.store.change(world.settings._replace(max_age=3600.0))
    world.wall += 10 * 365 * 86_400
    world.write("of the wrong time")
    world.wall = BEGIN
    world.write("old")
    world.wall += 3601
    world.write("young")
    world.now += 100
    world.tend()
    assert world.shown() == [(1, "of the wrong time"), (3, "young")]


def test_another_path_is_used_from_then_on(world: World) -> None:
    world.write("a")
    other = world.path.with_name("other.db")
    world.store.change(world.settings._replace(path=other))
    assert world.write("b") == [2]
    assert world.shown() == [(2, "b")]
    assert world.others == [2]
    assert world.stored() == [(1, "a")]
    world.store.change(world.settings._replace(path=None))
    assert world.write("c") == [3]
    assert world.shown() == [(3, "c")]
    world.store.change(world.settings)
    assert world.shown() == [(1, "a"), (3, "c")]


def test_a_file_that_cannot_be_emptied_says_so(world: World) -> None:
    world.write("a")
    assert world.database is not None
    read_only(world.database)
    world.trouble = read_only
    with pytest.raises(ServiceUnavailable, match="cannot be emptied"):
        world.store.clear()


def test_what_is_cleared_goes_from_the_disk_once_nobody_reads_it(world: World) -> None:
    def is_on_disk() -> bool:
        return any(b"of a secret" in path.read_bytes() for path in world.path.parent.iterdir())

    world.write("of a secret")
    other = connect(world.path, "ro")
    try:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM requests").fetchone() == (1,)
        assert world.store.clear() == 1
        assert is_on_disk()
        assert world.store.tend() == 1.0
        assert is_on_disk()
    finally:
        other.close()
    assert world.store.tend() is None
    assert not is_on_disk()


def test_a_store_that_is_closed_cannot_be_read(world: World) -> None:
    world.store.close()
    with pytest.raises(ServiceUnavailable, match="not open"):
        world.shown()


def test_a_question_sees_one_moment_whatever_is_written_meanwhile(world: World) -> None:
    world.write("a")
    with world.store.reading() as connection:
        assert len(select_rows(connection, "")) == 1
        world.write("b")
        assert len(select_rows(connection, "")) == 1
    assert len(world.shown()) == 2
