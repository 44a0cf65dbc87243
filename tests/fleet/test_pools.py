"""Names that several boxes have: what they mean, and where requests for them go."""

from __future__ import annotations

import json

import pytest

from llamaswap_lib.config.load import load_text
from llamaswap_lib.fleet.states import OTHER
from tests.fleet.boxes import Box, running
from tests.web.upstreams import wait_until
from tests.web.world import OK, World, chat, get, sized

CONFIG = """
models:
  m: {cmd: server, proxy: PROXY, aliases: [al]}
  other: {cmd: server, proxy: PROXY}
peers:
  one: {proxy: PROXY/one, models: [m, far, al, sel, x], filters: {setParams: {at: one}}}
  two: {proxy: PROXY/two, models: [far, x], filters: {setParams: {at: two}}}
  mine: {proxy: PROXY/mine, models: [far, other, only], pooled: false}
selectors:
  sel: {strategy: pin, targets: [other]}
"""


def test_a_name_that_several_have_leads_to_all_of_them() -> None:
    config = load_text(CONFIG.replace("PROXY", "http://h"))
    assert {name: pool.targets for name, pool in config.pools.items()} == {
        "m": ("m", "one/m"),
        "al": ("al", "one/al"),
        "far": ("one/far", "two/far"),
        "x": ("one/x", "two/x"),
    }
    assert {pool.strategy for pool in config.pools.values()} == {"spread"}
    assert {pool.settings.spillover for pool in config.pools.values()} == {8}
    assert [name for name in ("only", "far", "mine/far") if name in config.peer_models] == ["only", "mine/far"]


def test_of_two_that_have_it_the_one_that_does_not_share_is_found_by_its_full_name() -> None:
    peers = "  p: {proxy: 'http://h', models: [m]}\n  q: {proxy: 'http://h', models: [m], pooled: false}\n"
    config = load_text(f"peers:\n{peers}")
    assert (config.peer_models["m"].peer, config.peer_models["q/m"].peer, dict(config.pools)) == ("p", "q", {})


def test_a_full_name_means_that_box_alone_whatever_others_call_their_models() -> None:
    peers = {
        "openai": {"proxy": "http://h", "models": ["gpt"]},
        "a": {"proxy": "http://h", "models": ["openai/gpt"]},
        "b": {"proxy": "http://h", "models": ["openai/gpt"]},
    }
    config = load_text(json.dumps({"peers": peers}))
    assert (dict(config.pools), config.peer_models["openai/gpt"].peer) == ({}, "openai")


def chats(box: Box) -> list[str]:
    return [head.split()[1] for head in box.heads if "chat" in head]


@pytest.mark.slow
def test_a_request_goes_to_the_box_where_the_model_is_ready() -> None:
    box = Box()
    for name in ("one", "two"):
        box.answers[f"/{name}/v1/chat/completions"] = sized(name.encode())
        box.answers[f"/{name}/running"] = running()
    box.answers["/v1/chat/completions"] = OK
    with World(box, config=CONFIG) as world:
        world.app.peers.change(world.app.config)

        def ready_at(name: str) -> bool:
            return "far" in world.app.peers.states()[name].models

        for name in ("two", "one"):
            box.answers[f"/{name}/running"] = running(far={"state": "ready"}, m={"state": "ready"})
            wait_until(lambda: ready_at(name))  # noqa: B023
            assert world.ask(chat(b'{"model":"far"}'))[1] == name.encode()
            box.answers[f"/{name}/running"] = running()
            wait_until(lambda: not ready_at(name))  # noqa: B023
        box.answers["/two/running"] = running(far={"state": "ready"})
        wait_until(lambda: ready_at("two"))
        assert json.loads(world.ask(get("/api/models/far/plan"))[1])["model"] == "two/far"
        listed = {entry["id"]: entry for entry in json.loads(world.ask(get("/v1/models"))[1])["data"]}
        loaded = [name for name, entry in listed.items() if entry["status"]["value"] == "loaded"]
        assert loaded == ["far", "two/far"]
        assert [row.model for row in world.journal.wait_for(2)] == ["two/far", "one/far"]
        assert {entry.selector for entry in world.journal.records} == {"far"}


def test_a_request_of_another_llamaswap_stays_on_this_box() -> None:
    box = Box()
    box.answers["/v1/chat/completions"] = OK
    box.answers["/one/running"] = running(m={"state": "ready"})
    with World(box, config=CONFIG) as world:
        world.app.peers.change(world.app.config)
        wait_until(lambda: "m" in world.app.peers.states()["one"].models)
        via = b"Via: 1.1 llamaswap-%016x\r\n" % 7
        assert world.ask(chat(b'{"model":"m"}', extra=via))[1] == b"ok"
        assert world.controller.leased == ["m"]


def test_a_name_of_ours_leads_to_no_peer_that_is_no_llamaswap_be_it_ready_at_once() -> None:
    """It may be a paid service, to which nothing is to go that names a model of this machine."""
    box = Box()
    for path in ("/v1/chat/completions", "/one/v1/chat/completions", "/two/v1/chat/completions"):
        box.answers[path] = sized(path.split("/")[1].encode())
    box.answers["/one/health"] = box.answers["/two/health"] = OK
    with World(box, config=CONFIG) as world:
        world.app.peers.change(world.app.config)
        wait_until(lambda: {world.app.peers.states()[name].kind for name in ("one", "two")} == {OTHER})
        assert {world.ask(chat(b'{"model":"m"}'))[1] for _ in range(4)} == {b"v1"}
        assert world.ask(chat(b'{"model":"one/m"}'))[1] == b"one"
        assert world.ask(chat(b'{"model":"far"}'))[1] in (b"one", b"two")


@pytest.mark.parametrize(("path", "leased"), [("/upstream/m/v1/chat/completions", ["m"])])
def test_below_upstream_the_name_is_that_of_our_own_model(path: str, leased: list[str]) -> None:
    box = Box()
    box.answers["/v1/chat/completions"] = OK
    with World(box, config=CONFIG) as world:
        assert world.ask(get(path))[1] == b"ok"
        assert world.controller.leased == leased


def test_the_list_has_a_pool_once_and_a_model_of_ours_as_itself() -> None:
    with World(Box(), config=CONFIG) as world:
        listed = [entry["id"] for entry in json.loads(world.ask(get("/v1/models"))[1])["data"]]
        assert [listed.count(name) for name in ("m", "far", "one/far", "sel")] == [1, 1, 1, 1]
        assert json.loads(world.ask(get("/v1/models/far"))[1])["meta"]["llamaswap"]["type"] == "pool"
