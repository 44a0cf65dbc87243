"""What a worker knows of peers: what its parent tells, and at once what it sees itself."""

from __future__ import annotations

from llamaswap_lib.config.schema import Config
from llamaswap_lib.config.sections import Peer
from llamaswap_lib.fleet.offers import Offer
from llamaswap_lib.fleet.states import LLAMASWAP, PeerState
from llamaswap_lib.workers.told_peers import Told, ToldPeers

UP = PeerState(True, kind=LLAMASWAP, offers=(Offer("m", "", {}, 0),))


def test_a_list_that_has_not_changed_stays() -> None:
    peers = ToldPeers({"box1": UP, "box2": UP}, lambda _name, _error: None)
    busier = UP._replace(most_models=2, offers=None)
    peers.take({"box1": Told(busier, has_same_offers=True), "box2": Told(busier, has_same_offers=False)})
    assert peers.states() == {"box1": busier._replace(offers=UP.offers), "box2": busier}


def test_one_that_takes_no_connection_is_out_at_once_and_the_parent_knows() -> None:
    told: list[tuple[str, str]] = []
    peers = ToldPeers({"box1": UP, "box2": UP}, lambda name, error: told.append((name, error)))
    peers.note_refused("box1", "connection refused")
    assert told == [("box1", "connection refused")]
    assert [state.is_usable for state in peers.states().values()] == [False, True]
    peers.take({"box1": Told(UP, has_same_offers=False)})
    assert peers.states()["box1"].is_usable


def test_those_that_are_configured_no_more_are_forgotten() -> None:
    peers = ToldPeers({"box1": UP, "box2": UP}, lambda _name, _error: None)
    peers.change(Config(peers={"box2": Peer(), "box3": Peer()}))
    assert {name: state.is_up for name, state in peers.states().items()} == {"box2": True, "box3": None}
