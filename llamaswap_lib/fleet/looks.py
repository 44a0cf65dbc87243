"""One look at a peer: what it is asked, and what its answers mean.

Any thread that may block, for LONGEST_LOOK at each question. A llamaswap is asked for `/running`, which says all that
there is to know. Another server is asked for `/health`, and where it has none for `/v1/models`. Which of the two a peer
is, is found out with the first look, and again once it has been out. What a peer says is not trusted: what has another
form than expected counts as not said.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from llamaswap_lib.config.sections import Peer
from llamaswap_lib.errors import SHORTAGES, HttpError, LoopDetected
from llamaswap_lib.fleet.offers import Offer, read_offers
from llamaswap_lib.fleet.states import LLAMASWAP, OTHER, ModelThere
from llamaswap_lib.proxy.asking import Answer, BadAnswer
from llamaswap_lib.routing.remote_model import key_lines, key_of

LONGEST_LOOK = 5.0  # seconds for one answer
MOST_MODELS = 10_000
_REFUSALS = (401, 403)
_NOT_THERE = (404, 405, 501)

Ask = Callable[[str], Answer]  # the answer to GET of a path; raises OSError, HttpError and BadAnswer


def list_of(ask: Ask) -> tuple[Offer, ...] | None:
    """What the peer says that it has; None where it does not say."""
    try:
        answer = ask("/v1/models")
    except (OSError, HttpError, BadAnswer):
        return None
    return read_offers(answer.body) if answer.status == 200 else None


class LookFailed(Exception):
    """The peer did not answer, or not as one should that could serve requests; says why.

    `is_silent`: nothing came from its machine. One that refuses a connection may still be at work for those it has.
    """

    def __init__(self, why: str, *, is_silent: bool = False) -> None:
        super().__init__(why)
        self.is_silent = is_silent


class Seen(NamedTuple):
    """What a look has found: LLAMASWAP or OTHER, and the models that run there."""

    kind: str
    models: Mapping[str, ModelThere]


def fields_of(peer: Peer, via: str = "") -> str:
    """The lines of the head that carry its key, and our entry `via` of the header of that name.

    By that one a llamaswap knows who asks: it tells us what runs on its box, and not what runs at its peers.
    """
    shown = key_lines(key_of(peer))
    return f"Via: {via}\r\n{shown}" if via else shown


def look_at(kind: str, ask: Ask) -> Seen:
    """Look at a peer of that kind, '' where it is not known; raises LookFailed.

    Raises OSError where this machine is short of what a look takes (SHORTAGES): that says nothing of the peer.
    """
    try:
        if kind != OTHER:
            answer = ask("/running")
            running = _running(answer.body) if answer.status == 200 else None
            if running is not None:
                return Seen(LLAMASWAP, running)
            if kind == LLAMASWAP or answer.status in _REFUSALS:
                raise LookFailed(_refused(answer.status, "/running"))
        for path in ("/health", "/v1/models"):
            answer = ask(path)
            if answer.status not in _NOT_THERE:
                break
    except TimeoutError as error:
        raise LookFailed(error.strerror or f"it did not answer within {LONGEST_LOOK:g} s", is_silent=True) from None
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        is_silent = error.errno in (errno.EHOSTUNREACH, errno.EHOSTDOWN)
        raise LookFailed((error.strerror or str(error)).lower(), is_silent=is_silent) from None
    except (HttpError, BadAnswer) as error:
        raise LookFailed(str(error)) from None
    if not (200 <= answer.status < 300 or answer.status == 429):  # one that is asked too often is there
        raise LookFailed(_refused(answer.status, path))
    return Seen(OTHER, {})


def _refused(status: int, path: str) -> str:
    if status in _REFUSALS:
        return f"it refuses our key: {path} is answered with {status}"
    if status == LoopDetected.status:
        return f"its address leads back to this llamaswap: {path} is answered with {status}"
    return f"{path} is answered with {status}" if status != 200 else f"{path} is not answered as a llamaswap does"


def _running(body: bytes) -> dict[str, ModelThere] | None:
    """What a llamaswap says that runs there, by model; None where it is none that speaks.

    What runs at peers of its own, it has not got.
    """
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    rows = said.get("running") if isinstance(said, dict) else None
    if not isinstance(rows, list):
        return None
    found: dict[str, ModelThere] = {}
    for row in rows[:MOST_MODELS]:
        if isinstance(row, dict) and isinstance(model := row.get("model"), str) and not row.get("peer"):
            state = row.get("state")
            if state in ("starting", "ready", "stopping"):
                found[model] = ModelThere(str(state), *(_count(row, key) for key in ("in_flight", "waiting", "ttl")))
    return found


def _count(row: Mapping[str, Any], key: str) -> int:
    """llama-swap does not tell: none then."""
    value = row.get(key)
    return max(0, value) if isinstance(value, int) else 0
