"""What the tests of the commands share: the real program with demo models, and a shell to type commands in."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.commands.terminal import Shell
from tests.e2e.program import Program, demo

MODELS: dict[str, Any] = {
    "models": {
        "small": {"cmd": demo(), "name": "A small one", "aliases": ["tiny"]},
        "large": {"cmd": demo("--load-seconds", "0.3"), "ttl": 300},
        "broken": {"cmd": demo("--exit-at-start", "3")},
    }
}


def gated(gate: Path, *flags: str) -> str:
    """The command of a demo model that begins to load when there is the file `gate`."""
    return f"sh -c {shlex.quote(f'until [ -e {gate} ]; do sleep 0.02; done; exec {demo(*flags)}')}"


def by_memory(**needs: str) -> dict[str, Any]:
    """Models that may have 2,000 MB together, and answer slowly."""
    memory = {"minResidency": 0, "devices": {"ram": {"capacity": "2000MB", "reserve": 0}}}
    return {
        "models": {name: {"cmd": demo("--tokens-per-second", "4"), "memory": size} for name, size in needs.items()},
        "routing": {"router": {"use": "memory", "settings": {"memory": memory}}},
    }


class Served(Shell):
    """A server, and a shell whose commands ask it."""

    def __init__(self, program: Program, env: Mapping[str, str]) -> None:
        super().__init__(program.port, env)
        self.program = program


Serve = Callable[..., AbstractContextManager[Served]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """`with serve(config, env) as shell:`; without a configuration that of MODELS."""

    @contextmanager
    def served(
        config: Mapping[str, Any] = MODELS, env: Mapping[str, str] | None = None, **options: Any
    ) -> Iterator[Served]:
        with Program(tmp_path, config, **options) as program:
            yield Served(program, env or {})

    return served


@pytest.fixture
def shell() -> Shell:
    """Without a server."""
    return Shell()
