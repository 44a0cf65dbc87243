"""The peers: which of them are up, what runs there, and how many requests are in it.

A handler thread. What looks have found is published: nobody is asked for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llamaswap_lib.activity.exposition import Family, gauge
from llamaswap_lib.app import App
from llamaswap_lib.config.schema import PeerModel
from llamaswap_lib.config.sections import Peer
from llamaswap_lib.fleet.states import UNKNOWN, PeerState
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.typed_yaml.secrets import mask_text, visible


def serve_peers(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/peers."""
    states = app.peers.states()
    rows = [_row(app, name, peer, states.get(name, UNKNOWN)) for name, peer in app.config.peers.items()]
    exchange.answer_json({"peers": rows})


def _row(app: App, name: str, peer: Peer, state: PeerState) -> dict[str, Any]:
    models = [{"model": model, **there._asdict()} for model, there in sorted(state.models.items())]
    return {
        "peer": name,
        "address": mask_text(visible(peer.proxy)),
        "up": state.is_up,
        "since": None if state.is_up is None else app.wall_clock.text(state.since),
        "last_error": state.last_error or None,
        "kind": state.kind or None,
        "models": models,
        "in_flight": sum(there.in_flight for there in state.models.values()),
        "waiting": sum(there.waiting for there in state.models.values()),
    }


def rows_of_peers(app: App) -> Iterator[dict[str, Any]]:
    """For `/running`: the models that run at peers, each by the name that it has here; those without one are left out.

    Every page may read that route, so it says of a peer no more than `/v1/models` does: neither its address nor what it
    has for others.
    """
    states = app.peers.states()
    for peer_id in app.config.peers:
        for model, there in states.get(peer_id, UNKNOWN).models.items():
            name = f"{peer_id}/{model}"
            if app.config.resolve_peer(name) == PeerModel(peer_id, model):
                texts = {"cmd": "", "proxy": "", "name": f"{peer_id}: {model}", "description": ""}
                yield {"model": name, "peer": peer_id, **texts, **there._asdict()}


def families(app: App) -> Iterator[Family]:
    """For `/metrics`; one that was not looked at yet is left out."""
    states = app.peers.states()
    known = {name: state for name in app.config.peers if (state := states.get(name, UNKNOWN)).is_up is not None}
    if known:
        yield gauge(
            "llamaswap_peer_up",
            "1 for a peer that answers looks at it, 0 for one that does not.",
            [((("peer", name),), int(bool(state.is_up))) for name, state in sorted(known.items())],
        )
