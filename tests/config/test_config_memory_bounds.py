"""`settleTimeout` is bounded: a start would wait so long, and others could not be told apart from models meanwhile."""

from __future__ import annotations

import pytest

from llamaswap_lib.config.load import load_text
from llamaswap_lib.errors import ConfigError

MODELS = "models: {{m: {{cmd: 'x ${{PORT}}'}}}}\n"
TEXT = MODELS + "routing: {{router: {{use: memory, settings: {{memory: {{settleTimeout: {}}}}}}}}}"


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("60", 60.0), ("1m", 60.0), ("300ms", 0.3)])
def test_up_to_a_minute(text: str, seconds: float) -> None:
    assert load_text(TEXT.format(text), environment={}).routing.memory.settle_timeout == seconds


@pytest.mark.parametrize("text", ["61", "1m1s", "1h", "-1"])
def test_no_longer(text: str) -> None:
    with pytest.raises(ConfigError, match="settleTimeout: expected an integer of at least 0 and at most 60"):
        load_text(TEXT.format(text), environment={})
