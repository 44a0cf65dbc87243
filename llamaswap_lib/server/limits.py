"""Bounds on what a client may do to us: how many connections, how long, how much. Plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a client may do to us: the defaults are for people, tests bring smaller ones."""

    connections: int = 10_000
    handshake_timeout: float = 10.0  # for all of TLS's
    idle_timeout: float = 120.0  # of a connection on which no request begins
    head_timeout: float = 30.0  # for a whole head
    body_timeout: float = 60.0  # without a byte of the body
    body_bytes_per_second: int = 1024  # on the average, once `body_timeout` has passed
    write_timeout: float = 60.0  # of a client that takes nothing
    linger_timeout: float = 2.0  # for a client to stop sending what we have refused
    telling_delay: float = 0.05  # of what waits without a load of its model: it is often over by then
    telling_interval: float = 1.0  # at least, between two things that a client is told while its model loads
    silence_timeout: float = 10.0  # of the stream in which it is told: a proxy in between must bear that
    scrape_timeout: float = 1.0  # of all servers of models, for their metrics
    memory_body_bytes: int = 1 << 20  # of one request; what is above goes to a temporary file
    max_body_bytes: int = 4 << 30
    max_json_bytes: int = 128 << 20  # has to be in memory to be understood
    spool_bytes: int = 256 << 20  # of all answers that clients have still to read while others wait; 0: none
    hops: int = 4  # llamaswaps that a request may have come through
