"""Loads, unloads and logs of models of peers: who is asked, and what the client is told."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fleet.boxes import NOT_FOUND, Box, running
from tests.web.certificates import trusted_upstream
from tests.web.upstreams import wait_until
from tests.web.world import CHUNKED_HEAD, DEADLINE, OK, Peer, World, get, sized

CONFIG = """
models: {m: {cmd: server, proxy: PROXY}, p: {cmd: server, proxy: PROXY}}
peers:
  one: {proxy: PROXY/one, models: [m, far, org/a b, alone, same], apiKey: sek}
  two: {proxy: PROXY/two, models: [m, far]}
  three: {proxy: PROXY/three, models: [far]}
  p: {proxy: PROXY/p, models: [q]}
selectors:
  sel: {strategy: failover, targets: [one/far, two/far]}
  same: {strategy: pin, targets: [two/far]}
"""
LLAMASWAPS = ("one", "two", "three")
VIA = b"Via: 1.1 llamaswap-%016x\r\n" % 7


@contextmanager
def front_of(box: Box, *, others: tuple[str, ...] = (), config: str = CONFIG) -> Iterator[World]:
    """`others` are the peers that are no llamaswaps."""
    for name in (*LLAMASWAPS, "p"):
        if name in others:
            box.answers[f"/{name}/health"] = OK
        else:
            box.answers.setdefault(f"/{name}/running", running())
    with World(box, config=config) as world:
        world.app.peers.change(world.app.config)
        peers = [name for name, peer in world.app.config.peers.items() if peer.proxy.startswith(world.upstream.proxy)]
        wait_until(lambda: all(world.app.peers.states()[name].is_up for name in peers))
        yield world


def ask(world: World, path: str, extra: bytes = b"") -> tuple[int, str]:
    """The status of a POST, and the message of an error or the text."""
    head, body = world.ask(get(path, method="POST", extra=extra))
    status = int(head.split()[1])
    return status, json.loads(body)["error"]["message"] if status >= 400 and body.startswith(b"{") else body.decode()


def heads(box: Box) -> list[str]:
    """Of the operations that it was asked for."""
    return [head for head in box.heads if "/models/" in head]


def asked(box: Box) -> list[str]:
    """Their paths, in the order of the alphabet."""
    return sorted(head.split()[1] for head in heads(box))


@pytest.mark.parametrize("order", ["load", "unload"])
def test_the_peer_is_asked_with_its_key_and_its_answer_is_passed_on(order: str) -> None:
    box = Box()
    box.answers[f"/one/api/models/{order}/org/a%20b"] = sized(b'{"msg": "its own"}', b"X-Its: own\r\n")
    with front_of(box) as world:
        path, key = f"/api/models/{order}/one%2Forg%2Fa%20b", b"x-api-key: mine\r\n"
        head, body = world.ask(get(path, method="POST", extra=key))
        assert (b"\r\nX-Its: own\r\n" in head, body) == (True, b'{"msg": "its own"}')
        assert (world.controller.loaded, world.controller.unloaded) == ([], [])
        [sent] = heads(box)
        assert (sent.count("Authorization: Bearer sek\r\n"), "mine" in sent) == (1, False)
        assert f"Via: {world.app.ourselves.via}\r\n" in sent


@pytest.mark.parametrize("name", ["one/alone", "alone"])
def test_a_plain_name_that_one_peer_has_means_that_one(name: str) -> None:
    box = Box()
    box.answers["/one/api/models/load/alone"] = OK
    with front_of(box) as world:
        assert ask(world, f"/api/models/load/{name}") == (200, "ok")


def test_a_name_of_ours_means_our_own_model_and_that_alone() -> None:
    box = Box(**{"one/running": running(m={"state": "ready"})})
    with front_of(box) as world:
        assert ask(world, "/api/models/load/m")[0] == ask(world, "/api/models/unload/m")[0] == 200
        assert (world.controller.loaded, world.controller.unloaded, asked(box)) == (["m"], [("m",)], [])


def far_at(box: Box, *names: str) -> None:
    """It runs there."""
    for name in names:
        box.answers[f"/{name}/running"] = running(far={"state": "ready"})
    for name in LLAMASWAPS:
        box.answers |= {f"/{name}/api/models/{order}/far": sized(name.encode()) for order in ("load", "unload")}


def test_a_load_of_a_name_that_several_have_is_done_where_a_request_would_go() -> None:
    box = Box()
    far_at(box, "two")
    with front_of(box) as world:
        assert ask(world, "/api/models/load/far") == (200, "two")
        assert asked(box) == ["/two/api/models/load/far"]


def test_an_unload_of_it_is_done_wherever_it_runs() -> None:
    box = Box()
    far_at(box, "two", "three")
    with front_of(box) as world:
        assert ask(world, "/api/models/unload/far") == (200, "OK")
        assert asked(box) == ["/three/api/models/unload/far", "/two/api/models/unload/far"]


@pytest.mark.slow
def test_where_it_runs_nowhere_all_that_are_up_are_asked_for_it_may_have_been_loaded_just_now() -> None:
    box = Box()
    far_at(box)
    box.answers["/three/running"] = NOT_FOUND
    with World(box, config=CONFIG) as world:
        box.answers |= {"/one/running": running(), "/two/running": running()}
        world.app.peers.change(world.app.config)
        wait_until(lambda: [world.app.peers.states()[name].is_up for name in LLAMASWAPS] == [True, True, False])
        assert ask(world, "/api/models/unload/far") == (200, "OK")
        assert asked(box) == ["/one/api/models/unload/far", "/two/api/models/unload/far"]


def test_a_box_that_has_none_of_that_name_or_is_not_there_is_followed_by_the_next() -> None:
    box = Box()
    far_at(box, "two")
    del box.answers["/two/api/models/load/far"]  # it has it from a peer of its own
    with front_of(box, config=CONFIG.replace("PROXY/one", "http://127.0.0.1:9")) as world:
        assert ask(world, "/api/models/load/far") == (200, "three")
        assert asked(box) == ["/three/api/models/load/far", "/two/api/models/load/far"]


@pytest.mark.parametrize("gone", LLAMASWAPS)
def test_a_box_that_takes_no_connection_is_followed_by_the_next_whichever_is_the_first(gone: str) -> None:
    box = Box()
    far_at(box)
    with World(box, config=CONFIG.replace(f"PROXY/{gone}", "http://127.0.0.1:9")) as world:  # nobody was looked at
        assert ask(world, "/api/models/load/far")[0] == 200
        assert len(asked(box)) == 1


def test_a_box_that_has_none_of_that_name_has_none_to_unload() -> None:
    box = Box()
    far_at(box)
    del box.answers["/two/api/models/unload/far"]
    with front_of(box) as world:
        assert ask(world, "/api/models/unload/far") == (200, "OK")
        assert len(asked(box)) == 3
        for name in LLAMASWAPS:
            box.answers.pop(f"/{name}/api/models/unload/far", None)
        assert ask(world, "/api/models/unload/far")[0] == 502


@pytest.mark.parametrize("refusal", [301, 500])
def test_where_one_of_several_refuses_the_others_are_asked_all_the_same(refusal: int) -> None:
    box = Box()
    far_at(box, *LLAMASWAPS)
    for name in LLAMASWAPS:
        box.answers[f"/{name}/api/models/unload/far"] = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % refusal
    box.answers["/two/api/models/unload/far"] = OK
    with front_of(box) as world:
        status, message = ask(world, "/api/models/unload/far")
        assert (status, message.partition("/")[2]) == (502, f"far is answered with {refusal}")
        assert len(asked(box)) == 3


@pytest.mark.parametrize("order", ["load", "unload"])
def test_what_peers_say_of_our_key_and_of_the_model_is_told(order: str) -> None:
    box = Box()
    box.answers[f"/one/api/models/{order}/far"] = b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n"
    with front_of(box) as world:
        refused = (502, "the peer one refuses our key: it answered 401; see its apiKey")
        assert ask(world, f"/api/models/{order}/one/far") == refused
        assert ask(world, f"/api/models/{order}/two/far")[0] == 404  # as that box says


@pytest.mark.parametrize("order", ["load", "unload"])
def test_another_server_is_not_asked(order: str) -> None:
    box = Box()
    with front_of(box, others=("one", "two", "three")) as world:
        why = "; only a llamaswap loads and unloads models, and tells their logs"
        said = f"model not found: 'one/far' is a model of the peer 'one'{why}"
        assert ask(world, f"/api/models/{order}/one/far") == (404, said)
        said = f"model not found: 'far' is a model of the peers 'one', 'two' and 'three'{why}"
        assert ask(world, f"/api/models/{order}/far") == (404, said)
        head, body = world.ask(get("/logs/stream/one/far"))
        assert (b" 400 " in head, b"'one/far' is a model of the peer 'one'; only" in body) == (True, True)
        assert asked(box) == []


def test_of_several_only_llamaswaps_are_asked() -> None:
    box = Box()
    far_at(box)
    with front_of(box, others=("one", "three")) as world:
        assert ask(world, "/api/models/load/far") == (200, "two")
        assert ask(world, "/api/models/unload/far") == (200, "two")


def test_a_plain_name_in_a_request_of_another_llamaswap_is_not_asked_for_elsewhere() -> None:
    box = Box()
    far_at(box, "one")
    box.answers["/one/api/models/load/alone"] = OK
    with front_of(box) as world:
        for path in ("load/far", "unload/far", "load/alone"):
            status, message = ask(world, f"/api/models/{path}", VIA)
            assert (status, "; another llamaswap has sent this request" in message) == (404, True)
        head, body = world.ask(get("/logs/stream/far", extra=VIA))
        assert (b" 400 " in head, b"another llamaswap has sent" in body) == (True, True)
        assert ask(world, "/api/models/load/one/far", VIA) == (200, "one")  # it is named: the way there has an end
        assert asked(box) == ["/one/api/models/load/far"]
        [sent] = heads(box)
        assert sent.index(f"Via: 1.1 llamaswap-{7:016x}\r\n") < sent.index(f"Via: {world.app.ourselves.via}\r\n")
        own = f"Via: {world.app.ourselves.via}\r\n".encode()
        assert ask(world, "/api/models/load/one/far", own)[0] == 508


def test_a_selector_is_told_its_models() -> None:
    with front_of(Box()) as world:
        said = "model not found: 'sel' is a selector; name one of its models: 'one/far' or 'two/far'"
        assert ask(world, "/api/models/unload/sel") == (404, said)
        assert "'same' is a selector" in ask(world, "/api/models/load/same")[1]  # whatever peers call their models
        assert b" 400 " in world.ask(get("/logs/stream/same"))[0]


def test_our_own_page_may_do_it_and_is_no_other_site_to_the_peer() -> None:
    box = Box()
    far_at(box)
    page = b"Origin: http://x:1\r\nReferer: http://x:1/ui/\r\nSec-Fetch-Site: same-origin\r\n"
    with front_of(box) as world:
        head, body = world.ask(get("/api/models/load/two/far", method="POST", extra=page))
        assert body == b"two"
        assert b"\r\nAccess-Control-Allow-Origin: http://x:1\r\n" in head
        [sent] = heads(box)
        assert not any(mark in sent.lower() for mark in ("origin", "referer", "sec-fetch"))
        other = b"Origin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\n"
        assert ask(world, "/api/models/load/two/far", other)[0] == 403
        assert len(asked(box)) == 1


def test_no_page_of_another_site_reads_the_log_of_a_peer_whatever_that_allows() -> None:
    box = Box()
    allowed = b"Access-Control-Allow-Origin: *\r\n"
    box.answers["/two/logs/stream/far"] = sized(b"said", allowed)
    box.answers["/two/logs/stream/m"] = CHUNKED_HEAD[:-2] + allowed + b"\r\n4\r\nsaid\r\n0\r\n\r\n"
    with front_of(box) as world:
        for name in ("far", "m"):
            head, _ = world.ask(get(f"/logs/stream/two/{name}", extra=b"Origin: http://evil.example\r\n"))
            assert (head.split()[1], b"access-control-allow" in head.lower()) == (b"200", False)


def test_a_client_that_ends_its_direction_gets_the_answer_of_an_unload() -> None:
    """As for a model of ours."""
    box = Box()
    far_at(box)
    with front_of(box) as world, world.connect() as client:
        client.send(get("/api/models/unload/two/far", method="POST"))
        client.end()
        assert client.read_message()[1] == b"two"
        assert client.read_to_end() == b""


class Talker:
    """A llamaswap whose looks are answered, and whose log goes on until its reader leaves."""

    def __init__(self) -> None:
        self.asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.go, self.has_ended = threading.Event(), threading.Event()

    def __call__(self, peer: Peer) -> None:
        head = peer.read_message()[0].decode("latin-1")
        if " /logs/" not in head:
            peer.send(running(q={"state": "ready"}))
            return
        self.asked.put(head)
        peer.send(CHUNKED_HEAD + b"5\r\nfirst\r\n")
        assert self.go.wait(DEADLINE)
        peer.send(b"4\r\nthen\r\n")
        peer.wait_for_hang_up()
        self.has_ended.set()


TALKING = "models: {p: {cmd: server, proxy: PROXY}}\npeers: {p: {proxy: PROXY, models: [q]}}\n"


@contextmanager
def front_of_talker(talker: Talker) -> Iterator[World]:
    with World(talker, config=TALKING) as world:
        world.app.peers.change(world.app.config)
        wait_until(lambda: world.app.peers.is_llamaswap("p"))
        try:
            yield world
        finally:
            talker.go.set()


@pytest.mark.parametrize("path", ["p/q", "q", "p%2Fq", "/p/q", "p/q/more"])
def test_a_log_comes_from_the_peer_as_it_is_said_and_ends_when_the_client_leaves(path: str) -> None:
    talker = Talker()
    with front_of_talker(talker) as world:
        with world.connect() as client:
            client.send(get(f"/logs/stream/{path}?no-history"))
            client.read_until(b"first\r\n")
            assert talker.asked.get(timeout=DEADLINE).startswith("GET /logs/stream/q?no-history HTTP/1.1\r\n")
            talker.go.set()
            client.read_until(b"then\r\n")
            assert not talker.has_ended.is_set()
        assert talker.has_ended.wait(DEADLINE)


def test_a_name_of_ours_that_is_the_name_of_a_peer_keeps_its_log() -> None:
    with front_of_talker(Talker()) as world, world.connect() as client:
        world.logs.model("p").write(b"of p")
        client.send(get("/logs/stream/p/x"))
        client.read_until(b"4\r\nof p\r\n")


def test_logs_of_peers_end_with_the_program_and_count_as_followed() -> None:
    talker = Talker()
    with front_of_talker(talker) as world, world.connect() as client:
        client.send(get("/logs/stream/p/q"))
        client.read_until(b"first\r\n")
        talker.go.set()
        client.read_until(b"then\r\n")
        assert len(world.server.table._followers) == 1
        world.app.peers.close_streams()
        assert client.read_to_end() == b""
        assert talker.has_ended.wait(DEADLINE)
        assert ask_log(world) == 503


def test_a_log_whose_peer_is_still_to_be_connected_ends_with_the_program_too() -> None:
    box, shakes_hands, go = Box(**{"logs/stream/q": OK}), threading.Event(), threading.Event()
    context = trusted_upstream()

    def hold(*_: object) -> None:
        shakes_hands.set()
        assert go.wait(DEADLINE)

    context.sni_callback = hold
    with World(box, config=TALKING, upstream_context=context) as world, world.connect() as client:
        client.send(get("/logs/stream/p/q"))
        assert shakes_hands.wait(DEADLINE)
        world.app.peers.close_streams()
        world.loop.ask(lambda: None)
        go.set()
        assert b" 503 " in client.read_message()[0]
    assert box.heads == []


def ask_log(world: World) -> int:
    return int(world.ask(get("/logs/stream/p/q"))[0].split()[1])


@pytest.mark.parametrize(("name", "said"), [("two/far", b"all of it"), ("one/far", b"refuses our key")])
def test_a_log_that_nobody_follows_any_more_leaves_a_connection_like_any_other(name: str, said: bytes) -> None:
    box = Box()
    box.answers["/two/logs/stream/far"] = sized(b"all of it")
    box.answers["/one/logs/stream/far"] = b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n"
    with front_of(box) as world, world.connect() as client:
        client.send(get(f"/logs/stream/{name}"))
        assert said in client.read_message()[1]
        client.send(get("/health"))
        assert client.read_message()[1] == b"OK"
        assert not world.server.table._followers
