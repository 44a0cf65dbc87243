"""Mistakes made on purpose in copies of the way of a request, each of which a test must notice.

As `tests/core/mutants.py` has it, with whole copies of the package and of the tests.
`python tests/web/mutants.py [PART OF A NAME]` tries them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # where it is run as a script

from tests.core.mutants import PLAIN, read_parts, replaced_once  # noqa: E402 - as above

HASTY = "DEADLINE = 1.5"  # in place of a minute: what a mutant keeps from happening is waited for in vain
TOO_LONG = 60.0  # seconds: a test that waits for what never comes gives up long before
TOO_LONG_FOR_ALL = 600.0  # the same for what is sound, all in a row on a busy machine


@dataclass(frozen=True, slots=True)
class Mutant:
    """`by` is the test of `tests/web` that is to notice."""

    name: str
    file: str
    by: str
    old: str
    new: str

    def apply(self, package: Path) -> None:
        path = package / self.file
        path.write_text(replaced_once(path.read_text(), self.file, self.name, self.old, self.new))


def read_mutants() -> list[Mutant]:
    return [Mutant(*parts) for parts in read_parts(ROOT / "tests/web/mutants.txt")]


def judge(mutant: Mutant | None, tests: list[str]) -> tuple[bool, str]:
    """Whether one of the tests fails in a copy with the mutant in it, and the last of what was said."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        ignored = shutil.ignore_patterns("e2e", "ui", "bench", "recorded")
        for name in ("llamaswap_lib", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", copy)
        if mutant is not None:
            mutant.apply(copy / "llamaswap_lib")
            world = copy / "tests/web/world.py"
            world.write_text(replaced_once(world.read_text(), world.name, "hasty", "DEADLINE = 60.0", HASTY))
        command = [sys.executable, "-m", "pytest", "-qx", *PLAIN, *(f"tests/web/{test}" for test in tests)]
        patience = TOO_LONG_FOR_ALL if mutant is None else TOO_LONG
        try:
            done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=patience, check=False)
        except subprocess.TimeoutExpired:
            return True, "it never ended"
        assert done.returncode in (0, 1), done.stdout + done.stderr  # anything else is no failure of a test
        return done.returncode == 1, (done.stdout + done.stderr)[-3000:]


def main() -> int:
    part = " ".join(sys.argv[1:])
    chosen = [mutant for mutant in read_mutants() if part in mutant.name]
    alive = 0
    for mutant in chosen:
        is_caught, said = judge(mutant, [mutant.by])
        alive += not is_caught
        print(f"{'caught' if is_caught else 'ALIVE '} {mutant.name}", flush=True)
        if len(chosen) == 1:
            print(said)
    print(f"{len(chosen) - alive} of {len(chosen)} caught")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
