"""Models that sleep: which of them are stopped, because they hold memory that another model needs.

Pure. Those that sleep are in nobody's way but for that, so none of those that run goes for what a sleeper can give.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from llamaswap_lib.core.eviction import RunningModel
from llamaswap_lib.core.eviction.cover import cheapest_cover
from llamaswap_lib.core.eviction.devices import Memory
from llamaswap_lib.core.eviction.look import Look
from llamaswap_lib.core.eviction.pressure import held


def was_read(memory: Memory, asleep_since: float) -> bool:
    """Whether the last reading tells what a model holds that fell asleep then; else it is of before."""
    return bool(memory.readings) and memory.readings[-1].at > asleep_since


def sleepers(memory: Memory, view: Callable[[str], RunningModel], but: Collection[str]) -> tuple[str, ...]:
    """All that sleep, in order, as far as what they hold was read since then."""
    found = []
    for model in memory.held.keys() - but if memory.readings else ():
        seen = view(model)
        if seen.state == "sleeping" and seen.asleep_since is not None and was_read(memory, seen.asleep_since):
            found.append(model)
    return tuple(sorted(found))


def in_the_way(look: Look, models: Iterable[str], going: Collection[str] = ()) -> tuple[str, ...]:
    """As few of these sleepers as have to be stopped for the target, once those in `going` have gone.

    One of unknown need is loaded alone, so all go that hold anything of its devices.
    """
    models = tuple(models)
    sizes = [[_held(look, model, name) for name in look.devices] for model in models]
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


def _held(look: Look, model: str, device: str) -> int:
    size = held(look.memory, model, device, is_ready=True)
    return size if size > look.memory.devices[device].noise else 0
