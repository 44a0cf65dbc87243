"""Profiles: one is active or none, and its pins lead elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.web.world import OK, Peer, World, answers, chat, get

CONFIG = """
models:
  m:
    cmd: server
    proxy: PROXY
    aliases: [al]
  other:
    cmd: server
    proxy: PROXY
    useModelName: real
profiles:
  night:
    description: small ones only
    pins: {new: m, al: other, via: al, m: ~}
  day:
    pins: {new: other}
"""


def put(body: bytes) -> bytes:
    return b"PUT /api/profiles/active HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def activate(world: World, name: str | None) -> Any:
    return json.loads(world.ask(put(json.dumps({"name": name}).encode()))[1])


def sent_bodies(*requests: bytes, profile: str | None) -> list[bytes]:
    """What the upstream was sent as the body of each request."""
    seen: list[bytes] = []

    def script(peer: Peer) -> None:
        seen.append(peer.read_message()[1])
        peer.send(OK)

    with World(script, config=CONFIG) as world:
        activate(world, profile)
        for request in requests:
            assert world.ask(request)[0].startswith(b"HTTP/1.1 200 ")
    return seen


def test_profiles_are_listed_and_none_is_active_after_start() -> None:
    with World(answers(OK), config=CONFIG) as world:
        listed = json.loads(world.ask(get("/api/profiles"))[1])
    assert listed == {
        "active": None,
        "profiles": [
            {"id": "day", "description": "", "pins": {"new": "other"}},
            {
                "id": "night",
                "description": "small ones only",
                "pins": {"new": "m", "al": "other", "via": "al", "m": ""},
            },
        ],
    }


def test_a_profile_is_made_active_and_inactive() -> None:
    with World(answers(OK), config=CONFIG) as world:
        assert activate(world, "night") == {"active": "night"}
        assert json.loads(world.ask(get("/api/profiles"))[1])["active"] == "night"
        assert activate(world, "day") == {"active": "day"}
        assert activate(world, None) == {"active": None}
        assert activate(world, "day") == {"active": "day"}
        assert activate(world, "") == {"active": None}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"nope", b"400"),
        (b"", b"400"),
        (b"\xff\xfe", b"400"),
        (b"[]", b"400"),
        (b"null", b"400"),
        (b"{}", b"400"),
        (b'{"name": 3}', b"400"),
        (b'{"name": ["night"]}', b"400"),
        (b"[" * 50_000, b"400"),
        (b'{"name": "%b"}' % (b"z" * 70_000), b"413"),
        (b'{"name": "zzz"}', b"404"),
        (b'{"name": "\\ud800"}', b"404"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused_and_nothing_changes(body: bytes, status: bytes) -> None:
    with World(answers(OK), config=CONFIG) as world:
        activate(world, "night")
        head, answer = world.ask(put(body))
        assert head.startswith(b"HTTP/1.1 " + status)
        assert json.loads(answer.decode())["error"]["message"]
        assert json.loads(world.ask(get("/api/profiles"))[1])["active"] == "night"


def test_a_pin_rewrites_the_model_and_leaves_the_rest_alone() -> None:
    request = chat(b'{"x":1.0, "model" : "new","y":[]}')
    assert sent_bodies(request, profile="night") == [b'{"x":1.0, "model" : "m","y":[]}']


def test_a_pin_to_an_alias_leads_to_its_model_and_is_sent_as_it_is_written() -> None:
    assert sent_bodies(chat(b'{"model":"via"}'), profile="night") == [b'{"model":"al"}']


def test_the_name_that_a_model_wants_wins_over_the_pin() -> None:
    assert sent_bodies(chat(b'{"model":"al"}'), profile="night") == [b'{"model":"real"}']


def test_what_is_not_pinned_is_as_without_a_profile() -> None:
    assert sent_bodies(chat(b'{"model":"m"}'), profile="day") == [b'{"model":"m"}']
    assert sent_bodies(chat(b'{"model":"al"}'), profile=None) == [b'{"model":"al"}']


@pytest.mark.parametrize("name", ["m", "new"])
def test_a_name_that_is_switched_off_or_nobody_s_is_not_found(name: str) -> None:
    with World(answers(OK), config=CONFIG) as world:
        activate(world, "night" if name == "m" else None)
        assert world.ask(chat(json.dumps({"model": name}).encode()))[0].startswith(b"HTTP/1.1 404 ")
        assert world.ask(get(f"/upstream/{name}/x"))[0].startswith(b"HTTP/1.1 404 ")


def test_a_pin_counts_under_upstream_too() -> None:
    with World(answers(OK), config=CONFIG) as world:
        activate(world, "night")
        assert world.ask(get("/upstream/new/x"))[0].startswith(b"HTTP/1.1 200 ")


def test_pins_that_name_nothing_else_are_listed_while_their_profile_is_active() -> None:
    with World(answers(OK), config=CONFIG) as world:
        activate(world, "night")
        listed = {entry["id"]: entry for entry in json.loads(world.ask(get("/v1/models"))[1])["data"]}
        assert set(listed) == {"m", "other", "new", "via"}
        assert listed["new"]["meta"] == {"llamaswap": {"type": "profile"}}
        activate(world, None)
        assert {entry["id"] for entry in json.loads(world.ask(get("/v1/models"))[1])["data"]} == {"m", "other"}
