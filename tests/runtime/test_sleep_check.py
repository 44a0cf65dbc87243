"""What a server says of its sleep is believed more than its answer to the order."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

import pytest

from llamaswap_lib.runtime.health.check import HealthCheck
from llamaswap_lib.runtime.health.look import LookCancelled
from llamaswap_lib.runtime.health.server_calls import checked, post_order
from llamaswap_lib.runtime.wakeup import Wakeup
from tests.runtime.probing import LOADING, OK, PATIENCE, Server, answers, until_it_hangs_up

ABSENT = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def says(is_asleep: bool) -> bytes:
    body = b'{"is_sleeping":%s}' % (b"true" if is_asleep else b"false")
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)


AWAKE, ASLEEP = says(False), says(True)


def give(
    replies: Sequence[bytes] = (),
    prepare: Callable[[Wakeup], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    serve: Callable[[socket.socket, int], None] | None = None,
) -> str:
    """An order to wake, to a server that answers with these, or serves so; what came of it, and what it was asked."""
    with Server(serve or answers(*replies)) as server:
        proxy, ending = f"http://127.0.0.1:{server.port}", Wakeup()
        prepare(ending)
        order = post_order(HealthCheck.at(proxy, "/wake_up", method="POST"))
        try:
            check = HealthCheck.at(proxy, "/is_sleeping")
            failure = checked(order, check, is_asleep=False, clock=clock)(ending, PATIENCE)
        finally:
            ending.close()
        asked = "".join("P" if question.startswith(b"POST") else "G" for question in server.questions)
    return f"{asked} {failure}".strip()


@pytest.mark.parametrize(
    ("replies", "told"),
    [
        ([ASLEEP, OK, AWAKE], "GPG"),
        ([ASLEEP, OK, ASLEEP, ASLEEP, AWAKE], "GPGGG"),
        ([ABSENT, OK, ABSENT], "GPG"),
        ([ASLEEP, OK, ABSENT], "GPG"),
        ([OK, OK, OK], "GPG"),
        ([AWAKE], "G"),
        ([ASLEEP, LOADING], "GP POST /wake_up was answered with 503"),
    ],
    ids=["awake", "awake later", "it does not say", "not any more", "it says something else", "before", "refused"],
)
def test_it_is_awake_when_it_says_so_or_says_nothing(replies: list[bytes], told: str) -> None:
    assert give(replies) == told


def test_one_that_goes_on_saying_that_it_sleeps_does_not_wake() -> None:
    begun = time.monotonic()
    times = iter([begun, begun, begun + 1.0, begun + PATIENCE])
    told = give([ASLEEP, OK, ASLEEP], clock=lambda: next(times))
    assert told == "GPGG GET /is_sleeping still says that it sleeps"


def test_what_it_says_counts_though_it_keeps_the_connection_open() -> None:
    def keep_open(client: socket.socket, number: int) -> None:
        answers(ASLEEP, OK, ASLEEP, AWAKE)(client, number)
        until_it_hangs_up(client)

    assert give(serve=keep_open) == "GPGG"


def test_nothing_is_asked_once_it_is_cancelled() -> None:
    with pytest.raises(LookCancelled):
        give([ASLEEP, OK, ASLEEP], prepare=Wakeup.set)
