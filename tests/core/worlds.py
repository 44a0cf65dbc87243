"""The plans of the simulated worlds: which models there are, how they behave, who asks for them, what goes wrong.

A plan is a pure function of its seed and flavour. A flavour is a kind of world in which some mistake once lived.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.core import memory_policies, policies
from tests.core.policies import Policy

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Habits:
    """How one model behaves. Spans are (shortest, longest) in seconds, chances from 0 to 1."""

    load: Span = (0.5, 2.0)
    request: Span = (0.1, 1.0)
    stop: Span = (0.05, 0.3)
    unload_timeout: float = 3.0
    ttl: float = 0.0
    priority: int = 0
    workers: int = 1  # clients that ask again as soon as they are answered
    pause: Span = (0.0, 4.0)  # between two requests of one of them
    fails_to_load: float = 0.0
    never_ready: float = 0.0
    unlaunchable: tuple[Span, ...] = ()  # from when until when it cannot be started, which is seen beforehand
    crashes: float = 0.0  # that a life ends by itself, some time after it was ready
    announces: bool = False  # its lives say where they listen, once or again before they are ready
    queued: Span = (0.0, 0.0)  # how long they take until they do
    queue_timeout: float = 0.0
    makes_room: bool = False  # if it is idle it goes for another one that is queued where it runs
    moves: float = 0.0  # that it then says some time after it was ready that it listens elsewhere
    hangs: float = 0.0  # that a life hangs some time after it was ready, mostly for ever: no request in it ends
    vanishes: float = 0.0  # that a life is out of reach some time after it was ready, for a while or for ever
    sleep: Span | None = None  # how long it takes to fall asleep, if it can
    wake: Span = (0.0, 0.0)
    sleepless: float = 0.0  # that it does not fall asleep
    never_wakes: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    flavour: str
    habits: dict[str, Habits]
    policy: Policy
    max_wait: float
    inbox_delay: Span = (0.0, 0.0)
    duration: float = 40.0
    health_timeout: float = 4.0
    kill_delay: float = 0.05
    grid: float = 0.0  # times are multiples of this, so that things coincide; 0 for any time
    hangs_up: float = 0.0  # the chance that a client's patience is short
    strangers: float = 0.0  # the chance that a request names no model
    unloads: int = 0
    demands: int = 0  # times that somebody wants a model loaded whatever failed before
    preload: tuple[str, ...] = ()
    retries: float = 0.0  # the chance that who loses its run asks for another one
    hiccups: float = 0.0  # the chance that a run which lives hangs up on a request
    lingers: float = 0.0  # the chance that a leader's exit is told before the end of its group
    notice: Span = (0.0, 0.0)  # from an exit to the news of it
    abrupt: bool = False  # shut down in the midst of it
    reorders: int = 0  # times that all priorities are changed
    hung_after: float = 0.0  # from the silence of a run that hangs to the proof; 0: nobody looks
    reloads: int = 0  # times that other models and rules are configured
    upgrades: int = 0  # times that another scheduler goes on, under a configuration which may be another
    missing: frozenset[str] = frozenset()  # models that are not configured now
    lost_after: float = 0.0  # from when a run is found out of reach until it is lost; 0: nobody looks
    slots: int = 0  # for models that say where they listen: so many of them have a machine at a time; 0 for any number

    @property
    def models(self) -> list[str]:
        return list(self.habits)

    @property
    def configured(self) -> list[str]:
        return [model for model in self.habits if model not in self.missing]


def names(rng: random.Random, fewest: int = 2, most: int = 6) -> list[str]:
    return list("ABCDEFGH"[: rng.randint(fewest, most)])


def mixed(seed: int, rng: random.Random) -> Plan:
    """A bit of everything."""
    models = names(rng, 2, 8)
    rough = rng.random() < 0.6

    def habits() -> Habits:
        return Habits(
            load=rng.choice([(0.0, 0.2), (0.5, 2.0), (2.0, 5.0)]),
            request=rng.choice([(0.05, 0.2), (0.1, 1.0), (1.0, 4.0)]),
            stop=rng.choice([(0.0, 0.05), (0.1, 1.0), (5.0, 9.0)]),
            unload_timeout=rng.choice([0.5, 2.0, 4.0]),
            ttl=rng.choice([0.0, 0.0, 1.0, 3.0]),
            priority=rng.choice([0, 0, 0, 1, 5]),
            workers=rng.choice([1, 1, 2, 3]),
            pause=rng.choice([(0.0, 0.0), (0.0, 4.0), (2.0, 10.0)]),
            fails_to_load=rng.choice([0.0, 0.2]) * rough,
            never_ready=rng.choice([0.0, 0.1]) * rough,
            crashes=rng.choice([0.0, 0.0, 0.3]) * rough,
        )

    return Plan(
        seed,
        "mixed",
        {model: habits() for model in models},
        policies.any_policy(rng, models),
        max_wait=rng.choice([0.0, 0.0, 1.0, 3.0, 8.0]),
        inbox_delay=rng.choice([(0.0, 0.0), (0.0, 0.02), (0.0, 0.5)]),
        grid=rng.choice([0.0, 0.0, 0.1, 0.5]),
        hangs_up=rng.choice([0.0, 0.2, 0.6]),
        strangers=rng.choice([0.0, 0.05]),
        unloads=rng.choice([0, 0, 3, 10]),
        abrupt=rng.random() < 0.5,
    )


def hot(seed: int, rng: random.Random) -> Plan:
    """One model whose requests never pause, of a high priority; the others must not wait for ever."""
    models = names(rng, 2, 5)
    habits = {model: Habits(request=(0.1, 0.5), load=(0.2, 1.0), pause=(1.0, 6.0)) for model in models}
    habits["A"] = Habits(
        request=(0.4, 0.6), load=(0.2, 1.0), workers=rng.choice([2, 4]), pause=(0.0, 0.0), priority=rng.choice([0, 9])
    )
    makers: list[Callable[[], Policy]] = [
        lambda: policies.one_place(models),
        lambda: policies.groups(rng, models),
        lambda: policies.relation(rng, models, 0.8, 0.2),
        lambda: policies.count(rng, models),
    ]
    max_wait = rng.choice([0.0, 0.5, 2.0, 4.0])
    return Plan(seed, "hot", habits, rng.choice(makers)(), max_wait, rng.choice([(0.0, 0.0), (0.0, 0.1)]), 30.0)


def patience(seed: int, rng: random.Random) -> Plan:
    """Short requests, a slow inbox, and a patience that ends just as the gate empties: stale notices."""
    models = names(rng, 2, 4)
    habits = {
        model: Habits(
            load=(0.1, 0.4),
            request=(0.05, 0.4),
            stop=(0.0, 0.1),
            workers=rng.choice([1, 2, 3]),
            pause=rng.choice([(0.0, 0.0), (0.0, 0.3)]),
        )
        for model in models
    }
    policy = rng.choice([policies.one_place(models), policies.relation(rng, models, 0.8, 0.4)])
    max_wait = rng.choice([0.3, 0.5, 1.0])
    grid = rng.choice([0.0, 0.0, 0.05])
    return Plan(seed, "patience", habits, policy, max_wait, (0.0, rng.choice([0.1, 0.3, 0.6])), 20.0, grid=grid)


def churn(seed: int, rng: random.Random) -> Plan:
    """Short ttls and overlapping loads under one-sided rules: the reservations are what keeps it in order."""
    models = names(rng, 4, 7)
    habits = {
        model: Habits(
            load=(0.5, 2.5),
            request=(0.1, 1.5),
            stop=(0.2, 2.0),
            ttl=rng.choice([0.3, 0.7, 1.5]),
            workers=rng.choice([1, 2]),
            pause=(0.0, 3.0),
            priority=rng.choice([0, 0, 2]),
        )
        for model in models
    }
    policy = policies.relation(rng, models, rng.choice([0.3, 0.6]), 1.0)
    delay = rng.choice([(0.0, 0.0), (0.0, 0.2)])
    return Plan(seed, "churn", habits, policy, rng.choice([1.0, 3.0]), delay, grid=rng.choice([0.0, 0.5]))


def queue(seed: int, rng: random.Random) -> Plan:
    """One-sided rules, waiters that come and go: claims and gates that belong to nobody any more."""
    models = names(rng, 3, 6)
    habits = {
        model: Habits(
            load=(0.5, 3.0),
            request=(0.5, 2.0),
            stop=(0.5, 2.0),
            workers=rng.choice([1, 2]),
            pause=(0.0, 5.0),
            crashes=rng.choice([0.0, 0.2]),
            priority=rng.choice([0, 0, 1, 3]),
            ttl=rng.choice([0.0, 1.0]),
        )
        for model in models
    }
    made = [policies.one_place(models), policies.groups(rng, models), policies.relation(rng, models, 0.7, 0.6)]
    delay = rng.choice([(0.0, 0.0), (0.0, 0.3)])
    return Plan(seed, "queue", habits, rng.choice(made), rng.choice([0.0, 1.0, 3.0]), delay, 50.0, hangs_up=0.5)


def unloads(seed: int, rng: random.Random) -> Plan:
    """Unloads of one and of all in the midst of loads, long requests and stops that hang."""
    models = names(rng, 2, 4)
    habits = {
        model: Habits(
            load=(0.5, 3.0),
            request=rng.choice([(0.1, 1.0), (2.0, 6.0)]),
            stop=rng.choice([(0.0, 0.3), (5.0, 9.0)]),
            unload_timeout=rng.choice([0.5, 1.0, 3.0]),
            workers=2,
            pause=(0.0, 3.0),
        )
        for model in models
    }
    delay = rng.choice([(0.0, 0.0), (0.0, 0.3)])
    return Plan(seed, "unloads", habits, policies.any_policy(rng, models), 4.0, delay, unloads=20, abrupt=True)


def failing(seed: int, rng: random.Random) -> Plan:
    """Loads that fail, crashes as soon as it serves, requests that are tried again, and models loaded beforehand."""
    models = names(rng, 2, 5)
    habits = {
        model: Habits(
            load=rng.choice([(0.0, 0.3), (0.5, 3.0)]),
            request=rng.choice([(0.1, 1.0), (1.0, 4.0)]),
            stop=rng.choice([(0.0, 0.3), (1.0, 6.0)]),
            unload_timeout=rng.choice([0.5, 2.0]),
            ttl=rng.choice([0.0, 0.0, 2.0]),
            workers=rng.choice([1, 2, 3]),
            pause=rng.choice([(0.0, 0.5), (0.0, 4.0)]),
            fails_to_load=rng.choice([0.0, 0.3, 0.9]),
            never_ready=rng.choice([0.0, 0.1]),
            crashes=rng.choice([0.0, 0.5, 1.0]),
        )
        for model in models
    }
    return Plan(
        seed,
        "failing",
        habits,
        policies.any_policy(rng, models),
        max_wait=rng.choice([0.0, 3.0]),
        inbox_delay=rng.choice([(0.0, 0.0), (0.0, 0.2)]),
        duration=60.0,
        hangs_up=rng.choice([0.0, 0.3]),
        unloads=rng.choice([0, 0, 5]),
        demands=rng.choice([0, 5]),
        preload=tuple(rng.sample(models, rng.randint(0, len(models)))),
        retries=rng.choice([0.5, 1.0]),
        hiccups=rng.choice([0.0, 0.1]),
        lingers=rng.choice([0.0, 0.5]),
        notice=rng.choice([(0.0, 0.0), (0.0, 0.5), (1.5, 2.5)]),
        abrupt=rng.random() < 0.5,
    )


def some_spans(rng: random.Random) -> tuple[Span, ...]:
    """Times in which a model cannot be started: a few, or all."""
    begins = [rng.uniform(0.0, 40.0) for _ in range(rng.choice([0, 1, 2, 6]))]
    short = tuple((begin, begin + rng.choice([0.2, 1.0, 10.0])) for begin in begins)
    return rng.choice([short, short, ((0.0, 1000.0),)])


def misconfigured(seed: int, rng: random.Random) -> Plan:
    """Models that cannot be started, for a while or for ever: nobody is to go for them."""
    models = names(rng, 2, 5)
    habits = {
        model: Habits(
            load=rng.choice([(0.0, 0.3), (0.5, 3.0)]),
            request=rng.choice([(0.05, 0.3), (0.5, 2.0)]),
            stop=rng.choice([(0.0, 0.3), (0.5, 3.0)]),
            ttl=rng.choice([0.0, 0.0, 2.0]),
            priority=rng.choice([0, 0, 3]),
            workers=rng.choice([1, 2, 3]),
            pause=rng.choice([(0.0, 0.0), (0.0, 0.5), (0.0, 4.0)]),
            unlaunchable=some_spans(rng) if rng.random() < 0.7 else (),
            crashes=rng.choice([0.0, 0.0, 0.5]),
        )
        for model in models
    }
    return Plan(
        seed,
        "misconfigured",
        habits,
        policies.any_policy(rng, models),
        max_wait=rng.choice([0.0, 0.5, 3.0]),
        inbox_delay=rng.choice([(0.0, 0.0), (0.0, 0.2)]),
        hangs_up=rng.choice([0.0, 0.5]),
        unloads=rng.choice([0, 0, 5]),
        demands=rng.choice([0, 5]),
        preload=tuple(rng.sample(models, rng.randint(0, len(models)))),
        retries=rng.choice([0.0, 0.5]),
        abrupt=rng.random() < 0.5,
    )


def whims(seed: int, rng: random.Random) -> Plan:
    """Policies of users' own, who change their minds from one moment to the next, beside models that never pause."""
    models = names(rng, 3, 6)
    habits = {
        model: Habits(
            load=(0.2, 1.5),
            request=rng.choice([(0.05, 0.3), (0.2, 2.0)]),
            stop=(0.0, 0.5),
            ttl=rng.choice([0.0, 0.0, 1.0]),
            workers=rng.choice([1, 2, 3]),
            pause=rng.choice([(0.0, 0.0), (0.0, 0.5), (0.0, 5.0)]),
            priority=rng.choice([0, 0, 3]),
        )
        for model in models
    }
    delay = rng.choice([(0.0, 0.0), (0.0, 0.1)])
    max_wait = rng.choice([0.0, 1.0, 3.0])
    return Plan(seed, "whims", habits, policies.whims(rng, models), max_wait, delay, 30.0, hangs_up=0.1, unloads=2)


