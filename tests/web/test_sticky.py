"""What holds a request to a place: which session a request is of, and how its prompt begins."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.config.load import load_text
from llamaswap_lib.routing.model_name import Named, find_model
from llamaswap_lib.routing.selectors import Selectors
from llamaswap_lib.routing.sticky import FIRST, NAMES, key_of
from llamaswap_lib.server.request_body import RequestBody
from tests.web.world import OK, Peer, Running, World, chat

LARGE = {"model": "m", "tools": [[]] * 2_600}  # of so many values that it is searched, and not read


def read(body: object, *, behind: dict[str, Any] | None = None) -> Named:
    """The body as the program reads it; `behind` is more of it."""
    assert isinstance(body, dict)
    text = json.dumps({"model": "m", **body, **(behind or {})}).encode()
    return find_model("POST", "application/json", "", RequestBody(text), NAMES)


def prefix(**body: Any) -> str:
    return key_of("prefix", "s", "", read(body))


def session(header: str = "", **body: Any) -> str:
    return key_of("session", "s", header, read(body))


def message(role: str, content: object) -> dict[str, Any]:
    return {"role": role, "content": content}


SYSTEM, HELLO = message("system", "be kind"), message("user", "hello")


# -- sessions --


def test_a_session_is_named_by_a_header_or_else_in_the_body() -> None:
    assert session() == ""
    assert session("h") == session("h", prompt_cache_key="p", user="u") == session(prompt_cache_key="h")
    assert session(prompt_cache_key="p", user="u") == session("p")
    assert session(metadata={"user_id": "c"}, user="u") == session("c")
    assert session(user="u") == session("u") != session("v")


@pytest.mark.parametrize("body", [{"user": 5}, {"user": ""}, {"metadata": "x"}, {"metadata": {"user_id": [1]}}])
def test_what_is_no_text_names_no_session(body: dict[str, Any]) -> None:
    assert session(**body) == ""
    assert key_of("session", "s", "", read(body, behind=LARGE)) == ""


def test_each_selector_has_an_order_of_its_own() -> None:
    named = read({})
    assert key_of("session", "s", "h", named) != key_of("session", "t", "h", named)


# -- beginnings --


def test_a_conversation_keeps_its_key_as_it_grows() -> None:
    turns = [SYSTEM, HELLO, message("assistant", "hi"), message("user", "go on")]
    keys = {prefix(messages=turns[:count]) for count in (2, 3, 4)}
    assert len(keys) == 1
    others = [prefix(messages=[SYSTEM, message("user", "bye")]), prefix(messages=[HELLO])]
    others.append(prefix(messages=[message("system", "be short"), HELLO]))
    assert len({*keys, *others}) == 4


def test_the_kinds_of_requests_say_it_in_their_own_ways() -> None:
    parts = [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {"url": "data:x"}}]
    different = [
        prefix(messages=[message("user", parts)]),
        prefix(messages=[message("user", parts[:1])]),
        prefix(system="be kind", messages=[HELLO]),
        prefix(system=[{"type": "text", "text": "be short"}], messages=[HELLO]),
        prefix(instructions="be nice", input="hello"),
        prefix(input=[HELLO, SYSTEM], instructions="be brief"),
        prefix(prompt="hello"),
        prefix(prompt=[1, 2, 3]),
        prefix(prompt=[1, 2, 4]),
        prefix(input=["one", "two"]),
        prefix(prompt="\ud800"),
    ]
    assert "" not in different
    assert len(set(different)) == len(different)
    assert prefix(input=["one", "two"]) == prefix(input=["one", "three"])


@pytest.mark.parametrize("body", [{}, {"messages": []}, {"messages": None}, {"prompt": ""}, {"documents": ["x"]}])
def test_without_a_prompt_there_is_no_key(body: dict[str, Any]) -> None:
    assert prefix(**body) == ""


def test_a_mark_that_moves_on_to_later_messages_does_not_count() -> None:
    def marked(mark: dict[str, Any]) -> str:
        return prefix(messages=[message("user", [{"type": "text", "text": "hi", **mark}, {"type": "image", **mark}])])

    assert marked({}) == marked({"cache_control": {"type": "ephemeral"}})


def test_a_prompt_that_grows_keeps_its_beginning() -> None:
    assert prefix(prompt="x" * FIRST) == prefix(prompt="x" * FIRST + "more")
    assert prefix(prompt="x" * FIRST) != prefix(prompt="x" * (FIRST - 1) + "y")


def test_bodies_without_json_have_none() -> None:
    named = find_model("GET", "", "?model=m", RequestBody(b""), NAMES)
    assert (key_of("prefix", "s", "", named), key_of("session", "s", "", named)) == ("", "")


TEXTS = st.one_of(st.text(max_size=9), st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text()})))
MESSAGES = st.lists(st.builds(message, st.sampled_from(["system", "developer", "user", "tool"]), TEXTS), max_size=5)
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=9), inner, max_size=4)),
    max_leaves=9,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "messages": st.one_of(MESSAGES, ANYTHING),
        "prompt": ANYTHING,
        "input": st.one_of(MESSAGES, ANYTHING),
        "system": st.one_of(TEXTS, ANYTHING),
        "instructions": ANYTHING,
        "metadata": st.one_of(ANYTHING, st.fixed_dictionaries({"user_id": ANYTHING})),
        "user": ANYTHING,
        "prompt_cache_key": ANYTHING,
    },
)


@given(BODIES)
def test_a_body_that_is_searched_has_the_key_of_one_that_is_read(body: dict[str, Any]) -> None:
    small, large = read(body), read(body, behind=LARGE)
    assert (small.json_keys is None, large.json_keys is None) == (False, True)
    for sticky in ("session", "prefix"):
        assert key_of(sticky, "s", "", small) == key_of(sticky, "s", "", large)


def test_what_is_deeper_than_can_be_read_is_no_error() -> None:
    text = b'{"model": "m", "messages": [%b, 1], "metadata": %b}' % ((b"[" * 2000 + b"]" * 2000,) * 2)
    named = find_model("POST", "application/json", "", RequestBody(text), NAMES)
    assert key_of("prefix", "s", "", named)
    assert key_of("session", "s", "", named) == ""


def test_a_model_that_is_named_twice_is_replaced_at_its_places_alone() -> None:
    named = read({"user": "m", "messages": [HELLO], "prompt": "m"}, behind=LARGE)
    (edit,) = named.edits("other")
    assert (named.json[edit.start : edit.end], edit.new) == (b'"m"', b'"other"')
    assert named.json[: edit.start] == b'{"model": '


# -- through the server --

CONFIG = """
groups: {g: {swap: false, members: [a, b, c]}}
models:
  a: {cmd: "server ${PORT}", proxy: PROXY}
  b: {cmd: "server ${PORT}", proxy: PROXY}
  c: {cmd: "server ${PORT}", proxy: PROXY}
