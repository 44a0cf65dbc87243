"""`MemoryPicture`: what there is, what others use and what models need, as a driver and /proc tell it over time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.config.load import load_text
from llamaswap_lib.config.schema import Config
from llamaswap_lib.core.eviction.devices import NeedSource, Reading
from llamaswap_lib.core.run import RunState
from llamaswap_lib.core.snapshot import RunView
from llamaswap_lib.hardware.readings import Held
from llamaswap_lib.hardware.sampler import CLOSE, LEAST_PAUSE, Hardware, Roots
from llamaswap_lib.memory.files_apart import FilesApart
from llamaswap_lib.memory.picture import FREEING, PATIENCE, MemoryPicture, Surroundings
from tests.hardware.folders import process, write
from tests.hardware.machines import GIB, MIB, Cards, Detail, Log, gpu

RAM, CARD = "ram", "GPU-1"


class World:
    """A machine of 16 GB with a card of 24 GB, on which models and others take memory when a test says so."""

    def __init__(self, folder: Path, config: str = "", *, card: bool = True, sees: bool = True) -> None:
        self.folder = folder
        self.now = 1000.0
        self.log = Log()
        self.details: dict[int, Detail] = {}
        self.config = self.load(config)
        self.sees = sees
        self.cards = Cards(gpu(CARD, sees=sees))
        self.others = {RAM: 0, CARD: 0}
        self.taken: dict[int, dict[str, int]] = {}
        self.mapped: dict[int, int] = {}
        self.is_awaited = self.is_freeing = False
        self.wakes = 0
        self.hardware = Hardware(
            runs=lambda: list(self.details.values()),
            roots=Roots(str(folder / "proc"), str(folder / "sys"), str(folder / "etc")),
            platform="linux",
            open_sources=[partial(lambda cards: cards, self.cards)] if card else [],
            clock=lambda: self.now,
        )
        self.files = FilesApart(self.log.warnings.append)
        self.picture = self.start()

    def load(self, config: str) -> Config:
        models = "models: {a: {cmd: 'server -m a --port ${PORT}'}, b: {cmd: 'server -m b --port ${PORT}'}}\n"
        store = f"store: {{path: {self.folder}/rows.db}}\nrouting: {{router: {{use: memory}}}}\n"
        return load_text(config or models + store, environment={})

    def start(self) -> MemoryPicture:
        """As after a restart of the program."""
        warn = self.log.warnings.append
        picture = MemoryPicture(self.config, warn, lambda: self.now, lambda: self.now, files=self.files)
        launched = {run: self.config.models["ab"[run - 1]] for run in (1, 2)}
        around = Surroundings(
            *(self.hardware, lambda: list(self.details.values()), launched, lambda: self.is_awaited, self.wake),
            lambda: self.is_freeing,
        )
        picture.connect(around)
        return picture

    def wake(self) -> None:
        self.wakes += 1

    def run(self, run_id: int, *, ready: bool) -> None:
        run = RunView(
            *(run_id, "ab"[run_id - 1], 1, "ready" if ready else "starting"),
            *(RunState.READY if ready else RunState.STARTING, self.now, self.now if ready else None),
        )
        self.details[run_id] = Detail(run, 100 + run_id)

    def end(self, run_id: int) -> None:
        del self.details[run_id]

    def free(self, run_id: int) -> None:
        del self.taken[run_id]

    def take(self, run_id: int, ram: int, card: int = 0, mapped: int = 0) -> None:
        self.taken[run_id] = {RAM: ram, CARD: card}
        self.mapped[run_id] = mapped

    def turn(self, seconds: float = 5.0) -> None:
        self.now += seconds
        used = {name: self.others[name] + sum(one[name] for one in self.taken.values()) for name in self.others}
        content = {"stat": "cpu0 1 1 1 1 1 1 1 1\n", "meminfo": meminfo(16 * GIB, 16 * GIB - used[RAM])}
        for run_id, sizes in self.taken.items():
            pid, mapped = 100 + run_id, self.mapped[run_id]
            content |= process(pid, 1, pid, smaps_rollup=rollup(sizes[RAM], mapped))
            self.cards.held[pid] = {CARD: Held(sizes[CARD], "nvml")} if self.sees and sizes[CARD] else {}
        self.cards.gpus = [gpu(CARD, used[CARD], sees=self.sees)]
        write(self.folder / "proc", content)
        self.hardware.note_change()
        self.hardware.take_turn()

    @property
    def others_seen(self) -> dict[str, int]:
        return {name: device.others for name, device in self.picture.now.devices.items()}

    def source(self, model: str) -> NeedSource:
        return self.picture.now.need(model).source


def meminfo(total: int, free: int) -> str:
    return f"MemTotal: {total >> 10} kB\nMemAvailable: {free >> 10} kB\n"


def rollup(own: int, mapped: int) -> str:
    return f"Pss: {(own + mapped) >> 10} kB\nPss_File: {mapped >> 10} kB\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.files.close()


def test_a_model_is_measured_when_it_is_ready_by_what_it_takes_and_has_mapped(world: World) -> None:
    world.turn()
    assert world.source("a") is NeedSource.UNKNOWN
    world.run(1, ready=False)
    world.take(1, GIB, 9 * GIB, mapped=2 * GIB)
    world.turn()
    assert world.source("a") is NeedSource.UNKNOWN  # it may have taken half of it
    world.run(1, ready=True)
    world.take(1, GIB, 10 * GIB, mapped=2 * GIB)
    world.turn()
    assert world.picture.now.need("a").devices == {RAM: 3 * GIB, CARD: 10 * GIB}
    assert world.picture.now.held == {"a": {RAM: 3 * GIB, CARD: 10 * GIB}}
    assert world.others_seen == {RAM: 0, CARD: 0}


@pytest.mark.parametrize("sees", [True, False])
def test_a_card_that_is_asked_seldom_tells_nothing_of_a_model_that_has_come_since(tmp_path: Path, sees: bool) -> None:
    world = World(tmp_path, sees=sees)
    world.cards.pause = 40.0
    world.turn()
    world.run(1, ready=True)
    world.take(1, GIB, 10 * GIB)
    for _ in range(7):
        world.turn()
        assert world.source("a") is NeedSource.UNKNOWN
    world.turn()  # the card is asked
    assert world.source("a") is NeedSource.MEASURED
    assert world.picture.now.need("a").devices == {RAM: GIB, CARD: 10 * GIB}
    assert world.log.warnings == []
    world.files.close()


def test_the_highest_counts_and_is_known_after_a_restart(world: World) -> None:
    for most in (10, 12, 11):
        world.run(1, ready=True)
        world.take(1, GIB, most * GIB)
        world.turn()
    world.end(1)
    world.free(1)
    world.turn()
    assert world.picture.now.need("a").devices[CARD] == 12 * GIB
    world.picture = world.start()
    world.turn()
    assert world.picture.now.need("a").devices[CARD] == 12 * GIB
    assert world.source("b") is NeedSource.UNKNOWN


def test_what_others_take_and_give_back_counts_at_once_and_wakes_those_who_wait(world: World) -> None:
    world.run(1, ready=True)
    world.take(1, GIB, 10 * GIB)
    world.turn()
    world.is_awaited = True
    world.others = {RAM: 2 * GIB, CARD: 6 * GIB}
    world.turn()
    assert world.others_seen == world.others
    assert world.wakes == 1
    world.others[CARD] += 10 * MIB
    world.turn()
    assert world.wakes == 1  # that is noise
    world.others[CARD] = 0
    world.turn()
    assert world.wakes == 2


YIELDS = """
models: {a: {cmd: "server -m a --port ${PORT}"}, b: {cmd: "server -m b --port ${PORT}"}}
store: {path: FOLDER/rows.db}
routing: {router: {use: memory, settings: {memory: {devices: {"0": {reserve: 1GB, yieldTo: others}}}}}}
"""


def pressed_world(folder: Path, config: str = YIELDS) -> World:
    """A runs, and holds 10 GB of the card."""
    world = World(folder, config.replace("FOLDER", str(folder)))
    world.run(1, ready=True)
    world.take(1, GIB, 10 * GIB)
    world.turn()
    assert world.wakes == 0
    return world


def test_others_who_leave_less_than_the_reserve_wake_the_controller_though_nobody_waits(tmp_path: Path) -> None:
    world = pressed_world(tmp_path)
    world.others[CARD] = 13 * GIB
    world.turn()
    assert world.wakes == 0
    world.others[CARD] = 14 * GIB
    world.turn()
    assert world.wakes == 1
    world.turn()
    assert world.wakes == 1  # nothing is otherwise
    world.end(1)
    world.free(1)
    world.turn()
    assert world.wakes == 1


def test_where_nobody_said_so_others_wake_nobody(tmp_path: Path) -> None:
    world = pressed_world(tmp_path, YIELDS.replace("yieldTo: others", "yieldTo: nobody"))
    world.others[CARD] = 14 * GIB
    world.turn()
    assert world.wakes == 0


def test_a_model_that_grows_over_the_reserve_wakes_the_controller_and_its_growth_is_told(tmp_path: Path) -> None:
    world = pressed_world(tmp_path, YIELDS.replace("yieldTo: others", "yieldTo: nobody"))
    world.run(2, ready=True)
    world.take(2, GIB, 11 * GIB)
    world.turn()
    assert (world.wakes, world.picture.now.grown) == (0, {})
    world.take(1, GIB, 13 * GIB)
    world.turn()
    assert (world.wakes, world.picture.now.grown) == (1, {"a": {CARD: 3 * GIB}})
    assert world.picture.now.need("a").devices[CARD] == 13 * GIB


def test_one_that_grows_over_what_it_is_said_to_need_is_told_of_once(tmp_path: Path) -> None:
    world = World(tmp_path, f"{DECLARED}store: {{path: {tmp_path}/rows.db}}\n")
    world.run(1, ready=True)
    for size in (10, 20, 21):
        world.take(1, GIB, size * GIB)
        world.turn()
    said = "a: holds 20.0 GB on GPU 0, more than its memory: of 18.0 GB"
    assert world.log.warnings[1:] == [f"{said}; say more, for others are let in beside it and then go"]


def next_reading(world: World) -> float:
    """Seconds until it is due, beside the samples."""
    return float(vars(world.hardware)["_soon"] - world.now)


def test_a_device_that_yields_is_read_each_second_while_a_model_runs(tmp_path: Path) -> None:
    world = pressed_world(tmp_path)
    assert next_reading(world) == LEAST_PAUSE
    world.end(1)
    world.turn()
    assert next_reading(world) > LEAST_PAUSE


def test_where_a_model_serves_and_little_is_left_memory_is_read_each_second(tmp_path: Path) -> None:
    world = pressed_world(tmp_path, YIELDS.replace("yieldTo: others", "yieldTo: nobody"))
    detail = world.details[1]
    world.details[1] = Detail(detail.run, detail.pid, in_flight=1)
    world.turn()
    assert next_reading(world) > LEAST_PAUSE
    world.others[CARD] = 12 * GIB + GIB // 2
    world.turn()
    assert next_reading(world) == LEAST_PAUSE
    world.details[1] = detail
    world.turn()
    assert next_reading(world) > LEAST_PAUSE


def test_what_is_declared_and_seen_not_to_be_taken_is_known_to_be_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, f"{DECLARED}store: {{path: {tmp_path}/rows.db}}\n")
    world.run(2, ready=True)
    world.take(2, GIB)
    world.turn()
    assert world.picture.now.held["b"] == {RAM: GIB, CARD: 0}


def test_what_a_model_takes_while_it_loads_is_no_others(world: World) -> None:
    world.others = {RAM: GIB, CARD: 3 * GIB}
    world.turn()
    world.run(1, ready=False)
    world.turn()
    world.taken[1] = {RAM: 0, CARD: 8 * GIB}
    world.mapped[1] = 0
    world.sees = False  # the driver does not yet name the process
    world.turn()
    assert world.others_seen == {RAM: GIB, CARD: 3 * GIB}


def test_more_than_a_known_model_can_have_taken_is_others_while_it_loads(world: World) -> None:
    world.run(1, ready=True)
    world.take(1, GIB, 8 * GIB)
    world.turn()
    world.end(1)
    world.free(1)
    world.turn()
    world.turn(FREEING + 1)
    world.run(1, ready=False)
    world.take(1, 0, 2 * GIB)
    world.others[CARD] = 10 * GIB
    world.turn()
    assert world.others_seen[CARD] == 4 * GIB  # 12 are in use, 8 of which may soon be the model's
    world.run(1, ready=True)
    world.take(1, GIB, 8 * GIB)
    world.turn()
    assert world.others_seen[CARD] == 10 * GIB


def test_what_one_that_has_ended_has_not_given_back_yet_is_no_others(world: World) -> None:
    world.run(1, ready=True)
    world.take(1, GIB, 8 * GIB)
    world.turn()
    world.end(1)
    world.turn(0.5)
    assert world.others_seen == {RAM: 0, CARD: 0}
    world.turn(FREEING + 1)
    assert world.others_seen[CARD] == 8 * GIB  # it never came back: somebody else has it


def test_a_chosen_card_that_tells_nothing_any_more_does_not_end_the_picture(tmp_path: Path) -> None:
    world = World(tmp_path, sees=False)
    world.turn()
    world.run(1, ready=True)
    world.details[1] = Detail(replace(world.details[1].run, gpus=(CARD,)), 101)
    world.take(1, GIB)
    world.turn()
    world.now += 2 * PATIENCE
    world.cards.gpus = [gpu(CARD, None, None, sees=False)]  # it sleeps: the model does not compute there
    world.hardware.note_change()
    world.hardware.take_turn()
    assert not world.picture.is_old, world.log.warnings
    world.files.close()


class Growing(dict[int, Detail]):
    """Runs, to which one comes right after they have been looked at for the second time."""

    def __init__(self, come: Callable[[], None]) -> None:
        super().__init__()
        self.come = come
        self.looks = 0

    def values(self) -> Any:
        found, self.looks = list(super().values()), self.looks + 1
        if self.looks == 2:
            self.come()
        return found


def test_what_comes_while_the_picture_is_made_has_not_gone(world: World) -> None:
    world.turn()

    def come() -> None:
        world.run(1, ready=True)
        world.picture.note_runs([world.details[1].run])

    world.details = Growing(come)
    world.turn()
    world.take(1, GIB, 10 * GIB)
    world.turn(1.0)
    world.others[CARD] = 8 * GIB
    world.turn(1.0)
    assert world.others_seen[CARD] == 8 * GIB


def test_what_came_and_went_between_two_readings_is_no_others(world: World) -> None:
    world.turn()
    world.run(1, ready=True)
    world.picture.note_runs([world.details[1].run])
    world.take(1, GIB, 8 * GIB)
    world.end(1)
    world.turn(0.5)
    assert world.others_seen[CARD] == 0
    world.turn(FREEING + 1)
    assert world.others_seen[CARD] == 8 * GIB


def test_the_last_two_readings_say_what_is_free_and_when_they_began(world: World) -> None:
    world.run(1, ready=True)
    world.take(1, GIB, 10 * GIB)
    world.turn()
    (first,) = world.picture.now.readings
    world.others = {RAM: 2 * GIB, CARD: 6 * GIB}
    world.turn()
    world.turn()
    assert first == Reading(world.now - 10.0, {RAM: 15 * GIB, CARD: 14 * GIB})
    last = {RAM: 13 * GIB, CARD: 8 * GIB}
    assert world.picture.now.readings == (Reading(world.now - 5.0, last), Reading(world.now, last))


def test_while_a_start_waits_for_memory_each_reading_is_told_and_the_next_one_is_close(world: World) -> None:
    world.turn()
    assert vars(world.hardware)["_next_close"] > world.now + 1
    world.is_freeing = True
    for count in (1, 2):
        world.turn(0.1)
        assert world.wakes == count
        assert vars(world.hardware)["_next_close"] == world.now + CLOSE


def test_a_model_of_which_nobody_tells_is_asked_for_once(tmp_path: Path) -> None:
    world = World(tmp_path, sees=False)
    world.others = {RAM: 0, CARD: 3 * GIB}
    world.run(1, ready=True)  # it runs already when the machine is looked at first: there is no use without it
    world.take(1, GIB, 8 * GIB)
    for _ in range(3):
        world.turn(PATIENCE + 1)
    assert world.source("a") is NeedSource.UNKNOWN
    assert world.log.warnings == ["a: what it takes of GPU 0 cannot be measured; say it with memory:"]


def test_a_gpu_that_a_model_does_not_see_need_not_be_measured(tmp_path: Path) -> None:
    unseen = YIELDS.replace("}, b:", ", env: [CUDA_VISIBLE_DEVICES=]}, b:").replace("FOLDER", str(tmp_path))
    world = World(tmp_path, unseen, sees=False)
    world.others = {RAM: 0, CARD: 3 * GIB}
    world.run(1, ready=True)
    world.take(1, GIB)
    for _ in range(3):
        world.turn(PATIENCE + 1)
    assert world.picture.now.need("a").devices == {RAM: GIB}
    assert world.log.warnings == []


def test_where_processes_are_not_seen_the_change_of_the_device_is_the_measure(tmp_path: Path) -> None:
    world = World(tmp_path, sees=False)
    world.others[CARD] = 3 * GIB
    world.turn()
    world.turn()
    world.run(1, ready=False)
    world.turn()
    world.run(1, ready=True)
    world.take(1, GIB, 8 * GIB)
    world.turn()
    world.turn()
    assert world.picture.now.need("a").devices == {RAM: GIB, CARD: 8 * GIB}
    assert world.others_seen[CARD] == 3 * GIB


def test_a_model_that_was_measured_before_is_not_asked_for_where_nobody_tells_now(tmp_path: Path) -> None:
    before = World(tmp_path, sees=False)
    before.turn()
    before.run(1, ready=True)
    before.take(1, GIB, 8 * GIB)
    for _ in range(3):
        before.turn()
    assert before.source("a") is NeedSource.MEASURED
    world = World(tmp_path, sees=False)  # as after an upgrade: it runs already when the machine is looked at first
    world.run(1, ready=True)
    world.take(1, GIB, 8 * GIB)
    for _ in range(3):
        world.turn(PATIENCE + 1)
    assert world.picture.now.need("a").devices == {RAM: GIB, CARD: 8 * GIB}
    assert world.others_seen[CARD] == 0
    assert world.log.warnings == []


DECLARED = """
models:
  a: {cmd: "server --port ${PORT}", memory: 18GB}
  b: {cmd: "server --port ${PORT}", memory: {ram: 2GB, "0": 4GB, "7": 1GB}}
