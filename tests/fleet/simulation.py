"""A fleet in simulated time: which box gets each request is decided by the program's own code, the rest is played.

    python tests/fleet/simulation.py               50 boxes, 500 models, 20 requests a second; 1 if a bound is missed
    python tests/fleet/simulation.py --rate 60     any number of the world can be set
    python tests/fleet/simulation.py --boxes 4 --places 1 --models 1 --rate 4 --pause 75 --ready
                                                   four replicas of one model

A box has room for some models. One that is not there takes its time to load, in the place of the one that is idle
longest; where none is idle the request waits in the box. A model serves some requests at once. What fronts know of
boxes is a second old, but for their own requests. Each request is a turn of a conversation, and finds its prefix where
the turn before it was, unless the model was unloaded there meanwhile, or has served many others.
"""

from __future__ import annotations

import argparse
import bisect
import heapq
import itertools
import math
import random
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from llamaswap_lib.fleet.choosing import hash_order
from llamaswap_lib.fleet.states import LLAMASWAP, UNKNOWN, ModelThere, PeerState, after_success
from llamaswap_lib.fleet.strategies import Counts, Fleet, Target


@dataclass(frozen=True)
class World:
    """What is played; times in seconds."""

    boxes: int = 50
    places: int = 4  # models that a box has room for
    models: int = 500  # asked for by Zipf: the second one half as often as the first, and so on
    load: float = 20.0
    service: float = 5.0  # of a request, on the mean
    batch: int = 8  # requests that a model serves at once
    rate: float = 20.0  # requests a second
    seconds: float = 600.0  # while requests come; all of them are answered
    look: float = 1.0  # how old what is known of boxes may be; 0: it is always right
    turns: int = 8  # of a conversation
    pause: float = 60.0  # between two of its turns, on the mean
    remembered: int = 100  # conversations whose prefix a model on a box keeps
    fronts: int = 1
    ready: bool = False  # each box has all models that it has room for, from the beginning
    seed: int = 1


class Request(NamedTuple):
    model: int
    talk: int  # the conversation
    front: int
    came: float


@dataclass
class Instance:
    """A model on a box."""

    ready_at: float
    used: float
    inside: int = 0
    waiting: deque[Request] = field(default_factory=deque)
    remembered: OrderedDict[int, None] = field(default_factory=OrderedDict)


@dataclass
class Box:
    instances: dict[int, Instance] = field(default_factory=dict)
    parked: deque[Request] = field(default_factory=deque)  # there is no room for their models

    def rows(self, now: float) -> dict[str, ModelThere]:
        """What it tells of itself."""
        return {
            name_of(model): ModelThere("ready" if one.ready_at <= now else "starting", one.inside, len(one.waiting))
            for model, one in self.instances.items()
        }


def is_ready(box: Box, model: int, now: float) -> bool:
    return model in box.instances and box.instances[model].ready_at <= now


def name_of(number: int) -> str:
    return f"model{number}"


@dataclass(frozen=True)
class Figures:
    """What came of it; waits in seconds, from the request to where it is begun to be answered."""

    requests: int
    loads_a_minute: float
    mean_wait: float
    wait_95: float
    found: float  # share of the turns behind the first of a conversation whose prefix was there
    busiest: int  # requests of one model that a box had at most
    over: int  # above what stickiness allows there, at most

    def __str__(self) -> str:
        return (
            f"loads a minute {self.loads_a_minute:7.1f}   wait: mean {self.mean_wait:7.1f} s, 95% {self.wait_95:7.1f} s"
            f"   prefix found {self.found:6.1%}   busiest {self.busiest}"
        )


class Router(Protocol):
    """Says which box gets a request."""

    def begin(self, request: Request, now: float) -> int: ...
    def end(self, request: Request, box: int) -> None: ...


class RoundRobin:
    """One box after another, as a proxy does that knows nothing of models."""

    def __init__(self, world: World, _boxes: Sequence[Box]) -> None:
        self._turns = itertools.cycle(range(world.boxes))

    def begin(self, _request: Request, _now: float) -> int:
        return next(self._turns)

    def end(self, request: Request, box: int) -> None: ...


