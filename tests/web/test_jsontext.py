"""Members and their places: the same verdict and the same values as `json.loads`, and places that can be edited."""

from __future__ import annotations

import json
import sys
import time
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llamaswap_lib.wire.json_edit import (
    MAX_REPEATED,
    MOST_SMALL_BYTES,
    SMALL_BYTES,
    Member,
    Names,
    NotAnObject,
    NotBuilt,
    RepeatedTooOften,
    find_items,
    is_quick,
    load_object,
    only_place,
    read_members,
)
from llamaswap_lib.wire.json_scan import MAX_DEPTH, WINDOW_BYTES, NotJson, Scanner
from tests.batches import samples

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


LARGE = " " * MOST_SMALL_BYTES  # behind a text: then it is no small one


def spaced(value: Any, blank: str) -> str:
    return blank + json.dumps(value, separators=(f"{blank},{blank}", f"{blank}:{blank}"), ensure_ascii=False) + blank


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def load(text: str, names: Iterable[str] = ()) -> Any:
    """By whichever way the size of the text asks for."""
    return load_object(encoded(text), Names(names))[0]


def members(text: str, *names: str) -> list[Member]:
    return read_members(encoded(text), Names(names))


# -- one value after another: texts that `json` says what to think of --

# Pieces of which valid and nearly valid texts are made, among them all that a run of the scanner knows.
TEXTS = [
    *("[", "]", "{", "}", ",", ":", '"', "\\", " ", "\n", "\t\r", "\x0b", "\x00", "\x7f", "\ufeff", "é", "\u2028"),
    *("0", "1", "-", "+", ".", "e", "E9", "01", "1.5", "-0", "1e+5", "1.", ".5", "-.1", "0x1", "1" * 101),
    *("true", "false", "null", "NaN", "Infinity", "-Infinity", "nul", "True", "-NaN"),
    *(
        '""',
        '"a"',
        '"a":',
        '"a" : ',
        '"\\n"',
        '"\\u00e9"',
        '"\\u12"',
        '"\\x"',
        '"\x1f"',
        '"é"',
        '"\\ud800"',
        f'"{"x" * 1_001}"',
    ),
    *("[]", "{}", "[ ]", "{ }", "[0]", "[0,1]", '{"a":0}', '{"a":0,"b":[]}', "[[0],[1]]", "[{}]", "[[[[1]]]]"),
    *(" " * 101, "0,", "[],", '"a",', '"a":0,', '"a":{', '"a":[', "],", "},", "]]", "}}", "}]"),
]
PIECES = st.sampled_from(TEXTS)
# What stands in front of the rest: where it ends is near the end of a window.
FILLS = st.tuples(
    st.sampled_from(["0,", "[0],", '"é",', "[[[1]],0],", '"aa\\n",', " ", '{"a":"b"},', '{"a":{}},']),
    st.just(""),
    st.integers(WINDOW_BYTES - 40, WINDOW_BYTES + 2),
) | st.tuples(st.just("["), st.just("]"), st.integers(0, 60))


def verdict(text: str) -> int | None:
    """Where the text is wrong, as `json` has it; None if it is right."""
    try:
        json.loads(text, parse_int=float)
    except json.JSONDecodeError as broken:
        return broken.pos
    return None


def scanned(text: str) -> int | None:
    """The same, as the scanner has it."""
    try:
        read_members(encoded(text), Names(()))
    except NotJson as broken:
        return broken.position
    except NotAnObject:
        pass
    return None


def check_verdict(text: str) -> None:
    expected, found = verdict(text), scanned(text)
    assert (found is None) == (expected is None), text
    assert found == expected or sys.version_info >= (3, 13), text  # of a last comma, 3.13 names another place
    assert is_loaded(text) == (expected is None), text


def is_loaded(text: str) -> bool:
    """Whether it is JSON in the eyes of `load_object`, which goes another way with small texts."""
    try:
        load(text)
    except NotJson:
        return False
    except NotAnObject:
        pass
    return True


@pytest.mark.parametrize("first", samples(TEXTS, 4))
def test_two_pieces_have_the_same_verdict_as_from_json(first: str) -> None:
    for second in ["", *TEXTS]:
        for start, end in (("[0,", "]"), ("[", ",0]"), ('{"x":[{"a":', ',"b":0}]}')):
            check_verdict(start + first + second + end)


@given(st.lists(PIECES, max_size=14).map("".join))
@example("")
@example('{"a":[1,2,]}')
@example('{"a":1,}')
def test_any_text_has_the_same_verdict_as_from_json(text: str) -> None:
    check_verdict(text.lstrip("\ufeff"))
    check_verdict(f"[{text}]")
    check_verdict(f'{{"a":{text}}}')


@pytest.mark.slow
@given(FILLS, st.lists(PIECES, max_size=5).map("".join), st.sampled_from([("[", "]"), ('{"b":0,"a":[', "]}")]))
def test_the_verdict_is_the_same_where_a_window_ends(
    fill: tuple[str, str, int], text: str, brackets: tuple[str, str]
) -> None:
    unit, closing, size = fill
    count = size // len(encoded(unit))
    start, end = brackets
    check_verdict(f"{start}{unit * count}{text}{closing * count}{end}")
    check_verdict(f"{start}{unit * count}0,{text},0{closing * count}{end}")


