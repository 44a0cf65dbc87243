"""Many tries of one thing, of which the quick part of the tests has a share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def batches(count: int) -> list[Any]:
    """The numbers below `count`, to parametrize a test with: the first is in the quick part, the others are slow."""
    return [0, *(pytest.param(batch, marks=pytest.mark.slow) for batch in range(1, count))]


def samples(values: Iterable[Any], every: int) -> list[Any]:
    """The values, to parametrize a test with: one of `every` is in the quick part, the others are slow."""
    return [
        pytest.param(*_row(value), marks=[pytest.mark.slow] if number % every else [])
        for number, value in enumerate(values)
    ]


def _row(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
