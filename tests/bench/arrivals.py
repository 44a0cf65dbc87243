"""Five patterns in which requests arrive, the same each time: who asks for what, when, and how long it works.

A script is one client that asks, is served, pauses, and asks again; where requests come whatever happens to those
before, each is a script of its own. What is random comes from a seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Step:
    """One request: the seconds that the model works on it, and the pause after its answer."""

    model: str
    work_seconds: float
    pause_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Script:
    who: str
    begin: float
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class Pattern:
    """`story` for people; `watched` are those whose waits are also told apart, if any."""

    name: str
    story: str
    scripts: Sequence[Script]
    watched: str = ""
    priorities: Mapping[str, int] = field(default_factory=dict)


def poisson(chance: random.Random, mean_gap: float, count: int) -> Iterator[float]:
    """Moments at random, `mean_gap` seconds apart on the mean."""
    time = 0.0
    for _ in range(count):
        time -= mean_gap * math.log(1.0 - chance.random())
        yield time


def two_agents() -> Pattern:
    scripts = [Script(name, place * 1.0, [Step(name, 6.0, 2.0)] * 20) for place, name in enumerate(("coder", "writer"))]
    story = "Two agents, each with a model of its own: 20 requests of 6 s each, the next one 2 s after the answer."
    return Pattern("two agents alternating", story, scripts)


def hot_and_cold() -> Pattern:
    chance = random.Random(2)
    hot = [
        Script("hot", number * 2.0, [Step("hot", chance.uniform(5.0, 9.0)) for _ in range(150)]) for number in range(3)
    ]
    cold = [Script("cold", 30.0 + 90.0 * number, [Step("cold", 3.0)]) for number in range(10)]
    story = "Three clients keep one model busy for 17 minutes without a pause; every 90 s somebody asks for another."
    return Pattern("hot and cold", story, [*hot, *cold], watched="cold")


def batch_against_chat() -> Pattern:
    batch = [Script("batch", 0.0, [Step("batch", 10.0)] * size) for size in (13, 13, 12, 12)]
    chat = Script("chat", 5.0, [Step("chat", 6.0, 20.0)] * 12)
    story = (
        "A batch of 50 requests of 10 s, four at a time, while somebody chats: 12 questions, 20 s to read each answer."
    )
    return Pattern("a batch of 50 against chat", story, [*batch, chat], watched="chat")


def round_robin() -> Pattern:
    scripts = [Script("client", 3.0 * number, [Step("abc"[number % 3], 2.0)]) for number in range(60)]
    return Pattern("three models round robin", "A request of 2 s every 3 s, for A, B, C, A, B, C and so on.", scripts)


def priorities() -> Pattern:
    chance = random.Random(5)
    chat = [Script("chat", time, [Step("chat", 5.0)]) for time in poisson(chance, 40.0, 15)]
    rest = [
        Script("others", time, [Step(model, 8.0)])
        for model in ("embed", "translate")
        for time in poisson(chance, 20.0, 30)
    ]
    story = "Chat, of priority 10, every 40 s on the mean; two other models, each every 20 s. All at random."
    return Pattern("priorities", story, [*chat, *rest], watched="chat", priorities={"chat": 10})


def patterns() -> list[Pattern]:
    return [two_agents(), hot_and_cold(), batch_against_chat(), round_robin(), priorities()]
