"""Reload by difference: a changed configuration is taken while the server serves.

Any thread asks for one; one is done at a time, on the thread that asks or on a thread `reload` of its own. The new
files are read and checked first, a policy of the user's own among them, so a mistake in them leaves everything as it
is. Then the controller gets the new models at one moment, and requests that begin after that go by the new
configuration; those that have begun go on by the old one. No request is broken: runs that have to go are stopped when
their requests have ended.
"""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from llamaswap_lib.activity.journal import Journal
from llamaswap_lib.app import Latest, journal_settings_of, limits_of
from llamaswap_lib.config.check import to_be_served
from llamaswap_lib.config.difference import Difference, difference, keep_ports, refuse_taken_ports
from llamaswap_lib.config.load import Sources, inspect
from llamaswap_lib.config.names import with_offers
from llamaswap_lib.config.render import worth_a_line
from llamaswap_lib.config.schema import END_MARGIN, Config, Model
from llamaswap_lib.config.sections import DEFAULT_CONNECTIONS
from llamaswap_lib.core.events import ModelsChanged
from llamaswap_lib.endpoints import settings_of
from llamaswap_lib.errors import ConfigError, Conflict, ServiceUnavailable
from llamaswap_lib.ip_addresses import is_loopback
from llamaswap_lib.launching import Launching, hardware_settings
from llamaswap_lib.needed import Needed
from llamaswap_lib.net.loop import Loop
from llamaswap_lib.runtime.control.live_run import Upstream
from llamaswap_lib.runtime.control.succession import SuccessionController
from llamaswap_lib.runtime.descriptors import DescriptorCapacity
from llamaswap_lib.runtime.logs.logger import Logger
from llamaswap_lib.runtime.logs.server_logs import Logs
from llamaswap_lib.runtime.supervisor import Supervisor
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.vital import report
from llamaswap_lib.scheduling import Standing, concurrency_limits, make_rules, models_changed
from llamaswap_lib.server.certificate import Certificate
from llamaswap_lib.server.listener import Server

TURN_TIMEOUT = 60.0  # seconds for a reload in progress to end: a policy's file is executed, which may take its time
AT_START_ONLY = ("logToStdout",)


class Serving(NamedTuple):
    """What serves, in this process and with its workers, and goes by the configuration."""

    logs: Logs
    loop: Loop
    journal: Journal
    controller: SuccessionController
    launching: Launching
    latest: Latest
    server: Server
    capacity: DescriptorCapacity
    certificate: Certificate | None
    supervisor: Supervisor


