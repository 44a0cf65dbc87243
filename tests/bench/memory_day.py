"""A day on three machines: loads and waits where models stay as long as they fit, and by the rules of others.

`python tests/bench/memory_day.py` prints the table of docs/benchmarks.md, the same each time. The real scheduler, gates
and policies in virtual time (see `world.py`); machines, models and requests are in `mixes.py`, the rules of others in
`rivals.py`. With `use: memory` no need is known when the day begins, and each model is loaded alone once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from llamaswap_lib.core.eviction import Rules
from llamaswap_lib.core.eviction.devices import Memory, Need, NeedSource
from llamaswap_lib.core.eviction.dsl import compile_sets
from llamaswap_lib.core.eviction.gaps import Gaps
from llamaswap_lib.core.eviction.group import GroupPolicy
from llamaswap_lib.core.eviction.manners import Manners
from llamaswap_lib.core.eviction.matrix import MatrixPolicy
from llamaswap_lib.core.eviction.memory import MemoryPolicy
from llamaswap_lib.core.eviction.own import OwnPolicy, Policy
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.scheduler import Scheduler
from tests.bench.mixes import MIXES, Mix
from tests.bench.rendering import with_block
from tests.bench.rivals import LastUsed, OneAtATime, UntilItFits, by_idle_and_load, by_idle_time
from tests.bench.world import Witness, World, figures

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
MAKER = "tests/bench/memory_day.py"
UNKNOWN = NeedSource.UNKNOWN
SEEDS = (1, 2, 3)  # days of which the figures are the mean
MIN_RESIDENCY, MAX_WAIT, RESERVE = 10.0, 60.0, 0.05  # as llamaswap has them, unless it is told otherwise


class Machine(Witness):
    """The devices of a mix: what runs there, what is known of it. `beyond`: starts for which there was no memory.

    `is_free`: GPUs may be chosen for each model, and then its size is said, as it is to others.
    """

    def __init__(self, mix: Mix, reserve: float = 0.0, *, is_free: bool = False) -> None:
        self.beyond = 0
        self._sizes = mix.sizes()
        self._devices = mix.devices(reserve)
        self._movable = {model.name: model.movable(mix.capacity) for model in mix.models} if is_free else {}
        self._gaps = Gaps()
        self._held: dict[str, Mapping[str, int]] = {}  # by what runs
        self._needs = {name: Need(dict.fromkeys(sizes, 0)) for name, sizes in self._sizes.items()}

    def picture(self) -> Memory:
        held = {model: sizes for model, sizes in self._held.items() if self._needs[model].source is not UNKNOWN}
        return Memory(self._devices, dict(self._needs), held, self._gaps.now, movable=self._movable)

    def asked(self, model: str, now: float) -> None:
        self._gaps.note(model, now)

    def started(self, model: str, gpus: Sequence[str]) -> None:
        self._held[model] = self._sizes[model]
        if gpus:
            self._held[model] = self._movable[model].sizes_on(tuple(gpus), self._devices)
            self._needs[model] = Need(self._held[model], NeedSource.DECLARED)
        used = {name: sum(sizes.get(name, 0) for sizes in self._held.values()) for name in self._devices}
        self.beyond += any(used[name] > device.capacity for name, device in self._devices.items())

    def became_ready(self, model: str) -> None:
        self._needs[model] = Need(self._held[model], NeedSource.MEASURED)

    def exited(self, model: str) -> None:
        del self._held[model]


@dataclass(frozen=True, slots=True)
class Strategy:
    """`make` gives the rules for a mix on its machine. `reserve`: the share of each device that is left free.

    `is_free`: the GPUs of each model are chosen, where there are several.
    """

    name: str
    make: Callable[[Mix, Machine], Rules]
    max_wait: float = 0.0
    reserve: float = 0.0
    in_order: bool = False
    is_free: bool = False


def of_others(policy: Policy) -> Rules:
    own = OwnPolicy(policy)
    return Rules(own.evict, own.explain, own.observe)


def by_memory(mix: Mix, machine: Machine) -> Rules:
    """The program's own."""
    del mix
    return MemoryPolicy(machine.picture, Manners(min_residency=MIN_RESIDENCY)).rules()


