"""The memory policy of random worlds."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace

from llamaswap_lib.core.eviction.devices import Device, Movable, NeedSource
from llamaswap_lib.core.eviction.manners import Manners
from llamaswap_lib.core.eviction.memory import MemoryPolicy
from tests.core import policies
from tests.core.policies import Policy
from tests.core.truth import MemoryRules, Sizes, Truth


def memory(rng: random.Random, models: list[str]) -> Policy:
    """One or more devices; needs that are right, mostly known; other programs that come and go."""
    names = ["ram", "gpu", "big"][: rng.choice([1, 1, 2, 3])]
    devices = {name: Device(rng.choice([10, 16, 24]), rng.choice([0, 0, 2]), label=name.upper()) for name in names}
    sizes = {model: _sizes(rng, devices) for model in models}
    unknown = {model for model in models if rng.random() < rng.choice([0.0, 0.0, 0.4])}
    for model in unknown:  # it can run, alone
        sizes[model] = {name: min(size, devices[name].usable) for name, size in sizes[model].items()}
    spans = [_span(rng, devices) for _ in range(rng.choice([0, 0, 2, 8]))]
    freeing = rng.choice([0.0, 0.0, 1.0, 2.0])
    truth = Truth(devices, sizes, unknown, spans, freeing, rng.random() < 0.5)
    rules = _rules(rng, models)
    truth.settle, truth.every = rng.choice([0.0, 0.6, 5.0, 5.0]), rng.choice([0.05, 0.1, 0.3])
    truth.is_strict = rng.random() < 0.6
    if truth.is_strict and rng.random() < 0.7:
        truth.hungry = {model: _some_more(rng, size) for model, size in sizes.items() if rng.random() < 0.5}
    return of_truth(truth, rules)


def _some_more(rng: random.Random, sizes: Sizes) -> Sizes:
    """Beyond what is known: a little, or so much that it never runs."""
    return {name: rng.choice([0, 1, 2, 4, 40]) for name in sizes}


def press(rng: random.Random, truth: Truth) -> None:
    """Some of its devices yield to other programs, of which there are more, and models grow."""
    for name, device in truth.devices.items():
        truth.devices[name] = replace(device, yields=rng.random() < 0.6, reserve=rng.choice([device.reserve, 1, 3]))
    truth.spans += [_span(rng, truth.devices) for _ in range(rng.choice([0, 2, 8]))]
    for _ in range(rng.choice([0, 2, 6])):
        name, model = rng.choice(sorted(truth.devices)), rng.choice(sorted(truth.sizes))
        truth.growths.append((rng.uniform(0.0, 35.0), model, name, rng.choice([1, 1, 2, 4])))


def doze(rng: random.Random, truth: Truth) -> None:
    """What models keep when they sleep."""
    for model in truth.sizes:
        if rng.random() < rng.choice([0.0, 0.5]):
            truth.kept[model] = {name: rng.choice([0, 1, 2]) for name in truth.devices}


def movable(rng: random.Random, models: list[str]) -> Policy:
    """Two or three GPUs, of one size or several, and models most of which are put where it suits."""
    count = rng.choice([2, 2, 3])
    alike = rng.choice([[16], [24], [10, 24], [8, 16, 24]])
    names = tuple(f"gpu{number}" for number in range(count))
    devices = {name: Device(rng.choice(alike), rng.choice([0, 0, 2]), label=name.upper()) for name in names}
    devices["ram"] = Device(rng.choice([12, 100, 100]), label="RAM")
    moves = {model: _movable(rng, names, devices) for model in models if rng.random() < 0.8}
    sizes = {model: {} if model in moves else _sizes(rng, devices) for model in models}
    unknown = {model for model in moves if rng.random() < rng.choice([0.0, 0.0, 0.4])}
    for model, one in moves.items():
        if model in unknown:
            moves[model] = replace(one, beside={})
    spans = [_span(rng, devices) for _ in range(rng.choice([0, 0, 2, 8]))]
    truth = Truth(devices, sizes, unknown, spans, rng.choice([0.0, 0.0, 1.0]), rng.random() < 0.5, movable=moves)
    return of_truth(truth, _rules(rng, models))


def _movable(rng: random.Random, names: tuple[str, ...], devices: dict[str, Device]) -> Movable:
    among = names if rng.random() < 0.8 else tuple(sorted(rng.sample(names, 2)))
    count = rng.choice([0, 0, 0, 1, 2])
    most = sum(sorted(devices[name].capacity for name in among)[-(count or 1) :])
    size = rng.choice([2, 4, 6, 8, 12, rng.randint(1, most + 2)])
    return Movable(among, count, size, NeedSource.DECLARED, beside={"ram": rng.choice([0, 0, 1, 4])})


def _sizes(rng: random.Random, devices: dict[str, Device]) -> Sizes:
    chosen = rng.sample(sorted(devices), rng.randint(1, len(devices)))
    return {name: rng.choice([1, 2, 4, 6, 8, rng.randint(1, devices[name].capacity + 2)]) for name in chosen}


def _span(rng: random.Random, devices: dict[str, Device]) -> tuple[float, str, int]:
    name = rng.choice(sorted(devices))
    return rng.uniform(0.0, 35.0), name, rng.randint(1, devices[name].capacity)


def _rules(rng: random.Random, models: list[str]) -> MemoryRules:
    pinned = frozenset(model for model in models if rng.random() < 0.15)
    stays = rng.choice([0.0, 0.0, 1.0, 3.0])
    named = rng.sample(models, rng.randint(0, len(models))) if rng.random() < 0.3 else []
    return MemoryRules(pinned, stays, policies.some_groups(rng, named) if named else None)


def other_rules(rng: random.Random, policy: Policy, models: list[str]) -> Policy:
    assert policy.truth is not None
    return of_truth(policy.truth, _rules(rng, models))


def of_truth(truth: Truth, rules: MemoryRules) -> Policy:
    """What it answers is written down, and is what the scheduler has to go by."""
    manners = Manners(rules.pinned, {}, rules.min_residency, rules.together)
    own = MemoryPolicy(truth.picture, manners, truth.floors, truth.settle)
    told: dict[tuple[str, frozenset[str]], Collection[str]] = {}

    def evict(target: str, running: tuple[str, ...]) -> Collection[str]:
        answer = told[target, frozenset(running)] = truth.told[target, frozenset(running)] = own.evict(target, running)
        return answer

    return Policy(evict, False, "memory", own.observe, told, memory=own, truth=truth, manners=rules)
