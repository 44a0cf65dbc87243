"""Builds everything, runs it, and takes it down in order: the only place that knows all parts.

Runs on the main thread, which then sleeps until a signal. Order of the end: newcomers refused, streams of logs closed,
requests that wait refused, requests in progress given `shutdownTimeout`, every process gone, connections closed,
threads joined. A second signal ends it at once, children included.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from llamaswap_lib import __version__, endpoints
from llamaswap_lib.activity.counters import Counters
from llamaswap_lib.activity.feed import Feed
from llamaswap_lib.activity.in_flight import InFlightTable
from llamaswap_lib.activity.journal import Journal
from llamaswap_lib.activity.key_tags import read_salt
from llamaswap_lib.app import App, Version, journal_settings_of, limits_of
from llamaswap_lib.config.check import Listen, to_be_served
from llamaswap_lib.config.editor import ConfigEditor, refuse_open_editing
from llamaswap_lib.config.load import Sources, inspect
from llamaswap_lib.config.render import worth_a_line
from llamaswap_lib.config.schema import Config
from llamaswap_lib.core.events import PreloadRequested
from llamaswap_lib.core.scheduler import Scheduler
from llamaswap_lib.errors import ConfigError
from llamaswap_lib.hardware.sampler import Hardware
from llamaswap_lib.hardware.sources import Reports
from llamaswap_lib.launching import Launching, hardware_settings, ways_told
from llamaswap_lib.listen_failure import why_not
from llamaswap_lib.net.loop import Loop
from llamaswap_lib.proxy.pool import Pool
from llamaswap_lib.proxy.traffic import Traffic
from llamaswap_lib.reload import Reloader, Served, tell_who_can_reach, warn_if_few
from llamaswap_lib.routing.profiles import Activation, Profiles
from llamaswap_lib.runtime.arenas import share_arena
from llamaswap_lib.runtime.changes import Changes, Topic
from llamaswap_lib.runtime.checks import CheckPlan
from llamaswap_lib.runtime.controller import Controller
from llamaswap_lib.runtime.descriptors import DescriptorCapacity
from llamaswap_lib.runtime.file_watch import FileWatch
from llamaswap_lib.runtime.forward_proxies import ForwardProxies
from llamaswap_lib.runtime.guard.guardian import Guardian
from llamaswap_lib.runtime.logs import Logs
from llamaswap_lib.runtime.ourselves import Ourselves
from llamaswap_lib.runtime.signals import Signals
from llamaswap_lib.runtime.supervisor import Supervisor, Watchdog, status_text
from llamaswap_lib.runtime.swaps import Swap
from llamaswap_lib.runtime.vital import VitalThread, end_with, report
from llamaswap_lib.runtime.wakeup import Wakeup
from llamaswap_lib.scheduling import Standing, concurrency_limits, make_rules, model_specs
from llamaswap_lib.server.certificate import Certificate
from llamaswap_lib.server.listener import Server
from llamaswap_lib.wire.zstd import find_zstandard

LAST_GRACE = 5.0  # for what should be immediate, and may hang in the kernel
JOURNAL_GRACE = 2.0  # for what takes a tenth of a second, where the disk does not hang
DESCRIPTORS_EACH = 3  # of a client's connection: itself, and two to wait for a model or one to the model's server
# What is imported only when it is first used, to start fast. It is imported right after the start all the same: an
# installation that is replaced or deleted while it runs must not be missed.
NEEDED_LATER = ("encodings.idna", "encodings.unicode_escape", "pwd", "subprocess", "tempfile")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line and the supervisor say.

    With a certificate, clients have to speak TLS. Where the supervisor brings a socket that listens, `host` and `port`
    are not used.
    """

    sources: Sources
    host: str
    port: int
    certificate: Certificate | None = None
    supervisor: Supervisor = field(default_factory=Supervisor)
    watches_files: bool = False
    editor: ConfigEditor | None = None  # with which clients may change the files


