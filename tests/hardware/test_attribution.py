"""What each run takes of each device, which witness says so, and its peak."""

from __future__ import annotations

from llamaswap_lib.core.run import RunState
from llamaswap_lib.hardware.attribution import LEAST_DELTA, MOST_WORLDS, SETTLE, Finding, MemoryOfRuns
from llamaswap_lib.hardware.readings import UNREADABLE, Gpu, Held, Ram, Usage
from tests.hardware.machines import GIB, MIB, Detail, Run, gpu

STEP = 5.0


class World:
    """Runs and GPUs that a test changes; `look` is one reading."""

    def __init__(self) -> None:
        self.memory = MemoryOfRuns()
        self.now = 0.0

    def look(self, runs: list[Run], gpus: list[Gpu], found: dict[int, Finding] | None = None) -> None:
        self.now += STEP
        findings = {run.run_id: Finding() for run in runs} if found is None else found
        ready = {run.run_id for run in runs if run.ready_at is not None}
        self.memory.update([Detail(run) for run in runs], findings, gpus, self.now, (), ready)

    def settle(self, runs: list[Run], gpus: list[Gpu]) -> None:
        """Two readings, so that nothing has changed for a while."""
        self.look(runs, gpus)
        self.look(runs, gpus)

    def of(self, run_id: int) -> tuple[Usage, ...]:
        return self.memory.now[run_id].usages


def held(size: int | None, witness: str = "nvml", key: str = "GPU-1") -> Finding:
    return Finding({key: Held(size, witness)})


# -- by processes --


def test_what_the_driver_says_of_the_processes_counts_with_its_name() -> None:
    world = World()
    finding = Finding({"GPU-2": Held(5 * GIB, "fdinfo")}, Ram(300 * MIB, 8 * GIB))
    world.look([Run(7, "m")], [gpu("GPU-1"), gpu("GPU-2", name="Other")], {7: finding})
    assert world.memory.now[7].model == "m"
    assert world.of(7) == (
        Usage("GPU-2", "Other", "gpu", 5 * GIB, 5 * GIB, None, "fdinfo"),
        Usage("ram", "ram", "ram", 300 * MIB, 300 * MIB, 8 * GIB, "ram"),
    )


def test_the_peak_is_the_most_since_the_run_is_ready() -> None:
    world = World()
    for size, ready_at, peak in ((9, None, None), (5, 1.0, 5), (8, 1.0, 8), (6, 1.0, 8)):
        world.look([Run(7, "m", ready_at)], [gpu()], {7: held(size)})
        (usage,) = world.of(7)
        assert (usage.bytes, usage.peak_bytes) == (size, peak)


def test_the_peak_is_kept_while_nobody_tells_and_ends_with_the_run() -> None:
    world = World()
    world.look([Run(7, "m")], [gpu()], {7: held(8)})
    world.look([Run(7, "m")], [gpu()], {7: held(None)})
    (usage,) = world.of(7)
    assert (usage.bytes, usage.peak_bytes, usage.witness) == (None, 8, "nvml")
    world.look([], [gpu()], {})
    assert world.memory.now == {}
    world.look([Run(7, "m")], [gpu()], {7: held(3)})
    assert world.of(7)[0].peak_bytes == 3


def test_a_run_without_a_process_has_no_memory_and_one_that_holds_nothing_has_no_devices() -> None:
    world = World()
    world.look([Run(7, "m"), Run(8, "n")], [gpu()], {8: Finding()})
    assert {run_id: memory.usages for run_id, memory in world.memory.now.items()} == {8: ()}


def test_a_row_for_json_tells_mapped_files_of_memory_only() -> None:
    card = Usage("GPU-1", "Card", "gpu", 5, None, None, "nvml")
    assert card.row() == {
        "device": "GPU-1",
        "name": "Card",
        "kind": "gpu",
        "bytes": 5,
        "peak_bytes": None,
        "witness": "nvml",
    }
    assert Usage("ram", "ram", "ram", 1, 2, None, "ram").row()["mapped_bytes"] is None


# -- by what is in use --


def blind(used: int | None) -> list[Gpu]:
    """A GPU that shows no processes."""
    return [gpu(used=used, sees=False)]


