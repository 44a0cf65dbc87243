"""The choice of GPUs, compared with looking closely at each: up to 8 GPUs and 20 models that run on them."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from llamaswap_lib.core.eviction import RunningModel
from llamaswap_lib.core.eviction.devices import CHOSEN, GB, Device, Memory, Movable, Need, NeedSource
from llamaswap_lib.core.eviction.look import Look, in_the_way
from llamaswap_lib.core.eviction.manners import Manners, is_calm
from llamaswap_lib.core.eviction.placing import Placed, place
from tests.batches import batches

pytestmark = pytest.mark.slow  # each choice is compared with all others

TARGET = "target"
YOUNG = 5.0  # seconds since it is ready


class Box:
    """A random box, and a model that is to be put on some of its GPUs. Nothing but the seed decides."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.gpus = tuple(f"g{i}" for i in range(self.rng.choice([2, 3, 4, 8])))
        self.unit = self.rng.choice([1, GB])  # with small numbers many choices are alike
        self.pinned: set[str] = set()
        self.kept: set[str] = set()
        self.movable: dict[str, Movable] = {}
        self.needs: dict[str, Need] = {}  # of models whose GPUs are not chosen
        self.seen: dict[str, RunningModel] = {}
        self.held = {name: {gpu: self._size(0, 3) for gpu in self.gpus} for name in ("s0", "s1")}
        for i in range(self.rng.choice([2, 8, 20])):
            self._run(f"m{i}")
        used = {gpu: sum(self._on(one, gpu) for one in self.seen) for gpu in (*self.gpus, "ram")}
        alike = max(used.values()) + self._size(0, 4)
        are_alike = self.rng.random() < 0.5
        self.devices = {
            gpu: self._device(alike if are_alike else size + self._size(0, 4)) for gpu, size in used.items()
        }
        self._ask()
        self.asleep = self.rng.choice([(), (), ("s0", "s1")])

    def _size(self, least: float, most: float) -> int:
        return int(self.rng.uniform(least, most + 0.999)) * self.unit

    def _device(self, size: int) -> Device:
        return Device(size, self.rng.choice([0, self.unit]), self.rng.choice([0, 0, self.unit]))

    def _on(self, model: str, device: str) -> int:
        one, at = self.movable[model], self.seen[model].gpus
        if one.source is NeedSource.UNKNOWN:
            return self.held[model].get(device, 0)
        return one.size // len(at) if device in at else one.beside.get(device, 0)

    def _run(self, name: str) -> None:
        rng = self.rng
        at = tuple(sorted(rng.sample(self.gpus, min(len(self.gpus), rng.choice([1, 1, 1, 2, 4])))))
        share = self._size(1, 9)
        source = rng.choice([NeedSource.MEASURED] * 30 + [NeedSource.UNKNOWN])
        self.movable[name] = Movable(self.gpus, 0, share * len(at), source, {}, {"ram": self._size(0, 2)})
        if source is NeedSource.UNKNOWN:
            self.movable[name] = Movable(self.gpus)
            self.held[name] = {gpu: self._size(0, 9) for gpu in (*at, "ram")}
            if rng.random() < 0.5:
                self.needs[name] = Need(dict.fromkeys((*at, "ram"), 0))
        busy, ready = rng.choice([0] * 9 + [1]), rng.choice([YOUNG, 1e6, 1e6, 1e6])
        idle, load = rng.choice([100.0, 10 ** rng.uniform(0, 5)]), rng.choice([5.0, rng.uniform(2, 90)])
        self.seen[name] = RunningModel(name, "ready", 0.0 if busy else idle, busy, load, ready, gpus=at)
        if rng.random() < 0.05:
            self.pinned.add(name)
        if rng.random() < 0.1:
            self.kept.add(name)

    def _ask(self) -> None:
        rng = self.rng
        count = rng.choice([0, 0, 1, 2, min(4, len(self.gpus))])
        source = rng.choice([NeedSource.MEASURED, NeedSource.DECLARED, NeedSource.ESTIMATED])
        largest = max(self.devices[gpu].capacity for gpu in self.gpus)
        size = int(rng.uniform(0.1, 1.0) * largest * (count or 1))
        there = tuple(sorted(rng.sample(self.gpus, count or 1)))
        known = {there: {gpu: self._size(1, 9) for gpu in there}} if source is NeedSource.MEASURED else {}
        beside = {"ram": rng.choice([0, self._size(0, 9)])}
        self.movable[TARGET] = Movable(self.gpus, count, size, source, known, beside)
        self.floors: Mapping[str, Mapping[str, int]] = {}
        if rng.random() < 0.2:
            self.floors = {TARGET: {CHOSEN: int(size * rng.uniform(0.8, 1.5)), "ram": self._size(0, 9)}}

    def look(self) -> Look:
        places = {name: seen.gpus for name, seen in self.seen.items() if name not in self.needs}
        memory = Memory(self.devices, self.needs, self.held, movable=self.movable, floors=self.floors).placed(places)
        manners = Manners(frozenset(self.pinned), {}, min_residency=2 * YOUNG)
        return Look(memory, manners, lambda model: self.seen[model], TARGET, list(self.seen))


