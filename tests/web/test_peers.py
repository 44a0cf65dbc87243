"""Models of peers: how they are named, what their peer gets to see, and what it never sees."""

from __future__ import annotations

import base64
import json
import socket
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.config.load import load_text
from llamaswap_lib.proxy.peer_headers import query_for, request_fields
from llamaswap_lib.routing.destinations import destinations_of
from llamaswap_lib.routing.remote_model import Remote
from llamaswap_lib.wire.parser import parse_request_head
from tests.web.upstreams import wait_until
from tests.web.world import (
    CHUNKED_HEAD,
    DEADLINE,
    OK,
    Peer,
    Running,
    World,
    answers,
    chat,
    get,
    sized,
)

OUR_KEY, OTHER_KEY = "our-key", "kéy.2"

CONFIG = """
models:
  m: {cmd: "server ${PORT}", proxy: "http://127.0.0.1:1"}
  own: {cmd: "server ${PORT}", proxy: "http://127.0.0.1:1"}
peers:
  p:
    proxy: PROXY/base?k=1
    models: [org/m1, own, shared]
    filters: {stripParams: seed, setParams: {a: 1}, setParamsByID: {"org/m1": {b: 1}, p/org/m1: {c: 1}}}
  keyed: {proxy: PROXY, apiKey: " sek ", models: [m2, shared]}
selectors:
  sel: {strategy: pin, targets: [keyed/m2]}
profiles:
  prof: {pins: {pinned: keyed/m2, to-sel: sel}}
"""
KEYS = f"apiKeys: [{OUR_KEY}, {OTHER_KEY}]\n"


def remote(name: str, config: str = KEYS + CONFIG) -> Remote:
    model = destinations_of(load_text(config.replace("PROXY", "http://h")))[name].model
    assert isinstance(model, Remote)
    return model


def fields(headers: str, name: str = "org/m1", body_bytes: int | None = None) -> list[str]:
    """The header lines for the peer of a request with these."""
    head = parse_request_head(f"POST / HTTP/1.1\r\nHost: us\r\n{headers}\r\n".encode())
    return request_fields(head, remote(name), body_bytes).split("\r\n")[:-1]


class Seen:
    """An upstream's script that remembers the requests it got."""

    def __init__(self, answer: bytes = OK) -> None:
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self._answer = answer

    def __call__(self, peer: Peer) -> None:
        while not peer.has_hung_up():
            head, body = peer.read_message()
            self.heads.append(head.decode("latin-1"))
            self.bodies.append(body)
            peer.send(self._answer)

    @property
    def lines(self) -> list[str]:
        return [head.partition("\r\n")[0] for head in self.heads]


# -- names --


def test_names_of_peers_lead_to_them_where_nothing_of_ours_has_the_name() -> None:
    found = destinations_of(load_text(CONFIG.replace("PROXY", "http://h")))
    led = {name: place.model.id for name, place in found.items()}
    assert led == {
        "m": "m",
        "own": "own",
        "p/org/m1": "p/org/m1",
        "org/m1": "p/org/m1",
        "p/own": "p/own",
        "p/shared": "p/shared",
        "keyed/shared": "keyed/shared",
        "keyed/m2": "keyed/m2",
        "m2": "keyed/m2",
    }


@pytest.mark.parametrize(
    ("asked", "body"),
    [
        ("org/m1", {"model": "org/m1", "x": 1.5, "a": 1, "b": 1}),
        ("p/org/m1", {"model": "org/m1", "x": 1.5, "a": 1, "c": 1}),
        ("p/own", {"model": "own", "x": 1.5, "a": 1}),
        ("m2", {"model": "m2", "seed": 7, "x": 1.5}),
        ("keyed/m2", {"model": "m2", "seed": 7, "x": 1.5}),
        ("sel", {"model": "m2", "seed": 7, "x": 1.5}),
        ("pinned", {"model": "m2", "seed": 7, "x": 1.5}),
        ("to-sel", {"model": "m2", "seed": 7, "x": 1.5}),
    ],
)
def test_a_peer_is_asked_for_its_own_name_with_its_filters(asked: str, body: dict[str, Any]) -> None:
    seen = Seen()
    with World(seen, config=CONFIG) as world:
        world.app.profiles.activate("prof")
        assert world.ask(chat(json.dumps({"model": asked, "seed": 7, "x": 1.5}).encode()))[1] == b"ok"
        assert world.controller.leased == []
    assert json.loads(seen.bodies[0]) == body


