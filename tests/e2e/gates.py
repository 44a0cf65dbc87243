"""Commands that wait for a test: what has to be seen while a model loads, works or stops lasts until the test goes on.

A gate is a file that the test makes with `touch`. A time in its place would be too short on a busy machine, or long on
every other one.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.e2e.program import demo


def after(gate: Path, words: str) -> str:
    """The command of a shell that waits for the gate, and then does what the words say."""
    return f"sh -c {shlex.quote(f'until [ -e {shlex.quote(str(gate))} ]; do sleep 0.02; done; {words}')}"


def loads_until(gate: Path, *flags: str) -> str:
    """The command of a demo that loads until there is the gate."""
    return after(gate, f"exec {demo(*flags)}")


def stops_after(gate: Path) -> str:
    """A `cmdStop` that ends the model when there is the gate."""
    return after(gate, "kill ${PID}")


def in_its_first_life(mark: Path, *flags: str) -> str:
    """The command of a demo that has these flags when it is started first, and none later.

    `mark` is a folder that its first life makes.
    """
    words = f"mkdir {shlex.quote(str(mark))} 2>/dev/null && exec {demo(*flags)}; exec {demo()}"
    return f"sh -c {shlex.quote(words)}"
