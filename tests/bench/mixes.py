"""Three machines, the models that run on them, and a day of requests for each: what `memory_day.py` plays.

Sizes of files are those of real models (the GGUF files of bartowski, unsloth, gpustack and ggerganov on Hugging Face,
as listed there); what a model takes is its file, its cache (layers, heads for keys and values, and size of a head as in
its configuration, 16 bit) and buffers. A load reads the file from a disk of `DISK` and starts the server. Arrivals come
from a seed: chats with think time, agents with streaks of requests, completions while somebody types, embeddings in
batches, and a job at night.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from llamaswap_lib.core.eviction.devices import GB, Device, Movable, NeedSource
from llamaswap_lib.core.eviction.group import Group
from tests.bench.arrivals import Script, Step
from tests.bench.world import Pace

DISK = 2e9  # bytes a second, of a usual NVMe disk
START = 2.0  # seconds of a start but for the file
STOP = 1.0
DAY = 86400.0

BUSY_HOURS = (1, 0, 0, 0, 0, 0, 1, 3, 7, 10, 10, 9, 6, 8, 10, 10, 9, 7, 5, 5, 7, 8, 5, 2)
"""How likely a session begins in each hour of a day."""


@dataclass(frozen=True, slots=True)
class Model:
    """`file` and `buffers` in GB of 10^9 bytes, `cache` in bytes a token; `where` says the share of each device."""

    name: str
    source: str
    file: float
    context: int = 0
    cache: int = 0
    buffers: float = 0.6
    slots: int = 2
    where: Mapping[str, float] | None = None

    @property
    def size(self) -> int:
        return int((self.file + self.buffers) * 1e9) + self.context * self.cache

    @property
    def places(self) -> Mapping[str, float]:
        return self.where or {"gpu0": 1.0}

    def sizes(self) -> dict[str, int]:
        return {device: int(self.size * share) for device, share in self.places.items()}

    def movable(self, among: Collection[str]) -> Movable:
        """If it may be put on as many of these GPUs as it has by its command, whichever they are."""
        return Movable(tuple(among), len(self.places), self.size, NeedSource.DECLARED)

    @property
    def pace(self) -> Pace:
        return Pace(START + self.file * 1e9 / DISK, STOP, self.slots)


@dataclass(frozen=True, slots=True)
class Mix:
    """`groups` and `matrix` are the best that a careful user could write for it."""

    name: str
    story: str
    capacity: Mapping[str, int]
    models: Sequence[Model]
    groups: Sequence[Group]
    matrix: Mapping[str, str]
    arrive: Callable[[random.Random, float], list[Script]]

    def devices(self, reserve: float) -> dict[str, Device]:
        """`reserve` as a share."""
        return {name: Device(size, int(reserve * size), label=name) for name, size in self.capacity.items()}

    def sizes(self) -> dict[str, dict[str, int]]:
        return {model.name: model.sizes() for model in self.models}

    def scripts(self, seed: int, share: float = 1.0) -> list[Script]:
        """`share`: of the sessions of a day."""
        return self.arrive(random.Random(f"{self.name} {seed}"), share)


# -- who asks --


def sessions(chance: random.Random, number: float, make: Callable[[float], list[Script]]) -> list[Script]:
    """So many of them, begun at times of a working day."""
    hours = chance.choices(range(24), BUSY_HOURS, k=max(1, round(number)))
    begins = sorted(3600.0 * hour + chance.uniform(0.0, 3600.0) for hour in hours)
    return [script for begin in begins for script in make(begin)]


def chat(chance: random.Random, model: str, before: str, begin: float, seconds: float = 9.0) -> list[Script]:
    """A person: 2 to 12 questions, and time to read and think. Before each third of them `before` is asked."""
    steps = []
    for _ in range(chance.randint(2, 12)):
        if before and chance.random() < 0.35:
            steps.append(Step(before, 0.1))
        think = min(600.0, chance.lognormvariate(3.6, 0.8))  # 37 s in the middle
        steps.append(Step(model, chance.uniform(0.3, 1.7) * seconds, think))
    return [Script("chat", begin, steps)]


def agent(chance: random.Random, model: str, begin: float) -> list[Script]:
    """A program: 10 to 60 requests, some seconds apart while it runs tools, sometimes a test run of a minute."""
    steps = []
    for _ in range(chance.randint(10, 60)):
        pause = chance.uniform(20.0, 90.0) if chance.random() < 0.08 else chance.uniform(0.5, 5.0)
        steps.append(Step(model, chance.uniform(3.0, 20.0), pause))
    return [Script("agent", begin, steps)]


def typing(chance: random.Random, model: str, begin: float) -> list[Script]:
    """Somebody writes code for 5 to 40 minutes: completions in bursts, then time to think."""
    steps: list[Step] = []
    end, now = chance.uniform(300.0, 2400.0), 0.0
    while now < end:
        burst = [Step(model, 0.4, chance.uniform(0.8, 6.0)) for _ in range(chance.randint(2, 12))]
        burst.append(Step(model, 0.4, min(300.0, chance.lognormvariate(3.2, 0.8))))
        steps += burst
        now += sum(step.work_seconds + step.pause_seconds for step in burst)
    return [Script("typing", begin, steps)]


def batch(chance: random.Random, model: str, begin: float, fewest: int = 40, most: int = 250) -> list[Script]:
    """Documents are embedded, four requests at a time."""
    size = chance.randint(fewest, most)
    return [Script("batch", begin, [Step(model, 0.25, 0.02)] * (size // 4)) for _ in range(4)]


def rare(chance: random.Random, model: str, begin: float, seconds: float = 8.0) -> list[Script]:
    """One to three requests, a minute apart."""
    steps = [Step(model, chance.uniform(0.5, 1.5) * seconds, chance.uniform(20.0, 90.0)) for _ in range(3)]
    return [Script("rare", begin, steps[: chance.randint(1, 3)])]


def night(chance: random.Random, model: str, embedder: str, size: int) -> list[Script]:
    """At two o'clock: each document is summarized, and the summary embedded."""
    steps = [step for _ in range(size) for step in (Step(model, chance.uniform(5.0, 15.0)), Step(embedder, 0.2))]
    return [Script("night", 2 * 3600.0, steps)]


