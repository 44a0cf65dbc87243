"""Whole lines of one process for a place where others write too: nothing is mixed, lost or held without bound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.runtime.logs.whole_lines import BAR_PAUSE, MOST_BYTES, WholeLines


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(prefix: bytes = b"", clock: Clock | None = None) -> WholeLines:
    return WholeLines(lambda: prefix, clock or Clock())


def shown(pieces: Iterable[bytes], prefix: bytes = b"") -> bytes:
    """Everything, the end included."""
    whole = lines(prefix)
    return b"".join([*map(whole.add, pieces), whole.flush()])


def test_a_line_is_held_until_its_end_has_come() -> None:
    whole = lines(b"[m] ")
    assert whole.add(b"first ha") == b""
    assert whole.add(b"lf\nsecond\nthi") == b"[m] first half\n[m] second\n"
    assert whole.add(b"rd\n") == b"[m] third\n"
    assert whole.flush() == b""


def test_a_line_without_an_end_is_shown_when_the_process_has_ended_and_leaves_nothing_behind() -> None:
    whole = lines(b"[m] ")
    assert whole.add(b"Segmentation fault") == b""
    assert whole.flush() == b"[m] Segmentation fault\n"
    assert whole.flush() == b""
    assert whole.add(b"next\n") == b"[m] next\n"


def test_the_prefix_is_the_one_of_the_moment() -> None:
    prefix = b""
    whole = WholeLines(lambda: prefix, Clock())
    assert whole.add(b"alone\n") == b"alone\n"
    prefix = b"[m] "
    assert whole.add(b"one of two\n") == b"[m] one of two\n"


texts = st.binary(max_size=60).map(lambda data: data.replace(b"\r", b"\n").replace(b"\x1b", b"\n"))


@given(st.lists(texts, max_size=20), st.sampled_from([b"", b"[m] "]))
def test_however_it_is_written_it_is_the_same_lines(pieces: Sequence[bytes], prefix: bytes) -> None:
    whole = lines(prefix)
    got = [whole.add(piece) for piece in pieces]
    assert all(not part or part.endswith(b"\n") for part in got)
    text = b"".join(pieces)
    if text and not text.endswith(b"\n"):
        text += b"\n"
    assert b"".join([*got, whole.flush()]) == b"".join(prefix + line + b"\n" for line in text.split(b"\n")[:-1])


@given(st.lists(st.sampled_from([b"\r", b"\n", b"a", b"50%", b" ", b"\x1b[", b"\x1b[31m", b"\x1b[2K", b"\xff"])))
def test_what_moves_a_cursor_is_never_shown_and_every_piece_is_lines(pieces: Sequence[bytes]) -> None:
    whole = lines(b"> ")
    for part in [*map(whole.add, pieces), whole.flush()]:
        assert b"\r" not in part
        assert b"\x1b[2K" not in part
        assert not part or part.endswith(b"\n")
        assert all(line.startswith(b"> ") for line in part.split(b"\n")[:-1])


def test_what_never_ends_its_line_is_shown_in_pieces_and_little_of_it_is_held() -> None:
    whole = lines(b"[m] ")
    data, got = b"abcdefg" * 1000, b""
    for _ in range(100):
        got += whole.add(data)
        assert len(whole._rest) <= MOST_BYTES
    got += whole.flush()
    assert got.replace(b"[m] ", b"").replace(b"\n", b"") == data * 100
    assert max(map(len, got.split(b"\n"))) <= MOST_BYTES + len(b"[m] ")


def test_a_long_line_is_cut_between_characters() -> None:
    parts = shown(["€".encode() * 10_000, b"x", "ü".encode() * 20_000]).split(b"\n")
    assert len(parts) > 3
    assert "".join(part.decode() for part in parts) == "€" * 10_000 + "x" + "ü" * 20_000


def test_rubbish_is_cut_too() -> None:
    assert shown([b"\x80" * 50_000]).replace(b"\n", b"") == b"\x80" * 50_000


def test_one_long_line_that_has_come_whole_stays_whole() -> None:
    assert shown([b"x" * 60_000 + b"\n"], b"> ") == b"> " + b"x" * 60_000 + b"\n"


def test_ends_of_lines_as_on_windows_are_ends_of_lines() -> None:
    assert shown([b"one\r\ntwo\r", b"\nthree\r\r\n\r\n"]) == b"one\ntwo\nthree\n\n"


@pytest.mark.parametrize("style", [b"\r%d%%", b"%d%%\r"], ids=["return first", "return last"])
def test_of_a_progress_bar_a_state_now_and_then_is_shown_and_the_last_one(style: bytes) -> None:
    clock = Clock()
    whole = lines(b"[m] ", clock)
    got = []
    for percent in range(100):
        got += whole.add(style % percent).splitlines()
        clock.now += BAR_PAUSE / 10
    got += whole.add(style % 100 + b"\nnext\n").splitlines()
    assert got[0] == b"[m] 0%"
    assert got[-2:] == [b"[m] 100%", b"[m] next"]
    assert 10 <= len(got) <= 13
    assert len(set(got)) == len(got)


def test_a_bar_that_does_not_move_is_not_shown_again() -> None:
    clock = Clock()
    whole = lines(b"", clock)
    got = b""
    for _ in range(5):
        got += whole.add(b"done\r")
        clock.now += BAR_PAUSE * 2
    assert got + whole.add(b"\n") + whole.add(b"done\n") == b"done\ndone\n"  # the second is a line of its own


def test_a_bar_holds_no_more_than_its_last_state() -> None:
    whole = lines()
    for number in range(10_000):
        whole.add(b"\r%d of 10000" % number)
    assert len(whole._rest) < 40


def test_states_that_are_overwritten_in_one_piece_are_not_shown() -> None:
    assert shown([b"loading 1\rloading 2\rloaded\n"]) == b"loaded\n"
    assert shown([b"loading 1\r", b"loaded"], b"> ") == b"> loading 1\n> loaded\n"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"\x1b[31mred\x1b[0m plain", b"\x1b[31mred\x1b[0m plain"),
        (b"\x1b[31mred\x1b[m", b"\x1b[31mred\x1b[m"),
        (b"\x1b[1;36mred\x1b[0;0m", b"\x1b[1;36mred\x1b[0;0m"),
        (b"\x1b[31mred to the end", b"\x1b[31mred to the end\x1b[0m"),
        (b"\x1b[Aup \x1b[2Kcleared\x1b[?25l", b"up cleared"),
        (b"\x1b[2J\x1b[1;1Hat the top", b"at the top"),
        (b"\x1b7\x1bMup\x1b8 \x1bcreset", b"up reset"),
        (b"\x1b[31mred\x1bc", b"\x1b[31mred\x1b[0m"),
        (b"\x1b cut \x1b[3", b"\x1b cut \x1b[3"),
    ],
)
def test_no_line_leaves_its_colour_to_the_next_or_moves_the_cursor(line: bytes, wanted: bytes) -> None:
    assert shown([line + b"\n"], b"[m] ") == b"[m] " + wanted + b"\n"
