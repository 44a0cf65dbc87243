"""What the variables that name proxies come to mean, by themselves and beside Python's own reading of them."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.runtime.forward_proxies import (
    NO_PROXIES,
    ForwardProxies,
    ForwardProxy,
    NoProxy,
    is_tunnel_open,
)

PROXY = "http://proxy.example:3128"


def way(environment: Mapping[str, str], url: str = "http://far.example") -> str:
    return str(ForwardProxies(environment).way_to_url(url) or "direct")


@pytest.mark.parametrize(
    ("environment", "http", "https"),
    [
        ({}, "direct", "direct"),
        ({"http_proxy": PROXY}, PROXY, "direct"),
        ({"HTTP_PROXY": PROXY}, PROXY, "direct"),
        ({"https_proxy": PROXY}, "direct", PROXY),
        ({"HTTPS_PROXY": PROXY}, "direct", PROXY),
        ({"http_proxy": PROXY, "HTTP_PROXY": "http://other"}, PROXY, "direct"),
        ({"http_proxy": "", "HTTP_PROXY": PROXY}, PROXY, "direct"),
        ({"http_proxy": " "}, "direct", "direct"),
        ({"all_proxy": PROXY, "ALL_PROXY": PROXY, "ftp_proxy": PROXY}, "direct", "direct"),
        ({"http_proxy": PROXY, "no_proxy": "far.example"}, "direct", "direct"),
        ({"http_proxy": PROXY, "NO_PROXY": "far.example"}, "direct", "direct"),
        ({"http_proxy": PROXY, "no_proxy": "", "NO_PROXY": "far.example"}, "direct", "direct"),
        ({"http_proxy": PROXY, "no_proxy": "x", "NO_PROXY": "far.example"}, PROXY, "direct"),
    ],
)
def test_each_variable_counts_for_its_scheme(environment: Mapping[str, str], http: str, https: str) -> None:
    assert way(environment) == http
    assert way(environment, "https://far.example") == https


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("proxy.example:3128", ForwardProxy("proxy.example", 3128)),
        ("http://proxy.example", ForwardProxy("proxy.example", 80)),
        ("HTTP://Proxy.Example:1/path/", ForwardProxy("proxy.example", 1)),
        ("http://[::1]:3128", ForwardProxy("::1", 3128)),
        ("http://me:p%40ss@proxy:1", ForwardProxy("proxy", 1, "Proxy-Authorization: Basic bWU6cEBzcw==\r\n")),
        ("me:pass@proxy:1", ForwardProxy("proxy", 1, "Proxy-Authorization: Basic bWU6cGFzcw==\r\n")),
        ("http://me@proxy:1", ForwardProxy("proxy", 1, "Proxy-Authorization: Basic bWU6\r\n")),
        ("http://m%C3%A4:p@proxy:1", ForwardProxy("proxy", 1, "Proxy-Authorization: Basic bcOkOnA=\r\n")),
    ],
)
def test_a_proxy_is_taken_apart(value: str, expected: ForwardProxy) -> None:
    assert ForwardProxies({"http_proxy": value}).way_to("http", "far.example", 80) == expected


@pytest.mark.parametrize(
    "value",
    [
        *("socks5://proxy:1", "https://proxy:1", "ftp://proxy", "http://", "http://:80", "http://proxy:x", "/path"),
        *("http://proxy:0", "http://proxy:99999", "http://a b:1", "http://ä:1", "http://[::1", "://"),
        "http://proxy\r\nX: y:1",
    ],
)
def test_a_value_that_names_no_proxy_is_a_fault_and_nothing_goes_past_it(value: str) -> None:
    proxies = ForwardProxies({"HTTP_PROXY": value})
    found = proxies.way_to("http", "far.example", 80)
    assert found is not None
    assert found.fault.startswith("HTTP_PROXY ")
    assert proxies.faults == [found.fault]
    assert proxies.way_to("http", "localhost", 80) is None
    assert proxies.way_to("https", "far.example", 443) is None


@pytest.mark.parametrize(
    "value",
    [
        *(
            "socks5://me:hush@proxy:1",
            "http://me:hush@proxy:x",
            "me:hush@:1",
            "http://me:hush://x@h:0",
            "http://me:hush",
        ),
        *("http://me:1/hush@proxy:1", "http://me:hush/x@proxy:1", "http://me:hush#x@proxy:1"),
    ],
)
def test_a_login_is_never_shown(value: str) -> None:
    assert "hush" not in ForwardProxies({"http_proxy": value}).faults[0]
    assert str(ForwardProxies({"http_proxy": "http://me:hush@proxy:1"}).way_to("http", "x", 1)) == "http://proxy:1"


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.1.2.3", "127.1", "::1", "::ffff:127.0.0.1"),
        *("0.0.0.0", "::", os.uname().nodename),
    ],
)
def test_this_machine_is_never_asked_through_a_proxy(host: str) -> None:
    proxies = ForwardProxies({"http_proxy": PROXY, "https_proxy": PROXY})
    assert proxies.way_to("http", host, 9000) is None
    assert proxies.way_to("https", host, 9000) is None


@pytest.mark.parametrize("host", ["localhost.example", "notlocalhost", "128.0.0.1", "192.0.2.1", "2001:db8::1"])
def test_others_are(host: str) -> None:
    assert ForwardProxies({"http_proxy": PROXY}).way_to("http", host, 9000) is not None


@pytest.mark.parametrize(
    ("text", "host", "is_covered"),
    [
        ("*", "far.example", True),
        ("a, *", "192.0.2.1", True),
        ("far.example", "far.example", True),
        ("FAR.example", "far.EXAMPLE.", True),
        ("far.example.", "far.example", True),
        ("example", "far.example", True),
        (".example", "far.example", True),
        (".far.example", "far.example", True),
        ("*.example", "far.example", True),
        ("ar.example", "far.example", False),
        ("far", "far.example", False),
        ("far.example.org", "far.example", False),
        ("a b\tfar.example,c", "far.example", True),
        (",, ,", "far.example", False),
        (".", "far.example", False),
        ("far.example:80", "far.example", True),
        ("far.example:81", "far.example", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1:80", "192.0.2.1", True),
        ("192.0.2.1:81", "192.0.2.1", False),
        ("0.2.1", "192.0.2.1", False),
        ("192.0.2.0/24", "192.0.2.200", True),
        ("192.0.2.7/24", "192.0.2.200", True),
        ("192.0.2.0/24", "192.0.3.1", False),
        ("192.0.2.0/24", "::ffff:192.0.2.1", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::1", "2001:DB8:0::1", True),
        ("[2001:db8::1]", "2001:db8::1", True),
        ("[2001:db8::1]:80", "2001:db8::1", True),
        ("[2001:db8::1]:81", "2001:db8::1", False),
        ("2001:db8::/32", "192.0.2.1", False),
        ("192.0.2.0/99", "192.0.2.1", False),
    ],
)
def test_no_proxy_names_hosts_domains_addresses_and_networks(text: str, host: str, is_covered: bool) -> None:
    assert NoProxy(text).cover(host, 80) is is_covered


def test_a_url_that_leads_nowhere_leads_through_no_proxy() -> None:
    proxies = ForwardProxies({"http_proxy": PROXY})
    assert [proxies.way_to_url(url) for url in ("", "x", "http://", "http://h:x", "http://[", "ftp://h")] == [None] * 6
    assert NO_PROXIES.way_to_url("http://far.example") is None


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """With these variables of the process's own, for code that reads those."""
    names = [f"{kind}_proxy" for kind in ("http", "https", "no", "all")]
    saved = {name: os.environ.pop(name) for name in [*names, *map(str.upper, names)] if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]
        os.environ.update(saved)


