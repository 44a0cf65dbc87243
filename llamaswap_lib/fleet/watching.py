"""All peers, and the threads that look at them.

A thread `look-M` for each peer M: a slow one keeps no other from being looked at, and name servers, TLS and forward
proxies are waited for as everywhere. It is idle but for the moments of its looks. What they find is published as a
whole (`states`), so any thread reads it without a lock. `note_refused` is called by the loop, and never waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from llamaswap_lib.config.schema import Config
from llamaswap_lib.config.sections import Auto, Peer
from llamaswap_lib.fleet import states
from llamaswap_lib.fleet.kept_lists import KeptLists
from llamaswap_lib.fleet.looks import LONGEST_LOOK, LookFailed, fields_of, list_of, look_at
from llamaswap_lib.fleet.offers import Offer
from llamaswap_lib.fleet.states import LLAMASWAP, UNKNOWN, Known, PeerState
from llamaswap_lib.printable import printable
from llamaswap_lib.proxy.asking import Answer, ask
from llamaswap_lib.runtime.forward_proxies import ForwardProxies
from llamaswap_lib.runtime.logs.logger import Logger
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.vital import report

LIST_EVERY, LIST_AGAIN = 30.0, 5.0  # seconds until what a peer has is asked again; where it did not say
Pause = Callable[[threading.Event, float], object]  # until the event is set, for so many seconds at most


def _wait(event: threading.Event, seconds: float) -> object:
    return event.wait(seconds)


class Fleet:
    """The peers of the configuration in force."""

    def __init__(
        self,
        proxies: ForwardProxies,
        log: Logger,
        on_offers: Callable[[], object],
        on_gone: Callable[[str], object],
        waits_at: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
        pause: Pause = _wait,
        via: str = "",
        before: Known = MappingProxyType({}),
    ) -> None:
        """`on_offers` is called by a thread `look-M` when what a peer says that it has is another list, and
        `on_gone` with its address after each look at a llamaswap that is out and silent. `waits_at`: whether requests
        are sent to an address. `via` is our entry of that header. `before` is what is known of the first peers.
        """
        self._proxies = proxies
        self._log = log
        self._on_offers = on_offers
        self._on_gone = on_gone
        self._waits_at = waits_at
        self._clock = clock
        self._pause = pause
        self._via = via
        self._before = before
        self._kept = KeptLists(log.warn)
        self.on_states: Callable[[], None] = lambda: None
        self._lock = threading.Lock()  # protects what follows
        self._is_closed = False
        self._watches: dict[str, _Watch] = {}
        self._states: Mapping[str, PeerState] = MappingProxyType({})

    # -- any thread --

    def states(self) -> Mapping[str, PeerState]:
        """What is known of each peer, by its name."""
        return self._states

    def note_refused(self, name: str, error: str) -> None:
        """No connection to it could be opened for a request: it is out until it answers a look."""
        with self._lock:
            watch = self._watches.get(name)
        if watch is not None:
            was_up = self._states.get(name, UNKNOWN).is_usable
            self._put(watch, lambda state: states.after_refusal(state, self._clock(), error))
            if was_up:  # else the looks go on at their own pace, however many requests are refused
                watch.wake.set()

    def look_soon(self, name: str) -> None:
        """Something was done there that may have changed what runs."""
        with self._lock:
            watch = self._watches.get(name)
        if watch is not None and self._states.get(name, UNKNOWN).is_usable:  # looks at one that is out have their pace
            watch.wake.set()

    def change(self, config: Config) -> None:
        """These are the peers from now on; who is another server than before is looked at anew.

        Until it says its own list, it has what it said last. One that is a peer no more is looked at while requests
        are there, unless another one is at the same address, and known. Blocks for the file of the lists.
        """
        self._kept.change(config)
        kept = {name: self._kept.of(name) for name in config.peers}
        with self._lock:
            before, self._watches = self._watches, {}
            for name, peer in config.peers.items():
                watch = before.get(name)
                if watch is None or _server(watch.peer) != _server(peer):
                    watch = self._new_watch(name, peer, kept[name])
                self._watches[name] = watch
            self._before = {}
            new = [watch for name, watch in self._watches.items() if before.get(name) is not watch]
            self._publish()
            gone = [watch for name, watch in before.items() if self._watches.get(name) is not watch]
        for watch in gone:
            watch.end()
        for watch in new:
            self._start(watch)

    def _new_watch(self, name: str, peer: Peer, offers: tuple[Offer, ...] | None) -> _Watch:
        address, state = self._before.get(name, ("", UNKNOWN))
        if address != peer.proxy:
            return _Watch(name, peer, UNKNOWN if offers is None else states.after_list(UNKNOWN, offers))
        watch = _Watch(name, peer, state)
        if state.offers is not None:
            watch.was_asked.set()  # a moment ago, by another process
        return watch

    def wait_for_lists(self, seconds: float) -> None:
        """Until all peers whose models are `auto` were asked for them once, for so long at most; blocks."""
        deadline = time.monotonic() + seconds
        for watch in list(self._watches.values()):
            if isinstance(watch.peer.models, Auto):
                watch.was_asked.wait(max(0.0, deadline - time.monotonic()))

    def pause_lists(self, timeout: float) -> None:
        """Write no lists until `go_on_with_lists`; raises TimeoutError where the file is being written for so long."""
        self._kept.pause(timeout)

    def go_on_with_lists(self) -> None:
        """As if there had been no pause; blocks for the file."""
        self._kept.go_on()

    def close(self) -> None:
        """Look at nobody any more; a look in progress ends by itself."""
        with self._lock:
            watches, self._watches, self._is_closed = list(self._watches.values()), {}, True
        for watch in watches:
            watch.end()

    def _start(self, watch: _Watch) -> None:
        try:
            Thread(self._watch, f"look-{watch.name}", (watch,)).start()
        except (RuntimeError, MemoryError) as error:  # it counts as up then, as it did before there were looks
            self._log.warn(f"peer {watch.name} is not looked at: no thread can be started ({error or 'no memory'})")

    # -- threads look-M --

    def _watch(self, watch: _Watch) -> None:
        while True:
            watch.wake.clear()  # before the question whether it has ended, which sets it
            if self._is_closed:
                return
            has_ended = watch.has_ended
            try:
                self._look(watch)
            except Exception:  # noqa: BLE001 - a mistake of ours: the next look may go well
                report(f"look-{watch.name}", self._log.error)
            watch.was_asked.set()
            self._pause(watch.wake, watch.state.pause)
            if has_ended and not self._is_needed(watch.peer.proxy):
                return

    def _is_needed(self, address: str) -> bool:
        """Whether requests are at what was a peer, and nobody else would find that it is gone."""
        with self._lock:
            has_other = any(one.peer.proxy == address and one.state.kind for one in self._watches.values())
        return not has_other and self._waits_at(address)

    def _look(self, watch: _Watch) -> None:
        peer, fields = watch.peer, fields_of(watch.peer, self._via)

        def ask_peer(path: str) -> Answer:
            return ask(peer.proxy, path, self._proxies, time.monotonic() + LONGEST_LOOK, fields)

        state = watch.state
        kind = state.kind if state.is_up else ""
        try:
            seen = look_at(kind, ask_peer)
        except OSError:  # what is known stays: each request that has no descriptor says so
            return
        except LookFailed as failed:
            error = printable(str(failed))
            self._put(watch, lambda state: states.after_failure(state, self._clock(), error))
            if failed.is_silent and watch.state.is_up is False and state.kind == LLAMASWAP:
                self._on_gone(peer.proxy)  # also of those who have come since: for them no other time runs
        else:
            self._put(watch, lambda state: states.after_success(state, self._clock(), *seen))
            if (
                isinstance(peer.models, Auto)
                and not watch.has_ended
                and (not state.is_up or self._clock() >= watch.list_due)
            ):
                self._ask_for_list(watch, ask_peer)

    def _ask_for_list(self, watch: _Watch, ask_peer: Callable[[str], Answer]) -> None:
        """Have what it says that it has in force; where it says nothing, the last list stays."""
        offers = list_of(ask_peer)
        watch.list_due = self._clock() + (LIST_AGAIN if offers is None else LIST_EVERY)
        if offers is None:
            return
        is_another = offers != watch.state.offers
        if is_another:
            self._put(watch, lambda state: states.after_list(state, offers))
            watch.was_asked.set()  # who waits for that may be the one that a renewal would have to wait for
            self._on_offers()
        self._kept.keep(watch.name, watch.peer, offers)  # also one that another process has told us of
        if is_another:
            self._log.info(f"peer {watch.name} has {len(offers)} names of models")

    # -- any thread --

    def _put(self, watch: _Watch, change: Callable[[PeerState], PeerState]) -> None:
        with self._lock:
            before, after = watch.state, change(watch.state)
            watch.state = after
            if self._watches.get(watch.name) is not watch:
                return
            if after != before:
                self._publish()
        if after != before:
            self.on_states()
        if after.is_up is False and before.is_up is not False:
            self._log.warn(f"peer {watch.name} is out: {after.last_error}")
        elif after.is_up and before.is_up is False:
            self._log.info(f"peer {watch.name} is in again after {after.since - before.since:.0f} s")

    def _publish(self) -> None:
        self._states = MappingProxyType({name: watch.state for name, watch in self._watches.items()})


class _Watch:
    """One peer that is looked at, or was one."""

    def __init__(self, name: str, peer: Peer, state: PeerState) -> None:
        self.name = name
        self.peer = peer
        self.state = state
        self.wake = threading.Event()  # set to look sooner, and at the end
        self.was_asked = threading.Event()
        self.list_due = 0.0
        self.has_ended = False

    def end(self) -> None:
        self.has_ended = True
        self.wake.set()


def _server(peer: Peer) -> tuple[str, str, bool]:
    """What makes it another server, or one that is asked for more."""
    return peer.proxy, peer.api_key, isinstance(peer.models, Auto)
