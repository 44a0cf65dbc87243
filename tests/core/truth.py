"""The memory of a simulated world: devices, what models really need, other programs, and what is told of it all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from llamaswap_lib.core.eviction.devices import Device, Memory, Movable, Need, NeedSource, choices_of
from llamaswap_lib.core.eviction.group import GroupPolicy
from llamaswap_lib.core.eviction.growth import Growth, Standing

Sizes = dict[str, int]


@dataclass(slots=True)
class Truth:
    """Sizes are small numbers. `unknown` are the models whose need is not known before they have run."""

    devices: dict[str, Device]
    sizes: dict[str, Sizes]  # model -> what it takes on each device
    unknown: set[str]
    spans: list[tuple[float, str, int]]  # from when on other programs use how much of which device
    freeing: float = 0.0  # seconds from an exit until its memory is free
    is_hidden: bool = True  # memory that is about to be free is not told to be used by others
    runs: set[str] = field(default_factory=set)  # models that have a process, loading or ending ones too
    movable: dict[str, Movable] = field(default_factory=dict)  # whose GPUs are chosen; `sizes` is as they were last
    told: dict[tuple[str, frozenset[str]], Collection[str]] = field(
        default_factory=dict
    )  # answers since the last event
    growths: list[tuple[float, str, str, int]] = field(default_factory=list)  # when which model takes how much more
    growth: Growth = field(default_factory=Growth)
    ever_grown: set[str] = field(default_factory=set)
    standing: Callable[[], Mapping[str, Standing]] = dict  # the runs that are to stay, by model

    def picture(self) -> Memory:
        sources = {model: NeedSource.UNKNOWN if model in self.unknown else NeedSource.DECLARED for model in self.sizes}
        needs = {model: Need(self.sizes[model], source) for model, source in sources.items()}
        moves = dict(self.movable)
        moves |= {model: replace(moves[model], source=NeedSource.UNKNOWN) for model in self.unknown & moves.keys()}
        held = {model: self.sizes[model] for model in self.runs}
        seen = Memory(dict(self.devices), needs, held, movable=moves)
        return replace(seen, grown=self.growth.note(seen, self.standing()))

    def start(self, model: str, gpus: tuple[str, ...], is_launchable: bool) -> None:
        """It has a process from now on, if it can be started; what it takes is clear once it is known where."""
        if is_launchable:
            self.runs.add(model)
        if model in self.movable:
            self.sizes[model] = self.sizes_on(model, gpus)

    def sizes_on(self, model: str, gpus: tuple[str, ...]) -> Sizes:
        """Of a movable model; one of unknown need takes no more than there is, for it can run alone."""
        sizes = self.movable[model].sizes_on(gpus, self.devices)
        if model in self.unknown:
            return {name: min(size, self.devices[name].usable) for name, size in sizes.items()}
        return {name: size for name, size in {**self.movable[model].beside, **sizes}.items() if size}

    def ways(self, model: str) -> list[Sizes]:
        """What it takes, wherever it may be put."""
        if model not in self.movable:
            return [self.sizes[model]]
        one = self.movable[model]
        count = 1 if model in self.unknown and not one.count else one.count
        return [self.sizes_on(model, gpus) for gpus in choices_of(one.among, count)]

    def use(self, device: str, change: int) -> None:
        """Other programs take or give back memory."""
        seen = self.devices[device]
        self.devices[device] = replace(seen, others=seen.others + change)

    def grow(self, model: str, device: str, change: int) -> None:
        """It takes more of it from now on, at its next start too."""
        self.sizes[model] = {**self.sizes[model], device: self.sizes[model].get(device, 0) + change}
        self.ever_grown.add(model)

    # -- sums --

    def room(self, device: str, staying: Iterable[str]) -> int:
        seen = self.devices[device]
        return seen.capacity - seen.reserve - seen.others - sum(self.sizes[model].get(device, 0) for model in staying)

    def fits(self, target: str, staying: Collection[str], pinned: Collection[str]) -> bool:
        """By sums of its own, in one of the ways that there are."""
        return any(self._fits_so(target, way, staying, pinned) for way in self.ways(target))

    def _fits_so(self, target: str, way: Sizes, staying: Collection[str], pinned: Collection[str]) -> bool:
        """One of unknown need is alone on the devices that it may use, but for pinned ones."""
        mine = way.keys()
        for other in staying:
            shares = mine & self.sizes[other].keys()
            if shares and other not in pinned and (target in self.unknown or other in self.unknown):
                return False
        if target in self.unknown:
            return True
        return all(way[name] <= self.room(name, staying) for name in mine)

    def fits_on(self, target: str, gpus: tuple[str, ...], staying: Collection[str], pinned: Collection[str]) -> bool:
        """The same of a movable model on just these."""
        return self._fits_so(target, self.sizes_on(target, gpus), staying, pinned)


@dataclass(frozen=True, slots=True)
class MemoryRules:
    """What the configuration of such a world says."""

    pinned: frozenset[str] = frozenset()
    min_residency: float = 0.0
    together: GroupPolicy | None = None

    def goes_by_rules(self, target: str, running: Collection[str]) -> set[str]:
        """Of the models that groups name, those that may not run beside the target."""
        if self.together is None or not self.together.names(target):
            return set()
        return self.together.evict(target, tuple(filter(self.together.names, running)))
