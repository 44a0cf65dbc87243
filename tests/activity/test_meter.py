"""The row of a request: what answers of every shape report, errors, and where the time went."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from llamaswap_lib.activity.bare_row import bare_row
from llamaswap_lib.activity.meter import row_of, timing_text
from llamaswap_lib.activity.record import Ended, Record, Sample, Spent
from llamaswap_lib.activity.row import Row
from tests.activity.answers import (
    CHAT,
    JSON,
    LIES,
    LLAMA_CPP,
    NOTHING,
    OF_TIMINGS,
    SHAPES,
    STREAM,
    TIMINGS,
    Shape,
    in_chunks,
    record,
    sample_of,
    tokens_of,
    unsaid,
)
from tests.web.gzipped import gzipped

SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)


def raw_deflate(body: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-15)
    return encoder.compress(body) + encoder.flush()


def row_for(body: str | bytes, path: str = CHAT, content_type: str = JSON, **fields: Any) -> Row:
    body = body.encode() if isinstance(body, str) else body
    return row_of(record(Shape("", path, content_type, body, NOTHING), **fields))


@SHAPE
def test_a_row_says_what_the_answer_reports(shape: Shape) -> None:
    row = row_of(record(shape))
    assert tokens_of(row) == shape.tokens
    assert (row.model, row.path, row.status, row.error) == ("m", shape.path, 200, "")


@SHAPE
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_row_says_it_where_the_answer_is_in_chunks(shape: Shape, size: int) -> None:
    assert tokens_of(row_of(record(shape, sample_of(in_chunks(shape.body, size)), is_chunked=True))) == shape.tokens


@SHAPE
def test_a_row_says_it_where_the_answer_is_encoded(shape: Shape) -> None:
    for encoding, encode in (("gzip", gzipped), ("deflate", zlib.compress), ("deflate", raw_deflate)):
        encoded = encode(shape.body)
        assert tokens_of(row_of(record(shape, sample_of(encoded), content_encoding=encoding))) == shape.tokens
        sample = sample_of(in_chunks(encoded, 11))
        assert tokens_of(row_of(record(shape, sample, content_encoding=encoding, is_chunked=True))) == shape.tokens


@pytest.mark.parametrize(
    "shape", [shape for shape in SHAPES if shape.content_type == STREAM], ids=lambda shape: shape.name
)
def test_lines_may_end_as_they_like(shape: Shape) -> None:
    for ending in (b"\r\n", b"\r"):
        body = shape.body.replace(b"\n", ending)
        if shape.name != "an event of several lines":
            assert tokens_of(row_of(record(shape, sample_of(body)))) == shape.tokens


def test_lenient_chunks_are_read() -> None:
    body = b'{"usage":{"prompt_tokens":5,"completion_tokens":6}}'
    framed = b"%X ; x=y\n%b\r\r\n0\n\n" % (len(body), body)
    assert tokens_of(row_for(framed, is_chunked=True)) == unsaid(5, 6)


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie[:12])
def test_a_number_that_cannot_be_one_counts_as_not_reported(lie: str) -> None:
    usage = f'{{"choices":[],"usage":{{"completion_tokens":7,"prompt_tokens":{lie},"cache_read_input_tokens":{lie}}}}}'
    timings = f'{{"timings":{{"predicted_n":7,"prompt_n":{lie},"cache_n":{lie},"prompt_ms":{lie},"draft_n":{lie}}}}}'
    for text in (usage, timings):
        for body, content_type in ((text, JSON), (f"data: {text}\n\n", STREAM)):
            row = row_for(body, content_type=content_type)
            assert tokens_of(row) in (unsaid(0, 7), NOTHING), body  # of a number of 5,000 digits not even JSON is left
            assert row.duration_ms in (2000, 2001)


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie[:12])
def test_a_speed_that_cannot_be_one_counts_as_not_reported(lie: str) -> None:
    row = row_for(f'{{"timings":{{"prompt_n":1,"predicted_per_second":{lie}}},"metrics":{{"mean_itl_ms":{lie}}}}}')
    assert row.tokens_per_second in (-1, 0.0, 1.5, 1000 / 1.5)


@pytest.mark.parametrize("usage", ["[]", '"usage"', "7", "null", "true", '[{"prompt_tokens":5}]'])
def test_usage_that_is_no_object_is_none(usage: str) -> None:
    assert tokens_of(row_for(f'{{"usage":{usage},"timings":{usage},"metrics":{usage}}}')) == NOTHING
    assert tokens_of(row_for(f'data: {{"usage":{usage}}}\n\n', content_type=STREAM)) == NOTHING


def test_only_an_answer_of_200_is_asked_for_its_usage() -> None:
    assert tokens_of(row_for('{"usage":{"prompt_tokens":5},"error":"x"}', status=500)) == NOTHING


def test_an_encoding_that_is_not_there_makes_nothing_known() -> None:
    plain = '{"usage":{"prompt_tokens":5}}'
    for encoding in ("gzip", "deflate", "rot13", "gzip, gzip, gzip, gzip"):
        assert tokens_of(row_for(plain, content_encoding=encoding)) == NOTHING


def test_no_encoding_and_the_case_of_a_name_change_nothing() -> None:
    plain = '{"usage":{"prompt_tokens":5}}'
    assert tokens_of(row_for(plain, content_encoding="Identity")) == unsaid(5, 0)
    assert tokens_of(row_for(gzipped(plain.encode()), content_encoding="GZIP")) == unsaid(5, 0)
    assert tokens_of(row_for(f"data: {plain}\n\n", content_type="Text/Event-Stream")) == unsaid(5, 0)


def test_what_is_encoded_and_cut_makes_nothing_known() -> None:
    encoded = gzipped(LLAMA_CPP[0].body)
    assert tokens_of(row_for(encoded[:-9], content_encoding="gzip")) == NOTHING
    assert tokens_of(row_of(record(LLAMA_CPP[0], sample_of(encoded, 100, 100), content_encoding="gzip"))) == NOTHING


@pytest.mark.slow
def test_a_bomb_is_not_decoded_to_its_end() -> None:
    bomb = gzipped(b'{"usage":{"prompt_tokens":5},"data":"' + b"a" * (64 << 20) + b'","usage":{"prompt_tokens":6}}')
    assert tokens_of(row_for(bomb, content_encoding="gzip")) == unsaid(5, 0)


@pytest.mark.parametrize("shape", LLAMA_CPP, ids=lambda shape: shape.name)
def test_a_long_answer_is_read_at_its_ends(shape: Shape) -> None:
    """300 KB of what somebody has said, with the words of a report in it, stand in the middle."""
    said = json.dumps('"usage":{"prompt_tokens":77},"timings":{"prompt_n":77}}\n\n\r\n5\r\n' * 5_000)
    if shape.content_type == STREAM:
        at = shape.body.find(b"\n\n") + 2
        body = shape.body[:at] + b'data: {"content":' + said.encode() + b"}\n\n" + shape.body[at:]
    elif shape.path == "/v1/embeddings":
        body = shape.body.replace(b'"data":[', b'"data":[' + said.encode() + b",")
    else:
        body = shape.body.replace(b"{", b'{"said":' + said.encode() + b",", 1)
        if shape.path == "/v1/rerank" or not body.startswith(b"{"):
            return  # what it reports stands in the middle then
    assert tokens_of(row_of(record(shape, sample_of(body)))) == shape.tokens
    assert tokens_of(row_of(record(shape, sample_of(body, 2_000, 2_000)))) == shape.tokens
    framed = sample_of(in_chunks(body, 4_096))
    assert tokens_of(row_of(record(shape, framed, is_chunked=True))) == shape.tokens
    if shape.content_type == STREAM:
        cut = sample_of(in_chunks(body, 300), 9_000, 9_000)
        assert tokens_of(row_of(record(shape, cut, is_chunked=True))) == shape.tokens


def test_the_usage_of_a_response_is_found_behind_all_that_it_says() -> None:
    said = 'It said: \\"usage\\": {} \\\\' * 20_000
    event = (
        'event: response.completed\ndata: {"type":"response.completed","response":{"output":[{"text":"'
        f'{said}"}}],"usage":{{"input_tokens":22,"output_tokens":3}}}},"sequence_number":9}}\n\n'
    )
    assert tokens_of(row_for(event, "/v1/responses", STREAM)) == unsaid(22, 3)
    assert tokens_of(row_for(event, "/v1/responses", STREAM, ended=Ended.CLIENT_LEFT)) == unsaid(22, 3)
    assert tokens_of(row_for(event, CHAT, STREAM)) == NOTHING


def test_what_broke_off_is_not_taken_for_an_end() -> None:
    body = '{"choices":[' + '{"text":"%s"},' % ("x" * 80_000) + '{"usage":{"prompt_tokens":5}}'
    assert tokens_of(row_for(body, ended=Ended.UPSTREAM_BROKE)) == NOTHING
    assert tokens_of(row_for('{"usage":{"prompt_tokens":5},"choices":[', ended=Ended.UPSTREAM_BROKE)) == unsaid(5, 0)
    assert tokens_of(row_for('{"usage":{"prompt_tokens":5', ended=Ended.UPSTREAM_BROKE)) == NOTHING


# -- errors --


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ('{"error":{"message":" asked for\\n","type":"x"}}', "asked for"),
        ('{"error":"plain"}', "plain"),
        ('{"object":"error","message":"of vLLM"}', "of vLLM"),
        ('{"detail":"Not Found"}', "Not Found"),
        ('{"error":{"code":5},"detail":"behind"}', "behind"),
        ('{"error":{"message":"  "},"message":["x"]}', "503 Service Unavailable"),
        ('{"detail":[{"msg":"x"}]}', "503 Service Unavailable"),
        ("<h1>Bad</h1>", "503 Service Unavailable"),
        ("[1]", "503 Service Unavailable"),
        ("", "503 Service Unavailable"),
        ('{"error":"half \\ud800 of it"}', "half \\ud800 of it"),
    ],
)
def test_the_error_is_what_the_answer_says(body: str, error: str) -> None:
    assert row_for(body, status=503).error == error
    assert row_for(gzipped(body.encode()), status=503, content_encoding="gzip").error == error


def test_an_error_is_cut_after_500_characters() -> None:
    assert row_for(json.dumps({"error": " " + "ä" * 600}), status=500).error == "ä" * 500
    assert row_for(json.dumps({"error": {"message": "x" * 600}, "more": "y" * 90_000}), status=500).error == "x" * 500


def test_our_own_error_is_told_in_our_words() -> None:
    row = row_for("", status=429, error=" too many requests for a ", ended=Ended.REFUSED)
    assert (row.error, row.ended, row.status) == ("too many requests for a", "refused", 429)


def test_a_status_without_a_name_is_told_all_the_same() -> None:
    assert row_for("", status=599).error == "599"


def test_who_left_before_the_head_has_a_row_of_502() -> None:
    row = row_for("", status=0, ended=Ended.CLIENT_LEFT)
    assert (row.status, row.ended, row.error) == (502, "client_left", "502 Bad Gateway")
    assert tokens_of(row) == NOTHING


def test_a_name_with_half_a_character_can_be_stored() -> None:
    row = row_of(record(LLAMA_CPP[0], selector="s\udfff")._replace(model="a\ud800", path="/ä"))
    assert (row.model, row.selector, row.path) == ("a\\ud800", "s\\udfff", "/ä")


# -- times --


def parts(row: Row) -> int:
    times = (row.queue_ms, row.load_ms, row.prompt_ms, row.generation_ms, row.upstream_ms, row.ours_ms)
    assert row.ours_ms >= 0 <= row.upstream_ms
    return sum(max(0, time) for time in times)


def streamed(*, timings: str = "", usage: str = '"usage":{"prompt_tokens":9,"completion_tokens":11}') -> Record:
    """Sent at 0.5 s; a head without a token at 0.75, the first token at 1.5, the end at 3.5, done at 3.52."""
    pieces = [
        b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"b"}}]}\n\n',
        f"data: {{{','.join(filter(None, (usage, timings)))}}}\n\n".encode(),
    ]
    starts = [sum(map(len, pieces[:number])) for number in range(4)]
    stamps = tuple(zip(starts, (0.75, 1.5, 2.5, 3.5), strict=True))
    body = b"".join(pieces)
    sample = Sample(body, b"", len(body), stamps, first_at=0.75, last_at=3.5)
    spent = Spent(queue=0.2, load=0.25, behind="qwen")
    return record(Shape("", CHAT, STREAM, body, NOTHING), sample, seconds=3.52, spent=spent, sent_at=0.5)


def test_what_we_saw_says_where_the_time_went() -> None:
    row = row_of(streamed())
    assert (row.queue_ms, row.load_ms, row.behind) == (200, 250, "qwen")
    assert (row.first_byte_ms, row.first_token_ms) == (750, 1500)
    assert (row.prompt_ms, row.generation_ms, row.upstream_ms, row.ours_ms) == (1000, 2000, 0, 70)
    assert row.seen_per_second == 5.0
    assert parts(row) == row.duration_ms == 3520
    assert (
        timing_text(row)
        == "queue 200 ms (behind qwen), load 250, prompt 1000, first token 1500, generation 2000, ours 70"
    )


def test_what_the_upstream_reports_counts_before_what_we_saw() -> None:
    timings = '"timings":{"prompt_n":9,"predicted_n":11,"prompt_ms":300.9,"predicted_ms":1900.2}'
    row = row_of(streamed(timings=timings))
    assert (row.prompt_ms, row.generation_ms, row.upstream_ms, row.ours_ms) == (300, 1900, 798, 72)
    assert row.seen_per_second == 5.0
    assert parts(row) == row.duration_ms == 3520
    assert "generation 1900, upstream 798, ours 72" in timing_text(row)


def test_an_upstream_that_reports_more_than_there_was_makes_the_request_longer() -> None:
    row = row_of(streamed(timings='"timings":{"prompt_ms":3000.5,"predicted_ms":4000.5}'))
    assert row.duration_ms == 7001
    assert parts(row) == 7001
    assert (row.queue_ms, row.load_ms, row.prompt_ms, row.generation_ms) == (200, 250, 3000, 3551)


@pytest.mark.parametrize("usage", ['"usage":{"prompt_tokens":9}', '"usage":null', '"usage":{"completion_tokens":1}'])
def test_a_speed_needs_two_tokens(usage: str) -> None:
    assert row_of(streamed(usage=usage)).seen_per_second == 0.0


def test_an_answer_without_a_stream_is_generated_or_read_as_a_whole() -> None:
    chat = row_for('{"usage":{"prompt_tokens":9,"completion_tokens":11}}', seconds=2.0, sent_at=0.1)
    assert (chat.prompt_ms, chat.generation_ms, chat.first_token_ms) == (-1, 1799, -1)
    embeddings = row_for('{"usage":{"prompt_tokens":9}}', "/v1/embeddings", seconds=2.0, sent_at=0.1)
    assert (embeddings.prompt_ms, embeddings.generation_ms) == (1799, -1)
    assert parts(chat) == parts(embeddings) == 2000
    assert timing_text(chat) == "queue 0 ms, load 0, generation 1799, ours 201"


def test_who_left_while_the_upstream_thought_waited_for_the_upstream() -> None:
    row = row_for("", status=0, ended=Ended.CLIENT_LEFT, seconds=5.0, sent_at=1.0)
    assert (row.upstream_ms, row.ours_ms, row.prompt_ms, row.generation_ms) == (4000, 1000, -1, -1)
    assert row.first_byte_ms == -1


def test_the_time_of_an_error_is_the_upstreams() -> None:
    row = row_for('{"error":"x"}', status=500, seconds=2.0, sent_at=0.5)
    assert (row.upstream_ms, row.ours_ms, row.prompt_ms) == (1400, 600, -1)


def test_the_first_token_is_found_through_chunks() -> None:
    plain = streamed()
    starts = [start for start, _ in plain.sample.stamps]
    ends = [*starts[1:], plain.sample.size_bytes]
    pieces = [plain.sample.head[start:end] for start, end in zip(starts, ends, strict=True)]
    framed = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    framed[-1] += b"0\r\n\r\n"
    starts = [sum(map(len, framed[:number])) for number in range(4)]
    body = b"".join(framed)
    stamps = tuple(zip(starts, (0.75, 1.5, 2.5, 3.5), strict=True))
    sample = plain.sample._replace(head=body, size_bytes=len(body), stamps=stamps)
    assert row_of(plain._replace(sample=sample, is_chunked=True)) == row_of(plain)


def test_a_piece_without_a_stamp_has_no_time() -> None:
    """Of the last piece with a stamp nobody knows where it ends."""
    plain = streamed()
    cut = plain._replace(sample=plain.sample._replace(stamps=plain.sample.stamps[:2]))
    assert row_of(cut).first_token_ms == -1
    first = plain._replace(sample=plain.sample._replace(stamps=plain.sample.stamps[:3]))
    assert row_of(first).first_token_ms == 1500
    none = plain._replace(sample=plain.sample._replace(stamps=()))
    assert row_of(none).first_token_ms == -1


@pytest.mark.parametrize(
    "event",
    [
        {"choices": [{"delta": {"reasoning_content": "hm"}}]},
        {"choices": [{"delta": {"reasoning": "hm"}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]},
        {"choices": [{"text": "a"}]},
        {"content": "a", "stop": False},
        {"type": "response.output_text.delta", "delta": "a"},
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{"}},
    ],
)
def test_whatever_is_generated_is_a_token(event: dict[str, Any]) -> None:
    silent = [
        *({"choices": [{"delta": {"role": "assistant", "content": None}}]}, {"choices": [], "usage": None}),
        *({"type": "message_start", "message": {"content": []}}, {"type": "ping"}, {"content": "", "stop": True}),
        *({"choices": [None, 7, {"delta": []}]}, {"delta": {}}, {"delta": 0}, {"choices": {"a": 1}}),
    ]
    front = b": a comment\n\n" + b"".join(b"data: %b\n\n" % json.dumps(value).encode() for value in silent)
    body = front + b"data: " + json.dumps(event).encode() + b"\n\n"
    sample = Sample(body, b"", len(body), ((0, 0.5), (len(front), 1.25)), first_at=0.5, last_at=1.25)
    assert row_of(record(Shape("", CHAT, STREAM, body, NOTHING), sample)).first_token_ms == 1250


def test_a_clock_that_jumps_makes_no_time_negative() -> None:
    spent = Spent(queue=-1.0, load=50.0)
    row = row_for('{"usage":{}}', seconds=-3.0, spent=spent, sent_at=9.0)
    assert (row.duration_ms, row.queue_ms, row.load_ms, row.ours_ms) == (0, 0, 0, 0)
    assert parts(row_of(streamed()._replace(seconds=1.0))) == 1000


def test_timings_are_all_that_a_row_needs() -> None:
    assert tokens_of(row_for(f"{{{TIMINGS}}}", seconds=0.0)) == OF_TIMINGS


@pytest.mark.parametrize("seconds", [0.0, 0.0004, 0.0006, 1.9996])
def test_the_row_of_an_answer_that_cannot_be_read_has_the_times_of_any_other(seconds: float) -> None:
    made = record(LLAMA_CPP[0])._replace(seconds=seconds, sample=Sample(), spent=Spent(seconds, seconds, ""))
    bare, read = bare_row(made), row_of(made)
    assert (bare.duration_ms, bare.queue_ms) == (read.duration_ms, read.queue_ms)