# -- the machines --


def _one_card(chance: random.Random, share: float) -> list[Script]:
    return [
        *sessions(chance, 44 * share, partial(chat, chance, "chat", "embed")),
        *sessions(chance, 28 * share, partial(agent, chance, "coder")),
        *sessions(chance, 16 * share, partial(batch, chance, "embed")),
        *night(chance, "chat", "embed", round(120 * share)),
    ]


def _eight(chance: random.Random, share: float) -> list[Script]:
    return [
        *sessions(chance, 60 * share, partial(chat, chance, "chat", "embed")),
        *sessions(chance, 32 * share, partial(chat, chance, "fast", "rerank", seconds=4.0)),
        *sessions(chance, 32 * share, partial(agent, chance, "coder")),
        *sessions(chance, 24 * share, partial(typing, chance, "complete")),
        *sessions(chance, 20 * share, partial(batch, chance, "embed")),
        *sessions(chance, 24 * share, partial(rare, chance, "vision")),
        *sessions(chance, 8 * share, partial(chat, chance, "large", "", seconds=40.0)),
        *night(chance, "fast", "embed", round(150 * share)),
    ]


def _two_cards(chance: random.Random, share: float) -> list[Script]:
    return [
        *sessions(chance, 48 * share, partial(chat, chance, "chat", "embed")),
        *sessions(chance, 28 * share, partial(agent, chance, "coder")),
        *sessions(chance, 20 * share, partial(typing, chance, "complete")),
        *sessions(chance, 16 * share, partial(batch, chance, "embed")),
        *sessions(chance, 28 * share, partial(rare, chance, "vision")),
        *sessions(chance, 28 * share, partial(rare, chance, "speech")),
        *sessions(chance, 8 * share, partial(chat, chance, "large", "", seconds=30.0)),
        *night(chance, "large", "embed", round(40 * share)),
    ]


