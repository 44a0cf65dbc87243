"""What the tests of the whole program share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.ports import PortBlock
from tests.e2e.program import Program

RunProgram = Callable[..., Program]


@pytest.fixture
def run_program(tmp_path: Path) -> RunProgram:
    """`with run_program(config) as program:`, in a folder of the test's own."""

    def run(config: Mapping[str, Any], **options: Any) -> Program:
        return Program(tmp_path, config, **options)

    return run


@pytest.fixture
def port() -> Iterator[int]:
    """One that nobody else takes as long as the test runs, on any address of this machine."""
    with closing(PortBlock()) as block:
        yield block.first