def reordered(seed: int, rng: random.Random) -> Plan:
    """Any of these, while priorities change; often with one place, where it is known who is next."""
    plan = FLAVOURS[rng.choice([*SEEDED, "failing", "whims"])](seed, rng)
    policy = policies.one_place(plan.models) if rng.random() < 0.6 else plan.policy
    return replace(plan, flavour="reordered", policy=policy, reorders=rng.choice([1, 5, 20, 60]))


def hanging(seed: int, rng: random.Random) -> Plan:
    """Models that hang with requests inside, for ever or for a while, and others that are only silent."""
    models = names(rng, 2, 5)
    habits = {
        model: Habits(
            load=(0.1, 1.0),
            request=rng.choice([(0.1, 1.0), (1.0, 4.0)]),
            stop=rng.choice([(0.0, 0.3), (5.0, 9.0)]),
            unload_timeout=rng.choice([0.5, 2.0]),
            workers=rng.choice([1, 2, 3]),
            pause=rng.choice([(0.0, 0.0), (0.0, 4.0)]),
            priority=rng.choice([0, 0, 3]),
            crashes=rng.choice([0.0, 0.2]),
            hangs=rng.choice([0.3, 0.8]),
        )
        for model in models
    }
    made = [policies.one_place(models), policies.groups(rng, models), policies.relation(rng, models, 0.7, 0.6)]
    return Plan(
        seed,
        "hanging",
        habits,
        rng.choice(made),
        max_wait=rng.choice([0.5, 2.0, 5.0]),
        inbox_delay=rng.choice([(0.0, 0.0), (0.0, 0.2)]),
        hangs_up=rng.choice([0.0, 0.3]),
        unloads=rng.choice([0, 3]),
        retries=1.0,
        hiccups=rng.choice([0.0, 0.1]),
        abrupt=rng.random() < 0.5,
        hung_after=rng.choice([1.0, 3.0]),
    )


