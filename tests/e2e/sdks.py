"""The SDKs of OpenAI and Anthropic, made to ask a program under test; they warn when they are imported."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from tests.e2e.talk import TIMEOUT

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    openai = pytest.importorskip("openai", reason="the openai SDK is not installed")
    anthropic = pytest.importorskip("anthropic", reason="the anthropic SDK is not installed")

MESSAGES = [{"role": "user", "content": "Hello there"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "number", "default": 1.0}}}


def openai_client(
    port: int, *, key: str = "none", retries: int = 0, timeout: float = TIMEOUT, kind: str = "OpenAI"
) -> Any:
    make = getattr(openai, kind)
    return make(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=retries, timeout=timeout)


def anthropic_client(
    port: int, *, key: str = "none", retries: int = 0, timeout: float = TIMEOUT, kind: str = "Anthropic"
) -> Any:
    make = getattr(anthropic, kind)
    return make(base_url=f"http://127.0.0.1:{port}", api_key=key, max_retries=retries, timeout=timeout)
