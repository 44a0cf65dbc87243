"""`Hardware`: samples of an hour, readings when they are asked for, and a thread that nothing can end or hold up."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.core.run import RunState
from llamaswap_lib.hardware.readings import Gpu, Held
from llamaswap_lib.hardware.sampler import (
    AFTER_FAILURE,
    AFTERWARDS,
    CLOSE,
    COARSE,
    DEAREST,
    DELAY,
    FIRST,
    LEAST_PAUSE,
    Hardware,
    Roots,
    SamplerSettings,
)
from llamaswap_lib.wire.rfc3339 import parse_moment
from tests.hardware.folders import process, write
from tests.hardware.machines import GIB, MIB, Cards, Detail, Log, Run, gpu
from tests.hardware.test_linux import LATER, MEMINFO, NET, STAT
from tests.hardware.test_processes import ROLLUP

DEADLINE = 60.0
USUAL = SamplerSettings()
START = 1769860800.25  # seconds since 1970


def given(cards: Cards) -> Cards:
    return cards


class Machine:
    """A `Hardware` whose thread does not run: a test takes its turns. Time passes when the test says so."""

    def __init__(self, folder: Path, *cards: Cards, settings: SamplerSettings = USUAL) -> None:
        self.folder = folder
        self.now = 1000.0
        self.log = Log()
        self.runs: list[Detail] = []
        self.mistake = ""
        self.proc = write(folder / "proc", {"stat": STAT, "meminfo": MEMINFO, "net/dev": NET, "loadavg": "1 2 3 x"})
        self.hardware = Hardware(
            settings._replace(folders=(str(folder),)),
            self.find_runs,
            self.log.reports,
            roots=Roots(self.proc, str(folder / "sys"), str(folder / "etc")),
            platform="linux",
            open_sources=[partial(given, one) for one in cards],
            clock=lambda: self.now,
            wall=lambda: START + self.now - 1000.0,
        )

    def find_runs(self) -> list[Detail]:
        if self.mistake:
            raise KeyError(self.mistake)
        return self.runs

    def turn(self, seconds: float = 0.0) -> None:
        """Let time pass, and let the thread's turn come."""
        self.now += seconds
        self.hardware.take_turn()

    def times(self) -> list[str]:
        return [row["timestamp"][17:] for row in self.hardware.system_samples()]


# -- samples --


