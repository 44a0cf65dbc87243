"""On which GPUs a model is put: by examples, and compared with trying all choices and all victims."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from llamaswap_lib.core.eviction import RunningModel
from llamaswap_lib.core.eviction.devices import GB, Device, Memory, Movable, Need, NeedSource, Reading, choices_of
from llamaswap_lib.core.eviction.manners import Manners, is_calm
from llamaswap_lib.core.eviction.memory import Choice, MemoryPolicy

GPUS = ("g0", "g1", "g2")


class Box:
    """GPUs of some GB, and models that are on them or to be put there. Sizes in GB."""

    def __init__(self, *sizes: int, **manners: object) -> None:
        self.names = GPUS[: len(sizes)]
        self.devices = {name: Device(size * GB, label=name) for name, size in zip(self.names, sizes, strict=True)}
        self.movable: dict[str, Movable] = {}
        self.seen: dict[str, RunningModel] = {}
        self.manners = Manners(**manners)  # type: ignore[arg-type]
        self.held: dict[str, dict[str, int]] = {}
        self.read_at = 10.0

    def model(self, name: str, size: int, count: int = 0, **more: object) -> None:
        self.movable[name] = Movable(self.names, count, size * GB, NeedSource.DECLARED, **more)  # type: ignore[arg-type]

    def unknown(self, name: str, count: int = 0) -> None:
        self.movable[name] = Movable(self.names, count)

    def run(self, name: str, *at: str, idle: float = 100.0, inside: int = 0, load: float = 10.0) -> None:
        self.seen[name] = RunningModel(name, "ready", idle, inside, load, 1000.0, gpus=at)

    def sleep(self, name: str, since: float = 1.0, **holds: int) -> None:
        """It sleeps, and holds so much of these GPUs."""
        at = tuple(holds)
        self.seen[name] = RunningModel(name, "sleeping", is_planned=True, gpus=at, asleep_since=since)
        self.held[name] = {device: size * GB for device, size in holds.items()}

    def awake(self) -> list[str]:
        return [name for name, seen in self.seen.items() if seen.asleep_since is None]

    def memory(self) -> Memory:
        return Memory(self.devices, {}, self.held, movable=self.movable, readings=(Reading(self.read_at, {}),))

    def ask(self, target: str, *planned: str, running: Sequence[str] | None = None) -> Choice:
        policy = MemoryPolicy(self.memory, self.manners)
        policy.observe(self.view, lambda _: False)
        return policy._choose(target, (*(self.awake() if running is None else running), *planned))

    def view(self, model: str) -> RunningModel:
        return self.seen.get(model) or RunningModel(model, is_planned=True)

    def put(self, target: str, *planned: str) -> str:
        """`g0 g1`, and who goes behind a comma."""
        choice = self.ask(target, *planned)
        return " ".join(choice.gpus) + "".join(f", {model}" for model in sorted(choice.evicted))


def test_two_models_are_put_on_two_gpus_and_a_third_where_its_victim_is_missed_least() -> None:
    box = Box(24, 24)
    for name in "ABC":
        box.model(name, 20)
    assert box.put("A") == "g0"
    box.run("A", "g0", idle=10.0)
    assert box.put("B") == "g1"
    box.run("B", "g1", idle=1000.0)
    assert box.put("C") == "g1, B"


def test_the_gpu_on_which_least_is_left_is_taken() -> None:
    box = Box(48, 24, 80)
    box.model("A", 20)
    assert box.put("A") == "g1"
    box.model("B", 30)
    assert box.put("B") == "g0"
    box.run("B", "g0")
    box.model("C", 16)
    assert box.put("C") == "g0"


def test_a_model_is_spread_over_no_more_gpus_than_it_needs() -> None:
    box = Box(24, 24, 24)
    box.model("A", 40)
    assert box.put("A") == "g0 g1"
    box.model("B", 60)
    assert box.put("B") == "g0 g1 g2"
    box.model("C", 10)
    box.run("C", "g0")
    assert box.put("A") == "g1 g2"


def test_more_gpus_are_taken_before_anybody_goes() -> None:
    box = Box(24, 24)
    box.model("A", 14)
    box.model("B", 14)
    box.run("A", "g0")
    box.run("B", "g1")
    box.model("C", 16)
    assert box.put("C") == "g0 g1"


def test_a_number_of_gpus_is_kept_to() -> None:
    box = Box(24, 24)
    box.model("A", 4, count=2)
    box.model("B", 20)
    assert box.put("A") == "g0 g1"
    box.run("B", "g0")
    assert box.put("A") == "g0 g1"
    box.model("C", 8, count=2)
    box.model("D", 21)
    box.run("D", "g1")
    assert box.put("C") == "g0 g1, D"
    box.model("E", 12, count=2)
    assert box.put("E") == "g0 g1, B, D"


def test_gpus_of_different_size_share_by_how_large_they_are() -> None:
    box = Box(24, 48)
    box.model("A", 60, count=2)
    assert box.ask("A").gpus == ("g0", "g1")
    assert box.movable["A"].sizes_on(("g0", "g1"), box.devices) == {"g0": 20 * GB, "g1": 40 * GB}


def test_what_was_measured_on_just_these_gpus_counts_there() -> None:
    box = Box(24, 24)
    box.model("A", 30, known={("g0", "g1"): {"g0": 6 * GB, "g1": 24 * GB}})
    box.model("B", 16)
    box.run("B", "g0")
    assert box.put("A") == "g0 g1"
    box.run("B", "g1")
    assert box.put("A") == "g0 g1, B"


def test_a_busy_model_goes_for_no_other_choice_of_gpus_but_the_last() -> None:
    box = Box(24, 24)
    for name in "ABC":
        box.model(name, 20)
    box.run("A", "g0", inside=1, load=1.0)
    box.run("B", "g1", load=1000.0)
    assert box.put("C") == "g1, B"
    box.run("B", "g1", load=1000.0, inside=1)
    assert box.put("C") == "g0, A"


def test_a_pinned_model_stays_where_it_is() -> None:
    box = Box(24, 24, pinned=frozenset("A"))
    for name in "ABC":
        box.model(name, 20)
    box.run("A", "g0", idle=9000.0)
    box.run("B", "g1")
    assert box.put("C") == "g1, B"


def test_a_model_of_unknown_need_is_alone_on_the_gpu_where_it_has_most_room() -> None:
    box = Box(24, 48)
    box.model("A", 20)
    box.run("A", "g1")
    box.unknown("U")
    assert box.put("U") == "g1, A"
    box.devices["g1"] = Device(48 * GB, others=30 * GB)
    assert box.put("U") == "g0"


def test_of_gpus_with_as_much_room_an_unknown_model_takes_the_one_that_costs_nobody_anything() -> None:
    box = Box(24, 24)
    box.model("A", 4)
    box.run("A", "g0")
    box.devices["g1"] = Device(24 * GB, others=1 * GB)
    box.unknown("U")
    assert box.put("U") == "g1"


def test_a_guess_makes_room_like_a_need_that_is_known_and_one_that_is_too_large_gets_the_most_gpus() -> None:
    box = Box(24, 24)
    box.model("A", 20)
    box.run("A", "g0")
    box.movable["G"] = Movable(box.names, 0, 20 * GB, NeedSource.ESTIMATED)
    assert box.put("G") == "g1"
    box.movable["G"] = Movable(box.names, 0, 40 * GB, NeedSource.ESTIMATED)
    assert box.put("G") == "g0 g1, A"
    box.movable["G"] = Movable(box.names, 0, 60 * GB, NeedSource.ESTIMATED)
    assert box.put("G") == "g0 g1, A"


def test_others_stay_away_from_a_gpu_on_which_an_unknown_model_is() -> None:
    box = Box(24, 48)
    box.unknown("U")
    box.run("U", "g1")
    box.model("A", 4)
    assert box.put("A") == "g0"
    box.model("B", 30)
    assert box.put("B") == "g1, U"


def test_one_in_front_that_is_to_start_keeps_the_place_that_it_needs() -> None:
    box = Box(48, 24)
    box.model("T", 40)
    box.model("S", 20)
    assert box.put("S", "T") == "g1"
    assert box.put("T", "S") == "g0"
    box.model("S", 30)
    assert box.put("S", "T") == "g0, T"
    assert box.put("T", "S") == "g0, S"


def test_models_whose_gpus_are_their_own_affair_count_where_they_are() -> None:
    box = Box(24, 24)
    box.model("A", 20)
    memory = Memory(box.devices, {"X": Need({"g0": 10 * GB}, NeedSource.DECLARED)}, movable=box.movable)
    policy = MemoryPolicy(lambda: memory, Manners())
    policy.observe(lambda model: RunningModel(model, "ready"), lambda _: False)
    assert policy._choose("A", ("X",)).gpus == ("g1",)


def test_what_is_no_gpu_counts_too() -> None:
    box = Box(24, 24)
    box.devices["ram"] = Device(32 * GB, label="RAM")
    box.model("A", 20, beside={"ram": 20 * GB})
    box.model("B", 20, beside={"ram": 20 * GB})
    box.run("A", "g0")
    assert box.put("B") in ("g0, A", "g1, A")


def test_one_of_unknown_need_goes_for_a_model_that_shares_no_gpu_with_it_but_needs_the_memory_of_the_machine() -> None:
    box = Box(24, 24)
    box.devices["ram"] = Device(32 * GB, label="RAM")
    box.model("A", 20, beside={"ram": 2 * GB})
    memory = Memory(box.devices, {"U": Need({"g0": 0, "ram": 0})}, movable=box.movable)
    policy = MemoryPolicy(lambda: memory, Manners())
    for in_flight in (0, 1):
        busy = RunningModel("U", "ready", 100.0, in_flight, 10.0, 1000.0)
        policy.observe(lambda model, busy=busy: busy if model == "U" else RunningModel(model), lambda _: False)  # type: ignore[misc]
        assert policy._choose("A", ("U",)) == Choice(room=("U",), gpus=("g0",))


def test_the_start_is_told_the_place_and_its_name() -> None:
    box = Box(24, 24)
    box.model("A", 20)
    box.model("B", 40)
    policy = MemoryPolicy(box.memory, Manners())
    policy.observe(box.view, lambda _: False)
    placement = policy.place("A", ())
    assert placement is not None
    assert (placement.gpus, placement.where) == (("g0",), "g0")
    box.run("A", "g0")
    policy.observe(box.view, lambda _: False)
    assert policy.place("B", ("A",)) is None


def test_who_makes_room_for_other_programs_counts_where_it_was_put_before_it_is_measured() -> None:
    box = Box(24, 24)
    box.devices["g1"] = Device(24 * GB, 2 * GB, 10 * GB, "g1", yields=True)
    box.model("A", 20)
    box.model("B", 6)
    box.run("A", "g0")
    box.run("B", "g1")
    box.model("C", 7)
    box.run("C", "g1")
    policy = MemoryPolicy(box.memory, Manners())
    policy.observe(box.view, lambda _: False)
    relief = policy.relieve(("A", "B", "C"), ("A", "B", "C"))
    assert relief is not None
    assert set(relief.models) < {"B", "C"}


def test_a_model_is_put_where_no_sleeper_is_stopped_for_it() -> None:
    box = Box(24, 24)
    box.model("A", 20)
    box.model("B", 23)
    box.sleep("A", g0=2)
    assert box.put("B") == "g1"
    box.model("C", 22)
    assert box.put("C") == "g0"  # what the sleeper holds is in nobody's way there


def test_more_gpus_are_taken_before_a_sleeper_is_stopped_and_sleepers_are_stopped_before_others_go() -> None:
    box = Box(24, 24)
    box.model("A", 20)
    box.model("B", 23)
    box.model("C", 10)
    box.sleep("A", g0=2)
    box.run("C", "g1")
    assert box.put("B") == "g0 g1"
    box.model("D", 14, count=1)
    box.sleep("A", g0=12)
    assert box.put("D") == "g1"
    box.model("E", 16, count=1)
    assert box.put("E") == "g0"


def test_of_two_gpus_the_one_where_fewer_sleepers_are_stopped_is_taken() -> None:
    box = Box(24, 24)
    for name in "ABC":
        box.model(name, 20)
    box.sleep("A", g0=2)
    box.sleep("B", g0=2)
    box.sleep("C", g1=4)
    box.model("D", 23, count=1)
    assert box.put("D") == "g1"
    box.model("E", 20)
    box.model("F", 20)
    box.run("E", "g0")
    box.run("F", "g1")
    assert box.put("D") == "g1, F"


def test_one_that_is_loaded_alone_is_put_where_it_stops_fewest_sleepers() -> None:
    box = Box(24, 24)
    box.model("A", 20)
    box.sleep("A", g0=1)
    box.unknown("U")
    assert box.put("U") == "g1"


def test_what_a_sleeper_held_before_it_slept_says_nothing() -> None:
    box = Box(24, 24)
    box.model("A", 20)
    box.model("B", 20)
    box.sleep("A", since=box.read_at, g0=20)
    assert box.put("B") == "g0"
    box.read_at += 1.0
    assert box.put("B") == "g1"


def test_where_nothing_has_room_the_refusal_tells_of_the_most_gpus() -> None:
    box = Box(24, 24)
    box.model("A", 60)
    policy = MemoryPolicy(box.memory, Manners())
    policy.observe(box.view, lambda _: False)
    refusal = policy.refuse("A", ())
    assert refusal is not None
    assert refusal.is_final
    assert "30.0 GB on g0" in refusal.message
    box.movable["A"] = Movable((), 2, fault="gpus asks for 3 GPUs, and there are 2")
    policy.observe(box.view, lambda _: False)
    assert policy.refuse("A", ()).message == "model A: gpus asks for 3 GPUs, and there are 2"  # type: ignore[union-attr]


def test_of_very_many_gpus_those_are_chosen_together_that_stand_side_by_side() -> None:
    names = tuple(f"g{i}" for i in range(16))
    assert len(choices_of(names[:8], 0)) == 255
    assert len(choices_of(names, 8)) == 16
    assert len(choices_of(names, 0)) < 500
    assert choices_of(names, 8)[-1] == names[:7] + names[-1:]


# -- compared with all choices, and all victims of each --


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    box = Box(*draw(st.lists(st.sampled_from([6, 8, 12]), min_size=1, max_size=3)), min_residency=10.0)
    for name, device in box.devices.items():
        box.devices[name] = Device(device.capacity, draw(st.sampled_from([0, GB])), draw(st.sampled_from([0, 2 * GB])))
    box.devices["ram"] = Device(draw(st.sampled_from([6, 100])) * GB)
    box.manners = Manners(frozenset(draw(st.sets(st.sampled_from("abc"), max_size=1))), min_residency=10.0)
    for name in "abcde"[: draw(st.integers(0, 5))]:
        at = draw(st.lists(st.sampled_from(box.names), min_size=1, unique=True).map(sorted))
        box.model(name, draw(st.integers(1, 6 * len(at))), beside={"ram": draw(st.integers(0, 2)) * GB})
        ready, busy = draw(st.sampled_from([5.0, 100.0])), draw(st.sampled_from([0, 0, 1]))
        load = draw(st.sampled_from([1.0, 2.0, 3.0, 5.0, 8.0]))
        box.seen[name] = RunningModel(name, "ready", 100.0 * (not busy), busy, load, ready, gpus=tuple(at))
    count = draw(st.integers(0, len(box.names)))
    box.model("T", draw(st.integers(1, 8 * max(1, count))), count=count, beside={"ram": draw(st.integers(0, 3)) * GB})
    for name in "xyz"[: draw(st.integers(0, 3))]:
        box.model(name, 1)
        at = draw(st.lists(st.sampled_from(box.names), min_size=1, unique=True).map(sorted))
        box.sleep(name, **{device: draw(st.integers(1, 3)) for device in at})
    return box


def all_ways(box: Box) -> Iterator[tuple[int, int, int, int, int, int]]:
    """For each choice of GPUs and all victims that are enough there: what it comes to, the least being the best."""
    movable, devices = box.movable["T"], box.devices
    awake = {name: box.seen[name] for name in box.awake()}
    uses = {name: box.movable[name].need_on(seen.gpus, devices).devices for name, seen in awake.items()}
    free = [name for name in awake if name not in box.manners.pinned]
    for i, gpus in enumerate(movable.choices()):
        need = movable.need_on(gpus, devices).devices
        for number in range(len(free) + 1):
            for victims in itertools.combinations(free, number):
                staying = [use for name, use in uses.items() if name not in victims]
                rooms = {name: room_of(devices[name], name, staying) for name in need}
                if all(size <= rooms[name] for name, size in need.items() if size):
                    kind = max((kind_of(box.seen[name]) for name in victims), default=0)
                    cost = sum(box.manners.loss(box.seen[name], 0.0) for name in victims)
                    left = {name: rooms[name] - size for name, size in need.items() if size}
                    yield kind, cost, stopped(box, left), len(gpus), sum(rooms[name] - need[name] for name in gpus), i


def stopped(box: Box, left: Mapping[str, int]) -> int:
    """The fewest sleepers without which the others fit into what is left."""
    for number in itertools.count():
        for going in itertools.combinations(box.held, number):
            staying = [size for name, size in box.held.items() if name not in going]
            if all(sum(one.get(name, 0) for one in staying) <= size for name, size in left.items()):
                return number
    raise AssertionError


def room_of(device: Device, name: str, staying: Sequence[Mapping[str, int]]) -> int:
    return device.capacity - device.reserve - device.others - sum(use.get(name, 0) for use in staying)


def kind_of(seen: RunningModel) -> int:
    return 2 if not is_calm(seen) else int(seen.ready_seconds < 10.0)


@pytest.mark.slow
@settings(max_examples=800, deadline=None, derandomize=True, phases=[Phase.generate])  # a world is small as it is
@given(boxes())
def test_no_choice_of_gpus_and_victims_is_better(box: Box) -> None:
    choice = box.ask("T")
    best, choices = min(all_ways(box), default=None), box.movable["T"].choices()
    policy = MemoryPolicy(box.memory, box.manners)
    policy.observe(box.view, lambda _: False)
    if best is None:
        assert policy.refuse("T", tuple(box.awake())) is not None
        return
    kind = max((kind_of(box.seen[name]) for name in choice.room), default=0)
    cost = sum(box.manners.loss(box.seen[name], 0.0) for name in choice.room)
    ways = [way for way in all_ways(box) if way[:2] == (kind, cost) and way[5] == choices.index(choice.gpus)]
    assert min(ways)[:4] == best[:4]
    if not choice.room:
        assert choice.gpus == choices[best[5]]
        assert policy.place("T", tuple(box.awake())) is not None
        room = policy.rules().room
        assert room is not None
        heavy = room.heavy_sleepers("T", tuple(box.awake()), choice.gpus, dict.fromkeys(box.held, 1.0))
        assert len(heavy) == best[2]
