"""The memory of a simulated world: devices, what models really need, other programs, and what is told of it all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from llamaswap_lib.core.eviction.devices import Device, Memory, Movable, Need, NeedSource, Reading, choices_of
from llamaswap_lib.core.eviction.group import GroupPolicy
from llamaswap_lib.core.eviction.growth import Growth, Standing
from llamaswap_lib.core.eviction.room import Floors

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
    hungry: dict[str, Sizes] = field(default_factory=dict)  # model -> what it takes beyond what is known of it
    is_strict: bool = False  # a model that finds too little when it loads fails
    settle: float = 5.0  # the longest wait for memory of what has ended
    every: float = 0.1  # seconds between two readings
    loaded: set[str] = field(default_factory=set)  # of those that run, the ones that have all they take
    asleep: set[str] = field(default_factory=set)  # of those that run, the ones that have given back what they took
    kept: dict[str, Sizes] = field(default_factory=dict)  # model -> what it does not give back when it sleeps
    unfreed: dict[str, int] = field(default_factory=dict)  # of what has ended, and is not told to be of others
    readings: tuple[Reading, ...] = ()  # the last two
    present: tuple[frozenset[str], ...] = ()  # what ran at those
    floors: Floors = field(default_factory=Floors)
    told: dict[tuple[str, frozenset[str]], Collection[str]] = field(
        default_factory=dict
    )  # answers since the last event
    growths: list[tuple[float, str, str, int]] = field(default_factory=list)  # when which model takes how much more
    growth: Growth = field(default_factory=Growth)
    ever_grown: set[str] = field(default_factory=set)
    can_wake: Callable[[str], bool] = lambda _: False
    standing: Callable[[], Mapping[str, Standing]] = dict  # the runs that are to stay, by model

    def picture(self) -> Memory:
        sources = {model: NeedSource.UNKNOWN if model in self.unknown else NeedSource.DECLARED for model in self.sizes}
        needs = {model: Need(self.sizes[model], source) for model, source in sources.items()}
        moves = dict(self.movable)
        moves |= {model: replace(moves[model], source=NeedSource.UNKNOWN) for model in self.unknown & moves.keys()}
        seen = Memory(dict(self.devices), needs, self.held, readings=self.readings, movable=moves)
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

    def ways_now(self, model: str) -> list[Sizes]:
        """The same; but what sleeps can only be woken where it is."""
        return [self.sizes[model]] if self.can_wake(model) else self.ways(model)

    @property
    def held(self) -> dict[str, Sizes]:
        """What is told of models that were there at the last reading."""
        seen = self.present[-1] if self.present else self.runs
        return {model: {name: self.takes(model, name) for name in self.devices} for model in self.runs if model in seen}

    def takes(self, model: str, device: str) -> int:
        """Of one that runs."""
        if model in self.asleep:
            kept = self.kept.get(model, {}).get(device, 0)
            return min(kept, self.sizes[model].get(device, 0))
        more = self.hungry.get(model, {}).get(device, 0) if model in self.loaded else 0
        return self.sizes[model].get(device, 0) + more

    def free(self, device: str, but: str = "") -> int:
        """What nobody uses; of models one may be left out."""
        seen = self.devices[device]
        taken = sum(self.takes(model, device) for model in self.runs if model != but)
        return seen.capacity - seen.others - taken - self.unfreed.get(device, 0)

    def read(self, now: float) -> None:
        """What a meter shows, and which models are seen from now on."""
        free = {name: max(0, self.free(name)) for name in self.devices}
        self.readings = (*self.readings[-1:], Reading(now, free))
        self.present = (*self.present[-1:], frozenset(self.runs))

    def starves(self, model: str) -> bool:
        """Whether it finds less than it takes, once it has loaded."""
        extra = self.hungry.get(model, {})
        return self.is_strict and any(
            size + extra.get(name, 0) > self.free(name, model) for name, size in self.sizes[model].items()
        )

    def is_shown(
        self, target: str, way: Sizes, existing: Collection[str], ended: Mapping[str, float], *, is_strict: bool = False
    ) -> bool:
        """Whether there is room without what those held that have ended, or two readings show it.

        One from before an end counts too, if what ended then was there, unless it `is_strict`.
        """
        others = [model for model in existing if model != target]
        for name, size in way.items():
            holders = [model for model in ended if name in self.sizes[model]]
            is_known = not self.unknown & {target, *holders}
            if holders and not (is_known and size <= self.room(name, [*others, *holders])):
                seen = zip(self.readings, self.present, strict=True)
                good = [
                    one
                    for one, there in seen
                    if all(one.at > ended[other] or (other in there and not is_strict) for other in holders)
                ]
                if not self._shows(target, name, size, others, good):
                    return False
        return True

    def _shows(self, target: str, device: str, size: int, others: Collection[str], readings: Sequence[Reading]) -> bool:
        gaps = sum(self.taken(model, device) - self.held.get(model, {}).get(device, 0) for model in others)
        wanted, capacity = size + gaps, self.devices[device].capacity
        if target in self.unknown:
            wanted = self.room(device, others) - int(0.02 * capacity)
        free = [reading.free[device] for reading in readings]
        return len(free) == 2 and min(free) >= wanted and max(free) - min(free) <= 0.02 * capacity

    def taken(self, model: str, device: str) -> int:
        """What it counts with: what it needs, or what it was seen to hold."""
        return max(self.sizes[model].get(device, 0), self.held.get(model, {}).get(device, 0))

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
        return seen.capacity - seen.reserve - seen.others - sum(self.taken(model, device) for model in staying)

    def fits(self, target: str, staying: Collection[str], pinned: Collection[str]) -> bool:
        """By sums of its own, in one of the ways that there are."""
        return any(self._fits_so(target, way, staying, pinned) for way in self.ways_now(target))

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
