"""What the endpoints need, in one place: `App`, built for each configuration and never changed.

Any thread reads it. `endpoints` alone hands it on: neither an exchange nor the rooms below know it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from llamaswap_lib.activity.captures import may_capture
from llamaswap_lib.activity.counters import Counters
from llamaswap_lib.activity.feed import Feed
from llamaswap_lib.activity.journal import Journal, JournalSettings
from llamaswap_lib.activity.key_tags import KeyTags, new_salt
from llamaswap_lib.activity.store import StoreSettings
from llamaswap_lib.config.check import Listen
from llamaswap_lib.config.editor import ConfigEditor
from llamaswap_lib.config.schema import Config, Model
from llamaswap_lib.fleet.peers import Peers
from llamaswap_lib.hardware.sampler import Hardware
from llamaswap_lib.ip_addresses import is_loopback
from llamaswap_lib.loaded_config import LoadedConfig
from llamaswap_lib.memory.picture import MemoryPicture
from llamaswap_lib.proxy.pool import Pool
from llamaswap_lib.routing.destinations import Destination, destinations_of
from llamaswap_lib.routing.hosts import Hosts
from llamaswap_lib.routing.names import Names
from llamaswap_lib.routing.profiles import Profiles
from llamaswap_lib.routing.selectors import Selectors
from llamaswap_lib.runtime.apart import Apart
from llamaswap_lib.runtime.changes import Changes, Topic
from llamaswap_lib.runtime.control.controller import Controller
from llamaswap_lib.runtime.logs.server_logs import Logs
from llamaswap_lib.runtime.ourselves import Ourselves, own_names
from llamaswap_lib.runtime.wall_clock import WallClock
from llamaswap_lib.server.limits import Limits
from llamaswap_lib.typed_yaml.secrets import visible


def limits_of(config: Config) -> Limits:
    """What the configuration says of them."""
    limits = config.limits
    return Limits(
        connections=limits.connections,
        idle_timeout=limits.idle_timeout,
        head_timeout=limits.head_timeout,
        body_timeout=limits.body_timeout,
        write_timeout=limits.write_timeout,
        max_body_bytes=limits.max_body_mb << 20,
        max_json_bytes=limits.max_json_mb << 20,
        spool_bytes=limits.spool_mb << 20,
        hops=limits.hops,
    )


def journal_settings_of(config: Config, host: str) -> JournalSettings:
    """What is kept of requests, where the server listens on `host`."""
    captures = may_capture(
        config.capture_buffer_mb,
        is_written=config.asks_for_captures,
        has_keys=bool(config.api_keys),
        is_loopback=is_loopback(host),
    )
    store = config.store
    return JournalSettings(
        StoreSettings(
            Path(store.path) if store.path else None,
            store.max_rows,
            store.max_age,
            config.metrics_max_rows,
            visible(store.path),
        ),
        config.capture_buffer_mb << 20 if captures else 0,
    )


class Version(NamedTuple):
    """Which program this is, as /api/version tells."""

    version: str
    commit: str = "unknown"
    build_date: str = "unknown"


class Latest:
    """The `App` of the configuration that is in force now, for what outlives one: a stream of events."""

    app: App


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class App:
    """The services that requests share which go by one configuration. A reload makes another one, for later requests.

    `launched`: run id -> the model as it was started, which may be configured otherwise by now, or not any more.
    `reload` reads the configuration again and says what that changed; it raises ConfigError.
    `upgrade` has a new process take over, and says which; it raises HttpError.
    `announce`: the run with this token says that it listens at this address, and what it waits for, '' for neither;
    the address that it has told last, None if there is no such run. It raises ValueError.
    `preview` says what a reload with this configuration would change.
    """

    config: Config
    controller: Controller
    logs: Logs
    pool: Pool
    changes: Changes
    profiles: Profiles
    version: Version
    limits: Limits = field(default_factory=Limits)
    ourselves: Ourselves = field(default_factory=Ourselves)
    listen: Listen = field(default_factory=Listen)
    editor: ConfigEditor | None = None  # with -allow-config-edit
    apart: Apart = field(default_factory=Apart)
    clock: Callable[[], float] = time.monotonic
    wall_clock: WallClock = field(default_factory=WallClock)
    started_at: int = field(default_factory=lambda: int(time.time()))  # the `created` of every model in the list
    launched: Mapping[int, Model] = field(default_factory=dict)
    hardware: Hardware = field(default_factory=Hardware)
    memory: MemoryPicture = field(default_factory=lambda: MemoryPicture(Config()))
    reload: Callable[[], Mapping[str, object]] | None = None
    upgrade: Callable[[], Mapping[str, object]] | None = None
    announce: Callable[[str, str, str], str | None] = lambda _token, _address, _state: None
    preview: Callable[[Config], Mapping[str, object]] | None = None
    loaded: LoadedConfig = field(default_factory=LoadedConfig)
    latest: Latest = field(default_factory=Latest)
    activity: Journal = field(default_factory=Journal)
    counters: Counters = field(default_factory=lambda: Counters(lambda _: False))
    loop_lag: Callable[[], float] = lambda: 0.0
    connection_count: Callable[[], int] = lambda: 0
    feed: Feed = field(default_factory=Feed)
    key_salt: bytes = field(default_factory=new_salt)
    peers: Peers = field(default_factory=Peers)
    selectors_before: InitVar[Selectors | None] = None
    destinations: Mapping[str, Destination] = field(init=False)  # by every name that leads to one model and no other
    names: Names = field(init=False)
    selectors: Selectors = field(init=False)
    hosts: Hosts = field(init=False)
    key_tags: KeyTags = field(init=False)

    def __post_init__(self, selectors_before: Selectors | None) -> None:
        object.__setattr__(self, "destinations", destinations_of(self.config))
        object.__setattr__(self, "names", Names(self.config, self.destinations))
        selectors = Selectors(self.config, self.controller.runs, selectors_before, self.peers.states)
        object.__setattr__(self, "selectors", selectors)
        object.__setattr__(self, "key_tags", KeyTags(self.key_salt, self.config.api_key_names))
        object.__setattr__(self, "hosts", Hosts(self.config.allowed_hosts, own_names()))

    def with_config(self, config: Config, limits: Limits) -> App:
        """The same with another configuration."""
        profiles = self.profiles.with_profiles(config.profiles)
        return replace(self, config=config, limits=limits, profiles=profiles, selectors_before=self.selectors)

    def renew(self) -> None:
        """The same configuration goes on, with more or less of what peers have."""
        self.latest.app = self
        self.changes.note(Topic.RUNS)

    def refuse(self, message: str) -> None:
        """Another configuration cannot be used, and why: this one goes on. Who follows what there is, looks again."""
        self.loaded.note_failure(message)
        self.changes.note(Topic.PROFILE)

    def take_over(self, files: Sequence[Path] = ()) -> None:
        """This is the configuration that is in force from now on, loaded from these files."""
        self.latest.app = self
        self.loaded.note_loaded(self.config, files)
        self.profiles.forget_missing()
        for topic in (Topic.RUNS, Topic.PROFILE):
            self.changes.note(topic)
