"""The pieces of an answer: which are reasoning, and which the answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.client.completion import Kind, ThinkTags


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
