"""What the answers of a server are made of, as far as commands use them, and what is wrong with others. Pure.

A server of another kind or version may answer with other types. That is found here, at one place, and not where they
are used. A shape is a type (`float`: any number), `[shape]` for a list, `Each(shape)` for an object with any keys, an
object by its keys, or `Maybe(shape)`: it may be null, and as the value of a key it may be missing.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple


class Maybe(NamedTuple):
    shape: Any


class Each(NamedTuple):
    shape: Any


ANY = object
NUMBER, TEXT, NUMBERS, TEXTS = Maybe(float), Maybe(str), Maybe([float]), Maybe([str])
WORDS = {str: "a text", float: "a number", bool: "true or false", list: "a list", dict: "an object", type(None): "null"}

FAILURE = {"message": str, "tries": float, "retry_in": NUMBER}
RUN = {
    "model": str, "state": str, "cmd": TEXT, "proxy": TEXT, "pid": NUMBER, "ttl": NUMBER, "ttl_remaining": NUMBER,
    "in_flight": NUMBER, "concurrency_limit": NUMBER, "load_seconds": NUMBER, "peer": TEXT, "waiting": NUMBER,
    "memory": Maybe([{"device": TEXT, "name": TEXT, "kind": TEXT, "bytes": NUMBER}]),
}  # fmt: skip
PEER = {
    "peer": str, "up": Maybe(bool), "since": TEXT, "last_error": TEXT,
    "models": [{"model": str, "state": str, "in_flight": NUMBER, "waiting": NUMBER, "ttl": NUMBER}],
}  # fmt: skip
TICKET = {
    "ticket": float, "request": TEXT, "model": str, "place": float, "waiting_seconds": float, "reason": str,
    "estimate_seconds": NUMBER,
}  # fmt: skip
REQUEST = {
    "id": str, "model": str, "timestamp": str, "method": TEXT, "req_path": str, "remote_ip": TEXT,
    "resp_bytes": NUMBER, "elapsed_ms": NUMBER,
}  # fmt: skip
ABOUT = {
    "type": TEXT, "modelID": TEXT, "peerID": TEXT, "strategy": TEXT, "targets": TEXTS, "aliases": TEXTS,
    "failure": Maybe(FAILURE),
}  # fmt: skip
ENTRY = {
    "id": str, "name": TEXT, "description": TEXT, "context_length": NUMBER, "status": Maybe({"value": Maybe(ANY)}),
    "capabilities": Maybe(Each(ANY)), "meta": Maybe({"llamaswap": Maybe(ABOUT), "n_ctx": NUMBER}),
}  # fmt: skip
CONFIGURED = {"aliases": TEXTS, "description": TEXT, "name": TEXT, "ttl": NUMBER, "cmd": TEXT}
VICTIM = {"model": str, "in_flight": NUMBER, "reason": str}
PLAN = {
    "model": TEXT, "type": TEXT, "state": TEXT, "evicts": Maybe([VICTIM]), "rule": Maybe({"kind": TEXT, "text": TEXT}),
    "estimate_seconds": NUMBER, "refusal": TEXT, "failure": Maybe(FAILURE),
}  # fmt: skip
DEVICE = {"device": str, "name": str, "reserve_bytes": float, "free_bytes": float}
NEED = {"source": str, "devices": Maybe(Each(float))}
MEMORY = {"router": str, "devices": [DEVICE], "models": [{"model": str, "need": NEED}]}
ROW = {
    "id": float, "timestamp": str, "model": TEXT, "method": TEXT, "req_path": TEXT, "resp_status_code": NUMBER,
    "ended": TEXT, "error_msg": TEXT, "duration_ms": NUMBER, "seen_per_second": NUMBER, "retries": NUMBER,
    "request_bytes": NUMBER, "response_bytes": NUMBER, "remote_ip": TEXT, "key": TEXT, "session": TEXT,
    "tokens": Maybe(Each(float)), "timing": Maybe({"behind": TEXT, "first_token_ms": NUMBER, "queue_ms": NUMBER}),
    "metadata": Maybe(Each(ANY)),
}  # fmt: skip
SYSTEM = {
    "timestamp": str, "cpu_util_per_core": NUMBERS, "load_avg_1": NUMBER, "mem_used_mb": NUMBER, "mem_total_mb": NUMBER,
}  # fmt: skip
GPU = {
    "timestamp": str, "id": float, "name": TEXT, "uuid": TEXT, "temp_c": NUMBER, "gpu_util_pct": NUMBER,
    "power_draw_w": NUMBER, "mem_used_mb": NUMBER, "mem_total_mb": NUMBER,
}  # fmt: skip
PROFILE = {"id": str, "description": TEXT, "pins": Maybe(Each(TEXT))}
SPEEDS = Maybe({"p50": NUMBER})

ANSWERS = {
    "/running": {"running": [RUN]},
    "/v1/models": {"data": [ENTRY]},
    "/v1/models/*": ENTRY,
    "/api/queue": {"queue": [TICKET]},
    "/api/peers": {"peers": [PEER]},
    "/api/models/*/plan": PLAN,
    "/api/memory": MEMORY,
    "/api/inflight": {"requests": [REQUEST]},
    "/api/metrics/activity": {"data": [ROW]},
    "/api/metrics/stats": {"gen_histogram": SPEEDS, "prompt_histogram": SPEEDS, "total_requests": NUMBER},
    "/api/captures/*": {
        "req_headers": Maybe(Each(ANY)), "req_body": TEXT, "resp_headers": Maybe(Each(ANY)), "resp_body": TEXT,
    },
    "/api/profiles": {"active": TEXT, "profiles": [PROFILE]},
    "/api/profiles/active": {"active": TEXT},
    "/api/version": {"version": str, "commit": TEXT},
    "/api/config": {
        "config": Maybe({"models": Maybe(Each(CONFIGURED))}),
        "error": Maybe({"message": str, "at": TEXT}),
    },
    "/api/config/reload": {
        "changed": bool, "models": Maybe(Each(TEXTS)), "settings": TEXTS, "after_restart": TEXTS,
        "warnings": Maybe([ANY]),
    },
    "/api/upgrade": {"pid": float, "from": str, "to": str},
    "/api/hardware": {"accelerators": Maybe([{"index": NUMBER, "uuid": TEXT, "pci": TEXT}])},
    "/api/performance": {"sys_stats": [SYSTEM], "gpu_stats": [GPU]},
}  # fmt: skip
EVENTS = {
    "modelStatus": [{"id": str, "state": str, "peerID": TEXT, "failure": Maybe({"message": TEXT})}],
    "profileChanged": {"active": TEXT},
    "inflight": {"operation": str, "requests": Maybe([REQUEST]), "request": Maybe(REQUEST), "id": TEXT},
    "queue": {"queue": [TICKET]},
    "memory": MEMORY,
    "activity": {"id": float},
}
_PATTERNS = [(re.compile(re.escape(path).replace(r"\*", ".+")).fullmatch, shape) for path, shape in ANSWERS.items()]


def wrong_in_answer(path: str, answer: Any) -> str:
    """`expected a list at running[0].memory, got a text,`; "" if nothing is. `path` may have a query."""
    route = path.partition("?")[0]
    shape = ANSWERS.get(route) or next((shape for is_it, shape in _PATTERNS if is_it(route)), None)
    return "" if shape is None else _wrong(answer, shape, "")


def wrong_in_event(kind: str, data: Any) -> str:
    """The same of an event; one of a type that is not known has nothing wrong."""
    return _wrong(data, EVENTS[kind], "") if kind in EVENTS else ""


def _wrong(value: Any, shape: Any, place: str) -> str:
    if isinstance(shape, Maybe):
        return "" if value is None else _wrong(value, shape.shape, place)
    if isinstance(shape, type):
        is_right = shape is ANY or (_type_of(value) is shape)
        return "" if is_right else _told(value, shape, place)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return _told(value, list, place)
        return next(filter(None, (_wrong(item, shape[0], f"{place}[{n}]") for n, item in enumerate(value))), "")
    if not isinstance(value, dict):
        return _told(value, dict, place)
    if isinstance(shape, Each):
        return next(filter(None, (_wrong(item, shape.shape, f"{place}.{name}") for name, item in value.items())), "")
    return next(filter(None, (_wrong_key(value, name, each, place) for name, each in shape.items())), "")


def _wrong_key(value: dict[str, Any], name: str, shape: Any, place: str) -> str:
    within = f"{place}.{name}".lstrip(".")
    if name in value:
        return _wrong(value[name], shape, within)
    return "" if isinstance(shape, Maybe) else f"there is no {within!r}"


def _type_of(value: Any) -> type:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float
    return next(one for one in WORDS if isinstance(value, one))


def _told(value: Any, wanted: type, place: str) -> str:
    return f"expected {WORDS[wanted]} at {place.lstrip('.') or 'its top'}, got {WORDS[_type_of(value)]},"