routing:
  router:
    use: memory
    settings: {memory: {devices: {ram: {capacity: 8GB, reserve: 1GB}, "0": {reserve: 25%}}}}
"""


def test_what_is_declared_counts_and_devices_are_as_they_are_set(tmp_path: Path) -> None:
    world = World(tmp_path, DECLARED)
    world.others[RAM] = 9 * GIB
    world.turn()
    needs, devices = world.picture.now.needs, world.picture.now.devices
    assert needs["a"].devices == {CARD: 18 * GIB}
    assert needs["b"].devices == {RAM: 2 * GIB, CARD: 4 * GIB}
    assert needs["b"].source is NeedSource.DECLARED
    assert (devices[RAM].capacity, devices[RAM].reserve, devices[RAM].others) == (8 * GIB, GIB, GIB)
    assert (devices[CARD].capacity, devices[CARD].reserve, devices[CARD].label) == (24 * GIB, 6 * GIB, "GPU 0")
    assert world.log.warnings == ["b: memory names the device 7, which is not there"]


def test_a_size_alone_is_of_the_machine_where_there_is_no_gpu(tmp_path: Path) -> None:
    world = World(tmp_path, DECLARED, card=False)
    world.turn()
    assert world.picture.now.needs["a"].devices == {RAM: 18 * GIB}
    assert list(world.picture.now.devices) == [RAM]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1, "needs": {"x": {"peaks": [{"ram": "1"}]}}}', "\0" * 9])
def test_a_file_that_cannot_be_used_is_begun_anew_with_a_warning(world: World, tmp_path: Path, text: str) -> None:
    file = tmp_path / "rows.db.needs.json"
    file.write_text(text)
    world.run(1, ready=True)
    world.take(1, GIB, 8 * GIB)
    world.turn()
    assert [line.endswith("; what models need is measured anew") for line in world.log.warnings] == [True]
    assert file.stat().st_mode & 0o777 == 0o600
    (row,) = json.loads(file.read_text())["needs"].values()
    assert (row["model"], row["peaks"]) == ("a", [{RAM: GIB, CARD: 8 * GIB}])


@pytest.mark.parametrize("at", ["1e999", "-1e999", "NaN", "1e300", '"now"', "null", "[]"])
def test_a_moment_that_is_none_counts_as_long_ago(world: World, tmp_path: Path, at: str) -> None:
    file = tmp_path / "rows.db.needs.json"
    file.write_text(f'{{"version": 1, "needs": {{"x": {{"model": "x", "at": {at}, "peaks": [{{"ram": 5}}]}}}}}}')
    world.run(1, ready=True)
    world.take(1, GIB, 8 * GIB)
    world.turn()
    assert world.log.warnings == []
    kept = json.loads(file.read_text())["needs"]
    assert (len(kept), kept["x"]) == (2, {"model": "x", "at": 0, "peaks": [{RAM: 5}]})


def test_a_file_that_cannot_be_written_is_a_warning_and_no_more(world: World, tmp_path: Path) -> None:
    (tmp_path / "rows.db.needs.json").mkdir()
    world.run(1, ready=True)
    world.take(1, GIB, 8 * GIB)
    world.turn()
    world.turn()
    assert world.source("a") is NeedSource.MEASURED
    assert len(world.log.warnings) == len(set(world.log.warnings)) <= 2
    assert [path.name for path in tmp_path.glob("*.new")] == []


def test_how_often_a_model_is_asked_for_is_noted_and_names_that_are_none_are_forgotten(world: World) -> None:
    asked = [("a", 100.0), ("no such model", 101.0), ("a", 110.0), ("no such model", 120.0)]
    world.picture.note_requests(asked)
    world.turn()
    assert world.picture.now.gaps == {"a": 10.0}


def test_without_use_memory_requests_are_not_noted(tmp_path: Path) -> None:
    world = World(tmp_path, "models: {a: {cmd: 'server --port ${PORT}'}, b: {cmd: 'server --port ${PORT}'}}\n")
    world.picture.note_requests([("a", 100.0), ("a", 110.0)])
    world.turn()
    assert world.picture.now.gaps == {}


def test_a_gpu_that_was_not_asked_again_shows_nothing_of_what_is_free_now(world: World) -> None:
    world.cards.pause = 30.0
    world.turn()
    world.turn()
    first, second = world.picture.now.readings
    assert first.free.keys() == {RAM, CARD}
    assert second.free.keys() == {RAM}
    assert CARD in world.picture.now.devices


def test_until_the_first_reading_nothing_is_known_where_one_is_expected(world: World) -> None:
    assert world.picture.now.is_read
    world.picture.expect()
    assert not world.picture.now.is_read
    world.turn()
    assert world.picture.now.is_read
    assert world.picture.now.devices


def test_who_has_waited_for_it_in_vain_goes_on_without(world: World) -> None:
    world.picture.expect()
    world.picture.do_without()
    assert world.picture.now.is_read
    assert not world.picture.now.devices
    assert world.wakes == 1


def test_what_cannot_be_made_of_a_reading_leaves_the_last_picture_which_is_then_old(world: World) -> None:
    faults: list[Exception] = []

    def runs() -> list[Detail]:
        for fault in faults:
            raise fault
        return []

    told: list[str] = []
    picture = MemoryPicture(world.config, told.append, lambda: world.now, lambda: world.now, files=world.files)
    picture.connect(Surroundings(world.hardware, runs, {}, lambda: False, world.wake))
    world.turn()
    before = picture.now
    assert before.devices
    faults.append(ValueError("a mistake of ours"))
    world.turn()
    world.turn()
    assert picture.is_old
    assert picture.now is before
    assert len(told) == 1
    assert told[0].startswith(
        "the memory of models is not known anew, and what was known last is used until it is\nTrace"
    )
    assert "ValueError: a mistake of ours" in told[0]
    faults.clear()
    world.turn()
    assert not picture.is_old
    assert picture.now is not before
    assert told[1:] == ["the memory of models is known again"]
