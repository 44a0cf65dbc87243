"""Multipart and urlencoded forms: the field is found wherever it stands, however the body is cut."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.wire.multipart import (
    MAX_PART_HEAD_BYTES,
    MAX_VALUE_BYTES,
    MAX_VALUES,
    BadForm,
    FormScanner,
    Value,
    find_pairs,
    parse_parameters,
)

FIELD = b'Content-Disposition: form-data; name="model"'
FILE = b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav'


def part(head: bytes, content: bytes) -> bytes:
    return b"--BB\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


def scan(data: bytes, size: int = 1 << 20, boundary: str = "BB") -> list[Value]:
    scanner = FormScanner(boundary, "model")
    for start in range(0, len(data), size):
        scanner.feed(data[start : start + size])
    return scanner.finish()


def texts(data: bytes, size: int = 1 << 20) -> list[str]:
    values = scan(data, size)
    for value in values:
        assert data[value.start : value.end].decode("utf-8", "surrogateescape") == value.text
    return [value.text for value in values]


SIZES = pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])


@SIZES
@pytest.mark.parametrize(
    ("data", "found"),
    [
        (part(FIELD, b"a"), ["a"]),
        (part(FILE, b"RIFF\r\n--B\r\n\r\n--BBX\r\n-\r\n--BB-") + part(FIELD, b"org/b"), ["org/b"]),
        (part(FIELD, b"a") + part(FILE, b"model") + part(FIELD, b"b\r\nc"), ["a", "b\r\nc"]),
        (b"preamble\r\n--B\r\n" + part(FIELD, "ä".encode()) + part(b"X: y", b""), ["ä"]),
        (b"\r\n" + part(FIELD, b"") + part(FIELD, b"\xff"), ["", "\udcff"]),
        (b"--BB\r\n" + FIELD + b"\r\n\r\n" + part(FIELD, b"z"), ["", "z"]),
        (b"--BB \t\r\n" + FIELD + b"\r\n\r\na\r\n", ["a"]),
        (part(FIELD, b"--BBy") + part(FILE, b"\r\n--BB\tz"), ["--BBy"]),
        (part(b"", b"headless") + part(FILE, b""), []),
        (b"--BB\r\n\r\nno head\r\n" + part(FIELD, b"a"), ["a"]),
        (part(b"content-disposition:form-data;NAME=model", b"a"), ["a"]),
        (part(b"Content-Type: text/plain\r\nContent-Disposition: form-data ; name = model ; x=y", b"a"), ["a"]),
        (part(b'Content-Disposition: form-data; name="mo\\del"', b"a"), ["a"]),
        (part(b'Content-Disposition: form-data; name="Model"', b"a"), []),
        (part(b'Content-Disposition: form-data; name="model "', b"a"), []),
        (part(b'Content-Disposition: form-data; name="x; name=\\"model\\""', b"a"), []),
        (part(b'Content-Disposition: form-data; name="model"; filename="model"', b"a"), []),
        (part(b"Content-Disposition: form-data; name=\"model\"; filename*=UTF-8''x", b"a"), []),
        (part(b'Content-Disposition: attachment; name="model"', b"a"), []),
        (part(b'X-Disposition: form-data; name="model"', b"a"), []),
    ],
)
def test_the_field_is_found_wherever_it_stands(data: bytes, found: list[str], size: int) -> None:
    for end in (b"--BB--", b"--BB--\r\n", b"--BB--\r\nepilogue\r\n" + part(FIELD, b"not this")):
        assert texts(data + end, size) == found


@SIZES
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "does not occur"),
        (b"model=a", "does not occur"),
        (part(FIELD, b"a").replace(b"BB", b"CC"), "does not occur"),
        (part(FIELD, b"a").replace(b"\r\n", b"\n"), "last boundary"),
        (b"\n" + part(FIELD, b"a"), "does not occur"),
        (part(FIELD, b"a").replace(b"\r\n", b"\n", 1) + b"--BB--", "last boundary"),
        (part(FIELD, b"a"), "last boundary"),
        (part(FILE, b"a") + b"--BB-", "last boundary"),
        (b"--BB\r\n" + FIELD, "last boundary"),
        (b"--BB\r\nX: " + b"x" * MAX_PART_HEAD_BYTES, "too large"),
        (b"--BB\r\nX: " + b"x" * MAX_PART_HEAD_BYTES + b"\r\n\r\n", "too large"),
        (part(FIELD, b"x" * (MAX_VALUE_BYTES + 1)) + b"--BB--", "longer than"),
        (part(FIELD, b"x" * (MAX_VALUE_BYTES + 99)), "longer than"),
    ],
)
def test_what_is_no_form_is_refused(data: bytes, says: str, size: int) -> None:
    with pytest.raises(BadForm, match=says):
        scan(data, size)


LF_END = b"--BB--\nepilogue\n" + part(FIELD, b"not this")


@SIZES
@pytest.mark.parametrize(
    ("data", "found"),
    [
        (part(FIELD, b"a"), ["a"]),
        (part(FILE, b"RIFF\n--B\n\n--BBX\n-\n--BB-") + part(FIELD, b"org/b"), ["org/b"]),
        (b"preamble\n--B\n" + part(FIELD, b"a") + part(b"X: y", b""), ["a"]),
        (b"\n\n" + part(FIELD, b"") + part(FIELD, b"a\nb"), ["", "a\nb"]),
        (b"--BB\n" + FIELD + b"\n\n" + part(FIELD, b"z"), ["", "z"]),
        (b"--BB \t\n" + FIELD + b"\n\na\n", ["a"]),
        (b"--BB\n\nno head\n" + part(FIELD, b"a"), ["a"]),
    ],
)
def test_a_form_whose_lines_end_with_lf_alone(data: bytes, found: list[str], size: int) -> None:
    data = data.replace(b"\r\n", b"\n")
    for end in (b"--BB--", b"--BB--\n", LF_END.replace(b"\r\n", b"\n"), LF_END):
        assert texts(data + end, size) == found


@SIZES
def test_the_line_of_the_first_delimiter_tells_how_all_others_end(size: int) -> None:
    lf = b"--BB\n" + FIELD + b"\n\na\r\n--BB\r\nb\r\n--BB--"
    assert texts(lf, size) == ["a\r\n--BB\r\nb\r"]
    crlf = part(FIELD, b"a\n--BB\nb\n--BB--") + b"--BB--"
    assert texts(crlf, size) == ["a\n--BB\nb\n--BB--"]
    assert texts(b"preamble\n--BB\r\nnot this\r\n" + part(FIELD, b"a") + b"--BB--", size) == ["a"]


@SIZES
def test_a_value_may_be_as_long_as_its_bound(size: int) -> None:
    assert texts(part(FIELD, b"x" * MAX_VALUE_BYTES) + b"--BB--", size) == ["x" * MAX_VALUE_BYTES]


def test_a_large_file_before_the_field_costs_no_memory() -> None:
    piece = (b"\r\n--B" + bytes(range(256)) * 4) * 255
    scanner = FormScanner("BB", "model")
    tracemalloc.start()
    try:
        begin = time.process_time()
        scanner.feed(b"--BB\r\n" + FILE + b"\r\n\r\n")
        for _ in range(200):
            scanner.feed(piece)
        scanner.feed(b"\r\n" + part(FIELD, b"a") + b"--BB--")
        assert [value.text for value in scanner.finish()] == ["a"]
        assert time.process_time() - begin < 5
        assert tracemalloc.get_traced_memory()[1] < 4 * len(piece)
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_field_that_is_repeated_without_end_is_refused() -> None:
    assert len(scan(part(FIELD, b"a") * MAX_VALUES + b"--BB--")) == MAX_VALUES
    with pytest.raises(BadForm, match="'model' is there more than 10000 times"):
        scan(part(FIELD, b"a") * (MAX_VALUES + 1) + b"--BB--")


CONTENT = st.binary(max_size=8).filter(lambda content: b"--BB" not in content) | st.sampled_from(
    [b"\r\n", b"\r\n--", b"\r\n--B", b"--BBy", b"\r\n--BBx", b"\r", b"-"]
)


@given(
    st.lists(st.tuples(st.sampled_from([FIELD, FILE, b"X: y"]), CONTENT), max_size=6), st.integers(1, 30), st.booleans()
)
def test_any_form_cut_anywhere(parts: list[tuple[bytes, bytes]], size: int, has_lf: bool) -> None:
    data = b"".join(part(head, content) for head, content in parts) + b"--BB--\r\n"
    if has_lf:
        data = data.replace(b"\r\n", b"\n")
        parts = [(head, content.replace(b"\r\n", b"\n")) for head, content in parts]
    wanted = [content.decode("utf-8", "surrogateescape") for head, content in parts if head == FIELD]
    assert texts(data, size) == wanted


@given(st.lists(st.sampled_from([b"--BB", b"\r\n", b"\n", b"--", FIELD, b":", b"x", b"\r", b";", b'"']), max_size=12))
def test_rubbish_is_judged_the_same_however_it_is_cut(parts: list[bytes]) -> None:
    data = b"".join(parts)
    try:
        whole = scan(data)
    except BadForm:
        with pytest.raises(BadForm):
            scan(data, 1)
    else:
        assert scan(data, 1) == whole


@pytest.mark.parametrize(
    ("value", "kind", "parameters"),
    [
        ("multipart/form-data; boundary=abc", "multipart/form-data", {"boundary": "abc"}),
        ('Multipart/Form-Data ;BOUNDARY="a b;c" ; x=1', "multipart/form-data", {"boundary": "a b;c", "x": "1"}),
        ("text/plain", "text/plain", {}),
        ("text/plain;", "text/plain", {}),
        ("", "", {}),
        ("a; b; c=d", "a", {}),
        ('a; b="c', "a", {"b": '"c'}),
        ("a; b=c; b=d", "a", {"b": "c"}),
        ("a; b=", "a", {"b": ""}),
    ],
)
def test_parameters_of_a_header(value: str, kind: str, parameters: dict[str, str]) -> None:
    assert parse_parameters(value) == (kind, parameters)


@pytest.mark.parametrize(
    ("encoded", "found"),
    [
        (b"model=a", [("a", b"a")]),
        (b"x=1&model=org%2Fb+c&y", [("org/b c", b"org%2Fb+c")]),
        (b"%6dodel=a&model=b", [("a", b"a"), ("b", b"b")]),
        (b"model=a=b", [("a=b", b"a=b")]),
        (b"model=", [("", b"")]),
        ("model=ä%C3%A4".encode(), [("ää", "ä%C3%A4".encode())]),
        (b"model=%zz", [("%zz", b"%zz")]),
        (b"model", []),
        (b"model;x=a&model=a;b", []),
        (b"models=a&xmodel=b&Model=c", []),
        (b"", []),
        (b"&&", []),
        (b"=model&a=model", []),
        (b"&" * 200_000 + b"model=a&" + b"x=1&" * 50_000 + b"model=b", [("a", b"a"), ("b", b"b")]),
        (b"x" * 200_000 + b"=model&model=" + b"y" * 70_000, [("y" * 70_000, b"y" * 70_000)]),
    ],
)
def test_pairs(encoded: bytes, found: list[tuple[str, bytes]]) -> None:
    assert [(value.text, encoded[value.start : value.end]) for value in find_pairs(encoded, "model")] == found
