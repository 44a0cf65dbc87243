"""Filters on JSON bodies: the result means what a plain model of it says, and what no filter names keeps its bytes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.config.load import load_text
from llamaswap_lib.errors import BadRequest
from llamaswap_lib.routing.filters import BodyFilter, Change, changes_of, edits_of, path_of, renaming
from llamaswap_lib.routing.model_name import find_model
from llamaswap_lib.server.request_body import RequestBody
from llamaswap_lib.wire.json_edit import MAX_REPEATED
from llamaswap_lib.wire.json_tree import MAX_FILL, Wanted
from llamaswap_lib.wire.splice import splice
from tests.web.test_jsontext import LARGE, VALUES, encoded, spaced
from tests.web.world import OK, Peer, World, chat

NAMES = st.sampled_from(["a", "b", "c", "é", "0", "1", "-1", "", "x.y", "model"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)


def filters(text: str, asked: str = "m") -> tuple[Change, ...]:
    """The changes that come of `filters:` in a configuration, for a request that asks for `asked`."""
    config = load_text(f"models:\n  m:\n    cmd: server ${{PORT}}\n    filters: {text}\n")
    return changes_of(config.models["m"].filters, asked)


def apply_changes(text: str, changes: Sequence[Change]) -> str:
    data = encoded(text)
    return b"".join(splice([data], edits_of(data, changes, Wanted(changes)))).decode("utf-8", "surrogatepass")


def filtered(text: str, body: str, asked: str = "m") -> str:
    return apply_changes(body, filters(text, asked))


# -- the model --


def is_index(name: str) -> bool:
    return name == "-1" or name.isdecimal()


def model_set(value: Any, path: tuple[str, ...], new: Any) -> Any:
    """What `value` becomes; raises TypeError where there is no place."""
    if not path:
        return new
    name, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {**value, name: model_set(value.get(name), rest, new)}
    if isinstance(value, list):
        if not is_index(name):
            raise TypeError
        index = len(value) if name == "-1" else int(name)
        padded = value + [None] * (index + 1 - len(value))
        padded[index] = model_set(padded[index], rest, new)
        return padded
    return model_set([] if is_index(name) else {}, path, new)


def model_remove(value: Any, path: tuple[str, ...]) -> Any:
    name, rest = path[0], path[1:]
    if isinstance(value, dict) and name in value:
        inside = {name: model_remove(value[name], rest)} if rest else {}
        return {key: inside.get(key, other) for key, other in value.items() if rest or key != name}
    if isinstance(value, list) and is_index(name) and value and int(name) < len(value):
        index = int(name) % len(value)
        return [*value[:index], *([model_remove(value[index], rest)] if rest else []), *value[index + 1 :]]
    return value


@given(
    st.dictionaries(NAMES, VALUES, max_size=4),
    st.lists(st.tuples(PATHS, st.none() | VALUES.map(lambda value: (value,))), max_size=4),
    st.sampled_from(["", " ", "\n\t", "\r\n"]),
)
def test_the_result_means_what_the_model_says(
    body: dict[str, Any], steps: list[tuple[tuple[str, ...], tuple[Any] | None]], blank: str
) -> None:
    changes = tuple(Change(path, None if new is None else encoded(json.dumps(new[0]))) for path, new in steps)
    expected: Any = body
    try:
        for path, new in steps:
            expected = model_remove(expected, path) if new is None else model_set(expected, path, new[0])
    except TypeError:
        with pytest.raises(BadRequest):
            apply_changes(spaced(body, blank), changes)
        return
    result = apply_changes(spaced(body, blank), changes)
    assert json.loads(result) == expected
    assert list(json.loads(result)) == list(expected)


@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=6),
    st.lists(st.tuples(PATHS, st.none() | VALUES.map(json.dumps).map(encoded)), max_size=4),
    st.sampled_from(["", " ", "\n\t", "\r\n"]),
)
def test_members_that_no_change_names_keep_their_text_and_their_order(
    members: list[tuple[str, Any]], steps: list[tuple[tuple[str, ...], bytes | None]], blank: str
) -> None:
    body = f"{blank},{blank}".join(f"{json.dumps(key)}{blank}:{blank}{spaced(value, blank)}" for key, value in members)
    text = f"\ufeff{blank}{{{blank}{body}{blank}}}{blank}"
    try:
        result = apply_changes(text, [Change(path, value) for path, value in steps])
    except BadRequest:
        return
    touched = {path[0] for path, _ in steps}
    assert written(result, touched) == written(text, touched)
    if not steps:
        assert result == text


def written(text: str, less: set[str]) -> list[tuple[str, str]]:
    """The members of an object, less some keys: each key, and its value as it is written."""
    found = []
    decode = json.JSONDecoder().raw_decode
    at = text.index("{")
    while text[at + 1 :].lstrip() != "" and text[at] != "}":
        at += 1 + len(text[at + 1 :]) - len(text[at + 1 :].lstrip())
        if text[at] == "}":
            break
        key, at = decode(text, at)
        at = text.index(":", at) + 1
        at += len(text[at:]) - len(text[at:].lstrip())
        _, end = decode(text, at)
        found.append((key, text[at:end]))
        at = end + len(text[end:]) - len(text[end:].lstrip())
    return [(key, value) for key, value in found if key not in less]


TEXTS = st.sampled_from(['"', "\\", '"model"', '"model":"x"', "model", "\u0080", "m"])


@given(
    st.lists(st.tuples(NAMES, VALUES | TEXTS), max_size=5),
    st.lists(st.tuples(PATHS, st.none() | VALUES.map(json.dumps).map(encoded)), max_size=4),
    st.sampled_from(["", " ", "\n\t"]),
    st.booleans(),
    st.sampled_from(["", 'o"ther']),
)
def test_the_short_way_and_the_long_way_are_the_same(
    members: list[tuple[str, Any]],
    steps: list[tuple[tuple[str, ...], bytes | None]],
    blank: str,
    is_ascii: bool,
    name: str,
) -> None:
    members = [(key, "old" if key == "model" else value) for key, value in members]
    members.insert(len(members) // 2, ("model", "m"))
    texts = [json.dumps(key) + f"{blank}:{blank}" + json.dumps(value, ensure_ascii=is_ascii) for key, value in members]
    text = f"{blank}{{{blank}{f'{blank},{blank}'.join(texts)}{blank}}}{blank}"
    changes = tuple(Change(path, value) for path, value in steps if path[0] != "model")
    try:
        expected = apply_changes(text, (renaming(name), *changes) if name else changes)
    except BadRequest:
        with pytest.raises(BadRequest):
            filter_body(text, changes, name)
        return
    assert filter_body(text, changes, name) == expected
    assert filter_body(text + LARGE, changes, name) == expected + LARGE


def filter_body(text: str, changes: tuple[Change, ...], name: str) -> str:
    """What a model gets as `name`, in the order in which a request goes through it all."""
    body = RequestBody(encoded(text))
    named = find_model("POST", "application/json", "", body)
    return b"".join(splice(body.pieces(), BodyFilter(changes).edits(named, name))).decode("utf-8", "surrogatepass")


@given(st.dictionaries(NAMES, VALUES, max_size=4), PATHS)
def test_taking_away_what_is_not_there_changes_no_byte(body: dict[str, Any], path: tuple[str, ...]) -> None:
    if model_remove(body, path) == body:
        text = spaced(body, " \n")
        assert apply_changes(text, [Change(path, None)]) == text


# -- bytes --

WRITTEN = (
    '\ufeff {"z" : 1.50e2,\n "é":"\\u00e9/\\/", "big":123456789012345678901234567890, "o" : { "b":1 , "a":-0.0 } } \n'
)


def test_what_stays_is_not_written_anew() -> None:
    assert filtered("{stripParams: temperature}", WRITTEN) == WRITTEN
    assert filtered("{stripParams: 'o.b'}", WRITTEN) == WRITTEN.replace('{ "b":1 , "a":-0.0 }', '{ "a":-0.0 }')
    assert filtered("{setParams: {big: 1.50}}", WRITTEN) == WRITTEN.replace("123456789012345678901234567890", "1.5")


def test_new_keys_are_appended_in_byte_order() -> None:
    text = '{setParams: {"\U0001f600": 1, "\ufb01": 2, b: 3, a: 4}, setParamsByID: {m: {B: 5}}}'
    assert list(json.loads(filtered(text, '{"z":0}'))) == ["z", "a", "b", "\ufb01", "\U0001f600", "B"]
    assert filtered("{setParams: {a: 1}}", '{"z":0 }') == '{"z":0 ,"a":1}'
    assert filtered("{setParams: {a: 1}}", "{ }") == '{"a":1}'


def test_every_one_of_a_repeated_key_is_changed() -> None:
    assert filtered("{setParams: {a: 7}}", '{"a":1,"b":2,"\\u0061":3}') == '{"a":7,"b":2,"\\u0061":7}'
    assert filtered("{setParams: {a.x: 7}}", '{"a":{"x":1},"a":{}}') == '{"a":{"x":7},"a":{"x":7}}'
    assert filtered("{stripParams: a}", '{"a":1,"b":2,"a":3}') == '{"b":2}'


@pytest.mark.slow
def test_a_key_repeated_without_end_costs_little() -> None:
    others = ",".join(f'"{number}":1' for number in range(20_000))
    repeated = ",".join(['"a":1'] * 20_000)
    body = f"{{{others},{repeated}}}"
    begin = time.process_time()
    assert filtered("{stripParams: a}", body) == f"{{{others}}}"
    assert time.process_time() - begin < 2
    with pytest.raises(BadRequest, match="cannot change this body: it repeats 'a' too often"):
        filtered("{stripParams: a}", "{" + ",".join(['"a":1'] * (MAX_REPEATED + 1)) + "}")


@pytest.mark.slow
def test_a_body_nested_as_deeply_as_it_may_be_is_served_or_refused() -> None:
    """Whatever depth is too much, it is never an error of our own: find the limit, and look around it."""

    def script(peer: Peer) -> None:
        while not peer.has_hung_up():
            peer.read_message()
            peer.send(OK)

    with World(script, config=CONFIG) as world, world.connect() as client:
        low, high = 1, 100_000

        def status(depth: int) -> bytes:
            client.send(chat(b'{"model":"al","x":%b1%b}' % (b'{"y":' * depth, b"}" * depth)))
            return client.read_message()[0].split(b" ")[1]

        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (middle, high) if status(middle) == b"200" else (low, middle)
        assert {status(depth) for depth in range(high, high + 8)} == {b"400"}
        assert "Traceback" not in world.log


# -- what the keys mean --


def test_the_order_is_strip_then_set_then_by_id() -> None:
    text = "{stripParams: 'a, b', setParams: {b: 1, c: 1, d: 1}, setParamsByID: {m: {c: 2}, other: {d: 3}}}"
    assert filtered(text, '{"a":0,"b":0,"c":0}') == '{"c":2,"b":1,"d":1}'
    assert filtered(text, "{}", asked="other") == '{"b":1,"c":1,"d":3}'
    assert filtered(text, "{}", asked="alias") == '{"b":1,"c":1,"d":1}'


@pytest.mark.parametrize("name", ["model", "model.x", "model.0", "mod\\el", "model.-1"])
def test_no_filter_touches_the_model(name: str) -> None:
    body = '{"model":"m","y":1}'
    quoted = json.dumps(name)
    text = f"{{stripParams: {quoted}, setParams: {{{quoted}: evil}}, setParamsByID: {{m: {{{quoted}: evil}}}}}}"
    assert filtered(text, body) == body


def test_a_model_within_something_else_is_no_model() -> None:
    assert filtered("{setParams: {a.model: x}}", '{"model":"m"}') == '{"model":"m","a":{"model":"x"}}'


@pytest.mark.parametrize(
    ("name", "body", "result"),
    [
        ("a.b", "{}", '{"a":{"b":9}}'),
        ("a.b", '{"a":{"c":1}}', '{"a":{"c":1,"b":9}}'),
        ("a.b", '{"a":5}', '{"a":{"b":9}}'),
        ("a.b", '{"a":null}', '{"a":{"b":9}}'),
        ("a.0", '{"a":[1,2]}', '{"a":[9,2]}'),
        ("a.2", '{"a":[1]}', '{"a":[1,null,9]}'),
        ("a.1", "{}", '{"a":[null,9]}'),
        ("a.0", '{"a":{}}', '{"a":{"0":9}}'),
        ("a.-1", '{"a":[1]}', '{"a":[1,9]}'),
        ("a.1.b", '{"a":[0,{"b":1}]}', '{"a":[0,{"b":9}]}'),
        ("a\\.b", '{"a":{}}', '{"a":{},"a.b":9}'),
    ],
)
def test_a_dotted_name_reaches_into_objects_and_lists(name: str, body: str, result: str) -> None:
    assert filtered(f"{{setParams: {{{json.dumps(name)}: 9}}}}", body) == result


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("a.0", '{"a":[{"x":2}],"b":1}'),
        ("a.1.x", '{"a":[1,{}],"b":1}'),
        ("a.-1", '{"a":[1],"b":1}'),
        ("a.x", '{"a":[1,{"x":2}],"b":1}'),
        ("a.7", '{"a":[1,{"x":2}],"b":1}'),
        ("b.c", '{"a":[1,{"x":2}],"b":1}'),
        ("a", '{"b":1}'),
    ],
)
def test_a_dotted_name_is_taken_away(name: str, result: str) -> None:
    assert filtered(f"{{stripParams: {json.dumps(name)}}}", '{"a":[1,{"x":2}],"b":1}') == result


def test_each_removal_from_a_list_counts_what_is_left() -> None:
    """In the order of their names: the last one, then the first, then the second of what is left, and so on."""
    text = "{stripParams: 'a.-1, a.0, a.1, b.0, b.9', setParams: {a.2: new, a.4: far}}"
    assert filtered(text, '{"a":[1,2,3,4,5 ],"b":[1]}') == '{"a":[2,4,"new",null,"far"],"b":[]}'
    assert filtered(text, '{"a":[ 1, 2,3,4,5,6 , 7,8]}') == '{"a":[ 2,4,"new",6 , "far"]}'


def test_an_item_that_the_same_request_has_added_to_a_list_can_be_edited_further() -> None:
    assert filtered("{setParams: {a.2.x: 1, a.2.y: 2}}", '{"a":[0,1]}') == '{"a":[0,1,{"x":1,"y":2}]}'
    text = "{setParams: {a.1: {x: {b: 0}}, a.1.x.y: 2, a.3.0: 5, a.3.1: 6}}"
    assert filtered(text, '{"a":[0],"k": 1}') == '{"a":[0,{"x":{"b":0,"y":2}},null,[5,6]],"k": 1}'


def test_nothing_is_taken_away_from_an_empty_list() -> None:
    assert filtered("{stripParams: 'a.-1, a.0'}", '{"a":[ ]}') == '{"a":[ ]}'


@pytest.mark.parametrize("name", ["a.x", f"a.{MAX_FILL + 2}", "a.999999999999999999999"])
def test_a_list_without_such_a_place_is_a_bad_request_that_says_so(name: str) -> None:
    with pytest.raises(BadRequest, match=r"cannot set 'a\."):
        filtered(f"{{setParams: {{{json.dumps(name)}: 1}}}}", '{"a":[1]}')


def test_backslashes_in_names() -> None:
    assert path_of("a\\.b.c") == ("a.b", "c")
    assert path_of("a\\\\.b") == ("a\\", "b")
    assert path_of("a\\") == ("a\\",)
    assert path_of("") == ("",)


def test_values_come_as_the_configuration_has_them() -> None:
    text = '{setParams: {a: [1, 2.5, true, null, "é", {x: y}], b: 12345678901234567890}}'
    assert filtered(text, "{}") == '{"a":[1,2.5,true,null,"\\u00e9",{"x":"y"}],"b":12345678901234567890}'


def test_renaming_is_a_change_of_its_own() -> None:
    assert apply_changes('{"x":1, "model" : "a"}', [renaming('b"')]) == '{"x":1, "model" : "b\\""}'


# -- through the server --

CONFIG = """
models:
  m:
    cmd: server
    proxy: PROXY
    aliases: [al]
    useModelName: real
    filters:
      stripParams: seed
      setParams: {top_k: 5}
      setParamsByID: {"m:high": {effort: high}, al: {effort: low}}
