"""What is left to do of an exchange, for the http thread of its client: all of it, or what the pump has left over."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from llamaswap_lib.errors import ClientGone, HttpError
from llamaswap_lib.proxy.dispatch import Begun, Order, relay
from llamaswap_lib.server.exchange import Exchange


class Task(NamedTuple):
    """An exchange, when it began, and what answers it; `serve` raises HttpError and ClientGone."""

    exchange: Exchange
    started: float
    serve: Callable[[], None]


def ordered(exchange: Exchange, started: float, order: Order) -> Task:
    """All of it, but for finding out what it comes to."""

    def serve() -> None:
        with order.choice:
            relay(exchange, order)

    return Task(exchange, started, serve)


def resumed(begun: Begun, started: float, early: bytes | None) -> Task:
    """The exchange goes on where it stands; `early` is what has come of the answer, None for nothing."""
    return Task(begun.exchange, started, lambda: begun.go_on(early))


def remainder(begun: Begun, started: float, unsent: bytes) -> Task:
    """The client did not take at once what there is of its answer: `unsent` is left of that."""

    def serve() -> None:
        try:
            begun.relay.go_on_sending(unsent)
        finally:
            begun.leave()

    return Task(begun.exchange, started, serve)


def abandoned(begun: Begun, started: float) -> Task:
    """The client is gone: the exchange has ended with this call."""
    return _ended(begun, started, ClientGone())


def broken(begun: Begun, started: float) -> Task:
    """The same where the fault is our own."""
    return _ended(begun, started, HttpError("internal error"))


def _ended(begun: Begun, started: float, error: Exception) -> Task:
    begun.leave()

    def serve() -> None:
        raise error

    return Task(begun.exchange, started, serve)
