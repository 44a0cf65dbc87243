"""Which endpoint a request is for: (method, path) -> `Route`, from one table.

Pure, any thread. Paths are matched as sent: an endpoint's own path is never percent-decoded, a trailing slash makes
another path, and one with empty or dot segments leads to the same without (`paths.py`). Only names that a path carries
(`Route.argument`) are decoded, once. What goes on to an upstream (`Route.upstream_path`) keeps its encoding byte for
byte. HEAD works wherever GET does, but for operations: looking at a path changes nothing. OPTIONS is answered the same
for every path. A path that nobody answers is not in the table, and so is not found whatever the method. Knows no
model, no key, no configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import NamedTuple
from urllib.parse import unquote

from llamaswap_lib.routing.paths import LEFT_ALONE, clean_path


class Endpoint(Enum):
    """Who answers."""

    MODEL = auto()  # relayed to the model that the body (POST) or the query (GET) names
    MODEL_OR_ONLY = auto()  # the same; where the query names none, to the only model that runs
    UPSTREAM = auto()  # relayed to the model that the path names; `upstream_path` is what follows /upstream/
    COMFYUI = auto()  # relayed to the model comfyui_auto
    PREFLIGHT = auto()
    REDIRECT = auto()  # to `argument` with `status`
    CLEAN_PATH = auto()  # the path is not written as it should be, which is `argument`
    NOT_FOUND = auto()
    METHOD_NOT_ALLOWED = auto()  # `allow` says which are
    HEALTH = auto()
    UI = auto()  # `argument` is the path below /ui/
    MODEL_LIST = auto()
    MODEL_ENTRY = auto()  # `argument` is its id
    RUNNING = auto()
    UNLOAD_EVERY = auto()  # GET /unload: text
    UNLOAD_ALL = auto()  # POST /api/models/unload: JSON
    UNLOAD_ONE = auto()  # `argument` is the model
    LOAD_ONE = auto()  # `argument` is the model
    PLAN = auto()  # `argument` is the model
    CLIENTS = auto()  # the same
    QUEUE = auto()
    PEERS = auto()
    CONFIG = auto()
    CONFIG_CHECK = auto()
    CONFIG_FILES = auto()
    CONFIG_FILE = auto()  # `argument` is its name
    CONFIG_SAVE = auto()  # the same
    CONFIG_PREVIEW = auto()  # the same
    PROFILES = auto()
    ACTIVE_PROFILE = auto()
    VERSION = auto()
    RELOAD = auto()
    UPGRADE = auto()
    PERFORMANCE = auto()
    HARDWARE = auto()
    MEMORY = auto()
    METRICS = auto()  # those of the model that the query names
    ACTIVITY = auto()
    ACTIVITY_CLEAR = auto()
    ACTIVITY_STATS = auto()
    ACTIVITY_FACETS = auto()
    ACTIVITY_SERIES = auto()
    CAPTURE = auto()  # `argument` is the id of its row
    EVENTS = auto()
    LOGS = auto()
    LOG_STREAM = auto()
    LOG_STREAM_OF = auto()  # `argument` is proxy, upstream or a model
    IN_FLIGHT = auto()
    ANNOUNCE = auto()  # `argument` is the token of a run
    CANCEL = auto()  # `argument` is the id of a request in flight

    __hash__ = object.__hash__  # members are single; that of Enum is a call into Python for every request


class Route(NamedTuple):
    endpoint: Endpoint
    argument: str = ""
    upstream_path: str = ""
    status: int = 0
    allow: str = ""


COMFYUI_MODEL = "comfyui_auto"

_MODEL_POSTS = """
/v1/chat/completions /v1/responses /v1/completions /v1/messages /v1/messages/count_tokens /v1/embeddings
/v1/moderations /v1/chat/completions/control /v1/chat/completions/input_tokens /v1/responses/input_tokens
/chat/completions /responses /completions /embeddings /chat/completions/input_tokens /responses/input_tokens
/reranking /rerank /v1/rerank /v1/reranking /infill /completion /embedding /tokenize /detokenize /apply-template
/v1/audio/speech /v1/audio/voices /v1/audio/transcriptions /v1/audio/translations /audio/transcriptions
/v1/images/generations /v1/images/edits /v1/images/variations
/sdapi/v1/txt2img /sdapi/v1/img2img /audioapi/v1/tasks/run
/v/chat/completions /v/responses /v/completions /v/messages /v/messages/count_tokens /v/embeddings /v/rerank
/v/reranking
"""
_MODEL_GETS = "/v1/audio/voices /sdapi/v1/loras /lora-adapters"
_STATE_GETS = "/props /slots"  # clients of llama.cpp ask for these without a model
_NOT_SENT_ON = ("/audioapi/", "/v/")

_OWN = {
    ("GET", "/"): Route(Endpoint.REDIRECT, "/ui", status=302),
    ("GET", "/ui"): Route(Endpoint.REDIRECT, "/ui/", status=301),
    ("GET", "/favicon.ico"): Route(Endpoint.UI, "favicon.ico"),
    ("GET", "/upstream"): Route(Endpoint.REDIRECT, "/ui/models", status=302),
    ("GET", "/health"): Route(Endpoint.HEALTH),
    ("GET", "/v1/health"): Route(Endpoint.HEALTH),
    ("GET", "/wol-health"): Route(Endpoint.HEALTH),
    ("GET", "/v1/models"): Route(Endpoint.MODEL_LIST),
    ("GET", "/models"): Route(Endpoint.MODEL_LIST),
    ("GET", "/running"): Route(Endpoint.RUNNING),
    ("GET", "/unload"): Route(Endpoint.UNLOAD_EVERY),
    ("POST", "/api/models/unload"): Route(Endpoint.UNLOAD_ALL),
    ("GET", "/api/queue"): Route(Endpoint.QUEUE),
    ("GET", "/api/peers"): Route(Endpoint.PEERS),
    ("GET", "/api/config"): Route(Endpoint.CONFIG),
    ("POST", "/api/config/check"): Route(Endpoint.CONFIG_CHECK),
    ("GET", "/api/config/files"): Route(Endpoint.CONFIG_FILES),
    ("GET", "/api/profiles"): Route(Endpoint.PROFILES),
    ("PUT", "/api/profiles/active"): Route(Endpoint.ACTIVE_PROFILE),
    ("GET", "/api/version"): Route(Endpoint.VERSION),
    ("POST", "/api/config/reload"): Route(Endpoint.RELOAD),
    ("POST", "/api/upgrade"): Route(Endpoint.UPGRADE),
    ("GET", "/api/performance"): Route(Endpoint.PERFORMANCE),
    ("GET", "/api/hardware"): Route(Endpoint.HARDWARE),
    ("GET", "/api/memory"): Route(Endpoint.MEMORY),
    ("GET", "/metrics"): Route(Endpoint.METRICS),
    ("GET", "/api/metrics/activity"): Route(Endpoint.ACTIVITY),
    ("DELETE", "/api/metrics/activity"): Route(Endpoint.ACTIVITY_CLEAR),
    ("GET", "/api/metrics/stats"): Route(Endpoint.ACTIVITY_STATS),
    ("GET", "/api/metrics/facets"): Route(Endpoint.ACTIVITY_FACETS),
    ("GET", "/api/metrics/series"): Route(Endpoint.ACTIVITY_SERIES),
    ("GET", "/api/events"): Route(Endpoint.EVENTS),
    ("GET", "/api/inflight"): Route(Endpoint.IN_FLIGHT),
    ("GET", "/logs"): Route(Endpoint.LOGS),
    ("GET", "/logs/stream"): Route(Endpoint.LOG_STREAM),
}

_is_anything = re.compile(r".*").fullmatch
_is_something = re.compile(r".+").fullmatch
_is_one_segment = re.compile(r"[^/]+").fullmatch

# method, what stands before the argument, what stands behind it, what the argument may be as sent
_WITH_ARGUMENT = (
    ("GET", "/logs/stream/", "", _is_anything, Endpoint.LOG_STREAM_OF),
    ("GET", "/v1/models/", "", _is_something, Endpoint.MODEL_ENTRY),
    ("GET", "/ui/", "", _is_anything, Endpoint.UI),
    ("POST", "/api/models/unload/", "", _is_anything, Endpoint.UNLOAD_ONE),
    ("POST", "/api/models/load/", "", _is_anything, Endpoint.LOAD_ONE),
    ("POST", "/api/inflight/", "/cancel", _is_one_segment, Endpoint.CANCEL),
    ("POST", "/api/announce/", "", _is_one_segment, Endpoint.ANNOUNCE),
    ("GET", "/api/announce/", "", _is_one_segment, Endpoint.ANNOUNCE),
    ("GET", "/api/models/", "/plan", _is_something, Endpoint.PLAN),
    ("GET", "/api/models/", "/clients", _is_something, Endpoint.CLIENTS),
    ("GET", "/api/captures/", "", _is_one_segment, Endpoint.CAPTURE),
    ("GET", "/api/config/files/", "", _is_one_segment, Endpoint.CONFIG_FILE),
    ("PUT", "/api/config/files/", "", _is_one_segment, Endpoint.CONFIG_SAVE),
    ("POST", "/api/config/files/", "/check", _is_one_segment, Endpoint.CONFIG_PREVIEW),
)

MODEL_PATHS = frozenset(f"{_MODEL_POSTS} {_MODEL_GETS} {_STATE_GETS}".split())
NOT_FOUND = Route(Endpoint.NOT_FOUND)
PREFLIGHT = Route(Endpoint.PREFLIGHT)


def find_route(method: str, path: str) -> Route:
    """The route of a request; `path` without its query."""
    if method == "OPTIONS":
        return PREFLIGHT
    methods = _TABLE.get(path)
    if methods is None:
        return _find_below(method, path)
    return methods.get(method) or _not_allowed(methods)


def _find_below(method: str, path: str) -> Route:
    """Routes that are known by how their path begins, and paths that lead to another one."""
    is_cleaned = path.startswith("/") and not path.startswith(LEFT_ALONE) and method != "CONNECT"
    if is_cleaned and (clean := clean_path(path)) != path:
        return Route(Endpoint.CLEAN_PATH, clean)
    if path.startswith("/upstream/"):
        return Route(Endpoint.UPSTREAM, upstream_path=path[len("/upstream/") :])
    if path.startswith("/comfyui/"):
        return Route(Endpoint.COMFYUI, COMFYUI_MODEL, path[len("/comfyui") :])
    if path == "/comfyui":
        return Route(Endpoint.REDIRECT, "/comfyui/", status=slash_redirect_status(method))
    methods: dict[str, Route] = {}
    for wanted, before, behind, is_argument, endpoint in _WITH_ARGUMENT:
        if path.startswith(before) and path.endswith(behind):
            argument = path[len(before) : len(path) - len(behind)]
            if is_argument(argument):
                methods.setdefault(wanted, Route(endpoint, unquote(argument)))
    if not methods:
        return NOT_FOUND
    methods = _with_head(methods)
    return methods.get(method) or _not_allowed(methods)


def is_model_path(path: str) -> bool:
    """Whether it is the path of a route that leads to a model, by whatever method."""
    return path in MODEL_PATHS


def slash_redirect_status(method: str) -> int:
    """A redirect that adds a slash: one that lets the client repeat its method and body where there is one."""
    return 301 if method in ("GET", "HEAD") else 308


def _not_allowed(methods: Mapping[str, Route]) -> Route:
    return Route(Endpoint.METHOD_NOT_ALLOWED, allow=", ".join(sorted(methods)))


def _with_head(methods: dict[str, Route]) -> dict[str, Route]:
    get = methods.get("GET")
    return methods if get is None or get.endpoint is Endpoint.UNLOAD_EVERY else {**methods, "HEAD": get}


def _sent_on(path: str) -> str:
    """A model route's path as its upstream knows it."""
    for prefix in _NOT_SENT_ON:
        if path.startswith(prefix):
            return path[len(prefix) - 1 :]
    return path


def _make_table() -> dict[str, dict[str, Route]]:
    table: dict[str, dict[str, Route]] = {}
    for method, paths, endpoint in (
        ("POST", _MODEL_POSTS, Endpoint.MODEL),
        ("GET", _MODEL_GETS, Endpoint.MODEL),
        ("GET", _STATE_GETS, Endpoint.MODEL_OR_ONLY),
    ):
        for path in paths.split():
            table.setdefault(path, {})[method] = Route(endpoint, upstream_path=_sent_on(path))
    for (method, path), route in _OWN.items():
        table.setdefault(path, {})[method] = route
    return {path: _with_head(methods) for path, methods in table.items()}


_TABLE = _make_table()
