"""On which GPUs a model is put, and who goes for it there: one question.

Pure and exact. Of all choices of GPUs the one counts whose victims cost least: none that cost a wait if others are
enough, as for one that has its place. Of like ones the fewest sleepers that have to be stopped, then the fewest GPUs,
then the least room that is left on them beside what runs, then the first. A bound of what each choice costs at least
leaves few of them to be looked at closely.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from llamaswap_lib.core.eviction.devices import Movable, NeedSource
from llamaswap_lib.core.eviction.look import Look
from llamaswap_lib.core.eviction.manners import is_calm
from llamaswap_lib.core.eviction.sleepers import in_the_way

SETTLED, CALM, BUSY, NEVER = range(4)  # who has to go: what nobody misses; what was just loaded; what serves; too few
MOST_LISTED = 6  # models on a device whose sets are all listed; of more what they cost is bounded from below
MOST_LOOKS = 32  # at choices of one kind: a bound, for more GPUs and models on several of them than anybody has
LIKE = 0.9  # of the room of the emptiest GPU: one with so much is as good for a model of unknown need

_Table = tuple[list[int], list[int]]  # sizes that are wanted, and for each what it costs at least
_Tables = tuple[_Table, _Table]  # of one device: with whole costs, and with those shared by devices


class Placed(NamedTuple):
    """GPUs, the models that go, and what is lacking by device if none goes."""

    gpus: tuple[str, ...]
    room: tuple[str, ...] = ()
    lack: Mapping[str, int] = {}


def place(look: Look, movable: Movable, kept: Collection[str], asleep: Sequence[str] = ()) -> Placed:
    """`kept` as for `Look.choose`; `asleep` are the sleepers. No GPUs if there is nothing to choose from."""
    search = _Search(look, movable, kept, asleep)
    if movable.source is NeedSource.UNKNOWN:
        search.look_closely(_emptiest(look, movable.choices()))
        return search.found
    known = _Bounds(look, movable, kept, asleep)
    if (free := known.first_free()) is not None:
        return Placed(free)
    if movable.source is NeedSource.ESTIMATED and known.is_guessed_too_large():
        search.look_closely(_emptiest(look, movable.choices()))
        return search.found
    if known.is_everywhere_cut_short():
        search.look_closely(_emptiest(look, movable.choices()))
        return search.found
    if len(movable.choices()) == 1:
        search.look_closely([(SETTLED, 0, 0, 0)])
        return search.found
    for kind in (SETTLED, CALM, BUSY, NEVER):
        search.look_closely(known.bounds(kind))
        if search.best[:1] <= (kind,):
            break
    return search.found


_Bound = tuple[int, int, int, int]  # who has to go at least, what that costs, how many GPUs, the number of the choice


class _Search:
    """Choices that are looked at closely, and the best of them."""

    def __init__(self, look: Look, movable: Movable, kept: Collection[str], asleep: Sequence[str]) -> None:
        self.found = Placed(())
        self.best: tuple[int, ...] = (NEVER + 1,)
        self._look, self._movable, self._kept, self._asleep = look, movable, kept, asleep

    def look_closely(self, bounds: Iterable[_Bound]) -> None:
        choices = self._movable.choices()
        for *bound, i in sorted(bounds)[:MOST_LOOKS]:
            if (*bound[:2], 0, bound[2]) > self.best[:4]:
                break
            on = self._look.on(self._movable.need_on(choices[i], self._look.memory.devices))
            room, lack = on.choose(self._kept)
            kind, cost = _cost(on, room, lack, self._kept)
            kind = NEVER if on.is_cut_short() else kind
            stopped = len(in_the_way(on, self._asleep, room))
            key = kind, cost, stopped, len(choices[i]), _left(on, choices[i], room), i
            if key < self.best:
                self.best, self.found = key, Placed(choices[i], room, lack)


def _cost(look: Look, room: Collection[str], lack: Mapping[str, int], kept: Collection[str]) -> tuple[int, int]:
    kind = max((_kind(look, model) for model in room), default=SETTLED)
    if any(sum(look.use(model, name) for model in room) < size for name, size in lack.items()):
        kind = NEVER
    return kind, sum(1 if kind >= BUSY and model in kept else look.loss(model) for model in room)


def _kind(look: Look, model: str) -> int:
    seen = look.seen[model]
    if not is_calm(seen):
        return BUSY
    return CALM if look.manners.is_young(seen) else SETTLED


def _left(look: Look, gpus: Collection[str], room: Collection[str]) -> int:
    """What is free on these GPUs once it is there."""
    staying = [model for model in look.seen if model not in room]
    return sum(look.room(name, staying) - look.need.devices.get(name, 0) for name in gpus)


def _emptiest(look: Look, choices: Sequence[tuple[str, ...]]) -> list[_Bound]:
    """Those on which it would have most room, alone."""
    pinned = look.pinned()
    rooms = [sum(look.room(name, pinned) for name in gpus) for gpus in choices]
    most = max(rooms, default=0)
    good = [i for i, room in enumerate(rooms) if room >= LIKE * most or room == most]
    return [(SETTLED, 0, len(choices[i]), i) for i in good]


class _Bounds:
    """What putting a model of known need on some GPUs costs at least, by sums for each device."""

    def __init__(self, look: Look, movable: Movable, kept: Collection[str], asleep: Sequence[str]) -> None:
        self._look, self._movable, self._kept, self._asleep = look, movable, kept, asleep
        self._stopped: tuple[int, tuple[str, ...]] | None = None  # the fewest sleepers, and the choice for which
        self._choices = movable.choices()
        devices = look.memory.devices
        beside = {name: size for name, size in movable.beside.items() if size > 0 and name in devices}
        self._capacities = {name: devices[name].capacity for name in movable.among}
        self._rooms = {name: look.room(name, look.seen) for name in (*movable.among, *beside)}
        pinned = look.pinned()
        is_measured = movable.source is NeedSource.MEASURED
        self._at_best = {name: look.room(name, pinned) for name in self._rooms} if is_measured else {}
        self._beside = tuple(beside)
        self._lacks_beside = [lack for name, size in beside.items() if (lack := self._lack(name, size))]
        unknown = [model for model in look.seen if look.memory.need(model).source is NeedSource.UNKNOWN]
        self._unknown = {model: look.memory.need(model).devices or devices for model in unknown if look.may_go(model)}
        self._lacks: list[list[tuple[str, int]]] = []  # by choice, as far as they were worked out
        self._open: Sequence[int] = range(len(self._choices))  # for which nothing was found yet

    def first_free(self) -> tuple[str, ...] | None:
        """The best choice on which it fits beside all that run: mostly of the fewest GPUs."""
        free: list[tuple[int, int, int]] = []  # how many, what is left on them, the number of the choice
        for i, gpus in enumerate(self._choices):
            if free and len(gpus) > free[-1][0] and (found := self._first(free)) is not None:
                return found
            self._lacks.append(self._lacks_on(gpus))
            if not self._lacks[i] and not self._unknown_on(gpus):
                sizes = self._movable.sizes_on(gpus, self._look.memory.devices)
                free.append((len(gpus), sum(self._rooms[name] - size for name, size in sizes.items()), i))
        return self._first(free) or (self._stopped and self._stopped[1])

    def _first(self, free: list[tuple[int, int, int]]) -> tuple[str, ...] | None:
        """The first of them, in their order, for which nobody goes, sleepers neither; the others are taken out."""
        for _, _, i in sorted(free):
            on = self._look.on(self._movable.need_on(self._choices[i], self._look.memory.devices))
            if not any(on.choose(())) and not on.is_cut_short():
                stopped = len(in_the_way(on, self._asleep))
                if not stopped:
                    return self._choices[i]
                if self._stopped is None or stopped < self._stopped[0]:
                    self._stopped = stopped, self._choices[i]
        free.clear()
        return None

    def is_guessed_too_large(self) -> bool:
        """Whether a guess is more than there can be, wherever it is put: it is then loaded where there is most room."""
        devices = self._look.memory.devices
        needs = (self._movable.need_on(gpus, devices) for gpus in self._choices)
        return all(self._look.on(need).is_unknown for need in needs)

    def is_everywhere_cut_short(self) -> bool:
        """Whether it has run out of memory with as much as there can be, wherever it is put: see `Look.floor`."""
        devices = self._look.memory.devices
        needs = (self._movable.need_on(gpus, devices) for gpus in self._choices)
        has_floor = self._look.target in self._look.memory.floors
        return has_floor and all(self._look.on(need).is_cut_short() for need in needs)

    def bounds(self, kind: int) -> list[_Bound]:
        """The choices for which somebody of this kind has to go at least. Ask for the better kinds first."""
        tables = self._tables(kind) if kind < NEVER else {}
        found, rest = [], []
        for i in self._open:
            unknown = self._unknown_on(self._choices[i]) if self._unknown else ()
            if unknown:
                cost = 0 if max(_kind(self._look, model) for model in unknown) <= kind else None
            else:
                cost = _least(tables, self._lacks[i]) if kind < NEVER else 0
            if cost is None:
                rest.append(i)
            else:
                found.append((kind, cost, len(self._choices[i]), i))
        self._open = rest
        return found

    def _tables(self, kind: int) -> Mapping[str, _Tables]:
        """What it costs at least to have so much of each device, if only models up to this kind may go.

        In the second one of a device, what one costs that is on several devices is shared by them, so that it never
        counts twice where several are lacking.
        """
        look = self._look
        rows: dict[str, list[tuple[int, int, int]]] = {name: [] for name in self._rooms}
        lacking = [*self._movable.among, *(name for name, _ in self._lacks_beside)]
        for model in look.seen:
            if model not in self._unknown and look.may_go(model) and _kind(look, model) <= kind:
                uses = [(name, size) for name in lacking if (size := look.use(model, name)) > 0]
                cost = 1 if kind >= BUSY and model in self._kept else look.loss(model)
                for name, size in uses:
                    rows[name].append((size, cost, cost // len(uses)))
        return {
            name: (
                _table([(size, cost) for size, cost, _ in each]),
                _table([(size, share) for size, _, share in each]),
            )
            for name, each in rows.items()
        }

    def _unknown_on(self, gpus: tuple[str, ...]) -> list[str]:
        """Those of unknown need that would have to go."""
        names = gpus + self._beside
        return [model for model, devices in self._unknown.items() if any(name in devices for name in names)]

    def _lacks_on(self, gpus: tuple[str, ...]) -> list[tuple[str, int]]:
        """How much of each device is lacking, if nobody goes."""
        known, rooms, found = self._movable.known.get(gpus), self._rooms, [*self._lacks_beside]
        capacities, whole_size = self._capacities, self._movable.size
        whole = sum([capacities[name] for name in gpus]) or 1
        for name in gpus:
            size = whole_size * capacities[name] // whole if known is None else known[name]
            if 0 < size > rooms[name] and (lack := self._lack(name, size)):
                found.append(lack)
        return found

    def _lack(self, name: str, size: int) -> tuple[str, int] | None:
        if self._at_best and size > self._rooms[name]:
            size = self._look.on_device(name, size, self._at_best[name])
        return (name, size - self._rooms[name]) if size > self._rooms[name] else None


def _least(tables: Mapping[str, _Tables], lacks: list[tuple[str, int]]) -> int | None:
    """What it costs at least to have all of this; None if that cannot be."""
    dearest = together = 0
    for name, lack in lacks:
        (sizes, costs), (shared_sizes, shares) = tables[name]
        at = bisect_left(sizes, lack)
        if at == len(sizes):
            return None
        dearest = max(dearest, costs[at])
        together += shares[bisect_left(shared_sizes, lack)]
    return max(dearest, together)


def _table(pairs: list[tuple[int, int]]) -> _Table:
    """For each size that models give together, or for steps between, what it costs at least to have so much."""
    if len(pairs) <= MOST_LISTED:
        sets = [(0, 0)]
        for size, cost in pairs:
            sets += [(given + size, paid + cost) for given, paid in sets]
    else:  # as if one could go in part
        sets, given, paid = [(0, 0)], 0, 0
        for size, cost in sorted(pairs, key=lambda pair: pair[1] / pair[0]):
            sets.append((given + size, paid))  # what is in between costs no less than those before it
            given, paid = given + size, paid + cost
    least, sizes, costs = None, [], []
    for size, cost in sorted(sets, key=lambda pair: (-pair[0], pair[1])):
        if least is None or cost < least:
            least = cost
            sizes.append(size)
            costs.append(cost)
    return sizes[::-1], costs[::-1]