def combined(seed: int, rng: random.Random) -> Plan:
    """Models that hang, in the way of others that cannot be started, or fail to load, or were lost."""
    plan = hanging(seed, rng)
    habits = {
        model: replace(
            habit,
            unlaunchable=some_spans(rng) if rng.random() < 0.6 else (),
            fails_to_load=rng.choice([0.0, 0.0, 0.3]),
        )
        for model, habit in plan.habits.items()
    }
    return replace(
        plan,
        flavour="combined",
        habits=habits,
        policy=rng.choice([plan.policy, policies.any_policy(rng, plan.models), policies.whims(rng, plan.models)]),
        notice=rng.choice([(0.0, 0.0), (0.0, 0.5), (1.5, 2.5)]),
        demands=rng.choice([0, 5]),
        preload=tuple(rng.sample(plan.models, rng.randint(0, len(plan.models)))),
        unloads=rng.choice([0, 3, 8]),
        grid=rng.choice([0.0, 0.0, 0.1, 0.5]),
        reorders=rng.choice([0, 0, 10]),
    )


def reloads(seed: int, rng: random.Random) -> Plan:
    """Any world that a seed alone may choose, while models come and go and the rules change."""
    plan = FLAVOURS[rng.choice(SEEDED)](seed, rng)
    policy = policies.one_place(plan.models) if rng.random() < 0.3 else plan.policy
    return replace(plan, flavour="reloads", policy=policy, reloads=rng.choice([1, 3, 10, 30]))