def test_urls_are_joined_and_queries_renamed() -> None:
    seen = Seen()
    with World(seen, config=CONFIG) as world:
        world.ask(chat(b'{"model":"org/m1"}'))
        world.ask(get("/props?x=%2F&model=p%2Forg/m1"))
        world.ask(get("/upstream/p/org/m1/v1/x%2Fy?z=1"))
        world.ask(get("/upstream/org%2Fm1/"))
        world.ask(get("/upstream/keyed/m2/app.js"))
        assert world.ask(get("/upstream/keyed/m2?q"))[0].startswith(b"HTTP/1.1 301 ")
        assert b"model not found" in world.ask(get("/upstream/sel/x"))[1]
        world.app.profiles.activate("prof")
        world.ask(get("/upstream/pinned/x"))
    assert seen.lines == [
        "POST /base/v1/chat/completions?k=1 HTTP/1.1",
        "GET /base/props?k=1&x=%2F&model=org%2Fm1 HTTP/1.1",
        "GET /base/v1/x%2Fy?k=1&z=1 HTTP/1.1",
        "GET /base/?k=1 HTTP/1.1",
        "GET /app.js HTTP/1.1",
        "GET /x HTTP/1.1",
    ]


def test_below_upstream_the_body_goes_on_as_it_came() -> None:
    seen = Seen()
    body = b'{"model":"p/org/m1", "seed": 1}'
    with World(seen, config=CONFIG) as world:
        head = b"POST /upstream/p/org/m1/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        world.ask(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    assert seen.bodies == [body]


def test_a_form_names_the_peers_model() -> None:
    seen = Seen()
    form = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nkeyed/m2\r\n--B--\r\n'
    with World(seen, config=CONFIG) as world:
        head = b"POST /v1/images/edits HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
        world.ask(head + b"Content-Length: %d\r\n\r\n%b" % (len(form), form))
    assert seen.bodies == [form.replace(b"keyed/m2", b"m2")]


# -- what it sees --


def test_a_peer_gets_its_own_host_and_nothing_about_the_way_to_it() -> None:
    seen = Seen()
    about = (
        b"X-Forwarded-For: 9.9.9.9\r\nx-forwarded-proto: https\r\nX-Forwarded-Whatever: 1\r\nForwarded: for=9.9.9.9\r\n"
    )
    with World(seen, config=CONFIG) as world:
        world.ask(
            chat(b'{"model":"m2"}', extra=about + b"Cookie: c=1\r\nAuthorization: Bearer mine\r\nX-Api-Key: it\r\n")
        )
        authority = world.upstream.proxy.removeprefix("http://")
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\nCookie: c=1\r\n"
    )
    head += "Content-Length: 14\r\nAuthorization: Bearer sek\r\nx-api-key: sek\r\n"
    head += f"Via: {world.app.ourselves.via}\r\n\r\n"
    assert seen.heads == [head]


# -- round in a circle --

OTHERS = [f"llamaswap-{number:016x}" for number in range(6)]


def test_a_peer_is_told_that_the_request_came_by_us_behind_those_by_whom_it_came_before() -> None:
    seen = Seen()
    with World(seen, config=CONFIG) as world:
        world.ask(chat(b'{"model":"m2"}', extra=b"Via: 1.0 fred, 1.1 example.com (Apache/1.1)\r\nvia: 1.1 x\r\n"))
        ours = world.app.ourselves.via
    vias = [line for line in seen.heads[0].split("\r\n") if line.lower().startswith("via:")]
    assert vias == ["Via: 1.0 fred, 1.1 example.com (Apache/1.1)", "via: 1.1 x", f"Via: {ours}"]


def test_a_model_of_our_own_gets_the_headers_of_the_client_and_no_more() -> None:
    seen = Seen()
    with World(seen) as world:
        world.ask(chat(b'{"model":"m"}', extra=b"Via: 1.0 fred\r\n"))
        world.ask(chat(b'{"model":"m"}'))
    assert [head.count("Via: ") for head in seen.heads] == [1, 0]


