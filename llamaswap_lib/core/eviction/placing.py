"""On which GPUs a model is put, and who goes for it there: one question.

Pure and exact. With each choice of GPUs go the models that `look.py` says. The choice counts that comes first by these,
in this order: who has to go (the kinds below), what the loss of them costs, how many sleepers have to be stopped, how
many GPUs it takes, how much room is left on them beside what runs, and its number.

Choices are taken up by what they cost at least, the cheapest first, until none of the others can be better. Nothing is
worked out for one before it is the cheapest. What it costs at least is what the dearest of its GPUs does: first by a
sum that is good for all choices of as many GPUs, then by what is lacking there. Then it is what all GPUs do, where a
model that is on several of them costs a part of its loss on each. That mostly is what it costs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from llamaswap_lib.core.eviction.cover import cheapest_cover
from llamaswap_lib.core.eviction.devices import CHOSEN, Movable, NeedSource, choices_of
from llamaswap_lib.core.eviction.look import Look, in_the_way
from llamaswap_lib.core.eviction.manners import is_calm

SETTLED, CALM, BUSY = range(3)  # who has to go: what nobody misses; what was just loaded; what serves
ALL_GPUS, DEAREST, UNSEEN, GROUP = range(
    4
)  # how what a choice costs at least is known; one of a group is not looked at
MOST_LISTED = 6  # models on a device whose sets are all listed; of more what they cost is bounded from below
LIKE = 0.9  # of the room of the emptiest GPU: one with so much is as good for a model of unknown need
NO_WAY = 1 << 100  # bytes that no device has, and a cost that no set of models has
BITS = 80  # of bytes, below the cost of a set
GIVEN = (1 << BITS) - 1

_Bytes = dict[str, int]  # by device
_Table = tuple[list[int], list[int]]  # sizes that are wanted, and for each what it costs at least
_Worth = tuple[int, ...]  # of a choice, to be compared: what is less is better
_Open = tuple[
    int, int, int, int, _Bytes
]  # what it costs at least, GPUs, how that is known, its number, what is lacking


class Placed(NamedTuple):
    """GPUs, the models that go, and what is lacking by device if none goes."""

    gpus: tuple[str, ...]
    room: tuple[str, ...] = ()
    lack: Mapping[str, int] = {}


def place(look: Look, movable: Movable, kept: Collection[str], asleep: Sequence[str] = ()) -> Placed:
    """`kept` as for `Look.choose`; `asleep` are the sleepers. No GPUs if there is nothing to choose from."""
    question = _Question(look, movable, kept, asleep)
    if len(question.choices) > 1 and movable.source is not NeedSource.UNKNOWN:
        lacks = _Lacks(question)
        for kind in (SETTLED, CALM, BUSY):
            if (found := _Search(question, lacks, kind).best()) is not None:
                return found
    return _on_the_emptiest(question)


class _Question:
    """What is asked, and what one choice of GPUs comes to."""

    def __init__(self, look: Look, movable: Movable, kept: Collection[str], asleep: Sequence[str]) -> None:
        self.look, self.movable, self.kept = look, movable, kept
        self.choices = movable.choices()
        self.kinds = {model: _kind(look, model) for model in look.seen}
        self._asleep = asleep

    def cost(self, model: str, kind: int) -> int:
        return 1 if kind >= BUSY and model in self.kept else self.look.loss(model)

    def on(self, i: int) -> Look:
        return self.look.on(self.movable.need_on(self.choices[i], self.look.memory.devices))

    def closely(self, on: Look) -> tuple[int, int, tuple[str, ...], _Bytes]:
        """Who goes for one choice, of what kind the worst of them is, what they cost, and what is lacking."""
        room, lack = on.choose(self.kept)
        kind = max([self.kinds[model] for model in room], default=SETTLED)
        return kind, sum(self.cost(model, kind) for model in room), room, lack

    def worth(self, i: int, cost: int, room: Collection[str]) -> _Worth:
        """Of a choice for which these go, to be compared with others of the same kind."""
        gpus, look = self.choices[i], self.look
        stopped = len(in_the_way(self.on(i), self._asleep, room)) if self._asleep else 0
        staying = [model for model in look.seen if model not in room]
        sizes = self.movable.sizes_on(gpus, look.memory.devices)
        left = sum(look.room(name, staying) - size for name, size in sizes.items())
        return cost, stopped, len(gpus), left, i


def _kind(look: Look, model: str) -> int:
    seen = look.seen[model]
    if not is_calm(seen):
        return BUSY
    return CALM if look.manners.is_young(seen) else SETTLED


def _on_the_emptiest(question: _Question) -> Placed:
    """Where it has most room, alone: of unknown need, or of a need for which there cannot be enough anywhere."""
    best: _Worth = (BUSY + 1,)
    look, pinned, found = question.look, question.look.pinned(), Placed(())
    rooms = [sum(look.room(name, pinned) for name in gpus) for gpus in question.choices]
    most = max(rooms, default=0)
    for i in (i for i, room in enumerate(rooms) if room >= LIKE * most or room == most):
        kind, cost, room, lack = question.closely(question.on(i))
        worth = kind, *question.worth(i, cost, room)
        if worth < best:
            best, found = worth, Placed(question.choices[i], room, lack)
    return found


class _Lacks:
    """How much is lacking on choices of GPUs, if nobody goes. It says of each device what `Look.size` does."""

    def __init__(self, question: _Question) -> None:
        look, movable = question.look, question.movable
        devices, pinned, floors = look.memory.devices, look.pinned(), look.memory.floors.get(look.target, {})
        beside = [name for name, size in movable.beside.items() if size > 0 and name in devices]
        self.names, self.shared = (*movable.among, *beside), beside
        self._movable, self._is_guess = movable, movable.source is NeedSource.ESTIMATED
        self._capacities = {name: devices[name].capacity for name in movable.among}
        self._rooms = {name: look.room(name, look.seen) for name in self.names}
        self._at_best = {name: look.room(name, pinned) for name in self.names}
        self._spare = {name: devices[name].spare for name in self.names}
        if movable.source is not NeedSource.MEASURED:
            self._spare = dict.fromkeys(self.names, 0)
        self._floor = floors.get(CHOSEN, 0)
        cut = {name: min(floors.get(name, 0), self._at_best[name]) for name in beside}
        all_beside = {name: self._lack(name, movable.beside[name], cut[name]) for name in beside}
        self.beside = {name: lack for name, lack in all_beside.items() if lack > 0}

    def on(self, gpus: tuple[str, ...]) -> _Bytes:
        """Of these GPUs, and of what is no GPU."""
        found, capacities, whole_size, floor = {**self.beside}, self._capacities, self._movable.size, self._floor
        known, rooms = self._movable.known.get(gpus), self._rooms
        whole = sum([capacities[name] for name in gpus]) or 1
        for name in gpus:
            size = whole_size * capacities[name] // whole if known is None else known[name]
            if size > rooms[name] or floor:
                lack = self._lack(name, size, floor * capacities[name] // whole)
                if lack > 0:
                    found[name] = lack
        return found

    def least(self) -> dict[int, _Bytes]:
        """By number of GPUs: what is lacking at least on each, whichever are the others."""
        capacities, counts = self._capacities, {len(gpus) for gpus in self._movable.choices()}
        largest = sorted(capacities, key=capacities.__getitem__, reverse=True)
        found = {}
        for count in counts:
            wholes = dict.fromkeys(largest[:count], sum(capacities[name] for name in largest[:count]))
            but_one = sum(capacities[name] for name in largest[: count - 1])
            wholes |= {name: but_one + capacities[name] for name in largest[count:]}
            found[count] = {name: self._of_whole(name, whole or 1) for name, whole in wholes.items()}
        for gpus, known in self._movable.known.items():
            row = found.get(len(gpus), {})
            row |= {name: min(row[name], self._lack(name, known[name], 0)) for name in gpus if name in row}
        return found

    def _of_whole(self, name: str, whole: int) -> int:
        capacity = self._capacities[name]
        return self._lack(name, self._movable.size * capacity // whole, self._floor * capacity // whole)

    def _lack(self, name: str, size: int, floor: int) -> int:
        """`floor`: what it is taken to need since it was short of memory. Where there cannot be as much, or as much as
        a guess, it is put only if it can be put nowhere else.
        """
        at_best = self._at_best[name]
        if not size:
            return 0
        if floor > at_best or (self._is_guess and size > at_best):
            return NO_WAY
        if at_best < size <= at_best + self._spare[name]:
            size = at_best
        return max(size, floor) - self._rooms[name]


class _Search:
    """The best choice for which none goes that is of a worse kind."""

    def __init__(self, question: _Question, lacks: _Lacks, kind: int) -> None:
        look, memory = question.look, question.look.memory
        self._question, self._lacks, self._kind = question, lacks, kind
        unknown = [model for model in look.seen if memory.need(model).source is NeedSource.UNKNOWN]
        self._alone = {model: memory.need(model).devices or memory.devices for model in unknown if look.may_go(model)}
        """The devices of those of unknown need, which must go from there."""
        self._sure = [model for model, names in self._alone.items() if any(name in names for name in lacks.shared)]
        """Those of them that go with each choice: all choices need something of the devices that are no GPUs."""
        self._paid = sum([question.cost(model, kind) for model in self._sure])
        self._given = {name: sum([look.use(model, name) for model in self._sure]) for name in lacks.names}
        going = [model for model in look.seen if look.may_go(model) and question.kinds[model] <= kind]
        self._models = sorted(model for model in going if model not in self._sure)
        self._costs = [question.cost(model, kind) for model in self._models]
        self._uses = {name: [look.use(model, name) for model in self._models] for name in lacks.names}
        self._bits = {name: 1 << i for i, name in enumerate(lacks.names)}
        on = [sum([self._bits[name] for name, use in self._uses.items() if use[i]]) for i in range(len(self._models))]
        self._on = {
            name: [one for one in zip(use, self._costs, on, strict=True) if one[0]] for name, use in self._uses.items()
        }
        """By device the models there: what each takes, what it costs, and all devices that it is on as bits."""
        self._tables: dict[str, _Table] = {}
        self._grouped: list[tuple[int, int]] = []  # a GPU of all choices of a group, and those that there may be beside

    def best(self) -> Placed | None:
        if any(self._question.kinds[model] > self._kind for model in self._sure):
            return None
        best: _Worth = (NO_WAY,)
        found, todo = None, self._groups()
        while todo:
            bound, count, step, i, lack = heappop(todo)
            if (bound, 0, count) > best[:3]:
                break
            if step == GROUP:
                for member in self._members(count, i):
                    heappush(todo, (bound, count, UNSEEN, member, lack))
            elif step == UNSEEN:
                lack = self._lacks.on(self._question.choices[i])
                higher = max([bound, *(self._least(name, size) for name, size in lack.items())])
                heappush(todo, (higher, count, DEAREST, i, lack))
            elif step == DEAREST:
                higher = max(bound, self._least_together(lack, best[0]))
                heappush(todo, (higher, count, ALL_GPUS, i, lack))
            elif (victims := self._victims(i, lack, best[0])) is not None:
                cost, room, lack = victims
                worth = self._question.worth(i, cost, room)
                if worth < best:
                    best, found = worth, Placed(self._question.choices[i], room, lack)
        return found

    def _groups(self) -> list[_Open]:
        """All choices that may be possible, by how many GPUs they have and which is the dearest: a heap."""
        beside = max([self._paid, *(self._least(name, lack) for name, lack in self._lacks.beside.items())])
        found: list[_Open] = []
        for count, row in self._lacks.least().items():
            costs, cheaper = {name: max(beside, self._least(name, lack)) for name, lack in row.items()}, 0
            for place, name in enumerate(sorted(costs, key=costs.__getitem__), 1):
                cheaper |= self._bits[name]
                if place >= count and costs[name] < NO_WAY:
                    found.append((costs[name], count, GROUP, len(self._grouped), {}))
                    self._grouped.append((self._bits[name], cheaper))
        heapify(found)
        return found

    def _members(self, count: int, group: int) -> list[int]:
        dearest, cheaper = self._grouped[group]
        choices = _as_bits(self._question.movable.among, self._question.movable.count)[count]
        return [i for i, gpus in choices if gpus & dearest and not gpus & ~cheaper]

    def _victims(self, i: int, lack: _Bytes, most: int) -> tuple[int, tuple[str, ...], _Bytes] | None:
        """What they cost, who they are, and what is lacking; None if they cost more than `most`, or are not enough."""
        names = self._question.choices[i]
        if self._sure or any(name in devices for devices in self._alone.values() for name in names):
            on = self._question.on(i)
            kind, cost, room, lack = self._question.closely(on)
            return None if kind > self._kind or on.is_unknown else (cost, room, lack)
        if not lack:
            return 0, (), lack
        sizes = list(zip(*[self._uses[name] for name in lack], strict=True))
        chosen = cheapest_cover(self._costs, sizes, list(lack.values()), most)
        if chosen is None:
            return None
        models = {self._models[j] for j in chosen}
        room = tuple(model for model in self._question.look.seen if model in models)
        return sum(self._costs[j] for j in chosen), room, lack

    def _least(self, name: str, lack: int) -> int:
        """What it costs at least to have so much more of one device."""
        lack -= self._given[name]
        if lack <= 0:
            return self._paid
        if (table := self._tables.get(name)) is None:
            table = self._tables[name] = _table([(size, cost) for size, cost, _ in self._on[name]])
        at = bisect_left(table[0], lack)
        return table[1][at] + self._paid if at < len(table[0]) else NO_WAY

    def _least_together(self, lack: _Bytes, most: int) -> int:
        """What all of it costs at least: each model costs a part of its loss on each of the devices that it is on."""
        bits, found = sum([self._bits[name] for name in lack]), self._paid
        for name, size in lack.items():
            pairs = [(use, cost // (on & bits).bit_count()) for use, cost, on in self._on[name] if cost <= most]
            found += _least_of(pairs, size - self._given[name])
            if found > most:
                break
        return found


@lru_cache(maxsize=64)
def _as_bits(among: tuple[str, ...], count: int) -> dict[int, list[tuple[int, int]]]:
    """The numbers of the choices and their GPUs as bits, by how many these are."""
    found: dict[int, list[tuple[int, int]]] = {}
    for i, gpus in enumerate(choices_of(among, count)):
        found.setdefault(len(gpus), []).append((i, sum(1 << among.index(name) for name in gpus)))
    return found


def _least_of(pairs: list[tuple[int, int]], lack: int) -> int:
    """What it costs at least to have so much, of sizes and costs."""
    if sum([size for size, _ in pairs]) < lack:
        return NO_WAY
    if lack <= 0:
        return 0
    if len(pairs) <= MOST_LISTED:
        return min([one for one in _sets(pairs) if one & GIVEN >= lack], default=NO_WAY << BITS) >> BITS
    found = 0
    for size, cost in sorted(pairs, key=_value):  # as if one could go in part
        if size >= lack:
            return found + cost * lack // size
        found, lack = found + cost, lack - size
    return NO_WAY


def _table(pairs: list[tuple[int, int]]) -> _Table:
    """For each size that models give together, or for steps between, what it costs at least to have so much."""
    if len(pairs) <= MOST_LISTED:
        sets = _sets(pairs)
    else:  # as if one could go in part
        sets, given, paid = [0], 0, 0
        for size, cost in sorted(pairs, key=_value):
            given += size
            sets.append(paid << BITS | given)  # what is in between costs no less than those before it
            paid += cost
    largest, sizes, costs = -1, [], []
    for one in sorted(sets):
        if one & GIVEN > largest:
            largest = one & GIVEN
            sizes.append(largest)
            costs.append(one >> BITS)
    return sizes, costs


def _sets(pairs: list[tuple[int, int]]) -> list[int]:
    """Each set of them: what it costs, and in the last bits what it gives."""
    sets = [0]
    for size, cost in pairs:
        more = cost << BITS | size
        sets += [one + more for one in sets]
    return sets


def _value(pair: tuple[int, int]) -> float:
    return pair[1] / pair[0]
