"""Members and their spans: the same verdict and the same values as `json.loads`, and spans that can be spliced."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.web.jsontext import Member, NotAnObject, load_object, only_place, read_members

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


def spaced(value: Any, blank: str) -> str:
    return blank + json.dumps(value, separators=(f"{blank},{blank}", f"{blank}:{blank}"), ensure_ascii=False) + blank


def test_members_in_order_with_their_spans() -> None:
    text = ' {"a" : 1.50 ,"b\\u0065":"x\\n" , "o":{"a":[1,{}]},"a":null}\r\n'
    assert load_object(text) == {"a": None, "be": "x\n", "o": {"a": [1, {}]}}
    assert read_members(text) == [
        Member("a", 2, 8, 12, 13),
        Member("be", 14, 24, 29, 30),
        Member("o", 31, 36, 48, 48),
        Member("a", 49, 53, 57, 57),
    ]
    assert [text[m.start : m.end] for m in read_members(text)] == ["1.50", '"x\\n"', '{"a":[1,{}]}', "null"]


@pytest.mark.parametrize("size", [0, 1, 98, 99, 100, 70_000])
def test_texts_of_every_length_have_their_spans(size: int) -> None:
    value = json.dumps("x" * size)
    text = f'{{"a":{value} ,"{"k" * size}":1}}'
    assert load_object(text) == {"a": "x" * size, "k" * size: 1}
    end = 5 + len(value)
    assert read_members(text) == [
        Member("a", 1, 5, end, end + 1),
        Member("k" * size, end + 2, end + 5 + size, end + 6 + size, end + 6 + size),
    ]


@pytest.mark.parametrize("text", ["{}", " { } ", "\ufeff{}", "\ufeff \t\r\n{\n}"])
def test_empty_objects(text: str) -> None:
    assert load_object(text) == {}
    assert read_members(text) == []


@pytest.mark.parametrize("text", ["[]", '"a"', "1", "null", " true ", '[{"model":"a"}]'])
def test_json_that_is_no_object(text: str) -> None:
    with pytest.raises(NotAnObject):
        load_object(text)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("  ", 2),
        ("x", 0),
        ("{", 1),
        ('{"a"', 4),
        ('{"a":', 5),
        ('{"a":1', 6),
        ('{"a":1,', 7),
        ('{"a":1,}', 6 if sys.version_info >= (3, 13) else 7),
        ('{"a" 1}', 5),
        ('{"a":1 "b":2}', 7),
        ("{a:1}", 1),
        ("{'a':1}", 1),
        ('{"a":1}x', 7),
        ('{"a":1} {}', 8),
        ('{"a":x}', 5),
        ('{"a":"b', 5),
        ('{"a":[1,}', 8),
        ("[1,2", 4),
        ("{} \ufeff", 3),
        ("\xa0{}", 0),
    ],
)
def test_broken_json_says_where(text: str, position: int) -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        load_object(text)
    assert caught.value.pos == position


def test_numbers_of_any_length_cost_little() -> None:
    begin = time.process_time()
    assert len(load_object('{"a":' + "9" * 1_000_000 + ',"b":-0,"c":1e999}')) == 3
    assert time.process_time() - begin < 1


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, '{"a":' + "[" * 200_000])
def test_deep_nesting_is_an_error_like_any_other(text: str) -> None:
    with pytest.raises(json.JSONDecodeError, match="deep"):
        load_object(text)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=5), st.sampled_from(["", " ", "\n\t", "\r\n"]))
def test_any_object_reads_as_json_reads_it(value: dict[str, Any], blank: str) -> None:
    text = spaced(value, blank)
    assert load_object(text) == value
    members = read_members(text)
    assert [member.key for member in members] == list(value)
    for member in members:
        assert json.loads(text[member.start : member.end]) == value[member.key]
        assert not text[member.start].isspace()
        assert not text[member.end - 1].isspace()


@given(st.text(st.sampled_from('{}[]:,"\\ \n1-ae.tu'), max_size=16))
def test_rubbish_has_the_same_verdict_as_from_json(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(json.JSONDecodeError):
            load_object(text)
        return
    if isinstance(expected, dict):
        assert load_object(text) == expected
        assert {member.key for member in read_members(text)} == set(expected)
    else:
        with pytest.raises(NotAnObject):
            load_object(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"model":"a"}', '"a"'),
        (' {"x":{"models":1,"y":"model"},"model"\n:\t"a b" }', None),
        ('{"x":{"models":1,"y":"the model"},"model"\n:\t"a b" }', '"a b"'),
        ('{"model":"a","x":{"model":"b"}}', None),
        ('{"x":{"model":"b"},"mode\\u006c":"a"}', None),
        ('{"x":{"model":"b"},"\\u006Dodel":"a"}', None),
        ('{"model":"a","model":"b"}', None),
        ('{"model":"a\\"b"}', None),
        ('{"model":"a","x":"a \\"model\\" \\u00e9"}', '"a"'),
        ('{"mode\\u006c":"a"}', None),
        ('{"model":1}', None),
    ],
)
def test_the_place_of_a_key_is_told_only_where_there_is_no_doubt(text: str, value: str | None) -> None:
    place = only_place(text, "model")
    assert (None if place is None else text[slice(*place)]) == value


@given(st.lists(st.tuples(st.sampled_from(["model", "m", 'model"']), VALUES | st.just('"model":"x"')), max_size=5))
def test_the_place_that_is_told_is_that_of_the_only_member(members: list[tuple[str, Any]]) -> None:
    texts = [f"{json.dumps(key)}:{json.dumps(value)}" for key, value in [*members, ("model", "m")]]
    text = f"{{{','.join(texts)}}}"
    place = only_place(text, "model")
    found = [(one.start, one.end) for one in read_members(text) if one.key == "model"]
    assert place is None or [place] == found
