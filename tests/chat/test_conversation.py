"""What was said, saved and loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamaswap_lib.chat.conversation import Conversation, Unusable


def test_half_a_character_in_an_answer_is_saved_and_loaded(tmp_path: Path) -> None:
    conversation, loaded, path = Conversation("m"), Conversation("m"), tmp_path / "chat.json"
    for text in ("whole ü", "half \ud83d", "\\\ud83d"):  # the whole one is written over
        conversation.ask("what", [])
        conversation.answered(text)
        conversation.save(path)
        loaded.load(path)
        assert loaded.messages == conversation.messages


def test_a_file_that_cannot_be_looked_for_is_no_end_of_the_chat(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 300)  # a name that no file has
    for use in (Conversation("m").save, Conversation("m").load):
        with pytest.raises(Unusable, match="File name too long"):
            use(path)
