"""What the program is made of: everything is built once here, and connected, in one place.

Runs on the main thread, before anything is started. Holds no logic of its own: who listens to whom, and what is built
from which section of the configuration.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llamaswap_lib import __version__, endpoints
from llamaswap_lib.activity.counters import Counters
from llamaswap_lib.activity.feed import Feed
from llamaswap_lib.activity.in_flight import InFlightTable
from llamaswap_lib.activity.journal import Journal
from llamaswap_lib.activity.key_tags import read_salt
from llamaswap_lib.activity.meter import row_of, timing_text
from llamaswap_lib.activity.row import Row
from llamaswap_lib.app import App, Version, journal_settings_of, limits_of
from llamaswap_lib.config.check import Listen
from llamaswap_lib.config.editor import ConfigEditor, refuse_open_editing
from llamaswap_lib.config.for_workers import why_not_with_workers
from llamaswap_lib.config.load import Sources
from llamaswap_lib.config.schema import Config
from llamaswap_lib.core import events
from llamaswap_lib.core.effects import StopKind
from llamaswap_lib.core.scheduler import Scheduler
from llamaswap_lib.errors import ConfigError
from llamaswap_lib.fleet.gathered import Gathered
from llamaswap_lib.fleet.peers import Peers
from llamaswap_lib.handing_over import Estate, Giver, Taker
from llamaswap_lib.hardware.sampler import Hardware
from llamaswap_lib.hardware.sources import Reports
from llamaswap_lib.launching import Launching, hardware_settings, ways_told
from llamaswap_lib.listen_failure import why_not
from llamaswap_lib.memory.picture import MemoryPicture, Surroundings
from llamaswap_lib.needed import Needed
from llamaswap_lib.net.loop import Loop
from llamaswap_lib.printable import in_quotes
from llamaswap_lib.proxy.pool import Pool
from llamaswap_lib.proxy.traffic import Traffic
from llamaswap_lib.reload import Reloader, Serving, warn_if_few
from llamaswap_lib.routing.profiles import Activation, Profiles
from llamaswap_lib.runtime.changes import Changes, Topic
from llamaswap_lib.runtime.control.controller import Controller
from llamaswap_lib.runtime.control.succession import SuccessionController
from llamaswap_lib.runtime.control.swaps import Swap
from llamaswap_lib.runtime.descriptors import DescriptorCapacity
from llamaswap_lib.runtime.forward_proxies import ForwardProxies
from llamaswap_lib.runtime.guard.guardian import Guardian
from llamaswap_lib.runtime.health.watchdog import CheckPlan, Checks
from llamaswap_lib.runtime.logs.server_logs import Logs
from llamaswap_lib.runtime.ourselves import Ourselves
from llamaswap_lib.runtime.supervisor import Supervisor, WatchdogFeeder, status_text
from llamaswap_lib.scheduling import Standing, concurrency_limits, make_rules, model_specs
from llamaswap_lib.server.certificate import Certificate
from llamaswap_lib.server.exchange import MOST_METHOD_BYTES, MOST_PATH_BYTES, Settings
from llamaswap_lib.server.listener import Server
from llamaswap_lib.upgrade.child import Start
from llamaswap_lib.upgrade.giving import READY_TIMEOUT, Upgrader
from llamaswap_lib.upgrade.taking import Predecessor

if TYPE_CHECKING:
    from llamaswap_lib.workers.workers import Workers

DESCRIPTORS_EACH = 3  # of a client's connection: itself, and two to wait for a model or one to the model's server


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line and the supervisor say.

    With a certificate, clients have to speak TLS. Where the supervisor brings a socket that listens, `host` and `port`
    are not used. `predecessor` is the process that this one takes over from; `start` is how another one is started.
    """

    sources: Sources
    host: str
    port: int
    certificate: Certificate | None = None
    supervisor: Supervisor = field(default_factory=Supervisor)
    watches_files: bool = False
    editor: ConfigEditor | None = None  # with which clients may change the files
    start: Start = field(default_factory=Start)
    predecessor: Predecessor | None = None
    workers: int = 1  # processes that serve clients; one is this one
    needed: Needed = field(default_factory=Needed)


