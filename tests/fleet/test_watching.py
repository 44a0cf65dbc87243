"""The threads that look at peers, at servers with real sockets."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from llamaswap_lib.config.load import load_text
from llamaswap_lib.config.schema import Config
from llamaswap_lib.errors import SHORTAGES
from llamaswap_lib.fleet.states import ModelThere
from llamaswap_lib.fleet.watching import Fleet
from llamaswap_lib.runtime.forward_proxies import NO_PROXIES, ForwardProxies
from llamaswap_lib.runtime.logs.server_logs import Logs
from tests.fleet.boxes import NOT_FOUND, Box, Pauses, running
from tests.web.upstreams import wait_until
from tests.web.world import OK, Upstream, World, get, sized


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A fleet whose pauses a test ends."""

    def __init__(self, config: Config, proxies: ForwardProxies = NO_PROXIES) -> None:
        self.logs = Logs(to_stdout="none", stdout=None)
        self.clock, self.pauses = Clock(), Pauses()
        self.renewals = 0
        self.gone: list[str] = []
        self.waited_for: set[str] = set()
        asked = (self.note_offers, self.gone.append, self.waited_for.__contains__)
        self.fleet = Fleet(proxies, self.logs.log, *asked, self.clock, self.pauses, "1.1 us")
        self.fleet.change(config)

    def note_offers(self) -> None:
        self.renewals += 1

    def look_again(self) -> float:
        """One more look; the seconds until the next."""
        self.pauses.end()
        return self.pauses.next()

    @property
    def log(self) -> str:
        return self.logs.proxy.history().decode()


def peers_at(*urls: str, **more: Any) -> Config:
    peers = {f"box{number}": {"proxy": url, "models": ["m"], **more} for number, url in enumerate(urls, 1)}
    return load_text(json.dumps({"peers": peers}))


@contextmanager
def watched(config: Config, proxies: ForwardProxies = NO_PROXIES) -> Iterator[Watched]:
    world = Watched(config, proxies)
    try:
        yield world
    finally:
        world.fleet.close()
        for _ in range(10):
            world.pauses.end()
        world.logs.close()


@contextmanager
def serving(script: Callable[..., None]) -> Iterator[Upstream]:
    upstream = Upstream(script)
    try:
        yield upstream
    finally:
        upstream.close()


def test_a_peer_is_looked_at_goes_out_and_comes_in_again() -> None:
    box = Box(running=running(m={"state": "ready", "in_flight": 2, "waiting": 1}))
    with serving(box) as upstream, watched(peers_at(upstream.proxy, apiKey="sek")) as world:
        assert world.pauses.next() == 1.0
        state = world.fleet.states()["box1"]
        assert (state.is_up, state.since, state.models) == (True, 100.0, {"m": ModelThere("ready", 2, 1)})
        assert "Via: 1.1 us\r\nAuthorization: Bearer sek\r\n" in box.heads[0]

        box.answers["/running"], world.clock.now = sized(b"{}"), 110.0
        assert world.look_again() == 1.0
        assert world.fleet.states()["box1"].is_up is True
        assert [world.look_again() for _ in range(4)] == [1.0, 2.0, 4.0, 8.0]
        state = world.fleet.states()["box1"]
        assert (state.is_up, state.since, state.models) == (False, 110.0, {})
        assert world.log.count("[WARN] peer box1 is out: /running is not answered as a llamaswap does\n") == 1

        box.answers["/running"], world.clock.now = running(), 173.0
        assert world.look_again() == 1.0
        assert world.fleet.states()["box1"].is_up is True
        assert world.log.count("[INFO] peer box1 is in again after 63 s\n") == 1


def test_a_peer_that_comes_back_may_be_a_server_of_another_kind() -> None:
    box = Box(running=NOT_FOUND, health=OK)
    with serving(box) as upstream, watched(peers_at(upstream.proxy)) as world:
        assert (world.pauses.next(), world.fleet.states()["box1"].kind) == (10.0, "other")
        del box.answers["/health"]
        assert [world.look_again() for _ in range(2)] == [1.0, 1.0]
        box.answers["/running"] = running()
        assert (world.look_again(), world.fleet.states()["box1"].kind) == (1.0, "llamaswap")


