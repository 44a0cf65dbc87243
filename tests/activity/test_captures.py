"""Captures: which parts of a request are kept, that secrets are not, and that the bound holds."""

from __future__ import annotations

import base64
import gzip
import json
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.activity.captures import MOST_DECODED_BYTES, TOLD_BYTES, Captures, may_capture
from llamaswap_lib.activity.record import Sample
from tests.activity.rows import record

MB = 1 << 20


def answered(body: bytes, **changed: object) -> object:
    return record(sample=Sample(head=body, size_bytes=len(body)), **changed)


def body_of(capture: dict[str, object] | None, name: str) -> bytes | None:
    assert capture is not None
    text = capture[name]
    assert text is None or isinstance(text, str)
    return None if text is None else base64.b64decode(text)


def captured(**changed: object) -> dict[str, object] | None:
    captures = Captures(64 * MB)
    captures.add(1, record(**changed))
    return told(captures, 1)


def told(captures: Captures, row_id: int) -> dict[str, object] | None:
    pieces = captures.get(row_id)
    return None if pieces is None else json.loads(b"".join(pieces))


def test_a_capture_has_both_sides_without_secrets() -> None:
    asked = "CONTENT-type: text/a\r\ncontent-Type: text/b\r\nAUTHORIZATION: Bearer s\r\nx-api-key: s\r\n"
    capture = captured(request_fields=asked, response_fields="set-cookie: s\r\nproxy-authorization: s\r\n")
    assert capture == {
        "id": 1,
        "req_path": "/v1/chat/completions",
        "req_headers": {"Content-Type": "text/a", "Authorization": "[REDACTED]", "X-Api-Key": "[REDACTED]"},
        "req_body": base64.b64encode(b'{"model": "m"}').decode(),
        "resp_headers": {"Set-Cookie": "[REDACTED]", "Proxy-Authorization": "[REDACTED]"},
        "resp_body": base64.b64encode(b'{"answer": 1}').decode(),
    }


@pytest.mark.parametrize(
    ("path", "has_request", "has_response"),
    [
        ("/v1/chat/completions", True, True),
        ("/v1/audio/speech", True, False),
        ("/v1/images/generations", True, False),
        ("/sdapi/v1/txt2img", True, False),
        ("/v1/audio/transcriptions", False, True),
        ("/v1/audio/voices", False, True),
        ("/v1/images/edits", False, False),
        ("/sdapi/v1/img2img", False, False),
    ],
)
def test_bodies_that_are_files_are_left_out(path: str, has_request: bool, has_response: bool) -> None:
    capture = captured(path=path)
    assert (body_of(capture, "req_body") is not None, body_of(capture, "resp_body") is not None) == (
        has_request,
        has_response,
    )


def test_of_an_error_there_is_no_response_body() -> None:
    capture = captured(status=500)
    assert (body_of(capture, "req_body"), body_of(capture, "resp_body")) == (b'{"model": "m"}', None)


def test_of_an_error_of_our_own_there_is_a_capture_too() -> None:
    capture = captured(status=404, sample=Sample(), response_bytes=90)
    assert body_of(capture, "resp_body") is None


@pytest.mark.parametrize(
    "changed",
    [
        {"sample": Sample()},
        {"sample": Sample(), "status": 502},
        {"content_encoding": "br"},
        {"content_encoding": "gzip"},
        {"is_chunked": True},
        {"captures": False},
    ],
    ids=["empty", "no answer", "another coding", "not in its coding", "no chunks", "not wanted"],
)
def test_without_an_answer_that_can_be_read_there_is_no_capture(changed: dict[str, object]) -> None:
    captures = Captures(MB)
    assert not captures.add(1, record(**changed))
    assert not captures.has(1)
    assert captures.get(1) is None
    assert captures.size_bytes == 0


def framed(body: bytes) -> bytes:
    half = len(body) // 2
    return b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (half, body[:half], len(body) - half, body[half:])


