"""The last words of a run: of no other run, with a bound on every line and on all, and put into the log once."""

from __future__ import annotations

import json
import threading

import pytest

from llamaswap_lib.runtime.logs.last_words import (
    CAUSE_BYTES,
    ERROR_BYTES,
    KEPT_BYTES,
    LINE_BYTES,
    LINES,
    RunOutput,
    last_lines,
    load_failed,
)


def spoken(*pieces: bytes) -> RunOutput:
    output = RunOutput(lambda _: None)
    for piece in pieces:
        output.write(piece)
    return output


def test_all_that_is_written_is_handed_on() -> None:
    heard: list[bytes] = []
    output = RunOutput(heard.append)
    pieces = [b"one\n", b"x" * (3 * KEPT_BYTES), b"", b"\xff"]
    for piece in pieces:
        output.write(piece)
    assert heard == pieces


def test_the_last_words_are_the_last_lines_however_they_came() -> None:
    text = b"".join(b"line %d\n" % number for number in range(100))
    words = tuple(f"line {number}" for number in range(100 - LINES, 100))
    assert last_lines(text) == words
    assert spoken(text).last_words() == words
    assert spoken(*[text[at : at + 1] for at in range(len(text))]).last_words() == words
    assert spoken().last_words() == ()
    assert spoken(b"no line end").last_words() == ("no line end",)


@pytest.mark.parametrize("character", ["x", "ä", "€", "\U0001f600", "\x01", '"', "\\", "\udcff", "\t"])
@pytest.mark.parametrize("count", [100, LINE_BYTES, 3 * LINE_BYTES, 40 * LINE_BYTES])
@pytest.mark.parametrize("line_count", [1, 2, 30])
def test_every_line_and_all_together_have_a_bound_and_what_was_cut_is_marked(
    character: str, count: int, line_count: int
) -> None:
    line = (character * count).encode("utf-8", "surrogateescape") + b"\n"
    output = spoken(*[line] * line_count)
    words = output.last_words()
    assert words
    assert len(words) <= LINES + 1
    assert max(len(word.encode()) for word in words) <= LINE_BYTES
    assert "".join(words).replace("\t", "").isprintable()
    if count > LINE_BYTES:
        assert words[-1].endswith("…") or words[-1].startswith("…")
    error = load_failed("why", output)
    assert len(json.dumps(error.body())) <= ERROR_BYTES
    assert len(error.last_words) >= 1


def test_where_lines_are_left_out_for_their_length_a_line_says_so() -> None:
    words = last_lines(b"".join(b"%d" % (number % 10) * 2000 + b"\n" for number in range(LINES)))
    assert words[0] == "…"
    assert [word[0] for word in words[1:]] == ["2", "3", "4", "5", "6", "7", "8", "9"]


def test_a_line_whose_beginning_is_not_kept_says_so() -> None:
    words = spoken("ä".encode() * KEPT_BYTES + b"x" * 9 + b"\nTraceback\n").last_words()
    assert words[0].startswith("…ä")
    assert words[1] == "Traceback"


def test_a_cause_has_a_bound_too_and_none_said_leaves_the_cause_alone() -> None:
    error = load_failed("no such file: /" + "\U0001f600" * 5000, spoken(b"last\n"), 2.0)
    assert len(error.cause.encode()) <= CAUSE_BYTES
    assert error.cause.endswith("…")
    assert error.message == f"{error.cause}\nlast"
    assert load_failed("why", None).message == "why"
    assert load_failed("why", spoken()).message == "why"
    assert load_failed("why", None, 2.0).body()["error"]["retry_in"] == 2.0


def test_they_are_news_for_the_log_once() -> None:
    output = spoken(b"last\n")
    errors = [load_failed("why", output) for _ in range(20)]
    said: list[bool] = []
    threads = [threading.Thread(target=lambda error=error: said.append(error.is_news())) for error in errors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == [False] * 19 + [True]
