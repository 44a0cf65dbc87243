"""What is said of a question of memory: why a model never fits, what is lacking, and who holds it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from llamaswap_lib.core.eviction import NoRoom
from llamaswap_lib.core.eviction.devices import Movable, NeedSource, in_words
from llamaswap_lib.core.eviction.look import Look


def refusal(look: Look) -> NoRoom | None:
    """What needs more than there is, or more than other programs leave."""
    if look.is_unknown:
        return None
    pinned = look.pinned()
    found = None
    for name in look.devices:
        device, size = look.memory.devices[name], look.need.devices[name]
        is_measured = look.need.source is NeedSource.MEASURED
        room = device.usable + device.reserve * is_measured - sum(look.use(model, name) for model in pinned)
        asked = f"{in_words(size)} {_where(look, name)} ({look.need.source.value})"
        if size > room:
            return NoRoom(f"model {look.target} needs {asked}, and {_at_best(look, name, size, pinned)}", True)
        taken = device.others + (device.reserve - device.spare) * is_measured
        if size > room - taken and found is None:
            used = in_words(device.others)
            lack = lack_in_words(look, {name: size - room + device.others})
            found = NoRoom(f"model {look.target} needs {asked}, and other programs use {used} of that now", False, lack)
    return found


def refusal_anywhere(look: Look, movable: Movable) -> NoRoom | None:
    """The same of a model whose GPUs are chosen: what is wrong with the last choice, if all have something wrong.

    The last ones have the most GPUs. One that has room later is told before one that never has.
    """
    if movable.fault:
        return NoRoom(f"model {look.target}: {movable.fault}", True)
    found = None
    for gpus in movable.choices():
        on = look.on(movable.need_on(gpus, look.memory.devices))
        said = refusal(on)
        if said is None:
            return None
        if found is None or found.is_final or not said.is_final:
            found = said
    return found


def _at_best(look: Look, device: str, size: int, pinned: list[str]) -> str:
    """`there are 24.0 GB, of which 1.2 GB are kept free and m, which is pinned, holds 4.0 GB`.

    What would not be enough anyway is not told.
    """
    seen, parts, uses = look.memory.devices[device], [], {}
    if size <= seen.capacity:
        is_kept = seen.reserve and look.need.source is not NeedSource.MEASURED
        parts = [f"{in_words(seen.reserve)} are kept free"] if is_kept else []
        uses = {model: look.use(model, device) for model in pinned} if not is_kept or size <= seen.usable else {}
    parts += [f"{model}, which is pinned, holds {in_words(size)}" for model, size in uses.items() if size]
    return f"there are {in_words(seen.capacity)}{', of which ' if parts else ''}{' and '.join(parts)}"


def _where(look: Look, device: str) -> str:
    return f"on {look.memory.where((device,))}"


def what_is_needed(look: Look) -> str:
    """`needs 18.0 GB on GPU 0, where 6.0 GB are free`. One that was short of memory needs more than is said of it."""
    if look.is_unknown and look.need.source is NeedSource.UNKNOWN:
        where = f" on {look.memory.where(look.need.devices)}" if look.target in look.memory.movable else ""
        return f"what {look.target} needs is not known yet, so it is loaded alone{where}"
    source = f" ({look.need.source.value})" if look.need.source is NeedSource.ESTIMATED else ""
    parts = [
        f"{in_words(max(look.need.devices[name], look.size(name)))} {_where(look, name)}{source}, "
        f"where {in_words(max(0, look.room(name, look.seen)))} are free"
        for name in look.devices
    ]
    alone = "; that may be too much, so it is loaded alone" if look.is_unknown else ""
    return f"{look.target} needs {' and '.join(parts)}{alone}"


def what_it_holds(look: Look, model: str) -> str:
    """`holds 12.0 GB on GPU 0`."""
    if look.memory.need(model).source is NeedSource.UNKNOWN:
        return "may need all, for that is not known yet"
    sizes = {name: look.use(model, name) for name in look.devices}
    return "holds " + " and ".join(f"{in_words(size)} {_where(look, name)}" for name, size in sizes.items() if size)


def lack_in_words(look: Look, lack: Mapping[str, int]) -> str:
    """`6.2 GB on GPU 0`; for one of unknown need the devices."""
    if lack:
        return " and ".join(f"{in_words(size)} {_where(look, name)}" for name, size in lack.items())
    return look.memory.where(look.devices) or "all memory"