def by_groups(mix: Mix, machine: Machine) -> Rules:
    del machine
    return Rules(GroupPolicy(mix.groups).evict)


def by_matrix(mix: Mix, machine: Machine) -> Rules:
    """What a model costs is its size in GB."""
    del machine
    sets = compile_sets(mix.matrix, lambda name: name)
    return Rules(MatrixPolicy(sets, {model.name: round(model.file) for model in mix.models}).evict)


def until_it_fits(mix: Mix, score: Callable[..., float]) -> Rules:
    return of_others(UntilItFits(mix.sizes(), mix.capacity, score))


STRATEGIES = (
    Strategy("one at a time, in arrival order", lambda *_: of_others(OneAtATime()), in_order=True),
    Strategy("llama-swap without groups", lambda *_: of_others(OneAtATime())),
    Strategy("llama-swap, groups written by hand", by_groups),
    Strategy("llama-swap, a matrix written by hand", by_matrix),
    Strategy("LRU by count, 1 model", lambda *_: of_others(LastUsed(1))),
    Strategy("LRU by count, 3 models", lambda *_: of_others(LastUsed(3))),
    Strategy("LRU until it fits", lambda mix, _: until_it_fits(mix, by_idle_time)),
    Strategy("Lemonade's rule", lambda mix, _: until_it_fits(mix, by_idle_and_load)),
    Strategy("llamaswap, `use: memory`", by_memory, MAX_WAIT, RESERVE),
    Strategy("llamaswap, `use: memory`, `reserve: 0`", by_memory, MAX_WAIT),
    Strategy("llamaswap, `use: memory`, `gpus:`", by_memory, MAX_WAIT, RESERVE, is_free=True),
)


def strategies(mix: Mix) -> list[Strategy]:
    """Those that make a difference on its machine."""
    return [strategy for strategy in STRATEGIES if len(mix.capacity) > 1 or not strategy.is_free]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a day. `beyond`: starts for which there was no memory; `loading`: seconds of all loads together."""

    loads: int
    beyond: int
    loading: float
    waits: list[float]


def play(mix: Mix, strategy: Strategy, seed: int, share: float = 1.0) -> Outcome:
    machine = Machine(mix, strategy.reserve, is_free=strategy.is_free)
    paces = {model.name: model.pace for model in mix.models}
    rules = strategy.make(mix, machine)
    scheduler = Scheduler(dict.fromkeys(paces, ModelSpec()), rules.evict, strategy.max_wait, rules=rules)
    world = World(mix.scripts(seed, share), paces, scheduler, machine, in_order=strategy.in_order).play()
    loading = sum(paces[model].load for model in world.loads)
    return Outcome(len(world.loads), machine.beyond, loading, world.waits_of())


def row(name: str, days: Collection[Outcome]) -> str:
    """Of a table in Markdown: means of the days, and the longest wait of all."""
    number = len(days)
    loads = sum(day.loads for day in days) / number
    beyond = sum(day.beyond for day in days) / number
    if beyond:
        return f"| {name} | {loads:.0f}, of which {beyond:.0f} do not fit | – | – | – | – |"
    waits = [figures(day.waits) for day in days]
    mean, p95 = (sum(day[place] for day in waits) / number for place in (0, 1))
    loading, longest = sum(day.loading for day in days) / number / 60, max(day[2] for day in waits)
    return f"| {name} | {loads:.0f} | {loading:.0f} | {mean:.1f} s | {p95:.0f} s | {longest:.0f} s |"


def lines(share: float = 1.0, seeds: Sequence[int] = SEEDS) -> Iterator[str]:
    """The tables, in Markdown."""
    for mix in MIXES:
        yield f"| {mix.name} | loads | minutes of loading | mean wait | 95th percentile | longest wait |"
        yield "|---|---|---|---|---|---|"
        for strategy in strategies(mix):
            yield row(strategy.name, [play(mix, strategy, seed, share) for seed in seeds])
        yield ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the sessions of a day")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="the days")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    said = parser.parse_args()
    made = [*lines(said.share, said.seeds)]
    print("\n".join(made))
    if said.write:
        PAGE.write_text(with_block(PAGE.read_text(), MAKER, "\n".join(made).strip()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