@pytest.mark.parametrize(
    "request_", [chat(b'{"model":"m2"}'), get("/health"), get("/no/such/path"), get("/upstream/m/x")]
)
def test_a_request_that_has_been_here_is_508_with_the_way_that_it_took(request_: bytes) -> None:
    seen = Seen()
    with World(seen, config=CONFIG) as world:
        name = world.app.ourselves.name
        via = f"Via: 1.1 {name}, 1.1 {OTHERS[1]}\r\nVIA: HTTP/1.1 proxy (old)\r\nVia: 1.1 {OTHERS[2]}\r\n".encode()
        head, body = world.ask(request_.replace(b"\r\n\r\n", b"\r\n" + via + b"\r\n", 1))
        assert head.startswith(b"HTTP/1.1 508 ")
        assert b"\r\nx-should-retry: false\r\n" in head
        error = json.loads(body)["error"]
        assert error["code"] == "loop_detected"
        assert error["message"].endswith(f": {name} -> {OTHERS[1]} -> {OTHERS[2]} -> {name}")
        line = request_.partition(b" HTTP")[0].decode()
        assert world.log.count(f'[WARN] "{line}": 508, {error["message"]}\n') == 1
        assert world.controller.leased == []
    assert seen.heads == []


@pytest.mark.parametrize(("hops", "status"), [(3, 200), (4, 200), (5, 508), (6, 508)])
def test_a_request_may_come_through_as_many_llamaswaps_as_the_limit_says(hops: int, status: int) -> None:
    seen = Seen()
    with World(seen, config=CONFIG) as world:
        via = "".join(f"Via: 1.1 {name}\r\n" for name in OTHERS[:hops]).encode()
        head, body = world.ask(chat(b'{"model":"m2"}', extra=via))
        assert int(head.split()[1]) == status
        if status == 508:
            way = [*OTHERS[:hops], world.app.ourselves.name]
            assert json.loads(body)["error"]["message"] == (
                f"this request has come through more than 4 llamaswaps (limits.hops): {' -> '.join(way)}"
            )


@pytest.mark.parametrize("via", ["1.1 llamaswap-1", "1.1 my-llamaswap-%s", "1.1 llamaswap-%sf", "1.1 LLAMASWAP", ""])
def test_what_only_looks_like_a_name_of_ours_is_none(via: str) -> None:
    with World(Seen(), config=CONFIG) as world:
        own = world.app.ourselves.name.removeprefix("llamaswap-")
        line = f"Via: {via.replace('%s', own)}\r\n".encode()
        assert world.ask(chat(b'{"model":"m2"}', extra=line * 9))[0].startswith(b"HTTP/1.1 200 ")


def test_without_a_key_for_it_the_clients_own_credentials_go_on() -> None:
    assert fields("Authorization: Bearer mine\r\nx-api-key: mine2\r\nTE: x\r\nX-Real: 1\r\n") == [
        "Authorization: Bearer mine",
        "x-api-key: mine2",
        "X-Real: 1",
    ]


def test_the_framing_is_that_of_the_body_sent() -> None:
    assert fields("Transfer-Encoding: chunked\r\n", body_bytes=7) == ["Content-Length: 7"]
    assert fields("Content-Length: 5\r\nX: 1\r\n", body_bytes=9) == ["X: 1", "Content-Length: 9"]
    assert fields("Content-Length: 5\r\nX: 1\r\n", body_bytes=5) == ["Content-Length: 5", "X: 1"]


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("key", [OUR_KEY, OTHER_KEY])
@pytest.mark.parametrize(
    "header",
    [
        "Authorization: Bearer {key}",
        "authorization:bearer   {key}",
        "Authorization: {key}",
        "Authorization: Token token={key}",
        "x-api-key: {key}",
        "X-API-Key:{key}",
        "api-key: {key}",
        "Cookie: a=b; token={key}; c=d",
        "Referer: https://x/?key={key}&a=b",
        "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{key}",
        "Authorization: Basic {basic}",
        "Authorization: bAsIc {basic}",
        "Authorization: Basic {basic_as_user}",
        "Authorization: Basic {basic_cut}",
        "Authorization: Basic {basic_quoted}",
        "Cookie: a=b; token={quoted}; c=d",
        "Referer: https://x/?key%3D{quoted}&a=b",
        "Authorization: Bearer {quoted}",
    ],
)
def test_a_key_of_ours_is_never_sent_to_a_peer(header: str, key: str) -> None:
    quoted = "".join(f"%{byte:02X}" for byte in key.encode())
    line = header.format(
        key=key,
        basic=basic(f"me:{key}"),
        basic_as_user=basic(f"{key}:"),
        basic_cut=basic(f"me:{key}").rstrip("="),
        basic_quoted=basic(f"me:{quoted}"),
        quoted=quoted,
    )
    assert fields(f"X-Before: 1\r\n{line}\r\nX-After: 2\r\n") == ["X-Before: 1", "X-After: 2"]


