"""Which pages of other origins may read an answer (CORS). The only place that decides it; `cors_headers.py` writes it.

Pure, any thread. Guarantees: (1) what tells of others or changes something may be read by pages of the host that was
asked, of this machine and of names that the configuration allows, by others only with a key; (2) the configuration and
our own pages may be read by none; (3) all else may be read by all, errors too.
"""

from __future__ import annotations

from llamaswap_lib.routing.cross_site import host_of
from llamaswap_lib.routing.hosts import Hosts
from llamaswap_lib.routing.routes import Endpoint
from llamaswap_lib.wire.heads import RequestHead

_CONFIGURATION = frozenset(
    (
        *(Endpoint.CONFIG, Endpoint.CONFIG_CHECK, Endpoint.CONFIG_FILES, Endpoint.CONFIG_FILE, Endpoint.CONFIG_SAVE),
        Endpoint.CONFIG_PREVIEW,
    )
)
# What tells of others, or changes something for them: where there are no keys, only for names that are ours.
PRIVATE = _CONFIGURATION | {
    *(Endpoint.UNLOAD_EVERY, Endpoint.UNLOAD_ALL, Endpoint.UNLOAD_ONE, Endpoint.LOAD_ONE, Endpoint.RELOAD),
    *(Endpoint.ACTIVITY, Endpoint.ACTIVITY_CLEAR, Endpoint.ACTIVITY_STATS, Endpoint.ACTIVITY_FACETS),
    *(Endpoint.ACTIVITY_SERIES, Endpoint.CAPTURE),
    *(Endpoint.PERFORMANCE, Endpoint.HARDWARE, Endpoint.MEMORY, Endpoint.PEERS),
    *(Endpoint.IN_FLIGHT, Endpoint.CANCEL),
    *(Endpoint.ACTIVE_PROFILE, Endpoint.EVENTS, Endpoint.LOGS, Endpoint.LOG_STREAM, Endpoint.LOG_STREAM_OF),
}
_CLOSED = _CONFIGURATION | {Endpoint.UI, Endpoint.PREFLIGHT}  # a preflight says for itself what it allows


def reader_of(endpoint: Endpoint, head: RequestHead, hosts: Hosts, *, has_keys: bool) -> str:
    """The origin whose pages may read the answer of an endpoint to a request: that of the request, or ''."""
    origin = head.get("origin") or ""
    is_closed = endpoint in _CLOSED or (endpoint in PRIVATE and not has_keys and not _is_near(origin, head, hosts))
    return "" if is_closed else origin


def _is_near(origin: str, head: RequestHead, hosts: Hosts) -> bool:
    """Whether pages of `origin` are of the host that was asked, whatever the port, or are trusted."""
    name = host_of(origin)
    return bool(name) and (name == host_of(f"http://{head.get('host')}") or hosts.is_trusted(name))
