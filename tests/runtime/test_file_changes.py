"""When files have changed for good: real files and the real inotify, with the time in the hands of the test."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from llamaswap_lib.errors import ConfigError
from llamaswap_lib.runtime.files import inotify
from llamaswap_lib.runtime.files.changes import POLL_INTERVAL, POLLED_QUIET, QUIET, STALLED, FileChanges
from llamaswap_lib.runtime.files.inotify import Event, Inotify
from llamaswap_lib.runtime.files.watched_paths import WatchedPaths
from tests.batches import samples

ENOUGH = 10.0  # seconds after which everything must have been told
HAS_INOTIFY = sys.platform.startswith("linux")


class World:
    """Files that are looked after, and a clock. `told` has the content of `config.yaml` at each change told."""

    def __init__(self, folder: Path, notifier: Inotify | None, folders: Iterable[Path] = ()) -> None:
        self.config = folder / "config.yaml"
        self.notifier = notifier
        self.files: Callable[[], Iterable[Path]] = lambda: [self.config]
        self.now = 100.0
        self.told: list[str | None] = []
        self.times: list[float] = []
        self.infos: list[str] = []
        self.errors: list[str] = []
        self.watched = WatchedPaths(notifier, folders, self.infos.append, self.errors.append)
        self.changes = FileChanges(self._list, self.watched)

    def _list(self) -> Iterable[Path]:
        return self.files()  # which a test may replace

    def begin(self) -> None:
        """Everything that is there has been seen, and nothing is waited for."""
        self.changes.look()
        self.wait(ENOUGH)
        assert self.told == []

    def turn(self) -> None:
        if self.changes.turn(self.now):
            self.told.append(self.config.read_text() if self.config.exists() else None)
            self.times.append(self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass as the thread does, which is woken by events now, and by deadlines."""
        until = self.now + seconds
        self.turn()
        for _ in range(1000):
            if self.changes.wait_until() > until:
                self.now = until
                return
            self.now = max(self.now, self.changes.wait_until())
            self.turn()
        raise AssertionError("it does not come to rest")

    def settle(self) -> list[str | None]:
        """Wait long enough; what was told."""
        self.wait(ENOUGH)
        told, self.told = self.told, []
        return told