class Reloader:
    """Knows the configuration in force, and replaces it."""

    def __init__(
        self, sources: Sources, standing: Standing, serving: Serving, refuse: Callable[[Config], None], needed: Needed
    ) -> None:
        """`refuse` raises ConfigError for a configuration that may not be taken over."""
        self._sources = sources
        self._standing = standing
        self._serving = serving
        self._refuse = refuse
        self._needed = needed
        self._turn = threading.Lock()  # held by the one reload that is done
        self._guard = threading.Lock()  # protects the five below
        self._wanted = ""  # why another one is to be done; '' if none is
        self._is_at_work = False
        self._is_closed = False
        self._was_asked = False  # since another process has begun to read the files
        self._pass_on: Callable[[], object] = lambda: None  # to a process that serves in place of this one
        self._policy = standing.config.routing.policy  # as it was read last, of use or not
        self.before_reading: Callable[[], None] = lambda: None
        self.after_reading: Callable[[Sequence[Path]], None] = lambda _: None  # it is given the files
        self.after_change: Callable[[], None] = lambda: None  # what requests go by has changed; in the reload's turn
        self.stop_seconds = standing.config.stop_seconds  # the longest that any run may take to stop at the end

    @property
    def standing(self) -> Standing:
        return self._standing

    @property
    def config(self) -> Config:
        """The one in force."""
        return self._standing.config

    def followed_files(self) -> list[Path]:
        """The files that the configuration is made of, certificate and policy included; raises ConfigError."""
        files = self._sources.files()
        if self._serving.certificate is not None:
            files += self._serving.certificate.files
        return [*files, Path(self._policy.rpartition(":")[0])] if self._policy else files

    @property
    def end_seconds(self) -> float:
        """The longest that the whole program takes to end."""
        return self.stop_seconds + END_MARGIN

    # -- any thread --

    def request(self, cause: str) -> None:
        """Have it done soon, on a thread of its own; what is asked for meanwhile is done once, after that."""
        self._note_asked()
        with self._guard:
            self._wanted = cause
            if self._is_at_work or self._is_closed:
                return
            self._is_at_work = True
        try:
            Thread(self._work, "reload").start()
        except (RuntimeError, MemoryError) as error:
            with self._guard:
                self._is_at_work = False
            self._serving.logs.log.error(f"{cause}: the configuration cannot be read again: {error or 'no memory'}")

    def reload(self, cause: str, patience: float = TURN_TIMEOUT) -> Mapping[str, object]:
        """Do it now; what it changed, for JSON.

        Raises ConfigError for a configuration that cannot be used, Conflict where another reload has not ended after
        `patience` seconds (-1: it is waited for), and ServiceUnavailable at the end of the program.
        """
        self._note_asked()
        self.hold(patience)
        try:
            return self._reload(cause)
        finally:
            self.let_go()

    def renew_peers(self) -> None:
        """Requests that begin after this go by what peers say now that they have. Blocks while a reload is done."""
        self.hold(-1)
        try:
            now = self._serving.latest.app
            app = now.with_config(self._with_offers(self.config), now.limits)
            self._serving.server.change(settings_of(app))
            app.renew()
            self.after_change()
        finally:
            self.let_go()

    def _with_offers(self, config: Config) -> Config:
        return with_offers(config, self._serving.latest.app.peers.offers())

    def preview(self, config: Config) -> Mapping[str, object]:
        """What a reload with this configuration would change, for JSON; nothing is changed."""
        old = self.config
        running = list(self._serving.launching.launched.values())
        return _described(difference(old, keep_ports(old, config, _ports_in_use(running))), config)

    def hold(self, patience: float) -> None:
        """No reload begins until `let_go`; raises Conflict where one has not ended after `patience` seconds."""
        if not self._turn.acquire(timeout=patience):
            raise Conflict(f"another reload has not ended for {patience:.0f} s; the log says when it began, and why")

    def let_go(self) -> None:
        """Those that have been asked for meanwhile are done now."""
        self._turn.release()

    def note_reader(self) -> None:
        """Another process, which may serve in place of this one, begins to read the files now."""
        with self._guard:
            self._was_asked = False

    def _note_asked(self) -> None:
        with self._guard:
            self._was_asked, pass_on = True, self._pass_on
        pass_on()

    def close(self, pass_on: Callable[[], object] = lambda: None) -> None:
        """Begin nothing more; a reload whose files are still being read changes nothing.

        `pass_on` is called whenever one is asked for from now on, and now if one was since `note_reader`.
        """
        with self._guard:
            self._is_closed, self._pass_on, was_asked = True, pass_on, self._was_asked
        if was_asked:
            pass_on()

    def reload_or_tell(self, cause: str) -> None:
        """The same where nobody waits for an answer: the log has it."""
        with suppress(ConfigError, ServiceUnavailable):
            self.reload(cause, patience=-1)

    # -- thread reload --

    def _work(self) -> None:
        while cause := self._next():
            self.reload_or_tell(cause)

    def _next(self) -> str:
        with self._guard:
            cause, self._wanted = self._wanted, ""
            self._is_at_work = bool(cause)
        return cause

    # -- the thread whose turn it is --

    def _reload(self, cause: str) -> Mapping[str, object]:
        log, supervisor = self._serving.logs.log, self._serving.supervisor
        log.info(f"{cause}: reading the configuration again")
        supervisor.reloading()
        try:
            self.before_reading()
            files = self._sources.files()
            standing, is_renewed = self._read(files)
            self._refuse_late()
            taken = self._take(standing, files, is_renewed=is_renewed)
            self._serving.latest.app.counters.note_reload("success")
            return taken
        except ConfigError as error:
            self._serving.latest.app.refuse(str(error))
            self._serving.latest.app.counters.note_reload("failure")
            log.error("the new configuration cannot be used, the old one goes on:")
            for line in str(error).splitlines():
                log.error(line)
            raise
        except ServiceUnavailable:
            raise
        except Exception as error:  # a mistake of ours: as for one of the user's, nothing may end for it
            report("reload", log.error)
            self._serving.latest.app.counters.note_reload("failure")
            raise ConfigError(f"the reload has failed: {error!r}; the log says more") from error
        finally:
            with suppress(ConfigError):
                self.after_reading(self.followed_files())
            supervisor.ready()

    def _read(self, files: Sequence[Path]) -> tuple[Standing, bool]:
        """The new configuration, with all that may raise done; and whether the certificate is another one.

        Raises ConfigError.
        """
        old = self._standing
        for file in files:
            _refuse_pipe(file)
        loaded = inspect(files)
        self._policy = loaded.config.routing.policy  # to be followed, be it of use or not
        running = {model.id: model for model in list(self._serving.launching.launched.values())}
        if not loaded.problems.errors:
            refuse_taken_ports(loaded, running)
        config = to_be_served(loaded, self._serving.latest.app.listen)
        if not (config.models or config.peers) and (old.config.models or old.config.peers):
            names = ", ".join(map(str, files))
            raise ConfigError(f"{names}: there are no models and no peers; to serve nothing, stop llamaswap")
        self._refuse(config)
        with self._serving.latest.app.apart.importing():
            self._needed.bring(config)
        picture = self._serving.latest.app.memory
        made = make_rules(config, old.made, lambda: picture.now)
        certificate = self._serving.certificate
        is_renewed = certificate is not None and certificate.renew()
        return Standing(keep_ports(old.config, config, _ports_in_use(running.values())), made), is_renewed

    def _refuse_late(self) -> None:
        if self._is_closed:
            raise ServiceUnavailable("the server is shutting down")

    def _take(self, new: Standing, files: Sequence[Path], *, is_renewed: bool) -> Mapping[str, object]:
        old, serving = self._standing, self._serving
        changed = difference(old.config, new.config)
        more = {"certificate"} if is_renewed else set()
        if new.made.use and new.made is not old.made:
            more.add("routing")  # the policy's file is another one, at least
        changed = changed._replace(settings=tuple(sorted({*changed.settings, *more})))
        peers = serving.latest.app.peers
        peers.change(new.config)  # first: what the new ones have is part of what comes into force
        peers.wait_for_lists()
        app = serving.latest.app.with_config(self._with_offers(new.config), limits_of(new.config))
        settings = settings_of(app)

        def make(upstreams: Sequence[Upstream]) -> ModelsChanged:
            """At one moment for all: a request that begins now is looked at by the scheduler after the change."""
            running = {upstream.model: upstream.proxy for upstream in upstreams}
            event = models_changed(old, new, changed.replaced, running)
            serving.launching.change(new.config, changed.replaced)
            serving.server.change(settings)
            app.take_over(files)
            return event

        serving.controller.change_models(make, concurrency_limits(new.config))
        self._standing = new
        self.stop_seconds = max(self.stop_seconds, new.config.stop_seconds)
        self._change_settings(old.config, new.config)
        self.after_change()
        self._tell(changed, new.config)
        return _described(changed, new.config)

    def _change_settings(self, old: Config, config: Config) -> None:
        serving, limits = self._serving, config.limits
        serving.logs.log.change(config.log_level, config.log_time_format)
        serving.latest.app.hardware.change(hardware_settings(config))
        serving.latest.app.memory.change(config)
        running = {model.id for model in list(serving.launching.launched.values())}
        serving.logs.keep_only(config.models.keys() | running)
        serving.latest.app.activity.change(journal_settings_of(config, serving.latest.app.listen.host))
        serving.capacity.change(limits.connections, len(config.models))
        if limits.connections != old.limits.connections:
            warn_if_few(serving.capacity, limits.connections, serving.logs.log)
        if bool(config.api_keys) != bool(old.api_keys):
            tell_who_can_reach(serving.server.address, serving.logs.log, has_keys=bool(config.api_keys))

    def _tell(self, changed: Difference, config: Config) -> None:
        log = self._serving.logs.log
        for warning in worth_a_line(config.warnings):
            log.warn(warning)
        log.info(f"configuration reloaded: {changed.text()}")
        for key in _after_restart(changed):
            log.warn(f"{key} has changed; that takes effect when llamaswap is restarted")


