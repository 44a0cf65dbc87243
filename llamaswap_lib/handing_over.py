"""What changes hands at an upgrade: what the old process tells and gives, and what the new one makes of it.

`Giver` is the old process's side, `Taker` the new one's; `upgrade` has the order of things, and what is done where they
fail. A part that has something to hand over does it in its own words; here they are put together. What is not handed
over begins anew: counters of `/metrics`, samples of the machine, and who follows logs or events (they come back).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol

from llamaswap_lib.adoption import Adoption
from llamaswap_lib.app import App
from llamaswap_lib.endpoints import settings_of
from llamaswap_lib.errors import NotFound, NotImplementedByServer
from llamaswap_lib.fleet import states
from llamaswap_lib.reload import Reloader, Serving
from llamaswap_lib.runtime.guard.guardian import Guardian
from llamaswap_lib.upgrade.child import Child, Start
from llamaswap_lib.upgrade.connections import Leaving, take
from llamaswap_lib.upgrade.link import Link, Message
from llamaswap_lib.upgrade.phases import News
from llamaswap_lib.upgrade.taking import Predecessor, State

END_PATIENCE = 15.0  # seconds for the end of a process without requests: idle TLS connections have ten
BRIEF_PATIENCE = 2.0  # the same for one with requests, which may be the one that has asked for the upgrade
FREEZE_TIMEOUT = 5.0  # seconds for what is in progress to come to a rest
# Kinds of messages, besides News. From a parent of workers: `OWN` is a request for the parent itself. At `SERVING` the
# new process accepts, by its workers if it has some. `RELOAD`: the files have to be read again.
CONTROLLER, CONNECTION, ROW, OWN, SERVING, RELOAD = "controller", "connection", "row", "own", "serving", "reload"


class ClientProcesses(Protocol):
    """Other processes that have our clients, where there are some. Any thread."""

    def hand_on(
        self, give_left: Callable[[Message, Sequence[int]], None], give_own: Callable[[Message, Sequence[int]], None]
    ) -> None:
        """Give connections of clients, and requests for us, to the process that has taken over."""

    def leave(self) -> None:
        """Others serve: accept nobody, give idle connections away, end with the last request."""

    def take_client(self, client: Message, descriptor: int) -> None:
        """Have one of them serve a client's connection; the descriptor is its own."""

    def take_connection(self, client: Message, descriptor: int) -> None:
        """Serve the request for us that comes there; the descriptor is its own."""


class Estate(NamedTuple):
    """The parts that have something to hand over."""

    serving: Serving
    guardian: Guardian
    reloader: Reloader
    workers: ClientProcesses | None = None


class Giver:
    """The old process."""

    def __init__(self, estate: Estate, start: Start, predecessor: Predecessor | None) -> None:
        self._estate, self._serving = estate, estate.serving
        self._start = start
        self._predecessor = predecessor
        self._undo = ExitStack()  # of what is frozen

    def why_not(self) -> str:
        if name := self._start.ends_with_us:
            raise NotImplementedByServer(f"{name} (PID 1) ends with this process, and its container too: restart that")
        if not self._serving.controller.has_elder:
            return ""
        pid, count = (
            (self._predecessor.pid, self._predecessor.requests_left) if self._predecessor else ("unknown", None)
        )
        if count == 0:
            return f"the process before this one, {pid}, has no request any more and has not ended yet; try again"
        what = {None: "requests", 1: "1 request"}.get(count, f"{count} requests")
        return f"the process before this one, {pid}, still serves {what}; upgradeTimeout bounds how long"

    def patience(self) -> float:
        if not self._serving.controller.has_elder:
            return 0.0
        is_ending = self._predecessor is not None and self._predecessor.requests_left == 0
        return END_PATIENCE if is_ending else BRIEF_PATIENCE

    def spawn(self) -> Child:
        self._estate.reloader.note_reader()
        more = self._estate.guardian.heir_environment()
        return Child(self._start, self._serving.server.socket, more, self._serving.logs.log.warn)

    def freeze(self) -> tuple[Message, Sequence[int]]:
        estate, serving, app = self._estate, self._serving, self._serving.latest.app
        with ExitStack() as undo:
            estate.reloader.hold(FREEZE_TIMEOUT)
            undo.callback(estate.reloader.let_go)
            app.peers.pause_lists(FREEZE_TIMEOUT)  # for ever, if there is an heir: it has the file then
            undo.callback(app.peers.go_on_with_lists)
            activity = serving.journal.pause()
            undo.callback(serving.journal.go_on)
            controller, runs = serving.controller.freeze(FREEZE_TIMEOUT)
            undo.callback(serving.controller.resume)
            try:
                guardian, pipes = estate.guardian.hand_over()
            except BaseException:
                for descriptor in runs:
                    os.close(descriptor)
                raise
            state: dict[str, Any] = {
                "controller": controller,
                "guardian": guardian,
                "pipes": len(pipes),  # the guardian's descriptors come first
                "activity": activity,
                "logs": {name: history.decode("latin-1") for name, history in serving.logs.histories().items()},
                "profile": app.profiles.active,
                "key_salt": app.key_salt.hex(),
                "peers": _peers(app),
                "connections": len(serving.server.table),
                "is_shared": serving.server.is_shared,
            }
            self._undo = undo.pop_all()
        return state, [*pipes, *runs]

    def resume(self) -> None:
        self._undo.close()

    def retire(self, pid: int, link: Link) -> None:
        estate, serving = self._estate, self._serving
        told = _InOrder(link)
        commit = serving.controller.retire(told.send)
        told.send_first({"commit": commit, "profile": serving.latest.app.profiles.active})
        estate.guardian.retire()
        serving.latest.app.pool.keep_only(())  # the new process may stop any model, which is slower with a connection
        serving.latest.app.memory.leave_file()
        serving.supervisor.hand_over(pid)
        serving.journal.hand_on(lambda row, capture: link.send({"kind": ROW, "row": row, "capture": capture}))
        estate.reloader.close(lambda: link.send({"kind": RELOAD}))
        estate.reloader.let_go()

        def give(kind: str, client: Message, descriptors: Sequence[int]) -> None:
            link.send({**client, "kind": kind}, descriptors)

        if estate.workers is None:
            Leaving(serving.server, serving.loop, partial(give, CONNECTION)).begin()
        else:
            estate.workers.hand_on(partial(give, CONNECTION), partial(give, OWN))
        serving.logs.close_streams()
        serving.latest.app.peers.close_streams()

    def hear(self, message: Message) -> None:
        if message["kind"] == CONTROLLER:
            self._serving.controller.receive(message["message"])
        elif message["kind"] == SERVING and self._estate.workers is not None:
            self._estate.workers.leave()

    def note_alone(self) -> None:
        self._serving.controller.note_link_lost()
        if self._estate.workers is not None:
            self._estate.workers.leave()