def make_folder(top: Path) -> Path:
    folder = top / "srv" / "etc"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("old")
    return folder


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Worlds in a folder of their own, with inotify unless another notifier is given."""
    notifiers: list[Inotify] = []

    def make(notifier: Inotify | None = None, folders: Iterable[Path] = ()) -> World:
        notifier = notifier or Inotify()
        notifiers.append(notifier)
        return World(make_folder(tmp_path), notifier, folders)

    yield make
    for notifier in notifiers:
        notifier.close()


@pytest.fixture(params=["heard", "unheard"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """With inotify, and without; `config.yaml` says "old"."""
    if request.param == "heard" and not HAS_INOTIFY:
        pytest.skip("inotify is Linux's")
    notifier = Inotify() if request.param == "heard" else None
    yield World(make_folder(tmp_path), notifier)
    if notifier is not None:
        notifier.close()


needs_inotify = pytest.mark.skipif(not HAS_INOTIFY, reason="inotify is Linux's")


# -- ways to change a file --


def replace(config: Path, text: str) -> None:
    new = config.with_name("config.yaml.new")
    new.write_text(text)
    new.replace(config)


def delete_and_create(config: Path, text: str) -> None:
    config.unlink()
    config.write_text(text)


def move_away_and_create(config: Path, text: str) -> None:
    """As vim does with a backup."""
    config.rename(f"{config}~")
    config.write_text(text)
    Path(f"{config}~").unlink()


def replace_the_folder(config: Path, text: str) -> None:
    new = config.parent.with_name("etc.new")
    new.mkdir()
    (new / config.name).write_text(text)
    config.parent.rename(config.parent.with_name("etc.old"))
    new.rename(config.parent)


def replace_the_folder_above(config: Path, text: str) -> None:
    above = config.parent.parent
    new = above.with_name("srv.new")
    (new / "etc").mkdir(parents=True)
    (new / "etc" / config.name).write_text(text)
    above.rename(above.with_name("srv.old"))
    new.rename(above)


def delete_the_folder_and_make_it_anew(config: Path, text: str) -> None:
    shutil.rmtree(config.parent)
    config.parent.mkdir()
    config.write_text(text)


def turn_it_into_a_link(config: Path, text: str) -> None:
    other = config.parent.parent / "elsewhere"
    other.write_text(text)
    config.unlink()
    config.symlink_to(other)


def write_it_by_another_name(config: Path, text: str) -> None:
    other = config.parent.parent / "other name"
    other.hardlink_to(config)
    with other.open("r+") as file:
        file.write(text)


WAYS: list[Callable[[Path, str], object]] = [
    Path.write_text,
    replace,
    delete_and_create,
    move_away_and_create,
    replace_the_folder,
    replace_the_folder_above,
    delete_the_folder_and_make_it_anew,
    turn_it_into_a_link,
    write_it_by_another_name,
]


@pytest.mark.parametrize("change", WAYS, ids=lambda way: way.__name__)
def test_a_change_is_told_once_within_a_second_and_so_is_the_next(
    world: World, change: Callable[[Path, str], None]
) -> None:
    world.begin()
    acts: dict[str, Callable[[Path, str], object]] = {"new": change, "one": Path.write_text}
    for text, act in acts.items():
        changed_at = world.now
        act(world.config, text)
        assert world.settle() == [text]
        assert world.times[-1] - changed_at <= 1.0 + (POLL_INTERVAL + POLLED_QUIET) * world.watched.needs_polling


@needs_inotify
def test_a_file_that_was_written_and_closed_is_told_after_a_short_quiet(make: Callable[..., World]) -> None:
    world = make()
    world.begin()
    world.config.write_text("new")
    begun = world.now
    assert world.settle() == ["new"]
    assert world.times == [pytest.approx(begun + QUIET)]


@needs_inotify
@pytest.mark.parametrize("change", WAYS, ids=lambda way: way.__name__)
def test_while_nothing_changes_there_is_nothing_to_wake_for(
    make: Callable[..., World], change: Callable[[Path, str], None]
) -> None:
    world = make()
    world.begin()
    assert world.changes.wait_until() == math.inf
    change(world.config, "new")
    world.settle()
    assert world.changes.wait_until() == math.inf
    assert world.infos == []


# -- links --


def make_volume(folder: Path, name: str, text: str) -> None:
    """The first step of Kubernetes' update of a volume."""
    (folder / name).mkdir()
    (folder / name / "config.yaml").write_text(text)


def swap_volume(folder: Path, name: str) -> None:
    """The second step, and the third: what was there before is deleted."""
    before = (folder / "..data").readlink() if (folder / "..data").exists() else None
    (folder / "..data_tmp").symlink_to(name)
    (folder / "..data_tmp").replace(folder / "..data")
    if before:
        shutil.rmtree(folder / before)


def test_the_volumes_of_kubernetes_are_followed(world: World) -> None:
    folder = world.config.parent
    world.config.unlink()
    make_volume(folder, "..2024_01", "one")
    swap_volume(folder, "..2024_01")
    world.config.symlink_to("..data/config.yaml")
    world.begin()
    for name, text in [("..2024_02", "two"), ("..2024_03", "three")]:
        make_volume(folder, name, text)
        swap_volume(folder, name)
        assert world.settle() == [text]
    make_volume(folder, "..2024_04", "three")
    swap_volume(folder, "..2024_04")
    assert world.settle() == []
    world.config.write_text("in place")
    assert world.settle() == ["in place"]


