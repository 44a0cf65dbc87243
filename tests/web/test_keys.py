"""API keys: three ways to bring one, and nobody gets in without."""

from __future__ import annotations

import base64

import pytest

from llamaswap_lib.errors import Unauthorized
from llamaswap_lib.routing.api_keys import check_key, given_key, needs_key
from llamaswap_lib.routing.routes import find_route
from llamaswap_lib.wire.parser import parse_request_head

KEYS = ("k1", "schlüssel")


def head_with(*fields: str) -> bytes:
    return "\r\n".join(["GET /running HTTP/1.1", "Host: x", *fields, "", ""]).encode()


def basic(user: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "fields",
    [
        ("Authorization: Bearer k1",),
        ("authorization: bEARER   k1",),
        ("X-API-Key: k1",),
        ("X-API-Key: schlüssel",),
        (basic("", "k1"),),
        (basic("", "k1").replace("Basic", "bASIC"),),
        (basic("anybody", "schlüssel"),),
        ("Authorization: Basic %%%", "x-api-key: k1"),
        ("Authorization: Bearer ", "x-api-key: k1"),
        (basic("k2", ""), "x-api-key: k1"),
        ("Authorization: Digest k9", "x-api-key: k1"),
    ],
)
def test_a_key_may_come_three_ways(fields: tuple[str, ...]) -> None:
    check_key(parse_request_head(head_with(*fields)), KEYS)


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("x-api-key: ",),
        ("x-api-key: K1",),
        ("x-api-key: k1k1",),
        ("Authorization: k1",),
        ("Authorization: Basic k1",),
        (basic("k1", ""),),
        ("Authorization: Bearer wrong", "x-api-key: k1"),
        (basic("k1", "wrong"), "x-api-key: k1"),
    ],
)
def test_without_a_key_nobody_gets_in_and_the_first_that_is_given_counts(fields: tuple[str, ...]) -> None:
    with pytest.raises(Unauthorized) as caught:
        check_key(parse_request_head(head_with(*fields)), KEYS)
    assert caught.value.headers["WWW-Authenticate"] == 'Basic realm="llama-swap"'


def test_bytes_that_are_no_text_are_no_key() -> None:
    rubbish = "Authorization: Basic " + base64.b64encode(b"u:\xff\xfe").decode()
    assert given_key(parse_request_head(head_with(rubbish))) == b"\xff\xfe"
    with pytest.raises(Unauthorized):
        check_key(parse_request_head(head_with(rubbish)), KEYS)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/health", False),
        ("GET", "/wol-health", False),
        ("GET", "/v1/health", False),
        ("GET", "/v1/nope", False),
        ("POST", "/tokenize", True),
        ("GET", "/slots", True),
        ("GET", "/metrics", True),
        ("GET", "/", False),
        ("HEAD", "/", False),
        ("GET", "/favicon.ico", False),
        ("GET", "/upstream", False),
        ("OPTIONS", "/v1/models", False),
        ("GET", "/nope", False),
        ("GET", "//running", False),
        ("POST", "/v1//chat/completions", False),
        ("GET", "/v1/chat/completions", False),
        ("POST", "/v1/chat/completions", True),
        ("GET", "/upstream/a/x", True),
        ("GET", "/ui/", False),  # the page itself asks; tests/web/test_page.py
        ("GET", "/ui", False),
        ("GET", "/comfyui", True),
        ("GET", "/unload", True),
        ("GET", "/logs/stream/a", True),
    ],
)
def test_a_key_is_asked_for_everywhere_but_where_nothing_is_given_away(method: str, path: str, expected: bool) -> None:
    assert needs_key(find_route(method, path), path) is expected
