"""The question that a probe asks: where, and with which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.runtime.health.check import HealthCheck


def request_of(proxy: str, check_endpoint: str = "/health") -> list[str]:
    return HealthCheck.at(proxy, check_endpoint).request.decode("ascii").split("\r\n")


@pytest.mark.parametrize(
    ("proxy", "check_endpoint", "target"),
    [
        ("http://localhost:5801", "/health", "/health"),
        ("http://localhost:5801/", "/health", "/health"),
        ("http://localhost:5801/base", "/health", "/base/health"),
        ("http://localhost:5801/base/", "health", "/base/health"),
        ("http://localhost:5801/base?key=1", "/health?full=yes", "/base/health?key=1&full=yes"),
        ("http://localhost:5801?key=1", "/", "/?key=1"),
        ("http://localhost:5801/a%20b", "/c d/ü", "/a%20b/c%20d/%C3%BC"),
        ("http://localhost:5801", "http://127.0.0.1:9100/health?a=1", "/health?a=1"),
        ("http://localhost:5801/base?key=1", "https://h/health#top", "/base/health?key=1"),
        ("http://localhost:5801/base/", "http://localhost:5801/base/health", "/base/health"),
        ("http://localhost:5801/base", "http://localhost:5801/basement", "/base/basement"),
        ("http://localhost:5801", "http://localhost:5801", "/"),
        ("http://localhost:5801", "http://localhost:5801?a=1", "/?a=1"),
        ("http://localhost:5801", "/health#top?a=1", "/health"),
        ("http://localhost:5801", "/see?u=http://h/x", "/see?u=http://h/x"),
    ],
)
def test_path_and_query_of_the_proxy_are_joined_in_front(proxy: str, check_endpoint: str, target: str) -> None:
    assert request_of(proxy, check_endpoint)[0] == f"GET {target} HTTP/1.1"


@pytest.mark.parametrize(
    ("proxy", "host"),
    [
        ("http://localhost:5801/base", "localhost:5801"),
        ("http://LocalHost", "localhost"),
        ("http://user:secret@localhost:80", "localhost:80"),
        ("http://[::1]:5801", "[::1]:5801"),
        ("https://bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_host_header_is_the_authority_of_the_proxy(proxy: str, host: str) -> None:
    assert f"Host: {host}" in request_of(proxy)


def test_the_port_is_that_of_the_scheme_where_none_is_written() -> None:
    assert HealthCheck.at("http://h", "/").port == 80
    assert HealthCheck.at("https://h", "/").port == 443
    assert HealthCheck.at("https://h:0", "/").port == 0


@pytest.mark.parametrize(
    "proxy", ["", "localhost:5801", "ftp://h", "http://", "http:///x", "http://h:x", "http://a..b"]
)
def test_a_proxy_that_is_no_url_is_an_error(proxy: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        HealthCheck.at(proxy, "/health")


@given(st.text(), st.text())
def test_the_question_is_one_line_and_four_headers_whatever_is_configured(path: str, check_endpoint: str) -> None:
    try:
        lines = request_of(f"http://localhost/{path}", check_endpoint)
    except ValueError:
        return
    assert len(lines) == 7
    assert lines[-2:] == ["", ""]
    method, target, version = lines[0].split(" ")
    assert (method, target[0], version) == ("GET", "/", "HTTP/1.1")
