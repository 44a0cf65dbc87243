"""The bounds on clients: their defaults are what people rely on, so a change of one has to be meant."""

from __future__ import annotations

import socket

import pytest

from llamaswap_lib.net.sockets import probe_when_silent
from llamaswap_lib.server.limits import Limits


def test_the_defaults_are_these() -> None:
    assert Limits() == Limits(
        connections=1000,
        idle_timeout=120.0,
        head_timeout=30.0,
        body_timeout=60.0,
        body_bytes_per_second=1024,
        write_timeout=60.0,
        linger_timeout=2.0,
        telling_interval=1.0,
        silence_timeout=10.0,
        memory_body_bytes=1_048_576,
        max_body_bytes=4_294_967_296,
        max_json_bytes=134_217_728,
        hops=4,
    )


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="other names for it here")
@pytest.mark.parametrize(("seconds", "asked"), [(0.2, 1), (1.4, 1), (5, 5), (30.0, 30), (1e9, 32_767)])
def test_keepalive_is_in_whole_seconds_from_1_to_what_the_kernel_takes(seconds: float, asked: int) -> None:
    with socket.socket() as sock:
        probe_when_silent(sock, seconds)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == asked
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == asked
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