class Ours:
    """The program's own choice: each front has a `Fleet` for every model, as for a pool, and its own counts."""

    def __init__(self, world: World, boxes: Sequence[Box], strategy: str, *, is_sticky: bool = False) -> None:
        self._world = world
        self._boxes = boxes
        self._is_sticky = is_sticky
        self._peers: dict[str, PeerState] = {f"box{number}": UNKNOWN for number in range(len(boxes))}
        self._looked_at = -world.look
        counts = [Counts() for _ in range(world.fronts)]
        self._fleets: dict[tuple[int, int], Fleet] = {}
        for model in range(world.models):
            order = list(self._peers) if strategy == "spread" else hash_order(f"{model}", self._peers)
            targets = [Target(box, box, name_of(model)) for box in order]
            for front, own in enumerate(counts):
                self._fleets[front, model] = Fleet(name_of(model), targets, own, strategy, world.batch)

    def begin(self, request: Request, now: float) -> int:
        if now - self._looked_at >= self._world.look:
            self._looked_at = now
            self._peers = {
                name: after_success(state, now, LLAMASWAP, box.rows(now))
                for (name, state), box in zip(self._peers.items(), self._boxes, strict=True)
            }
        key = str(request.talk) if self._is_sticky else ""
        target = self._fleets[request.front, request.model].begin({}, self._peers, key)[0]
        return int(target.removeprefix("box"))

    def end(self, request: Request, box: int) -> None:
        self._fleets[request.front, request.model].free(f"box{box}")


Make = Callable[[World, Sequence[Box]], Router]
ROUTERS: Mapping[str, Make] = {
    "round robin": RoundRobin,
    "failover": lambda world, boxes: Ours(world, boxes, "failover"),  # the order is another one for each model
    "spread": lambda world, boxes: Ours(world, boxes, "spread"),
    "spread, sticky": lambda world, boxes: Ours(world, boxes, "spread", is_sticky=True),
}


