"""Server-sent events, from the lines of an answer."""

from __future__ import annotations

import json

from llamaswap_lib.client.events import event_data, messages


def lines(text: str) -> list[bytes]:
    return text.encode().splitlines(keepends=True)


def test_an_event_ends_with_an_empty_line() -> None:
    text = "event: message\ndata: one\n\n: a comment\n\ndata:two\r\ndata: more\r\n\r\ndata: without an end\n"
    assert list(event_data(lines(text))) == ["one", "two\nmore"]


def test_blanks_and_fields_of_others_stay_out() -> None:
    assert list(event_data(lines("id: 4\nretry: 3\n\ndata:  a \n\ndatum: x\n\ndata:\n\n"))) == [" a ", ""]


def test_messages_have_a_type_and_what_is_none_is_passed_over() -> None:
    told = [
        {"type": "queue", "data": json.dumps({"queue": []})},
        {"type": "later", "data": "no json"},
        {"type": "odd", "data": {}},
        {"data": "1"},
        [],
        3,
    ]
    text = "".join(f"data: {json.dumps(value)}\n\n" for value in told) + "data: {\n\ndata: é\xff\n\n"
    text += f"data: {'[' * 100_000}\n\n"
    assert list(messages(lines(text))) == [("queue", {"queue": []})]