@dataclass(frozen=True, slots=True)
class _Parts:
    """What runs."""

    logs: Logs
    controller: Controller
    pool: Pool
    loop: Loop
    journal: Journal
    server: Server
    guardian: Guardian
    ourselves: Ourselves
    hardware: Hardware
    supervisor: Supervisor
    watchdog: Watchdog
    reloader: Reloader


def serve(options: Options) -> int:
    """Run until a signal; the exit code. Raises ConfigError for a configuration or an address that cannot be used."""
    share_arena()
    seen = _look_at(options.sources) if options.watches_files else []
    files = options.sources.files()
    listen = None if options.supervisor.has_sockets else Listen(options.host, options.port, is_told=True)
    config = to_be_served(inspect(files), listen)
    is_done = Wakeup()  # made now: at the end there may be no descriptor left
    with Signals() as signals:
        stdout = None if sys.stdout is None else sys.stdout.fileno()  # closed: the number may be somebody else's by now
        logs = Logs(
            level=config.log_level, time_format=config.log_time_format, to_stdout=config.log_to_stdout, stdout=stdout
        )
        logs.keep_only(config.models)
        try:
            parts = _build(config, files, logs, options)
        except BaseException:
            logs.close()
            raise
        for warning in worth_a_line(config.warnings):
            logs.log.warn(warning)
        _start(parts)
        watch = _watch(parts, options.sources, seen) if options.watches_files else None
        if config.peers:  # so that it is known by the way that a request took which went round in a circle
            logs.log.info(f"its name in the Via header of requests to peers is {parts.ourselves.name}")
        signal = signals.wait(lambda: parts.reloader.request("SIGHUP"))
        if watch is not None:
            watch.close()
        parts.reloader.close()
        options.supervisor.stopping(parts.reloader.end_seconds)
        logs.log.info(f"{signal.name if signal else 'a signal'}: stopping")
        return _stop(parts, signals, is_done)


def _build(config: Config, files: Sequence[Path], logs: Logs, options: Options) -> _Parts:
    guardian, ourselves, certificate = Guardian(logs.log), Ourselves(), options.certificate
    options.supervisor.show(status_text(()))
    given = options.supervisor.listening_socket(logs.log.warn)
    host, port = given.getsockname()[:2] if given else (options.host, options.port)
    refuse = partial(_refuse_open_editing, host=host, editor=options.editor)
    refuse(config)
    proxies = ForwardProxies(os.environ)
    _tell_of_proxies(config, proxies, logs)
    loop = Loop(on_error=logs.log.error, on_slow=logs.log.warn)
    pool = Pool(loop, proxies=proxies)
    standing = Standing(config, make_rules(config.routing))
    launching = Launching(config, logs, guardian, ourselves, proxies)
    controller = _controller(standing, launching, logs, pool.traffic)
    changes = Changes()
    counters = Counters(lambda name: name in app.latest.app.destinations)
    _tell_of_changes(controller, pool, launching, changes, options.supervisor)
    journal = Journal(
        journal_settings_of(config, host), on_error=logs.log.error, on_warning=logs.log.warn, on_info=logs.log.info
    )
    _tell_counters(controller, counters)
    reports = Reports(logs.log.info, logs.log.warn, logs.log.error)
    hardware = Hardware(hardware_settings(config), controller.details, reports)
    controller.listen(lambda _: hardware.note_change())
    feed = Feed(InFlightTable(), partial(changes.note, Topic.FEED))
    controller.listen_to_swaps(partial(_tell_swap, feed))
    app = App(
        config,
        controller,
        logs,
        pool,
        changes,
        Profiles(config.profiles, Activation(partial(changes.note, Topic.PROFILE))),
        Version(__version__),
        limits_of(config),
        ourselves,
        "http" if certificate is None else "https",
        listen=Listen(host, port, is_told=True),
        editor=options.editor,
        launched=launching.launched,
        activity=journal,
        counters=counters,
        loop_lag=loop.lag,
        connection_count=lambda: len(server.table),
        hardware=hardware,
        feed=feed,
        key_salt=read_salt(config.store.path, logs.log.warn),
        reload=lambda: reloader.reload("POST /api/config/reload"),
    )
    app.take_over(files)
    try:
        capacity = _capacity(config, logs)
        server = Server(endpoints.settings_of(app), loop, host, port, certificate, capacity, given)
    except (OSError, UnicodeError) as error:  # a host that can be no name fails as text
        raise ConfigError(why_not(host, port, error)) from error
    ourselves.note_listening(server.socket)
    served = Served(logs, controller, launching, app.latest, server, capacity, certificate, options.supervisor)
    reloader = Reloader(options.sources, standing, served, refuse)
    checks = {"controller": controller.answers, "loop": loop.answers}
    watchdog = Watchdog(options.supervisor, checks, logs.log.error)
    return _Parts(
        *(logs, controller, pool, loop, journal, server, guardian, ourselves, hardware, options.supervisor, watchdog),
        reloader,
    )


