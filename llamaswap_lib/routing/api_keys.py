"""API keys: who may use the server at all, when the configuration names keys.

Pure, any thread. A client brings its key as the password of Basic, as Bearer, or as `x-api-key`; the first of these
that is not empty counts, in that order. Keys are compared in constant time, each with all of ours.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence

from llamaswap_lib.errors import Unauthorized
from llamaswap_lib.routing.routes import Endpoint, Route
from llamaswap_lib.wire.heads import RequestHead

OPEN_PATHS = ("/", "/upstream", "/ui")  # they only lead elsewhere
OPEN_ENDPOINTS = frozenset(
    {
        *(Endpoint.HEALTH, Endpoint.PREFLIGHT),
        *(Endpoint.CLEAN_PATH, Endpoint.NOT_FOUND, Endpoint.METHOD_NOT_ALLOWED),
        Endpoint.ANNOUNCE,  # the token in its path is its key
        Endpoint.UI,  # decides for itself: its files are open, so that it can ask for a key
    }
)


def needs_key(route: Route, path: str) -> bool:
    """Whether a key is asked for, where there are keys."""
    return route.endpoint not in OPEN_ENDPOINTS and path not in OPEN_PATHS


def check_key(head: RequestHead, keys: Sequence[str]) -> None:
    """Raise Unauthorized unless the request brings one of `keys`."""
    given = given_key(head)
    matches = [hmac.compare_digest(given, key.encode()) for key in keys]
    if not any(matches):
        # Our own page asks for the key itself; with this header its browser would ask first.
        asks = {} if head.get("x-requested-with") else {"WWW-Authenticate": 'Basic realm="llama-swap"'}
        raise Unauthorized("unauthorized: invalid or missing API key", headers=asks)


def given_key(head: RequestHead) -> bytes:
    """The key that the request brings, as its bytes; empty for none."""
    scheme, _, credentials = (head.get("authorization") or "").partition(" ")
    if scheme.lower() == "basic" and (password := _password(credentials)):
        return password
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip().encode("latin-1")
    return (head.get("x-api-key") or "").encode("latin-1")


def brings_basic(head: RequestHead) -> bool:
    """Whether its credentials are of the kind that a browser remembers and adds by itself."""
    return (head.get("authorization") or "").lower().startswith("basic")


def _password(credentials: str) -> bytes:
    try:
        return base64.b64decode(credentials.strip().encode("latin-1"), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
