"""How a run of a model, a row of `/running`, is told. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llamaswap_lib.client import words
from llamaswap_lib.client.terminal import Style

STATE_STYLES = {
    "ready": Style.GOOD,
    "loaded": Style.GOOD,
    **dict.fromkeys(("starting", "stopping", "queued", "moving", "waking"), Style.BUSY),
    "failing": Style.BAD,
}
Row = Mapping[str, Any]


def is_here(run: Row) -> bool:
    """Whether the server that was asked runs it itself, and no peer of it."""
    return not run.get("peer")


def state_of(run: Row) -> str:
    """Its phase, where it has one, else its state."""
    return str(run.get("phase") or run["state"])


def memory_of(memory: Sequence[Row] | None) -> tuple[str, str]:
    """How much it takes on all devices that it uses most of its memory on, and their names."""
    if not memory:
        return words.UNKNOWN, words.UNKNOWN
    accelerators = [part for part in memory if part.get("kind") != "ram"] or memory
    total = sum(part.get("bytes") or 0 for part in accelerators)
    return words.size(total), ", ".join(part.get("name") or part.get("device") or "?" for part in accelerators)


def places_of(run: Row) -> str:
    """How many requests are inside, and how many may be: `2`, `2/4`."""
    in_flight, limit = run.get("in_flight"), run.get("concurrency_limit")
    return words.number(in_flight) + (f"/{limit}" if limit and in_flight is not None else "")


def until(run: Row, passed: float = 0.0) -> str:
    """When it is unloaded, if nobody asks for it; `passed` are seconds since the row was told."""
    if state_of(run) not in ("ready", "sleeping"):
        return words.UNKNOWN
    remaining = run.get("ttl_remaining")
    if remaining is not None:
        return f"in {words.duration(max(0.0, remaining - passed))}"
    if not run.get("ttl"):
        return "forever"
    return "busy" if run.get("in_flight") else words.UNKNOWN