def test_a_link_that_is_replaced_by_another_one_is_enough(world: World, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    world.config.unlink()
    world.config.symlink_to(tmp_path / "one")
    world.begin()
    link = world.config.with_name("link")
    link.symlink_to(tmp_path / "two")
    link.replace(world.config)
    assert world.settle() == ["two"]


def test_a_file_that_was_missing_may_be_moved_there(world: World, tmp_path: Path) -> None:
    world.config.rename(tmp_path / "away")
    world.begin()
    (tmp_path / "away").rename(world.config)
    assert world.settle() == ["old"]


def test_every_link_on_the_way_is_watched(world: World, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    world.config.rename(tmp_path / "a" / "real")
    (tmp_path / "b" / "second").symlink_to("../a/real")
    (tmp_path / "c" / "first").symlink_to("../b/second")
    world.config.symlink_to(tmp_path / "c" / "first")
    world.begin()
    for link in (tmp_path / "c" / "first", tmp_path / "b" / "second", world.config):
        target = tmp_path / f"target of {link.name}"
        target.write_text(link.name)
        before = link.readlink()
        link.unlink()
        link.symlink_to(target)
        assert world.settle() == [link.name]
        target.write_text(f"{link.name} in place")
        assert world.settle() == [f"{link.name} in place"]
        target.unlink()
        assert world.settle() == [None]
        link.unlink()
        link.symlink_to(before)
        assert world.settle() == ["old"]


def test_what_a_dangling_link_means_may_come_folder_by_folder(world: World, tmp_path: Path) -> None:
    world.config.unlink()
    world.config.symlink_to(tmp_path / "x" / "y" / "real")
    world.begin()
    (tmp_path / "x").mkdir()
    assert world.settle() == []
    (tmp_path / "x" / "y").mkdir()
    assert world.settle() == []
    (tmp_path / "x" / "y" / "real").write_text("here")
    assert world.settle() == ["here"]
    shutil.rmtree(tmp_path / "x")
    assert world.settle() == [None]


def test_links_in_a_circle_are_told_once_and_may_be_mended(world: World) -> None:
    world.begin()
    other = world.config.with_name("other")
    world.config.unlink()
    world.config.symlink_to(other)
    other.symlink_to(world.config)
    world.wait(ENOUGH)
    assert len(world.told) == 1
    world.config.with_name("neighbour").touch()
    os.utime(other, follow_symlinks=False)
    world.wait(ENOUGH)
    assert world.errors == [f"{world.config}: its symbolic links lead in a circle, or there are too many of them"]
    other.unlink()
    other.write_text("mended")
    assert world.settle()[1:] == ["mended"]


def test_a_path_may_go_up_and_be_relative_to_the_working_directory(world: World, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    world.files = lambda: [Path(os.path.relpath(tmp_path)) / "sub" / ".." / "srv" / "etc" / "config.yaml"]
    world.begin()
    world.config.write_text("new")
    assert world.settle() == ["new"]


# -- what is no change --


def same_text(config: Path) -> None:
    config.write_text("old")


def touch(config: Path) -> None:
    config.touch()


def make_executable(config: Path) -> None:
    config.chmod(0o755)


def replace_by_the_same(config: Path) -> None:
    replace(config, "old")


def replace_the_folder_by_the_same(config: Path) -> None:
    replace_the_folder(config, "old")


def there_and_back(config: Path) -> None:
    config.write_text("other")
    config.write_text("old")


def away_and_back(config: Path) -> None:
    config.rename(f"{config}~")
    Path(f"{config}~").rename(config)


def make_a_neighbour(config: Path) -> None:
    config.with_name("config.yaml.swp").write_text("x")


NO_CHANGES = [
    *(touch, same_text, make_executable, replace_by_the_same, replace_the_folder_by_the_same),
    *(there_and_back, away_and_back, make_a_neighbour),
]


@pytest.mark.parametrize("act", NO_CHANGES, ids=lambda way: way.__name__)
def test_the_same_content_is_no_change_and_the_next_one_is_told(world: World, act: Callable[[Path], None]) -> None:
    world.begin()
    act(world.config)
    assert world.settle() == []
    world.config.write_text("new")
    assert world.settle() == ["new"]


@needs_inotify
def test_what_is_written_next_to_a_file_is_not_even_heard(make: Callable[..., World]) -> None:
    world = make()
    with world.config.with_name("log").open("w", buffering=1) as log:
        world.begin()
        for number in range(10_000):
            log.write(f"{number}\n")
    for _ in range(10):
        with world.config.with_name("log").open("a") as log:
            log.write("opened and closed each time\n")
    assert world.notifier is not None
    assert world.notifier.read() == []


@needs_inotify
def test_neighbours_that_come_and_go_are_heard_and_dropped(make: Callable[..., World]) -> None:
    world = make()
    world.begin()
    for number in range(100):
        neighbour = world.config.with_name(f"lock.{number}")
        neighbour.touch()
        neighbour.unlink()
    world.turn()
    assert world.changes.wait_until() == math.inf


# -- half-written files --


def test_what_is_written_soon_after_a_file_was_emptied_is_waited_for(world: World) -> None:
    world.begin()
    with world.config.open("w") as file:
        world.wait(0.9 * STALLED)
        file.write("first half, ")
        file.flush()
        if not world.watched.needs_polling:
            world.wait(0.9 * STALLED)
        file.write("second half")
    assert world.settle() == ["first half, second half"]


@needs_inotify
def test_a_file_that_is_written_slowly_is_told_when_it_is_closed(make: Callable[..., World]) -> None:
    world = make()
    world.begin()
    for mode in ("w", "r+", "x"):
        if mode == "x":  # which creates it
            world.config.unlink()
        with world.config.open(mode) as file:
            for part in range(9):
                file.write(f"{mode}{part} ")
                file.flush()
                world.wait(0.9 * STALLED)
            assert world.told == []
            closed_at = world.now
        assert len(world.settle()) == 1
        assert closed_at <= world.times[-1] <= closed_at + QUIET


@needs_inotify
def test_a_writer_that_stalls_is_waited_for_a_little(make: Callable[..., World]) -> None:
    world = make()
    world.begin()
    with world.config.open("w") as file:
        file.write("and then it thinks")
        file.flush()
        begun = world.now
        assert world.settle() == ["and then it thinks"]
        assert world.times == [pytest.approx(begun + STALLED)]
        file.write(", and goes on")
    assert world.settle() == ["and then it thinks, and goes on"]


@needs_inotify
def test_what_was_created_and_never_closed_holds_up_nothing_later(make: Callable[..., World], tmp_path: Path) -> None:
    world = make()
    other = tmp_path / "other"
    other.write_text("x")
    world.files = lambda: [world.config, other]
    world.config.unlink()
    world.begin()
    world.config.hardlink_to(other)
    assert world.settle() == ["x"]
    world.config.unlink()
    world.config.write_text("y")
    assert world.settle() == ["y"]
    begun = world.now
    other.write_text("z")
    assert world.settle() == ["y"]
    assert world.times[-1] == pytest.approx(begun + QUIET)


@needs_inotify
def test_a_writer_that_never_rests_and_never_closes_is_told_of_now_and_then(make: Callable[..., World]) -> None:
    world = make()
    world.begin()
    begun = world.now
    with world.config.open("w", buffering=1) as file:
        while len(world.told) < 3:
            file.write("more\n")
            world.wait(0.2)
    gaps = [after - before for before, after in zip([begun, *world.times], world.times, strict=False)]
    assert all(4.9 < gap < 5.5 for gap in gaps), gaps
    world.settle()


@pytest.mark.parametrize("change", WAYS[:4], ids=lambda way: way.__name__)
@pytest.mark.parametrize("pause", samples([0.2, 0.02, 0.05], 3))
def test_a_file_that_changes_all_the_time_is_told_about_once_a_second(
    world: World, change: Callable[[Path, str], None], pause: float
) -> None:
    world.begin()
    begun = world.now
    for number in range(int(5 / pause)):
        change(world.config, str(number))
        world.wait(pause)
    end = world.now
    world.wait(ENOUGH)
    assert world.told[-1] == str(int(5 / pause) - 1)
    gaps = [after - before for before, after in zip([begun, *world.times], [*world.times, end], strict=True)]
    assert all(gap > 0.69 for gap in gaps[1:-1]), gaps
    assert all(gap <= (2.0 if world.watched.needs_polling else 1.0) for gap in gaps), gaps
    assert None not in world.told
    assert "" not in world.told


def test_a_file_that_is_gone_for_a_moment_is_waited_for(world: World) -> None:
    world.begin()
    world.config.rename(world.config.with_name("backup"))
    world.wait(0.9 * STALLED)
    world.config.write_text("new")
    assert world.settle() == ["new"]


def test_a_file_that_stays_away_or_empty_is_told(world: World) -> None:
    world.begin()
    world.config.unlink()
    assert world.settle() == [None]
    world.config.touch()
    assert world.settle() == [""]
    world.config.write_text("old")
    assert world.settle() == ["old"]


# -- what is no file --


def test_what_takes_the_place_of_a_file_is_a_change_and_does_no_harm(world: World) -> None:
    told: list[str] = []
    world.begin()
    for name, make in {"fifo": os.mkfifo, "folder": os.mkdir}.items():
        world.config.unlink()
        make(world.config)
        world.now += 1
        for _ in range(200):
            world.now += 0.01
            if world.changes.turn(world.now):
                told.append(name)
        world.config.unlink() if name == "fifo" else world.config.rmdir()
        world.config.write_text(f"after the {name}")
        assert world.settle() == [f"after the {name}"]
    assert told == ["fifo", "folder"]


# -- which files --


def test_the_files_of_a_folder_come_and_go(make: Callable[..., World], tmp_path: Path) -> None:
    folder = tmp_path / "srv" / "etc"
    world = make(folders=[folder])
    world.files = lambda: sorted(folder.glob("*.yaml"))
    world.begin()
    (folder / "more.yaml").write_text("x")
    (folder / "notes.txt").write_text("x")
    assert len(world.settle()) == 1
    (folder / "more.yaml").write_text("y")
    assert len(world.settle()) == 1
    (folder / "notes.txt").write_text("y")
    assert world.settle() == []
    (folder / "notes.txt").rename(folder / "notes.yaml")
    assert len(world.settle()) == 1
    (folder / "more.yaml").unlink()
    assert len(world.settle()) == 1
    shutil.rmtree(folder)
    assert len(world.settle()) == 1
    folder.mkdir()
    assert world.settle() == []
    (folder / "other.yaml").write_text("z")
    assert len(world.settle()) == 1


def test_a_file_of_a_folder_that_is_gone_for_a_moment_is_waited_for(make: Callable[..., World], tmp_path: Path) -> None:
    folder = tmp_path / "srv" / "etc"
    world = make(folders=[folder])
    world.files = lambda: sorted(folder.glob("*.yaml"))
    world.begin()
    world.config.rename(folder / "backup")
    world.wait(0.9 * STALLED)
    world.config.write_text("new")
    assert world.settle() == ["new"]


def test_that_nobody_can_say_which_files_there_are_is_a_change_of_its_own(world: World) -> None:
    listed, failures = [world.config], [ConfigError("one"), ConfigError("one"), OSError(13, "no")]

    def files() -> Sequence[Path]:
        if failures and world.config.read_text() == "fail":
            raise failures[0]
        return listed

    world.files = files
    world.begin()
    world.config.write_text("fail")
    assert world.settle() == ["fail"]
    failures.pop(0)
    world.config.touch()
    assert world.settle() == []
    failures.pop(0)
    world.config.touch()
    assert world.settle() == ["fail"]
    world.config.write_text("works again")
    assert world.settle() == ["works again"]


def test_what_was_looked_at_is_not_told(world: World) -> None:
    world.begin()
    world.config.write_text("new")
    world.turn()
    world.changes.look()
    assert world.settle() == []
    world.config.write_text("newer")
    assert world.settle() == ["newer"]


def test_what_is_looked_at_while_a_change_is_judged_is_not_told(world: World) -> None:
    looks: list[Callable[[], None]] = []

    def files() -> list[Path]:
        if looks and world.now >= 200:
            looks.pop()()
        return [world.config]

    world.files = files
    world.begin()
    world.config.write_text("new")
    world.turn()
    looks.append(world.changes.look)
    world.now = 200.0
    world.turn()
    assert world.settle() == []
    assert looks == []


def test_what_changes_between_the_look_and_the_reading_is_told(world: World) -> None:
    world.begin()
    world.config.write_text("new")
    world.changes.look()
    world.config.write_text("newer")
    world.changes.follow([world.config])
    assert world.settle() == ["newer"]


def test_a_file_that_is_new_to_the_set_is_followed_and_one_that_left_is_not(world: World, tmp_path: Path) -> None:
    key, files = tmp_path / "key.pem", [world.config]
    key.write_text("a key")
    world.files = lambda: files
    world.begin()
    files.append(key)
    world.changes.follow(files)
    assert world.settle() == []
    key.write_text("another key")
    assert len(world.settle()) == 1
    files.remove(key)
    world.changes.follow(files)
    key.write_text("a third key")
    assert world.settle() == []
    world.config.write_text("new")
    assert world.settle() == ["new"]


def test_a_file_that_comes_while_the_others_are_read_is_told(make: Callable[..., World], tmp_path: Path) -> None:
    folder = tmp_path / "srv" / "etc"
    world = make(folders=[folder])
    world.files = lambda: sorted(folder.glob("*.yaml"))
    world.begin()
    used = list(world.files())
    (folder / "late.yaml").write_text("x")
    world.changes.follow(used)
    assert len(world.settle()) == 1


# -- where inotify does not serve --


class Forgetful(Inotify):
    """Tells that there was more than it could keep, and nothing else."""

    def read(self) -> list[Event]:
        return [Event(-1, inotify.OVERFLOW, "")] if super().read() else []


class Elsewhere(Inotify):
    """Stands for one on a network file system: it hears nothing."""

    def file_system_without_events(self, path: str) -> str:
        return "nfs"

    def read(self) -> list[Event]:
        super().read()
        return []


class Exhausted(Inotify):
    """Has as many watches as the system allows."""

    def add(self, path: str, mask: int) -> int:
        raise OSError(28, "No space left on device")


@needs_inotify
def test_after_an_overflow_everything_is_looked_at(make: Callable[..., World]) -> None:
    world = make(Forgetful())
    world.begin()
    delete_the_folder_and_make_it_anew(world.config, "new")
    assert world.settle() == ["new"]
    world.config.write_text("newer")
    assert world.settle() == ["newer"]
    assert not world.watched.needs_polling


@needs_inotify
def test_events_that_are_lost_for_lack_of_memory_are_made_up_for(make: Callable[..., World]) -> None:
    class OutOfMemory(Inotify):
        is_out = False

        def read(self) -> list[Event]:
            events = super().read()
            if events and self.is_out:
                raise MemoryError
            return events

    notifier = OutOfMemory()
    world = make(notifier)
    world.begin()
    world.config.write_text("new")
    notifier.is_out = True
    with pytest.raises(MemoryError):
        world.turn()
    notifier.is_out = False
    assert world.settle() == ["new"]


@needs_inotify
@pytest.mark.parametrize(
    ("kind", "why"),
    [(Elsewhere, "the kind nfs do not tell of every change"), (Exhausted, "fs.inotify.max_user_watches")],
    ids=["network-file-system", "no-more-watches"],
)
def test_what_is_not_heard_is_looked_for_once_a_second_which_is_said_once(
    make: Callable[..., World], kind: Callable[[], Inotify], why: str
) -> None:
    world = make(kind())
    world.begin()
    for text in ("new", "newer"):
        world.config.write_text(text)
        changed_at = world.now
        assert world.settle() == [text]
        assert world.times[-1] - changed_at <= POLL_INTERVAL + POLLED_QUIET + 0.01
        replace(world.config, f"{text} again")
        assert world.settle() == [f"{text} again"]
    assert world.now < world.changes.wait_until() <= world.now + POLL_INTERVAL
    assert len(world.infos) == 1
    assert world.infos[0].startswith("changes to the configuration's files are looked for once a second: /")
    assert why in world.infos[0]


@needs_inotify
def test_a_file_on_a_file_system_that_tells_of_nothing_is_looked_at(make: Callable[..., World], tmp_path: Path) -> None:
    name = Path("/proc/self/comm")
    before = name.read_text()
    world = make()
    link = tmp_path / "link"
    link.symlink_to(name)
    world.files = lambda: [world.config, link]
    world.begin()
    try:
        name.write_text("another")
        assert len(world.settle()) == 1
    finally:
        name.write_text(before)
    assert "the kind proc do not tell" in world.infos[0]


@needs_inotify
def test_a_folder_that_may_not_be_read_is_looked_at_until_it_may(make: Callable[..., World]) -> None:
    class Powerless(Inotify):
        may_read = False

        def add(self, path: str, mask: int) -> int:
            if path.endswith("etc") and not self.may_read:
                raise PermissionError(13, "Permission denied")
            return super().add(path, mask)

    notifier = Powerless()
    world = make(notifier)
    world.begin()
    assert world.watched.needs_polling
    replace(world.config, "new")
    assert world.settle() == ["new"]
    notifier.may_read = True
    replace(world.config, "newer")
    assert world.settle() == ["newer"]
    assert not world.watched.needs_polling
    assert world.changes.wait_until() == math.inf
    assert len(world.infos) == 1


@needs_inotify
def test_watches_that_are_not_needed_any_more_are_given_back(make: Callable[..., World]) -> None:
    class Counting(Inotify):
        def __init__(self) -> None:
            super().__init__()
            self.live: set[int] = set()

        def add(self, path: str, mask: int) -> int:
            watch = super().add(path, mask)
            self.live.add(watch)
            return watch

        def remove(self, watch: int) -> None:
            self.live.discard(watch)
            super().remove(watch)

        def read(self) -> list[Event]:
            events = list(super().read())
            self.live -= {event.watch for event in events if event.mask & inotify.IGNORED}
            return events

    notifier = Counting()
    world = make(notifier)
    world.begin()
    before = len(notifier.live)
    for number in range(8):
        WAYS[number % 4](world.config, str(number))
        assert world.settle() == [str(number)]
        assert len(notifier.live) == before
    for number in range(4):
        volume = world.config.parent / f"volume.{number}"
        make_volume(world.config.parent, volume.name, f"volume {number}")
        world.config.unlink()
        world.config.symlink_to(volume / "config.yaml")
        assert world.settle() == [f"volume {number}"]
        assert len(notifier.live) == before + 1, "its folder and its file, instead of the file alone"


@needs_inotify
def test_what_changes_while_the_watches_are_laid_is_not_lost(make: Callable[..., World], tmp_path: Path) -> None:
    """Between the walk along the path and the watch, it may come to lead elsewhere."""

    class Late(Inotify):
        meanwhile: Callable[[], None] | None = None

        def add(self, path: str, mask: int) -> int:
            act, self.meanwhile = self.meanwhile, None
            if act is not None:
                act()
            return super().add(path, mask)

    notifier = Late()
    world = make(notifier)
    notifier.meanwhile = partial(turn_it_into_a_link, world.config, "old")
    world.watched.renew([str(world.config)])
    while world.watched.read():
        pass
    world.config.write_text("written where the link leads")
    assert world.watched.read()


@needs_inotify
def test_a_path_that_always_leads_elsewhere_is_looked_at(make: Callable[..., World], tmp_path: Path) -> None:
    class Restless(Inotify):
        number = 0
        config = tmp_path

        def add(self, path: str, mask: int) -> int:
            self.number += 1
            os.link(self.config, tmp_path / f"kept-{self.number}")  # or a later file might get its inode
            replace(self.config, "old")
            return super().add(path, mask)

    notifier = Restless()
    world = make(notifier)
    notifier.config = world.config
    world.begin()
    assert world.watched.needs_polling
    assert world.changes.wait_until() <= world.now + POLL_INTERVAL
