"""The thread that tells of changed files, with real files, real time and the real inotify."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llamaswap_lib.runtime.files.inotify import Inotify
from llamaswap_lib.runtime.files.watch import NAME, FileWatch

DEADLINE = 30.0


def no_notifier() -> Inotify:
    raise OSError(24, "Too many open files")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text("old")
    return file


class Watching:
    """A watch of one file, with what it tells."""

    def __init__(self, config: Path, new_notifier: Callable[[], Inotify] = Inotify) -> None:
        self.config = config
        self.told: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.errors: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.infos: list[str] = []
        self.before_telling: Callable[[], None] = lambda: None
        self.watch = FileWatch(
            lambda: [config],
            [],
            self._tell,
            self.errors.put,
            on_info=self.infos.append,
            new_notifier=new_notifier,
        )

    def _tell(self) -> None:
        self.before_telling()
        self.told.put(self.config.read_text())

    def next(self) -> str:
        return self.told.get(timeout=DEADLINE)

    def change(self, text: str) -> None:
        """Change the file, and wait until that is told."""
        self.config.write_text(text)
        while self.next() != text:
            pass  # under load, a file may be found half-written


@contextmanager
def watching(config: Path, new_notifier: Callable[[], Inotify] = Inotify) -> Iterator[Watching]:
    made = Watching(config, new_notifier)
    try:
        made.watch.start()
        yield made
    finally:
        made.watch.close()


@pytest.fixture(
    params=[pytest.param(Inotify, id="inotify"), pytest.param(no_notifier, id="looks", marks=pytest.mark.slow)]
)
def watched(request: pytest.FixtureRequest, config: Path) -> Iterator[Watching]:
    if request.param is Inotify and not sys.platform.startswith("linux"):
        pytest.skip("inotify is Linux's")
    with watching(config, request.param) as made:
        yield made


def thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_changes_are_told_on_the_thread_config_watch(watched: Watching) -> None:
    names: list[str] = []
    watched.before_telling = lambda: names.append(threading.current_thread().name)
    watched.change("new")
    watched.change("newer")
    assert set(names) == {NAME}
    assert watched.told.empty()


def test_where_there_is_no_inotify_it_is_said_once_that_it_looks(config: Path) -> None:
    with watching(config, no_notifier) as watched:
        watched.change("new")
        assert len(watched.infos) == 1
        assert watched.infos[0].startswith("changes to the configuration's files are looked for once a second: ")
        assert "fs.inotify.max_user_instances" in watched.infos[0]


def test_what_changed_before_the_start_is_told_if_it_was_looked_at_before(config: Path) -> None:
    made = Watching(config)
    made.watch.look()
    config.write_text("new")
    made.watch.start()
    try:
        assert made.next() == "new"
    finally:
        made.watch.close()


def test_what_is_followed_is_seen(watched: Watching) -> None:
    watched.watch.follow([])  # nothing was read: the file is news
    assert watched.next() == "old"
    watched.watch.follow([watched.config])
    watched.change("new")
    assert watched.told.empty()


def test_an_exception_while_it_tells_is_told_and_the_next_change_is_told_again(watched: Watching) -> None:
    def fail() -> None:
        raise ValueError("cannot reload")

    watched.before_telling = fail
    watched.config.write_text("new")
    error = watched.errors.get(timeout=DEADLINE)
    assert error.startswith("config-watch failed at 'on_change': Traceback")
    assert error.endswith("ValueError: cannot reload\n")
    watched.before_telling = lambda: None
    watched.change("newer")
    assert watched.told.empty()


def test_an_exception_of_its_own_is_told_and_does_not_end_it(config: Path) -> None:
    class Failing(Inotify):
        failures = 3

        def add(self, path: str, mask: int) -> int:
            if self.failures:
                self.failures -= 1
                raise MemoryError
            return super().add(path, mask)

    with watching(config, Failing) as watched:
        for _ in range(3):
            assert "MemoryError" in watched.errors.get(timeout=DEADLINE)
        watched.change("new")


def test_a_change_while_it_tells_is_told_afterwards(watched: Watching) -> None:
    is_telling, may_go_on = threading.Event(), threading.Event()

    def hold() -> None:
        is_telling.set()
        assert may_go_on.wait(DEADLINE)

    watched.before_telling = hold
    watched.config.write_text("new")
    assert is_telling.wait(DEADLINE)
    watched.config.write_text("newer")
    may_go_on.set()
    while watched.next() != "newer":
        pass


def test_its_owner_may_look_while_it_holds_a_lock_that_the_list_of_files_takes(config: Path) -> None:
    lock, is_listing = threading.RLock(), threading.Event()

    def files() -> list[Path]:
        if threading.current_thread().name == NAME:
            is_listing.set()
        with lock:
            return [config]

    watch = FileWatch(files, [], lambda: None, lambda _: None)
    try:
        with lock:
            watch.start()
            assert is_listing.wait(DEADLINE)
            watch.look()
            watch.follow([config])
    finally:
        watch.close()


def test_it_can_be_closed_by_what_it_calls(config: Path) -> None:
    made = Watching(config)
    made.before_telling = made.watch.close
    made.watch.start()
    config.write_text("new")
    assert made.next() == "new"
    made.watch.close()
    assert NAME not in thread_names()


def test_it_can_be_closed_without_a_start_and_twice_and_is_silent_then(config: Path) -> None:
    made = Watching(config)
    made.watch.close()
    made.watch.close()
    made.watch.look()
    made.watch.follow([config])
    assert made.told.empty()


@pytest.mark.slow
def test_it_ends_while_events_pour_in(config: Path) -> None:
    is_over = threading.Event()

    def pour() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            config.with_name(f"neighbour.{number % 100}").touch()
            config.with_name(f"neighbour.{number % 100}").write_text(str(number))
            config.with_name(f"neighbour.{number % 100}").replace(config)

    pourer = threading.Thread(target=pour)
    pourer.start()
    try:
        for _ in range(3):
            with watching(config) as watched:
                assert watched.next() is not None
            assert NAME not in thread_names()
    finally:
        is_over.set()
        pourer.join(DEADLINE)


def test_a_fifo_in_the_place_of_a_file_does_not_hold_it_up(watched: Watching) -> None:
    def put_a_file_there() -> None:
        watched.config.unlink()
        watched.config.write_text("new")
        watched.before_telling = lambda: None

    watched.before_telling = put_a_file_there
    fifo = watched.config.with_name("fifo")
    os.mkfifo(fifo)
    fifo.replace(watched.config)
    assert watched.next() == "new"
    watched.change("newer")


def test_watches_by_the_dozen_leave_nothing_behind(config: Path) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(30):
        with watching(config):
            pass
    assert len(list(Path("/dev/fd").iterdir())) == before