def test_a_lone_load_is_known_by_what_is_in_use_more_than_before() -> None:
    world = World()
    world.look([], blind(GIB))
    world.look([Run(7, "m", None)], blind(3 * GIB))
    assert world.of(7) == ()
    world.settle([Run(7, "m")], blind(6 * GIB))
    assert world.of(7) == (Usage("GPU-1", "Card", "gpu", 5 * GIB, 5 * GIB, None, "delta"),)
    world.look([Run(7, "m")], blind(7 * GIB))
    assert world.of(7)[0].bytes == 6 * GIB


def test_what_processes_of_another_user_hold_is_known_by_what_is_in_use_more_than_before() -> None:
    world, closed = World(), {7: Finding({"GPU-1": UNREADABLE}, Ram(MIB, None))}
    world.look([], [gpu(used=GIB)], {})
    world.look([Run(7, "m")], [gpu(used=GIB)], closed)
    assert [usage.device for usage in world.of(7)] == ["ram"]
    assert list(world.memory.now[7].unseen) == ["GPU-1"]
    world.look([Run(7, "m")], [gpu(used=6 * GIB)], closed)
    assert world.of(7)[0] == Usage("GPU-1", "Card", "gpu", 5 * GIB, 5 * GIB, None, "delta")
    assert list(world.memory.now[7].unseen) == []


def test_of_processes_of_another_user_with_which_no_more_is_in_use_nothing_is_unseen() -> None:
    world, closed = World(), {7: Finding({"GPU-1": UNREADABLE}, Ram(MIB, None))}
    world.look([], [gpu(used=GIB)], {})
    for _ in range(2):
        world.look([Run(7, "m")], [gpu(used=GIB)], closed)
    assert list(world.memory.now[7].unseen) == []
    assert [usage.device for usage in world.of(7)] == ["ram"]


def test_a_second_model_is_known_by_what_is_in_use_more_than_with_the_first_alone() -> None:
    world = World()
    world.look([], blind(GIB))
    world.settle([Run(7, "m")], blind(6 * GIB))
    world.look([Run(7, "m"), Run(8, "n", None)], blind(7 * GIB))
    world.settle([Run(7, "m"), Run(8, "n")], blind(9 * GIB))
    assert [world.of(run_id)[0].bytes for run_id in (7, 8)] == [5 * GIB, 3 * GIB]


def test_after_a_swap_a_model_is_known_by_what_is_in_use_when_nothing_runs() -> None:
    world = World()
    world.look([], blind(GIB))
    world.settle([Run(7, "m")], blind(6 * GIB))
    world.look([Run(8, "n", None)], blind(6 * GIB))  # the driver has not freed it yet
    world.settle([Run(8, "n")], blind(3 * GIB))
    assert world.of(8)[0].bytes == 2 * GIB


def test_nothing_is_said_before_what_is_in_use_has_settled() -> None:
    world = World()
    world.look([], blind(GIB))
    world.look([Run(7, "m")], blind(6 * GIB))
    assert world.of(7) == ()
    world.now += SETTLE - STEP - 0.1
    world.look([Run(7, "m")], blind(6 * GIB))
    assert world.of(7) == ()


def test_two_models_that_were_never_alone_are_unknown() -> None:
    world = World()
    world.look([], blind(GIB))
    world.settle([Run(7, "m"), Run(8, "n")], blind(9 * GIB))
    assert world.of(7) == world.of(8) == ()


def test_a_little_more_in_use_may_be_anybody_and_less_is_nothing() -> None:
    for more in (LEAST_DELTA - 1, -GIB):
        world = World()
        world.look([], blind(2 * GIB))
        world.settle([Run(7, "m")], blind(2 * GIB + more))
        assert world.of(7) == ()


