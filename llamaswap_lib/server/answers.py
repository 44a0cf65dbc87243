"""Answers that do not depend on an endpoint: errors, unknown paths, wrong methods, preflights.

Either thread.
"""

from __future__ import annotations

import json
import re

from llamaswap_lib.errors import ConcurrencyLimit, HttpError, LoadFailed, NotFound
from llamaswap_lib.printable import bounded, in_markup, printable
from llamaswap_lib.server.exchange import HTML, JSON, REASONS, TEXT, Exchange
from llamaswap_lib.wire.cors_headers import ANYBODY, allow
from llamaswap_lib.wire.headers import serialize_response

NOSNIFF = ("X-Content-Type-Options", "nosniff")
LINES = "\n\t"  # which the last words of a model may have
MOST_SHOWN_BYTES = 200  # of a path that there is not
METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
USUAL_HEADERS = "Content-Type, Authorization, Accept, X-Requested-With"
_is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_OFFERED = {
    "application/json": JSON, "application/*": JSON, "*/*": JSON,
    "text/plain": TEXT, "text/*": TEXT, "text/html": HTML, "application/xhtml+xml": HTML,
}  # fmt: skip


def answer_error(exchange: Exchange, error: HttpError) -> None:
    """Tell the client what went wrong, in the form it accepts."""
    tell_log(exchange, error)
    headers = tuple(error.headers.items())
    wanted = JSON if isinstance(error, ConcurrencyLimit) else preferred_type(exchange.head.get("accept") or "")
    if wanted is JSON:
        exchange.answer_json(error.body(), error.status, headers)
    elif wanted is TEXT:
        exchange.answer_text(f"llama-swap: {printable(error.message, keep=LINES)}\n", error.status, headers)
    else:
        exchange.answer(error.status, error_page(error).encode("utf-8", "replace"), HTML, headers)


def tell_log(exchange: Exchange, error: HttpError) -> None:
    """Every 5xx of ours, in a stream that has begun too, leaves one warning in the log: this one."""
    exchange.failure = error
    if error.status >= 500 and error.is_ours:
        below = error.last_words if isinstance(error, LoadFailed) and error.is_news() else ()
        exchange.warn(f"{error.status}, {error.cause}", below)


def raw_answer(error: HttpError) -> bytes:
    """The whole of it, for a client of whose request nothing was read; its connection ends with it."""
    body = json.dumps(error.body(), separators=(",", ":")).encode()
    headers = [("Content-Type", JSON), *error.headers.items(), ("Connection", "close"), *allow(ANYBODY)]
    lines = serialize_response(error.status, REASONS[error.status], [*headers, ("Content-Length", str(len(body)))])
    return f"{lines}\r\n".encode() + body


def error_page(error: HttpError) -> str:
    title = f"{error.status} {REASONS.get(error.status, '')}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        f"<body><h1>{title}</h1><p>llama-swap: {in_markup(error.message)}</p></body></html>\n"
    )


def preferred_type(accept: str) -> str:
    """The type of an error's body: what `accept` likes best of JSON, text and HTML; JSON when it does not say."""
    best, best_quality = JSON, 0.0
    for item in accept.split(","):
        name, *parameters = item.split(";")
        offered = _OFFERED.get(name.strip().lower())
        quality = _quality(parameters)
        if offered is not None and quality > best_quality:
            best, best_quality = offered, quality
    return best


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def answer_not_found(exchange: Exchange) -> None:
    """No such path; where SDKs ask, it is an error as they read it."""
    if exchange.path.startswith("/v1/"):
        asked = f"{bounded(exchange.head.method, MOST_SHOWN_BYTES)} {bounded(exchange.path, MOST_SHOWN_BYTES)}"
        answer_error(exchange, NotFound(f"there is no such route: {asked}"))
    else:
        exchange.answer_text("404 page not found\n", 404, [NOSNIFF])


def answer_wrong_method(exchange: Exchange, allow: str) -> None:
    """The path is known, for other methods."""
    exchange.answer_text("Method Not Allowed\n", 405, [("Allow", allow), NOSNIFF])


def answer_preflight(exchange: Exchange) -> None:
    """OPTIONS, for every path: browsers of any origin may talk to us, with the headers that they ask for."""
    asked = (name.strip() for name in (exchange.head.get("access-control-request-headers") or "").split(","))
    headers = [
        *allow(ANYBODY),
        ("Access-Control-Allow-Methods", METHODS),
        ("Access-Control-Allow-Headers", ", ".join(filter(_is_token, asked)) or USUAL_HEADERS),
        ("Access-Control-Max-Age", "86400"),
    ]
    exchange.answer(204, headers=headers)
