"""The strategies `spread` and `failover` of selectors and pools: what is chosen of, and the requests that count.

Any thread; each choice is made, and given back, under the one lock of the counts, which all of them share: a request
that went to a box by one name is one that it has for all others.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from llamaswap_lib.fleet.choosing import HERE, Place, failover, hash_order, place_of, spread
from llamaswap_lib.fleet.states import LLAMASWAP, UNKNOWN, ModelThere, PeerState

OUT = "out"  # the state of the models of a peer that is


class Target(NamedTuple):
    """A target of a selector: what it is called, and the box (HERE or a peer) and the model there that it leads to."""

    name: str
    box: str
    model: str


class Counts:
    """Our requests that are in progress, by box and by model; a box or a model without any is not in it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # held to read or change what follows
        self._by_box: dict[str, Counter[str]] = {}
        self.most_here = 0  # models that were seen to run on this machine at the same time

    def of(self, box: str) -> Mapping[str, int]:
        return self._by_box.get(box, {})

    def add(self, target: Target, number: int) -> None:
        counts = self._by_box.setdefault(target.box, Counter())
        counts[target.model] += number
        if not counts[target.model]:
            del counts[target.model]


class Fleet:
    """Chooses among targets on several boxes."""

    def __init__(
        self,
        name: str,
        targets: Sequence[Target],
        counts: Counts,
        strategy: str,
        spillover: int,
        *,
        is_in_house: bool = False,
    ) -> None:
        """`name` is that of the selector: the model, for the hash order.

        `is_in_house`: peers that are not known to be llamaswaps get nothing: they may be somebody else's.
        """
        by_box: dict[str, list[Target]] = {}
        for target in targets:
            by_box.setdefault(target.box, []).append(target)
        self._targets = list(targets)
        self._order: Callable[[Sequence[Place], str], list[Place]] = lambda places, _: failover(places)
        if strategy == "spread":
            self._targets = [target for box in hash_order(name, by_box) for target in by_box[box]]
            self._order = lambda places, key: spread(places, spillover, key)
        self._by_name = {target.name: target for target in targets}
        self._counts = counts
        self._is_in_house = is_in_house

    def preview(self, states: Mapping[str, str], peers: Mapping[str, PeerState]) -> list[str]:
        with self._counts.lock:
            return self._choose(states, peers, "")

    def begin(self, states: Mapping[str, str], peers: Mapping[str, PeerState], key: str = "") -> list[str]:
        """The names of all targets, the best first: a request goes there now. `key` holds it to a box."""
        with self._counts.lock:
            names = self._choose(states, peers, key)
            self._counts.add(self._by_name[names[0]], 1)
        return names

    def take(self, name: str) -> None:
        """A request goes to that target."""
        with self._counts.lock:
            self._counts.add(self._by_name[name], 1)

    def free(self, name: str) -> None:
        """A request to that target has ended."""
        with self._counts.lock:
            self._counts.add(self._by_name[name], -1)

    def _choose(self, states: Mapping[str, str], peers: Mapping[str, PeerState], key: str) -> list[str]:
        here = PeerState(True, kind=LLAMASWAP, models={model: ModelThere(state) for model, state in states.items()})
        self._counts.most_here = max(self._counts.most_here, _number_here(states, peers))
        here = here._replace(most_models=self._counts.most_here)
        places = []
        for target in self._targets:
            state = here if target.box == HERE else peers.get(target.box, UNKNOWN)
            if self._is_in_house and state.kind != LLAMASWAP:
                continue
            places.append(place_of(target.name, target.model, state, self._counts.of(target.box)))
        return [place.target for place in self._order(places, key)]


def _number_here(states: Mapping[str, str], peers: Mapping[str, PeerState]) -> int:
    """How many models run on this machine: `states` has those of peers, too."""
    return sum(state != OUT for state in states.values()) - sum(len(known.models) for known in peers.values())
