"""One question of memory: may a model run beside those that stay, and who goes if not?

Pure. A run counts with what its model needs, or with what it holds if that is more; one of unknown need counts with all
of the devices that it may use, and its model is loaded alone there. Nothing goes that can stay. Of the sets whose going
makes room the one goes whose loss costs least. Models that serve or load, or were ready for less than `min_residency`,
are in that set only if the others are not enough. Pinned ones never are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from copy import copy
from dataclasses import replace

from llamaswap_lib.core.eviction import RunningModel
from llamaswap_lib.core.eviction.cover import cheapest_cover
from llamaswap_lib.core.eviction.devices import CHOSEN, Memory, Need, NeedSource, held
from llamaswap_lib.core.eviction.manners import Manners, is_calm, is_passing


class Look:
    """One question: may the target run beside those that stay, and who goes if not?"""

    def __init__(
        self,
        memory: Memory,
        manners: Manners,
        view: Callable[[str], RunningModel],
        target: str,
        staying: Collection[str],
    ) -> None:
        self.memory = memory
        self.manners = manners
        self.target = target
        self.seen = {model: view(model) for model in staying}
        self._uses = _uses(memory, self.seen)
        self._losses: dict[str, int] = {}
        self._unknown = [model for model in self.seen if memory.need(model).source is NeedSource.UNKNOWN]
        self._pinned = [model for model in self.seen if model in manners.pinned]
        self._ask(memory.need(target))

    def on(self, need: Need) -> Look:
        """The same question, if the target needs this."""
        other = copy(self)
        other._ask(need)
        return other

    def _ask(self, need: Need) -> None:
        self.need = need
        self.is_unknown = need.source is NeedSource.UNKNOWN or self.is_guessed_too_large()
        self.devices = [name for name in self._asked_devices() if name in self.memory.devices]

    def is_guessed_too_large(self) -> bool:
        """Whether its estimate is more than there can be now. A guess refuses nothing, so it counts as unknown then."""
        if self.need.source is not NeedSource.ESTIMATED:
            return False
        sizes = [(name, size) for name, size in self.need.devices.items() if name in self.memory.devices]
        return any(0 < size > self.room(name, self.pinned()) for name, size in sizes)

    def _asked_devices(self) -> Iterable[str]:
        if self.is_unknown:
            return self.need.devices or self.memory.devices
        return [name for name, size in self.need.devices.items() if size > 0]

    # -- how much --

    def use(self, model: str, device: str) -> int:
        """Of a model that runs, and whose need is known."""
        return self._uses[device][model] if model in self.seen else use(self.memory, model, device)

    def _is_everywhere(self, model: str) -> bool:
        """Whether it is one of unknown need that may use a device of the target."""
        need = self.memory.need(model)
        devices = need.devices or self.memory.devices
        return need.source is NeedSource.UNKNOWN and any(name in devices for name in self.devices)

    def room(self, device: str, staying: Iterable[str]) -> int:
        seen = self.memory.devices[device]
        uses = self._uses[device]
        taken = sum([uses[model] if model in uses else use(self.memory, model, device) for model in staying])
        return seen.usable - seen.others - taken

    def pinned(self) -> list[str]:
        return self._pinned

    def size(self, device: str) -> int:
        """What the target needs there. One that has been measured has shown that it runs, if need be alone.

        One that was short of memory gets more, as far as there is more.
        """
        size, floor, is_measured = (
            self.need.devices[device],
            self.floor(device),
            self.need.source is NeedSource.MEASURED,
        )
        if not is_measured and floor <= size:
            return size
        at_best = self.room(device, self.pinned())
        return max(self.on_device(device, size, at_best) if is_measured else size, min(floor, at_best))

    def floor(self, device: str) -> int:
        """What it is taken to need at least, since it was short of memory; 0 if it was not."""
        floors, movable = self.memory.floors.get(self.target), self.memory.movable.get(self.target)
        if not floors or movable is None or device not in movable.among:
            return floors.get(device, 0) if floors else 0
        gpus = tuple(name for name in movable.among if name in self.need.devices)
        return replace(movable, size=floors.get(CHOSEN, 0), known={}).sizes_on(gpus, self.memory.devices)[device]

    def on_device(self, device: str, size: int, at_best: int) -> int:
        """The same of one that was measured. `at_best`: the room if all go that may."""
        return at_best if at_best < size <= at_best + self.memory.devices[device].spare else size

    def may_go(self, model: str) -> bool:
        return model not in self.manners.pinned or is_passing(self.seen[model])

    # -- who goes --

    def choose(self, kept: Collection[str]) -> tuple[tuple[str, ...], dict[str, int]]:
        """Those that go, in the order of `staying`, and what is lacking by device if none goes."""
        doubted = self.seen if self.is_unknown else self._unknown
        alone = [model for model in doubted if self.cannot_share(model)]
        rest = [model for model in self.seen if model not in alone]
        lack: dict[str, int] = {}
        if not self.is_unknown:
            now = {name: self.size(name) - self.room(name, rest) for name in self.devices}
            lack = {name: size for name, size in now.items() if size > 0}
        free = [model for model in rest if self.may_go(model)]
        chosen = [*alone, *(self._cover(free, lack, kept) if lack else ())]
        return tuple(model for model in self.seen if model in chosen), lack

    def cannot_share(self, model: str) -> bool:
        """Whether it must go because one of the two has a device for itself. A pinned one counts with what it holds."""
        if not self.may_go(model):
            return False
        if self.is_unknown and not self._is_everywhere(model):
            return not self.memory.devices or any(self.use(model, name) for name in self.devices)
        return self._is_everywhere(model)

    def _cover(self, free: list[str], lack: Mapping[str, int], kept: Collection[str]) -> Collection[str]:
        """The cheapest set, of those that cost no wait if these are enough. All that help, if nothing is enough."""
        calm = [model for model in free if is_calm(self.seen[model])]
        settled = [model for model in calm if not self.manners.is_young(self.seen[model])]
        for candidates in (settled, calm):
            if (chosen := self._cheapest(candidates, lack, ())) is not None:
                return chosen
        chosen = self._cheapest(free, lack, kept)
        if chosen is None:
            return [model for model in free if any(self.use(model, name) for name in lack)]
        return chosen

    def _cheapest(self, free: list[str], lack: Mapping[str, int], kept: Collection[str]) -> list[str] | None:
        models = sorted(free)
        costs = [1 if model in kept else self.loss(model) for model in models]
        sizes = [[self.use(model, name) for name in lack] for model in models]
        chosen = cheapest_cover(costs, sizes, list(lack.values()))
        return None if chosen is None else [models[i] for i in chosen]

    def loss(self, model: str) -> int:
        if (known := self._losses.get(model)) is None:
            known = self._losses[model] = self.manners.loss(self.seen[model], self.memory.gaps.get(model, 0.0))
        return known


def in_the_way(look: Look, models: Iterable[str], going: Collection[str] = ()) -> tuple[str, ...]:
    """As few of these sleepers as have to be stopped for the target, once those in `going` have gone.

    One of unknown need is loaded alone, so all go that hold anything of its devices. Those that sleep are in nobody's
    way but for that, so none of those that run goes for what a sleeper can give.
    """
    models = tuple(models)
    sizes = [[_held_by_sleeper(look, model, name) for name in look.devices] for model in models]
    if look.is_unknown or not models:
        return tuple(model for model, size in zip(models, sizes, strict=True) if any(size))
    staying = [model for model in look.seen if model not in going]
    there = [sum(column) for column in zip(*sizes, strict=True)]
    rooms = zip(look.devices, there, strict=True)
    lacks = [look.size(name) + size - look.room(name, staying) for name, size in rooms]
    columns = [column for column, lack in enumerate(lacks) if there[column] and lack > 0]
    if not columns:
        return ()
    helps = [[size[column] for column in columns] for size in sizes]
    chosen = cheapest_cover([1] * len(models), helps, [lacks[column] for column in columns]) or []
    return tuple(models[i] for i in chosen)


def _held_by_sleeper(look: Look, model: str, device: str) -> int:
    size = held(look.memory, model, device, is_ready=True)
    return size if size > look.memory.devices[device].noise else 0


def use(memory: Memory, model: str, device: str) -> int:
    """What it needs there, or holds if that is more."""
    return max(memory.need(model).devices.get(device, 0), memory.held.get(model, {}).get(device, 0))


def _uses(memory: Memory, models: Collection[str]) -> dict[str, dict[str, int]]:
    """The same of all of them, by device: it is asked for often."""
    found = {name: dict.fromkeys(models, 0) for name in memory.devices}
    for model in models:
        for sizes in (memory.need(model).devices, memory.held.get(model, {})):
            for name, size in sizes.items():
                if name in found and size > found[name][model]:
                    found[name][model] = size
    return found
