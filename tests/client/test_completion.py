"""The pieces of an answer: which are reasoning, and which the answer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.client.completion import BROKE_OFF, Completion, Kind, ThinkTags
from llamaswap_lib.client.connection import ServerError
from tests.client.answers import answering, reply


def told(pieces: list[str]) -> tuple[str, str]:
    """Reasoning and answer of a text that comes in these pieces."""
    tags = ThinkTags()
    found = [piece for text in pieces for piece in tags.feed(text)] + tags.rest()
    thought, text = ("".join(it.text for it in found if it.kind is kind) for kind in (Kind.THOUGHT, Kind.TEXT))
    return thought, text


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("<think>\nhm\n</think>\n\nNo.", "hm", "No."),
        ("\n<think>hm</think>No.", "hm", "No."),
        ("<think>never said", "never said", ""),
        ("<think></think>No.", "", "No."),
        ("No <think>tag</think> inside", "", "No <think>tag</think> inside"),
        ("<thin air", "", "<thin air"),
        ("<think>a </thin b</think>c", "a </thin b", "c"),
        ("", "", ""),
    ],
)
def test_tags_at_the_beginning_tell_reasoning_from_the_answer(text: str, thought: str, answer: str) -> None:
    assert told([text]) == (thought, answer)


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "a b", "</th", "ink>", ">"])), st.data())
def test_it_does_not_matter_where_the_text_is_cut(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert told([piece for piece in pieces if piece]) == told([text] if text else [])


def whole(value: object) -> bytes:
    return reply(json.dumps(value))


def stream(*values: object) -> bytes:
    return reply("".join(f"data: {json.dumps(value)}\n\n" for value in values), kind="text/event-stream")


DONE = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
NO_COMPLETION = "the model's server did not answer with a chat completion"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (whole({"choices": [{"message": {"content": "yes"}}]}), "yes"),
        (whole({"choices": [{"message": 5}]}), ""),
        (whole({}), NO_COMPLETION),
        (whole({"choices": None}), NO_COMPLETION),
        (whole({"choices": 5}), NO_COMPLETION),
        (whole({"error": {"message": "too long"}}), "too long"),
        (reply("[" * 100_000), NO_COMPLETION),
        (whole({"choices": []})[:-3], BROKE_OFF),
        (stream({"choices": 5}, {"choices": [{"delta": 5}]}, {"choices": {"a": 1}}, [], DONE), ""),
        (stream({"choices": [{"delta": {"content": "yes"}}]}, {"choices": []}, DONE), "yes"),
        (stream({"choices": [{"delta": {"content": "ye"}}]}), BROKE_OFF),
    ],
)
def test_whatever_a_models_server_says_is_an_answer_or_an_error(answer: bytes, told: str) -> None:
    with answering({"/v1/chat/completions": answer, "/health": reply("OK", kind="text/plain")}) as it:
        completion = Completion(it.server, {})
        try:
            assert "".join(piece.text for piece in completion.pieces()) == told
        except ServerError as error:
            assert str(error) == told  # noqa: PT017 - either is what is told
