"""Who should go though no model asks for room: on a device there is less left than its reserve.

Pure. What a model that is ready holds counts, and of one that loads what it will; models that end count as gone. Models
go

- for other programs, on a device that yields to them: as far as those use it, its whole reserve is theirs;
- for a model that has grown, on any device: what others use is no reason there. That model stays. Of several that have
  grown the one stays whose loss costs most, one that cannot go above all.

The cheapest set of idle ones goes that restores the reserve. If all of them are not enough, those go that help: other
programs get what there is, and a model that grows may have stopped before the device is full. Nobody goes who does not
help, or who serves, loads or is pinned. Differences that mean nothing (`Device.noise`) are none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from llamaswap_lib.core.eviction import Relief, RunningModel
from llamaswap_lib.core.eviction.cover import cheapest_cover
from llamaswap_lib.core.eviction.devices import Memory, held, in_words
from llamaswap_lib.core.eviction.manners import Manners, is_calm


def left(memory: Memory, running: Mapping[str, bool]) -> dict[str, int]:
    """What is left of each device. `running`: model -> whether it is ready; those that end are not among them."""
    found = {}
    for name, device in memory.devices.items():
        taken = sum(held(memory, model, name, is_ready=is_ready) for model, is_ready in running.items())
        found[name] = device.capacity - device.others - taken
    return found


def shortages(memory: Memory, running: Mapping[str, bool]) -> dict[str, int]:
    """Devices of which less is left than their reserve, and how much that is lacking."""
    lacks = {name: memory.devices[name].reserve - size for name, size in left(memory, running).items()}
    return {name: lack for name, lack in lacks.items() if lack > memory.devices[name].noise}


def growers(memory: Memory, device: str, running: Collection[str]) -> list[str]:
    """Those of the models that have grown there."""
    noise = memory.devices[device].noise
    return [model for model in running if memory.grown.get(model, {}).get(device, 0) > noise]


def is_pressed(memory: Memory, running: Mapping[str, bool]) -> bool:
    """Whether anybody should go, if there is one who can."""
    lacks = shortages(memory, running)
    return any(memory.devices[name].is_for_others or growers(memory, name, running) for name in lacks)


def is_near(memory: Memory, running: Mapping[str, bool]) -> bool:
    """Whether a device has less left than twice its reserve."""
    return any(size < 2 * memory.devices[name].reserve for name, size in left(memory, running).items())


def relieve(memory: Memory, manners: Manners, seen: Mapping[str, RunningModel], free: Collection[str]) -> Relief | None:
    """`seen` are the models that run and are to stay, `free` those of them that may go if they are idle."""
    lacks = shortages(memory, {model: is_settled(one) for model, one in seen.items()})
    if not lacks:
        return None
    look = _Look(memory, manners, seen, free)
    for_others = {name: lack for name, lack in lacks.items() if memory.devices[name].is_for_others}
    found = look.for_others(for_others)
    if found is not None and found.models:  # first those, and what is left to do shows then
        return found
    growth = look.for_growth(
        {name: lack for name, lack in lacks.items() if name not in for_others and growers(memory, name, seen)}
    )
    if growth is None or found is None:
        return growth or found
    return growth._replace(later=tuple(dict.fromkeys([*found.later, *growth.later])))


def is_settled(seen: RunningModel) -> bool:
    """Whether it counts with what it holds, though it may need more to load."""
    return seen.state in ("ready", "sleeping")


class _Look:
    def __init__(
        self, memory: Memory, manners: Manners, seen: Mapping[str, RunningModel], free: Collection[str]
    ) -> None:
        self._memory = memory
        self._manners = manners
        self._seen = seen
        self._can_go = [model for model in seen if model not in manners.pinned]
        self._idle = [model for model in self._can_go if model in free and is_calm(seen[model])]

    def for_others(self, lacks: Mapping[str, int]) -> Relief | None:
        if not lacks:
            return None
        going, later = self._choose(lacks, ())
        uses = {name: f"for other programs, which use {in_words(self._memory.devices[name].others)}" for name in lacks}
        return Relief("yield", going, later, self._reason(going, uses))

    def for_growth(self, lacks: Mapping[str, int]) -> Relief | None:
        if not lacks:
            return None
        whom = {name: self._dearest(growers(self._memory, name, self._seen)) for name in lacks}
        going, later = self._choose(lacks, {*whom.values()})
        sizes = {name: in_words(self._held(model, name)) for name, model in whom.items()}
        uses = {name: f"for {model}, which has grown to {sizes[name]}" for name, model in whom.items()}
        return Relief("growth", going, later, self._reason(going, uses))

    def _dearest(self, models: Iterable[str]) -> str:
        """Of those that have grown: the one for which the others go."""
        return max(sorted(models), key=lambda model: (model not in self._idle, self._loss(model)))

    def _choose(self, lacks: Mapping[str, int], kept: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Who goes now, and who would help and cannot go now."""
        models = sorted(model for model in self._idle if model not in kept)
        sizes = [[self._help(model, name) for name in lacks] for model in models]
        there = [sum(column) for column in zip(*sizes, strict=True)] or [0] * len(lacks)
        wanted = [min(lack, size) for lack, size in zip(lacks.values(), there, strict=True)]
        columns = [column for column, want in enumerate(wanted) if want]
        going: list[str] = []
        if columns:
            costs = [self._loss(model) for model in models]
            helps = [[size[column] for column in columns] for size in sizes]
            chosen = cheapest_cover(costs, helps, [wanted[column] for column in columns]) or []
            going = [models[i] for i in chosen]
        lacking = [name for name, lack, size in zip(lacks, lacks.values(), there, strict=True) if size < lack]
        rest = [model for model in self._can_go if model not in kept and model not in going]
        return tuple(going), tuple(model for model in rest if any(self._help(model, name) for name in lacking))

    def _held(self, model: str, device: str) -> int:
        return held(self._memory, model, device, is_ready=is_settled(self._seen[model]))

    def _help(self, model: str, device: str) -> int:
        """What its going gives."""
        size = self._held(model, device)
        return size if size > self._memory.devices[device].noise else 0

    def _loss(self, model: str) -> int:
        return self._manners.loss(self._seen[model], self._memory.gaps.get(model, 0.0))

    def _reason(self, going: Collection[str], uses: Mapping[str, str]) -> str:
        """`to make room on GPU 0 for other programs, which use 9.1 GB`."""
        helped = [name for name in uses if any(self._help(model, name) for model in going)]
        labels = {name: self._memory.devices[name].label or name for name in helped}
        return "to make room " + " and ".join(f"on {labels[name]} {uses[name]}" for name in helped)
