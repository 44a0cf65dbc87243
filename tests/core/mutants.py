"""Mistakes made on purpose in copies of the core, each of which the tests must notice.

A mutant is a few lines in a file of `core` and what takes their place. It is tried in a temporary copy of the package
and of these tests, in a process of its own: by worlds of a flavour, by the gate's interleavings, or by a test that
names the rule. `python tests/core/mutants.py [PART OF A NAME]` tries them.

Most worlds notice nothing, so the one that did is played first: `noticed.txt` has its seed. A seed that is out of date,
or missing, costs time and nothing else. `python tests/core/mutants.py --note` writes the file anew.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_WORLDS = 150
SEEDS = ROOT / "tests/core/noticed.txt"
PLAIN = [word for name in ("cacheprovider", "hypothesispytest", "xdist", "anyio") for word in ("-p", f"no:{name}")]


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

    def command(self, worlds: int = MOST_WORLDS, first: int | None = None) -> list[str]:
        """What is to fail. Of worlds it is so many, in order, behind the one of the seed `first`."""
        if self.by == "scenes":
            return [sys.executable, "tests/core/interleavings.py"]
        if self.by.startswith("test_"):
            return [sys.executable, "-m", "pytest", "-qx", *PLAIN, f"tests/core/{self.by}.py"]
        flavour = "" if self.by == "any" else self.by
        argv = [sys.executable, "tests/core/simulation.py", "--worlds", str(worlds), "--flavour", flavour]
        return argv if first is None else [*argv, "--first", str(first)]

    def apply(self, package: Path) -> None:
        """Change the file below `package`; its text must be there exactly once."""
        path = package / "core" / self.file
        path.write_text(self.applied(path.read_text()))

    def applied(self, source: str) -> str:
        """The file's text with the mistake in it."""
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


def judge(mutant: Mutant | None, command: list[str]) -> tuple[bool, str]:
    """Whether `command` fails in a copy of the package with the mutant in it, and the last of what it said."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("llamaswap_lib/core", "tests/core"):  # with what is compiled of them, which is half of a run
            shutil.copytree(ROOT / part, copy / part)
        (copy / "llamaswap_lib" / "__init__.py").touch()
        (copy / "tests" / "__init__.py").touch()
        shutil.copy(ROOT / "tests" / "batches.py", copy / "tests")
        if mutant is not None:
            mutant.apply(copy / "llamaswap_lib")
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=900, check=False)
        return done.returncode != 0, (done.stdout + done.stderr)[-3000:]


def try_mutant(mutant: Mutant) -> Verdict:
    begin = time.monotonic()
    is_caught, said = judge(mutant, mutant.command(first=read_seeds().get(mutant.name)))
    return Verdict(mutant, is_caught, time.monotonic() - begin, said)


def try_all(mutants: Iterable[Mutant], at_once: int = 2) -> Iterable[Verdict]:
    with ThreadPoolExecutor(at_once, "mutant") as pool:
        yield from pool.map(try_mutant, mutants)


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