def test_a_refused_connection_of_a_request_takes_it_out_and_has_it_looked_at() -> None:
    with serving(Box(running=running())) as upstream, watched(peers_at(upstream.proxy)) as world:
        world.pauses.next()
        world.fleet.note_refused("box1", "cannot connect")
        world.fleet.note_refused("nobody", "cannot connect")
        state = world.fleet.states()["box1"]
        assert (state.is_up, state.last_error) == (False, "cannot connect")
        assert "[WARN] peer box1 is out: cannot connect\n" in world.log
        world.look_again()
        assert world.fleet.states()["box1"].is_up is True


def test_a_peer_is_looked_at_soon_where_something_was_done_there() -> None:
    with serving(Box(running=running())) as upstream, watched(peers_at(upstream.proxy)) as world:
        world.pauses.next()
        wake = world.fleet._watches["box1"].wake
        assert not wake.is_set()
        world.fleet.look_soon("nobody")
        world.fleet.look_soon("box1")
        assert wake.is_set()
        wake.clear()
        world.fleet._put(world.fleet._watches["box1"], lambda state: state._replace(is_up=False))
        world.fleet.look_soon("box1")
        assert not wake.is_set()


def test_requests_that_are_refused_by_a_peer_that_is_out_do_not_have_it_looked_at_more_often() -> None:
    with watched(peers_at("http://127.0.0.1:9")) as world:
        world.pauses.next()
        world.look_again()
        assert world.fleet.states()["box1"].is_up is False
        for _ in range(3):
            world.fleet.note_refused("box1", "cannot connect")
        assert not world.fleet._watches["box1"].wake.is_set()


def test_the_real_pause_ends_when_a_request_is_refused() -> None:
    logs, box = Logs(to_stdout="none", stdout=None), Box(running=NOT_FOUND, health=OK)  # the next look is in 10 s
    with serving(box) as upstream:
        fleet = Fleet(NO_PROXIES, logs.log, lambda: None, lambda _: None)
        fleet.change(peers_at(upstream.proxy))
        wait_until(lambda: fleet.states()["box1"].is_up is True)
        looks = len(box.heads)
        fleet.note_refused("box1", "cannot connect")
        wait_until(lambda: fleet.states()["box1"].is_up is True and len(box.heads) > looks)
        fleet.close()
        wait_until(lambda: not any(thread.name == "look-box1" for thread in threading.enumerate()))
    logs.close()


def test_a_slow_peer_keeps_no_other_from_being_looked_at() -> None:
    asked, go = threading.Event(), threading.Event()

    def slow(peer: Any) -> None:
        peer.read_message()
        asked.set()
        go.wait(60)

    with serving(slow) as hung, serving(Box(running=running())) as upstream:
        with watched(peers_at(hung.proxy, upstream.proxy)) as world:
            assert asked.wait(60)
            world.pauses.next()
            states = world.fleet.states()
            assert (states["box1"].is_up, states["box2"].is_up) == (None, True)
        go.set()


def test_a_reload_keeps_what_is_known_of_those_that_stay() -> None:
    with (
        serving(Box(running=running())) as one,
        serving(Box(running=running())) as two,
        watched(peers_at(one.proxy, one.proxy, one.proxy)) as world,
    ):
        for _ in range(3):
            world.pauses.next()
        world.fleet.change(peers_at(one.proxy, two.proxy))
        assert world.pauses.next() == 1.0  # the one that is another server now
        states = world.fleet.states()
        assert {name: state.is_up for name, state in states.items()} == {"box1": True, "box2": True}
        assert two.accepted == 1


def test_what_cannot_be_printed_does_not_get_into_the_log() -> None:
    with watched(peers_at("http://127.0.0.1:9")) as world:
        world.pauses.next()
        world.fleet.note_refused("box1", "x\x1b[31m\n")
        assert "\x1b" not in world.log


# -- GET /api/peers, and the metrics --