def _tell_of_proxies(config: Config, proxies: ForwardProxies, logs: Logs) -> None:
    """Say who is asked through a proxy that the environment names, and which variables are of no use."""
    for fault in proxies.faults:
        logs.log.warn(f"{fault}: requests to other machines through it are refused")
    for told in ways_told(config, proxies):
        logs.log.info(told)


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


def _tell_counters(controller: Controller, counters: Counters) -> None:
    """Have counted what the controller does."""
    failing = controller.failing
    controller.listen(lambda runs: counters.note_runs(runs, [(model, fail.tries) for model, fail in failing().items()]))
    controller.listen_to_orders(counters.note_stop, lambda model, why: counters.note_swap(model, why.kind))


def _tell_swap(feed: Feed, swap: Swap) -> None:
    told = {"from": list(swap.gone), "to": swap.model, "reason": swap.reason, "seconds": round(swap.seconds, 3)}
    feed.note("swap", (told,))


def _start(parts: _Parts) -> None:
    # What exists now lives as long as the server: let the collector never look at it again.
    gc.freeze()
    gc.enable()
    threading.excepthook = lambda args: parts.logs.log.error(_thread_death(args))
    end_with(partial(end_program, parts.logs))
    parts.controller.start()
    parts.loop.start()
    parts.journal.start()
    parts.logs.log.info(
        f"llamaswap {__version__} listening on {parts.server.where} with {_models_text(parts.reloader.config)}"
    )
    tell_who_can_reach(parts.server.address, parts.logs.log, has_keys=bool(parts.reloader.config.api_keys))
    parts.hardware.start()
    parts.server.start()
    parts.supervisor.ready()
    parts.watchdog.start()
    parts.guardian.start()
    parts.controller.post(PreloadRequested(parts.reloader.config.hooks_preload))
    find_zstandard()
    for name in NEEDED_LATER:
        importlib.import_module(name)


def _watch(parts: _Parts, sources: Sources, seen: object) -> FileWatch | None:
    """Have the configuration read again whenever its files change. `seen` is how they were before they were read."""
    log, reloader = parts.logs.log, parts.reloader
    try:
        watch = FileWatch(
            reloader.followed_files,
            [] if sources.folder is None else [sources.folder],
            lambda: reloader.reload_or_tell("a file has changed"),
            log.error,
            on_info=log.info,
        )
        watch.start()
    except (OSError, RuntimeError, MemoryError) as error:
        log.error(f"-watch-config: the configuration's files cannot be followed: {error or 'not enough memory'}")
        return None
    reloader.before_reading, reloader.after_reading = watch.look, watch.follow
    if _look_at(sources) != seen:
        reloader.request("a file has changed meanwhile")
    return watch


