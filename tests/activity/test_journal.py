"""The journal, and what the configuration makes of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from llamaswap_lib.activity.journal import Journal, JournalSettings
from llamaswap_lib.activity.query import read_query
from llamaswap_lib.activity.store import StoreSettings
from llamaswap_lib.app import journal_settings_of
from llamaswap_lib.config.load import load_text
from tests.activity.rows import DEADLINE, record

MODEL = "models: {m: {cmd: 'server --port ${PORT}'}}\n"


def settings_of(text: str, host: str = "127.0.0.1") -> JournalSettings:
    return journal_settings_of(load_text(MODEL + text), host)


def test_without_a_word_a_thousand_rows_and_five_megabytes_are_kept_in_memory() -> None:
    assert settings_of("") == JournalSettings(StoreSettings(None, 1_000_000, 0.0, 1000, ""), 5 << 20)


def test_the_configuration_says_where_and_how_much(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    text = f"store: {{path: {path}, maxRows: 5, maxAge: 2h}}\nmetricsMaxInMemory: 7\ncaptureBuffer: 1\n"
    assert settings_of(text) == JournalSettings(StoreSettings(path, 5, 7200.0, 7, str(path)), 1 << 20)


@pytest.mark.parametrize(
    ("text", "host", "megabytes"),
    [
        ("", "127.0.0.1", 5),
        ("", "localhost", 5),
        ("", "", 0),
        ("", "0.0.0.0", 0),
        ("", "192.168.1.2", 0),
        ("apiKeys: [secret]", "", 5),
        ("captureBuffer: 5", "", 5),
        ("captureBuffer: 3", "::", 3),
        ("captureBuffer: ~", "", 0),
        ("captureBuffer: 0", "127.0.0.1", 0),
        ("captureBuffer: -1", "127.0.0.1", 0),
    ],
)
def test_without_keys_the_network_is_captured_only_if_somebody_writes_so(text: str, host: str, megabytes: int) -> None:
    assert settings_of(text, host).capture_bytes == megabytes << 20


def test_captures_that_are_off_are_not_wanted() -> None:
    assert not Journal(JournalSettings()).captures
    assert Journal(JournalSettings(capture_bytes=1)).captures


def test_other_settings_hold_for_what_comes_after_them(tmp_path: Path) -> None:
    errors: list[str] = []
    journal = Journal(JournalSettings(StoreSettings(), 1 << 20), on_error=errors.append)
    journal.start()
    try:
        journal.append(partial(record, model="before"))
        journal.change(JournalSettings(StoreSettings(tmp_path / "a.db"), 0))
        assert not journal.captures
        journal.append(partial(record, model="after"))
        page = journal.page(read_query(""))
        assert [(row["model"], row["has_capture"]) for row in page["data"]] == [("after", False), ("before", False)]
    finally:
        assert journal.close(DEADLINE)
    assert errors == []
    later = Journal(JournalSettings(StoreSettings(tmp_path / "a.db")))
    later.start()
    try:
        assert [row["model"] for row in later.page(read_query(""))["data"]] == ["after", "before"]
    finally:
        assert later.close(DEADLINE)


def test_a_row_of_another_file_has_no_capture_of_a_row_before_it(tmp_path: Path) -> None:
    other = Journal(JournalSettings(StoreSettings(tmp_path / "b.db"), 0))
    other.start()
    for _ in range(3):
        other.append(partial(record, model="of long ago"))
    assert other.close(DEADLINE)
    journal = Journal(JournalSettings(StoreSettings(tmp_path / "a.db"), 1 << 20))
    journal.start()
    try:
        for _ in range(2):
            journal.append(record)
        assert journal.capture(2) is not None
        journal.change(JournalSettings(StoreSettings(tmp_path / "b.db"), 1 << 20))
        journal.append(partial(record, model="after"))
        page = journal.page(read_query(""))
        assert [(row["id"], row["model"], row["has_capture"]) for row in page["data"]] == [
            (4, "after", True), (3, "of long ago", False), (2, "of long ago", False), (1, "of long ago", False),
        ]  # fmt: skip
        assert journal.capture(2) is None
    finally:
        assert journal.close(DEADLINE)