@pytest.mark.parametrize(
    ("key", "header"),
    [("ab+cd", "Cookie: key=ab%2Bcd"), ("ab+cd", "Cookie: key=ab%2bcd"), ("sk-1", "Referer: http://x/?k=sk%2D1")],
)
def test_a_key_of_which_one_letter_is_percent_encoded_is_found(key: str, header: str) -> None:
    config = f"apiKeys: [{key}]\n" + CONFIG
    head = parse_request_head(f"GET / HTTP/1.1\r\nHost: us\r\n{header}\r\n\r\n".encode())
    assert request_fields(head, remote("org/m1", config), None) == ""


@pytest.mark.parametrize("protocol", ["our-key", "x/our-key", "our%2Dkey"])
def test_an_upgrade_to_a_key_of_ours_is_refused(protocol: str) -> None:
    seen = Seen()
    extra = f"Authorization: Bearer our-key\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n".encode()
    with World(seen, config=KEYS + CONFIG) as world:
        head, body = world.ask(chat(b'{"model":"org/m1"}', extra=extra))
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"the Upgrade header holds an API key" in body
    assert seen.heads == []


def test_another_upgrade_is_asked_for_once_more() -> None:
    head = parse_request_head(b"GET / HTTP/1.1\r\nHost: us\r\nConnection: upgrade\r\nUpgrade: our-keys\r\n\r\n")
    config = "apiKeys: [our-key, Upgrade, Connection]\n" + CONFIG
    assert request_fields(head, remote("org/m1", config), None) == "Connection: Upgrade\r\nUpgrade: our-keys\r\n"


def test_what_only_looks_like_a_key_of_ours_is_sent() -> None:
    lines = [
        f"Authorization: Bearer {OUR_KEY}2",
        f"x-api-key: my{OUR_KEY}",
        f"Authorization: Basic {basic('me:other')}",
        "Authorization: Basic %%%",
        "Authorization: Basic A",
        "Authorization: Basic",
        "Accept: text/our-key",
    ]
    assert fields("".join(f"{line}\r\n" for line in lines)) == lines


def test_credentials_that_cannot_be_decoded_are_passed_on_to_a_peer() -> None:
    seen = Seen()
    with World(seen, config=KEYS + CONFIG) as world:
        extra = f"x-api-key: {OUR_KEY}\r\nAuthorization: Basic A\r\n".encode()
        head, _ = world.ask(chat(b'{"model":"org/m1"}', extra=extra))
    assert head.startswith(b"HTTP/1.1 200 ")
    assert "\r\nAuthorization: Basic A\r\n" in seen.heads[0]
    assert OUR_KEY not in seen.heads[0]


def test_a_peers_own_key_is_sent_though_it_is_ours_too() -> None:
    config = KEYS + CONFIG.replace('" sek "', OUR_KEY)
    head = parse_request_head(b"GET / HTTP/1.1\r\nHost: us\r\nAuthorization: Bearer x\r\n\r\n")
    lines = request_fields(head, remote("m2", config), None)
    assert lines == f"Authorization: Bearer {OUR_KEY}\r\nx-api-key: {OUR_KEY}\r\n"


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("", ""),
        ("?", "?"),
        ("?a=%2F&b", "?a=%2F&b"),
        ("?key=our-key", ""),
        ("?a=1&key=our%2Dkey&&b=2", "?a=1&&b=2"),
        ("?our-key", ""),
        ("?a=k%C3%A9y.2&b", "?b"),
        ("?a=our-keys", "?a=our-keys"),
        ("?a=our%2Dkeys", "?a=our%2Dkeys"),
    ],
)
def test_a_key_of_ours_is_taken_out_of_the_query(query: str, sent: str) -> None:
    assert query_for(remote("org/m1"), query) == sent
    assert query_for(remote("org/m1", CONFIG), query) == query


@given(st.text(st.sampled_from("our-key :=;,.xX\t"), max_size=30))
def test_no_header_whatever_brings_a_key_by_itself(value: str) -> None:
    sent = fields(f"X-Any: {value}\r\n")
    words = "".join(char if char.isalnum() or char == "-" else " " for char in value).split()
    assert not sent or OUR_KEY not in words


def test_keys_are_checked_and_then_left_here() -> None:
    seen = Seen()
    with World(seen, config=KEYS + CONFIG) as world:
        assert world.ask(chat(b'{"model":"org/m1"}'))[0].startswith(b"HTTP/1.1 401 ")
        world.ask(chat(b'{"model":"org/m1"}', extra=b"Authorization: Bearer our-key\r\nX-Api-Key: theirs\r\n"))
    assert len(seen.heads) == 1
    assert "our-key" not in seen.heads[0]
    assert "\r\nX-Api-Key: theirs\r\n" in seen.heads[0]


