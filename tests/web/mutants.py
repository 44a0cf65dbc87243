"""Mistakes made on purpose on the way of a request, each of which a test must notice.

As `tests/core/mutants.py` has it, with one test for each. `python tests/web/mutants.py [PART OF A NAME]` tries them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # where it is run as a script

from tests.core.mutants import PLAIN, read_parts, replaced_once  # noqa: E402 - as above
from tests.trials import Trials  # noqa: E402

# In place of a minute, and of 15 seconds: what a mutant keeps from happening is waited for in vain.
HASTY = "DEADLINE = 1.5"
NO_GRACE = ("-o", "grace=1.5")
TOO_LONG = 60.0  # seconds: a test that waits for what never comes gives up long before
TOO_LONG_FOR_ALL = 600.0  # the same for what is sound, all in a row on a busy machine
WORLD = ROOT / "tests/web/world.py"
WARM_UP = ("pytest", "--collect-only", *PLAIN, "tests/web", "tests/fleet/test_sticky.py")


@dataclass(frozen=True, slots=True)
class Mutant:
    """`by` is the test of `tests/web` that is to notice."""

    name: str
    file: str
    by: str
    old: str
    new: str

    @property
    def module(self) -> str:
        return f"llamaswap_lib.{self.file.removesuffix('.py').replace('/', '.')}"

    def applied(self) -> str:
        """The file's text with the mistake in it; what it replaces must be there exactly once."""
        source = (ROOT / "llamaswap_lib" / self.file).read_text()
        return replaced_once(source, self.file, self.name, self.old, self.new)


def read_mutants() -> list[Mutant]:
    return [Mutant(*parts) for parts in read_parts(ROOT / "tests/web/mutants.txt")]


def judge(trials: Trials, mutant: Mutant | None, tests: list[str]) -> tuple[bool, str]:
    """Whether one of the tests fails with the mutant in the product, and the last of what was said."""
    changed: dict[str, str] = {}
    argv = ["pytest", "-qx", *PLAIN, *(f"tests/web/{test}" for test in tests)]
    if mutant is not None:
        hasty = replaced_once(WORLD.read_text(), WORLD.name, "hasty", "DEADLINE = 60.0", HASTY)
        changed = {mutant.module: mutant.applied(), "tests.web.world": hasty}
        argv += NO_GRACE
    ended = trials.run(argv, changed, TOO_LONG_FOR_ALL if mutant is None else TOO_LONG)
    assert ended.code in (0, 1, None), ended.said  # anything else is no failure of a test
    return ended.code != 0, ended.said


def main() -> int:
    part = " ".join(sys.argv[1:])
    chosen = [mutant for mutant in read_mutants() if part in mutant.name]
    alive = 0
    with Trials(*WARM_UP) as trials:
        for mutant in chosen:
            is_caught, said = judge(trials, mutant, [mutant.by])
            alive += not is_caught
            print(f"{'caught' if is_caught else 'ALIVE '} {mutant.name}", flush=True)
            if len(chosen) == 1:
                print(said)
    print(f"{len(chosen) - alive} of {len(chosen)} caught")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
