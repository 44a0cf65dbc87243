"""The names that requests may ask for, and what is wrong with one that leads nowhere.

Pure, any thread. Made once from the configuration; what the active profile pins is said with each question. Guarantees:
a name is never said to be unknown where it is known and of no use on this route; an offered name leads somewhere there;
the cost has a bound that does not grow with the text that a client sends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import Enum, auto

from llamaswap_lib.config.schema import Config
from llamaswap_lib.errors import NotFound
from llamaswap_lib.nearest import Nearest

MOST_SHOWN = 100  # characters of a name that a client sent
MOST_LISTED = 5
NO_PINS: Mapping[str, str] = {}


class Reach(Enum):
    """Which names lead somewhere on a route."""

    ANY = auto()  # models of ours and of peers, selectors, what the active profile pins
    MODELS = auto()  # no selectors, and no pools: /upstream
    LOADS = auto()  # models of ours and of peers, pools: loading and unloading by hand


class Names:
    """All names of one configuration; `destinations` are those that lead to one model and no other."""

    def __init__(self, config: Config, destinations: Collection[str]) -> None:
        self._config = config
        local = [*config.models, *config.aliases]
        models = dict.fromkeys([*local, *destinations])
        loads = dict.fromkeys([*models, *config.pools])
        ordered = tuple(dict.fromkeys([*loads, *config.selectors]))
        self._nearest = Nearest(ordered)
        self._counts = {Reach.MODELS: len(models), Reach.LOADS: len(loads), Reach.ANY: len(ordered)}
        self._most_slashes = max((name.count("/") for name in ordered), default=0)

    def most_slashes(self, pins: Mapping[str, str] = NO_PINS) -> int:
        """In any name that leads somewhere."""
        return max([self._most_slashes, *(name.count("/") for name in pins)])

    def unknown(self, name: str, reach: Reach, pins: Mapping[str, str] = NO_PINS) -> NotFound:
        """The error for a name that leads nowhere on a route of that reach: what is wrong with it, or names near it."""
        known = self._explain(name, reach, pins)
        if known and reach is Reach.ANY:
            return NotFound(known)
        if not known:
            known = _shown(name)
            if nearest := self._near(name, reach, pins):
                known += f"; did you mean {_listed(nearest)}?"
        return NotFound(f"model not found: {known}")

    def _near(self, name: str, reach: Reach, pins: Mapping[str, str]) -> list[str]:
        nearest = self._nearest.find(name, self._counts[reach])
        if pins and reach is not Reach.LOADS:
            on = [pin for pin, target in pins.items() if target]
            off = {pin for pin, target in pins.items() if not target}
            nearest = Nearest([other for other in dict.fromkeys([*nearest, *on]) if other not in off]).find(name)
        return nearest

    def _explain(self, name: str, reach: Reach, pins: Mapping[str, str]) -> str:
        """What keeps a name from leading somewhere that is known all the same; '' for one that is not known."""
        shown = _shown(name)
        if name in pins and reach is not Reach.LOADS:
            return self._explain_pin(shown, pins[name], reach)
        if name in self._config.selectors and reach is not Reach.ANY:
            return f"{shown} is a selector; {self._targets_of(name)}"
        if offered := self._explain_peers(name, shown):
            return offered
        if pins.get(name):
            return f"{shown} is a name of the active profile; name the model that it leads to: {pins[name]!r}"
        return ""

    def _explain_pin(self, shown: str, target: str, reach: Reach) -> str:
        if not target:
            return f"{shown} is switched off by the active profile"
        if target in self._config.selectors and reach is not Reach.ANY:
            return f"the active profile leads {shown} to the selector {target!r}; {self._targets_of(target)}"
        return f"the active profile leads {shown} to {target!r}, and there is no such model"

    def _targets_of(self, selector: str) -> str:
        return f"name one of its models: {_listed(self._config.selectors[selector].targets)}"

    def at_peers(self, name: str, why: str) -> str:
        """Why a model of peers is not for this server to load, unload or show the log of; '' where it is none."""
        peers = self._peers_of(name)
        return f"{_shown(name)} is a model of {_peers_text(peers)}{why}" if peers else ""

    def _explain_peers(self, name: str, shown: str) -> str:
        peers = self._peers_of(name)
        if not peers:
            return ""
        return f"{shown} is offered by {_peers_text(peers)}: use {_listed([f'{peer}/{name}' for peer in peers])}"

    def _peers_of(self, name: str) -> list[str]:
        full = self._config.peer_models.get(name)
        return [full.peer] if full else [peer for peer, about in self._config.peers.items() if name in about.models]


def _shown(name: str) -> str:
    """A name that a client sent, in quotes; nothing unprintable goes out, and nothing long."""
    return repr(name if len(name) <= MOST_SHOWN else name[:MOST_SHOWN] + "…")


def _peers_text(peers: Sequence[str]) -> str:
    return f"the peer {peers[0]!r}" if len(peers) == 1 else f"the peers {_listed(peers, 'and')}"


def _listed(names: Sequence[str], word: str = "or") -> str:
    """`'a', 'b' or 'c'`; of many the first."""
    *most, last = [repr(name) for name in names[:MOST_LISTED]]
    if len(names) > MOST_LISTED:
        return f"{', '.join([*most, last])}, …"
    return f"{', '.join(most)} {word} {last}" if most else last
