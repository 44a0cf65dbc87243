"""The bounds on clients: their defaults are what people rely on, so a change of one has to be meant."""

from __future__ import annotations

from llamaswap_lib.server.limits import Limits


def test_the_defaults_are_these() -> None:
    assert Limits() == Limits(
        connections=10_000,
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
