"""Bytes of a log as lines, and where a log goes on that is read anew."""

from __future__ import annotations

import random

from llamaswap_lib.client.log_text import MOST_LINE, TAIL_BYTES, Lines, Tail


def cut(data: bytes, *places: int) -> tuple[list[str], str]:
    """The lines of data that comes in pieces, and what is left without an end."""
    lines, found, before = Lines(), list[str](), 0
    for place in (*places, len(data)):
        found += lines.add(data[before:place])
        before = place
    return found, lines.rest


def test_lines_are_the_same_however_they_come() -> None:
    data = "one\r\ntwo é\n\n1 %\r2 %\r3 %\r\r\nlast".encode()
    whole = (["one", "two é", "", "3 %"], "last")
    assert cut(data) == whole
    for place in range(len(data)):
        assert cut(data, place) == whole
    for seed in range(50):
        places = sorted(random.Random(seed).sample(range(len(data)), 5))
        assert cut(data, *places) == whole


def test_a_line_that_is_written_over_counts_as_it_is_in_the_end() -> None:
    lines = Lines()
    assert [*lines.add(b"1 %\r2 %")] == []
    assert lines.rest == "2 %"
    assert [*lines.add(b"\r3 %\r")] == []
    assert lines.rest == "3 %"
    assert lines.end() == "3 %"
    assert lines.rest == ""


def test_a_progress_bar_without_end_takes_no_memory() -> None:
    lines = Lines()
    for number in range(100):
        assert [*lines.add(b"\r%d " % number + b"x" * 1000)] == []
    assert len(lines._rest) < 1100


def test_a_line_without_end_is_given_in_parts() -> None:
    lines = Lines()
    [part] = lines.add(b"x" * (MOST_LINE + 1))
    assert len(part) == MOST_LINE + 1
    assert lines.rest == ""


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert cut(b"a\xffb\n")[0] == ["a\ufffdb"]


def test_what_was_missed_stands_behind_what_was_read() -> None:
    tail = Tail()
    assert not tail
    tail.add(b"one\ntwo\n")
    assert tail.news(b"zero\none\ntwo\nthree\n") == b"three\n"
    assert tail.news(b"one\ntwo\n") == b""


def test_another_log_is_all_news() -> None:
    tail = Tail()
    tail.add(b"one\n" * TAIL_BYTES)
    assert tail.news(b"one\n") == b"one\n"
    assert tail.news(b"new\n") == b"new\n"
