"""What the rules of scheduling come to: swaps and waits for five patterns of arrival, under each set of rules.

`python tests/bench/scheduling.py` prints the table of docs/scheduling.md, the same each time: the real scheduler and
the real gates, in a simulated world with one place. A wait is the time from asking until the model begins to work.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.scheduler import Scheduler
from tests.bench.arrivals import Pattern, patterns
from tests.bench.world import Pace, World, figures

LOAD_SECONDS = 8.0
STOP_SECONDS = 1.0
SLOTS = 4  # requests that a model works on at a time; the others wait inside


@dataclass(frozen=True, slots=True)
class Rules:
    name: str
    max_wait: float
    in_order: bool = False


RULES = (
    Rules("arrival order", 0.0, in_order=True),
    Rules("llama-swap (Go)", 0.0),
    Rules("llamaswap", 60.0),
    Rules("llamaswap, `maxWait: 10`", 10.0),
)


def one_place(target: str, running: tuple[str, ...]) -> Collection[str]:
    return set(running) - {target}


def played(pattern: Pattern, rules: Rules) -> World:
    """One pattern under one set of rules; each stop is a swap."""
    models = dict.fromkeys(step.model for script in pattern.scripts for step in script.steps)
    specs = {model: ModelSpec(priority=pattern.priorities.get(model, 0)) for model in models}
    paces = dict.fromkeys(models, Pace(LOAD_SECONDS, STOP_SECONDS, SLOTS))
    scheduler = Scheduler(specs, one_place, rules.max_wait)
    return World(pattern.scripts, paces, scheduler, in_order=rules.in_order).play()


def in_words(world: World) -> str:
    return f"{world.stops} swap{'s' * (world.stops != 1)}, {waits_in_words(world.waits_of())}"


def waits_in_words(waits: list[float]) -> str:
    """Mean, 95th percentile and longest, in seconds."""
    return " / ".join(f"{wait:.0f}" for wait in figures(waits))


def lines() -> Iterator[str]:
    """The table, in Markdown."""
    yield _row("", [rules.name for rules in RULES])
    yield _row("---", ["---"] * len(RULES))
    for pattern in patterns():
        worlds = [played(pattern, rules) for rules in RULES]
        yield _row(pattern.name, [in_words(world) for world in worlds])
        if who := pattern.watched:
            yield _row(f"of these, {who}", [waits_in_words(world.waits_of(who)) for world in worlds])


def _row(head: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([head, *cells])} |"


def main() -> int:
    sys.stdout.writelines(f"{line}\n" for line in lines())
    return 0


if __name__ == "__main__":
    sys.exit(main())