class Parts(NamedTuple):
    """What runs."""

    serving: Serving
    pool: Pool
    guardian: Guardian
    ourselves: Ourselves
    hardware: Hardware
    watchdog: WatchdogFeeder
    reloader: Reloader
    peers: Peers
    upgrader: Upgrader
    taker: Taker | None  # where there is a process before this one
    workers: Workers | None  # that serve clients in place of this process


def build(config: Config, files: Sequence[Path], logs: Logs, options: Options) -> Parts:
    """Everything, connected and not started; raises ConfigError for an address that cannot be listened on."""
    guardian, ourselves, certificate = Guardian(logs.log), Ourselves(), options.certificate
    (given, host, port), supervisor = _listening(options, logs), options.supervisor
    refuse, workers = _refusing(config, host, options), _workers(options)
    loop, proxies = Loop(on_error=logs.log.error, on_slow=logs.log.warn), _proxies(config, logs)
    pool, (standing, picture) = Pool(loop, proxies=proxies), _standing(config, logs, options.needed)
    launching = Launching(config, logs, guardian, ourselves, proxies)
    controller = _controller(standing, launching, logs, pool.traffic)
    changes, hardware = Changes(), _hardware(config, controller, logs)
    counters = _counters(controller, lambda name: name in app.latest.app.destinations)
    _tell_of_changes(controller, pool, launching, changes, supervisor)
    journal, feed = _activity(config, host, logs, loop, controller, counters, workers)
    _connect(picture, hardware, controller, launching, journal, changes)
    app = App(
        config,
        controller,
        logs,
        pool,
        changes,
        Profiles(config.profiles, Activation(partial(_tell_profile, changes, workers))),
        Version(__version__),
        limits_of(config),
        ourselves,
        listen=Listen(host, port, is_told=True),
        editor=options.editor,
        launched=launching.launched,
        announce=launching.announce,
        activity=journal,
        counters=counters,
        **_gauges(loop, workers, lambda: len(server.table)),
        hardware=hardware,
        memory=picture,
        feed=feed,
        peers=Peers(logs.log, proxies, Gathered(lambda: reloader.renew_peers()), loop.call, ourselves.via),  # noqa: PLW0108
        key_salt=read_salt(config.store.path, logs.log.warn),
        reload=lambda: reloader.reload("POST /api/config/reload"),
        upgrade=lambda: upgrader.upgrade("POST /api/upgrade"),
        preview=lambda config: reloader.preview(config),  # noqa: PLW0108 - it is made below
    )
    app.take_over(files)
    capacity = _capacity(config, logs)
    server = _server(endpoints.settings_of(app), loop, host, port, certificate, capacity, given)
    ourselves.note_listening(server.socket)
    serving = Serving(logs, loop, journal, controller, launching, app.latest, server, capacity, certificate, supervisor)
    reloader = Reloader(options.sources, standing, serving, refuse, options.needed)
    upgrader, taker = _upgrade(Estate(serving, guardian, reloader, workers), options)
    _connect_workers(workers, serving, reloader)
    watchdog = WatchdogFeeder(supervisor, {"controller": controller.answers, "loop": loop.answers}, logs.log.error)
    return Parts(serving, pool, guardian, ourselves, hardware, watchdog, reloader, app.peers, upgrader, taker, workers)


def _gauges(loop: Loop, workers: Workers | None, connection_count: Callable[[], int]) -> dict[str, Any]:
    """What `/metrics` says of clients' connections: of all processes that have some."""
    if workers is None:
        return {"loop_lag": loop.lag, "connection_count": connection_count}
    return {"loop_lag": workers.loop_lag, "connection_count": workers.connection_count}


def _workers(options: Options) -> Workers | None:
    if options.workers == 1:
        return None
    from llamaswap_lib.workers.workers import Workers  # noqa: PLC0415 - most have none

    return Workers(options.workers)


def _tell_profile(changes: Changes, workers: Workers | None) -> None:
    """Another one is active: in all processes, before that is answered."""
    changes.note(Topic.PROFILE)
    if workers is not None:
        workers.change()


