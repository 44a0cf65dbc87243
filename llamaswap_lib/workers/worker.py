"""The program of a worker: it accepts connections, and serves models of peers; the rest it leaves to its parent.

`main` is the main thread, which waits for signals and for the word to stop. The thread `link-in` hears the parent.
Guarantees: nothing is accepted before the parent has said what is in force; a change is in force when it is answered;
when the parent ends, in whatever way, the worker ends at once.
"""

from __future__ import annotations

import faulthandler
import importlib
import itertools
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from llamaswap_lib import __version__
from llamaswap_lib.activity.feed import Feed
from llamaswap_lib.activity.in_flight import InFlight, InFlightTable
from llamaswap_lib.activity.journal import Journal, JournalSettings
from llamaswap_lib.activity.meter import row_of
from llamaswap_lib.activity.record import Record
from llamaswap_lib.activity.row import Row
from llamaswap_lib.activity.store import StoreSettings
from llamaswap_lib.app import App, Version, journal_settings_of, limits_of
from llamaswap_lib.config.check import Listen
from llamaswap_lib.config.schema import Config
from llamaswap_lib.core.scheduler import Scheduler
from llamaswap_lib.errors import ConfigError
from llamaswap_lib.fleet.peers import Peers
from llamaswap_lib.needed import bring_tls
from llamaswap_lib.net.loop import Loop
from llamaswap_lib.proxy.pool import Pool
from llamaswap_lib.routing.profiles import Activation, Profiles
from llamaswap_lib.runtime.changes import Changes
from llamaswap_lib.runtime.control.controller import Controller
from llamaswap_lib.runtime.descriptors import DescriptorCapacity
from llamaswap_lib.runtime.forward_proxies import ForwardProxies
from llamaswap_lib.runtime.health.watchdog import Checks
from llamaswap_lib.runtime.heap import share_arena, spare_collector
from llamaswap_lib.runtime.logs.server_logs import Logs
from llamaswap_lib.runtime.ourselves import Ourselves
from llamaswap_lib.runtime.signals import Signals
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.vital import end_with, report
from llamaswap_lib.runtime.wakeup import Wakeup
from llamaswap_lib.scheduling import make_rules
from llamaswap_lib.server.certificate import Certificate
from llamaswap_lib.server.listener import Server
from llamaswap_lib.upgrade.connections import Leaving, take, wait_for_the_last
from llamaswap_lib.upgrade.link import Link, Message
from llamaswap_lib.wire.zstd import find_zstandard
from llamaswap_lib.workers.connection_counts import ConnectionCounts, Share
from llamaswap_lib.workers.following import Following
from llamaswap_lib.workers.ledger import Ledger, Noted
from llamaswap_lib.workers.messages import (
    NUMBERS_EACH,
    PICKLE,
    Begin,
    Gauges,
    HandedRows,
    InForce,
    Kind,
    Question,
    Words,
    words_of,
)
from llamaswap_lib.workers.own_endpoints import ParentPool, worker_settings
from llamaswap_lib.workers.told_peers import ToldPeers

DESCRIPTORS_EACH = 3  # of a client's connection: itself, one to a peer or the parent, one to wait for that
NEEDED_LATER = ("encodings.ascii", "encodings.idna", "encodings.unicode_escape", "tempfile")  # as in `main.py`
LAST_GRACE = 5.0  # seconds for what should be immediate


