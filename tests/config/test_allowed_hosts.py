"""`allowedHosts`: names as a browser sends them, told apart from URLs and addresses with a port."""

from __future__ import annotations

import pytest

from llamaswap_lib.config.load import load_text
from llamaswap_lib.errors import ConfigError


@pytest.mark.parametrize("host", ["ai.example.org", "box", "*.example.org", "*", "ai.example.org.", "a-b_c"])
def test_names_and_patterns_are_taken(host: str) -> None:
    assert load_text(f"allowedHosts: ['{host}']").allowed_hosts == (host,)


@pytest.mark.parametrize("host", ["", "box:8080", "http://box", "a b", "box/ui", "*.", "*.*", "a*.b", ".local", "a..b"])
def test_what_is_no_name_is_an_error_that_says_where(host: str) -> None:
    with pytest.raises(ConfigError, match=r"config.yaml:1: allowedHosts\[0\]: expected a host name without a port"):
        load_text(f"allowedHosts: ['{host}']")