def test_a_model_that_sleeps_counts_as_another_one() -> None:
    world, asleep = World(), RunState.SLEEPING
    world.look([], blind(GIB))
    world.settle([Run(7, "m")], blind(17 * GIB))
    world.settle([Run(7, "m", state=RunState.FALLING_ASLEEP)], blind(9 * GIB))
    assert world.of(7)[0].bytes == 16 * GIB  # as far as is known
    world.settle([Run(7, "m", state=asleep)], blind(2 * GIB))
    assert world.of(7)[0].bytes == GIB
    world.settle([Run(7, "m", state=asleep), Run(8, "n")], blind(12 * GIB))
    assert [world.of(run_id)[0].bytes for run_id in (7, 8)] == [GIB, 10 * GIB]
    world.settle([Run(7, "m", state=asleep), Run(8, "n", state=asleep)], blind(3 * GIB))
    assert [world.of(run_id)[0].bytes for run_id in (7, 8)] == [GIB, GIB]
    world.look([Run(7, "m"), Run(8, "n", state=asleep)], blind(18 * GIB))
    assert world.of(7) == ()  # what it held asleep says nothing of what it holds awake
    world.look([Run(7, "m"), Run(8, "n", state=asleep)], blind(18 * GIB))
    assert world.of(8)[0].bytes == GIB


def two_blind(first: int, second: int) -> list[Gpu]:
    return [gpu("GPU-1", used=first, sees=False), gpu("GPU-2", used=second, sees=False)]


def test_a_card_of_which_as_much_is_in_use_as_before_is_known_to_hold_nothing_of_it() -> None:
    ram = {7: Finding(ram=Ram(GIB, 0))}
    for second, unseen in ((2 * GIB, []), (2 * GIB + LEAST_DELTA - 1, []), (GIB, ["GPU-2"])):
        world = World()
        world.look([], two_blind(GIB, 2 * GIB))
        world.look([Run(7, "m", None)], two_blind(6 * GIB, second), ram)
        assert list(world.memory.now[7].unseen) == ["GPU-1", "GPU-2"]
        for _ in range(2):
            world.look([Run(7, "m")], two_blind(6 * GIB, second), ram)
        assert [(usage.device, usage.bytes) for usage in world.of(7)] == [("GPU-1", 5 * GIB), ("ram", GIB)]
        assert list(world.memory.now[7].unseen) == unseen
    world.look([Run(7, "m")], two_blind(6 * GIB, 2 * GIB + LEAST_DELTA), ram)
    assert not world.memory.now[7].unseen
    assert [usage.bytes for usage in world.of(7)] == [5 * GIB, LEAST_DELTA, GIB]


def test_where_processes_are_seen_one_that_holds_nothing_is_not_blamed_for_what_is_in_use() -> None:
    world = World()
    world.look([], [gpu(used=0)])
    world.settle([Run(7, "m")], [gpu(used=9 * GIB)])
    assert world.of(7) == ()


def test_a_model_in_a_container_that_was_not_found_is_known_by_what_is_in_use() -> None:
    world = World()
    world.look([], [gpu(used=0)])
    for _ in range(2):
        world.look([Run(7, "m")], [gpu(used=9 * GIB)], {7: Finding(is_elsewhere=True)})
    assert [(usage.bytes, usage.witness) for usage in world.of(7)] == [(9 * GIB, "delta")]


def test_a_process_that_is_seen_and_not_told_of_is_known_by_what_is_in_use() -> None:
    world = World()
    world.look([], [gpu(used=0)])
    for _ in range(2):
        world.look([Run(7, "m")], [gpu(used=9 * GIB)], {7: held(None)})
    assert (world.of(7)[0].bytes, world.of(7)[0].witness) == (9 * GIB, "delta")


def test_a_device_whose_use_is_not_told_is_unknown() -> None:
    world = World()
    world.look([], blind(None))
    world.settle([Run(7, "m")], blind(None))
    assert world.of(7) == ()


def test_what_is_remembered_of_many_models_is_bounded() -> None:
    world = World()
    world.look([], blind(GIB))
    for number in range(3 * MOST_WORLDS):
        world.settle([Run(number, f"m{number}")], blind(2 * GIB))
    world.settle([], blind(GIB))
    world.settle([Run(1000, "last")], blind(4 * GIB))
    assert world.of(1000)[0].bytes == 3 * GIB
    worlds = vars(vars(world.memory)["_deltas"])["_worlds"]
    assert len(worlds) <= MOST_WORLDS