class Worker:
    """All of it."""

    def __init__(self, begin: Begin, words: Words, link: Link) -> None:
        """Built and not started; raises OSError and ConfigError."""
        config, self._begin, self._link = begin.in_force.config, begin, link
        bring_tls(config)
        self.logs = logs = Logs(level=config.log_level, time_format=config.log_time_format, to_stdout="proxy")
        log = logs.log
        self.loop = loop = Loop(on_error=log.error, on_slow=log.warn)
        self._parent = ParentPool(loop, link.send)
        self.pool = Pool(loop, proxies=ForwardProxies(os.environ))
        self._ledger = Ledger(words.ledger)
        self._has_loop = True
        self._places: dict[int, int] = {}  # in the ledger, by the number of a request
        self.journal = Journal(_settings(config, begin.listen), row_of, on_error=log.error)
        self.journal.hand_to(self._hand_rows)
        feed = Feed(self._table())
        self._following = Following(feed, lambda events: link.send({"kind": Kind.EVENTS, "events": events}))
        self._told = ToldPeers(begin.states, self._tell_refused)
        self._capacity = DescriptorCapacity(config.limits.connections, DESCRIPTORS_EACH, 0)
        self._certificate = None if begin.certificate is None else Certificate(*begin.certificate)
        ourselves = Ourselves()
        ourselves.name = begin.name
        app = App(
            config,
            _controller(config, logs),
            logs,
            self.pool,
            Changes(),
            Profiles(config.profiles, Activation(lambda: None)),
            Version(__version__),
            limits_of(config),
            ourselves,
            listen=begin.listen,
            started_at=begin.started_at,
            activity=self.journal,
            feed=feed,
            key_salt=begin.key_salt,
            peers=Peers(call=loop.call, watching=self._told),
        )
        self._latest = app.latest
        app.take_over()
        app.profiles.activate(begin.in_force.profile)
        host, port, _ = begin.listen
        listening = socket.socket(fileno=words.listening)
        ourselves.note_listening(listening)
        settings = worker_settings(app, self._parent)
        self.server = Server(settings, loop, host, port, self._certificate, self._capacity, listening)
        self.server.share = self._share = Share(ConnectionCounts(words.counts), words.place)

    def _table(self) -> InFlightTable:
        table = InFlightTable(self.journal, self.loop.clock)
        table.numbers = itertools.count(self._begin.number * NUMBERS_EACH + 1)
        table.on_begin = self._note_begun
        return table

    # -- loop thread --

    def _note_begun(self, entry: InFlight) -> None:
        session, key, remote_ip = entry.caller
        method = entry.head.method
        noted = Noted(entry.timestamp, entry.model, entry.path, method, entry.selector, session, key, remote_ip)
        self._places[entry.number] = self._ledger.take(noted)

    # -- thread activity-writer --

    def _hand_rows(self, records: Sequence[Record], rows: Sequence[Row]) -> None:
        places = [self._places.pop(record.number, -1) for record in records]
        captured = [record if record.captures else None for record in records]
        self._link.send({"kind": Kind.ROWS, "handed": HandedRows(places, list(rows), captured)})

    # -- thread link-in --

    def hear(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """What the parent says."""
        kind, number = message["kind"], message.get("number")
        if kind is Kind.PING:
            if self._has_loop:
                self.loop.call(self._pong)
            else:
                self._pong()
        elif kind is Kind.ASK:
            answer = self._answer(message["question"], message["argument"])
            self._link.send({"kind": Kind.ANSWER, "number": number, "answer": answer})
        elif kind is Kind.CHANGE:
            self._change(message["in_force"])
            self._link.send({"kind": Kind.ANSWER, "number": number, "answer": True})
        elif kind is Kind.STATES:
            self._told.take(message["states"])
        elif kind is Kind.GONE:
            self._latest.app.peers.note_gone(message["address"])
        elif kind is Kind.FOLLOW:
            self._following.change(follows=message["follows"])
        elif kind is Kind.CLIENT:
            take(self.server, self.loop, message, *descriptors)

    def leave(self, stop: Callable[[], None]) -> None:
        """Other workers accept: give away what has no request, and call `stop` once the last request has ended.

        `upgradeTimeout` bounds that.
        """

        def give(client: Message, descriptors: Sequence[int]) -> None:
            self._link.send({**client, "kind": Kind.LEFT}, descriptors)

        self.server.is_shared = True
        Leaving(self.server, self.loop, give).begin()
        Thread(self._see_them_leave, "leaving", (stop,)).start()

    # -- thread leaving --

    def _see_them_leave(self, stop: Callable[[], None]) -> None:
        wait_for_the_last(self.server, self._latest.app.config.upgrade_timeout, self.logs.log.warn)
        stop()

    # -- thread link-in --

    def _pong(self) -> None:
        """The parent ends a worker whose loop does not get to this."""
        self._link.send({"kind": Kind.PONG})

    def _answer(self, question: Question, argument: Any) -> object:
        app = self._latest.app
        if question is Question.IN_FLIGHT:
            return app.feed.rows()
        if question is Question.CANCEL:
            return app.feed.cancel(argument, self.loop.ask)
        if question is Question.WAITS_AT:
            return app.peers.waits_at(argument)
        if question is Question.GAUGES:
            return Gauges(*self.server.count(), self.loop.lag())
        self.journal.flush()
        return True

    def _change(self, in_force: InForce) -> None:
        """Have requests that begin from now on go by this."""
        config = in_force.config
        with suppress(ConfigError):  # there is no memory at the moment: its first use loads it
            bring_tls(config)
        app = self._latest.app.with_config(config, limits_of(config))
        app.peers.change(config)
        app.take_over()
        app.profiles.activate(in_force.profile)
        self.server.change(worker_settings(app, self._parent))
        self.logs.log.change(config.log_level, config.log_time_format)
        self.journal.change(_settings(config, self._begin.listen))
        self._capacity.change(config.limits.connections, 0)
        if self._certificate is not None:
            with suppress(ConfigError):  # it goes on with what it has, as the parent's log says
                self._certificate.renew()

    def _tell_refused(self, name: str, error: str) -> None:
        self._link.send({"kind": Kind.REFUSED, "name": name, "error": error})

    # -- main thread --

    def start(self) -> None:
        """Accept connections."""
        self.loop.start()
        self.journal.start()
        self._share.put(0)
        self.server.start()

    def end(self) -> None:
        """Accept nobody, let requests in progress end, for `shutdownTimeout` at most, and hand over their rows."""
        deadline = time.monotonic() + self._latest.app.config.shutdown_timeout
        server = self.server
        server.begin_stop()
        server.wait_idle(max(LAST_GRACE, deadline - time.monotonic()))
        server.stop_accepting()
        server.abort()
        server.close()
        self.pool.close()
        self._has_loop = False
        self.loop.stop()
        self._pong()  # what was asked before; from now on it is answered without
        self.journal.close(LAST_GRACE)
        self.logs.close()


class Ears:
    """What hears the parent: BEGIN first, the rest once there is a worker."""

    def __init__(self) -> None:
        self.begin: queue.SimpleQueue[Begin] = queue.SimpleQueue()
        self.stop = Wakeup()
        self.is_ending = False
        self._has_worker = threading.Event()
        self._worker: Worker | None = None

    def note_built(self, worker: Worker) -> None:
        """From now on it hears what is said."""
        self._worker = worker
        self._has_worker.set()

    # -- thread link-in --

    def hear(self, message: Message, descriptors: Sequence[int]) -> None:
        if message["kind"] is Kind.BEGIN:
            self.begin.put(message["begin"])
            return
        self._has_worker.wait()
        assert self._worker is not None, "it has been noted"
        if message["kind"] is Kind.STOP:
            self._worker.server.is_shared = message["is_shared"]
            self.stop.set()
        elif message["kind"] is Kind.LEAVE:
            self._worker.leave(self.stop.set)
        else:
            self._worker.hear(message, descriptors)

    def note_end(self) -> None:
        """The parent has ended: nobody knows of what is served here any more."""
        if not self.is_ending:
            os._exit(1)


def main(text: str) -> None:
    """Serve until the parent says so, or a signal; `text`: see `Words`."""
    share_arena()
    faulthandler.enable()  # where each thread is, when the parent ends one that hangs
    words, ears = words_of(text), Ears()
    link = Link(socket.socket(fileno=words.link), ears.hear, ears.note_end, _complain, PICKLE, may_lose=True)
    with Signals() as signals:
        link.start()
        link.send({"kind": Kind.READY, "version": __version__})
        worker = Worker(ears.begin.get(), words, link)
        _settle(worker)
        worker.start()
        ears.note_built(worker)
        link.send({"kind": Kind.SERVING})
        signals.wait(_ignore, ears.stop.fileno())
        worker.end()
    ears.is_ending = True
    link.close(LAST_GRACE)


def _settle(worker: Worker) -> None:
    """As in `main.py`: all is imported, what exists now stays, and without what everything depends on it ends."""
    log = worker.logs.log

    def die(name: str) -> None:
        report(name, log.error)
        worker.logs.close()
        os._exit(1)

    find_zstandard()
    for name in NEEDED_LATER:
        with suppress(OSError, MemoryError):  # it is imported when it is needed
            importlib.import_module(name)
    spare_collector()
    end_with(die)


def _ignore(_signal: signal.Signals) -> None:
    """It is for the parent."""


def _complain(message: str) -> None:
    sys.stderr.write(f"{message}\n")


def _settings(config: Config, listen: Listen) -> JournalSettings:
    """Rows are not stored here; what is captured is."""
    return JournalSettings(StoreSettings(), journal_settings_of(config, listen.host).capture_bytes)


def _controller(config: Config, logs: Logs) -> Controller:
    """One that is never started: there are no models."""
    rules = make_rules(config).rules
    scheduler = Scheduler({}, rules.evict, config.routing.max_wait, rules=rules)
    return Controller(scheduler, _launch_nothing, limits={}, log=logs.log, checks=Checks(None, logs.log))


def _launch_nothing(*_: object) -> NoReturn:
    raise AssertionError("there are no models")