@pytest.mark.parametrize("coding", ["", "gzip", "deflate"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_answers_are_kept_without_framing_and_coding(coding: str, is_chunked: bool) -> None:
    body = b'data: {"choices": []}\n\n' * 50
    coded = {"": body, "gzip": gzip.compress(body), "deflate": zlib.compress(body)}[coding]
    sent = framed(coded) if is_chunked else coded
    capture = captured(content_encoding=coding, is_chunked=is_chunked, sample=Sample(sent, size_bytes=len(sent)))
    assert body_of(capture, "resp_body") == body


def test_an_answer_that_was_cut_off_is_kept_as_far_as_it_came() -> None:
    body = os.urandom(100_000)
    coded = gzip.compress(body)[:60_000]
    capture = captured(content_encoding="gzip", sample=Sample(coded, size_bytes=len(coded)))
    kept = body_of(capture, "resp_body")
    assert kept
    assert body.startswith(kept)


@pytest.mark.slow
def test_decoding_stops_at_a_bound() -> None:
    bomb = gzip.compress(bytes(4 * MOST_DECODED_BYTES))
    capture = captured(content_encoding="gzip", sample=Sample(bomb, size_bytes=len(bomb)))
    kept = body_of(capture, "resp_body")
    assert kept is not None
    assert MOST_DECODED_BYTES - 100_000 < len(kept) <= MOST_DECODED_BYTES


def test_an_answer_of_which_the_middle_was_not_kept_has_no_body() -> None:
    capture = captured(sample=Sample(b"begin", b"end", size_bytes=100_000))
    assert body_of(capture, "resp_body") is None
    assert body_of(capture, "req_body") is not None


# -- the bound --


@given(st.lists(st.tuples(st.integers(0, 30_000), st.booleans(), st.booleans()), max_size=40))
def test_the_newest_are_kept_within_the_bound(steps: list[tuple[int, bool, bool]]) -> None:
    most, captures = 50_000, Captures(50_000)
    kept_before: set[int] = set()
    for number, (size, is_random, compresses) in enumerate(steps, 1):
        body = os.urandom(size) if is_random else b"x" * size
        captures.add(number, record(request_body=body))
        if compresses:
            captures.compress(20_000)
        kept = {one for one in range(1, number + 1) if captures.has(one)}
        assert captures.size_bytes <= most
        assert kept <= kept_before | {number}
        assert all(gone < one for gone in kept_before - kept for one in kept)
        assert all(captures.get(one) is not None for one in kept)
        kept_before = kept
    while captures.compress(MB):
        pass
    assert captures.size_bytes <= most
    captures.clear()
    assert captures.size_bytes == 0


def test_compressing_makes_room_for_more_and_changes_nothing() -> None:
    captures = Captures(MB)
    body = b'{"text": "the same again and again"}' * 2_000
    for number in range(1, 100):
        captures.add(number, record(request_body=body))
        while captures.compress(MB):
            pass
    assert all(captures.has(number) for number in range(1, 100))
    assert body_of(told(captures, 1), "req_body") == body


def test_what_is_evicted_at_once_was_never_compressed() -> None:
    captures = Captures(MB)
    for number in range(1, 1_000):
        captures.add(number, record(request_body=b"x" * 10_000))
    assert not captures.has(1)
    assert captures.has(999)
    assert not captures.compress(10 * MB)
    assert sum(captures.has(number) for number in range(1_000)) >= 75


def test_one_that_fits_only_when_it_is_compressed_is_kept() -> None:
    captures = Captures(MB)
    assert captures.add(1, record(request_body=b"x" * 5 * MB))
    assert not captures.add(2, record(request_body=os.urandom(5 * MB)))
    assert captures.has(1)


def test_a_smaller_bound_holds_at_once_and_0_keeps_nothing() -> None:
    captures = Captures(MB)
    for number in range(1, 11):
        captures.add(number, record(request_body=os.urandom(10_000)))
    captures.change(50_000)
    assert captures.has(10)
    assert not captures.has(5)
    captures.change(0)
    assert captures.size_bytes == 0
    assert not captures.add(11, record())


def test_captures_follow_rows_that_get_another_id() -> None:
    captures = Captures(MB)
    captures.add(1, record(request_body=b"one"))
    captures.add(2, record(request_body=b"two"))
    captures.renumber({1: 2, 2: 3})
    assert [captures.has(number) for number in (1, 2, 3)] == [False, True, True]
    assert body_of(told(captures, 3), "req_body") == b"two"
    captures.compress(MB)
    assert body_of(told(captures, 2), "req_body") == b"one"


def test_captures_of_rows_that_are_others_now_are_forgotten() -> None:
    captures = Captures(MB)
    for number in (1, 2, 3):
        captures.add(number, record())
    captures.compress(1)
    captures.forget_before(3)
    assert [captures.has(number) for number in (1, 2, 3)] == [False, False, True]
    assert not captures.compress(MB)
    captures.forget_before(4)
    assert captures.size_bytes == 0


@pytest.mark.parametrize(
    ("buffer_mb", "is_written", "has_keys", "is_loopback", "may"),
    [
        (5, False, False, True, True),
        (5, False, True, False, True),
        (5, True, False, False, True),
        (5, False, False, False, False),
        (0, True, True, True, False),
    ],
)
def test_nobody_is_captured_for_all_the_network_to_see_unless_that_is_wanted(
    buffer_mb: int, is_written: bool, has_keys: bool, is_loopback: bool, may: bool
) -> None:
    assert may_capture(buffer_mb, is_written=is_written, has_keys=has_keys, is_loopback=is_loopback) is may


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("asked", [None, b"", b"a", b"ab" * 100_000 + b"c", os.urandom(300_001)])
def test_a_capture_is_told_in_pieces_whatever_its_size(asked: bytes | None, is_compressed: bool) -> None:
    captures = Captures(64 * MB)
    answer = bytes(3_000_001) + os.urandom(500_000)
    captures.add(1, record(sample=Sample(head=answer, size_bytes=len(answer)), request_body=asked))
    while is_compressed and captures.compress(MB):
        pass
    pieces = list(captures.get(1) or ())
    assert max(map(len, pieces)) <= 4 * TOLD_BYTES // 3
    capture = json.loads(b"".join(pieces))
    assert list(capture) == ["id", "req_path", "req_headers", "req_body", "resp_headers", "resp_body"]
    assert (body_of(capture, "req_body"), body_of(capture, "resp_body")) == (asked, answer)