def upheaval(seed: int, rng: random.Random) -> Plan:
    """The same where models hang, fail, cannot be started or are unloaded, priorities change and policies look."""
    plan = FLAVOURS[rng.choice(["combined", "combined", "hanging", "failing", "misconfigured", "whims"])](seed, rng)
    return replace(
        plan,
        flavour="upheaval",
        inbox_delay=rng.choice([plan.inbox_delay, (0.0, 0.0), (0.0, 0.3)]),
        grid=rng.choice([plan.grid, 0.0, 0.1, 0.5]),
        unloads=rng.choice([plan.unloads, 0, 5]),
        preload=tuple(rng.sample(plan.models, rng.randint(0, len(plan.models)))),
        lingers=rng.choice([0.0, 0.5]),
        reorders=rng.choice([0, 0, 5]),
        abrupt=rng.random() < 0.5,
        reloads=rng.choice([1, 3, 10, 30]),
    )


def upgrades(seed: int, rng: random.Random) -> Plan:
    """Any world, in which other schedulers go on from where one is, mostly under the same configuration."""
    plan = FLAVOURS[rng.choice([*SEEDED, "failing", "hanging", "combined", "upheaval", "whims"])](seed, rng)
    return replace(
        plan,
        flavour="upgrades",
        preload=tuple(rng.sample(plan.models, rng.randint(0, len(plan.models)))),
        retries=rng.choice([plan.retries, 1.0]),
        lingers=rng.choice([0.0, 0.5]),
        upgrades=rng.choice([1, 3, 10, 30]),
    )