@pytest.mark.slow
@given(VALUES, st.data(), st.sampled_from(["", " ", "\n\t"]))
def test_one_wrong_byte_in_a_large_text_is_found(value: Any, data: st.DataObject, blank: str) -> None:
    unit = spaced([value, {"k": value}], blank)
    text = f'{{"x":[{",".join([unit] * (WINDOW_BYTES // len(unit) + 2))}]}}'
    at = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(
        st.sampled_from(['"', "\\", ",", ":", "[", "]", "{", "}", "0", "e", "-", ".", " ", "\x01", "é", ""])
    )
    check_verdict(text)
    check_verdict(text[:at] + new + text[at + 1 :])


@pytest.mark.parametrize("depth", [1, 2, 3, 100, 900, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, MAX_DEPTH + 2, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ("[0,", ",0]"), ("[ [],", "]")])
@pytest.mark.parametrize("padding", ["", LARGE])
def test_nesting_has_one_bound_for_all_sizes(depth: int, opening: str, closing: str, padding: str) -> None:
    inner = "[]" if "[]" in opening else ""  # one level more
    depth -= bool(inner)
    text = f'{{"a":{padding}{opening * depth}{inner or 0}{closing * depth}}}'
    if depth + bool(inner) <= MAX_DEPTH:
        assert "a" in load(text, ["a"])
    else:
        with pytest.raises(NotJson, match="Nested too deeply"):
            load(text)


# -- what is looked for --


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=5), st.sampled_from(["", " ", "\n\t", "\r\n"]))
def test_any_object_has_the_values_that_json_reads(value: dict[str, Any], blank: str) -> None:
    text = spaced(value, blank)
    assert load(text) == value
    flat = {key: one for key, one in value.items() if not isinstance(one, list | dict)}
    assert load(text + LARGE, flat) == flat


def test_members_in_order_with_their_places() -> None:
    text = ' {"a" : 1.50 ,"b\\u0065":"x\\n" , "o":{"a":[1,{}]},"z":[],"a":null}\r\n'
    assert load(text) == {"a": None, "be": "x\n", "o": {"a": [1, {}]}, "z": []}
    found = members(text, "a", "o", "be")
    assert found == [
        Member("a", 2, 8, 12, 13),
        Member("be", 14, 24, 29, 30),
        Member("o", 31, 36, 48, 48),
        Member("a", 56, 60, 64, 64),
    ]
    assert [text[one.start : one.end] for one in found] == ["1.50", '"x\\n"', '{"a":[1,{}]}', "null"]


@pytest.mark.parametrize("size", [0, 1, 98, 99, 100, 999, 1_000, 70_000, 3 << 20])
def test_texts_of_every_length_have_their_places(size: int) -> None:
    value = json.dumps("x" * size)
    text = f'{{"a":{value} ,"{"k" * size}":1}}'
    end = 5 + len(value)
    assert members(text, "a", "k" * size) == [
        Member("a", 1, 5, end, end + 1),
        Member("k" * size, end + 2, end + 5 + size, end + 6 + size, end + 6 + size),
    ]


@pytest.mark.parametrize("text", ["{}", " { } ", "\ufeff{}", "\ufeff \t\r\n{\n}"])
def test_empty_objects(text: str) -> None:
    assert load(text) == {}
    assert members(text, "a") == []


@pytest.mark.parametrize("text", ["[]", '"a"', "1", "null", " true ", '[{"model":"a"}]', f"[{'0,' * SMALL_BYTES}0]"])
def test_json_that_is_no_object(text: str) -> None:
    with pytest.raises(NotAnObject):
        load(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", r"line 1 column 2 \(char 1\)"),
        ('{"ä":\n"é" x}', r"delimiter: line 2 column 5 \(char 10\)"),
        ('{"a":"b', r"Unterminated string starting at: line 1 column 6 \(char 5\)"),
        ('{"a":"\\x"}', r"Invalid \\escape: .*\(char 6\)"),
        ("{} \ufeff", r"Extra data: line 1 column 4 \(char 3\)"),
        ('{"a":"' + "é" * (1 << 20) + '\n"}', r"control character at: line 1 column 1048583 \(char 1048582\)"),
    ],
)
def test_broken_json_says_what_and_where_in_characters(text: str, says: str) -> None:
    with pytest.raises(NotJson, match=says):
        load(text)


def test_numbers_of_any_length_cost_little() -> None:
    begin = time.process_time()
    assert len(load('{"a":' + "9" * 1_000_000 + ',"b":-0,"c":1e999}', "abc")) == 3
    assert time.process_time() - begin < 1