class Simulation:
    """One run; the same requests come whatever the router does with them."""

    def __init__(self, world: World, make: Make) -> None:
        self._world = world
        self._boxes = [Box() for _ in range(world.boxes)]
        if world.ready:
            for box in self._boxes:
                box.instances = {model: Instance(0.0, 0.0) for model in range(min(world.places, world.models))}
        self._router = make(world, self._boxes)
        self._coming, self._serving = random.Random(world.seed), random.Random(world.seed + 1)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers, self._talk_numbers = itertools.count(), itertools.count()
        self._now = 0.0
        self._weights = list(itertools.accumulate(1 / (model + 1) for model in range(world.models)))
        self._talks: dict[int, list[list[int]]] = {}  # of each model, those that go on: number, turns left
        self._sent: dict[tuple[int, int], int] = {}  # requests in progress, by model and box
        self._waits: list[float] = []
        self._loads = self._found = self._again = self._busiest = self._over = 0
        self._begun: set[int] = set()  # conversations

    def run(self) -> Figures:
        self._at(0.0, self._come)
        while self._events:
            self._now, _, happens, about = heapq.heappop(self._events)
            happens(*about)
        waits = sorted(self._waits)
        return Figures(
            len(waits),
            self._loads / self._world.seconds * 60,
            sum(waits) / len(waits),
            waits[int(len(waits) * 0.95)],
            self._found / max(1, self._again),
            self._busiest,
            self._over,
        )

    def _at(self, when: float, happens: Callable[..., None], *about: Any) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), happens, about))

    def _come(self) -> None:
        """A request, and then the next one."""
        world, chance = self._world, self._coming
        model = bisect.bisect(self._weights, chance.random() * self._weights[-1])
        request = Request(model, self._talk_of(model), chance.randrange(world.fronts), self._now)
        following = self._now + chance.expovariate(world.rate)
        if following < world.seconds:
            self._at(following, self._come)
        box = self._router.begin(request, self._now)
        self._count(model, box)
        self._offer(box, request)

    def _talk_of(self, model: int) -> int:
        """A conversation that goes on, or a new one where fewer do than are asked for in a pause."""
        chance, talks = self._coming, self._talks.setdefault(model, [])
        share = 1 / (model + 1) / self._weights[-1]
        if len(talks) < max(1, round(self._world.rate * share * self._world.pause)):
            talks.append([next(self._talk_numbers), chance.randint(1, 2 * self._world.turns - 1)])
        talk = chance.choice(talks)
        talk[1] -= 1
        if not talk[1]:
            talks.remove(talk)
        return talk[0]

    def _count(self, model: int, box: int) -> None:
        """One more is sent there; where the model is ready, how far that is above what stickiness allows."""
        self._sent[model, box] = sent = self._sent.get((model, box), 0) + 1
        self._busiest = max(self._busiest, sent)
        boxes = [number for number, one in enumerate(self._boxes) if is_ready(one, model, self._now)]
        if box in boxes:
            of_all = sum(self._sent.get((model, number), 0) for number in boxes)
            most = max(self._world.batch // 2, math.ceil(1.25 * of_all / len(boxes)))
            self._over = max(self._over, sent - most)

    def _offer(self, number: int, request: Request) -> None:
        """The box takes the request."""
        box, now = self._boxes[number], self._now
        one = box.instances.get(request.model)
        if one is None:
            if len(box.instances) >= self._world.places and not self._make_room(box):
                box.parked.append(request)
                return
            one = box.instances[request.model] = Instance(now + self._world.load, now)
            self._loads += 1
            self._at(one.ready_at, self._serve, number, request.model)
        one.used = now
        one.waiting.append(request)
        if one.ready_at <= now:
            self._serve(number, request.model)

    def _make_room(self, box: Box) -> bool:
        """Unload the one that is idle longest, if any is."""
        idle = [
            (one.used, model)
            for model, one in box.instances.items()
            if not one.inside and not one.waiting and one.ready_at <= self._now
        ]
        if idle:
            del box.instances[min(idle)[1]]
        return bool(idle)

    def _serve(self, number: int, model: int) -> None:
        """The model begins to answer as many as it can."""
        one = self._boxes[number].instances[model]
        while one.waiting and one.inside < self._world.batch:
            request = one.waiting.popleft()
            one.inside += 1
            self._waits.append(self._now - request.came)
            self._again += request.talk in self._begun
            self._found += request.talk in one.remembered
            self._begun.add(request.talk)
            one.remembered[request.talk] = None
            one.remembered.move_to_end(request.talk)
            if len(one.remembered) > self._world.remembered:
                one.remembered.popitem(last=False)
            self._at(self._now + self._serving.expovariate(1 / self._world.service), self._end, number, request)

    def _end(self, number: int, request: Request) -> None:
        box = self._boxes[number]
        one = box.instances[request.model]
        one.inside -= 1
        one.used = self._now
        self._sent[request.model, number] -= 1
        self._router.end(request, number)
        self._serve(number, request.model)
        parked, box.parked = box.parked, deque()
        for each in parked:
            self._offer(number, each)


def played(world: World, router: str) -> Figures:
    return Simulation(world, ROUTERS[router]).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for one in fields(World):
        if isinstance(one.default, bool):
            parser.add_argument(f"--{one.name}", action="store_true")
        else:
            parser.add_argument(f"--{one.name}", type=type(one.default), default=one.default, help=f"{one.default}")
    parser.add_argument("--only", choices=list(ROUTERS), help="this one alone")
    chosen = vars(parser.parse_args(arguments))
    routers = [only] if (only := chosen.pop("only")) else list(ROUTERS)
    world = replace(World(), **chosen)
    print(f"{world.boxes} boxes, {world.models} models, {world.rate:g} requests a second for {world.seconds:g} s")
    found = {}
    for router in routers:
        found[router] = played(world, router)
        print(f"{router:15} {found[router]}", flush=True)
    return 0 if only or replace(world, seed=World.seed) != World() or keeps_bounds(found) else 1


def keeps_bounds(found: Mapping[str, Figures]) -> bool:
    """Whether the choice is worth in the whole world what it should be, whatever the seed."""
    round_robin, spread, sticky = (found[name] for name in ("round robin", "spread", "spread, sticky"))
    is_quick = max(spread.mean_wait, sticky.mean_wait) < 0.1 * round_robin.mean_wait
    return is_quick and spread.loads_a_minute < 0.6 * round_robin.loads_a_minute and sticky.found > spread.found


if __name__ == "__main__":
    sys.exit(main())