def memory(seed: int, rng: random.Random) -> Plan:
    """Models stay as long as they fit, on devices that other programs use too."""
    models = names(rng, 2, 8)
    habits = {
        model: Habits(
            load=rng.choice([(0.0, 0.2), (0.5, 2.0)]),
            request=rng.choice([(0.05, 0.2), (0.1, 1.0), (1.0, 4.0)]),
            stop=rng.choice([(0.0, 0.05), (0.1, 1.0)]),
            ttl=rng.choice([0.0, 0.0, 2.0]),
            priority=rng.choice([0, 0, 0, 1, 5]),
            workers=rng.choice([1, 1, 2]),
            pause=rng.choice([(0.0, 0.0), (0.0, 4.0), (2.0, 10.0)]),
        )
        for model in models
    }
    return Plan(
        seed,
        "memory",
        habits,
        memory_policies.memory(rng, models),
        max_wait=rng.choice([0.0, 1.0, 3.0, 8.0]),
        inbox_delay=rng.choice([(0.0, 0.0), (0.0, 0.02), (0.0, 0.3)]),
        grid=rng.choice([0.0, 0.0, 0.1, 0.5]),
        hangs_up=rng.choice([0.0, 0.2]),
        unloads=rng.choice([0, 0, 3]),
        preload=tuple(rng.sample(models, rng.choice([0, 1, 2]))),
        abrupt=rng.random() < 0.5,
    )


