"""Builds everything, runs it, and takes it down in order: the only place that knows all parts.

Runs on the main thread, which then sleeps until a signal. Order of the end: newcomers refused, streams of logs closed,
requests that wait refused, requests in progress given `shutdownTimeout`, every process gone, connections closed,
threads joined. A second signal ends it at once, children included. After an upgrade it ends with its last request, and
leaves what runs to the process that serves then.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from signal import Signals as Signal
from typing import TYPE_CHECKING

from llamaswap_lib import __version__
from llamaswap_lib.building import Options, Parts, build
from llamaswap_lib.config.check import Listen, to_be_served
from llamaswap_lib.config.load import Sources, inspect
from llamaswap_lib.config.render import worth_a_line
from llamaswap_lib.config.schema import Config
from llamaswap_lib.core.events import PreloadRequested
from llamaswap_lib.errors import ConfigError
from llamaswap_lib.reload import tell_who_can_reach
from llamaswap_lib.runtime.heap import give_back, share_arena, spare_collector
from llamaswap_lib.runtime.logs.server_logs import Logs
from llamaswap_lib.runtime.signals import Signals
from llamaswap_lib.runtime.vital import VitalThread, end_with, report
from llamaswap_lib.runtime.wakeup import Wakeup
from llamaswap_lib.ui import pack_files, read_files
from llamaswap_lib.upgrade.connections import wait_for_the_last
from llamaswap_lib.upgrade.taking import Predecessor
from llamaswap_lib.wire.zstd import find_zstandard

if TYPE_CHECKING:
    from llamaswap_lib.runtime.files.watch import FileWatch

FIRST_READING = 3.0  # seconds for the memory to be read before anything is loaded; a driver may hang
LAST_GRACE = 5.0  # for what should be immediate, and may hang in the kernel
JOURNAL_GRACE = 2.0  # for what takes a tenth of a second, where the disk does not hang
# What is imported only when it is first used, to start fast. It is imported right after the start all the same: an
# installation that is replaced or deleted while it runs must not be missed. Nothing of our own: that may go at once.
NEEDED_LATER = (
    *("difflib", "pwd", "subprocess", "tempfile"),
    *("encodings.ascii", "encodings.idna", "encodings.unicode_escape"),
)


def serve(options: Options) -> int:
    """Run until a signal; the exit code. Raises ConfigError for a configuration or an address that cannot be used."""
    share_arena()
    seen: object = None
    if options.watches_files:
        importlib.import_module("llamaswap_lib.runtime.files.watch")  # few need it, and later it may not be there
        seen = _look_at(options.sources)
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
            parts = build(config, files, logs, options)
        except BaseException:
            logs.close()
            raise
        for warning in worth_a_line(config.warnings):
            logs.log.warn(warning)
        read_files()  # of the page: later another version may lie there
        if options.predecessor is None:
            _start(parts, parts.serving.controller.start)
            parts.guardian.start()
            parts.serving.controller.post(PreloadRequested(parts.reloader.config.hooks_preload))
            _import_the_rest(parts)
        else:
            _import_the_rest(parts)
            _take_over(parts, options.predecessor)
        watch = _watch(parts, options.sources, seen) if options.watches_files else None
        if config.peers:  # so that it is known by the way that a request took which went round in a circle
            logs.log.info(f"its name in the Via header of requests to peers is {parts.ourselves.name}")
        signal = signals.wait(partial(_obey, parts), parts.upgrader.has_retired.fileno())
        if watch is not None:
            watch.close()
        if parts.upgrader.close():
            return _retire(parts, signals, is_done, is_told_to_end=signal is not None)
        parts.reloader.close()
        options.supervisor.stopping(parts.reloader.end_seconds)
        logs.log.info(f"{signal.name if signal else 'a signal'}: stopping")
        return _stop(parts, signals, is_done)


def _obey(parts: Parts, signal: Signal) -> None:
    """A signal that does not end the program."""
    if signal is Signal.SIGHUP:
        parts.reloader.request(signal.name)
    else:
        parts.upgrader.request(signal.name)


def _take_over(parts: Parts, predecessor: Predecessor) -> None:
    """Go on from where another process is, once it says so; raises ConfigError where that cannot be."""
    serving = parts.serving
    taker = parts.taker
    assert taker is not None, "it was built without a process before this one"
    try:
        if parts.workers is not None and not parts.workers.prepare():
            raise ConfigError("not all of its workers can be started, as the log says")
        try:
            taker.take(predecessor.state(serving.logs.log.error))
        except (KeyError, ValueError, TypeError) as error:
            raise ConfigError(f"what the other process hands over cannot be read: {error!r}") from error
        commit = predecessor.commit()
    except BaseException:
        serving.logs.close()
        raise
    _start(parts, lambda: taker.begin(commit))
    taker.note_read()
    serving.logs.log.info(f"it has taken over from process {predecessor.pid}")
    predecessor.serve(taker)
    taker.note_serving()


def _import_the_rest(parts: Parts) -> None:
    with parts.serving.latest.app.apart.importing():
        find_zstandard()
        for name in NEEDED_LATER:
            with suppress(OSError, MemoryError):  # clients have taken all there is: it is imported when it is needed
                importlib.import_module(name)
    with suppress(MemoryError):
        pack_files()
    give_back()


def _start(parts: Parts, begin_to_decide: Callable[[], None]) -> None:
    serving = parts.serving
    spare_collector()
    threading.excepthook = lambda args: serving.logs.log.error(_thread_death(args))
    end_with(partial(end_program, serving.logs))
    begin_to_decide()
    serving.loop.start()
    serving.journal.start()
    serving.logs.log.info(
        f"llamaswap {__version__} listening on {serving.server.where} with {_models_text(parts.reloader.config)}"
    )
    tell_who_can_reach(serving.server.address, serving.logs.log, has_keys=bool(parts.reloader.config.api_keys))
    parts.hardware.start()
    parts.peers.change(parts.reloader.config)
    parts.peers.wait_for_lists()
    if any(parts.peers.offers().values()):  # of a peer that is down, as the last run was told
        parts.reloader.renew_peers()
    if parts.reloader.config.routing.router == "memory":
        parts.hardware.read_now(FIRST_READING)  # what is not known yet would be loaded alone
    if parts.workers is None:
        serving.server.start()
    else:
        serving.server.start_lending()
        parts.workers.start()
    serving.supervisor.ready()
    parts.watchdog.start()


def _watch(parts: Parts, sources: Sources, seen: object) -> FileWatch | None:
    """Have the configuration read again whenever its files change. `seen` is how they were before they were read."""
    from llamaswap_lib.runtime.files.watch import FileWatch  # noqa: PLC0415 - imported already

    log, reloader = parts.serving.logs.log, parts.reloader
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


def _stop(parts: Parts, signals: Signals, is_done: Wakeup) -> int:
    """End in order on a thread of its own, which sets `is_done`, so that a second signal is heard."""
    serving = parts.serving

    def end() -> None:
        _end_in_order(parts)
        is_done.set()

    VitalThread(end, "shutdown").start()
    if signals.wait(lambda signal: _note_late(serving.logs, signal), is_done.fileno()) is None:
        serving.logs.close()
        return 0
    serving.logs.log.warn("a second signal: ending at once")
    serving.controller.kill_all()
    serving.logs.close()
    return 1


def _note_late(logs: Logs, signal: Signal) -> None:
    what = "the configuration is not read again" if signal is Signal.SIGHUP else "there is no upgrade"
    logs.log.warn(f"{signal.name}: the program is ending, so {what}")


def _retire(parts: Parts, signals: Signals, is_done: Wakeup, *, is_told_to_end: bool) -> int:
    """Another process serves: end with the last request. A signal leaves those in progress `shutdownTimeout`."""
    hurry = threading.Event()
    serving = parts.serving

    def end() -> None:
        _end_retired(parts, hurry)
        is_done.set()

    VitalThread(end, "shutdown").start()
    while is_told_to_end or signals.wait(parts.upgrader.pass_on, is_done.fileno()) is not None:
        if hurry.is_set():
            serving.logs.log.warn("a second signal: ending at once")
            serving.logs.close()
            return 1
        hurry.set()
        is_told_to_end = False
    serving.logs.log.info(f"process {os.getpid()} ends: its requests have ended")
    serving.logs.close()
    return 0


def _end_retired(parts: Parts, hurry: threading.Event) -> None:
    serving = parts.serving
    parts.watchdog.close()
    parts.hardware.close()
    config = parts.reloader.config
    if parts.workers is not None:
        parts.workers.wait_left(hurry, config.shutdown_timeout, parts.upgrader.tell_left)
    wait_for_the_last(
        serving.server,
        config.upgrade_timeout,
        serving.logs.log.warn,
        lambda: config.shutdown_timeout if hurry.is_set() else math.inf,
        parts.upgrader.tell_left,
    )
    parts.peers.close()  # until now requests may wait at one that is frozen
    _end_serving(parts)
    parts.upgrader.end()


def _end_in_order(parts: Parts) -> None:
    serving = parts.serving
    reloader = parts.reloader
    timeout = reloader.config.shutdown_timeout
    deadline = time.monotonic() + timeout
    if parts.workers is not None:
        serving.logs.close_streams()
        parts.workers.end(timeout)
    serving.server.begin_stop()
    serving.logs.close_streams()
    parts.peers.close_streams()
    if not serving.controller.shut_down(timeout, reloader.stop_seconds + LAST_GRACE):
        serving.logs.log.error("some processes could not be ended")
    # What is inside no model of ours has as long: a request to a peer, an answer that its client is still reading.
    serving.server.wait_idle(max(LAST_GRACE, deadline - time.monotonic()))
    serving.server.stop_accepting()
    parts.watchdog.close()
    parts.hardware.close()
    parts.peers.close()
    _end_serving(parts)


def _end_serving(parts: Parts) -> None:
    serving = parts.serving
    serving.server.abort()
    serving.server.close()
    parts.pool.close()
    serving.loop.stop()
    if not serving.journal.close(JOURNAL_GRACE):
        serving.logs.log.error("the last rows of activity may be lost: the store does not take them in time")
    serving.controller.close(LAST_GRACE)
    parts.guardian.close(LAST_GRACE)
    serving.supervisor.close()


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