HOSTS = st.sampled_from(["far.example", "a.far.example", "example", "farexample", "x"])
ENTRIES = st.sampled_from(["far.example", ".far.example", "example", "EXAMPLE", "far.example:80", "x:81", "a", ""])
VALUES = st.sampled_from([PROXY, "http://other:1"])


@given(
    host=HOSTS,
    entries=st.just(["*"]) | st.lists(ENTRIES, max_size=3),
    values=st.dictionaries(st.sampled_from(["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"]), VALUES),
    scheme=st.sampled_from(["http", "https"]),
    no_proxy=st.sampled_from(["no_proxy", "NO_PROXY"]),
)
def test_python_means_the_same(
    host: str, entries: list[str], values: dict[str, str], scheme: str, no_proxy: str
) -> None:
    values = {**values, no_proxy: ",".join(entries)}
    with variables(values):
        proxies = urllib.request.getproxies_environment()
        is_direct = urllib.request.proxy_bypass_environment(f"{host}:80", proxies)  # type: ignore[attr-defined]
    expected = "direct" if is_direct else proxies.get(scheme, "direct")
    assert way(values, f"{scheme}://{host}:80") == expected


def test_a_tunnel_is_asked_for() -> None:
    proxy = ForwardProxy("p", 1, "Proxy-Authorization: Basic eDp5\r\n")
    assert proxy.connect_request("far.example", 443) == (
        b"CONNECT far.example:443 HTTP/1.1\r\nHost: far.example:443\r\nProxy-Authorization: Basic eDp5\r\n\r\n"
    )
    assert ForwardProxy("p", 1).connect_request("2001:db8::1", 9) == (
        b"CONNECT [2001:db8::1]:9 HTTP/1.1\r\nHost: [2001:db8::1]:9\r\n\r\n"
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nVia: x\r\n\r\n",
        b"HTTP/1.1 204\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_tunnel_stands_when_the_head_of_a_2xx_is_there(answer: bytes) -> None:
    assert [size for size in range(len(answer) + 1) if is_tunnel_open(answer[:size])] == [len(answer)]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n", "the proxy answered 407 Proxy Authentication Required"),
        (b"HTTP/1.1 502\r\n", "the proxy answered 502"),
        (b"HTTP/1.1 403 \x1b[31mNo\r\n", "the proxy answered 403 \\x1b[31mNo"),
        (b"HTTP/1.1 503 " + b"x" * 1000 + b"\r\n", "the proxy answered 503 " + "x" * 80),
        (b"SSH-2.0-OpenSSH\r\n", "the proxy does not speak HTTP"),
        (b"\x15\x03\x01" + b"x" * 70_000, "the proxy does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "the proxy does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", "the proxy sent more than its answer"),
    ],
)
def test_a_tunnel_that_is_refused_says_why(answer: bytes, reason: str) -> None:
    with pytest.raises(ConnectionError) as refused:
        is_tunnel_open(answer)
    assert str(refused.value) == reason
