"""Random policies for the simulated worlds: groups, matrices, one-sided relations, counts, no sense at all, failures.

Most are pure functions of (target, set of running models), as the scheduler may demand. `is_pairwise` says that whether
A goes for B depends on A and B alone; only then does "they do not clash" mean the same in every world. `whims` are
policies of users' own, who look at idle times, throw dice and make mistakes.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from llamaswap_lib.core.eviction import Evict, Observe, Rules, RunningModel
from llamaswap_lib.core.eviction.dsl import Both, MatrixSet, Member
from llamaswap_lib.core.eviction.group import Group, GroupPolicy
from llamaswap_lib.core.eviction.matrix import MatrixPolicy
from llamaswap_lib.core.eviction.memory import MemoryPolicy
from llamaswap_lib.core.eviction.own import OwnPolicy, PolicyFailedError
from tests.core.truth import MemoryRules, Truth


@dataclass(frozen=True, slots=True)
class Policy:
    evict: Evict
    is_pairwise: bool
    name: str
    observe: Observe | None = None
    told: dict[tuple[str, frozenset[str]], Collection[str]] | None = None
    """For one that is no function of its arguments: what it answered last."""
    shown: list[RunningModel] = field(default_factory=list)
    """What one that looks was shown; the check takes it out."""
    strangers: list[str] = field(default_factory=list)
    """The models it was asked about and does not know, where that is written down."""
    memory: MemoryPolicy | None = None
    truth: Truth | None = None
    manners: MemoryRules = field(default_factory=MemoryRules)

    def rules(self) -> Rules:
        rules = Rules(self.evict, observe=self.observe)
        if self.memory is None:
            return rules
        return self.memory.rules()._replace(evict=self.evict)

    def victims(self, target: str, running: Collection[str]) -> set[str]:
        """What the answer means: a failure is "all of them", strangers are ignored.

        One that was not asked wants everybody gone: nobody may act as if it had been.
        """
        others = set(running) - {target}
        if not others:
            return set()
        if self.told is not None:
            return others.intersection(self.told.get((target, frozenset(running)), others))
        try:
            answer = set(self.evict(target, tuple(running)))
        except PolicyFailedError:
            answer = others
        return answer & others


def one_place(models: list[str]) -> Policy:
    """Only one of them runs at a time."""
    return Policy(GroupPolicy([Group("all", tuple(models))]).evict, True, "one place")


def groups(rng: random.Random, models: list[str]) -> Policy:
    return Policy(some_groups(rng, models).evict, True, "groups")


def some_groups(rng: random.Random, models: list[str]) -> GroupPolicy:
    count = rng.randint(1, 3)
    members: list[list[str]] = [[] for _ in range(count)]
    for model in models:
        rng.choice(members).append(model)
    made = [
        Group(str(number), tuple(names), rng.random() < 0.7, rng.random() < 0.6, rng.random() < 0.25)
        for number, names in enumerate(members)
    ]
    return GroupPolicy(made)


def relation(rng: random.Random, models: list[str], density: float, one_sided: float) -> Policy:
    """Who goes for whom, at random; `one_sided` is how often only one of a pair minds the other."""
    pairs: set[tuple[str, str]] = set()
    for first, second in itertools.combinations(models, 2):
        if rng.random() < density:
            both = [(first, second), (second, first)]
            pairs.update(both if rng.random() >= one_sided else [rng.choice(both)])

    def evict(target: str, running: tuple[str, ...]) -> set[str]:
        return {model for model in running if (target, model) in pairs}

    return Policy(evict, True, "relation")


def matrix(rng: random.Random, models: list[str]) -> Policy:
    """What may run together is listed, and the cheapest set that holds the target is chosen."""
    listed = [rng.sample(models, rng.randint(1, len(models))) for _ in range(rng.randint(1, 4))]
    costs = {model: rng.randint(1, 3) for model in models}
    linked = [MatrixSet(str(place), Both(tuple(map(Member, chosen)))) for place, chosen in enumerate(listed)]
    return Policy(MatrixPolicy(linked, costs).evict, False, "matrix")


def count(rng: random.Random, models: list[str]) -> Policy:
    """At most so many at a time; the first by name stay."""
    places = rng.randint(1, max(1, len(models) - 1))

    def evict(target: str, running: tuple[str, ...]) -> list[str]:
        return sorted(set(running) - {target})[places - 1 :]

    return Policy(evict, False, f"at most {places}")


def arbitrary(rng: random.Random) -> Policy:
    """No sense at all, but always the same answer to the same question."""
    seed, density = rng.random(), rng.choice([0.2, 0.5, 0.9])

    def evict(target: str, running: tuple[str, ...]) -> list[str]:
        dice = random.Random(f"{seed} {target} {sorted(running)}")
        return [model for model in sorted(running) if dice.random() < density]

    return Policy(evict, False, "arbitrary")


def unreliable(rng: random.Random, models: list[str], policy: Policy) -> Policy:
    """The same, but it names strangers and the target, and fails for one model."""
    broken = rng.choice(models)

    def evict(target: str, running: tuple[str, ...]) -> list[str]:
        if target == broken:
            raise PolicyFailedError(target)
        return [*policy.evict(target, running), target, "a stranger"]

    return Policy(evict, policy.is_pairwise, f"unreliable {policy.name}")


class Whim:
    """A user's own policy, of one of several kinds; now and then it makes a mistake."""

    KINDS = ("least recent", "choices", "idle", "busy", "dice", "all at once")

    def __init__(self, rng: random.Random, models: list[str]) -> None:
        self.kind = rng.choice(self.KINDS)
        self.places = rng.randint(1, max(1, len(models) - 1))
        self.mistakes = rng.choice([0.0, 0.0, 0.05, 0.5])
        self.rng = random.Random(rng.random())

    def evict(self, target: str, running: Sequence[RunningModel]) -> Collection[str] | Sequence[Collection[str]]:
        if self.rng.random() < self.mistakes:
            return self.blunder(target)
        others = [one for one in running if one.model != target]
        by_age = sorted(others, key=lambda one: (one.state == "stopping", one.idle_seconds), reverse=True)
        too_many = max(0, len(others) + 1 - self.places)
        match self.kind:
            case "least recent":
                return [one.model for one in by_age[:too_many]]
            case "choices":
                names = sorted(one.model for one in others)
                return [set(choice) for choice in itertools.combinations(names, too_many)]
            case "idle":
                return {one.model for one in others if one.idle_seconds > 1.0} or {one.model for one in by_age[:1]}
            case "busy":
                return {one.model for one in others if one.in_flight > 1}
            case "dice":
                return {one.model for one in others if self.rng.random() < 0.5}
            case _:
                return {one.model for one in others} if self.rng.random() < 0.5 else ()

    def blunder(self, target: str) -> Collection[str]:
        wrong: list[Any] = [None, "A", b"A", [None], [["A"], "B"], 7, {"A": 1}, [[1]], object()]
        if self.rng.random() < 0.5:
            return cast(Collection[str], self.rng.choice(wrong))
        raise self.rng.choice([ValueError, KeyError, SystemExit, KeyboardInterrupt])(target)


