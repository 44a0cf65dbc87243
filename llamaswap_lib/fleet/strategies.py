"""The strategies `spread` and `failover` of selectors and pools: what is chosen of, and the requests that count.

Any thread; each choice is made, and given back, under the one lock of the counts, which all of them share: a request
that went to a box by one name is one that it has for all others.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llamaswap_lib.fleet.choosing import Place, failover, hash_order, place_of, spread, with_use
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
        self._most_here = 0  # models that were seen to run on this machine at the same time

    def here(self, models: Mapping[str, ModelThere]) -> PeerState:
        """This machine as a box, with the models that run here. It has as much room as was seen."""
        with self.lock:
            self._most_here = most = max(self._most_here, len(models))
        return PeerState(True, kind=LLAMASWAP, models=models, most_models=most, has_swapped=True)

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
        self._is_spread = strategy == "spread"
        self._spillover = spillover
        if self._is_spread:
            self._targets = [target for box in hash_order(name, by_box) for target in by_box[box]]
        self._by_name = {target.name: target for target in targets}
        self._counts = counts
        self._is_in_house = is_in_house

    def preview(self, _states: object, boxes: Mapping[str, PeerState]) -> list[str]:
        with self._counts.lock:
            return self._choose(boxes, "")

    def begin(self, _states: object, boxes: Mapping[str, PeerState], key: str = "") -> list[str]:
        """The names of all targets, the best first: a request goes there now. `key` holds it to a box."""
        with self._counts.lock:
            names = self._choose(boxes, key)
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

    def _choose(self, boxes: Mapping[str, PeerState], key: str) -> list[str]:
        ours = self._counts.of
        places = []
        for target in self._targets:
            state = boxes.get(target.box, UNKNOWN)
            if not self._is_in_house or state.kind == LLAMASWAP:
                places.append(place_of(target.name, target.model, state, ours(target.box)))

        def measured(place: Place) -> Place:
            box = self._by_name[place.target].box
            return with_use(place, boxes.get(box, UNKNOWN), ours(box))

        ordered = spread(places, self._spillover, key, measured) if self._is_spread else failover(places)
        return [place.target for place in ordered]
