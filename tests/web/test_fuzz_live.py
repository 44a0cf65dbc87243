"""A short run of the fuzzer on a live server; `fuzz_live.py` says how to run more."""

from __future__ import annotations

import pytest

from tests.web.fuzz_live import ROUND, fuzz


@pytest.mark.slow
def test_streams_of_broken_requests_leave_a_server_that_serves() -> None:
    assert fuzz(0, 2 * ROUND) == []
