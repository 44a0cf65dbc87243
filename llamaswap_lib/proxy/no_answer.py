"""What an upstream did in place of answering: another process, or another box, may be asked."""

from __future__ import annotations

from llamaswap_lib.errors import BadGateway


class NoAnswer(BadGateway):
    """Not a byte of an answer came."""

    was_cut = False  # by us, since the run hangs or is lost
    was_sent = True  # the server may have got the request


class NoConnection(NoAnswer):
    """Nobody has taken the connection."""

    was_sent = False


class SaidNo(BadGateway):
    """A peer has answered that it cannot serve the request now."""