def _look_at(sources: Sources) -> list[tuple[str, int, int, int]]:
    """The files of the configuration, and what changes with their content."""
    found = []
    with suppress(OSError, ConfigError):
        for file in sources.files():
            stat = file.stat()
            found.append((str(file), stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return found


def _refuse_open_editing(config: Config, *, host: str, editor: ConfigEditor | None) -> None:
    """Raise ConfigError where other machines, which reach us at `host`, could change the files without a key."""
    if editor is not None:
        refuse_open_editing(config.api_keys, host)


def _capacity(config: Config, logs: Logs) -> DescriptorCapacity:
    """For how many connections there are descriptors; says so where they are too few."""
    wanted = config.limits.connections
    capacity = DescriptorCapacity(wanted, DESCRIPTORS_EACH, len(config.models))
    warn_if_few(capacity, wanted, logs.log)
    return capacity


def _stop(parts: _Parts, signals: Signals, is_done: Wakeup) -> int:
    """End in order on a thread of its own, which sets `is_done`, so that a second signal is heard."""

    def end() -> None:
        _end_in_order(parts)
        is_done.set()

    VitalThread(end, "shutdown").start()
    if signals.wait(lambda: _note_hangup(parts.logs), is_done.fileno()) is None:
        parts.logs.close()
        return 0
    parts.logs.log.warn("a second signal: ending at once")
    parts.controller.kill_all()
    parts.logs.close()
    return 1


def _note_hangup(logs: Logs) -> None:
    logs.log.warn("SIGHUP: the program is ending, so the configuration is not read again")


def _end_in_order(parts: _Parts) -> None:
    reloader = parts.reloader
    timeout = reloader.config.shutdown_timeout
    deadline = time.monotonic() + timeout
    parts.server.begin_stop()
    parts.logs.end_streams()
    if not parts.controller.shut_down(timeout, reloader.stop_seconds + LAST_GRACE):
        parts.logs.log.error("some processes could not be ended")
    # What is inside no model of ours has as long: a request to a peer, an answer that its client is still reading.
    parts.server.wait_idle(max(LAST_GRACE, deadline - time.monotonic()))
    parts.server.stop_accepting()
    parts.watchdog.close()
    parts.hardware.close()
    parts.server.abort()
    parts.server.close()
    parts.pool.close()
    parts.loop.stop()
    if not parts.journal.close(JOURNAL_GRACE):
        parts.logs.log.error("the last rows of activity may be lost: the store does not take them in time")
    parts.controller.close(LAST_GRACE)
    parts.guardian.close(LAST_GRACE)
    parts.supervisor.close()


def _controller(standing: Standing, launching: Launching, logs: Logs, traffic: Traffic) -> Controller:
    rules, config = standing.made.rules, standing.config
    return Controller(
        Scheduler(
            model_specs(config), rules.evict, config.routing.max_wait, explain=rules.explain, observe=rules.observe
        ),
        launching.launch,
        limits=concurrency_limits(config),
        log=logs.log,
        check_launch=launching.check,
        checks=CheckPlan(launching.check_of, traffic.look_at, traffic.cut),
    )


def _models_text(config: Config) -> str:
    """How many there are."""
    count, others = len(config.models), sum(len(peer.models) for peer in config.peers.values())
    text = "1 model" if count == 1 else f"{count} models"
    return f"{text} and {others} of peers" if others else text


def end_program(logs: Logs, name: str) -> None:
    """A vital thread, `name`, has died of the exception being handled: say so and end the program, with exit code 1.

    Its models are ended by the guardian. Nothing here may keep us from the end, not even that memory has run out.
    """
    try:
        os.write(2, b"llamaswap: a thread that everything depends on has died; the log says why\n")
        report(name, logs.log.error)
        logs.log.error(f"the program ends: it cannot work without its thread {name}")
        logs.close()
    finally:
        os._exit(1)


def _thread_death(args: threading.ExceptHookArgs) -> str:
    name = args.thread.name if args.thread else "a thread"
    return f"{name} died\n{''.join(traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback))}"
