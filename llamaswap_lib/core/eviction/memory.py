"""The memory policy: all models stay as long as they fit, and those go whose loss costs least.

Pure but for what it is handed: it is told what runs before each decision, and asks for a picture of the memory then.

- A run counts with what its model needs, or with what it holds if that is more; one of unknown need counts with all of
  the devices that it may use, and its model is loaded alone there.
- Nothing goes that can stay. Of the sets whose going makes room the one goes whose loss costs least: the seconds of
  its loads, by the chance that it is needed soon, by its weight. Models that serve or load, or were ready for less than
  `min_residency`, are in that set only if the others are not enough. Pinned ones never are.
- What else may not run together, groups or a matrix say of the models that they name; memory is judged for what stays.
- An answer for a target whose swap has begun or is overdue is kept as long as others would have to be waited for too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import exp
from typing import Protocol

from llamaswap_lib.core.eviction import Explanation, NoRoom, Rules, RunningModel
from llamaswap_lib.core.eviction.cover import cheapest_cover
from llamaswap_lib.core.eviction.devices import Memory, NeedSource, in_words

SOON = 60.0  # seconds: what is needed within them would be loaded again at once
TYPICAL_LOAD = 10.0  # seconds, for a model whose load was never timed
STEPS = 10  # of priority, up or down, that count: each of them doubles the weight of a model

_Question = tuple[str, frozenset[str], frozenset[str]]  # the target, what runs, what of that is ending or yet to start


class Together(Protocol):
    """Rules for what may not run together, whatever the memory: groups, or a matrix."""

    def evict(self, target: str, running: tuple[str, ...]) -> Collection[str]: ...

    def explain(self, target: str, running: tuple[str, ...]) -> Explanation: ...

    def names(self, model: str) -> bool:
        """Whether they say anything of this model."""
        ...


@dataclass(frozen=True, slots=True)
class Manners:
    """What the configuration says of models. `min_residency` in seconds."""

    pinned: frozenset[str] = frozenset()
    priorities: Mapping[str, int] = field(default_factory=dict)
    min_residency: float = 0.0
    together: Together | None = None

    def others_first(self, target: str, running: Iterable[str]) -> Collection[str]:
        """Those of `running` that may not run beside the target, whatever the memory."""
        if self.together is None or not self.together.names(target):
            return ()
        return self.together.evict(target, self.named(running))

    def named(self, running: Iterable[str]) -> tuple[str, ...]:
        return tuple(model for model in running if self.together is not None and self.together.names(model))


@dataclass(frozen=True, slots=True)
class Choice:
    """Who must go: by `rules` of the configuration, and for the `lack` of memory by device, in bytes."""

    rules: tuple[str, ...] = ()
    room: tuple[str, ...] = ()
    lack: Mapping[str, int] = field(default_factory=dict)

    @property
    def evicted(self) -> tuple[str, ...]:
        return self.rules + self.room


_NOBODY = Choice()


class MemoryPolicy:
    """`read` gives the picture of now, at once, to any thread. Call `observe` first, on the thread that decides."""

    def __init__(self, read: Callable[[], Memory], manners: Manners) -> None:
        self._read = read
        self._manners = manners
        self._view: Callable[[str], RunningModel] = RunningModel
        self._memory = Memory()
        self._answers: dict[_Question, Choice] = {}
        self._kept: dict[_Question, Choice] = {}

    def rules(self) -> Rules:
        stays = self._manners.min_residency
        return Rules(self.evict, self.explain, self.observe, refuse=self.refuse, still=self.still, stays=stays)

    def observe(self, view: Callable[[str], RunningModel], stands: Callable[[str], bool]) -> None:
        """Something happened. The answers for the targets in `stands` are kept as far as they can be."""
        self._view, self._memory = view, self._read()
        known = {**self._kept, **self._answers}
        self._kept = {question: choice for question, choice in known.items() if stands(question[0])}
        self._answers = {}

    def still(self, views: Mapping[str, RunningModel]) -> Rules:
        """The same for any thread, which calls this: what runs as told, the memory as it is when they are asked."""

        def asked() -> MemoryPolicy:
            copy = MemoryPolicy(self._read, self._manners)
            copy.observe(lambda model: views.get(model) or RunningModel(model, is_planned=True), lambda _: False)
            return copy

        return Rules(
            lambda target, others: asked().evict(target, others),
            lambda target, others: asked().explain(target, others),
            refuse=lambda target, others: asked().refuse(target, others),
        )

    def evict(self, target: str, running: tuple[str, ...]) -> Collection[str]:
        return self._choose(target, running).evicted

    def explain(self, target: str, running: tuple[str, ...]) -> Explanation:
        """With the numbers: what it needs, what is free there, and what each of those that go holds."""
        choice, together = self._choose(target, running), self._manners.together
        by_rules = Explanation("")
        if choice.rules and together is not None:
            by_rules = together.explain(target, self._manners.named(running))
        if not choice.room:
            return by_rules
        staying = [model for model in running if model not in choice.rules]
        look = _Look(self._memory, self._manners, self._view, target, staying)
        reasons = {model: by_rules.reasons.get(model, str(by_rules)) for model in choice.rules}
        reasons |= {model: look.what_it_holds(model) for model in choice.room}
        clauses = [str(by_rules), look.what_is_needed()]
        clauses += [f"{model} {reasons[model]}" for model in choice.room]
        rule = "; ".join(clause for clause in clauses if clause)
        return Explanation(rule, reasons=reasons, room=look.lack_in_words(choice.lack))

    def refuse(self, target: str, running: tuple[str, ...]) -> NoRoom | None:
        """Why the target does not fit even if all go that may; `running` are those that stay as things are."""
        others = self._manners.others_first(target, running)
        staying = [model for model in running if model != target and model not in others]
        return _Look(self._memory, self._manners, self._view, target, staying).refusal()

    def _choose(self, target: str, running: tuple[str, ...]) -> Choice:
        if target in running and self._manners.together is None:
            return _NOBODY
        question = target, frozenset(running), frozenset(model for model in running if _is_passing(self._view(model)))
        choice = self._answers.get(question)
        if choice is None:
            choice = self._answers[question] = self._decide(question, running)
        return choice

    def _decide(self, question: _Question, running: tuple[str, ...]) -> Choice:
        target = question[0]
        first = self._manners.others_first(target, running)
        rules = tuple(model for model in running if model in first and model != target)
        if target in running:
            return Choice(rules)
        staying = [model for model in running if model not in rules]
        look = _Look(self._memory, self._manners, self._view, target, staying)
        kept = self._kept.get(question)
        return Choice(rules, *look.choose(kept.room if kept else ()))


def _is_passing(seen: RunningModel) -> bool:
    """Whether it ends anyway, or is yet to start: nothing is lost if it goes."""
    return seen.is_planned or seen.state == "stopping"


class _Look:
    """One question: may the target run beside those that stay, and who goes if not?"""

    def __init__(
        self,
        memory: Memory,
        manners: Manners,
        view: Callable[[str], RunningModel],
        target: str,
        staying: Collection[str],
    ) -> None:
        self._memory = memory
        self._manners = manners
        self._target = target
        self._need = memory.need(target)
        self._is_unknown = self._need.source is NeedSource.UNKNOWN
        self._devices = [name for name in self._asked_devices() if name in memory.devices]
        self._seen = {model: view(model) for model in staying}

    def _asked_devices(self) -> Iterable[str]:
        if self._is_unknown:
            return self._need.devices or self._memory.devices
        return [name for name, size in self._need.devices.items() if size > 0]

    # -- how much --

    def _use(self, model: str, device: str) -> int:
        """Of a model that runs, and whose need is known."""
        need = self._memory.need(model).devices.get(device, 0)
        return max(need, self._memory.held.get(model, {}).get(device, 0))

    def _is_everywhere(self, model: str) -> bool:
        """Whether it is one of unknown need that may use a device of the target."""
        need = self._memory.need(model)
        devices = need.devices or self._memory.devices
        return need.source is NeedSource.UNKNOWN and any(name in devices for name in self._devices)

    def _room(self, device: str, staying: Iterable[str]) -> int:
        seen = self._memory.devices[device]
        return seen.usable - seen.others - sum(self._use(model, device) for model in staying)

    def _pinned(self) -> list[str]:
        return [model for model in self._seen if model in self._manners.pinned]

    def _size(self, device: str) -> int:
        """What the target needs there. One that has been measured has shown that it runs, if need be alone."""
        size = self._need.devices[device]
        if self._need.source is not NeedSource.MEASURED:
            return size
        at_best = self._room(device, self._pinned())
        return at_best if at_best < size <= at_best + self._memory.devices[device].reserve else size

    # -- who goes --

    def choose(self, kept: Collection[str]) -> tuple[tuple[str, ...], dict[str, int]]:
        """Those that go, in the order of `staying`, and what is lacking by device if none goes."""
        alone = [model for model in self._seen if self._cannot_share(model)]
        rest = [model for model in self._seen if model not in alone]
        lack: dict[str, int] = {}
        if not self._is_unknown:
            now = {name: self._size(name) - self._room(name, rest) for name in self._devices}
            lack = {name: size for name, size in now.items() if size > 0}
        free = [model for model in rest if model not in self._manners.pinned or _is_passing(self._seen[model])]
        chosen = [*alone, *(self._cover(free, lack, kept) if lack else ())]
        return tuple(model for model in self._seen if model in chosen), lack

    def _cannot_share(self, model: str) -> bool:
        """Whether it must go because one of the two has a device for itself. A pinned one counts with what it holds."""
        if model in self._manners.pinned and not _is_passing(self._seen[model]):
            return False
        if self._is_unknown and not self._is_everywhere(model):
            return not self._memory.devices or any(self._use(model, name) for name in self._devices)
        return self._is_everywhere(model)

    def _cover(self, free: list[str], lack: Mapping[str, int], kept: Collection[str]) -> Collection[str]:
        """The cheapest set, of those that cost no wait if these are enough. All that help, if nothing is enough."""
        calm = [model for model in free if self._is_calm(model)]
        settled = [model for model in calm if not self._is_young(model)]
        for candidates in (settled, calm):
            if (chosen := self._cheapest(candidates, lack, ())) is not None:
                return chosen
        chosen = self._cheapest(free, lack, kept)
        if chosen is None:
            return [model for model in free if any(self._use(model, name) for name in lack)]
        return chosen

    def _cheapest(self, free: list[str], lack: Mapping[str, int], kept: Collection[str]) -> list[str] | None:
        models = sorted(free)
        costs = [1 if model in kept else self._cost(model) for model in models]
        sizes = [[self._use(model, name) for name in lack] for model in models]
        chosen = cheapest_cover(costs, sizes, list(lack.values()))
        return None if chosen is None else [models[i] for i in chosen]

    def _is_calm(self, model: str) -> bool:
        """Whether nobody has to wait until it may go: it is idle, goes anyway, or is yet to start."""
        seen = self._seen[model]
        return _is_passing(seen) or (seen.state == "ready" and not seen.in_flight)

    def _is_young(self, model: str) -> bool:
        seen = self._seen[model]
        return seen.state == "ready" and seen.ready_seconds < self._manners.min_residency

    def _cost(self, model: str) -> int:
        """The seconds that its loss is expected to cost, by its weight, in billionths."""
        seen = self._seen[model]
        if _is_passing(seen):
            return 1
        chance = 1.0
        if self._is_calm(model):
            quiet = max(seen.idle_seconds, self._memory.gaps.get(model, 0.0), 0.001)
            chance = 1.0 - exp(-SOON / quiet)
        priority = max(-STEPS, min(STEPS, self._manners.priorities.get(model, 0)))
        seconds = TYPICAL_LOAD if seen.load_seconds is None else seen.load_seconds
        return 2 + int((seconds + 0.001) * chance * 2.0**priority * 1e9)

    # -- whether it fits at all --

    def refusal(self) -> NoRoom | None:
        """What needs more than there is, or more than other programs leave."""
        if self._is_unknown:
            return None
        pinned = self._pinned()
        found = None
        for name in self._devices:
            device, size = self._memory.devices[name], self._need.devices[name]
            spare = device.reserve if self._need.source is NeedSource.MEASURED else 0
            room = device.usable + spare - sum(self._use(model, name) for model in pinned)
            asked = f"{in_words(size)} {self._where(name)} ({self._need.source.value})"
            if size > room:
                return NoRoom(f"model {self._target} needs {asked}, and {self._at_best(name, size, pinned)}", True)
            if size > room - device.others and found is None:
                used = in_words(device.others)
                found = NoRoom(f"model {self._target} needs {asked}, and other programs use {used} of that now", False)
        return found

    def _at_best(self, device: str, size: int, pinned: list[str]) -> str:
        """`there are 24.0 GB, of which 1.2 GB are kept free and m, which is pinned, holds 4.0 GB`.

        What would not be enough anyway is not told.
        """
        seen, parts, uses = self._memory.devices[device], [], {}
        if size <= seen.capacity:
            is_kept = seen.reserve and self._need.source is not NeedSource.MEASURED
            parts = [f"{in_words(seen.reserve)} are kept free"] if is_kept else []
            uses = {model: self._use(model, device) for model in pinned} if not is_kept or size <= seen.usable else {}
        parts += [f"{model}, which is pinned, holds {in_words(size)}" for model, size in uses.items() if size]
        return f"there are {in_words(seen.capacity)}{', of which ' if parts else ''}{' and '.join(parts)}"

    # -- in words --

    def _where(self, device: str) -> str:
        return f"on {self._label(device)}"

    def _label(self, device: str) -> str:
        return self._memory.devices[device].label or device

    def what_is_needed(self) -> str:
        """`needs 18.0 GB on GPU 0, where 6.0 GB are free`."""
        if self._is_unknown:
            return f"what {self._target} needs is not known yet, so it is loaded alone"
        parts = [
            f"{in_words(self._need.devices[name])} {self._where(name)}, "
            f"where {in_words(max(0, self._room(name, self._seen)))} are free"
            for name in self._devices
        ]
        return f"{self._target} needs {' and '.join(parts)}"

    def what_it_holds(self, model: str) -> str:
        """`holds 12.0 GB on GPU 0`."""
        if self._memory.need(model).source is NeedSource.UNKNOWN:
            return "may need all, for that is not known yet"
        sizes = {name: self._use(model, name) for name in self._devices}
        return "holds " + " and ".join(f"{in_words(size)} {self._where(name)}" for name, size in sizes.items() if size)

    def lack_in_words(self, lack: Mapping[str, int]) -> str:
        """`6.2 GB on GPU 0`; for one of unknown need the devices."""
        if lack:
            return " and ".join(f"{in_words(size)} {self._where(name)}" for name, size in lack.items())
        return " and ".join(map(self._label, self._devices)) or "all memory"
