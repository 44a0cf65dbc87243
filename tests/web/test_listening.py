"""The listening socket: which clients reach it, who is in its way, and how addresses are written."""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import Any

import pytest

from llamaswap_lib.ip_addresses import plain_ip
from llamaswap_lib.net.listening import accept, address_text, listen, where_text
from llamaswap_lib.server.listener import Server
from tests.web.world import DEADLINE, OK, Peer, World, chat, get, length_of

needs_both = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="IPv6 and IPv4 do not share a socket here")


def reaches(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), DEADLINE).close()
    except ConnectionRefusedError:
        return False
    return True


@needs_both
def test_every_address_means_clients_of_both_families() -> None:
    with listen("", 0) as sock:
        port = sock.getsockname()[1]
        assert reaches("127.0.0.1", port)
        assert reaches("::1", port)


@needs_both
@pytest.mark.parametrize(("host", "other"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
def test_one_address_is_that_one_alone(host: str, other: str) -> None:
    with listen(host, 0) as sock:
        port = sock.getsockname()[1]
        assert reaches(host, port)
        assert not reaches(other, port)


def test_a_name_with_addresses_of_both_families_means_its_ipv4_one() -> None:
    with listen("localhost", 0) as sock:
        assert sock.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "refusal",
    [
        OSError(errno.EAFNOSUPPORT, "no such family"),
        OSError(errno.EADDRNOTAVAIL, "no such address"),
        ValueError("not supported on this platform"),
    ],
    ids=["no IPv6", "no IPv6 address", "kept apart"],
)
def test_where_one_socket_cannot_have_both_every_ipv4_address_is_left(refusal: Exception) -> None:
    def create(address: tuple[str, int], **how: Any) -> socket.socket:
        if how.get("dualstack_ipv6"):
            raise refusal
        return socket.create_server(address, **how)

    with listen("", 0, create) as sock:
        host, port = sock.getsockname()
        assert host == "0.0.0.0"
        assert reaches("127.0.0.1", port)
        assert where_text(sock, "http") == f"http://localhost:{port} (every IPv4 address of this machine)"


def test_any_other_refusal_is_an_error_and_no_reason_to_take_ipv4_alone() -> None:
    def create(address: tuple[str, int], **how: Any) -> socket.socket:
        if how.get("dualstack_ipv6"):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        return socket.create_server(address, **how)

    with pytest.raises(OSError, match="in use"):
        listen("", 0, create)


@needs_both
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one may listen beside somebody on one address")
@pytest.mark.parametrize("held", ["127.0.0.1", "0.0.0.0", "::1", "::", ""])
@pytest.mark.parametrize("reuses", [False, True], ids=["", "port reused"])
def test_a_port_that_is_taken_at_any_address_is_taken_for_every_address(held: str, reuses: bool) -> None:
    family = socket.AF_INET if "." in held else socket.AF_INET6
    other = socket.create_server((held, 0), family=family, reuse_port=reuses, dualstack_ipv6=not held)
    with other, pytest.raises(OSError, match="in use"):
        listen("", other.getsockname()[1])


@needs_both
@pytest.mark.parametrize("host", ["", "127.0.0.1", "::1"])
def test_a_second_server_is_refused_beside_one_at_every_address(host: str) -> None:
    with listen("", 0) as sock, pytest.raises(OSError, match="in use"):
        listen(host, sock.getsockname()[1])


@needs_both
def test_an_ipv4_client_is_known_by_its_ipv4_address_to_the_log_and_to_the_model() -> None:
    heads: list[bytes] = []

    def script(peer: Peer) -> None:
        for _ in range(2):
            heads.append(peer.read_until(b"\r\n\r\n"))
            peer.read(length_of(heads[-1]))
            peer.send(OK)

    with World(script) as world:
        server = Server(world.server.settings, world.loop, "", 0)
        server.start()
        with Peer(socket.create_connection(("127.0.0.1", server.address[1]), DEADLINE)) as client:
            for _ in range(2):
                client.send(chat())
                client.read_message()
            client.send(get("/nope", extra=b"X-Forwarded-For: ::ffff:9.9.9.9\r\n"))
            client.read_message()
            client.send(get("/nope", extra=b"X-Real-IP: ::ffff:8.8.8.8\r\n"))
            client.read_message()
        server.begin_stop()
        assert server.wait_idle(DEADLINE)
        server.close()
        lines = world.log.splitlines()
    assert [b"X-Forwarded-For: 127.0.0.1\r\n" in head for head in heads] == [True, True]
    assert [line.split()[2] for line in lines] == ["127.0.0.1", "127.0.0.1", "9.9.9.9", "8.8.8.8"]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("1.2.3.4", "1.2.3.4"),
        ("::1", "::1"),
        ("::ffff:0:102:304", "::ffff:0:102:304"),  # no IPv4 address, though it begins like one
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("2001:db8::ffff:1.2.3.4", "2001:db8::ffff:1.2.3.4"),
        ("unknown", "unknown"),
    ],
)
def test_an_ipv4_address_in_an_ipv6_one_is_shown_as_such(address: str, shown: str) -> None:
    assert plain_ip(address) == shown


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80"), ("", ":80"), ("box", "box:80")]
)
def test_an_address_is_written_as_the_flag_has_it(host: str, shown: str) -> None:
    assert address_text(host, 80) == shown


@needs_both
@pytest.mark.parametrize(
    ("family", "host", "is_dual", "shown"),
    [
        (socket.AF_INET, "127.0.0.1", False, "https://127.0.0.1:{}"),
        (socket.AF_INET6, "::1", False, "https://[::1]:{}"),
        (socket.AF_INET6, "::ffff:127.0.0.1", True, "https://127.0.0.1:{}"),
        (socket.AF_INET, "0.0.0.0", False, "https://localhost:{} (every IPv4 address of this machine)"),
        (socket.AF_INET6, "::", False, "https://localhost:{} (every IPv6 address of this machine)"),
        (socket.AF_INET6, "::", True, "https://localhost:{} (every address of this machine)"),
    ],
)
def test_where_it_listens_is_an_address_to_open(
    family: socket.AddressFamily, host: str, is_dual: bool, shown: str
) -> None:
    with socket.create_server((host, 0), family=family, dualstack_ipv6=is_dual) as sock:
        assert where_text(sock, "https") == shown.format(sock.getsockname()[1])


def test_a_client_for_whose_socket_there_is_no_memory_is_closed() -> None:
    def fail(*_: object, **__: object) -> socket.socket:
        raise MemoryError

    with listen("127.0.0.1", 0) as sock, Peer(socket.create_connection(sock.getsockname(), DEADLINE)) as client:
        with pytest.raises(MemoryError):
            accept(sock, fail)
        assert client.read_to_end() == b""
