"""The fleet where the configuration has peers, and nothing where it has none.

Any thread. What looks at peers is imported before the first of them comes (`needed.py`), so that it costs nothing where
there are none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from llamaswap_lib.config.schema import Config
from llamaswap_lib.errors import ServiceUnavailable
from llamaswap_lib.fleet.offers import lists_file
from llamaswap_lib.fleet.retrying import RetryBudget
from llamaswap_lib.fleet.states import LLAMASWAP, Known, PeerState
from llamaswap_lib.runtime.forward_proxies import NO_PROXIES, ForwardProxies
from llamaswap_lib.runtime.logs.logger import Logger

FIRST_LISTS = 2.0  # seconds for peers to say what models they have; one may be down


class Watching(Protocol):
    """What looks at peers; see `watching.py`."""

    on_states: Callable[[], None]  # is called when what is known of one changes

    def states(self) -> Mapping[str, PeerState]: ...
    def note_refused(self, name: str, error: str) -> None: ...
    def look_soon(self, name: str) -> None: ...
    def change(self, config: Config) -> None: ...
    def wait_for_lists(self, seconds: float) -> None: ...
    def pause_lists(self, timeout: float) -> None: ...
    def go_on_with_lists(self) -> None: ...
    def close(self) -> None: ...


class Follower(Protocol):
    """Is told what is known of peers when that changes. Any thread."""

    def note_states(self) -> None: ...
    def note_gone(self, address: str) -> None:
        """The peer there does not answer any more."""

    def waits_at(self, address: str) -> bool:
        """Whether requests are sent to a peer there."""


class Waiting(Protocol):
    """A request that is sent to a peer."""

    def cut(self, *, if_silent: bool) -> None:
        """End it. `if_silent`: only where not a byte of its answer has come."""


class Peers:
    """What is known of the peers of the configuration in force."""

    def __init__(
        self,
        log: Logger | None = None,
        proxies: ForwardProxies = NO_PROXIES,
        on_offers: Callable[[], object] = lambda: None,
        call: Callable[..., object] = lambda _function, *_: None,
        via: str = "",
        watching: Watching | None = None,
    ) -> None:
        """Without a log nobody is looked at. `on_offers`: a peer says that it has other models than before.
        `call` has the loop call a function. `via`: our entry of the header of that name. `watching`: what knows of
        peers, in place of looks.
        """
        self._log = log
        self._on_offers = on_offers
        self._call = call
        self._via = via
        self._waiting: dict[str, set[Waiting]] = {}  # requests that are sent to each address; the loop's
        self._logs: set[Waiting] | None = set()  # those of them that follow a log; None: they are to end; the loop's
        self._proxies = proxies
        self.budget = RetryBudget()  # of requests that have several places to go to; the loop's
        self._lock = threading.Lock()  # of changes
        self._watching = watching
        self._before: Known = {}
        self.follower: Follower | None = None

    def states(self) -> Mapping[str, PeerState]:
        """Of each peer, by its name; one that is not in it is not looked at, and counts as up."""
        return {} if self._watching is None else self._watching.states()

    def offers(self) -> dict[str, list[str]]:
        """With `models: auto`, what each peer has said that it has."""
        return {name: [offer.name for offer in state.offers or ()] for name, state in self.states().items()}

    def inherit(self, known: Known) -> None:
        """Another process knew that until now. To be called before there are any peers."""
        self._before = known

    def note_refused(self, name: str, error: str) -> None:
        """No connection to it could be opened for a request."""
        if self._watching is not None:
            self._watching.note_refused(name, error)

    def look_soon(self, name: str) -> None:
        """What runs there may be another by now."""
        if self._watching is not None:
            self._watching.look_soon(name)

    def change(self, config: Config) -> None:
        """These are the peers from now on."""
        with self._lock:
            if self._watching is None and config.peers and self._log is not None:
                self._watching = self._start(self._log)
            elif not config.peers and (path := lists_file(config.store.path)) is not None:
                with suppress(OSError):  # what was kept there is of no peer any more
                    path.unlink(missing_ok=True)
            if self._watching is not None:
                self._watching.on_states = self._note_states
                self._watching.change(config)

    def _start(self, log: Logger) -> Watching:
        from llamaswap_lib.fleet.watching import Fleet  # noqa: PLC0415 - most have no peers; see `needed.py`

        heard = self._on_offers, self.note_gone, self.waits_at
        return Fleet(self._proxies, log, *heard, via=self._via, before=self._before)

    def is_llamaswap(self, name: str) -> bool:
        """Whether it was seen to be one."""
        state = self.states().get(name)
        return state is not None and state.kind == LLAMASWAP

    def note_gone(self, address: str) -> None:
        """It does not answer any more: who has no byte of an answer is not to wait for it."""
        self._call(self._cut, address)
        if self.follower is not None:
            self.follower.note_gone(address)

    def waits_at(self, address: str) -> bool:
        """Whether requests are sent to a peer there."""
        return bool(self._waiting.get(address)) or (self.follower is not None and self.follower.waits_at(address))

    def _note_states(self) -> None:
        if self.follower is not None:
            self.follower.note_states()

    # -- loop thread --

    def add(self, address: str, waiting: Waiting, *, is_log: bool = False) -> None:
        """A request is sent to the peer there. `is_log`: it follows a log; raises ServiceUnavailable once these end."""
        if is_log:
            if self._logs is None:
                raise ServiceUnavailable("the server is shutting down")
            self._logs.add(waiting)
        self._waiting.setdefault(address, set()).add(waiting)

    def remove(self, address: str, waiting: Waiting) -> None:
        """It has ended."""
        self._waiting[address].discard(waiting)
        if self._logs is not None:
            self._logs.discard(waiting)

    def _cut_logs(self) -> None:
        logs, self._logs = self._logs or set(), None
        for waiting in logs:
            waiting.cut(if_silent=False)

    def _cut(self, address: str) -> None:
        for waiting in tuple(self._waiting.get(address, ())):
            waiting.cut(if_silent=True)

    # -- any thread --

    def wait_for_lists(self, seconds: float = FIRST_LISTS) -> None:
        """Until all that are to say what they have were asked once, for so long at most; blocks."""
        if self._watching is not None:
            self._watching.wait_for_lists(seconds)

    def pause_lists(self, timeout: float) -> None:
        """Write nothing of what peers have, until `go_on_with_lists`; no `change` may come in between.

        Raises TimeoutError where the file is being written for so many seconds.
        """
        if self._watching is not None:
            self._watching.pause_lists(timeout)

    def go_on_with_lists(self) -> None:
        """As if there had been no pause; blocks for the file."""
        if self._watching is not None:
            self._watching.go_on_with_lists()

    def close_streams(self) -> None:
        """End the logs of peers that clients follow, and all later ones. Does not block."""
        self._call(self._cut_logs)

    def close(self) -> None:
        """Look at nobody any more."""
        with self._lock:
            if self._watching is not None:
                self._watching.close()