profiles:
  p: {pins: {pinned: "m:high"}}
"""


def test_a_body_is_filtered_on_its_way() -> None:
    bodies: list[bytes] = []

    def script(peer: Peer) -> None:
        bodies.append(peer.read_message()[1])
        peer.send(OK)

    with World(script, config=CONFIG) as world:
        for name in (b"m", b"al", b"m:high"):
            world.ask(chat(b'{"model": "%b", "x":"\xff\xc3\xa9", "seed": 1}' % name))
        world.app.profiles.activate("p")
        world.ask(chat(b'{"model": "pinned"}'))
        form = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nal\r\n--B--\r\n'
        head = b"POST /v1/images/edits HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
        world.ask(head + b"Content-Length: %d\r\n\r\n%b" % (len(form), form))
        world.ask(b"POST /upstream/al/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  b"Content-Length: 12\r\n\r\n{\"seed\": 17}")  # fmt: skip
    assert bodies == [
        b'{"model": "real", "x":"\xff\xc3\xa9","top_k":5}',
        b'{"model": "real", "x":"\xff\xc3\xa9","top_k":5,"effort":"low"}',
        b'{"model": "real", "x":"\xff\xc3\xa9","top_k":5,"effort":"high"}',
        b'{"model": "real","top_k":5,"effort":"high"}',
        form.replace(b"\r\nal\r\n", b"\r\nreal\r\n"),
        b'{"seed": 17}',
    ]


@pytest.mark.slow
def test_a_large_body_is_filtered_on_its_way_from_its_file() -> None:
    many = b"[]," * 200_000
    bodies: list[bytes] = []

    def script(peer: Peer) -> None:
        bodies.append(peer.read_message()[1])
        peer.send(OK)

    with World(script, config=CONFIG) as world:
        world.ask(chat(b'{"a":[%b0],"seed":1, "model": "al" ,"seed":[%b0],"b":"\xff" } ' % (many, many)))
        world.ask(chat(b'{"a":[%b0] , "mode\\u006c": "al","top_k":[%b0]}' % (many, many)))
    assert bodies == [
        b'{"a":[%b0], "model": "real" ,"b":"\xff" ,"top_k":5,"effort":"low"} ' % many,
        b'{"a":[%b0] , "mode\\u006c": "real","top_k":5,"effort":"low"}' % many,
    ]
