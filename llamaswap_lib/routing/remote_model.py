"""A model of a peer, with all that its peer says about it.

Pure, any thread. Owns what is never sent to the peer: the pattern of the keys that are ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from llamaswap_lib.config.schema import Config, PeerModel
from llamaswap_lib.config.sections import Peer, Timeouts


class Remote(NamedTuple):
    """A model of a peer, as `relay` serves it."""

    id: str  # peer/model
    peer: str
    key: str  # of the peer's connections: one whose address changes gets new ones
    proxy: str
    timeouts: Timeouts
    patient: Timeouts  # the same where the peer is a llamaswap, which bounds each wait itself
    api_key: str
    own_keys: re.Pattern[str] | None  # what is never sent to it


def remote_of(config: Config, offered: PeerModel) -> Remote:
    """The peer's model, with all that its peer says about it."""
    peer = config.peers[offered.peer]
    return Remote(
        id=f"{offered.peer}/{offered.model}",
        peer=offered.peer,
        key=f"{offered.peer} at {peer.proxy}",
        proxy=peer.proxy,
        timeouts=peer.timeouts,
        patient=peer.timeouts if peer.bounds_answers else replace(peer.timeouts, response_header=0.0),
        api_key=key_of(peer),
        own_keys=key_pattern(config.api_keys),
    )


def key_of(peer: Peer) -> str:
    """Its key, as it is in a head; '' for none."""
    return _as_in_head(peer.api_key.strip())


def key_lines(key: str) -> str:
    """The lines of a head that carry the key of a peer; none for ''."""
    return f"Authorization: Bearer {key}\r\nx-api-key: {key}\r\n" if key else ""


def key_pattern(keys: Sequence[str]) -> re.Pattern[str] | None:
    """What finds any of `keys` that stands by itself in a header's text; None without keys."""
    if not keys:
        return None
    choice = "|".join(re.escape(_as_in_head(key)) for key in keys)
    return re.compile(f"(?<![0-9A-Za-z])(?:{choice})(?![0-9A-Za-z])")


def _as_in_head(text: str) -> str:
    """A head is read and written as latin-1; what is not goes as its UTF-8."""
    return text.encode().decode("latin-1")