def by_hand(box: Box) -> Placed | None:
    """By looking closely at each choice; None if it fits nowhere."""
    movable, asked, found = box.movable[TARGET], box.look(), []
    for i, gpus in enumerate(movable.choices()):
        look = asked.on(movable.need_on(gpus, box.devices))
        room, lack = look.choose(box.kept)
        staying = [one for one in box.seen if one not in room]
        is_enough = not look.is_unknown and all(look.size(name) <= look.room(name, staying) for name in look.devices)
        can_be_more = all(look.floor(gpu) <= look.room(gpu, look.pinned()) for gpu in gpus if gpu in look.devices)
        if is_enough and can_be_more:
            kind = max((kind_of(box.seen[one]) for one in room), default=0)
            cost = sum(1 if kind == 2 and one in box.kept else look.loss(one) for one in room)
            left = sum(look.room(gpu, staying) - movable.sizes_on(gpus, box.devices)[gpu] for gpu in gpus)
            key = kind, cost, len(in_the_way(look, box.asleep, room)), len(gpus), left, i
            found.append((key, Placed(gpus, room, lack)))
    return min(found)[1] if found else None


def kind_of(seen: RunningModel) -> int:
    return 2 if not is_calm(seen) else int(seen.ready_seconds == YOUNG)


@pytest.mark.parametrize("batch", batches(20))
def test_no_choice_is_better_if_each_is_looked_at_closely(batch: int) -> None:
    tried = 0
    for seed in range(batch, 400, 20):
        box = Box(seed)
        best = by_hand(box)
        if best is not None:
            assert place(box.look(), box.movable[TARGET], box.kept, box.asleep) == best, seed
            tried += 1
    assert tried > 5


def test_the_boxes_are_of_many_kinds() -> None:
    boxes = [Box(seed) for seed in range(300)]
    answers = [by_hand(box) for box in boxes]
    found = [(box, answer) for box, answer in zip(boxes, answers, strict=True) if answer is not None]
    assert len(found) > 100
    kinds = [max((kind_of(box.seen[one]) for one in answer.room), default=0) for box, answer in found]
    assert {0, 1, 2} <= set(kinds)
    assert max(len(answer.room) for _, answer in found) > 5
    assert max(len(answer.gpus) for _, answer in found) > 3
    assert any(box.floors and answer.room for box, answer in found)
    assert any(box.asleep and answer.room for box, answer in found)
    unknown = {name for box, _ in found for name, one in box.movable.items() if one.source is NeedSource.UNKNOWN}
    assert unknown
    assert any(name in answer.room for box, answer in found for name in box.needs)
