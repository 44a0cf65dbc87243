"""The web page at /ui/: its document and its files.

A handler thread. The files are the same for everybody and hold no secret, so they need no key; what they show, they ask
for like any other client. A browser that comes without a key gets the page, which asks for one; other clients 401.
"""

from __future__ import annotations

from llamaswap_lib.app import App
from llamaswap_lib.routing.api_keys import check_key
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.answers import NOSNIFF, answer_not_found
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.ui import DOCUMENT, ICON, Asset, asset_of, site

ASSETS = "assets/"
HOME = "models"
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'none'; frame-ancestors {ancestors}"
)
_ALWAYS = "public, max-age=31536000, immutable"  # the address names the content
_SAFE = (NOSNIFF, ("Referrer-Policy", "same-origin"))


def serve_page(app: App, exchange: Exchange, route: Route) -> None:
    """GET /ui/..., and /favicon.ico."""
    name = route.argument
    if name.startswith(ASSETS):
        build, _, name = name[len(ASSETS) :].partition("/")
        _serve_asset(exchange, name, _ALWAYS if build == site().build else "no-store")
    elif name == "favicon.ico":
        _serve_asset(exchange, ICON, "no-cache")
    elif (page := name.partition("/")[0] or HOME) in site().pages:
        _serve_document(app, exchange, page)
    else:
        answer_not_found(exchange)


def _serve_document(app: App, exchange: Exchange, page: str) -> None:
    keys = app.config.api_keys
    if keys and "text/html" not in (exchange.head.get("accept") or ""):
        check_key(exchange.head, keys)
    # Where a key is needed, clicks that another page of the site has stolen do nothing, so frames are allowed (panels).
    policy = _POLICY.format(ancestors="'self'" if keys else "'none'")
    document = asset_of(DOCUMENT, site().page(exchange.path.count("/") - 2, page))
    _answer(exchange, document, (("Cache-Control", "no-cache"), ("Content-Security-Policy", policy)))


def _serve_asset(exchange: Exchange, name: str, caching: str) -> None:
    asset = site().assets.get(name)
    if asset is None:
        answer_not_found(exchange)
    else:
        _answer(exchange, asset, (("Cache-Control", caching),))


def _answer(exchange: Exchange, asset: Asset, headers: tuple[tuple[str, str], ...]) -> None:
    """Send a file, compressed where the client takes that, or 304 where it has it."""
    headers = (*headers, *_SAFE, ("ETag", asset.etag), ("Vary", "Accept-Encoding"))
    if asset.etag in (exchange.head.get("if-none-match") or ""):
        exchange.answer(304, headers=headers)
    elif "gzip" in (exchange.head.get("accept-encoding") or ""):
        exchange.answer(200, asset.compressed, asset.content_type, (*headers, ("Content-Encoding", "gzip")))
    else:
        exchange.answer(200, asset.plain(), asset.content_type, headers)