CONFIG = """
peers:
  box: {proxy: "PROXY/base", models: [m]}
  gone: {proxy: "http://me:secret@127.0.0.1:9/", models: [m2]}
"""


def peer_rows(world: World) -> dict[str, Any]:
    return {row["peer"]: row for row in json.loads(world.ask(get("/api/peers"))[1])["peers"]}


def test_the_route_tells_of_each_peer() -> None:
    box = Box()
    m = {"state": "ready", "in_flight": 2, "waiting": 1, "ttl": 60}
    box.answers["/base/running"] = running(m=m, a={"state": "starting"})
    with World(box, config=CONFIG) as world:
        assert [row["up"] for row in peer_rows(world).values()] == [None, None]
        assert b"llamaswap_peer_up" not in world.ask(get("/metrics"))[1]
        world.app.peers.change(world.app.config)
        wait_until(lambda: [row["up"] for row in peer_rows(world).values()] == [True, False])
        rows = peer_rows(world)
        since, address = rows["box"].pop("since"), world.upstream.proxy
        assert since.endswith("Z")
        assert rows["box"] == {
            "peer": "box",
            "address": f"{address}/base",
            "up": True,
            "last_error": None,
            "kind": "llamaswap",
            "models": [
                {"model": "a", "state": "starting", "in_flight": 0, "waiting": 0, "ttl": 0},
                {"model": "m", "state": "ready", "in_flight": 2, "waiting": 1, "ttl": 60},
            ],
            "in_flight": 2,
            "waiting": 1,
        }
        assert rows["gone"]["address"] == "http://me:[hidden]@127.0.0.1:9/"
        assert (rows["gone"]["kind"], rows["gone"]["last_error"]) == (None, "connection refused")
        metrics = world.ask(get("/metrics"))[1].decode()
        assert 'llamaswap_peer_up{peer="box"} 1\n' in metrics
        assert 'llamaswap_peer_up{peer="gone"} 0\n' in metrics


def test_a_request_whose_connection_is_refused_takes_the_peer_out_at_once() -> None:
    box = Box()
    box.answers["/base/running"] = running()
    config = CONFIG.replace("PROXY/base", "http://127.0.0.1:9")
    with World(box, config=config) as world:
        world.app.peers.note_refused("box", "before anybody is looked at")
        world.app.peers.change(load_text(CONFIG.replace("PROXY", world.upstream.proxy)))
        wait_until(lambda: world.app.peers.states()["box"].is_up is True)
        before = len(box.heads)
        body = b'{"model":"box/m"}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        answer = world.ask(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        assert answer[0].startswith(b"HTTP/1.1 502 ")
        world.wait_for_log("peer box is out: cannot connect to box/m at http://127.0.0.1:9: Connection refused")
        wait_until(lambda: len(box.heads) > before)


@pytest.mark.parametrize("host", ["evil.example"])
def test_pages_of_other_names_do_not_learn_of_the_peers(host: str) -> None:
    with World(Box(), config=CONFIG) as world:
        assert world.ask(get("/api/peers").replace(b"Host: x", f"Host: {host}".encode()))[0].startswith(
            b"HTTP/1.1 403 "
        )


# -- models: auto --


def listed(*entries: dict[str, Any]) -> bytes:
    return sized(json.dumps({"object": "list", "data": list(entries)}).encode())


def test_what_a_peer_says_that_it_has_is_asked_again_and_outlives_it() -> None:
    box = Box(running=running())
    box.answers["/v1/models"] = listed({"id": "a"})
    config = load_text(
        json.dumps({"peers": {"box1": {"proxy": "PROXY", "models": "auto"}}}).replace("PROXY", "http://h")
    )
    with serving(box) as upstream:
        peer = replace(config.peers["box1"], proxy=upstream.proxy)
        with watched(replace(config, peers={"box1": peer})) as world:

            def names() -> list[str]:
                return [offer.name for offer in world.fleet.states()["box1"].offers or ()]

            world.pauses.next()
            assert (names(), world.renewals) == (["a"], 1)
            box.answers["/v1/models"] = listed({"id": "a"}, {"id": "b"})
            world.clock.now = 129.0
            world.look_again()
            assert (names(), world.renewals) == (["a"], 1), "30 seconds are not over"
            world.clock.now = 130.0
            world.look_again()
            assert (names(), world.renewals) == (["a", "b"], 2)
            box.answers["/v1/models"], world.clock.now = NOT_FOUND, 160.0
            world.look_again()
            assert (names(), world.renewals) == (["a", "b"], 2)
            box.answers["/running"] = NOT_FOUND
            for _ in range(2):
                world.look_again()
            assert (world.fleet.states()["box1"].is_up, names()) == (False, ["a", "b"])
            box.answers.update({"/running": running(), "/v1/models": listed({"id": "c"})})
            world.look_again()
            assert (names(), world.renewals) == (["c"], 3), "it is asked when it comes back"


