"""Which GPUs can be asked: sources that are there, that fail, and hardware that comes and goes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from llamaswap_lib.hardware.readings import GpuSource, Held, SourceLost
from llamaswap_lib.hardware.sources import LOOK_AGAIN, Gpus, openers
from tests.hardware.folders import HOST, write
from tests.hardware.machines import Cards, Log, gpu
from tests.shortage import no_descriptor_left


class Shelf:
    """Gives what is put on it, and counts how often it was asked."""

    def __init__(self, source: Cards | None) -> None:
        self.source = source
        self.problem = ""
        self.asked = 0

    def __call__(self) -> GpuSource | None:
        self.asked += 1
        if self.problem:
            raise SourceLost(self.problem)
        return self.source


def gpus_of(log: Log, folder: Path, *shelves: Shelf) -> Gpus:
    return Gpus(shelves, log.reports, sys_folder=str(folder), proc=str(folder))


def test_a_machine_without_gpus_is_asked_once_and_says_nothing(tmp_path: Path) -> None:
    log, shelf = Log(), Shelf(None)
    gpus = gpus_of(log, tmp_path, shelf)
    for now in range(0, 1000, 5):
        assert gpus.read(float(now)) == ()
    assert shelf.asked == 1
    assert (log.warnings, log.infos, gpus.sources, gpus.problems) == ([], [], [], [])


def test_gpus_of_all_sources_are_numbered_in_one_row(tmp_path: Path) -> None:
    gpus = gpus_of(Log(), tmp_path, Shelf(Cards(gpu("a"), gpu("b"))), Shelf(None), Shelf(Cards(gpu("c"))))
    found = gpus.read(0.0)
    assert [(one.key, gpus.number(one)) for one in found] == [("a", 0), ("b", 1), ("c", 2)]
    assert gpus.sources == ["cards", "cards"]


def test_a_gpu_that_goes_is_one_warning_and_one_line_when_it_is_back_with_its_number(tmp_path: Path) -> None:
    log, cards = Log(), Cards(gpu("a"), gpu("b", name="Second"))
    gpus = gpus_of(log, tmp_path, Shelf(cards))
    gpus.read(0.0)
    gone = cards.gpus.pop(0)
    for now in range(1, 10):
        gpus.read(float(now))
    assert log.warnings == ["GPU 0 (Card) cannot be read any more"]
    assert [gpus.number(one) for one in gpus.now] == [1]
    cards.gpus.append(gone)
    gpus.read(11.0)
    assert log.infos == ["GPU 0 (Card) can be read again"]
    assert {one.key: gpus.number(one) for one in gpus.now} == {"b": 1, "a": 0}
    assert len(log.warnings) == 1


def test_a_driver_that_fails_is_closed_told_once_and_tried_again(tmp_path: Path) -> None:
    log, cards = Log(), Cards(gpu("a"))
    shelf = Shelf(cards)
    gpus = gpus_of(log, tmp_path, shelf)
    gpus.read(0.0)
    cards.lost = "GPU is lost"
    assert gpus.read(5.0) == ()
    assert cards.ends == 1
    shelf.problem = "GPU is lost"
    for now in range(10, 300, 5):
        assert gpus.read(float(now)) == ()
    assert log.warnings == ["GPUs cannot be read: GPU is lost", "GPU 0 (Card) cannot be read any more"]
    assert gpus.problems == ["GPU is lost"]
    assert 3 <= shelf.asked <= 300 / LOOK_AGAIN + 1
    shelf.problem, cards.lost = "", ""
    gpus.read(300.0 + LOOK_AGAIN)
    assert log.infos == ["GPU 0 (Card) can be read again"]
    assert gpus.problems == []


def test_a_driver_that_is_opened_and_fails_again_is_told_once(tmp_path: Path) -> None:
    log, cards = Log(), Cards()
    cards.lost = "no answer"
    gpus = gpus_of(log, tmp_path, Shelf(cards))
    for now in range(0, 600, 5):
        gpus.read(float(now))
    assert log.warnings == ["GPUs cannot be read: no answer"]


def test_a_mistake_of_ours_in_one_source_is_reported_once_and_the_others_are_read(tmp_path: Path) -> None:
    class Broken(Cards):
        def held_by(self, pids: Collection[int]) -> Mapping[str, Held]:
            raise KeyError("a mistake")

    log, good = Log(), Cards(gpu("a"))
    good.held = {5: {"a": Held(1, "nvml")}}
    gpus = gpus_of(log, tmp_path, Shelf(Broken(gpu("b"))), Shelf(good))
    assert len(gpus.read(0.0)) == 2
    for _ in range(3):
        assert gpus.held_by([5]) == {"a": Held(1, "nvml")}
    assert [one.key for one in gpus.read(500.0)] == ["a"]
    assert len(log.errors) == 1
    assert "KeyError: 'a mistake'" in log.errors[0]


def test_hardware_that_comes_later_is_found(tmp_path: Path) -> None:
    shelf = Shelf(None)
    gpus = gpus_of(Log(), tmp_path, shelf)
    assert gpus.read(0.0) == ()
    shelf.source = Cards(gpu("a"))
    (tmp_path / "class" / "drm" / "card1").mkdir(parents=True)
    assert gpus.read(LOOK_AGAIN - 1) == ()
    assert [one.key for one in gpus.read(LOOK_AGAIN)] == ["a"]


def test_when_hardware_changes_what_is_open_is_opened_anew(tmp_path: Path) -> None:
    cards = Cards(gpu("a"))
    shelf = Shelf(cards)
    gpus = gpus_of(Log(), tmp_path, shelf)
    gpus.read(0.0)
    (tmp_path / "class" / "drm" / "card1").mkdir(parents=True)
    shelf.source = None
    assert gpus.read(LOOK_AGAIN) == ()
    assert (cards.ends, gpus.sources) == (1, [])


def test_a_look_for_which_there_is_no_descriptor_takes_no_hardware_away(tmp_path: Path) -> None:
    (tmp_path / "class" / "drm" / "card1").mkdir(parents=True)
    log, cards = Log(), Cards(gpu("a"))
    gpus = gpus_of(log, tmp_path, Shelf(cards))
    gpus.read(0.0)
    with no_descriptor_left():
        found = gpus.read(LOOK_AGAIN)
    assert ([one.key for one in found], cards.ends, log.warnings) == (["a"], 0, [])


def test_a_slow_source_is_asked_less_often_unless_it_is_forced(tmp_path: Path) -> None:
    cards = Cards(gpu("a"), pause=30.0)
    gpus = gpus_of(Log(), tmp_path, Shelf(cards))
    for now in (0.0, 5.0, 29.0):
        assert len(gpus.read(now)) == 1
    assert cards.readings == 1
    gpus.read(30.0)
    gpus.read(31.0, is_forced=True)
    assert cards.readings == 3


def test_a_slow_source_that_is_opened_anew_is_asked_at_once(tmp_path: Path) -> None:
    log, cards = Log(), Cards(gpu("a"), pause=LOOK_AGAIN / 2)
    gpus = gpus_of(log, tmp_path, Shelf(cards))
    gpus.read(0.0)
    gpus.read(LOOK_AGAIN - 5)
    (tmp_path / "class" / "drm" / "card1").mkdir(parents=True)
    assert [one.key for one in gpus.read(LOOK_AGAIN)] == ["a"]
    assert log.warnings == []


def test_all_sources_are_asked_what_processes_hold_and_closed_at_the_end(tmp_path: Path) -> None:
    one, other = Cards(gpu("a")), Cards(gpu("b"))
    one.held, other.held = {5: {"a": Held(1, "nvml")}}, {5: {"b": Held(2, "fdinfo")}}
    gpus = gpus_of(Log(), tmp_path, Shelf(one), Shelf(other))
    gpus.read(0.0)
    assert gpus.held_by([5]) == {"a": Held(1, "nvml"), "b": Held(2, "fdinfo")}
    gpus.close()
    assert (one.ends, other.ends) == (1, 1)
    assert gpus.held_by([5]) == {}


def test_the_platform_decides_what_is_tried(tmp_path: Path) -> None:
    assert len(openers("darwin")) == 1
    assert [source() for source in openers("linux", sys_folder=str(tmp_path), proc=write(tmp_path, HOST))][1:] == [None]


def test_cards_of_the_kernels_drivers_are_opened(tmp_path: Path) -> None:
    write(tmp_path, {"class/drm/card0/device/vendor": "0x1002", "class/drm/card0/device/uevent": "PCI_SLOT_NAME=0:0"})
    source = openers("linux", sys_folder=str(tmp_path), proc=str(tmp_path))[1]()
    assert source is not None
    assert [one.name for one in source.read()] == ["AMD GPU"]
