"""What is read of a peer's list of models."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.config.load import load_text
from llamaswap_lib.config.names import with_offers
from llamaswap_lib.config.sections import Auto
from llamaswap_lib.config.show import shown
from llamaswap_lib.fleet.offers import Offer, entries_of, offers_in, read_offers
from llamaswap_lib.fleet.states import UNKNOWN
from llamaswap_lib.typed_yaml.problems import InvalidConfig
from tests.web.world import World

ABLE = {"context_length": 4096, "capabilities": {"vision": True}, "owned_by": "x"}


def read(*entries: object) -> tuple[Offer, ...] | None:
    return read_offers(json.dumps({"data": list(entries)}).encode())


def test_models_and_their_aliases_come_with_what_they_can_do() -> None:
    meta = {"n_ctx": 4096, "llamaswap": {"type": "model", "aliases": ["al"]}}
    about = {"capabilities": {"vision": True}, "context_length": 4096}
    assert read({"id": "m", **ABLE, "meta": meta}, {"id": "plain", "context_length": 0}) == (
        Offer("m", "", about, 4096),
        Offer("al", "m", about, 4096),
        Offer("plain", "", {}, 0),
    )


def test_entries_of_what_was_read_say_the_same() -> None:
    meta = {"n_ctx": 4096, "llamaswap": {"type": "model", "aliases": ["al"]}}
    alias = {"id": "bl", "meta": {"llamaswap": {"type": "alias", "modelID": "m"}}}
    offers = read({"id": "m", **ABLE, "meta": meta}, {"id": "plain", "description": "words"}, alias)
    assert offers is not None
    assert offers_in(json.loads(json.dumps(entries_of(offers)))) == offers


def test_what_it_has_from_others_is_not_its_own() -> None:
    entries = [{"id": kind, "meta": {"llamaswap": {"type": kind}}} for kind in ("peer", "pool", "profile", "selector")]
    alias = {"id": "al", "meta": {"llamaswap": {"type": "alias", "modelID": "m"}}}
    assert read(*entries, alias) == (Offer("selector", "", {}, 0), Offer("al", "m", {}, 0))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data": 3}', b"[" * 100_000, b'{"object": "list"}', b"\xff"])
def test_what_is_no_list_is_none(body: bytes) -> None:
    assert read_offers(body) is None


@pytest.mark.parametrize(
    "value",
    [b"NaN", b"[1e999]", b'"\\ud83d"', b'{"\\udc00": 1}', b"[" * 900 + b"1" + b"]" * 900, b"[" * 21 + b"1" + b"]" * 21],
)
def test_what_our_own_list_could_not_say_is_left_out(value: bytes) -> None:
    said = b'{"data": [{"id": "m", "architecture": %b, "description": "\\ud83d\\ude00"}]}' % value
    assert read_offers(said) == (Offer("m", "", {"description": "\U0001f600"}, 0),)


def test_names_that_could_not_be_asked_for_are_left_out() -> None:
    assert read({"id": ""}, {"id": " a"}, {"id": "a\nb"}, {"id": 3}, "m", {"id": "x" * 501}, {"id": "ok"}) == (
        Offer("ok", "", {}, 0),
    )


def test_an_alias_of_what_could_not_be_asked_for_is_one_of_nothing() -> None:
    half = {"id": "a", "meta": {"llamaswap": {"type": "alias", "modelID": "\ud800"}}}
    long = {"id": "x" * 501, "meta": {"llamaswap": {"aliases": ["b"]}}}
    assert read(half, long) == (Offer("a", "", {}, 0), Offer("b", "", {}, 0))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["id", "meta", "llamaswap", "type", "aliases", "modelID", "data"]), inner)
    ),
)


@given(json_values)
def test_nothing_that_it_says_breaks_us(value: object) -> None:
    for said in (value, {"data": value}, {"data": [value]}):
        read_offers(json.dumps(said).encode())


# -- the configuration --

AUTO = """
models: {m: {cmd: server, proxy: "http://h"}}
peers:
  one: {proxy: "http://h1", models: auto}
  two: {proxy: "http://h2", models: auto}
  three: {proxy: "http://h3", models: [far]}
selectors: {s: {strategy: failover, targets: [one/named, m]}}
"""


def test_with_auto_a_peer_has_what_it_says_and_what_selectors_name() -> None:
    config = load_text(AUTO)
    assert (config.peers["one"].models, list(config.pools)) == (("named",), [])
    full = with_offers(config, {"one": ["m", "x"], "three": ["not asked"]})
    assert full.peers["one"].models == ("named", "m", "x")
    assert full.peers["three"].models == ("far",)
    assert full.pools["m"].targets == ("m", "one/m")
    assert full.peer_models["x"] == full.peer_models["one/x"] == ("one", "x")
    less = with_offers(config, {"one": [], "two": ["far"]})
    assert (less.pools["far"].targets, less.peers["one"].models) == (("two/far", "three/far"), ("named",))


def test_it_is_shown_as_it_was_written() -> None:
    full = with_offers(load_text(AUTO), {"one": ["m"]})
    assert [peer["models"] for peer in shown(full, mask=True)["peers"].values()] == ["auto", "auto", ["far"]]
    assert isinstance(full.peers["one"].models, Auto)


@pytest.mark.parametrize("models", ["automatic", "{}", "[]"])
def test_other_words_are_refused(models: str) -> None:
    with pytest.raises(InvalidConfig, match=r"a list, or auto|at least one model"):
        load_text(f"peers: {{p: {{proxy: 'http://h', models: {models}}}}}")


def test_without_a_list_there_is_nothing() -> None:
    assert UNKNOWN.aliases == {}
    with World(config=AUTO) as world:
        assert world.app.peers.offers() == {}
