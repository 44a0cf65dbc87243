"""What the official SDKs make of an error of a llamaswap peer that asks to wait for long."""

from __future__ import annotations

import pytest

from tests.e2e.sdks import MESSAGES, anthropic, anthropic_client, openai, openai_client
from tests.fleet.boxes import running
from tests.fleet.test_long_waits import Box, error, front_of


@pytest.mark.parametrize("status", [429, 503])
def test_the_error_has_its_message_and_the_true_number_for_programs(status: int) -> None:
    kind = "RateLimitError" if status == 429 else "InternalServerError"
    with front_of(Box(error(status=status), running())) as world:
        port = world.server.address[1]
        with openai_client(port) as one, pytest.raises(getattr(openai, kind), match="busy") as caught:
            one.chat.completions.create(model="box/m", messages=MESSAGES)
        assert caught.value.body == {"message": "busy", "n": 1.5, "retry_in": 30.0}
        assert caught.value.response.headers["Retry-After"] == "2"
        kinds = (anthropic.RateLimitError, anthropic.InternalServerError)
        with anthropic_client(port) as other, pytest.raises(kinds, match="busy") as told:
            other.messages.create(model="box/m", messages=MESSAGES, max_tokens=5)
        assert told.value.body["error"]["retry_in"] == 30.0
