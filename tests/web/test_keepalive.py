"""How often the kernel asks whether the other side of a silent connection is still there."""

from __future__ import annotations

import socket

import pytest

from llamaswap_lib.net.stream import probe_when_silent
from tests.web.upstreams import warm
from tests.web.world import OK, World, answers


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="other names for it here")
@pytest.mark.parametrize(("seconds", "asked"), [(0.2, 1), (1.4, 1), (5, 5), (30.0, 30), (1e9, 32_767)])
def test_keepalive_is_in_whole_seconds_from_1_to_what_the_kernel_takes(seconds: float, asked: int) -> None:
    with socket.socket() as sock:
        probe_when_silent(sock, seconds)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == asked
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == asked
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="other names for it here")
def test_a_client_that_vanishes_without_a_word_is_found() -> None:
    with World(answers(OK)) as world, warm(world):
        [connection] = world.loop.ask(world.server.table.all)
        options = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT]
        assert connection.stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert [connection.stream.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [30, 30, 3]