def _connect_workers(workers: Workers | None, serving: Serving, reloader: Reloader) -> None:
    """Have them told of what changes, and asked for what they know."""
    if workers is None:
        return
    workers.connect(serving)
    reloader.after_change = workers.change
    serving.capacity.grow()  # workers hand over connections, and nobody asks for room for them


def _upgrade(estate: Estate, options: Options) -> tuple[Upgrader, Taker | None]:
    """The one to the next process, and the one from the process before, where there is one."""
    predecessor = options.predecessor
    ready_timeout = READY_TIMEOUT if options.workers == 1 else 2 * READY_TIMEOUT  # it starts others
    giver, log = Giver(estate, options.start, predecessor), estate.serving.logs.log
    upgrader = Upgrader(giver, log, ready_timeout=ready_timeout)
    return upgrader, None if predecessor is None else Taker(estate, predecessor)


def _standing(config: Config, logs: Logs, needed: Needed) -> tuple[Standing, MemoryPicture]:
    """What decides who goes, and the picture of the memory by which it may do so; raises ConfigError."""
    needed.bring(config)
    picture = MemoryPicture(config, logs.log.warn)
    return Standing(config, make_rules(config, read=lambda: picture.now)), picture


def _listening(options: Options, logs: Logs) -> tuple[socket.socket | None, str, int]:
    """The supervisor's socket, if it brings one, and the address to listen on; it is told that nothing runs yet."""
    options.supervisor.show(status_text(()))
    given = options.supervisor.listening_socket(logs.log.warn)
    host, port = given.getsockname()[:2] if given else (options.host, options.port)
    return given, host, port


def _server(
    settings: Settings,
    loop: Loop,
    host: str,
    port: int,
    certificate: Certificate | None,
    capacity: DescriptorCapacity,
    given: socket.socket | None,
) -> Server:
    try:
        return Server(settings, loop, host, port, certificate, capacity, given)
    except (OSError, UnicodeError) as error:  # a host that can be no name fails as text
        raise ConfigError(why_not(host, port, error)) from error


def _hardware(config: Config, controller: Controller, logs: Logs) -> Hardware:
    reports = Reports(logs.log.info, logs.log.warn, logs.log.error)
    hardware = Hardware(hardware_settings(config), controller.details, reports)
    controller.listen(lambda _: hardware.note_change())
    return hardware


def _connect(
    picture: MemoryPicture,
    hardware: Hardware,
    controller: Controller,
    launching: Launching,
    journal: Journal,
    changes: Changes,
) -> None:
    """Have the picture made of what is measured, and those told who wait or listen of what changes in it."""
    launching.gpus = hardware.gpus
    picture.listen(partial(changes.note, Topic.MEMORY))
    journal.listen(lambda rows: picture.note_requests([(row.model, row.timestamp) for row in rows]))

    def wake() -> None:
        controller.post(events.TimePassed())

    around = Surroundings(
        *(hardware, controller.details, launching.launched, lambda: bool(controller.tickets()), wake),
        lambda: controller.is_freeing,
    )
    picture.connect(around)
    controller.listen(picture.note_runs)
    controller.listen_to_queue(picture.note_queue)


def _activity(
    config: Config,
    host: str,
    logs: Logs,
    loop: Loop,
    controller: Controller,
    counters: Counters,
    workers: Workers | None,
) -> tuple[Journal, Feed]:
    """The rows of requests, and what listeners are told of them and of those in progress."""
    log = logs.log
    journal = Journal(
        journal_settings_of(config, host), row_of, on_error=log.error, on_warning=log.warn, on_info=log.info
    )
    feed = Feed(InFlightTable(journal, loop.clock)) if workers is None else _feed_of(workers)
    controller.listen_to_swaps(partial(_tell_swap, feed))
    controller.listen_to_orders(partial(_tell_room, feed), lambda _model, _why: None)
    journal.listen(counters.observe)
    journal.listen(feed.note_rows)
    journal.listen(partial(_tell_timing, logs))
    return journal, feed


def _feed_of(workers: Workers) -> Feed:
    from llamaswap_lib.workers.feed import WorkersFeed  # noqa: PLC0415 - most have none

    return WorkersFeed(workers)


