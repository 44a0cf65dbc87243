"""Which model a request names, and that nothing but its name changes when another takes its place."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.errors import BadRequest, NotFound
from llamaswap_lib.routing.model_name import (
    MAX_URLENCODED_BYTES,
    Named,
    UnknownName,
    UpstreamPath,
    find_model,
    find_upstream,
    rename_in_query,
)
from llamaswap_lib.wire.json_edit import MAX_REPEATED
from llamaswap_lib.wire.splice import Edit, grown_by, splice
from tests.web.test_jsontext import LARGE

JSON = "application/json; charset=utf-8"
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=BB"


class Bytes:
    """A body, in pieces of one size."""

    def __init__(self, data: bytes, piece_bytes: int = 7) -> None:
        self._data = data
        self._piece_bytes = piece_bytes
        self.size_bytes = len(data)
        self.memory: bytes | None = None

    def read(self) -> bytes:
        return self._data

    def pieces(self) -> Iterator[bytes]:
        for start in range(0, len(self._data), self._piece_bytes):
            yield self._data[start : start + self._piece_bytes]


def named(content_type: str, data: bytes | str, query: str = "") -> Named:
    return find_model("POST", content_type, query, Bytes(data.encode() if isinstance(data, str) else data))


def renamed(content_type: str, data: bytes | str, name: str, query: str = "") -> bytes:
    data = data.encode() if isinstance(data, str) else data
    edits = named(content_type, data, query).edits(name)
    result = b"".join(splice([data], edits))
    assert b"".join(splice(Bytes(data, 3).pieces(), edits)) == result
    assert len(result) == len(data) + grown_by(edits)
    return result


def form(*fields: tuple[str, str]) -> str:
    parts = (f'--BB\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields)
    return "".join(parts) + "--BB--\r\n"


# -- JSON --


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"model":"a"}', "a"),
        ('\ufeff { "x" : {"model":"no"}, "model" : "org\\/b:q4 \\u00e4" }\n', "org/b:q4 ä"),
        ('{"model":"first","model":"last"}', "last"),
        ('{"mod\\u0065l":"a"}', "a"),
        ('{"model":5,"model":"a"}', "a"),
        ('{"Model":"no","model":"a"}', "a"),
    ],
)
def test_the_name_in_json(text: str, name: str) -> None:
    for content_type in (JSON, "application/json", "x; Application/JSON"):
        assert named(content_type, text, "?model=query").name == name


@pytest.mark.parametrize(
    "text", ["{}", '{"x":{"model":"a"}}', '{"model":""}', '{"model":null}', "", " \n", '{"Model":"a"}']
)
def test_json_without_a_model(text: str) -> None:
    with pytest.raises(NotFound, match="no model id could be identified"):
        named(JSON, text, "?model=a")


@pytest.mark.parametrize("value", ["5", "true", "[]", '["a"]', '{"a":1}', "0", "false"])
@pytest.mark.parametrize("padding", ["", LARGE])
def test_a_model_that_is_no_string_is_refused(value: str, padding: str) -> None:
    with pytest.raises(BadRequest, match="string"):
        named(JSON, f'{{"model":{value}}}{padding}')
    with pytest.raises(BadRequest, match="string"):
        named(JSON, f'{{"model":"a","model":{value}}}{padding}')


def test_a_model_that_is_too_long_or_there_too_often_is_refused() -> None:
    with pytest.raises(BadRequest, match="at most 1048576 bytes"):
        named(JSON, f'{{"model":"{"a" * (1 << 20)}"}}')
    with pytest.raises(BadRequest, match="repeats 'model' too often"):
        named(JSON, "{" + ",".join(['"model":"a"'] * (MAX_REPEATED + 1)) + "}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"model":"a"', r"not JSON: .*line 1 column 13 \(char 12\)"),
        ('{"model":"a",\n"x":01}', r"line 2"),
        ("{'model':'a'}", r"char 1"),
        ("model=a", r"char 0"),
        ('["a"]', "not an object"),
        ('"model"', "not an object"),
        ("[" * 200_000, "deep"),
        ('{"model":"a\n"}', "control character"),
    ],
)
def test_broken_json_is_a_bad_request_that_says_where(text: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        named(JSON, text)


def test_only_the_name_changes_in_json() -> None:
    text = (
        '{ "n":1.50e+02, "big":123456789012345678901234567890,\t"model" : @, "model":@,"s":"\\u00e4 ä 漢 \\ud83d",\r\n'
        '"nested":{"model":"stays"}, "list":["model","old"], "x":1,"x":2 ,"model":@ }\n'
    )
    was = text.replace("@", '"o\\u002fld"', 1).replace("@", "7", 1).replace("@", '"old"')
    assert renamed(JSON, was, 'new"').decode() == text.replace("@", '"new\\""')
    assert renamed(JSON, was + LARGE, 'new"').decode() == text.replace("@", '"new\\""') + LARGE


def test_bytes_that_are_no_utf8_go_on_as_they_came() -> None:
    data = b'{"a":"\xff\xfe\xc3","model":"old","b":"\xed\xa0\x80"}'
    assert renamed(JSON, data, "n") == data.replace(b"old", b"n")


NAMES = st.text(min_size=1, max_size=8)
SCALARS = st.one_of(st.integers(), st.text(max_size=6), st.none(), st.booleans())


@given(st.lists(st.tuples(st.sampled_from(["model", "a", "ä", "Model"]), NAMES | SCALARS)), NAMES, NAMES, st.booleans())
def test_any_json_is_renamed_as_parsing_and_writing_would(
    pairs: list[tuple[str, Any]], old: str, new: str, ascii_only: bool
) -> None:
    pairs.append(("model", old))
    members = (f"{json.dumps(k, ensure_ascii=ascii_only)} : {json.dumps(v, ensure_ascii=ascii_only)}" for k, v in pairs)
    text = "{" + ",\n".join(members) + "}"
    assert named(JSON, text).name == old
    result = json.loads(renamed(JSON, text, new), object_pairs_hook=list)
    assert result == [(key, new if key == "model" else value) for key, value in pairs]


# -- forms and queries --


def test_the_name_in_a_multipart_form() -> None:
    text = form(("file", "\r\n--B model"), ("model", "org/b"), ("x", "model"), ("model", "second"))
    assert named(MULTIPART, text).name == "org/b"
    assert named('Multipart/Form-Data; charset=x; boundary="BB"', text).name == "org/b"
    assert renamed(MULTIPART, text, 'n"ä').decode() == text.replace("org/b", 'n"ä').replace("second", 'n"ä')


def test_a_name_takes_the_place_of_an_empty_value_whose_blank_line_ends_at_the_boundary() -> None:
    text = '--BB\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + form(("x", "y"))
    new = renamed(MULTIPART, text, "n", query="?model=query")
    assert new.decode() == text.replace("\r\n\r\n--BB", "\r\n\r\nn\r\n--BB", 1)
    assert named(MULTIPART, new.decode()).name == "n"


def test_a_name_in_a_form_whose_lines_end_with_lf_alone_is_put_in_its_place_in_the_same_way() -> None:
    empty = '--BB\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
    for text in (form(("model", "org/b"), ("x", "y"), ("model", "second")), empty + form(("model", "org/b"))):
        renamed_crlf = renamed(MULTIPART, text, "n", query="?model=query")
        text = text.replace("\r\n", "\n")
        assert renamed(MULTIPART, text, "n", query="?model=query") == renamed_crlf.replace(b"\r\n", b"\n")
    assert named(MULTIPART, form(("model", "org/b")).replace("\r\n", "\n")).name == "org/b"


def test_the_query_of_a_form_counts_too_in_the_order_that_go_gives_them() -> None:
    assert named(MULTIPART, form(("model", "body")), "?model=query").name == "query"
    assert named(MULTIPART, form(("x", "y")), "?model=query").name == "query"
    assert named(URLENCODED, "model=body&x=1", "?model=query").name == "body"
    assert named(URLENCODED, "x=1", "?x&model=query").name == "query"
    assert named("text/plain", '{"model":"body"}', "?model=query").name == "query"
    assert named("", "", "model=query").name == "query"


@pytest.mark.parametrize(
    ("content_type", "text"),
    [
        ("text/plain", '{"model":"a"}'),
        ("", '{"model":"a"}'),
        (URLENCODED, "x=model"),
        (URLENCODED, "model=&model=a"),
        (MULTIPART, form(("x", "y"))),
        (MULTIPART, form(("model", ""))),
        ("multipart/mixed; boundary=BB", form(("model", "a"))),
    ],
)
def test_a_form_without_a_model(content_type: str, text: str) -> None:
    with pytest.raises(NotFound, match="no model id could be identified"):
        named(content_type, text)


LOOKS_LIKE_JSON = "the body looks like JSON, but was sent {}; add -H 'Content-Type: application/json'"


@pytest.mark.parametrize(
    ("content_type", "sent"),
    [
        (URLENCODED, "as application/x-www-form-urlencoded"),
        ("text/plain;charset=UTF-8", "as text/plain"),
        ("Application/X+JSON ; a=b", "as Application/X+JSON"),
        ("", "without a Content-Type"),
        (" ; charset=utf-8", "without a Content-Type"),
        ("multipart/mixed; boundary=BB", "as multipart/mixed"),
        ("te\x85\xad<xt>", r"as te\x85\xad<xt>"),
        ("x" * 60_000, f"as {'x' * 97}…"),
    ],
)
@pytest.mark.parametrize("text", ['{"model":"a"}', '\ufeff\r\n\t { "model": "a" }', "{", " " * 1000 + "{}"])
def test_json_under_another_type_is_told_how_it_was_sent(content_type: str, sent: str, text: str) -> None:
    with pytest.raises(NotFound) as refused:
        find_model("POST", content_type, "", Bytes(text.encode(), 1 << 20))
    assert refused.value.message == f"no model id could be identified: {LOOKS_LIKE_JSON.format(sent)}"


@pytest.mark.parametrize("text", ["", " ", "[1]", '"{"', "x={}", "model=&a={", "\0{"])
@pytest.mark.parametrize("content_type", [URLENCODED, "text/plain", ""])
def test_what_does_not_begin_like_an_object_is_not_taken_for_json(content_type: str, text: str) -> None:
    with pytest.raises(NotFound) as refused:
        named(content_type, text)
    assert refused.value.message == "no model id could be identified"


def test_json_that_was_sent_as_a_form_with_parts_is_told_so_too() -> None:
    for content_type, why in ((MULTIPART, "does not occur in the body"), ("multipart/form-data", "has no boundary")):
        with pytest.raises(BadRequest) as refused:
            named(content_type, '{"model":"a"}')
        assert refused.value.message.endswith(f"{why}: {LOOKS_LIKE_JSON.format('as multipart/form-data')}")


def test_json_needs_no_type_where_the_query_names_the_model() -> None:
    assert named("text/plain", '{"model":"body"}', "?model=query").name == "query"


def test_a_form_that_is_none_is_a_bad_request() -> None:
    for content_type, text in ((MULTIPART, "model=a"), ("multipart/form-data", form()), (MULTIPART, form()[:-4])):
        with pytest.raises(BadRequest):
            named(content_type, text)
    with pytest.raises(BadRequest, match="urlencoded"):
        named(URLENCODED, b"model=a&x=" + b"x" * MAX_URLENCODED_BYTES)


def test_an_urlencoded_body_goes_on_as_it_came() -> None:
    assert renamed(URLENCODED, "model=a&x=1", "new") == b"model=a&x=1"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_name_in_a_query(method: str) -> None:
    body = Bytes(b'{"model":"no"}')
    assert find_model(method, JSON, "?x=1&model=org%2Fb+c&model=no", body) == Named("org/b c")
    for query in ("", "?", "?model=", "?model", "?models=a"):
        with pytest.raises(NotFound, match="no model id could be identified"):
            find_model(method, JSON, query, body)


@pytest.mark.parametrize(
    ("query", "want"),
    [
        ("?model=a", "?model=n%2F%C3%A4%26%20"),
        ("?x=%20y&model=al&z=+&model=b", "?x=%20y&model=n%2F%C3%A4%26%20&z=+&model=n%2F%C3%A4%26%20"),
        ("%6Dodel=a", "%6Dodel=n%2F%C3%A4%26%20"),
        ("?model=a&model", "?model=n%2F%C3%A4%26%20&model"),
        ("?", "?"),
        ("", ""),
    ],
)
def test_only_the_name_changes_in_a_query(query: str, want: str) -> None:
    assert rename_in_query(query, "n/ä& ") == want


# -- /upstream --

MODELS = {"a": "a", "al": "a", "org": "org", "org/b": "org/b", "org/b/c:q4": "org/b/c:q4", "sp ace": "sp ace", "ä": "ä"}
MOST_SLASHES = 2  # in one of them


@pytest.mark.parametrize(
    ("rest", "found"),
    [
        ("a", ("a", "a", "")),
        ("a/", ("a", "a", "/")),
        ("a/v1/models", ("a", "a", "/v1/models")),
        ("a//x/../y", ("a", "a", "//x/../y")),
        ("al/x%2Fy", ("a", "al", "/x%2Fy")),
        ("org", ("org", "org", "")),
        ("org/b", ("org/b", "org/b", "")),
        ("org%2Fb", ("org/b", "org/b", "")),
        ("org%2fb/x", ("org/b", "org/b", "/x")),
        ("org/x", ("org", "org", "/x")),
        ("org/b/c", ("org/b", "org/b", "/c")),
        ("org/b/c%3Aq4/x", ("org/b/c:q4", "org/b/c:q4", "/x")),
        ("org%2Fb/c:q4", ("org/b/c:q4", "org/b/c:q4", "")),
        ("sp%20ace/", ("sp ace", "sp ace", "/")),
        ("%C3%A4/", ("ä", "ä", "/")),
        ("%61/x", ("a", "a", "/x")),
    ],
)
def test_the_longest_name_that_the_path_begins_with_wins(rest: str, found: tuple[str, str, str]) -> None:
    assert find_upstream(rest, MODELS.get, MOST_SLASHES) == UpstreamPath(*found)


@pytest.mark.parametrize("rest", ["", "/", "zzz/x", "A/x", "a%2Fx", "ax", "al%252Fb/x", "%ff/x", "sp+ace/"])
def test_an_unknown_name_in_the_path_is_not_found(rest: str) -> None:
    with pytest.raises(UnknownName):
        find_upstream(rest, MODELS.get, MOST_SLASHES)


def test_a_path_of_slashes_is_not_looked_up_slash_by_slash() -> None:
    asked: list[str] = []

    def lookup(name: str) -> str | None:
        asked.append(name)
        return None

    begin = time.process_time()
    with pytest.raises(UnknownName):
        find_upstream("a/" * 30_000, lookup, MOST_SLASHES)
    assert len(asked) == 3
    assert time.process_time() - begin < 0.5
    with pytest.raises(UnknownName):
        find_upstream("a/b", lookup, 0)


# -- splicing --


@given(
    st.binary(max_size=30),
    st.lists(st.tuples(st.integers(0, 30), st.binary(max_size=3)), max_size=6),
    st.integers(1, 9),
)
def test_any_edits_over_any_pieces(data: bytes, cuts: list[tuple[int, bytes]], size: int) -> None:
    marks = sorted((min(at, len(data)), new) for at, new in cuts)
    if len(marks) % 2:
        marks.pop()
    edits = [Edit(start, end, new) for (start, new), (end, _) in zip(marks[::2], marks[1::2], strict=True)]
    want, at = b"", 0
    for edit in edits:
        want += data[at : edit.start] + edit.new
        at = edit.end
    want += data[at:]
    assert b"".join(splice(Bytes(data, size).pieces(), edits)) == want
    assert len(want) == len(data) + grown_by(edits)


def test_splicing_holds_one_piece_at_a_time() -> None:
    asked: list[int] = []

    def pieces() -> Iterable[bytes]:
        for number in range(4):
            asked.append(number)
            yield b"%d" % number

    out = splice(pieces(), [Edit(1, 2, b"x")])
    assert next(out) == b"0"
    assert asked == [0]
    assert list(out) == [b"", b"x", b"2", b"3"]
