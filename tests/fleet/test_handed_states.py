"""What another process knew of peers: it counts until the first look, and nobody waits for that."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.config.load import load_text
from llamaswap_lib.config.schema import Config
from llamaswap_lib.fleet.offers import Offer
from llamaswap_lib.fleet.states import LLAMASWAP, UNKNOWN, PeerState, after_failure, after_list, after_success
from llamaswap_lib.fleet.watching import Fleet
from llamaswap_lib.runtime.forward_proxies import NO_PROXIES
from llamaswap_lib.runtime.logs.server_logs import Logs
from tests.fleet.boxes import Box, running
from tests.web.upstreams import wait_until
from tests.web.world import DEADLINE, Peer, Upstream, sized

UP = after_list(after_success(UNKNOWN, 1.0, LLAMASWAP, {}), (Offer("m", "", {}, 0),))
OUT = after_failure(after_failure(UP, 2.0, "no"), 3.0, "no")


def config_of(proxy: str, store: Path | None = None) -> Config:
    kept = {} if store is None else {"store": {"path": str(store)}}
    return load_text(json.dumps({"peers": {"box": {"proxy": proxy, "models": "auto"}}, **kept}))


def fleet_at(proxy: str, state: PeerState, logs: Logs) -> Fleet:
    """One that has taken over from a process which knew that."""
    nothing: Callable[..., Any] = lambda *_: None  # noqa: E731
    return Fleet(NO_PROXIES, logs.log, nothing, nothing, before={"box": (proxy, state)})


@pytest.mark.parametrize("state", [UP, OUT], ids=["up", "out"])
def test_it_counts_for_a_peer_at_the_same_address_and_nobody_waits_for_its_list(state: PeerState) -> None:
    may_answer = threading.Event()

    def silent(_peer: Peer) -> None:
        assert may_answer.wait(DEADLINE)

    upstream, logs = Upstream(silent), Logs(to_stdout="none", stdout=None)
    fleet = fleet_at(upstream.proxy, state, logs)
    try:
        fleet.change(config_of(upstream.proxy))
        assert fleet.states()["box"] == state
        fleet.wait_for_lists(DEADLINE)
        assert not may_answer.is_set()
        assert fleet.states()["box"] == state
        fleet.change(config_of("http://127.0.0.1:9"))
        assert fleet.states()["box"].offers is None
    finally:
        may_answer.set()
        fleet.close()
        upstream.close()
        logs.close()


def test_a_list_that_the_other_process_has_not_kept_is_kept_once_it_is_said_again(tmp_path: Path) -> None:
    box = Box(running=running())
    box.answers["/v1/models"] = sized(json.dumps({"data": [{"id": "m"}]}).encode())
    upstream, logs, kept = Upstream(box), Logs(to_stdout="none", stdout=None), tmp_path / "a.db.peers.json"
    fleet = fleet_at(upstream.proxy, UP, logs)
    try:
        fleet.change(config_of(upstream.proxy, tmp_path / "a.db"))
        wait_until(lambda: kept.exists() and '"m"' in kept.read_text())
    finally:
        fleet.close()
        upstream.close()
        logs.close()