def _tell_timing(logs: Logs, rows: Sequence[Row]) -> None:
    """Where the time of each request went, in the log."""
    if logs.log.has_debug:
        for row in rows:
            method, path = in_quotes(row.method, MOST_METHOD_BYTES), in_quotes(row.path, MOST_PATH_BYTES)
            logs.log.debug(f'"{method} {path}" for {row.model}: {row.duration_ms} ms: {timing_text(row)}')


def _proxies(config: Config, logs: Logs) -> ForwardProxies:
    """Those that the environment names; the log says who is asked through them, and which variables are of no use."""
    proxies = ForwardProxies(os.environ)
    for fault in proxies.faults:
        logs.log.warn(f"{fault}: requests to other machines through it are refused")
    for told in ways_told(config, proxies):
        logs.log.info(told)
    return proxies


def _tell_of_changes(
    controller: Controller, pool: Pool, launching: Launching, changes: Changes, supervisor: Supervisor
) -> None:
    """Have everybody told of what runs who goes by it."""
    # Told before a run gets its SIGTERM: llama.cpp takes 0.1 s longer to end while a connection to it is open.
    controller.listen(lambda runs: pool.keep_only({run.run_id for run in runs if run.state == "ready"}))
    controller.listen(lambda runs: pool.traffic.keep_only({run.run_id for run in runs}))
    controller.listen(launching.keep_only)
    controller.listen(lambda _: changes.note(Topic.RUNS))
    controller.listen(lambda runs: supervisor.show(status_text(runs)))
    controller.listen_to_queue(lambda: changes.note(Topic.QUEUE))
    controller.listen_to_waits(pool.spools.note_awaited)


def _counters(controller: Controller, is_known: Callable[[str], bool]) -> Counters:
    """What the controller does is counted in them; `is_known`: whether a name leads to a model."""
    counters, failing = Counters(is_known), controller.failing
    controller.listen(
        lambda runs: counters.note_runs(runs, [(model, fail.tries, fail.since) for model, fail in failing().items()])
    )
    controller.listen_to_orders(
        lambda run_id, model, kind, _: counters.note_stop(run_id, model, kind), counters.note_swap
    )
    return counters


def _tell_swap(feed: Feed, swap: Swap) -> None:
    told = {"from": list(swap.gone), "to": swap.model, "reason": swap.reason, "seconds": round(swap.seconds, 3)}
    feed.note("swap", (told,))


def _tell_room(feed: Feed, _run_id: int, model: str, kind: StopKind, reason: str) -> None:
    """It goes though no other model is loaded for it."""
    if kind in ("queue", "yield", "growth"):
        feed.note("room", ({"model": model, "kind": kind, "reason": reason},))


def _refusing(config: Config, host: str, options: Options) -> Callable[[Config], None]:
    """What refuses a configuration; this one is refused at once."""
    refuse = partial(_refuse, host=host, editor=options.editor, has_workers=options.workers > 1)
    refuse(config)
    return refuse


def _refuse(config: Config, *, host: str, editor: ConfigEditor | None, has_workers: bool) -> None:
    """Raise ConfigError where other machines, which reach us at `host`, could change the files without a key.

    And where workers cannot serve it.
    """
    if editor is not None:
        refuse_open_editing(config.api_keys, host)
    if has_workers and (why := why_not_with_workers(config)):
        raise ConfigError(why)


def _capacity(config: Config, logs: Logs) -> DescriptorCapacity:
    """For how many connections there are descriptors; says so where they are too few."""
    wanted = config.limits.connections
    capacity = DescriptorCapacity(wanted, DESCRIPTORS_EACH, len(config.models))
    warn_if_few(capacity, wanted, logs.log)
    return capacity


def _controller(standing: Standing, launching: Launching, logs: Logs, traffic: Traffic) -> SuccessionController:
    rules, config = standing.made.rules, standing.config
    plan = CheckPlan(
        *(launching.check_of, traffic.look_at, traffic.cut),
        *(launching.lost_after_of, traffic.received, traffic.is_heard),
    )
    return SuccessionController(
        Scheduler(model_specs(config), rules.evict, config.routing.max_wait, rules=rules),
        launching.launch,
        limits=concurrency_limits(config),
        log=logs.log,
        checks=Checks(plan, logs.log),
        check_launch=launching.check,
    )
