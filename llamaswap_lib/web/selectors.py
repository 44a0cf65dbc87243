"""Selectors: names of their own that choose one of their targets for each request.

Any thread; every choice of a selector that spills over is made, and given back, under its one lock. What runs is asked
at that moment and may change right after it: a choice that comes too late is served all the same, only less well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from llamaswap_lib.config.schema import Config, Selector


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

    def __init__(self, config: Config, runs: Callable[[], Sequence[Run]]) -> None:
        self._runs = runs
        self._seen: tuple[Sequence[Run], States] = ((), {})  # what ran at the last look, replaced as a whole
        self._by_name = {name: _strategy_of(selector, config) for name, selector in config.selectors.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def choose(self, name: str) -> Choice:
        """For a `with` block around one request: its target, busy with it until the block ends."""
        return self._by_name[name].choose(self._states())

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

    def choose(self, _states: States) -> Choice:
        return Choice(self._target)


class _Warm:
    """The first target that is ready, else the first that is starting, else the first."""

    def __init__(self, models: Mapping[str, str]) -> None:
        self._models = models  # target -> model

    def choose(self, states: States) -> Choice:
        for wanted in ("ready", "starting"):
            for target, model in self._models.items():
                if states.get(model) == wanted:
                    return Choice(target)
        return Choice(next(iter(self._models)))


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


def _strategy_of(selector: Selector, config: Config) -> _Strategy:
    """`warm` and `spillover` have local targets only; the configuration was checked for that."""
    if selector.strategy == "pin":
        return _Pin(selector.targets[0])
    models = {target: config.resolve(target) or target for target in selector.targets}
    return _Warm(models) if selector.strategy == "warm" else _Spillover(models, selector.settings.spillover)
