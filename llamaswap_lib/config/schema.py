"""The configuration as the rest of the program reads it: resolved, checked and complete.

Owns `Config` and `Model`; `sections.py` holds what they are made of. The same dataclasses describe the keys of the file
(`kinds.key`), so the loader, the reference and the JSON schema cannot disagree. Frozen: any thread may read a `Config`;
a changed file makes a new one.
"""

# ruff: noqa: RUF009 - `key` and `derived` make a `dataclasses.field`
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from llamaswap_lib.command_words import is_variable, mask_variable, split, without_comments
from llamaswap_lib.typed_yaml.kinds import (
    Anything,
    Choice,
    Flag,
    Integer,
    ListOf,
    MapOf,
    Seconds,
    Section,
    Text,
    derived,
    key,
)
from llamaswap_lib.typed_yaml.problems import Problem
from llamaswap_lib.typed_yaml.secrets import changed

from .automaton import Pattern
from .device_keys import GpuChoice, Gpus, Sizes
from .routing_keys import Routing, RoutingInput
from .sections import (
    ANNOUNCED,
    FALLBACK,
    LOST_AFTER,
    POOL,
    Capabilities,
    ClientLimits,
    Compat,
    Holder,
    Hooks,
    Metrics,
    ModelFilters,
    Peer,
    Performance,
    Profile,
    Selector,
    Store,
    Timeouts,
    Ui,
    UpstreamPassthrough,
)
from .sleep_keys import COMMAND, Sleep, SleepChoice

STATUS = "exits with 0 while an earlier run has left something elsewhere (llamaswap only; see docs/clusters.md)"
COMMANDS = ("cmd", "cmdStop", "cmdStatus")  # lines of which may be comments
LOG_LEVELS = ("debug", "info", "warn", "error")
LOG_TIME_FORMATS = (
    "", "ansic", "unixdate", "rubydate", "rfc822", "rfc822z", "rfc850", "rfc1123", "rfc1123z", "rfc3339", "rfc3339nano",
    "kitchen", "stamp", "stampmilli", "stampmicro", "stampnano",
)  # fmt: skip
MINIMUM_HEALTH_CHECK_TIMEOUT = 15.0
DEFAULT_METRICS_ROWS = 1000
# Seconds beyond shutdownTimeout and unloadTimeout that the end may take: 2 for the watch of the files, 1 to tell the
# supervisor, 1 for first requests on new connections, 5 for processes that hang in the kernel, 5 for answers that
# clients still read, 2 to cut them off, 1 for TLS, 5 for a controller that hangs, 5 for the guardian, 2 for rows of
# activity, 1 to spare.
END_MARGIN = 30.0
DEFAULT_UNLOAD_TIMEOUT = 10.0
DEFAULT_HUNG_AFTER = 30.0
# Macros that have a value only once a model is started, and where they can be used.
LATE_MACROS = {
    "PID": "${PID} can be used only in cmdStop and sleep",
    "GPUS": "${GPUS} can be used only in cmd, cmdStop, sleep and env of a model with gpus",
    "GPU_COUNT": "${GPU_COUNT} can be used only in cmd, cmdStop, sleep and env of a model with gpus",
    "ANNOUNCE": "${ANNOUNCE} can be used only in cmd, cmdStop and env of a model with proxy: announced",
}


def late_macros(key_name: str, *, has_gpus: bool, is_announced: bool) -> tuple[str, ...]:
    """Names of those that may be left in a key of a model."""
    own = ("PID",) if key_name in ("cmdStop", "sleep") else ()
    if key_name not in ("cmd", "cmdStop", "env", "sleep"):
        return own
    return (*own, *(("GPUS", "GPU_COUNT") if has_gpus else ()), *(("ANNOUNCE",) if is_announced else ()))


class AutomaticPort(NamedTuple):
    """The `${PORT}` that a model was given, and its texts with that macro still in them."""

    number: int
    cmd: str
    cmd_stop: str
    cmd_status: str
    proxy: str
    check_endpoint: str
    env: tuple[str, ...]
    shown_cmd: str
    shown_proxy: str
    sleep: tuple[str, str]  # the commands for it

    def shown_at(self, port: int) -> tuple[str, str]:
        """What is told of `cmd` and `proxy` with that port."""
        number = str(port)
        return self.shown_cmd.replace("${PORT}", number), self.shown_proxy.replace("${PORT}", number)


