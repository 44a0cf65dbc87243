"""What peers with `models: auto` said last that they have, kept over restarts in a small file beside the store.

Any thread; the file is read once, and written under a lock of its own. A list belongs to a name and an address: one of
a peer that has left the configuration, or has moved, is dropped. No key is written, nor what an address says beside the
machine and the port. Without a store nothing is kept. At an upgrade the file changes hands: the old process writes
nothing from before it is read by the new one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llamaswap_lib.config.schema import Config
from llamaswap_lib.config.sections import Auto, Peer
from llamaswap_lib.errors import BadGateway
from llamaswap_lib.fleet.offers import Offer, entries_of, lists_file, offers_in
from llamaswap_lib.proxy.connection import origin_of
from llamaswap_lib.runtime.files.small_file import SmallFile

VERSION = 1
IF_UNREAD = "peers are asked anew for what they have"
IF_UNWRITTEN = "what peers have is not known after a restart until they say it"
Lists = dict[str, tuple[str, tuple[Offer, ...]]]  # by the name of the peer: its address, and what it has


class KeptLists:
    """The lists of the peers of the configuration in force."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._lock = threading.Lock()  # protects what follows, and the file
        self._addresses: Mapping[str, str] = {}
        self._lists: Lists = {}
        self._file: SmallFile | None = None
        self._is_read = False
        self._is_paused = False
        self._is_behind = False  # what the file says is not all

    def change(self, config: Config) -> None:
        """These are the peers from now on, and this is the store; blocks for the file."""
        peers, path = config.peers.items(), lists_file(config.store.path)
        with self._lock:
            self._addresses = {name: _address(peer) for name, peer in peers if isinstance(peer.models, Auto)}
            is_moved = path != (None if self._file is None else self._file.path)
            if is_moved:
                self._file = None if path is None else self._file_at(path)
            if not self._is_read:
                self._is_read, is_moved = True, False
                self._lists = (None if self._file is None else self._file.read(_lists_of)) or {}
            before = self._lists
            self._lists = {name: one for name, one in before.items() if one[0] == self._addresses.get(name)}
            if is_moved or self._lists != before:
                self._write()

    def _file_at(self, path: Path) -> SmallFile:
        return SmallFile(path, self._warn, IF_UNREAD, IF_UNWRITTEN, sets_aside=True)

    def of(self, name: str) -> tuple[Offer, ...] | None:
        """What this peer has; None where that is not known."""
        with self._lock:
            return self._lists[name][1] if name in self._lists else None

    def keep(self, name: str, peer: Peer, offers: tuple[Offer, ...]) -> None:
        """The peer says that it has these; blocks for the file, if that is another list."""
        with self._lock:
            address = _address(peer)
            is_there = address and address == self._addresses.get(name)  # else it has left meanwhile
            if is_there and self._lists.get(name) != (address, offers):
                self._lists[name] = address, offers
                self._write()

    def pause(self, timeout: float) -> None:
        """Leave the file as it is, until `go_on`; raises TimeoutError where it is being written for so many seconds."""
        if not self._lock.acquire(timeout=timeout):
            raise TimeoutError("the lists of peers are not written in time")
        self._is_paused = True
        self._lock.release()

    def go_on(self) -> None:
        """As if it had not paused; blocks for the file, if there is more to write."""
        with self._lock:
            self._is_paused = False
            if self._is_behind:
                self._write()

    def _write(self) -> None:
        self._is_behind = self._is_paused
        if self._file is not None and not self._is_paused:
            rows = {
                name: {"address": address, "models": entries_of(offers)}
                for name, (address, offers) in self._lists.items()
            }
            self._file.write({"version": VERSION, "peers": rows})


def _address(peer: Peer) -> str:
    """The machine and the port; '' for what is no address."""
    try:
        return str(origin_of(peer.proxy))
    except BadGateway:
        return ""


def _lists_of(said: Any) -> Lists:
    """Of what the file says; raises ValueError for anything else."""
    if not isinstance(said, dict) or said.get("version") != VERSION or not isinstance(said.get("peers"), dict):
        raise ValueError("expected the models of peers")
    found: Lists = {}
    for name, row in said["peers"].items():
        offers = offers_in(row.get("models")) if isinstance(row, dict) else None
        address = row.get("address") if offers is not None else None
        if offers is None or not isinstance(address, str):
            raise ValueError("expected an address and the models of each peer")
        found[name] = address, offers
    return found
