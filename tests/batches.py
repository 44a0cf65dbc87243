"""Random tries in batches, so that the quick part of the tests has a share of them."""

from __future__ import annotations

from typing import Any

import pytest


def batches(count: int) -> list[Any]:
    """The numbers below `count`, to parametrize a test with: the first is in the quick part, the others are slow."""
    return [0, *(pytest.param(batch, marks=pytest.mark.slow) for batch in range(1, count))]