def places(seed: int, rng: random.Random) -> Plan:
    """The same on several GPUs, of which models are given those that suit best."""
    plan = memory(seed, rng) if rng.random() < 0.7 else pressure(seed, rng)
    return replace(plan, flavour="places", policy=memory_policies.movable(rng, plan.models))


def pressure(seed: int, rng: random.Random) -> Plan:
    """The same where models hang, fail or cannot be started, the configuration changes and others take over."""
    plan = FLAVOURS[rng.choice(["failing", "misconfigured", "hanging", "combined", "churn", "queue", "hot"])](seed, rng)
    return replace(
        plan,
        flavour="pressure",
        policy=memory_policies.memory(rng, plan.models),
        max_wait=rng.choice([plan.max_wait, 2.0]),
        reloads=rng.choice([0, 0, 1, 10]),
        upgrades=rng.choice([0, 0, 3]),
    )


def relief(seed: int, rng: random.Random) -> Plan:
    """The same where devices yield to other programs and models grow."""
    plan = FLAVOURS[rng.choice(["memory", "memory", "pressure"])](seed, rng)
    assert plan.policy.truth is not None
    memory_policies.press(rng, plan.policy.truth)
    return replace(plan, flavour="relief")


def announced(seed: int, rng: random.Random) -> Plan:
    """Any world in which models wait in a queue of others, say where they listen, and move."""
    chosen = rng.choice(["mixed", "churn", "queue", "unloads", "failing", "whims", "reloads", "upgrades", "memory"])
    plan = FLAVOURS[chosen](seed, rng)
    habits = {
        model: replace(
            habit,
            announces=rng.random() < 0.7,
            moves=rng.choice([0.0, 0.3, 0.8]),
            queued=rng.choice([(0.0, 0.2), (0.5, 2.0), (1.0, 9.0)]),
            queue_timeout=rng.choice([0.0, 1.0, 4.0]),
        )
        for model, habit in plan.habits.items()
    }
    hangs_up, slots = rng.choice([plan.hangs_up, 0.5]), rng.choice([0, 0, 1, 2])
    plan = replace(plan, flavour="announced", habits=habits, hangs_up=hangs_up, slots=slots)
    return _sharing_machines(plan, rng) if slots else plan


def _sharing_machines(plan: Plan, rng: random.Random) -> Plan:
    """Most models may run together, as far as there are machines, of which some are never given up."""
    everybody_goes = rng.random() < 0.6  # else one might wait for ever
    habits = {
        model: replace(
            habit,
            announces=rng.random() < 0.9,
            hangs=0.0,  # it would hold its machine for ever: nobody goes who is busy
            makes_room=everybody_goes or rng.random() < 0.7,
            queue_timeout=rng.choice([0.0, habit.queue_timeout]) if everybody_goes else habit.queue_timeout or 6.0,
            load=rng.choice([habit.load, (0.1, 0.5), (2.0, 4.0)]),
            pause=rng.choice([habit.pause, (0.0, 4.0), (2.0, 10.0)]),
        )
        for model, habit in plan.habits.items()
    }
    if plan.policy.truth is None and rng.random() < 0.8:
        plan = replace(plan, policy=policies.relation(rng, plan.models, rng.choice([0.0, 0.1]), 0.5))
    return replace(plan, habits=habits)