def _refuse_pipe(file: Path) -> None:
    """Raise ConfigError for a pipe or the like, which has been read: nothing would come, or not to an end."""
    try:
        mode = file.stat().st_mode
    except OSError:
        return  # the loader says more
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ConfigError(f"{file}: expected a file that can be read again, such as a regular file")


def _ports_in_use(running: Iterable[Model]) -> set[int]:
    """The automatic ports of models that were started."""
    return {model.automatic_port.number for model in running if model.automatic_port}


def _after_restart(changed: Difference) -> list[str]:
    return [key for key in changed.settings if key in AT_START_ONLY]


def _described(changed: Difference, config: Config) -> Mapping[str, object]:
    """For the answer of the API."""
    return {
        "changed": bool(changed),
        "models": {
            "added": list(changed.added),
            "removed": list(changed.removed),
            "replaced": list(changed.replaced),
            "updated": list(changed.updated),
        },
        "settings": list(changed.settings),
        "after_restart": _after_restart(changed),
        "warnings": worth_a_line(config.warnings),
    }


def tell_who_can_reach(address: tuple[str, int], log: Logger, *, has_keys: bool) -> None:
    """A line about who can use what listens at the address, if that is more than this machine."""
    if is_loopback(address[0]):
        return
    cure = f"-listen 127.0.0.1:{address[1]} keeps it to this machine"
    if has_keys:
        log.info(f"other machines can reach it with one of the apiKeys; {cure}")
    else:
        log.warn(
            f"other machines can reach it without a key; {cure}, and with apiKeys in the configuration"
            " each client needs one"
        )


def warn_if_few(capacity: DescriptorCapacity, wanted: int, log: Logger) -> None:
    """Say so where there are too few descriptors for so many connections, and somebody has asked for that many."""
    if capacity.most_connections < wanted != DEFAULT_CONNECTIONS:
        log.warn(
            f"limits.connections is {wanted}, but the system's limit of open files is enough for"
            f" {capacity.most_connections}: raise that (ulimit -n, or LimitNOFILE in a unit of systemd)"
        )
