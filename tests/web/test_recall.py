"""Heads that come again: what is remembered is what the parser would say, and whatever differs is parsed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.errors import BadGateway, BadRequest, HeadTooLarge, NotImplementedByServer
from llamaswap_lib.wire.head_cache import MAX_REMEMBERED_BYTES, Recall
from llamaswap_lib.wire.heads import RequestHead
from llamaswap_lib.wire.parser import head_end, parse_request_head, parse_response_head
from tests.web.gzipped import gzipped
from tests.web.mutations import ANSWERS, REQUESTS, mutate, random_of
from tests.web.world import CHAT_BODY, OK, Peer, Script, World, chat, sized

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


# -- what is written of a head that comes again --


def recording(seen: list[tuple[bytes, bytes]], *answers: bytes) -> Script:
    def script(peer: Peer) -> None:
        for answer in answers:
            seen.append(peer.read_message())
            peer.send(answer)

    return script


def test_a_head_that_comes_again_is_sent_on_with_the_length_of_its_own_body() -> None:
    bodies = [b'{"model":"m","n":%b}' % (b"1" * digits) for digits in (1, 50, 1, 9)]
    seen: list[tuple[bytes, bytes]] = []
    with World(recording(seen, *[OK] * 4)) as world, world.connect() as client:
        for body in bodies:
            client.send(chat(body))
            assert client.read_message()[1] == b"ok"
    assert [body for _, body in seen] == bodies
    digits = re.compile(rb"Content-Length: \d+")
    assert len({digits.sub(b"", head) for head, _ in seen}) == 1


def test_a_head_that_comes_again_for_another_upstream_is_written_for_that() -> None:
    seen: list[tuple[bytes, bytes]] = []
    with World(recording(seen, *[OK] * 3)) as world, world.connect() as client:
        proxy = world.controller.proxy
        for world.controller.proxy in (proxy, f"{proxy}/below", proxy):
            client.send(chat())
            assert client.read_message()[1] == b"ok"
    targets = [head.split(b" ")[1] for head, _ in seen]
    assert targets == [b"/v1/chat/completions", b"/below/v1/chat/completions", b"/v1/chat/completions"]


def test_a_head_that_comes_again_with_an_encoded_body_and_with_none_is_sent_on_as_each_of_them_needs() -> None:
    seen: list[tuple[bytes, bytes]] = []
    encoded = gzipped(CHAT_BODY)
    head = b"POST /v1/chat/completions?model=m HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\nContent-Encoding: gzip\r\n"
    with World(recording(seen, *[OK] * 4)) as world, world.connect() as client:
        for body in (b"", encoded, b"", encoded):
            client.send(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            assert client.read_message()[1] == b"ok"
    assert [body for _, body in seen] == [b"", CHAT_BODY, b"", CHAT_BODY]
    assert [b"gzip" in head for head, _ in seen] == [True, False, True, False]


def test_an_answer_whose_head_comes_again_has_its_own_length_and_lines() -> None:
    usual, other = b"Content-Type: a/b\r\n", b"Content-Type: c/d\r\nX-Other: yes\r\n"

    def script(peer: Peer) -> None:
        for body in (b"one", b"three", b""):
            peer.read_message()
            peer.send(sized(body, usual))
        peer.read_message()
        answer = sized(b"in pieces", other)
        peer.send(answer[:30])
        world.loop.ask(lambda: None)  # it has read that
        peer.send(answer[30:])
        peer.read_message()
        peer.send(sized(b"at last", usual))

    with World(script) as world, world.connect() as client:
        for body in (b"one", b"three", b"", b"in pieces", b"at last"):
            client.send(chat())
            head, came = client.read_message()
            assert came == body
            assert (b"X-Other: yes\r\n" in head) == (b"c/d" in head) == (body == b"in pieces")
