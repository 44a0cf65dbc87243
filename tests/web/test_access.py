"""The access log: no text of a client fills it, ends its field, or begins a line of its own."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.printable import bounded, printable, printable_message
from llamaswap_lib.server.access_log import duration_text
from tests.web.world import World, get

UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "µs": 1000, "ns": 1}  # in nanoseconds


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
    assert printable_message(f"loop: {trace}").startswith("loop: Traceback (most recent call last):\n  File\n")


@pytest.mark.parametrize("text", ["", "a" * 20, "ä" * 10, "a" * 21, "ä" * 11, "€" * 20, "\ud800" * 20])
def test_a_bounded_text_has_never_more_bytes(text: str) -> None:
    shown = bounded(text, 20)
    assert len(shown.encode("utf-8", "surrogatepass")) <= 20
    assert shown == text or shown.endswith("…")


def test_only_what_cannot_be_seen_is_escaped() -> None:
    assert printable("ä€ \\ \u202e\x7f\ud800\t\n", keep="\t") == "ä€ \\ \\u202e\\x7f\\ud800\t\\n"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/api/announce/_17", "/api/announce/***"),
        ("/api/announce/_17/x", "/api/announce/***"),
        ("/api/announce/%0a_17", "/api/announce/***"),
        ("//api/announce/_17", "//api/announce/***"),  # a base URL that ends with a slash
        ("/api//announce/_17", "/api//announce/***"),
        ("/x/../api/announce/_17", "/x/../api/announce/***"),
        ("/%61pi/announce/_17", "/api/announce/***"),
        ("/api/announce", "/api/announce"),
    ],
)
def test_the_token_of_an_announcement_is_not_shown(path: str, shown: str) -> None:
    assert paths_logged(path) == [shown]


# -- which requests have a line --


def paths_logged(*paths: str) -> list[str]:
    """Which of the paths have a line, asked one after the other on one connection."""
    with World() as world:
        with world.connect() as client:
            for path in (*paths, "/the-last"):
                client.send(get(path))
                client.read_message()
        world.wait_for_log("/the-last")
        return [line.split('"')[1].split()[1] for line in world.log.splitlines()][:-1]


@pytest.mark.parametrize("path", ["/wol-health", "/api/performance", "/metrics"])
def test_what_machines_ask_every_few_seconds_has_no_line_nor_has_what_begins_like_it(path: str) -> None:
    encoded = path.replace("e", "%65")
    assert paths_logged(path, path, f"{path}?x=1", f"{path}/x", f"{path}x", encoded, encoded) == []


def test_what_only_resembles_it_has_a_line() -> None:
    paths = ["/health", "/wol-healt", "/api/performanc", "/metric", "/x/metrics", "/Metrics", "/api/metrics"]
    assert paths_logged(*paths) == paths


def test_what_our_own_page_reads_has_no_line_and_what_it_does_has_one() -> None:
    own = b"X-Requested-With: llamaswap\r\n\r\n"
    with World() as world:
        with world.connect() as client:
            for path in ("/running", "/ui/assets/x/main.js"):
                client.send(get(path)[:-2] + own)
                client.read_message()
            client.send(b"POST /v1/nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n" + own)
            client.read_message()
        world.wait_for_log("/v1/nothing")
        assert len(world.log.splitlines()) == 1


# -- whose request it was --


@pytest.mark.parametrize(
    ("forwarded_for", "real_ip", "shown"),
    [
        (None, None, "127.0.0.1"),
        ("1.1.1.1, 2.2.2.2", None, "1.1.1.1"),
        (" 1.1.1.1 ,2.2.2.2", None, "1.1.1.1"),
        (None, "3.3.3.3", "3.3.3.3"),
        ("1.1.1.1", "3.3.3.3", "1.1.1.1"),
        ("1.1.1.1, 2.2.2.2", "3.3.3.3", "1.1.1.1"),
        (", 2.2.2.2", "3.3.3.3", "3.3.3.3"),
        (", 2.2.2.2", None, "127.0.0.1"),
        (" , ", "", "127.0.0.1"),
        ("", "3.3.3.3", "3.3.3.3"),
        ("", "", "127.0.0.1"),
    ],
)
def test_the_address_is_the_first_of_x_forwarded_for_or_else_x_real_ip_or_the_sockets(
    forwarded_for: str | None, real_ip: str | None, shown: str
) -> None:
    told = {"x_forwarded_for": forwarded_for, "x_real_ip": real_ip}
    line = logged(**{name: value for name, value in told.items() if value is not None})
    assert line.startswith(f'[INFO] Request {shown} "GET /nope HTTP/1.1" 404 ')


def test_of_several_x_forwarded_for_headers_the_first_counts() -> None:
    with World() as world:
        world.ask(get("/nope", extra=b"X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n"))
        world.wait_for_log(" 404 ")
        assert " 1.1.1.1 " in world.log


# -- how long it took --


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0s"),
        (1e-9, "1ns"),
        (999e-9, "999ns"),
        (1e-6, "1µs"),
        (812.4e-6, "812.4µs"),
        (999.9996e-6, "1ms"),  # there is nothing smaller than a nanosecond
        (0.001, "1ms"),
        (0.012345678, "12.345678ms"),
        (0.1, "100ms"),
        (0.9999996, "999.9996ms"),
        (0.9999999996, "1s"),
        (4.5, "4.5s"),
        (10.0, "10s"),
        (59.996, "59.996s"),
        (60.0, "1m0s"),
        (60.000000001, "1m0.000000001s"),
        (119.99, "1m59.99s"),
        (123.4, "2m3.4s"),
        (3600.0, "1h0m0s"),
        (3661.0, "1h1m1s"),
        (90_061.5, "25h1m1.5s"),
    ],
)
def test_a_duration_is_written_as_go_prints_it(seconds: float, shown: str) -> None:
    assert duration_text(seconds) == shown


@given(st.one_of(st.integers(1, 10**4), st.integers(1, 10**9), st.integers(1, 10**14)))
def test_a_duration_loses_nothing_and_has_no_needless_digit(nanoseconds: int) -> None:
    text = duration_text(nanoseconds / 10**9)
    match = re.fullmatch(r"(?:(?:([1-9]\d*)h)?(\d+)m)?(\d+(?:\.\d*[1-9])?)(s|ms|µs|ns)", text)
    assert match, text
    hours, minutes, number, unit = match.groups()
    whole = int(hours or 0) * UNITS["h"] + int(minutes or 0) * UNITS["m"] + Fraction(number) * UNITS[unit]
    assert whole == nanoseconds
    assert number == "0" or not number.startswith("0") or number.startswith("0.")
    if minutes:
        assert int(minutes) < 60
        assert hours or minutes[0] != "0"
        assert unit == "s"
    elif unit != "ns":
        assert Fraction(number) >= 1
    assert Fraction(number) < (60 if unit == "s" else 1000)
