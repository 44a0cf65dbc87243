"""Whatever is missing of an answer, and whatever it holds: a number is the right one, or it is not reported."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llamaswap_lib.activity.json_ends import members_at_end, members_at_start
from llamaswap_lib.activity.meter import row_of, timing_text
from llamaswap_lib.activity.record import Ended, Record, Sample, Spent
from llamaswap_lib.activity.row import Row
from tests.activity.answers import (
    CHAT,
    JSON,
    NOTHING,
    SHAPES,
    STREAM,
    USAGE_INPUT,
    Shape,
    in_chunks,
    record,
    sample_of,
    tokens_of,
)
from tests.web.gzipped import gzipped

MOST_STORED = 2**63 - 1
# One of these says smaller numbers in front of the last ones; the other one a second speed behind the first.
ONCE = [shape for shape in SHAPES if shape.name not in ("usage in each event", "metrics above timings")]
shapes = st.sampled_from(SHAPES)
texts = st.text(st.sampled_from('"\\{}[]:,ua \n\r0'), max_size=40)


def assert_right_or_unreported(row: Row, shape: Shape) -> None:
    tokens = tokens_of(row)
    if row.prompt_per_second == -1 and tokens[3] == USAGE_INPUT:  # where only its usage is there, that counts
        tokens = (*tokens[:3], shape.tokens[3], *tokens[4:])
    for found, right in zip(tokens, shape.tokens, strict=True):
        assert found in (right, 0, -1), (shape.name, tokens_of(row))


@given(st.sampled_from(ONCE), st.integers(0, 900), st.integers(0, 900), st.sampled_from([0, 1, 5, 64, 10_000]))
def test_a_gap_never_makes_a_wrong_number(shape: Shape, head: int, tail: int, chunk: int) -> None:
    body = in_chunks(shape.body, chunk) if chunk else shape.body
    row = row_of(record(shape, sample_of(body, head, tail), is_chunked=chunk > 0))
    assert_right_or_unreported(row, shape)


@given(st.sampled_from(ONCE), st.integers(0, 900), st.sampled_from([0, 1, 5, 64, 10_000]), st.sampled_from(Ended))
def test_an_answer_that_broke_off_never_makes_a_wrong_number(shape: Shape, size: int, chunk: int, ended: Ended) -> None:
    body = (in_chunks(shape.body, chunk) if chunk else shape.body)[:size]
    row = row_of(record(shape, sample_of(body), is_chunked=chunk > 0, ended=ended))
    assert_right_or_unreported(row, shape)


@given(texts, texts, st.integers(0, 200))
@example('\\"usage\\":{\\"prompt_tokens\\":7}', "", 40)
@example('"', '\\"', 3)
def test_no_text_is_taken_for_a_report(said: str, name: str, tail: int) -> None:
    """A text that looks like a report, and any other one, in front of the one report that there is."""
    value: dict[str, object] = {
        name: said,
        "n": [said, {"usage": {"prompt_tokens": 9}, said: 1}],
        "m": {"timings": {"prompt_n": 9}},
    }
    body = json.dumps(
        {**value, "usage": {"prompt_tokens": 5, "completion_tokens": 6}, "z": said}, ensure_ascii=False
    ).encode()
    shape = Shape("", CHAT, JSON, body, (-1, -1, -1, 5, 6, -1, -1))
    row = row_of(record(shape, sample_of(body, 0, tail)))
    assert_right_or_unreported(row, shape)
    row = row_of(record(shape, sample_of(body, 1, min(tail, len(body) - 1))))
    assert_right_or_unreported(row, shape)


@given(st.text(max_size=60) | texts)
def test_the_ends_of_any_text_are_read(text: str) -> None:
    members_at_start(text)
    members_at_start("{" + text)
    members_at_end(text + "}")
    members_at_end('"usage":{' + text + "}}", in_response=True)


@pytest.mark.parametrize(
    "piece",
    [
        b"\r",
        b'\\"',
        b'"',
        b"\\",
        b"[",
        b"}",
        b"\n5\r\n",
        b"\n1\r\nx",
        b" ",
        b'"usage":{',
        b'data: {"usage":{\n',
        b"\n\n",
    ],
)
def test_a_long_answer_of_nonsense_is_read_in_no_time(piece: bytes) -> None:
    """Where the time grew with the square of the length, this would take minutes."""
    body = b"{" + piece * (200_000 // len(piece)) + b"}"
    for content_type in (JSON, STREAM):
        shape = Shape("", CHAT, content_type, body, NOTHING)
        for is_chunked in (False, True):
            for sample in (sample_of(body), sample_of(body, 60_000, 60_000)):
                row_of(record(shape, sample, is_chunked=is_chunked))


@st.composite
def rubbish(draw: st.DrawFn) -> Record:
    """A record of anything at all, often made of the pieces of real answers."""
    pieces = st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [b"data: ", b"\n\n", b"\r\n", b"5\r\n", b"0\r\n\r\n", b'"usage":{', b"}", b"[", b"\xff\xfe", b"\xc3"]
        ),
        shapes.map(lambda shape: shape.body[:200]),
    )
    body = b"".join(draw(st.lists(pieces, max_size=12)))
    if draw(st.booleans()):
        body = gzipped(body)
    cut = draw(st.integers(0, len(body)))
    is_whole = draw(st.booleans())
    size = len(body) + (0 if is_whole else draw(st.integers(1, 99)))
    seconds = st.floats(-5, 100, allow_nan=False)
    stamps = tuple(draw(st.lists(st.tuples(st.integers(0, 500), seconds), max_size=3)))
    head, tail = (body, b"") if is_whole else (body[:cut], body[cut:])
    last_at = draw(st.none() | seconds)
    sample = Sample(head, tail, size, stamps, first_at=last_at, last_at=last_at)
    shape = Shape(
        "",
        draw(st.sampled_from([CHAT, "/infill", "/v1/responses"])),
        draw(st.sampled_from([JSON, STREAM, ""])),
        b"",
        NOTHING,
    )
    return record(
        shape,
        sample,
        status=draw(st.sampled_from([0, 200, 404, 503, 999])),
        ended=draw(st.sampled_from(Ended)),
        content_encoding=draw(st.sampled_from(["", "", "gzip", "deflate", "br", "gzip, gzip"])),
        is_chunked=draw(st.booleans()),
        seconds=draw(seconds),
        sent_at=draw(st.none() | seconds),
        head_at=draw(st.none() | seconds),
        spent=Spent(draw(seconds), draw(seconds), "other"),
    )


@given(rubbish())
def test_rubbish_makes_a_row_that_can_be_stored(record: Record) -> None:
    row = row_of(record)
    for value in row:
        assert value is None or isinstance(value, str | bool | int | float)
        if isinstance(value, int | float):
            assert -1 <= value <= MOST_STORED  # a NaN is neither
        elif isinstance(value, str):
            value.encode()
    spent = (row.queue_ms, row.load_ms, row.prompt_ms, row.generation_ms, row.upstream_ms, row.ours_ms)
    assert sum(max(0, part) for part in spent) == row.duration_ms
    assert timing_text(row).startswith("queue ")