def _peers(app: App) -> dict[str, Any]:
    """What is known of each peer, beside its address."""
    peers, known = app.config.peers, app.peers.states().items()
    return {name: [peers[name].proxy, states.described(state)] for name, state in known if name in peers}


class _InOrder:
    """What a retired controller says, behind what the new process has to know first."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()  # protects what follows, and the order
        self._held: list[Message] | None = []

    def send(self, message: Message) -> None:
        """Any thread."""
        with self._lock:
            if self._held is None:
                self._link.send({"kind": CONTROLLER, "message": message})
            else:
                self._held.append(message)

    def send_first(self, commit: Message) -> None:
        with self._lock:
            self._link.send({"kind": News.COMMIT, **commit})
            held, self._held = self._held or [], None
            for message in held:
                self._link.send({"kind": CONTROLLER, "message": message})


class Taker:
    """The new process."""

    def __init__(self, estate: Estate, predecessor: Predecessor) -> None:
        self._estate, self._serving = estate, estate.serving
        self._predecessor = predecessor

    # -- main thread --

    def take(self, state: State) -> None:
        """Go on from there; raises KeyError, ValueError and TypeError for what this version cannot read."""
        estate, serving, told, descriptors = self._estate, self._serving, state.told, state.descriptors
        app, pipes = serving.latest.app, int(told["pipes"])
        estate.guardian.adopt(told["guardian"], descriptors[:pipes])
        adoption = Adoption(estate.reloader.standing, serving.launching)
        serving.controller.adopt(told["controller"], descriptors[pipes:], adoption)
        serving.journal.inherit(told["activity"])
        histories = {name: history.encode("latin-1") for name, history in told["logs"].items()}
        serving.logs.put_before(histories, app.config.models.keys())
        if not app.config.store.path:
            serving.latest.app = app = replace(app, key_salt=bytes.fromhex(told["key_salt"]))
            serving.server.change(settings_of(app))
        self._activate(told["profile"])
        known = told.get("peers", {}).items()
        app.peers.inherit({name: (address, states.read(state)) for name, (address, state) in known})
        serving.server.is_shared = told["is_shared"]
        if told["connections"] > serving.capacity.connections:
            serving.capacity.grow()

    def _activate(self, profile: str | None) -> None:
        with suppress(NotFound):  # it is configured no more
            self._serving.latest.app.profiles.activate(profile)

    def begin(self, commit: Message) -> None:
        """Decide from now on; who goes by memory, once it was read: see `note_read`."""
        if "profile" in commit:  # it may be another one than when the state was told; an older version does not say
            self._activate(commit["profile"])
        if self._estate.reloader.config.routing.router == "memory":
            self._serving.latest.app.memory.expect()
        link = self._predecessor.link
        self._serving.controller.begin(
            commit["commit"], lambda message: link.send({"kind": CONTROLLER, "message": message})
        )

    def note_read(self) -> None:
        """The memory was read, or that takes too long."""
        self._serving.latest.app.memory.do_without()

    def note_serving(self) -> None:
        """All that serves here does: the workers of the process before, where it has some, are to leave."""
        self._predecessor.link.send({"kind": SERVING})

    # -- thread link-in --

    def hear(self, message: Message, descriptors: Sequence[int]) -> None:
        serving, workers = self._serving, self._estate.workers
        if message["kind"] == CONTROLLER:
            serving.controller.receive(message["message"])
        elif message["kind"] in (CONNECTION, OWN) and workers is None:
            take(serving.server, serving.loop, message, *descriptors)
        elif message["kind"] == CONNECTION and workers is not None:
            workers.take_client(message, *descriptors)
        elif message["kind"] == OWN and workers is not None:
            workers.take_connection(message, *descriptors)
        elif message["kind"] == RELOAD:
            self._estate.reloader.request("asked for during the upgrade")
        elif message["kind"] == ROW:
            serving.journal.take(message["row"], message["capture"])

    def note_end(self) -> None:
        self._serving.controller.note_link_lost()
        self._serving.logs.log.info(f"process {self._predecessor.pid}, which served before, has ended")
