"""What `/running` says of what runs at peers, and to whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.fleet.boxes import Box, running
from tests.web.upstreams import wait_until
from tests.web.world import Running, World, get

CONFIG = """
models:
  m: {cmd: server, proxy: "http://127.0.0.1:1"}
  z: {cmd: server, proxy: "http://127.0.0.1:1"}
peers:
  box: {proxy: "PROXY", models: [m, far, stopped]}
"""
THERE: dict[str, dict[str, Any]] = {
    "m": {"state": "ready", "in_flight": 2, "waiting": 1, "ttl": 60},
    "far": {"state": "starting"},
    "of others": {"state": "ready"},
    "its own peer's": {"state": "ready", "peer": "x"},
}
BESIDE = {"cmd": "", "proxy": "", "description": "", "peer": "box"}


@contextmanager
def looked_at() -> Iterator[World]:
    """A server that has looked at its peer once."""
    with World(Box(running=running(**THERE)), config=CONFIG) as world:
        world.app.peers.change(world.app.config)
        wait_until(lambda: world.app.peers.states()["box"].is_up is True)
        yield world


def rows(world: World, head: bytes = b"") -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = json.loads(world.ask(get("/running", extra=head))[1])["running"]
    return told


def test_what_runs_at_peers_is_listed_by_the_names_that_it_has_here() -> None:
    with looked_at() as world:
        world.controller.running = [Running("z", 1, "ready"), Running("m", 2, "ready")]
        far, m, own, z = rows(world)
    figures = {"in_flight": 0, "waiting": 0, "ttl": 0}
    assert far == {"model": "box/far", "state": "starting", "name": "box: far", **BESIDE, **figures}
    figures = {"in_flight": 2, "waiting": 1, "ttl": 60}
    assert m == {"model": "box/m", "state": "ready", "name": "box: m", **BESIDE, **figures}
    assert [(row["model"], "peer" in row) for row in (own, z)] == [("m", False), ("z", False)]


def test_a_llamaswap_that_asks_is_told_what_runs_on_this_box_alone() -> None:
    with looked_at() as world:
        world.controller.running = [Running("m", 1, "ready")]
        assert [row["model"] for row in rows(world, b"Via: 1.1 llamaswap-0123456789abcdef\r\n")] == ["m"]
        assert len(rows(world, b"Via: 1.1 nginx\r\n")) == 3
