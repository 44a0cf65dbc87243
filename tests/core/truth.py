"""The memory of a simulated world: devices, what models really need, other programs, and what is told of it all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from llamaswap_lib.core.eviction.devices import Device, Memory, Need, NeedSource
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
        seen = Memory(dict(self.devices), needs, {model: self.sizes[model] for model in self.runs})
        return replace(seen, grown=self.growth.note(seen, self.standing()))

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
        """By sums of its own: one of unknown need is alone on the devices that it may use, but for pinned ones."""
        mine = self.sizes[target].keys()
        for other in staying:
            shares = mine & self.sizes[other].keys()
            if shares and other not in pinned and (target in self.unknown or other in self.unknown):
                return False
        if target in self.unknown:
            return True
        return all(self.sizes[target][name] <= self.room(name, staying) for name in mine)


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