class ShownModel(NamedTuple):
    """What clients are told of a model: without secrets, and without what came from the environment."""

    cmd: str
    proxy: str
    metadata: Mapping[str, Any]
    programs: tuple[tuple[str, str], ...]  # first words of commands that hold secrets, each with what is told of it


@dataclass(frozen=True, slots=True)
class Model:
    """One local model: how its server is started, reached, stopped and described."""

    id: str = derived("")
    cmd: str = key(
        "cmd",
        COMMAND,
        "the command that starts its server; `${PORT}` is the next free port, counted from `startPort`",
        "",
    )
    argv: tuple[str, ...] = derived(())  # cmd, split into words
    cmd_stop: str = key("cmdStop", COMMAND, "run instead of sending SIGTERM, to stop it; may use `${PID}`", "")
    stop_argv: tuple[str, ...] = derived(())  # cmd_stop, split; () means SIGTERM
    cmd_status: str = key("cmdStatus", COMMAND, STATUS, "")
    status_argv: tuple[str, ...] = derived(())  # cmd_status, split
    proxy: str = key(
        "proxy",
        Text("a URL, or `announced`"),
        "where its server listens; with `announced` it says so itself (llamaswap only; see docs/clusters.md)",
        "http://localhost:${PORT}",
    )
    check_endpoint: str = key(
        "checkEndpoint",
        Text(),
        "path that answers 200 when it is ready; with `none` it counts as ready at once",
        "/health",
    )
    env: tuple[str, ...] = key(
        "env",
        ListOf(Text("NAME=value", "variable", mask_variable)),
        "NAME=value, added to the environment of llamaswap; if a name comes twice, the later value counts",
    )
    aliases: tuple[str, ...] = key("aliases", ListOf(Text()), "further names")
    name: str = key("name", Text(), "shown in the list of models", "")
    description: str = key("description", Text(), "shown in the list of models", "")
    unlisted: bool = key("unlisted", Flag(), "not in the list of models", False)
    ttl: float = key(
        "ttl", Seconds(-1), "seconds without a request until it is unloaded; 0 never, -1 takes `globalTTL`", -1.0
    )
    unload_timeout: float = key(
        "unloadTimeout", Seconds(), "seconds from `cmdStop` or SIGTERM to SIGKILL; 0 takes the global value", 0.0
    )
    health_check_timeout: float = key(
        "healthCheckTimeout", Seconds(None), "seconds it may take to become ready; 0 takes the global value", 0.0
    )
    queue_timeout: float = key(
        "queueTimeout",
        Seconds(),
        "with `proxy: announced`: seconds until it has to have said where it listens; 0 for as long as anybody waits"
        " for it (llamaswap only; see docs/clusters.md)",
        0.0,
    )
    hung_after: float = key(
        "hungAfter",
        Seconds(-1),
        "seconds of silence after which its server, if it is sure to hang, is stopped when a request for another model "
        "has waited for `maxWait`; 0 never, -1 takes the global value (llamaswap only)",
        -1.0,
    )
    lost_after: float = key("lostAfter", Seconds(), LOST_AFTER, 10.0)
    pool: str = key("pool", Text("a name"), POOL, "")
    fallback: tuple[str, ...] = key("fallback", ListOf(Text()), FALLBACK)
    use_model_name: str = key("useModelName", Text(), "the `model` that is sent upstream", "")
    concurrency_limit: int = key(
        "concurrencyLimit", Integer(floor=0), "with N > 0 the N+1st request is refused with 429", 0
    )
    memory: Mapping[str, int] = key(
        "memory",
        Sizes(),
        "what it needs, where that is not to be measured: `18GB`, or for each device `{gpu: 18GB, ram: 2GB}`; devices "
        "are `ram`, `gpu`, and numbers and UUIDs of GPUs (llamaswap only; see docs/memory.md)",
    )
    gpus: Gpus | None = key(
        "gpus",
        GpuChoice(),
        "with `use: memory` its GPUs are chosen for it: `auto` for as few as will do, a number for so many, or a list "
        "of numbers and UUIDs for just these (llamaswap only; see docs/memory.md)",
    )
    pinned: bool = key(
        "pinned", Flag(), "with `use: memory` it never goes to make room for another one (llamaswap only)", False
    )
    sleep: Sleep | None = key(
        "sleep",
        SleepChoice(),
        "it is put to sleep in place of being stopped where it has to make room, and woken when it is asked for; "
        "`vllm` is `{url: /sleep, level: 1, wake: /wake_up, check: /is_sleeping}` (llamaswap only; see "
        "docs/scheduling.md)",
    )
    send_loading_state: bool = key("sendLoadingState", Flag(), "used instead of the global value")
    metadata: Mapping[str, Any] = key("metadata", MapOf(Anything()), "anything, passed on to the list of models")
    macros: Mapping[str, Any] = key(
        "macros",
        Holder(Anything(), "macro"),
        "macros of this model; they are used instead of global ones of the same name",
        is_shown=False,  # a configuration that is shown has none any more
    )
    filters: ModelFilters = key("filters", Section(ModelFilters), "changes to JSON bodies")
    timeouts: Timeouts = key("timeouts", Section(Timeouts), "limits of one exchange with its server")
    compat: Compat = key("compat", Section(Compat), "settings that particular servers need")
    capabilities: Capabilities = key("capabilities", Section(Capabilities), "what clients are told that it can do")
    automatic_port: AutomaticPort | None = derived(None, compare=False)
    shown: ShownModel = derived(ShownModel("", "", {}, ()), compare=False)
    unplaced: Model | None = derived(None, compare=False)  # the same before its GPUs were chosen

    @property
    def is_announced(self) -> bool:
        """Whether its server says itself where it listens."""
        return self.proxy == ANNOUNCED

    @property
    def variables(self) -> tuple[str, ...]:
        """What of `env` adds a variable."""
        return tuple(filter(is_variable, self.env))

    def at_port(self, port: int) -> Model:
        """The same model with another automatic port in what starts, reaches and stops its server."""
        given = self.automatic_port
        if given is None or given.number == port:
            return self

        def ported(text: str) -> str:
            return changed(text, lambda part: part.replace("${PORT}", str(port)))

        cmd, cmd_stop, cmd_status = map(ported, (given.cmd, given.cmd_stop, given.cmd_status))
        shown_cmd, shown_proxy = given.shown_at(port)
        return replace(
            self,
            cmd=changed(cmd, without_comments),
            argv=split(cmd),
            cmd_stop=changed(cmd_stop, without_comments),
            stop_argv=split(cmd_stop),
            cmd_status=changed(cmd_status, without_comments),
            status_argv=split(cmd_status),
            proxy=ported(given.proxy),
            check_endpoint=ported(given.check_endpoint),
            env=tuple(map(ported, given.env)),
            sleep=self.sleep
            and self.sleep.with_commands(lambda text: changed(ported(text), without_comments), given.sleep),
            automatic_port=given._replace(number=port),
            shown=self.shown._replace(cmd=shown_cmd, proxy=shown_proxy),
        )


