"""Which addresses lead to the server itself, and that nothing else does."""

from __future__ import annotations

import re
import socket
from contextlib import closing

import pytest

from llamaswap_lib.runtime.ourselves import Ourselves


def listening(host: str, port: int = 0) -> tuple[Ourselves, socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.create_server(
        (host, port), family=family, dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6()
    )
    ourselves = Ourselves()
    ourselves.note_listening(sock)
    return ourselves, sock


def leads_here(ourselves: Ourselves, sock: socket.socket, host: str, *, may_resolve: bool = True) -> bool:
    port = sock.getsockname()[1]
    told = ourselves.loop_through(f"http://{host}:{port}/v1?x=1", may_resolve=may_resolve)
    assert told == "" or f"listens on port {port}" in told
    assert ourselves.loop_through(f"http://{host}:{port - 1}", may_resolve=may_resolve) == ""
    return bool(told)


@pytest.mark.parametrize(
    ("listen", "host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "LOCALHOST.", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "2130706433", True),
        ("127.0.0.1", "[::ffff:127.0.0.1]", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "192.0.2.99", False),
        ("0.0.0.0", "127.8.8.8", True),
        ("0.0.0.0", "192.0.2.99", False),
        ("0.0.0.0", "[2001:db8::99]", False),
        ("::", "127.0.0.1", True),
        ("::", "[::1]", True),
        ("::", "localhost", True),
        ("::", "192.0.2.99", False),
        ("::1", "127.0.0.1", False),
        ("::1", "[::1]", True),
        ("::1", "[::]", True),
    ],
)
def test_an_address_leads_here_or_not(listen: str, host: str, expected: bool) -> None:
    ourselves, sock = listening(listen)
    with closing(sock):
        assert leads_here(ourselves, sock, host) is expected
        assert leads_here(ourselves, sock, host, may_resolve=False) is expected  # none of these takes a look-up


def test_a_name_of_the_machine_leads_here_but_is_looked_up_only_where_that_may_block() -> None:
    ourselves, sock = listening("0.0.0.0")
    with closing(sock):
        assert leads_here(ourselves, sock, socket.gethostname())
        assert not leads_here(ourselves, sock, socket.gethostname(), may_resolve=False)


def test_before_it_listens_nothing_leads_here() -> None:
    assert Ourselves().loop_through("http://localhost:8080", may_resolve=True) == ""


def test_each_life_has_a_name_of_its_own_that_is_a_word_of_a_via_header() -> None:
    first, second = Ourselves(), Ourselves()
    assert first.name != second.name
    assert re.fullmatch(r"1\.1 llamaswap-[0-9a-f]{16}", first.via)
