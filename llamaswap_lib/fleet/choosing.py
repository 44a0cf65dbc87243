"""Which of several places gets a request: pure functions of what is known of them.

A place is a model on a box: this machine, or a peer. Each function orders places, the best first; those behind it are
who is asked if it cannot answer. Any thread; the program and a simulation of it use the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

from llamaswap_lib.fleet.states import OTHER, PeerState

MOST_COLD = 8  # boxes of the hash order on which a model is loaded: its replicas stay together
HERE = ""  # the box that is this machine
BOUND = 5, 4  # a place that holds sessions has at most so many times its share of the requests, rounded up


class Place(NamedTuple):
    """A model on a box, as a request may find it there."""

    target: str  # its name in the configuration
    is_up: bool
    is_ready: bool
    is_warm: bool  # ready, on its way to be, or in use by a request of ours
    requests: int  # inside it, and those that wait for it
    busy_models: int = 0  # models of its box that have requests
    has_room: bool = True  # for one more that is in use, as far as was seen


def place_of(target: str, model: str, state: PeerState, ours: Mapping[str, int]) -> Place:
    """The place of `model` on a box; `ours` are our own requests by the name of each model there.

    What a peer has told is a second old, and our own requests are among those that it told of. `with_use` has the rest.
    """
    there = state.models.get(model)
    if there is None and state.aliases:
        there = state.models.get(state.aliases.get(model, ""))
    is_elsewhere = state.kind == OTHER  # a server that does not swap: all it has is ready
    own = ours.get(model, 0)
    if there is None:
        return Place(target, state.is_up is not False, is_elsewhere, is_elsewhere or own > 0, own)
    is_ready = is_elsewhere or there.state == "ready"
    is_warm = is_ready or own > 0 or there.state == "starting"
    return Place(target, state.is_up is not False, is_ready, is_warm, max(own, there.in_flight + there.waiting))


def with_use(place: Place, state: PeerState, ours: Mapping[str, int]) -> Place:
    """The same with what is in use of its box, which takes longer to find out."""
    busy = {name for name, one in state.models.items() if one.in_flight or one.waiting}
    busy.update(name for name, count in ours.items() if count)
    most = state.most_models if state.has_swapped else state.most_models + 1  # it was not seen to be full yet
    return place._replace(busy_models=len(busy), has_room=len(busy) < max(1, most))


def hash_order(name: str, boxes: Iterable[str]) -> list[str]:
    """The boxes in an order that `name` alone decides (rendezvous hashing).

    Fronts that know nothing of each other, and call their boxes the same, agree on it; a box that comes or goes moves
    the models of that box and no others.
    """
    return sorted(boxes, key=lambda box: blake2b(f"{box}\0{name}".encode(), digest_size=8).digest())


def by_key(key: str, requests: Mapping[str, int], few: int = 0) -> list[str]:
    """The names of places in the order that `key` decides, but those that have their bound of `requests` come last.

    Consistent hashing with bounded loads: the first gets the request, and so no place has more than BOUND times its
    share of all requests, this one counted; there is always one that has less. `few` are no more than it may have in
    any case. Fronts that know nothing of each other agree on the order, and a place that goes moves only what it had.
    """
    times, of = BOUND
    most = max(few, -(-times * (sum(requests.values()) + 1) // (of * max(1, len(requests)))))
    return sorted(hash_order(key, requests), key=lambda name: requests[name] >= most)


def _as_it_is(place: Place) -> Place:
    return place


def spread(
    places: Sequence[Place], spillover: int, key: str = "", measured: Callable[[Place], Place] = _as_it_is
) -> list[Place]:
    """Where the model is ready and has fewer than `spillover` requests, the least busy first; else on one box more.

    `places` are in the hash order. One box more is the least busy of the first of that order on which the model does
    not run; it is taken only if it has room for a model beside those that are in use there, or if the model runs
    nowhere. `key`: of a session, say; of the places where the model is ready the one that it decides is taken in place
    of the least busy. Half of `spillover` is few then: what a box has told may be over by now, and among a few requests
    that would move a session for nothing. `measured` says of a place what is in use of its box.
    """
    up = [place for place in places if place.is_up] or list(places)
    out = [place for place in places if not place.is_up] if len(up) < len(places) else []
    warm = sorted((place for place in up if place.is_warm), key=lambda place: (not place.is_ready, place.requests))
    cold = [place for place in up if not place.is_warm]
    best = next((place for place in warm if place.requests < spillover), None)
    if best is None:
        cold[:MOST_COLD] = map(measured, cold[:MOST_COLD])
        best = min(cold[:MOST_COLD], key=lambda place: place.busy_models, default=None)
        if best is None or (warm and not best.has_room):
            best = min(warm, key=lambda place: place.requests, default=None)
    if key:
        ready = {place.target: place for place in warm if place.is_ready}
        order = by_key(key, {target: place.requests for target, place in ready.items()}, spillover // 2)
        warm = [*map(ready.__getitem__, order), *(place for place in warm if not place.is_ready)]
        best = warm[0] if best is not None and best.is_ready else best
    others = [place for place in (*warm, *cold, *out) if place is not best]
    return others if best is None else [best, *others]


def failover(places: Sequence[Place]) -> list[Place]:
    """The first that is up, then the others in their order; those that are out come last."""
    return sorted(places, key=lambda place: not place.is_up)
