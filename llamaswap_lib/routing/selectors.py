"""Selectors: names of their own that choose one of their targets for each request.

Any thread; every choice of a selector that spills over is made, and given back, under its one lock. What runs is asked
at that moment and may change right after it: a choice that comes too late is served all the same, only less well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from llamaswap_lib.config.schema import Config
from llamaswap_lib.config.sections import NOT_STICKY, Selector
from llamaswap_lib.fleet.choosing import HERE, by_key
from llamaswap_lib.fleet.states import ModelThere, PeerState
from llamaswap_lib.fleet.strategies import OUT, Counts, Fleet, Target
from llamaswap_lib.routing.fallbacks import Fallbacks


class Run(Protocol):
    """One run, as far as a selector looks: `state` is starting, ready, stopping, or stopped of one that sleeps."""

    @property
    def model(self) -> str: ...
    @property
    def state(self) -> str: ...


States = Mapping[str, str]  # model -> the state of its run, or OUT for one of a peer that is; absent: it does not run
FLEET = ("spread", "failover")


class Choice:
    """The target of one request, as configured, busy with it until `give_back`, or the end of a `with` block.

    `rest`: the others that could answer it, the best first. `fallback`: what answers where all of these cannot.
    """

    __slots__ = ("_strategy", "fallback", "rest", "target")

    def __init__(
        self, target: str, strategy: _Strategy | None = None, rest: Sequence[str] = (), fallback: Sequence[str] = ()
    ) -> None:
        self.target = target
        self.rest = list(rest)
        self.fallback = list(fallback)
        self._strategy = strategy

    def give_back(self) -> None:
        """The request has ended."""
        if self._strategy is not None:
            self._strategy.free(self.target)

    def move_on(self) -> None:
        """The request goes to the first of `rest` now."""
        self.give_back()
        self.target = self.rest.pop(0)
        if self._strategy is not None:
            self._strategy.take(self.target)

    def fall_back(self) -> None:
        """The request goes to the first of `fallback` now, which no strategy counts."""
        self.give_back()
        self._strategy = None
        self.rest.clear()
        self.target = self.fallback.pop(0)

    def __enter__(self) -> str:
        return self.target

    def __exit__(self, *_: object) -> None:
        self.give_back()


NO_CHOICE = Choice("")  # of a request that names no selector


class Selectors:
    """The selectors of the configuration, and the pools of names that several boxes have."""

    def __init__(
        self,
        config: Config,
        runs: Callable[[], Sequence[Run]],
        before: Selectors | None = None,
        peers: Callable[[], Mapping[str, PeerState]] = dict,
    ) -> None:
        """`before`: those of the last configuration; what is the same in both goes on counting its requests."""
        self._runs = runs
        self._peers = peers
        self.fallbacks = Fallbacks(config)
        # What ran at the last look, as the choices are told of it; replaced as a whole.
        self._seen: tuple[object, object, States, Mapping[str, PeerState]] = ((), {}, {}, {})
        self._counts: Counts = Counts() if before is None else before._counts
        # What is out where a peer is: the full names of its models.
        self._offered = {
            peer: dict.fromkeys((f"{peer}/{model}" for model in about.models), OUT)
            for peer, about in config.peers.items()
        }
        self._meanings = {name: _meaning_of(name, selector, config) for name, selector in config.selectors.items()}
        pools = config.pools.items()
        self._meanings.update((name, _meaning_of(name, pool, config, is_pool=True)) for name, pool in pools)
        # What holds requests to a box, of those that hold them.
        self.sticky = {name: one.sticky for name, one in self._meanings.items() if one.sticky != NOT_STICKY}
        self._by_name: dict[str, _Strategy] = {}
        for name, meaning in self._meanings.items():
            is_same = before is not None and before._meanings.get(name) == meaning
            self._by_name[name] = before._by_name[name] if before and is_same else _strategy_of(meaning, self._counts)
        self._own: dict[str, _Strategy] = {}
        for name, meaning in self._meanings.items():
            if (own := meaning.own) is not None:
                is_same = before is not None and name in before._own and before._meanings[name].own == own
                self._own[name] = before._own[name] if before and is_same else _strategy_of(own, self._counts)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def choose(self, name: str, *, is_sent_on: bool = False, key: str = "") -> Choice:
        """For a `with` block around one request: its target, busy with it until the block ends.

        `is_sent_on`: another llamaswap has chosen this one for it, so it is for a model of ours, if there is any.
        `key`: requests with the same one go to the same target, where that has not too many; '' for one of its own.
        """
        strategy = self._own.get(name) if is_sent_on else None
        strategy = strategy or self._by_name[name]
        target, *rest = strategy.begin(*self._states(), key)
        rest = rest if self._meanings[name].fails_over else []
        return Choice(target, strategy, rest, self.fallbacks.of(name, (target, *rest), is_sent_on=is_sent_on))

    def preview(self, name: str) -> str:
        """The target that a request would get now; nothing is chosen, and nothing counted."""
        return self.order(name)[0]

    def order(self, name: str) -> list[str]:
        """The same, and the others behind it, as far as there is a choice."""
        return self._by_name[name].preview(*self._states())

    def _states(self) -> tuple[States, Mapping[str, PeerState]]:
        """What runs now, and what is known of each box; it is put in order only when it has changed."""
        runs, peers, (seen_runs, seen_peers, states, boxes) = self._runs(), self._peers(), self._seen
        if runs is not seen_runs or peers is not seen_peers:
            states = {run.model: run.state for run in runs if run.state != "stopped"}  # one that sleeps does not run
            boxes = {HERE: self._counts.here({model: ModelThere(state) for model, state in states.items()}), **peers}
            for peer, known in peers.items():
                states.update({f"{peer}/{model}": there.state for model, there in known.models.items()})
                if not known.is_usable:
                    states.update(self._offered.get(peer, {}))
            self._seen = runs, peers, states, boxes
        return states, boxes


class _Pin:
    """The first target."""

    def __init__(self, target: str) -> None:
        self._target = target

    def preview(self, _states: States, _peers: object, _key: str = "") -> list[str]:
        return [self._target]

    def take(self, target: str) -> None: ...

    begin, free = preview, take


class _Warm:
    """The first target that is ready, else the first that is starting, else the first that is not out."""

    def __init__(self, models: Mapping[str, str]) -> None:
        self._models = models  # target -> model

    def preview(self, states: States, _peers: object, _key: str = "") -> list[str]:
        ranks = {"ready": 0, "starting": 1, OUT: 3}
        return sorted(self._models, key=lambda target: ranks.get(states.get(self._models[target], ""), 2))

    def take(self, target: str) -> None: ...

    begin, free = preview, take


class _Spillover:
    """The least busy of the active targets; one more is started when each of those has `limit` requests.

    A request counts from its choice to its end, the time that it waits included. Equally busy targets take turns. One
    that is on its way out, or at a peer that is out, is chosen when there is no other.
    """

    def __init__(self, models: Mapping[str, str], limit: int) -> None:
        self._models = models
        self._limit = limit
        self._lock = threading.Lock()  # protects what follows
        self._counts = dict.fromkeys(models, 0)
        self._turn = 0
        self._last_turns = dict.fromkeys(models, 0)  # in which each was chosen

    def preview(self, states: States, _peers: object) -> list[str]:
        with self._lock:
            return self._choose(states, "")

    def begin(self, states: States, _peers: object, key: str = "") -> list[str]:
        with self._lock:
            targets = self._choose(states, key)
            self._note(targets[0])
        return targets

    def take(self, target: str) -> None:
        with self._lock:
            self._note(target)

    def free(self, target: str) -> None:
        with self._lock:
            self._counts[target] -= 1

    def _note(self, target: str) -> None:
        self._counts[target] += 1
        self._turn += 1
        self._last_turns[target] = self._turn

    def _choose(self, states: States, key: str) -> list[str]:
        """All, the best first."""
        leaving = [target for target, model in self._models.items() if states.get(model) in ("stopping", OUT)]
        staying = [target for target in self._models if target not in leaving]
        active = [target for target in staying if self._models[target] in states or self._counts[target]]
        cold = [target for target in staying if target not in active]
        active.sort(key=lambda target: (self._counts[target], self._last_turns[target]))
        leaving.sort(key=lambda target: (self._counts[target], self._last_turns[target]))
        if key and active and states.get(self._models[active[0]]) == "ready":
            ready = {one: self._counts[one] for one in active if states.get(self._models[one]) == "ready"}
            active = [*by_key(key, ready, self._limit // 2), *(target for target in active if target not in ready)]
        is_full = all(self._counts[target] >= self._limit for target in active)
        return [*cold, *active, *leaving] if is_full else [*active, *cold, *leaving]


class _Strategy(Protocol):
    """How a target is chosen. What there is to choose of is all that `preview` and `begin` return, the best first."""

    def preview(self, states: States, boxes: Mapping[str, PeerState], /) -> list[str]: ...
    def begin(self, states: States, boxes: Mapping[str, PeerState], key: str, /) -> list[str]: ...
    def take(self, target: str, /) -> None: ...
    def free(self, target: str, /) -> None: ...


class _Meaning(NamedTuple):
    """What decides how a selector chooses: its targets in order, target -> peer/model or the model of ours."""

    name: str
    strategy: str
    models: tuple[Target, ...]
    limit: int
    is_pool: bool
    sticky: str

    @property
    def fails_over(self) -> bool:
        """Whether the next target is asked where the first cannot answer: it may be another machine."""
        return self.strategy in FLEET or (self.strategy != "pin" and any(one.box for one in self.models))

    @property
    def own(self) -> _Meaning | None:
        """The same with the targets of ours alone, where there are others too."""
        targets = tuple(target for target in self.models if target.box == HERE)
        is_mixed = self.strategy != "pin" and 0 < len(targets) < len(self.models)
        return self._replace(models=targets) if is_mixed else None


def _meaning_of(name: str, selector: Selector, config: Config, *, is_pool: bool = False) -> _Meaning:
    targets = tuple(_target_of(target, config) for target in selector.targets)
    settings = selector.settings
    sticky = settings.sticky if selector.strategy in ("spread", "spillover") else NOT_STICKY
    return _Meaning(name, selector.strategy, targets, settings.spillover, is_pool, sticky)


def _strategy_of(meaning: _Meaning, counts: Counts) -> _Strategy:
    if meaning.strategy in FLEET:
        is_in_house = meaning.is_pool and any(target.box == HERE for target in meaning.models)
        return Fleet(meaning.name, meaning.models, counts, meaning.strategy, meaning.limit, is_in_house=is_in_house)
    models = {one.name: f"{one.box}/{one.model}" if one.box else one.model for one in meaning.models}
    if meaning.strategy == "pin":
        return _Pin(next(iter(models)))
    return _Warm(models) if meaning.strategy == "warm" else _Spillover(models, meaning.limit)


def _target_of(name: str, config: Config) -> Target:
    offered = config.resolve_peer(name)
    return Target(name, offered.peer, offered.model) if offered else Target(name, HERE, config.resolve(name) or name)