EMBED = Model("embed", "bge-m3 F16", 1.16, buffers=0.5, slots=4)
ONE_CARD = Mix(
    "coder, chat and embeddings on 24 GB",
    "A few people and their agents.",
    {"gpu0": 24 * GB},
    (
        Model("coder", "Qwen2.5-Coder-14B-Instruct Q6_K", 12.1, 32768, 196608),
        Model("chat", "Llama-3.1-8B-Instruct Q4_K_M", 4.92, 16384, 131072),
        EMBED,
    ),
    (Group("large", ("coder", "chat"), exclusive=False), Group("always", ("embed",), False, False, True)),
    {"coding": "coder & embed", "talking": "chat & embed"},
    _one_card,
)
EIGHT = Mix(
    "eight models on 48 GB",
    "A small team.",
    {"gpu0": 48 * GB},
    (
        Model("coder", "Qwen2.5-Coder-32B-Instruct Q4_K_M", 19.9, 16384, 262144, slots=4),
        Model("chat", "Mistral-Small-24B-Instruct-2501 Q4_K_M", 14.3, 16384, 163840, slots=4),
        Model("large", "Llama-3.1-70B-Instruct Q3_K_M", 34.3, 8192, 327680),
        Model("fast", "Llama-3.1-8B-Instruct Q4_K_M", 4.92, 16384, 131072, slots=4),
        Model("vision", "Qwen2.5-VL-7B-Instruct Q4_K_M and its projector", 6.03, 16384, 57344, buffers=1.0),
        Model("complete", "Qwen2.5-Coder-7B-Instruct Q4_K_M", 4.68, 8192, 57344),
        EMBED,
        Model("rerank", "bge-reranker-v2-m3 Q8_0", 0.64, buffers=0.5, slots=4),
    ),
    (
        Group("large", ("coder", "chat", "large"), exclusive=False),
        Group("small", ("fast", "vision", "complete"), exclusive=False),
        Group("always", ("embed", "rerank"), False, False, True),
    ),
    {
        "always": "embed & rerank",
        "work": "coder & chat & complete & +always",
        "mixed": "coder & fast & vision & complete & +always",
        "talk": "chat & fast & vision & complete & +always",
        "big": "large & (fast | vision | complete) & +always",
    },
    _eight,
)
TWO_CARDS = Mix(
    "two GPUs, 24 GB and 12 GB",
    "Each model has its place by its command; the largest one takes both.",
    {"gpu0": 24 * GB, "gpu1": 12 * GB},
    (
        Model("coder", "Qwen2.5-Coder-14B-Instruct Q6_K", 12.1, 32768, 196608),
        Model("chat", "Llama-3.1-8B-Instruct Q4_K_M", 4.92, 16384, 131072, where={"gpu1": 1.0}),
        Model(
            "large",
            "Llama-3.1-70B-Instruct IQ2_M",
            24.1,
            8192,
            327680,
            buffers=1.2,
            where={"gpu0": 2 / 3, "gpu1": 1 / 3},
        ),
        Model(
            "vision",
            "Qwen2.5-VL-7B-Instruct Q4_K_M and its projector",
            6.03,
            16384,
            57344,
            buffers=1.0,
            where={"gpu1": 1.0},
        ),
        Model("complete", "Qwen2.5-Coder-1.5B-Instruct Q8_0", 1.65, 8192, 28672, buffers=0.5, where={"gpu1": 1.0}),
        Model("speech", "whisper large-v3-turbo", 1.62, buffers=0.5, where={"gpu1": 1.0}),
        EMBED,
    ),
    (
        Group("large", ("coder", "chat", "large", "vision"), exclusive=False),
        Group("small", ("complete", "speech"), exclusive=False),
        Group("always", ("embed",), False, False, True),
    ),
    {"day": "coder & (chat | vision) & complete & speech & embed", "big": "large & (complete | speech) & embed"},
    _two_cards,
)
MIXES = (ONE_CARD, EIGHT, TWO_CARDS)
