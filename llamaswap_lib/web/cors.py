"""Who may read an answer: pages of other origins, and how an answer says so (CORS). The only place that decides it.

Pure, any thread. A browser lets a page read an answer of another origin only if `Access-Control-Allow-Origin` names the
page's origin or says `*`. Ours echoes it, and asks for no credentials: cookies and keys that a browser remembers open
nothing. Guarantees: (1) what tells of others or changes something may be read by pages of the host that was asked, of
this machine and of names that the configuration allows, by others only with a key; (2) the configuration and our own
pages may be read by none; (3) all else may be read by all, errors too; (4) the header is there once, whatever a server
of a model sends: what it says counts, where it says something. A request without an `Origin` is answered without it.
"""

from __future__ import annotations

from collections.abc import Mapping

from llamaswap_lib.web.forwarding import without
from llamaswap_lib.web.heads import Headers, RequestHead, read_pairs
from llamaswap_lib.web.hosts import Hosts
from llamaswap_lib.web.origins import host_of
from llamaswap_lib.web.routes import Endpoint

ALLOW_ORIGIN = "Access-Control-Allow-Origin"
ANYBODY = "*"
_NAME = ALLOW_ORIGIN.lower()
_LINE = f"\r\n{_NAME}:"

_CONFIGURATION = frozenset(
    (Endpoint.CONFIG, Endpoint.CONFIG_CHECK, Endpoint.CONFIG_FILES, Endpoint.CONFIG_FILE, Endpoint.CONFIG_SAVE)
)
# What tells of others, or changes something for them: where there are no keys, only for names that are ours.
PRIVATE = _CONFIGURATION | {
    *(Endpoint.UNLOAD_EVERY, Endpoint.UNLOAD_ALL, Endpoint.UNLOAD_ONE, Endpoint.LOAD_ONE, Endpoint.RELOAD),
    *(Endpoint.ACTIVE_PROFILE, Endpoint.CANCEL, Endpoint.EVENTS, Endpoint.LOGS, Endpoint.LOG_STREAM),
    *(Endpoint.LOG_STREAM_OF, Endpoint.ACTIVITY, Endpoint.ACTIVITY_STATS, Endpoint.CAPTURE),
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


def allow(reader: str) -> Headers:
    """The headers by which an answer of ours is for `reader`, an origin; '' is for nobody."""
    if not reader:
        return []
    return [(ALLOW_ORIGIN, reader)] if reader == ANYBODY else [(ALLOW_ORIGIN, reader), ("Vary", "Origin")]


def allow_once(lines: str, first: Mapping[str, str], reader: str) -> str:
    """The lines of a server's answer for a page: with the origin that the server allows, else with `reader`, if any.

    `first` has the answer's headers, as its head has them.
    """
    own = first.get(_NAME)
    if own and lines.lower().count(_LINE) == 1:
        return lines
    if own is not None:
        status_line, _, fields = lines.partition("\r\n")
        said = [value for name, value in read_pairs(fields) if name.lower() == _NAME and value]
        lines = f"{status_line}\r\n{without(fields, (_NAME,))}"
        if said:
            return f"{lines}{ALLOW_ORIGIN}: {said[0]}\r\n"
    return lines + "".join([f"{name}: {value}\r\n" for name, value in allow(reader)])