def test_of_a_large_text_only_short_values_are_built() -> None:
    long = "x" * MOST_SMALL_BYTES
    text = f'{{"a":[],"b":"{long}","c":"\\u00e9","d":1.5,"e":true,"f":null,"g":{{"a":1}},"c":"é"}}'
    assert load(text, "abcdefgh") == {"c": "é", "d": 1.5, "e": True, "f": None} | dict.fromkeys("abg", NotBuilt)
    assert list(load(text, ["é"])) == []


@given(
    st.lists(st.tuples(st.text(max_size=3), VALUES), max_size=6),
    st.sets(st.text(max_size=3)),
    st.sampled_from(["", " ", "\n\t", "\r\n", " " * 120]),
    st.sampled_from([0, 300]),
    st.booleans(),
)
def test_any_object_has_its_members_where_they_are(
    pairs: list[tuple[str, Any]], more: set[str], blank: str, repeated: int, is_ascii: bool
) -> None:
    names = {key for key, _ in pairs[::2]} | more
    written = [
        f"{blank}{json.dumps(key, ensure_ascii=is_ascii)}{blank}:{blank}{json.dumps(value)}{blank}"
        for key, value in [*pairs, *[("other-key", [1])] * repeated, *pairs]
    ]
    data = encoded("{" + ",".join(written) + "}")
    expected = [(key, value) for key, value in [*pairs, *pairs] if key in names]
    found = read_members(data, Names(names))
    assert [(one.key, json.loads(data[one.start : one.end])) for one in found] == expected
    for one in found:
        assert data[one.begin - 1] in b"{,"
        assert data[one.stop] in b",}"
        assert data[one.end : one.stop].strip() == b""
        assert json.loads(b"{" + data[one.begin : one.stop] + b"}").keys() == {one.key}


@given(st.lists(VALUES, max_size=4), st.integers(0, 300), st.sets(st.integers(0, 1_200)), st.sampled_from(["", " "]))
def test_any_list_has_its_items_where_they_are(values: list[Any], times: int, indices: set[int], blank: str) -> None:
    written = [f"{blank}{json.dumps(value)}{blank}" for value in values * times]
    data = encoded("[" + ",".join(written) + "]")
    found, count, close = find_items(Scanner(data), 0, indices)
    assert (count, close) == (len(written), len(data) - 1)
    assert [one.key for one in found] == sorted(index for index in indices if index < count)
    for one in found:
        assert data[one.begin : one.stop].decode() == written[int(one.key)]
        assert data[one.start : one.end].decode() == written[int(one.key)].strip()


@pytest.mark.slow
def test_a_key_that_is_repeated_without_end_is_refused() -> None:
    text = ",".join(['"a":1'] * MAX_REPEATED)
    assert len(members(f"{{{text}}}", "a")) == MAX_REPEATED
    assert members(f'{{{text},"a":2}}', "b") == []
    with pytest.raises(RepeatedTooOften, match="'a'"):
        members(f'{{{text},"\\u0061":2}}', "a")


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    ["0,", "1.5,", "[],", '"",', "[[[[0]]]],", '{"a":{"b":[{}]}},', '{"a":{"a":', "[0,[", "[" * 900 + "]" * 900 + ","],
)
def test_a_text_of_many_small_values_takes_no_memory_for_each(unit: str) -> None:
    """As Python objects it would take 24 MB and more; what is allowed is what one window takes."""
    count = 1_500_000 // len(unit)
    closing = "".join({"[": "]", "{": "}"}[one] for one in reversed(unit) if one in "[{") if unit[-1] in ":[" else ""
    count = min(count, 300) if closing else count
    data = encoded(f'{{"model":"m","x":[{unit * count}0{closing * count}]}}') + encoded(LARGE)
    read_members(data, Names(["model"]))  # the patterns are compiled
    tracemalloc.start()
    try:
        assert len(read_members(data, Names(["model"]))) == 1
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


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
    place = only_place(encoded(text), "model")
    assert (None if place is None else text[slice(*place)]) == value


@given(st.lists(st.tuples(st.sampled_from(["model", "m", 'model"']), VALUES | st.just('"model":"x"')), max_size=5))
def test_the_place_that_is_told_is_that_of_the_only_member(pairs: list[tuple[str, Any]]) -> None:
    texts = [f"{json.dumps(key)}:{json.dumps(value)}" for key, value in [*pairs, ("model", "m")]]
    text = f"{{{','.join(texts)}}}"
    place = only_place(encoded(text), "model")
    found = [(one.start, one.end) for one in members(text, "model")]
    assert place is None or [place] == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"model":"m","x":"' + b"words, and more words. " * 4_000 + b'"}', True),
        (b'{"model":"m","x":"' + b"line\\n" * 10_000 + b'"}', False),
        (b'{"model":"m","x":[' + b"1," * 10_000 + b"1]}", False),
        (b'{"model":"m","x":' + b"[" * 10_000, False),
        (b'{"model":"m","x":"' + b"x" * 131_072 + b'"}', False),
    ],
    ids=["prose", "escapes", "numbers", "nesting", "too long"],
)
def test_a_text_is_read_at_once_where_it_is_short_and_has_few_parts(text: bytes, expected: bool) -> None:
    assert is_quick(text) is expected
