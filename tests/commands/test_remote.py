"""Which server a command asks: its flags, then the environment, then the usual address."""

from __future__ import annotations

import pytest

from llamaswap_lib.commands.arguments import Parser, UsageError
from llamaswap_lib.commands.remote import DEFAULT_URL, add_remote_flags, server_of


def url_of(*arguments: str, **environ: str) -> str:
    parser = Parser("llamaswap ps", "")
    add_remote_flags(parser)
    return server_of(parser.parse_args(arguments), environ).url


@pytest.mark.parametrize(
    ("told", "url"),
    [
        ("", DEFAULT_URL),
        ("gpubox:9000", "http://gpubox:9000"),
        ("https://ai.example.org/llm/", "https://ai.example.org/llm"),
        ("http://gpubox:8080/v1", "http://gpubox:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_environment_names_the_server(told: str, url: str) -> None:
    assert url_of(LLAMASWAP_URL=told) == url


def test_without_anything_it_is_the_usual_address() -> None:
    assert url_of() == DEFAULT_URL


def test_a_flag_counts_before_the_environment() -> None:
    assert url_of("--url", "http://here:2", LLAMASWAP_URL="http://elsewhere:1") == "http://here:2"


@pytest.mark.parametrize(
    "told", ["http://", "ftp://gpubox", "http://gpubox:0", "http://gpubox:x", "http://a/?b", "http://u:p@a"]
)
def test_what_is_no_address_is_refused(told: str) -> None:
    with pytest.raises(UsageError, match=r"^--url: "):
        url_of("--url", told)