class Route(ForwardProxies):
    """The way to all servers, which a test takes away."""

    error = 0

    def way_to(self, scheme: str, host: str, port: int) -> None:
        if self.error:
            raise OSError(self.error, os.strerror(self.error))


@pytest.mark.parametrize(
    ("error", "times"),
    [
        (errno.EHOSTUNREACH, (0, 1, 2)),  # also those who have come since it is out are told
        (errno.ETIMEDOUT, (0, 1, 2)),
        (errno.ECONNREFUSED, (0, 0, 0)),  # it may close its door, and go on with what is inside
        (errno.ENETUNREACH, (0, 0, 0)),  # it is our own network
    ],
)
def test_a_llamaswap_is_gone_at_each_look_that_nothing_of_its_machine_answers(
    error: int, times: tuple[int, ...]
) -> None:
    route = Route({})
    with serving(Box(running=running())) as upstream, watched(peers_at(upstream.proxy), route) as world:
        world.pauses.next()
        route.error = error
        for count in times:
            world.look_again()
            assert world.gone == [upstream.proxy] * count
        assert world.fleet.states()["box1"].is_up is False


@pytest.mark.parametrize("error", SHORTAGES)
def test_that_we_are_short_of_descriptors_or_memory_says_nothing_of_a_peer(error: int) -> None:
    route = Route({})
    with serving(Box(running=running())) as upstream, watched(peers_at(upstream.proxy), route) as world:
        world.pauses.next()
        before, route.error = world.fleet.states()["box1"], error
        assert [world.look_again() for _ in range(3)] == [1.0] * 3
        assert (world.fleet.states()["box1"], world.gone) == (before, [])
        assert "[ERROR]" not in world.log


def test_it_is_gone_too_where_a_request_was_the_first_to_find_it_out() -> None:
    route = Route({})
    with serving(Box(running=running())) as upstream, watched(peers_at(upstream.proxy), route) as world:
        world.pauses.next()
        route.error = errno.EHOSTUNREACH
        world.fleet.note_refused("box1", "no route to host")
        world.look_again()
        assert world.gone == [upstream.proxy]


def test_what_is_a_peer_no_more_is_looked_at_while_requests_are_there() -> None:
    def is_looked_at() -> bool:
        return any(thread.name == "look-box1" for thread in threading.enumerate())

    route = Route({})
    with serving(Box(running=running())) as upstream, watched(peers_at(upstream.proxy), route) as world:
        world.pauses.next()
        world.waited_for.add(upstream.proxy)
        world.fleet.change(peers_at())
        route.error = errno.EHOSTUNREACH
        assert [world.look_again() for _ in range(2)] == [1.0, 1.0]
        assert (world.gone, world.fleet.states()) == ([upstream.proxy], {})
        assert "is out" not in world.log, "nobody is to do anything about it"
        world.waited_for.clear()
        world.pauses.end()
        wait_until(lambda: not is_looked_at())


def test_what_answers_is_not_gone_whatever_it_says() -> None:
    box = Box(running=running())
    with serving(box) as upstream, watched(peers_at(upstream.proxy)) as world:
        world.pauses.next()
        box.answers["/running"] = NOT_FOUND
        for _ in range(3):
            world.look_again()
        assert (world.fleet.states()["box1"].is_up, world.gone) == (False, [])
