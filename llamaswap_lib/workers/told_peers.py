"""What a worker knows of peers: what its parent, which looks at them, has told last.

Any thread. A peer that takes no connection from here is out here at once; the parent is told, and tells all others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from llamaswap_lib.config.schema import Config
from llamaswap_lib.fleet.states import UNKNOWN, PeerState, after_refusal


class Told(NamedTuple):
    """The state of a peer; what it has may be a long list, which is told only when it has changed."""

    state: PeerState
    has_same_offers: bool


class ToldPeers:
    """See `Watching` in `fleet/peers.py`."""

    def __init__(self, states: Mapping[str, PeerState], tell_refused: Callable[[str, str], None]) -> None:
        """`tell_refused` is told the peer's name, and the error."""
        self._tell_refused = tell_refused
        self._lock = threading.Lock()  # of changes
        self._states: Mapping[str, PeerState] = MappingProxyType({**states})
        self.on_states: Callable[[], None] = lambda: None

    def states(self) -> Mapping[str, PeerState]:
        return self._states

    def take(self, told: Mapping[str, Told]) -> None:
        """What the parent tells: all that has changed."""
        with self._lock:
            before = self._states
            changed = {
                name: one.state._replace(offers=before.get(name, UNKNOWN).offers) if one.has_same_offers else one.state
                for name, one in told.items()
            }
            self._states = MappingProxyType({**before, **changed})

    def note_refused(self, name: str, error: str) -> None:
        self._tell_refused(name, error)
        with self._lock:
            state = after_refusal(self._states.get(name, UNKNOWN), time.monotonic(), error)
            self._states = MappingProxyType({**self._states, name: state})

    def look_soon(self, name: str) -> None:
        """What changes what runs at peers is asked of the parent, which looks."""

    def change(self, config: Config) -> None:
        """Those that are not configured any more are forgotten."""
        with self._lock:
            self._states = MappingProxyType({name: self._states.get(name, UNKNOWN) for name in config.peers})

    def wait_for_lists(self, seconds: float) -> None:
        """The parent has waited."""

    def pause_lists(self, timeout: float) -> None:
        """The parent writes them."""

    def go_on_with_lists(self) -> None:
        """The same."""

    def close(self) -> None:
        """The parent ends the looks."""
