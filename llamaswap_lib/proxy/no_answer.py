"""What an upstream did in place of answering: another process, or another box, may be asked."""

from __future__ import annotations

from llamaswap_lib.errors import BadGateway, LlamaswapError


class NoAnswer(BadGateway):
    """Not a byte of an answer came."""

    was_cut = False  # by us, since the run hangs or is lost
    was_sent = True  # the server may have got the request


class NoConnection(NoAnswer):
    """Nobody has taken the connection."""

    was_sent = False


class NotReached(BadGateway):
    """The same, of a server of which that says nothing: it is not tried again, but another model may be asked."""


class Heard(LlamaswapError):
    """It has answered with `status`, and that is not for the client to read."""

    def __init__(self, status: int) -> None:
        super().__init__(f"it has answered with {status}")
        self.status = status


class SaidNo(BadGateway):
    """It has answered that it cannot serve the request now."""