def lost(seed: int, rng: random.Random) -> Plan:
    """Any world without memory, in which models are out of reach, for a while or for ever."""
    plan = FLAVOURS[rng.choice([*SEEDED, "failing", "reloads", "upgrades"])](seed, rng)
    habits = {model: replace(habit, vanishes=rng.choice([0.0, 0.3, 0.8])) for model, habit in plan.habits.items()}
    lost_after, hiccups = rng.choice([0.5, 1.0, 3.0]), rng.choice([0.0, 0.05])
    return replace(plan, flavour="lost", habits=habits, lost_after=lost_after, retries=1.0, hiccups=hiccups)


def sleepers(seed: int, rng: random.Random) -> Plan:
    """Any world without memory, in which most models can sleep, and some of them do not, or do not wake."""
    chosen = rng.choice([*SEEDED, "failing", "hanging", "combined", "reloads", "upheaval", "upgrades"])
    return _asleep(FLAVOURS[chosen](seed, rng), rng, "sleepers")


def drowsy(seed: int, rng: random.Random) -> Plan:
    """Memory decides, most models can sleep, and some keep a part of what they hold when they do."""
    plan = FLAVOURS[rng.choice(["memory", "memory", "pressure", "places"])](seed, rng)
    assert plan.policy.truth is not None
    memory_policies.doze(rng, plan.policy.truth)
    return _asleep(plan, rng, "drowsy")


def remote(seed: int, rng: random.Random) -> Plan:
    """The same where models are out of reach, for a while or for ever."""
    return _asleep(lost(seed, rng), rng, "remote")


def _asleep(plan: Plan, rng: random.Random, flavour: str) -> Plan:
    """Most of its models can sleep."""
    habits = {
        model: replace(
            habit,
            sleep=rng.choice([(0.0, 0.1), (0.1, 1.0)]) if rng.random() < 0.8 else None,
            wake=rng.choice([(0.0, 0.1), (0.2, 1.0)]),
            sleepless=rng.choice([0.0, 0.0, 0.2]),
            never_wakes=rng.choice([0.0, 0.0, 0.2]),
            ttl=habit.ttl if plan.hung_after else rng.choice([habit.ttl, habit.ttl, 4.0]),
        )
        for model, habit in plan.habits.items()
    }
    return replace(plan, flavour=flavour, habits=habits)


FLAVOURS: dict[str, Callable[[int, random.Random], Plan]] = {
    "mixed": mixed,
    "hot": hot,
    "patience": patience,
    "churn": churn,
    "queue": queue,
    "unloads": unloads,
    "failing": failing,
    "misconfigured": misconfigured,
    "whims": whims,
    "reordered": reordered,
    "hanging": hanging,
    "combined": combined,
    "reloads": reloads,
    "upheaval": upheaval,
    "upgrades": upgrades,
    "memory": memory,
    "pressure": pressure,
    "relief": relief,
    "places": places,
    "announced": announced,
    "lost": lost,
    "sleepers": sleepers,
    "drowsy": drowsy,
    "remote": remote,
}
SEEDED = ("mixed", "hot", "patience", "churn", "queue", "unloads", "mixed", "mixed")  # what a seed alone may choose


def make_plan(seed: int, flavour: str = "") -> Plan:
    """The plan of `seed`; without a flavour the seed chooses one, most often the mixed one.

    What it may choose stays as it is: else every seed would mean another world, and those that once failed be lost.
    """
    rng = random.Random(seed)
    chosen = rng.choice(SEEDED)
    return FLAVOURS[flavour or chosen](seed, rng)
