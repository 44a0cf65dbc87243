"""The smaller sections of the configuration: what models and peers are made of, and what clients may take.

Owns their dataclasses, which are both the description of the keys and the values that the rest of the program reads.
Frozen, so any thread may read them; they hold no logic but how the models of a peer are written.
"""

# ruff: noqa: RUF009 - `key` and `derived` make a `dataclasses.field`
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llamaswap_lib.typed_yaml.kinds import (
    Anything,
    Choice,
    CommaList,
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
from llamaswap_lib.typed_yaml.nodes import Node, ScalarNode
from llamaswap_lib.typed_yaml.problems import KeyPath
from llamaswap_lib.typed_yaml.reader import Reader, Schema

STRATEGY = Choice(("pin", "warm", "spillover", "spread", "failover"))
NOT_STICKY = "none"
STICKY = Choice((NOT_STICKY, "session", "prefix"))
MODALITY = Choice(("text", "audio", "image"))
FALLBACK = "models, aliases or peer models that answer, in this order, where it cannot (llamaswap only; docs/fleet.md)"
POOL = (
    "a name for the machines elsewhere on which it runs: models with the same one make room for each other as members"
    " of a group with `whenQueued: evict` do (llamaswap only; see docs/clusters.md)"
)
LOST_AFTER = (
    "where its server is not on this machine: seconds without an answer to its check after which a ready one counts as"
    " lost, and is ended; 0 never (llamaswap only; see docs/clusters.md)"
)
ROUTED_SETTINGS = "for the strategies `spillover` and `spread` only"
ANNOUNCED = "announced"  # in place of a URL: the server says itself where it listens
AUTO = "auto"


class Holder(MapOf):
    """What holds macros, or models with `${PORT}`: a text in its place is refused, whatever macros are in it."""

    is_looked_at = False


class Auto(tuple[str, ...]):
    """The models of a peer with `auto`: what it is known to have, which may be nothing yet."""

    __slots__ = ()


class Offered(ListOf):
    """The models of a peer as they are written: a list of names, or the word for those that it says it has."""

    expected = "a list, or auto"

    def __init__(self) -> None:
        super().__init__(Text())

    @property
    def summary(self) -> str:
        return f"{super().summary}, or `{AUTO}`"

    def schema(self) -> Schema:
        return {"anyOf": [super().schema(), {"const": AUTO}]}

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        if isinstance(node, ScalarNode) and node.text == AUTO:
            return Auto()
        return super()._value(node, path, reader)

    def show(self, value: Any, *, mask: bool) -> Any:
        return AUTO if isinstance(value, Auto) else super().show(value, mask=mask)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits of one exchange with an upstream, in seconds; 0 is none."""

    connect: float = key("connect", Seconds(None, floor=0), "seconds to connect", 30.0)
    keepalive: float = key("keepalive", Seconds(None, floor=0), "seconds between TCP keep-alive probes", 30.0)
    response_header: float = key("responseHeader", Seconds(None, floor=0), "seconds until the head of the answer", 0.0)
    tls_handshake: float = key("tlsHandshake", Seconds(None, floor=0), "seconds for the TLS handshake", 10.0)
    expect_continue: float = key(
        "expectContinue",
        Seconds(None, floor=0),
        "has no effect: no server is asked for `100 Continue`, because a body is sent on when all of it has come",
        1.0,
    )
    idle_connection: float = key("idleConn", Seconds(None, floor=0), "seconds an idle connection is kept", 90.0)


@dataclass(frozen=True, slots=True)
class Filters:
    """What is changed in a JSON body before it is sent on. `model` is never touched."""

    strip_params: tuple[str, ...] = key("stripParams", CommaList(), "names to remove, comma separated", ())
    set_params: Mapping[str, Any] = key("setParams", MapOf(Anything(), "parameter"), "values to set")
    set_params_by_id: Mapping[str, Mapping[str, Any]] = key(
        "setParamsByID",
        MapOf(MapOf(Anything(), "parameter"), "asked-for name"),
        "values to set by the name that was asked for; its keys become aliases of the model",
    )


@dataclass(frozen=True, slots=True)
class ModelFilters(Filters):
    """Filters of a model, with the older spelling of one key."""

    legacy_strip_params: tuple[str, ...] = key("strip_params", CommaList(), "older spelling of `stripParams`", ())


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do, as told to clients in the list of models."""

    inputs: tuple[str, ...] = key("in", ListOf(MODALITY), "what it takes: text, audio, image")
    outputs: tuple[str, ...] = key("out", ListOf(MODALITY), "what it gives: text, audio, image")
    tools: bool = key("tools", Flag(), "it can call functions", False)
    reranker: bool = key("reranker", Flag(), "it reranks", False)
    context: int = key("context", Integer(0), "tokens of context; with 0 clients are told nothing", 0)


@dataclass(frozen=True, slots=True)
class Compat:
    """Settings that particular upstreams need."""

    ignore_websockets: bool = key(
        "ignoreWebsockets", Flag(), "WebSockets neither load the model nor keep it from being unloaded", False
    )


@dataclass(frozen=True, slots=True)
class Store:
    """Where activity is kept across restarts."""

    path: str = key("path", Text("a path"), "SQLite file that keeps activity across restarts", "")
    max_rows: int = key(
        "maxRows",
        Integer(0),
        "rows kept in that file, of which the oldest go; 0 for any number (llamaswap only)",
        1_000_000,
    )
    max_age: float = key(
        "maxAge", Seconds(), "seconds that rows are kept in that file; 0 for ever (llamaswap only)", 0.0
    )


@dataclass(frozen=True, slots=True)
class UiActivity:
    """What the activity page shows of a request."""

    session_id: tuple[str, ...] = key(
        "session_id",
        ListOf(Text()),
        "request headers that name a session; [] for none",
        ("X-Session-ID", "X-Litellm-Session-Id"),
    )


@dataclass(frozen=True, slots=True)
class Ui:
    """The web page."""

    activity: UiActivity = key("activity", Section(UiActivity), "the activity page")


@dataclass(frozen=True, slots=True)
class Performance:
    """Samples of the machine."""

    disabled: bool = key("disabled", Flag(), "no samples: `/api/performance` and `/api/hardware` are 503", False)
    every: float = key("every", Seconds(5, unit=True), "time between samples, with its unit; at least 5s", 5.0)


@dataclass(frozen=True, slots=True)
class Metrics:
    """What `/metrics` tells."""

    include_upstreams: bool = key(
        "includeUpstreams",
        Flag(),
        "the metrics of the servers of all ready models are told too, each with the label `model` (llamaswap only)",
        False,
    )


@dataclass(frozen=True, slots=True)
class UpstreamPassthrough:
    """Requests under `/upstream/`."""

    ignore_paths: tuple[str, ...] = key(
        "ignorePaths",
        ListOf(Text("a regular expression")),
        "regular expressions (RE2) of paths under `/upstream/` that never load a model; of a path of more than 8192 "
        "characters only the first and the last 4096 count; empty means the default",
        (r".*\.(js|json|css|png|gif|jpg|jpeg|ico|txt)$",),
    )


DEFAULT_CONNECTIONS = 10_000  # an idle one costs 4 KB


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What a client may use of the server, so that no client can keep others from being served."""

    connections: int = key(
        "connections",
        Integer(1),
        "connections at once, of each process with `-workers`, fewer if the system's limit of open files is too low;"
        " beyond it others are closed to make room (docs/http.md says which); if all of them are being served, the"
        " newest is answered 503",
        DEFAULT_CONNECTIONS,
    )
    idle_timeout: float = key("idleTimeout", Seconds(1), "seconds a connection may stay without a request", 120.0)
    head_timeout: float = key("headTimeout", Seconds(1), "seconds for the complete head of a request", 30.0)
    body_timeout: float = key(
        "bodyTimeout",
        Seconds(1),
        "seconds between two pieces of a body; after that many seconds it also needs 1 KB/s on average",
        60.0,
    )
    write_timeout: float = key(
        "writeTimeout", Seconds(1), "seconds for which a client may read nothing of its answer", 60.0
    )
    max_body_mb: int = key(
        "maxBodyMB", Integer(1), "MB of a request's body, decoded; a body above 1 MB is kept in a file", 4096
    )
    max_json_mb: int = key("maxJSONMB", Integer(1), "MB of a JSON body, decoded, which has to be in memory", 128)
    spool_mb: int = key(
        "spoolMB",
        Integer(0),
        "MB of answers that are kept for clients which read slowly while others wait for the model, so that it can be"
        " unloaded: of all answers together, a fourth of it of one; what is above 1 MB waits in a file; 0 keeps none",
        256,
    )
    hops: int = key("hops", Integer(1), "how many llamaswaps, as `peers` of one another, a request may have passed", 4)


@dataclass(frozen=True, slots=True)
class OnStartup:
    """What is done when the server starts."""

    preload: tuple[str, ...] = key(
        "preload",
        ListOf(Text()),
        "models (ids or aliases) to load at start, in order, as far as they can run together; unknown ones are skipped",
    )


@dataclass(frozen=True, slots=True)
class Hooks:
    """What is done when something happens."""

    on_startup: OnStartup = key("on_startup", Section(OnStartup), "when the server starts")


@dataclass(frozen=True, slots=True)
class Profile:
    """A set of names that lead elsewhere while it is active; a pin to '' switches the name off."""

    description: str = key("description", Text(), "a description for people", "")
    pins: Mapping[str, str] = key(
        "pins",
        MapOf(Text(), "name"),
        "name -> model, alias, peer model or selector; empty or null switches the name off",
    )


@dataclass(frozen=True, slots=True)
class SelectorSettings:
    """How a selector spreads requests over its targets."""

    spillover: int = key(
        "spillover",
        Integer(),
        "requests per active target before the next one is started; at least 1, and 8 for `spread` unless set",
        1,
    )
    sticky: str = key(
        "sticky",
        STICKY,
        "requests of a session, or with the same beginning of the prompt, go to the same target "
        "(llamaswap only; docs/fleet.md)",
        NOT_STICKY,
    )


@dataclass(frozen=True, slots=True)
class Selector:
    """A name of its own that chooses one of its targets for each request."""

    strategy: str = key("strategy", STRATEGY, "how a target is chosen (docs/fleet.md)", "", required=True)
    targets: tuple[str, ...] = key(
        "targets", ListOf(Text()), "models, aliases or peer models, at least one", required=True
    )
    settings: SelectorSettings = key("settings", Section(SelectorSettings), ROUTED_SETTINGS)
    fallback: tuple[str, ...] = key("fallback", ListOf(Text()), FALLBACK)
    name: str = key("name", Text(), "shown in the list of models", "")
    description: str = key("description", Text(), "shown in the list of models", "")
    unlisted: bool = key("unlisted", Flag(), "not in the list of models", False)
    metadata: Mapping[str, Any] = key("metadata", MapOf(Anything()), "anything, passed on to the list of models")
    shown_metadata: Mapping[str, Any] = derived(factory=dict)  # without secrets


@dataclass(frozen=True, slots=True)
class Peer:
    """Another server, whose models are offered as `peer/model`."""

    proxy: str = key("proxy", Text("a URL"), "address of the other server", "", required=True)
    models: tuple[str, ...] = key("models", Offered(), "its models, or those that it says it has", required=True)
    api_key: str = key("apiKey", Text(form="secret"), "sent to it instead of the client's credentials", "")
    pooled: bool = key("pooled", Flag(), "requests for a name that others have too are shared (llamaswap only)", True)
    filters: Filters = key("filters", Section(Filters), "changes to JSON bodies")
    timeouts: Timeouts = key(
        "timeouts",
        Section(Timeouts, {"response_header": 60.0}),
        "limits of one exchange, as for a model, but `responseHeader` is 60, and nothing for a llamaswap",
    )
    bounds_answers: bool = derived(False, compare=False)  # responseHeader stands in the file
