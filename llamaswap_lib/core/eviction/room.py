"""What the memory policy says beside who goes: is the room really there, and what if it was not enough?

Pure but for `Floors`, which one thread changes. A model that has run out of memory is taken to need more than what was
free for it: a floor. It ends with the next success, is not kept over a restart, and never makes that a model can never
fit: at best, all that may go goes for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from llamaswap_lib.core.eviction import Shortfall, Unfreed
from llamaswap_lib.core.eviction.devices import CHOSEN, Memory, Movable, NeedSource, in_words
from llamaswap_lib.core.eviction.look import Look, in_the_way
from llamaswap_lib.core.eviction.readings import ALIKE, is_shown, was_read

STEP = 0.05  # of a device, by which more is taken to be needed than was free
RAM = "ram"
OF_RAM = re.compile(r"oom killer", re.IGNORECASE)  # and of nothing else
OF_GPU = re.compile(r"cuda|hip|rocm|vulkan|vk_|vk::|sycl|oneapi|metal|gpu|device|vram", re.IGNORECASE)


class Floors:
    """What models that have run out of memory are taken to need at least. It outlives a change of the configuration."""

    def __init__(self) -> None:
        self.now: Mapping[str, Mapping[str, int]] = {}
        """By model and device; never changed, only replaced."""
        self.tried: dict[str, Mapping[str, int]] = {}
        """Model -> what was free of its devices when it was started last."""
        self.beside: dict[str, tuple[str, ...]] = {}
        """Model -> those that ran then."""
        self.gpus: dict[str, tuple[str, ...]] = {}
        """Model -> those that were chosen for it then."""
        self.early: set[str] = set()
        """Models whose last start was before their devices showed the room."""

    def raise_to(self, model: str, sizes: Mapping[str, int]) -> None:
        before = self.now.get(model, {})
        higher = {name: max(size, before.get(name, 0)) for name, size in sizes.items()}
        self.now = {**self.now, model: {**before, **higher}}

    def end(self, models: Collection[str]) -> None:
        if any(model in self.now for model in models):
            self.now = {model: floor for model, floor in self.now.items() if model not in models}


class MemoryRoom:
    """`Room` of the memory policy. `look`: one question of it, as things are now; `more`: whether it gets more."""

    def __init__(
        self,
        look: Callable[[str, tuple[str, ...], tuple[str, ...]], Look],
        more: Callable[[str, tuple[str, ...], tuple[str, ...]], bool],
        floors: Floors,
        settle_timeout: float,
    ) -> None:
        self._look = look
        self._more = more
        self._floors = floors
        self.settle_timeout = settle_timeout

    def unfreed(
        self, target: str, running: tuple[str, ...], gpus: tuple[str, ...], ended: Mapping[str, float]
    ) -> Unfreed | None:
        look, lacking = self._look(target, running, gpus), {}
        for name in look.devices:
            holders = [model for model in ended if _may_have_held(look.memory, model, name)]
            last = max(holders, key=ended.__getitem__, default="")
            if last and not _is_free(look, name, holders, ended[last]):
                lacking[name] = last
        parts = [f"{in_words(_wanted(look, name))} on {look.memory.devices[name].label or name}" for name in lacking]
        return Unfreed(" and ".join(parts), tuple(dict.fromkeys(lacking.values()))) if parts else None

    def heavy_sleepers(
        self, target: str, running: tuple[str, ...], gpus: tuple[str, ...], since: Mapping[str, float]
    ) -> tuple[str, ...]:
        look = self._look(target, running, gpus)
        return in_the_way(look, sorted(model for model, at in since.items() if was_read(look.memory, at)))

    def note_start(self, target: str, running: tuple[str, ...], gpus: tuple[str, ...], *, is_early: bool) -> None:
        look = self._look(target, running, gpus)
        self._floors.gpus[target], self._floors.beside[target] = gpus, running
        self._floors.tried[target] = {name: max(0, look.room(name, running)) for name in look.devices}
        self._floors.early.discard(target)
        if is_early:
            self._floors.early.add(target)

    def note_ready(self, target: str) -> None:
        self._floors.end([target])

    def note_out_of_memory(self, target: str, words: str, staying: tuple[str, ...]) -> Shortfall | None:
        gpus, tried = self._floors.gpus.get(target, ()), self._floors.tried.get(target, {})
        look = self._look(target, staying, gpus)
        now = {name: max(0, look.room(name, staying)) for name in look.devices}
        free = {name: min(size, tried.get(name, size)) for name, size in now.items()}
        if OF_RAM.search(words) and RAM not in free:
            return None
        short = _named(words, free)
        steps = {name: free[name] + int(STEP * look.memory.devices[name].capacity) + 1 for name in short}
        self._floors.raise_to(target, _pooled(look.memory.movable.get(target), steps))
        has_gone = not {*staying}.issuperset(self._floors.beside.get(target, ()))
        is_there = has_gone and bool(short) and all(now[name] >= steps[name] for name in short)
        has_more = is_there or self._more(target, staying, gpus) or target in self._floors.early
        return Shortfall(_in_words(look, {name: free[name] for name in short}), has_more)

    def hand_over(self) -> Mapping[str, Mapping[str, int]]:
        return self._floors.now

    def restore(self, floors: Mapping[str, Mapping[str, int]]) -> None:
        self._floors.now = floors

    def forget(self, models: Collection[str]) -> None:
        self._floors.end(models)
        for model in models:
            self._floors.tried.pop(model, None)
            self._floors.gpus.pop(model, None)
            self._floors.beside.pop(model, None)
            self._floors.early.discard(model)


def _is_free(look: Look, device: str, holders: Collection[str], since: float) -> bool:
    """Whether there is room without the memory of those that have ended, or it is shown to be free since then."""
    memory = look.memory
    is_known = not any(memory.need(one).source is NeedSource.UNKNOWN or one in memory.movable for one in holders)
    if is_known and not look.is_unknown and look.size(device) <= look.room(device, (*look.seen, *holders)):
        return True
    return is_shown(look.memory, device, _wanted(look, device), since)


def _may_have_held(memory: Memory, model: str, device: str) -> bool:
    """Of one that has ended. What a movable one needs is known of where it would be put now, not of where it was."""
    need, movable = memory.need(model), memory.movable.get(model)
    if movable is not None and device in movable.among:
        return True
    if need.source is NeedSource.UNKNOWN:
        return not need.devices or device in need.devices
    return need.devices.get(device, 0) > 0 or memory.held.get(model, {}).get(device, 0) > 0


def _wanted(look: Look, device: str) -> int:
    """What has to be free of the device: what the target needs, and what others that load there are yet to take.

    What it holds already, for it sleeps, need not be. One of unknown need gets what nobody uses.
    """
    own = look.memory.held.get(look.target, {}).get(device, 0)
    if look.is_unknown:
        return look.room(device, look.seen) - own - int(ALIKE * look.memory.devices[device].capacity)
    return look.size(device) - own + sum(_yet_to_come(look, model, device) for model in look.seen)


def _yet_to_come(look: Look, model: str, device: str) -> int:
    held = look.memory.held.get(model)
    if held is None:  # it has come since the last reading
        return look.use(model, device)
    if look.seen[model].state != "starting" and device not in held:
        return 0  # nobody can tell, so it has what it needs
    return max(0, look.use(model, device) - held.get(device, 0))


def _named(words: str, devices: Collection[str]) -> list[str]:
    """Those of the devices that the words may mean; all, if they mean none of them."""
    if OF_RAM.search(words):
        return [RAM]
    is_gpu = OF_GPU.search(words) is not None
    return [name for name in devices if (name != RAM) == is_gpu] or list(devices)


def _pooled(movable: Movable | None, sizes: Mapping[str, int]) -> Mapping[str, int]:
    """Of one whose GPUs are chosen: what it needs does not depend on which those are."""
    gpus = [name for name in sizes if movable is not None and name in movable.among]
    rest = {name: size for name, size in sizes.items() if name not in gpus}
    return {**rest, CHOSEN: sum(sizes[name] for name in gpus)} if gpus else rest


def _in_words(look: Look, free: Mapping[str, int]) -> str:
    """`it needs more than the 20.0 GB that were free on GPU 0 (18.0 GB declared)`."""
    source = look.need.source.value
    parts = []
    for name, size in free.items():
        said = "" if look.need.source is NeedSource.UNKNOWN else f" ({in_words(look.need.devices[name])} {source})"
        parts.append(f"the {in_words(size)} that were free on {look.memory.devices[name].label or name}{said}")
    return f"it needs more than {' and '.join(parts)}" if parts else "what it needs is not known"