# -- what comes back --


def test_streams_arrive_chunk_by_chunk_and_the_connection_is_used_again() -> None:
    go_on, is_seen = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD + b"3\r\none\r\n")
        assert go_on.wait(DEADLINE)
        peer.send(b"3\r\ntwo\r\n0\r\n\r\n")
        peer.read_message()
        peer.send(OK)
        assert is_seen.wait(DEADLINE)

    with World(script, config=CONFIG) as world, world.connect() as client:
        client.send(chat(b'{"model":"m2"}'))
        client.read_until(b"\r\n\r\n")
        assert client.read(8) == b"3\r\none\r\n"
        go_on.set()
        assert client.read(13) == b"3\r\ntwo\r\n0\r\n\r\n"
        client.send(chat(b'{"model":"keyed/shared"}'))
        assert client.read_message()[1] == b"ok"
        assert world.upstream.accepted == 1
        world.app.pool.keep_only(())
        wait_until(lambda: world.app.pool.idle_count(f"keyed at {world.upstream.proxy}") == 1)
        is_seen.set()


def test_errors_of_a_peer_pass_through_untouched() -> None:
    answer = b"HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno"
    with World(answers(answer), config=CONFIG) as world:
        assert world.ask(chat(b'{"model":"m2"}')) == (answer[:-2], b"no")


def test_client_that_leaves_ends_the_peers_work() -> None:
    arrived, hung_up = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        arrived.set()
        peer.wait_for_hang_up()
        hung_up.set()

    with World(script, config=CONFIG) as world:
        with world.connect() as client:
            client.send(chat(b'{"model":"org/m1"}'))
            assert arrived.wait(DEADLINE)
        assert hung_up.wait(DEADLINE)
        world.wait_for_log('"POST /v1/chat/completions HTTP/1.1"')


def test_peer_that_is_not_there_is_a_bad_gateway_that_names_it() -> None:
    with socket.socket() as deaf:  # bound, so that nobody else gets the port, and not listening
        deaf.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with World(config=CONFIG.replace("PROXY", proxy.replace("//", "//me:hush@"))) as world:
            head, body = world.ask(chat(b'{"model":"m2"}'))
    assert head.startswith(b"HTTP/1.1 502 ")
    error = json.loads(body)["error"]
    assert error["message"] == f"cannot connect to keyed/m2 at {proxy}: Connection refused"
    assert error["code"] == "bad_gateway"


@pytest.mark.slow
def test_peer_that_says_nothing_in_time_is_a_gateway_timeout() -> None:
    def silent(peer: Peer) -> None:
        peer.read_message()
        peer.wait_for_hang_up()

    config = CONFIG.replace("models: [m2, shared]", "models: [m2, shared], timeouts: {responseHeader: 1}")
    with World(silent, config=config) as world:
        head, body = world.ask(chat(b'{"model":"m2"}'))
    assert head.startswith(b"HTTP/1.1 504 ")
    assert b"keyed/m2 did not begin to answer in time" in body


# -- the list --


def test_models_of_peers_are_listed_by_their_full_names() -> None:
    with World(config=CONFIG) as world:
        world.controller.running = [Running("m", 1, "ready")]
        world.app.profiles.activate("prof")
        listed = {entry["id"]: entry for entry in json.loads(world.ask(get("/v1/models"))[1])["data"]}
    assert list(listed) == sorted(listed)
    names = {"keyed/m2", "keyed/shared", "m", "own", "p/org/m1", "p/own", "p/shared", "pinned"}
    assert set(listed) == names | {"sel", "shared", "to-sel"}
    pool = {"type": "pool", "targets": ["p/shared", "keyed/shared"]}
    assert listed["shared"]["meta"] == {"llamaswap": pool}
    assert listed["p/org/m1"].pop("created") > 0
    assert listed["p/org/m1"] == {
        "id": "p/org/m1",
        "object": "model",
        "owned_by": "llama-swap",
        "name": "p: org/m1",
        "status": {"value": "unloaded"},
        "meta": {"llamaswap": {"type": "peer", "peerID": "p"}},
    }


def test_large_answers_of_a_peer_pass_whole() -> None:
    body = bytes(range(256)) * 4_000
    with World(answers(sized(body)), config=CONFIG) as world:
        assert world.ask(chat(b'{"model":"m2"}'))[1] == body
