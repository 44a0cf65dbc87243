"""What a peer says that it has: its `/v1/models`, read, and written down as such a list again. Pure.

Nothing in it is trusted. What a peer has from peers of its own, and the names that it has only while a profile is
active, are left out: two boxes that have each other as peers would add to each other's lists without end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

MOST_OFFERS = 10_000
MOST_NAME_CHARACTERS = 500
MOST_LEVELS = 20  # of lists and objects in each other, in one key of an entry
_LEFT_OUT = ("peer", "pool", "profile")
# Of an entry: what a model can do, in the keys that clients read.
_KEPT = ("architecture", "capabilities", "supported_parameters", "context_length", "description")
_find_surrogate = re.compile("[\ud800-\udfff]").search  # half a character, which has no UTF-8


class Offer(NamedTuple):
    """A name that requests to the peer may have. `alias_of`: the model there that it is another name of, or ''."""

    name: str
    alias_of: str
    about: Mapping[str, Any]  # the keys of its entry that are passed on
    n_ctx: int  # tokens of context, 0 where that is not said


def read_offers(body: bytes) -> tuple[Offer, ...] | None:
    """What stands in the list, each name once; None for what is no list of models."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return offers_in(said.get("data") if isinstance(said, dict) else None)


def offers_in(entries: object) -> tuple[Offer, ...] | None:
    """The same of the entries of such a list."""
    if not isinstance(entries, list):
        return None
    found: dict[str, Offer] = {}
    for entry in entries[:MOST_OFFERS]:
        if isinstance(entry, dict):
            for offer in _offers_of(entry):
                if _is_name(offer.name):
                    known = offer if _is_name(offer.alias_of) else offer._replace(alias_of="")
                    found.setdefault(offer.name, known)
    return tuple(found.values())


def entries_of(offers: Iterable[Offer]) -> list[dict[str, Any]]:
    """The entries of a list in which stands just that."""
    rows = []
    for offer in offers:
        meta: dict[str, Any] = {"n_ctx": offer.n_ctx} if offer.n_ctx else {}
        if offer.alias_of:
            meta["llamaswap"] = {"type": "alias", "modelID": offer.alias_of}
        rows.append({"id": offer.name, **offer.about, "meta": meta})
    return rows


def lists_file(store: str) -> Path | None:
    """Where lists are kept: beside the store at this path; None without one."""
    return Path(f"{store}.peers.json") if store and store != ":memory:" else None


def _offers_of(entry: Mapping[str, Any]) -> Iterator[Offer]:
    """The model of an entry, and its aliases."""
    meta = _mapping(entry.get("meta"))
    ours = _mapping(meta.get("llamaswap"))
    kind, name = ours.get("type"), entry.get("id")
    if kind in _LEFT_OUT or not isinstance(name, str):
        return
    about = {key: entry[key] for key in _KEPT if entry.get(key) and _may_be_passed_on(entry[key])}
    context = meta.get("n_ctx")
    n_ctx = context if isinstance(context, int) else 0
    alias_of = ours.get("modelID") if kind == "alias" else ""
    yield Offer(name, alias_of if isinstance(alias_of, str) else "", about, n_ctx)
    aliases = ours.get("aliases")
    for alias in aliases if isinstance(aliases, list) else ():
        if isinstance(alias, str):
            yield Offer(alias, name, about, n_ctx)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _may_be_passed_on(value: object, levels: int = MOST_LEVELS) -> bool:
    """Whether our own list is still JSON with it, for clients that take it strictly, and for the file that keeps it."""
    if isinstance(value, str):
        return _find_surrogate(value) is None
    if isinstance(value, float):
        return isfinite(value)
    parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return not parts or (levels > 0 and all(_may_be_passed_on(part, levels - 1) for part in parts))


def _is_name(name: str) -> bool:
    return 0 < len(name) <= MOST_NAME_CHARACTERS and name.isprintable() and name == name.strip()
