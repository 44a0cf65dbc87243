"""The lines in which a run says where it listens: found however they come, believed by their token, never shown."""

from __future__ import annotations

import pytest

from llamaswap_lib.core.events import Event, RunAnnounced, RunQueued
from llamaswap_lib.runtime.logs.last_words import RunOutput
from llamaswap_lib.runtime.processes.announcements import Announcements, check_address, new_token

TOKEN = "_0123456789abcdef0123456789abcdef"
LINE = f"LLAMASWAP_ADDRESS={TOKEN} http://node1:5800\n".encode()
SHOWN = b"LLAMASWAP_ADDRESS=*** http://node1:5800\n"


class Run:
    """What it has said, and what was shown of it."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.shown: list[bytes] = []
        self.announcements = Announcements(7, TOKEN, self._hear, RunOutput(self.shown.append))

    def _hear(self, event: Event) -> None:
        assert isinstance(event, RunAnnounced | RunQueued)
        assert event.run_id == 7
        self.heard.append(event.address if isinstance(event, RunAnnounced) else event.reason)

    def write(self, data: bytes) -> bytes:
        """What is shown now."""
        self.shown.clear()
        self.announcements.write(data)
        return b"".join(self.shown)


def read(*pieces: bytes, unread: bytes = b"") -> tuple[list[str], bytes]:
    """What it has heard of these pieces, and what was shown of them."""
    run = Run()
    run.announcements.go_on(unread)
    shown = b"".join(map(run.write, (*pieces, b"")))
    assert run.shown[-1] == b""
    return run.heard, shown


@pytest.mark.parametrize("cut", range(len(LINE)))
def test_a_line_is_found_wherever_it_is_cut(cut: int) -> None:
    assert read(LINE[:cut], LINE[cut:]) == (["http://node1:5800"], SHOWN)


def test_a_line_is_found_byte_by_byte_between_others() -> None:
    text = b"one\n" + LINE + b"two _"
    assert read(*(bytes([byte]) for byte in text)) == (["http://node1:5800"], b"one\n" + SHOWN + b"two _")


def test_something_may_stand_before_and_behind_in_the_line() -> None:
    line = f"0: LLAMASWAP_ADDRESS={TOKEN}\thttp://node1:5800 # up\r\n".encode()
    assert read(line)[0] == ["http://node1:5800"]


def test_each_of_several_is_told() -> None:
    assert read(LINE + LINE.replace(b"1:", b"2:"))[0] == ["http://node1:5800", "http://node2:5800"]


@pytest.mark.parametrize(
    "line",
    [
        b"LLAMASWAP_ADDRESS=_ffffffffffffffffffffffffffffffff http://node1:5800\n",
        b"LLAMASWAP_ADDRESS= http://node1:5800\n",
        LINE.replace(b" ", b""),
        LINE.rstrip(b"\n"),
        LINE.replace(b" ", b"\n"),
    ],
)
def test_other_lines_say_nothing(line: bytes) -> None:
    assert read(line)[0] == []


def test_what_comes_is_shown_at_once_but_for_what_may_be_the_token() -> None:
    run = Run()
    assert run.write(b"100 %") == b"100 %"
    assert run.write(b" of _01") == b" of "
    assert run.write(b"x") == b"_01x"
    assert run.write(f"={TOKEN[:20]}".encode()) == b"="
    assert run.write(TOKEN[20:].encode()) == b"***"


@pytest.mark.parametrize("nothing", [b" ", b"   ", b" \t \r", b" \x0b", b" \x1c"])
def test_a_line_without_an_address_is_not_used_and_the_log_says_so(nothing: bytes) -> None:
    heard, shown = read(LINE.replace(b" http://node1:5800", nothing), LINE)
    assert heard == ["http://node1:5800"]
    assert b"what it says of its address is not used: expected an address such as http://node1:8080, got ''\n" in shown


def test_what_it_says_may_have_the_token_in_it_and_is_shown_without() -> None:
    heard, shown = read(f"LLAMASWAP_STATE={TOKEN} job {TOKEN} waits\nLLAMASWAP_ADDRESS={TOKEN} {TOKEN}\n".encode())
    assert heard == ["job *** waits"]
    assert b"not used: expected an address such as http://node1:8080, got '***'\n" in shown
    assert TOKEN.encode() not in shown


def test_a_line_behind_much_that_has_no_line_end_is_found() -> None:
    assert read(b"\r 50 %" * 3_000, b"\r" + LINE[:30], LINE[30:])[0] == ["http://node1:5800"]


def test_a_line_without_an_end_takes_little_memory() -> None:
    run = Run()
    for _ in range(100):
        run.write(b"x" * 10_000)
    assert len(run.announcements.unread) < 10_000


@pytest.mark.parametrize("cut", range(len(LINE)))
def test_a_line_of_which_another_process_has_read_a_part_is_found_and_its_token_is_not_shown(cut: int) -> None:
    elder = Run()
    shown = elder.write(LINE[:cut])
    heard, rest = read(LINE[cut:], unread=elder.announcements.unread)
    assert heard == ["http://node1:5800"]
    assert shown + rest == SHOWN


def test_each_run_has_another_token() -> None:
    assert new_token() != new_token()
    assert len(new_token()) == len(TOKEN)


@pytest.mark.parametrize("address", ["http://node1", "https://10.0.0.1:8443/base?x=1", "http://[::1]:80"])
def test_addresses_of_servers_are_good(address: str) -> None:
    check_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "node1:80",
        "ftp://node1",
        "http://",
        "http://:80",
        "http://node1:99999",
        "http://no\nde",
        "http://me:secret@node1",
        "http://ü",
    ],
)
def test_anything_else_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="expected an address such as http://node1:8080, got"):
        check_address(address)


@pytest.mark.parametrize(
    ("address", "is_here"),
    [("http://127.0.0.1:1", True), ("http://localhost:1", True), ("http://[::1]:1", True), ("http://node1:1", False)],
)
def test_it_is_told_whether_the_address_is_of_this_machine(address: str, is_here: bool) -> None:
    events: list[Event] = []
    Announcements(3, TOKEN, events.append, RunOutput(lambda _: None)).announce(address)
    assert events == [RunAnnounced(3, address, is_here)]
