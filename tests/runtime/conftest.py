"""A port for what a test starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.e2e.ports import PortBlock


@pytest.fixture
def port() -> Iterator[int]:
    """At which nobody listens but whom the test tells to."""
    with closing(PortBlock()) as ports:
        yield ports.first