def whims(rng: random.Random, models: list[str]) -> Policy:
    """Its answers are written down, and are what the scheduler has to go by."""
    whim = Whim(rng, models)
    shown: list[RunningModel] = []

    class Noting:
        """The policy, and what it is shown."""

        def evict(self, target: str, running: Sequence[RunningModel]) -> Collection[str] | Sequence[Collection[str]]:
            shown.extend(running)
            return whim.evict(target, running)

    own = OwnPolicy(Noting())
    told: dict[tuple[str, frozenset[str]], Collection[str]] = {}

    def evict(target: str, running: tuple[str, ...]) -> Collection[str]:
        told[target, frozenset(running)] = running  # should it fail
        answer = told[target, frozenset(running)] = own.evict(target, running)
        return answer

    return Policy(evict, False, f"whim {whim.kind} {whim.places}", own.observe, told, shown)


def noting_strangers(policy: Policy, models: Collection[str]) -> Policy:
    """The same, but it writes down who it is asked about besides `models`."""
    strangers: list[str] = []

    def evict(target: str, running: tuple[str, ...]) -> Collection[str]:
        strangers.extend(model for model in (target, *running) if model not in models)
        return policy.evict(target, running)

    return replace(policy, evict=evict, strangers=strangers)


def any_policy(rng: random.Random, models: list[str]) -> Policy:
    makers: list[Callable[[], Policy]] = [
        lambda: one_place(models),
        lambda: groups(rng, models),
        lambda: groups(rng, models),
        lambda: relation(rng, models, rng.choice([0.3, 0.6, 1.0]), rng.choice([0.0, 0.5, 1.0])),
        lambda: matrix(rng, models),
        lambda: count(rng, models),
        lambda: arbitrary(rng),
    ]
    made = rng.choice(makers)()
    return unreliable(rng, models, made) if rng.random() < 0.1 else made
