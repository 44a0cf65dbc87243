"""What a run says of itself between the lines of its output.

`LLAMASWAP_ADDRESS=TOKEN URL` is where it listens, `LLAMASWAP_STATE=TOKEN TEXT` what it waits for until it can say so.
One instance for each run; `write` is called by one thread. TOKEN is random and known to that run alone. So an old log
that is printed once more is never believed, nor is what a client has put into a prompt that the server prints. For the
same reason the token is never shown: who reads logs could say with it where requests are to be sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from llamaswap_lib.core.events import Event, RunAnnounced, RunQueued
from llamaswap_lib.printable import bounded, printable
from llamaswap_lib.runtime.health.check import HealthCheck, may_lead_elsewhere
from llamaswap_lib.runtime.logs.last_words import RunOutput

VARIABLE = "LLAMASWAP_ANNOUNCE"  # of its environment, which has the token
_HIDDEN = b"***"
_FIRST = b"_"  # of each token, and of no other part of it: rarely the last byte of what is read
_MOST_LINE_BYTES = 8_192
_MOST_SHOWN = 200


def new_token() -> str:
    """For one run."""
    return _FIRST.decode() + os.urandom(16).hex()


def check_address(address: str) -> None:
    """Raise ValueError unless it is the URL, without a password, of a server to which requests can be sent."""
    try:
        HealthCheck.at(address, "/")
        is_good = address.isascii() and address.isprintable() and not set(" @") & set(address)
    except ValueError:
        is_good = False
    if not is_good:
        shown = bounded(printable(address), _MOST_SHOWN)
        raise ValueError(f"expected an address such as http://node1:8080, got {shown!r}")


class Announcements:
    """Of one run: posts `RunAnnounced` and `RunQueued`, and passes on the rest of its output."""

    def __init__(self, run_id: int, token: str, post: Callable[[Event], None], output: RunOutput) -> None:
        """`token`: '' for a run that is not asked to say anything."""
        self.token = token
        self.address = ""  # the last one
        self.unread = b""  # the end of a line that has not ended
        self._run_id = run_id
        self._post = post
        self._output = output
        self._secret = token.encode()
        self._line = re.compile(rb"LLAMASWAP_(ADDRESS|STATE)=" + re.escape(self._secret) + rb"[ \t]([^\r\n]*)")
        self._held = b""  # what may be the beginning of the token

    # -- any thread --

    def announce(self, address: str) -> None:
        """It says that it listens there; raises ValueError for what is no such address."""
        check_address(address)
        self.address = address
        self._post(RunAnnounced(self._run_id, address, is_here=not may_lead_elsewhere(address)))

    def tell_state(self, text: str) -> None:
        """It says what it waits for."""
        shown = bounded(printable(" ".join(text.replace(self.token, _HIDDEN.decode()).split())), _MOST_SHOWN)
        self._post(RunQueued(self._run_id, shown))

    # -- thread output-M, and before it runs --

    def go_on(self, unread: bytes) -> None:
        """Go on where another process has left off, which had read this of a line that has not ended."""
        self.unread = unread
        self._held = unread[self._find_beginning(unread) :]

    def write(self, data: bytes) -> None:
        """What the process writes; b"" is the end."""
        if not self.token:
            self._output.write(data)
            return
        if data:
            self._find(data)
        shown = (self._held + data).replace(self._secret, _HIDDEN)
        end = self._find_beginning(shown) if data else len(shown)
        shown, self._held = shown[:end], shown[end:]
        if shown:
            self._output.write(shown)
        if not data:
            self._output.write(b"")

    def _find_beginning(self, text: bytes) -> int:
        """Where the end of the text may be the beginning of the token; the length of the text if it is none."""
        at = text.rfind(_FIRST, max(0, len(text) - len(self._secret) + 1))
        return at if at >= 0 and self._secret.startswith(text[at:]) else len(text)

    def _find(self, data: bytes) -> None:
        """The addresses in the lines that have ended; a line may have something before and behind."""
        whole, line_end, rest = data.rpartition(b"\n")
        if line_end:
            whole = self.unread + whole
            for found in self._line.finditer(whole) if self._secret in whole else ():
                self._hear(found[1], found[2].decode("utf-8", "replace"))
            self.unread = b""
        self.unread = (self.unread + rest)[-_MOST_LINE_BYTES:]

    def _hear(self, what: bytes, text: str) -> None:
        if what == b"STATE":
            self.tell_state(text)
            return
        try:
            self.announce(next(iter(text.split()), ""))
        except ValueError as error:
            said = str(error).replace(self.token, _HIDDEN.decode())
            self._output.note(f"llamaswap: what it says of its address is not used: {said}\n".encode())