class PeerModel(NamedTuple):
    """A model of another server."""

    peer: str
    model: str


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a user can say."""

    models: Mapping[str, Model] = key(
        "models", Holder(Section(Model), "id"), "the local models, in the order of the file"
    )
    health_check_timeout: float = key(
        "healthCheckTimeout",
        Seconds(None, floor=15),
        "seconds a model may take to become ready; below 15 counts as 15",
        120.0,
    )
    hung_after: float = key(
        "hungAfter",
        Seconds(),
        "seconds of silence after which a server that is sure to hang is stopped when a request for another model has "
        "waited longer than `maxWait`; 0 never (llamaswap only)",
        DEFAULT_HUNG_AFTER,
    )
    log_level: str = key("logLevel", Choice(LOG_LEVELS, lenient=True), "the lowest level that is logged", "info")
    log_time_format: str = key(
        "logTimeFormat",
        Choice(LOG_TIME_FORMATS, lenient=True),
        "format of the time before each line; empty for none",
        "",
    )
    log_to_stdout: str = key(
        "logToStdout", Choice(("proxy", "upstream", "both", "none")), "which logs are shown on stdout", "proxy"
    )
    log_requests: bool = key("logRequests", Flag(), "does nothing", False)
    store: Store = key("store", Section(Store), "what is kept across restarts")
    metrics_max_rows: int = key(
        "metricsMaxInMemory", Integer(), "rows of activity kept in memory; 0 or less means 1000", 1000
    )
    capture_buffer_mb: int = key(
        "captureBuffer", Integer(floor=0), "MB of captured requests and answers; 0 or less turns them off", 5
    )
    ui: Ui = key("ui", Section(Ui), "the web page")
    performance: Performance = key("performance", Section(Performance), "sampling of the machine")
    metrics: Metrics = key("metrics", Section(Metrics), "`/metrics` (llamaswap only)")
    start_port: int = key("startPort", Integer(1), "the first automatic `${PORT}`", 5800)
    send_loading_state: bool = key(
        "sendLoadingState", Flag(), "a stream that waits for its model says what it waits for (docs/http.md)", False
    )
    include_aliases_in_list: bool = key("includeAliasesInList", Flag(), "the list of models has aliases too", False)
    global_ttl: float = key("globalTTL", Seconds(), "seconds without a request until a model is unloaded; 0 never", 0.0)
    unload_timeout: float = key(
        "unloadTimeout", Seconds(), "seconds from `cmdStop` or SIGTERM to SIGKILL; 0 means 10", DEFAULT_UNLOAD_TIMEOUT
    )
    shutdown_timeout: float = key(
        "shutdownTimeout",
        Seconds(),
        "seconds that requests in progress and WebSockets get to finish when llamaswap shuts down (llamaswap only)",
        30.0,
    )
    upgrade_timeout: float = key(
        "upgradeTimeout",
        Seconds(),
        "seconds after an upgrade in which the process before it may finish its requests; 0 as long as they take"
        " (llamaswap only)",
        0.0,
    )
    macros: Mapping[str, Any] = key(
        "macros", Holder(Anything(), "macro"), "values for `${name}` anywhere else", is_shown=False
    )
    api_keys: tuple[str, ...] = key(
        "apiKeys", ListOf(Text(form="secret")), "each client must send one of these keys; a key has no spaces"
    )
    api_key_names: Mapping[str, str] = key(
        "apiKeyNames",
        MapOf(Text(), "key", is_secret=True),
        "what a key is called in the activity; it is told by a tag otherwise (llamaswap only)",
    )
    allowed_hosts: tuple[str, ...] = key(
        "allowedHosts",
        ListOf(Text()),
        "without `apiKeys`: further host names of this server, under which clients may ask for operations, logs,"
        " events, activity and configuration; `*.example.org` for all names below one, `*` for any (llamaswap only; see"
        " docs/http.md)",
    )
    limits: ClientLimits = key("limits", Section(ClientLimits), "what clients may take (llamaswap only)")
    upstream: UpstreamPassthrough = key("upstream", Section(UpstreamPassthrough), "the routes under `/upstream/`")
    hooks: Hooks = key("hooks", Section(Hooks), "what llamaswap does by itself")
    peers: Mapping[str, Peer] = key(
        "peers", MapOf(Section(Peer), "peer"), "other servers whose models are offered here"
    )
    selectors: Mapping[str, Selector] = key(
        "selectors", MapOf(Section(Selector), "selector"), "names that choose among models"
    )
    profiles: Mapping[str, Profile] = key(
        "profiles", MapOf(Section(Profile), "profile"), "sets of pins, of which one may be active"
    )

    routing: Routing = derived(factory=Routing)
    asks_for_captures: bool = derived(False, compare=False)  # captureBuffer stands in the file
    ignore_patterns: tuple[Pattern, ...] = derived(())  # upstream.ignore_paths, to be used with `search`
    aliases: Mapping[str, str] = derived(factory=dict)  # alias -> id, those of setParamsByID too
    peer_models: Mapping[str, PeerModel] = derived(
        factory=dict
    )  # 'peer/model', and 'model' where it is one peer's alone
    pools: Mapping[str, Selector] = derived(factory=dict)  # names that several peers, or a peer and this server, have
    warnings: tuple[Problem, ...] = derived(())

    @property
    def hooks_preload(self) -> tuple[str, ...]:
        """The ids of the models to load at start."""
        return self.hooks.on_startup.preload

    @property
    def stop_seconds(self) -> float:
        """The longest that requests in progress and then the models take to end, but for what hangs in the kernel."""
        return self.shutdown_timeout + max((model.unload_timeout for model in self.models.values()), default=0.0)

    @property
    def end_seconds(self) -> float:
        """Seconds that the whole program takes to end at most, also where something hangs. Kill it only after that."""
        return self.stop_seconds + END_MARGIN

    def resolve(self, name: str) -> str | None:
        """The id of the local model that `name`, an id or an alias, stands for."""
        return name if name in self.models else self.aliases.get(name)

    def resolve_peer(self, name: str) -> PeerModel | None:
        """The peer's model that `name` stands for, if nothing local has that name."""
        return None if self.resolve(name) is not None else self.peer_models.get(name)


TOP_LEVEL = (Config, RoutingInput)
