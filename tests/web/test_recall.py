"""Heads that come again: what is remembered is what the parser would say, and whatever differs is parsed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.errors import BadGateway, BadRequest, HeadTooLarge, NotImplementedByServer
from llamaswap_lib.wire.head_cache import MAX_REMEMBERED_BYTES, Recall
from llamaswap_lib.wire.heads import RequestHead
from llamaswap_lib.wire.parser import head_end, parse_request_head, parse_response_head
from tests.web.mutations import ANSWERS, REQUESTS, mutate, random_of

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\nX-A: Content-Length: 5\r\n\r\n"


def recall() -> Recall[RequestHead]:
    """One that has read HEAD, of a body of 17 bytes."""
    known = Recall(parse_request_head)
    assert known.read(HEAD % b"17") == (parse_request_head(HEAD % b"17"), len(HEAD % b"17"))
    return known


@pytest.mark.parametrize("digits", [b"17", b"18", b"5", b"0", b"0017", b"1" * 18])
def test_another_length_is_the_same_head(digits: bytes) -> None:
    known = recall()
    head = HEAD % digits
    for ahead in (b"", b"body"):
        assert known.read(head + ahead) == (parse_request_head(head), len(head))
    assert known.read(HEAD % b"17")[0] == parse_request_head(HEAD % b"17")
    assert known.generation == 1


@pytest.mark.parametrize(
    "digits", [b"", b"1" * 19, b"-1", b"+1", b"1 1", b"0x1", b"1,1", "\u0661".encode(), b"1\n", b"_1"]
)
def test_what_is_no_length_is_refused_as_ever(digits: bytes) -> None:
    with pytest.raises(BadRequest):
        recall().read(HEAD % digits)


def test_a_head_that_is_not_all_there_is_waited_for() -> None:
    known, head = recall(), HEAD % b"18"
    for size in range(len(head)):
        assert known.read(head[:size]) == (None, -1)
    assert known.read(head) == (parse_request_head(head), len(head))
    assert known.generation == 1


def test_a_head_that_differs_is_another_one() -> None:
    known = recall()
    for number, head in enumerate(
        [
            (HEAD % b"17").replace(b"Host: x", b"Host: y"),
            (HEAD % b"17").replace(b"\r\n\r\n", b"\r\nContent-Length: 17\r\n\r\n"),
            (HEAD % b"17").replace(b"Content-Length: 17", b"content-length:\t17  "),
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            HEAD % b"17",
        ]
    ):
        try:
            expected = parse_request_head(head)
        except BadRequest:
            with pytest.raises(BadRequest):
                known.read(head)
            continue
        assert known.read(head) == (expected, len(head))
        assert known.read(head) == (expected, len(head))
        assert known.generation >= 2, number


def test_a_head_without_a_length_is_never_taken_for_another() -> None:
    known = Recall(parse_request_head)
    get = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"
    for path in (b"a", b"b", b"a"):
        head, _ = known.read(get % path)
        assert head is not None
        assert head.target == f"/{path.decode()}"


@pytest.mark.parametrize("rubbish", [b"\x005\r\n\r\n", b"\x0013\r\n\r\nx", b"17\r\n\r\n", b"5\r\nHost: x\r\n\r\n"])
def test_what_is_no_head_is_none_whatever_was_read_before(rubbish: bytes) -> None:
    for known in (Recall(parse_request_head), recall()):
        for _ in range(2):
            with pytest.raises(BadRequest):
                known.read(rubbish)
        known.read(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


def test_what_follows_from_a_head_holds_only_until_another_comes() -> None:
    known = recall()
    known.read(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    known.read(HEAD % b"17")
    assert known.generation == 3


def test_a_large_head_is_not_kept() -> None:
    known = Recall(parse_request_head)
    head = (HEAD % b"17").replace(b"Host: x", b"Host: x\r\nX: " + b"x" * MAX_REMEMBERED_BYTES)
    for generation in (1, 2):
        assert known.read(head) == (parse_request_head(head), len(head))
        assert known.generation == generation


@given(st.integers(0, 1 << 40))
def test_mutated_heads_have_the_verdict_of_the_parser(number: int) -> None:
    chance = random_of(0, number)
    for parse, samples in ((parse_request_head, REQUESTS), (parse_response_head, ANSWERS)):
        known = Recall(parse)
        sample = chance.choice(samples)
        for text in (sample, mutate(chance, sample, samples), sample, mutate(chance, sample, samples)):
            try:
                end = head_end(text)
                expected = (parse(text[:end]), end) if end >= 0 else (None, -1)
            except (BadRequest, BadGateway, HeadTooLarge, NotImplementedByServer) as fault:
                with pytest.raises(type(fault)):
                    known.read(text)
                continue
            assert known.read(text) == expected
