"""Looks at what is a peer no more, or is one with another key: for requests that are still there."""

from __future__ import annotations

import errno
import threading

from tests.fleet.boxes import Box, running
from tests.fleet.test_watching import Route, Watched, peers_at, serving, watched
from tests.web.upstreams import wait_until


def looking() -> int:
    return sum(thread.name == "look-box1" for thread in threading.enumerate())


def goes_on(world: Watched) -> bool:
    """End the next pause of any of them."""
    world.pauses.end()
    return True


def test_a_peer_with_another_key_is_not_looked_at_twice_for_as_long_as_it_is_busy() -> None:
    with serving(Box(running=running())) as upstream, watched(peers_at(upstream.proxy)) as world:
        world.pauses.next()
        world.waited_for.add(upstream.proxy)
        world.fleet.change(peers_at(upstream.proxy, apiKey="new"))
        wait_until(lambda: goes_on(world) and looking() == 1)
        assert world.fleet.states()["box1"].is_up


def test_until_it_is_known_again_the_looks_before_find_out_that_it_is_gone() -> None:
    route = Route({})
    with serving(Box(running=running())) as upstream, watched(peers_at(upstream.proxy), route) as world:
        world.pauses.next()
        world.waited_for.add(upstream.proxy)
        route.error = errno.EHOSTUNREACH
        world.fleet.change(peers_at(upstream.proxy, apiKey="new"))
        wait_until(lambda: goes_on(world) and bool(world.gone))
        assert looking() >= 2
        assert set(world.gone) == {upstream.proxy}
