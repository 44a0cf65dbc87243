"""The logs: what was said so far, and what is said from now on.

A handler thread. A stream's reader never holds up a writer: what it does not take in time is lost to it, and told.
"""

from __future__ import annotations

from urllib.parse import unquote_plus

from llamaswap_lib.app import App
from llamaswap_lib.endpoints.at_peers import AtPeers, places_of
from llamaswap_lib.errors import BadRequest, NotFound
from llamaswap_lib.routing.model_name import longest_prefix
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.runtime.logs.monitor import LogMonitor
from llamaswap_lib.server.answers import NOSNIFF
from llamaswap_lib.server.exchange import TEXT, Exchange
from llamaswap_lib.server.streams import Stream

HISTORY_BYTES = "X-History-Bytes"
PIECE_BYTES = 32_768  # the most that is held for one reader; the rest stays in the log that all share


def serve_history(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /logs: people are led to the page, everybody else gets the history of what is shown on stdout."""
    if "text/html" in (exchange.head.get("accept") or "").lower():  # wherever it stands: so existing clients know it
        exchange.redirect(302, "/ui/")
    else:
        exchange.answer(200, app.logs.combined.history(), TEXT)


def serve_stream(app: App, exchange: Exchange, route: Route) -> AtPeers | None:
    """GET /logs/stream[/{which}]: the history unless `?no-history`, then what comes, until the client leaves.

    The head says how many bytes the history has: who wants no more than that, or the end of it, knows when it has it.
    """
    monitor = find_monitor(app, exchange, route.argument)
    if isinstance(monitor, AtPeers):
        return monitor
    stream, headers = Stream(exchange), [("Content-Type", "text/plain"), ("X-Accel-Buffering", "no"), NOSNIFF]
    wants_history = "no-history" not in {unquote_plus(item.partition("=")[0]) for item in exchange.query[1:].split("&")}
    if exchange.head.method == "HEAD":
        stream.begin(headers)
        return None
    with monitor.subscribe(history=wants_history) as subscription, stream.following():
        stream.begin([*headers, (HISTORY_BYTES, str(subscription.untaken_bytes))])
        while not subscription.closed:
            exchange.watch.wait(subscription.wakeup.fileno())
            stream.await_room(monitor.reader_count)
            stream.send(subscription.take(PIECE_BYTES))
    stream.end()
    return None


def find_monitor(app: App, exchange: Exchange, name: str) -> LogMonitor | AtPeers:
    """The monitor of a stream, or which peer has it: '' is what is shown on stdout; raises BadRequest.

    Otherwise the longest name of a model that `name` begins with, up to a slash, counts: clients append to a path. A
    question mark in it was the beginning of a query, which somebody has encoded along with the path. A slash in front
    is one too many, unless a model's name begins with it.
    """
    config, name = app.config, name.partition("?")[0]
    trimmed = name.removeprefix("/")
    own = {"": app.logs.combined, "proxy": app.logs.proxy, "upstream": app.logs.upstream}
    if trimmed in own:
        return own[trimmed]
    most = app.names.most_slashes()

    def lookup(name: str) -> str | None:
        return name if name in config.peer_models or name in config.pools else config.resolve(name)

    found = longest_prefix(name, lookup, most) or longest_prefix(trimmed, lookup, most)
    if found is None:
        raise _refusal("")
    model = config.resolve(found[0])
    if model is not None:
        return app.logs.model(model)
    try:
        return AtPeers(places_of(app, exchange, found[0]), "/logs/stream/", is_log=True)
    except NotFound as error:
        raise _refusal(f": {error.message}") from None


def _refusal(why: str) -> BadRequest:
    headers = dict([NOSNIFF, ("X-Accel-Buffering", "no")])
    return BadRequest(f"invalid logger. Use 'proxy', 'upstream' or a model's ID{why}", headers=headers)
