"""Files of models that never answer, as on a network mount that hangs, hold up nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from llamaswap_lib.config.schema import Model
from llamaswap_lib.core.eviction.devices import NeedSource
from llamaswap_lib.estimates.estimator import Estimate, Estimator
from llamaswap_lib.memory.files_apart import FilesApart, look_of
from llamaswap_lib.memory.picture import MemoryPicture, Surroundings
from tests.estimates.test_estimator import weights
from tests.hardware.machines import GIB
from tests.memory.test_picture import World
from tests.web.upstreams import wait_until

PATIENCE = 10.0  # seconds, until the test gives up
CONFIG = """
models:
  a: {{cmd: "llama-server --port ${{PORT}} -m {folder}/mount/a.gguf -c 4096 -ngl 99"}}
  b: {{cmd: "llama-server --port ${{PORT}} -m {folder}/b.gguf -c 4096 -ngl 99"}}
store: {{path: {folder}/rows.db}}
routing: {{router: {{use: memory}}}}
"""


class Mount:
    """A folder whose files do not answer while it `hangs`."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.door = threading.Event()
        self.door.set()
        self.stuck: list[threading.Thread] = []
        self._known = 0  # of these

    def wait(self, ended: threading.Event, _seconds: float) -> bool:
        """Whether a read has ended; no longer than until it hangs, on a busy machine either."""
        wait_until(lambda: ended.is_set() or len(self.stuck) > self._known)
        self._known = len(self.stuck)
        return ended.is_set()

    def look(self, file: str) -> list[int]:
        if file.startswith(self.folder):
            if not self.door.is_set():
                self.stuck.append(threading.current_thread())
            assert self.door.wait(PATIENCE)
        return look_of(file)

    def hang(self) -> None:
        self.door.clear()

    def go_on(self) -> None:
        """All that hung has ended."""
        self.door.set()
        for thread in self.stuck:
            thread.join(PATIENCE)
            assert not thread.is_alive()


class HangingEstimator(Estimator):
    def __init__(self, mount: Mount, home: Path) -> None:
        super().__init__({}, home)
        self.mount = mount

    def estimate(self, model: Model, gpus: Mapping[str, int]) -> Estimate:
        self.mount.look(str(model.at_port(0).argv[-5]))
        return super().estimate(model, gpus)


class MountedWorld(World):
    """The file of `a` is on a mount, that of `b` is not."""

    def __init__(self, folder: Path, mount: Mount) -> None:
        self.mount = mount
        super().__init__(folder, CONFIG.format(folder=folder))

    def start(self) -> MemoryPicture:
        warn = self.log.warnings.append
        self.files = FilesApart(warn, self.mount.look, wait=self.mount.wait)
        estimator = HangingEstimator(self.mount, self.folder)
        picture = MemoryPicture(self.config, warn, lambda: self.now, lambda: self.now, estimator, self.files)
        launched = {run: self.config.models["ab"[run - 1]] for run in (1, 2)}
        around = Surroundings(
            self.hardware, lambda: list(self.details.values()), launched, lambda: self.is_awaited, self.wake
        )
        picture.connect(around)
        return picture


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    (tmp_path / "mount").mkdir()
    weights(tmp_path / "mount" / "a.gguf")
    weights(tmp_path / "b.gguf")
    mount = Mount(tmp_path / "mount")
    yield mount
    mount.go_on()


def test_what_hangs_is_unknown_and_all_else_goes_on_until_it_answers(tmp_path: Path, mount: Mount) -> None:
    mount.hang()
    world = MountedWorld(tmp_path, mount)
    world.turn()
    world.turn(61.0)
    assert [world.source(name) for name in "ab"] == [NeedSource.UNKNOWN, NeedSource.ESTIMATED]
    assert len(world.picture.now.readings) == 2
    folder = tmp_path / "mount"
    [said] = world.log.warnings
    assert said.startswith(f"the files of models in {folder} do not answer, as on a network mount that hangs")
    mount.go_on()
    world.turn(61.0)
    assert [world.source(name) for name in "ab"] == [NeedSource.ESTIMATED] * 2
    assert world.log.warnings[1:] == [f"the files of models in {folder} answer again"]


def test_what_was_measured_counts_on_while_its_file_does_not_answer(tmp_path: Path, mount: Mount) -> None:
    world = MountedWorld(tmp_path, mount)
    world.run(1, ready=True)
    world.take(1, GIB, GIB)
    world.turn()
    assert world.source("a") is NeedSource.MEASURED
    mount.hang()
    world.end(1)
    world.free(1)
    world.turn(61.0)
    assert world.source("a") is NeedSource.MEASURED
    world.run(1, ready=True)
    world.turn()
    assert world.source("a") is NeedSource.MEASURED


def test_what_was_measured_counts_on_after_a_reload_too_if_the_model_is_the_same(tmp_path: Path, mount: Mount) -> None:
    world = MountedWorld(tmp_path, mount)
    world.run(1, ready=True)
    world.take(1, GIB, GIB)
    world.turn()
    mount.hang()
    text = CONFIG.format(folder=tmp_path)
    world.picture.change(world.load(f"healthCheckTimeout: 60\n{text}"))
    world.turn()
    assert world.source("a") is NeedSource.MEASURED
    world.picture.change(world.load(text.replace("-c 4096", "-c 8192")))
    world.turn()
    assert world.source("a") is NeedSource.UNKNOWN


def test_what_is_read_comes_back_and_so_does_an_error() -> None:
    files = FilesApart()
    assert files.ask("x", lambda: 1, 0) == 1
    with pytest.raises(ValueError, match="wrong"):
        files.ask("x", lambda: int("wrong"), 0)
    assert not files.is_held("x")


def test_one_thread_does_all_and_ends_with_those_that_ask_it() -> None:
    files = FilesApart()
    threads = {files.ask(folder, threading.current_thread, None) for folder in "abcd"}
    [reader] = threads
    assert isinstance(reader, threading.Thread)
    assert reader.is_alive()
    del files
    reader.join(PATIENCE)
    assert not reader.is_alive()


def test_one_that_hangs_is_replaced_and_ends_when_it_is_done(mount: Mount) -> None:
    files = FilesApart(look=mount.look, wait=mount.wait)
    mount.hang()
    files.ask("mount", lambda: files.look(f"{mount.folder}/a.gguf"), [0])
    assert files.is_held("mount")
    other = files.ask("disk", threading.current_thread, None)
    assert other not in (None, *mount.stuck)
    assert files.ask("disk", threading.current_thread, None) is other
    mount.go_on()  # it looks whether what hung has ended
    files.close()


def test_many_folders_of_one_mount_are_waited_for_little_longer_than_one() -> None:
    files, door = FilesApart(hold=0.02), threading.Event()
    waited, folders = 0.0, [f"models/{number}" for number in range(40)]
    try:
        for folder in folders:
            waited += files.patience
            assert files.ask(folder, lambda: door.wait(PATIENCE), otherwise=False) is False
        assert waited < 7 * 0.02
        assert files.ask(folders[0], lambda: True, otherwise=False) is False, "it hangs still"
    finally:
        door.set()
    wait_until(lambda: not any(map(files.is_held, folders)))
    assert files.patience == 0.02
