"""What models need of memory, and what there is: how `/api/memory` and its event are told. Pure but for `find`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llamaswap_lib.client import words
from llamaswap_lib.client.connection import Refused, Server

RAM = "ram"
Row = Mapping[str, Any]


def find(server: Server) -> Row:
    """The answer of `/api/memory`; empty where the server has no such route, or refuses. Raises ServerError."""
    try:
        return server.find("/api/memory") or {}
    except Refused:
        return {}


def is_decisive(told: Row) -> bool:
    """Whether models go by it: `use: memory`."""
    return told.get("router") == "memory"


def needs(told: Row) -> dict[str, Row]:
    """`{"source", "devices"}` by model."""
    return {row["model"]: row["need"] for row in told.get("models", ())}


def device(told: Row, names: tuple[str, ...]) -> Row:
    """The row of the device that has one of these names; empty for none."""
    return next((row for row in told.get("devices", ()) if row["device"] in names), {})


def need(row: Row | None) -> str:
    """On the devices that it needs most of: `4.2 GB measured`, `unknown`; `-` where nothing is said."""
    if not row:
        return words.UNKNOWN
    sizes = row.get("devices")
    if not sizes:
        return str(row["source"])
    of_gpus = [size for name, size in sizes.items() if name != RAM]
    return f"{words.size(sum(of_gpus) or sizes.get(RAM, 0))} {row['source']}"


def need_in_full(row: Row, told: Row) -> str:
    """`18 GB on GPU 0 and 2.0 GB on RAM, measured`."""
    labels = {one["device"]: one["name"] for one in told.get("devices", ())}
    sizes = row.get("devices")
    parts = [f"{words.size(size)} on {labels.get(name, name)}" for name, size in (sizes or {}).items() if size]
    if parts:
        return f"{' and '.join(parts)}, {row['source']}"
    return f"{row['source']}: it is loaded alone, once" if sizes is None else f"nothing, {row['source']}"
