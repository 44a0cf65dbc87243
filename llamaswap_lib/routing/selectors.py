"""Selectors: names of their own that choose one of their targets for each request.

Any thread; every choice of a selector that spills over is made, and given back, under its one lock. What runs is asked
at that moment and may change right after it: a choice that comes too late is served all the same, only less well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from llamaswap_lib.config.schema import Config
from llamaswap_lib.config.sections import Selector


class Run(Protocol):
    """One run, as far as a selector looks: `state` is starting, ready or stopping."""

    @property
    def model(self) -> str: ...
    @property
    def state(self) -> str: ...


States = Mapping[str, str]  # model -> the state of its run; absent: it does not run


class Choice:
    """The target of one request, as configured, busy with it until `give_back`, or the end of a `with` block."""

    __slots__ = ("_free", "target")

    def __init__(self, target: str, free: Callable[[str], None] | None = None) -> None:
        self.target = target
        self._free = free

    def give_back(self) -> None:
        """The request has ended."""
        if self._free is not None:
            self._free(self.target)

    def __enter__(self) -> str:
        return self.target

    def __exit__(self, *_: object) -> None:
        self.give_back()


NO_CHOICE = Choice("")  # of a request that names no selector


class Selectors:
    """The selectors of the configuration."""

    def __init__(self, config: Config, runs: Callable[[], Sequence[Run]], before: Selectors | None = None) -> None:
        """`before`: those of the last configuration; what is the same in both goes on counting its requests."""
        self._runs = runs
        self._seen: tuple[Sequence[Run], States] = ((), {})  # what ran at the last look, replaced as a whole
        self._meanings = {name: _meaning_of(selector, config) for name, selector in config.selectors.items()}
        self._by_name: dict[str, _Strategy] = {}
        for name, meaning in self._meanings.items():
            is_same = before is not None and before._meanings.get(name) == meaning
            self._by_name[name] = before._by_name[name] if before and is_same else _strategy_of(meaning)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def choose(self, name: str) -> Choice:
        """For a `with` block around one request: its target, busy with it until the block ends."""
        return self._by_name[name].choose(self._states())

    def preview(self, name: str) -> str:
        """The target that a request would get now; nothing is chosen, and nothing counted."""
        return self._by_name[name].preview(self._states())

    def _states(self) -> States:
        """What runs now; it is put in order only when it has changed."""
        runs, (seen, states) = self._runs(), self._seen
        if runs is not seen:
            states = {run.model: run.state for run in runs}
            self._seen = runs, states
        return states


class _Pin:
    """The first target."""

    def __init__(self, target: str) -> None:
        self._target = target

    def preview(self, _states: States) -> str:
        return self._target

    def choose(self, states: States) -> Choice:
        return Choice(self.preview(states))


class _Warm:
    """The first target that is ready, else the first that is starting, else the first."""

    def __init__(self, models: Mapping[str, str]) -> None:
        self._models = models  # target -> model

    def preview(self, states: States) -> str:
        for wanted in ("ready", "starting"):
            for target, model in self._models.items():
                if states.get(model) == wanted:
                    return target
        return next(iter(self._models))

    def choose(self, states: States) -> Choice:
        return Choice(self.preview(states))


class _Spillover:
    """The least busy of the active targets; one more is started when each of those has `limit` requests.

    A request counts from its choice to its end, the time that it waits included. Equally busy targets take turns. One
    that is on its way out is chosen when there is no other.
    """

    def __init__(self, models: Mapping[str, str], limit: int) -> None:
        self._models = models
        self._limit = limit
        self._lock = threading.Lock()  # protects what follows
        self._counts = dict.fromkeys(models, 0)
        self._turn = 0
        self._last_turns = dict.fromkeys(models, 0)  # in which each was chosen

    def preview(self, states: States) -> str:
        with self._lock:
            return self._choose(states)

    def choose(self, states: States) -> Choice:
        with self._lock:
            target = self._choose(states)
            self._counts[target] += 1
            self._turn += 1
            self._last_turns[target] = self._turn
        return Choice(target, self._free)

    def _free(self, target: str) -> None:
        with self._lock:
            self._counts[target] -= 1

    def _choose(self, states: States) -> str:
        staying = [target for target, model in self._models.items() if states.get(model) != "stopping"]
        active = [target for target in staying if self._models[target] in states or self._counts[target]]
        cold = [target for target in staying if target not in active]
        if cold and all(self._counts[target] >= self._limit for target in active):
            return cold[0]
        candidates = active or list(self._models)
        return min(candidates, key=lambda target: (self._counts[target], self._last_turns[target]))


_Strategy = _Pin | _Warm | _Spillover


class _Meaning(NamedTuple):
    """What decides how a selector chooses: its strategy, target -> model in order, and its limit."""

    strategy: str
    models: tuple[tuple[str, str], ...]
    limit: int


def _meaning_of(selector: Selector, config: Config) -> _Meaning:
    """`warm` and `spillover` have local targets only; the configuration was checked for that."""
    models = tuple((target, config.resolve(target) or target) for target in selector.targets)
    return _Meaning(selector.strategy, models, selector.settings.spillover)


def _strategy_of(meaning: _Meaning) -> _Strategy:
    models = dict(meaning.models)
    if meaning.strategy == "pin":
        return _Pin(next(iter(models)))
    return _Warm(models) if meaning.strategy == "warm" else _Spillover(models, meaning.limit)
