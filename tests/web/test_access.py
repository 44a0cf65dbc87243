"""The access log: no text of a client fills it, ends its field, or begins a line of its own."""

from __future__ import annotations

import pytest

from llamaswap_lib.printable import bounded, printable, printable_message
from tests.web.world import World, get


def logged(path: str = "/nope", **headers: str) -> str:
    """The line of one request."""
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    with World() as world:
        world.ask(get(path, extra=extra.encode("latin-1")))
        world.wait_for_log(" 404 ")
        (line,) = world.log.splitlines()
        return line


def test_a_long_path_and_agent_are_cut_at_512_bytes() -> None:
    line = logged("/" + "p" * 20_000, user_agent="A" * 30_000)
    assert "/" + "p" * 508 + "… HTTP" in line
    assert f'"{"A" * 509}…"' in line
    assert len(line) < 1200


def test_what_is_cut_is_counted_in_bytes_as_they_are_shown() -> None:
    line = logged("/" + "%e2%82%ac" * 400, user_agent="\xe4" * 400)
    agent = line.split('"')[3]
    path = line.split('"')[1]
    assert len(agent.encode()) <= 512
    assert len(path.removeprefix("GET ").removesuffix(" HTTP/1.1").encode()) <= 512
    assert path.count("€") == 169


def test_other_texts_of_a_client_are_bounded_too() -> None:
    assert len(logged(x_forwarded_for="1" * 30_000)) < 300
    assert len(logged(x_real_ip="2" * 30_000)) < 300


@pytest.mark.parametrize(
    ("agent", "shown"),
    [('a" 200 5 "b', 'a\\" 200 5 \\"b'), ("a\\", "a\\\\"), ("a\x80b", "a\\x80b"), ("curl/8 (ä)", "curl/8 (ä)")],
)
def test_quotes_and_what_cannot_be_seen_are_escaped(agent: str, shown: str) -> None:
    line = logged(user_agent=agent)
    assert f'"GET /nope HTTP/1.1" 404 19 "{shown}" ' in line


def test_a_quote_in_the_path_is_escaped() -> None:
    assert '"GET /no\\"pe\\n HTTP/1.1" 404 ' in logged("/no%22pe%0a")


def test_a_message_stays_on_one_line_but_for_its_traceback() -> None:
    assert printable_message("a\nb\x1b: starting") == "a\\nb\\x1b: starting"
    trace = "Traceback (most recent call last):\n  File\nValueError: \x1b\n"
    assert printable_message(f"a\nb failed:\n{trace}") == f"a\\nb failed:\n{trace}".replace("\x1b", "\\x1b")
    assert printable_message(f"pump: {trace}").startswith("pump: Traceback (most recent call last):\n  File\n")


@pytest.mark.parametrize("text", ["", "a" * 20, "ä" * 10, "a" * 21, "ä" * 11, "€" * 20, "\ud800" * 20])
def test_a_bounded_text_has_never_more_bytes(text: str) -> None:
    shown = bounded(text, 20)
    assert len(shown.encode("utf-8", "surrogatepass")) <= 20
    assert shown == text or shown.endswith("…")


def test_only_what_cannot_be_seen_is_escaped() -> None:
    assert printable("ä€ \\ \u202e\x7f\ud800\t\n", keep="\t") == "ä€ \\ \\u202e\\x7f\\ud800\t\\n"