def test_the_first_sample_comes_when_it_can_tell_how_busy_a_core_is(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.turn()
    assert machine.hardware.system_samples() == []
    assert machine.hardware.latest() == (None, [])
    write(tmp_path / "proc", {"stat": LATER})
    machine.turn(FIRST)
    (row,) = machine.hardware.system_samples()
    disk = row.pop("disks")
    assert row == {
        "timestamp": "2026-01-31T12:00:01.250Z",
        "cpu_util_per_core": [50.0, 0.0, 30.0],
        "mem_total_mb": 16384,
        "mem_used_mb": 8192,
        "mem_free_mb": 8192,
        "swap_total_mb": 2048,
        "swap_used_mb": 1024,
        "load_avg_1": 1.0,
        "load_avg_5": 2.0,
        "load_avg_15": 3.0,
        "net_io": [
            {"name": "lo", "bytes_recv": 100, "bytes_sent": 100},
            {"name": "eth0", "bytes_recv": 5000000, "bytes_sent": 7000000},
        ],
    }
    assert [one["path"] for one in disk] == [str(tmp_path)]
    assert machine.hardware.latest().system == {**row, "disks": disk}


def test_each_gpu_is_told_with_its_number_and_what_is_unknown_is_null(tmp_path: Path) -> None:
    full = Gpu(
        *("GPU-1", "nvidia", "Card", "GPU-1"),
        used_bytes=2 * GIB,
        total_bytes=24 * GIB,
        temperature=41,
        memory_temperature=60,
        utilization=73.0,
        memory_utilization=12.0,
        fan=30.0,
        power=123.4,
    )
    machine = Machine(tmp_path, Cards(full, Gpu("0000:03:00.0", "amd", "Bare")))
    machine.turn(FIRST)
    first, second = machine.hardware.gpu_samples()
    assert first == {
        "timestamp": "2026-01-31T12:00:01.250Z",
        "id": 0,
        "name": "Card",
        "uuid": "GPU-1",
        "temp_c": 41,
        "vram_temp_c": 60,
        "gpu_util_pct": 73.0,
        "mem_util_pct": 12.0,
        "mem_used_mb": 2048,
        "mem_total_mb": 24576,
        "fan_speed_pct": 30.0,
        "power_draw_w": 123.4,
    }
    known = {"timestamp": "2026-01-31T12:00:01.250Z", "id": 1, "name": "Bare", "uuid": ""}
    assert second == {**dict.fromkeys(first), **known}
    assert machine.hardware.latest().gpus == [first, second]


def test_a_gpu_that_shares_the_memory_of_the_machine_is_told_with_that(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Cards(Gpu("GPU-1", "nvidia", "GB10", is_shared=True)))
    machine.turn(FIRST)
    (row,) = machine.hardware.gpu_samples()
    assert (row["mem_total_mb"], row["mem_used_mb"]) == (16384, 8192)


def test_samples_come_as_often_as_is_wanted_and_an_hour_of_them_is_kept(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.turn(FIRST)
    machine.turn(4.0)
    assert machine.times() == ["01.250Z"]
    machine.turn(1.0)
    assert machine.times() == ["01.250Z", "06.250Z"]
    for _ in range(2000):
        machine.turn(5.0)
    rows = machine.hardware.system_samples()
    assert len(rows) == 3600 / 5 + 1
    moments = [parse_moment(row["timestamp"]) for row in rows]
    assert moments == sorted(moments)
    assert moments[-1] - moments[0] == 3600 * 10**9


def test_a_moment_leaves_out_its_own_sample_and_those_before(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Cards(gpu()))
    for _ in range(3):
        machine.turn(5.0)
    hardware = machine.hardware
    rows = hardware.system_samples()
    second = parse_moment(rows[1]["timestamp"])
    assert hardware.system_samples(second) == hardware.gpu_samples(second)[:0] + rows[2:]
    assert len(hardware.gpu_samples(second)) == 1
    assert hardware.system_samples(second - 1) == rows[1:]
    assert hardware.system_samples(parse_moment(rows[2]["timestamp"])) == []


def test_a_wall_clock_that_is_set_back_keeps_the_order_and_loses_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.turn(5.0)
    machine.now += 5.0
    vars(machine.hardware)["_wall"] = lambda: START - 86_400.0
    machine.turn()
    assert [row["timestamp"][:10] for row in machine.hardware.system_samples()] == ["2026-01-31", "2026-01-30"]


def test_without_samples_memory_is_still_read_more_seldom(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Cards(gpu()), settings=SamplerSettings(5.0, is_disabled=True))
    write(tmp_path / "proc", process(100, 1, 100, smaps_rollup=ROLLUP))
    machine.runs = [Detail(Run(7, "m"))]
    machine.turn(FIRST)
    hardware = machine.hardware
    assert not hardware.is_enabled
    assert (hardware.system_samples(), hardware.gpu_samples(), hardware.latest()) == ([], [], (None, []))
    assert [usage.device for usage in hardware.memory_of_models()[7].usages] == ["ram"]
    assert vars(hardware)["_due"] == machine.now + COARSE


def test_other_settings_count_at_once_and_samples_that_are_not_wanted_go(tmp_path: Path) -> None:
    machine = Machine(tmp_path, settings=SamplerSettings(600.0))
    machine.turn(FIRST)
    machine.hardware.change(SamplerSettings(10.0))
    machine.turn(10.0)
    assert machine.times() == ["01.250Z", "11.250Z"]
    machine.hardware.change(SamplerSettings(10.0, is_disabled=True))
    assert machine.times() == []
    machine.turn(100.0)
    assert machine.times() == []
    machine.hardware.change(SamplerSettings(10.0))
    machine.turn(10.0)
    assert len(machine.times()) == 1


# -- memory of models --


def test_the_memory_of_a_run_is_summed_over_its_processes(tmp_path: Path) -> None:
    cards = Cards(gpu("a"), gpu("b"))
    cards.held = {100: {"a": Held(5 * GIB, "nvml")}, 101: {"b": Held(GIB, "nvml")}}
    machine = Machine(tmp_path, cards)
    content = {**process(100, 1, 100, smaps_rollup=ROLLUP), **process(101, 100, 100, smaps_rollup=ROLLUP)}
    write(tmp_path / "proc", content)
    machine.runs = [Detail(Run(7, "m")), Detail(Run(8, "n"), pid=None)]
    machine.turn()
    memory = machine.hardware.memory_of_models()
    assert list(memory) == [7]
    assert [(usage.device, usage.bytes, usage.witness) for usage in memory[7].usages] == [
        ("a", 5 * GIB, "nvml"),
        ("b", GIB, "nvml"),
        ("ram", 4000 << 10, "ram"),
    ]
    machine.runs = []
    machine.turn()
    assert machine.hardware.memory_of_models() == {}


class Meanwhile(Cards):
    """Something happens once they have been asked."""

    def __init__(self, *gpus: Gpu) -> None:
        super().__init__(*gpus)
        self.happens = list[Callable[[], None]]()

    def read(self) -> list[Gpu]:
        found = super().read()
        while self.happens:
            self.happens.pop()()
        return found


def test_one_that_becomes_ready_while_gpus_are_asked_has_no_peak_yet(tmp_path: Path) -> None:
    cards = Meanwhile(gpu("a"))
    machine = Machine(tmp_path, cards)
    write(tmp_path / "proc", process(100, 1, 100, smaps_rollup=ROLLUP))
    machine.runs = [Detail(Run(7, "m", None, RunState.STARTING))]

    def becomes_ready() -> None:
        cards.held = {100: {"a": Held(5 * GIB, "nvml")}}
        machine.runs = [Detail(Run(7, "m"))]

    cards.happens.append(becomes_ready)
    peaks = []
    for _ in range(2):
        machine.turn(LEAST_PAUSE)
        peaks.append({usage.device: usage.peak_bytes for usage in machine.hardware.memory_of_models()[7].usages})
    assert peaks == [{"ram": None}, {"a": 5 * GIB, "ram": 2000 << 10}]


def test_the_machine_is_described_with_its_gpus(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Cards(gpu("a")))
    assert machine.hardware.snapshot() is None
    machine.turn()
    told = machine.hardware.snapshot()
    assert told is not None
    assert told["captured_at"] == "2026-01-31T12:00:00.250Z"
    assert told["capture"] == {"sources": ["cards"], "problems": []}
    assert [one["model"] for one in told["accelerators"]] == ["Card"]


# -- the thread --


class Stuck(Cards):
    """A driver that does not answer until it may."""

    def __init__(self, *gpus: Gpu) -> None:
        super().__init__(*gpus)
        self.is_asked, self.may_answer = threading.Event(), threading.Event()

    def read(self) -> list[Gpu]:
        self.is_asked.set()
        assert self.may_answer.wait(DEADLINE)
        return super().read()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Any]:
    """Starts the thread of a machine with the given cards."""
    machines = []

    def start(*cards: Cards) -> Machine:
        machine = Machine(tmp_path, *cards)
        machines.append(machine)
        machine.hardware.start()
        return machine

    yield start
    for machine in machines:
        machine.hardware.close(DEADLINE)


def test_a_reading_that_is_asked_for_is_new(running: Any, tmp_path: Path) -> None:
    cards = Cards(gpu(), pause=1000.0)
    machine = running(cards)
    write(tmp_path / "proc", process(100, 1, 100, smaps_rollup=ROLLUP))
    machine.runs = [Detail(Run(7, "m"))]
    assert machine.hardware.read_now(DEADLINE)
    before = cards.readings
    cards.held = {100: {"GPU-1": Held(MIB, "nvml")}}
    assert machine.hardware.read_now(DEADLINE)
    assert cards.readings == before + 1
    assert machine.hardware.memory_of_models()[7].usages[0].bytes == MIB


def test_memory_is_read_soon_after_a_change_and_once_more_when_it_has_settled(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.turn(FIRST)
    soon = vars(machine.hardware)
    assert soon["_soon"] == math.inf
    machine.now += 10.0
    machine.hardware.note_change()
    assert soon["_soon"] == machine.now + DELAY
    machine.turn(DELAY)
    assert soon["_soon"] == machine.now + AFTERWARDS
    machine.turn(AFTERWARDS)
    assert soon["_soon"] == math.inf
    machine.hardware.note_change()
    assert soon["_soon"] == machine.now + LEAST_PAUSE


def test_changes_without_a_pause_do_not_put_the_reading_off(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.turn(FIRST)
    soon = vars(machine.hardware)
    machine.now += 10.0
    begun = machine.now
    for _ in range(100):
        machine.hardware.note_change()
        machine.now += DELAY / 10
    assert soon["_soon"] == begun + DELAY


def test_memory_that_is_looked_at_closely_is_read_each_second_and_more_seldom_where_that_is_dear(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path)
    machine.turn(FIRST)
    soon, costs = vars(machine.hardware), 0.0

    def listener() -> None:
        machine.now += costs
        machine.hardware.look_again()

    machine.hardware.listen(listener)
    machine.turn(10.0)
    assert soon["_soon"] == machine.now + LEAST_PAUSE
    costs = 0.5
    machine.turn(LEAST_PAUSE)  # what it costs is known afterwards
    begun = machine.now + LEAST_PAUSE
    machine.turn(LEAST_PAUSE)
    assert soon["_soon"] == begun + DEAREST * costs
    machine.hardware.note_change()
    assert soon["_soon"] < begun + DEAREST * costs  # what runs is looked at all the same


def test_memory_is_read_closely_while_somebody_waits_for_it_to_be_free(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.turn(FIRST)
    soon, begun = vars(machine.hardware), machine.now
    assert machine.hardware.last_read == begun
    machine.now += 10.0
    machine.hardware.read_closely()
    machine.hardware.note_change()  # which does not put it off
    assert soon["_next_close"] == begun + CLOSE  # at once
    machine.turn()
    assert soon["_next_close"] == math.inf
    machine.hardware.read_closely()
    assert soon["_next_close"] == machine.hardware.last_read + CLOSE == machine.now + CLOSE


def test_who_waits_for_memory_to_be_free_wakes_the_thread(running: Any) -> None:
    machine = running(Cards(gpu()))
    assert machine.hardware.read_now(DEADLINE)
    before = machine.hardware.last_read
    machine.now += CLOSE
    machine.hardware.read_closely()
    end_of_turn = vars(machine.hardware)["_turn"]
    with end_of_turn:
        assert end_of_turn.wait_for(lambda: machine.hardware.last_read > before, DEADLINE)


def test_the_next_sample_may_be_farther_away_than_the_system_waits(running: Any) -> None:
    machine = running(Cards(gpu()))
    machine.hardware.change(SamplerSettings(1e10))
    machine.now += FIRST
    for _ in range(3):  # the thread goes on
        assert machine.hardware.read_now(DEADLINE)
    assert vars(machine.hardware)["_due"] > 1e9


def test_a_change_wakes_the_thread(running: Any, tmp_path: Path) -> None:
    machine = running(Cards(gpu()))
    assert machine.hardware.read_now(DEADLINE)
    write(tmp_path / "proc", process(100, 1, 100, smaps_rollup=ROLLUP))
    machine.runs = [Detail(Run(7, "m"))]
    machine.now += LEAST_PAUSE
    machine.hardware.note_change()
    machine.now += DELAY
    end_of_turn = vars(machine.hardware)["_turn"]
    with end_of_turn:
        assert end_of_turn.wait_for(machine.hardware.memory_of_models, DEADLINE)


def test_a_driver_that_hangs_holds_nobody_up(running: Any) -> None:
    stuck = Stuck(gpu())
    machine = running(stuck)
    assert stuck.is_asked.wait(DEADLINE)
    hardware = machine.hardware
    assert not hardware.read_now(0.01)
    assert (hardware.system_samples(), hardware.memory_of_models(), hardware.snapshot()) == ([], {}, None)
    hardware.close(0.01)
    stuck.may_answer.set()


def test_a_mistake_of_ours_is_reported_and_the_next_turn_comes_a_minute_later(running: Any) -> None:
    machine = running()
    assert machine.hardware.read_now(DEADLINE)
    machine.mistake = "a mistake"
    assert not machine.hardware.read_now(DEADLINE)
    assert "hardware failed" in machine.log.errors[0]
    assert "KeyError: 'a mistake'" in machine.log.errors[0]
    assert vars(machine.hardware)["_due"] == machine.now + AFTER_FAILURE
    machine.mistake = ""
    assert machine.hardware.read_now(DEADLINE)


def test_who_waits_for_a_reading_is_told_when_the_program_ends(running: Any) -> None:
    stuck = Stuck(gpu())
    machine = running(stuck)
    assert stuck.is_asked.wait(DEADLINE)
    said: list[bool] = []
    waiter = threading.Thread(target=lambda: said.append(machine.hardware.read_now(DEADLINE)))
    waiter.start()
    machine.hardware.close(0.01)
    waiter.join(DEADLINE)
    assert said == [False]
    stuck.may_answer.set()


def test_what_a_platform_lacks_is_not_imported() -> None:
    script = """
import sys
from llamaswap_lib.hardware.sampler import Hardware
from llamaswap_lib.hardware.sources import Reports
told = []
hardware = Hardware(reports=Reports(told.append, told.append, told.append))
hardware.start()
assert hardware.read_now(30)
hardware.close()
names = {name.rpartition(".")[2] for name in sys.modules if name.startswith("llamaswap_lib.hardware.")}
print(sorted(names & {"mac", "smi", "drm", "nvml", "processes"}), "xml" in sys.modules, told)
"""
    done = subprocess.run((sys.executable, "-c", script), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    expected = ["mac"] if sys.platform == "darwin" else ["drm", "nvml", "processes"]
    if not Path("/proc/driver/nvidia").exists():
        assert done.stdout == f"{expected} False []\n"
