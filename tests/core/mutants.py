"""Mistakes made on purpose in the core, each of which the tests must notice.

A mutant is a few lines in a file of `core` and what takes their place. It is tried in a process of its own that takes
the changed text for the module (`tests/trials.py`): by worlds of a flavour, by the gate's interleavings, or by a test
that names the rule. `python tests/core/mutants.py [PART OF A NAME]` tries them.

Most worlds notice nothing, so the one that did is played first: `noticed.txt` has its seed. A seed that is out of date,
or missing, costs time and nothing else. `python tests/core/mutants.py --note` writes the file anew.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # where it is run as a script

from tests.trials import Trials  # noqa: E402 - as above

MOST_WORLDS = 150
TOO_LONG = 900.0  # seconds for all worlds of a flavour, on a busy machine
SEEDS = ROOT / "tests/core/noticed.txt"
PLAIN = [word for name in ("cacheprovider", "hypothesispytest", "xdist", "anyio") for word in ("-p", f"no:{name}")]
# Imports what any of them needs.
WARM_UP = (
    "pytest",
    "--collect-only",
    *PLAIN,
    *(f"tests/core/test_{it}.py" for it in ("placing", "gate", "simulation")),
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """`by` says what is to notice: a flavour of worlds, `any` of them, `scenes`, or a file of tests."""

    name: str
    file: str
    by: str
    old: str
    new: str

    @property
    def is_for_worlds(self) -> bool:
        return self.by != "scenes" and not self.by.startswith("test_")

    @property
    def module(self) -> str:
        return f"llamaswap_lib.core.{self.file.removesuffix('.py').replace('/', '.')}"

    def command(self, worlds: int = MOST_WORLDS, first: int | None = None) -> list[str]:
        """A module and its arguments, which is to fail.

        Of worlds it is so many, in order, behind the one of the seed `first`.
        """
        if self.by == "scenes":
            return ["tests.core.interleavings"]
        if self.by.startswith("test_"):
            return ["pytest", "-qx", *PLAIN, f"tests/core/{self.by}.py"]
        flavour = "" if self.by == "any" else self.by
        argv = ["tests.core.simulation", "--worlds", str(worlds), "--flavour", flavour]
        return argv if first is None else [*argv, "--first", str(first)]

    def applied(self) -> str:
        """The file's text with the mistake in it; what it replaces must be there exactly once."""
        source = (ROOT / "llamaswap_lib/core" / self.file).read_text()
        return replaced_once(source, self.file, self.name, self.old, self.new)


def replaced_once(source: str, file: str, name: str, old: str, new: str) -> str:
    """`source` with `new` in the place of `old`, whole lines that must be in it exactly once."""
    text = f"\n{source}"
    times = text.count(old)
    assert times == 1, f"mutant {name!r}: its text is {times} times in {file}"
    return text.replace(old, new).removeprefix("\n")


def read_mutants() -> list[Mutant]:
    return [Mutant(*parts) for parts in read_parts(ROOT / "tests/core/mutants.txt")]


def read_seeds() -> dict[str, int]:
    """Of the world that noticed a mutant, by its name."""
    lines = (line.split(" ", 1) for line in SEEDS.read_text().splitlines())
    return {name: int(seed) for seed, name in lines}


def note_seeds(verdicts: Iterable[Verdict]) -> None:
    """The world that breaks tells its seed."""
    found = {verdict.mutant.name: re.search(r"seeds\.txt:\n(\d+) ", verdict.said) for verdict in verdicts}
    SEEDS.write_text("".join(f"{seed[1]} {name}\n" for name, seed in found.items() if seed))


def read_parts(path: Path) -> list[tuple[str, str, str, str, str]]:
    """Name, file, noticed-by, old and new text of each mutant in a file of them.

    It holds `# name`, `@ file noticed-by`, then lines as in a diff; an empty line between two.
    """
    return [_parse(block) for block in path.read_text().strip().split("\n\n")]


def _parse(block: str) -> tuple[str, str, str, str, str]:
    name, place, *lines = block.splitlines()
    file, by = place.removeprefix("@ ").split()
    old = "".join(f"\n{line[1:]}" for line in lines if line[0] in " -")
    new = "".join(f"\n{line[1:]}" for line in lines if line[0] in " +")
    return name.removeprefix("# "), file, by, f"{old}\n", f"{new}\n"


@dataclass(frozen=True, slots=True)
class Verdict:
    mutant: Mutant
    is_caught: bool
    seconds: float
    said: str


def try_mutant(trials: Trials, mutant: Mutant) -> Verdict:
    begin = time.monotonic()
    argv = mutant.command(first=read_seeds().get(mutant.name))
    ended = trials.run(argv, {mutant.module: mutant.applied()}, TOO_LONG)
    assert ended.code is not None, f"it never ended: {ended.said}"
    return Verdict(mutant, ended.code != 0, time.monotonic() - begin, ended.said)


def try_all(mutants: Iterable[Mutant], at_once: int = 2) -> Iterable[Verdict]:
    with ExitStack() as stack:
        free: SimpleQueue[Trials] = SimpleQueue()
        for _ in range(at_once):
            free.put(stack.enter_context(Trials(*WARM_UP)))

        def tried(mutant: Mutant) -> Verdict:
            trials = free.get()
            try:
                return try_mutant(trials, mutant)
            finally:
                free.put(trials)

        pool = stack.enter_context(ThreadPoolExecutor(at_once, "mutant"))
        yield from pool.map(tried, mutants)


def main() -> int:
    if sys.argv[1:] == ["--note"]:
        note_seeds(try_all(mutant for mutant in read_mutants() if mutant.is_for_worlds))
        return 0
    part = " ".join(sys.argv[1:])
    chosen = [mutant for mutant in read_mutants() if part in mutant.name]
    alive = 0
    for verdict in try_all(chosen):
        alive += not verdict.is_caught
        outcome = "caught" if verdict.is_caught else "ALIVE "
        print(f"{outcome} {verdict.seconds:5.1f} s by {verdict.mutant.by:22} {verdict.mutant.name}")
        if len(chosen) == 1:
            print(verdict.said)
    print(f"{len(chosen) - alive} of {len(chosen)} caught")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