selectors:
  session: {strategy: spillover, targets: [a, b, c], settings: {spillover: 8, sticky: session}}
  prefix: {strategy: spillover, targets: [a, b, c], settings: {spillover: 8, sticky: prefix}}
  plain: {strategy: spillover, targets: [a, b, c], settings: {spillover: 8}}
"""


def test_of_a_session_as_many_stay_as_are_few_and_those_beyond_go_to_the_next() -> None:
    runs = tuple(Running(name, 1, "ready") for name in "abc")
    chooser = Selectors(load_text(CONFIG.replace("PROXY", "http://localhost:1")), lambda: runs)
    targets = [chooser.choose("session", key="k").target for _ in range(8)]
    home, following = targets[0], targets[4]
    assert targets == [home] * 4 + [following] * 4
    assert following != home
    assert {chooser.choose("session").target} == set("abc") - {home, following}, "without a session the least busy"


def answer(peer: Peer) -> None:
    while not peer.has_hung_up():
        peer.read_message()
        peer.send(OK)


def asked(name: str, body: dict[str, Any]) -> bytes:
    return json.dumps({"model": name, **body}).encode()


def test_requests_of_a_session_go_to_the_same_model() -> None:
    with World(*[answer] * 9, config=CONFIG) as world:
        world.controller.running = [Running(name, 1, "ready") for name in "abc"]

        def went(name: str, body: dict[str, Any], extra: bytes = b"") -> str:
            assert world.ask(chat(asked(name, body), extra=extra))[1] == b"ok"
            return world.controller.leased[-1]

        assert [went("plain", {"user": "u"}) for _ in range(3)] == ["a", "b", "c"]
        homes = {user: {went("session", {"user": user}) for _ in range(3)} for user in "stuvwxyz"}
        assert {len(home) for home in homes.values()} == {1}
        assert set.union(*homes.values()) == {"a", "b", "c"}
        assert {went("session", {"user": user}, b"X-Session-ID: s\r\n") for user in "stuvwxyz"} == homes["s"]
        tools = {"tools": LARGE["tools"]}
        for text in "abcdefgh":
            said = {"messages": [message("user", text)]}
            assert went("prefix", said) == went("prefix", said | tools)
