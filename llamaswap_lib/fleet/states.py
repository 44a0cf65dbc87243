"""What is known of each peer, and what a look or a request changes in that.

Pure, any thread: values that are never changed, only replaced. A peer is taken to be up until looks say otherwise, and
is out after two failed looks in a row or one connection of a request that could not be opened. One good look, and it is
in again. Times are monotonic, in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from types import MappingProxyType
from typing import Any, NamedTuple

from llamaswap_lib.fleet.offers import Offer, entries_of, offers_in

LLAMASWAP, OTHER = "llamaswap", "other"
EVERY = 1.0  # seconds between two looks at a llamaswap, and after a failure
EVERY_OTHER = 10.0  # at another server, which says no more than that it is there, and may be somebody else's
LONGEST_PAUSE = 15.0  # seconds between two looks at a peer that is out: 1, 2, 4, 8, 15
FAILURES_UNTIL_OUT = 2
SWAP = 5.0  # seconds from the end of a model within which another one that comes is taken to have its place
MOST_ERROR_CHARACTERS = 200


class ModelThere(NamedTuple):
    """A model that runs on a peer: `state` is starting, ready or stopping; `ttl` in seconds, 0 for none."""

    state: str
    in_flight: int = 0
    waiting: int = 0
    ttl: int = 0


NOTHING: Mapping[str, ModelThere] = MappingProxyType({})


class PeerState(NamedTuple):
    """A peer as it was at the last look. `is_up` is None before the first one."""

    is_up: bool | None = None
    since: float = 0.0  # when that began
    last_error: str = ""  # of the last look or request that failed, also where it is up again
    kind: str = ""  # LLAMASWAP or OTHER; '' while that is not known
    models: Mapping[str, ModelThere] = NOTHING  # those that run there
    most_models: int = 0  # that were seen to run there at the same time
    has_swapped: bool = False  # one of these went when another came: there is no room for more
    gone_at: float = -inf  # when one was last seen to go
    failures: int = 0  # in a row
    offers: tuple[Offer, ...] | None = None  # with `models: auto`, what its last list says; None before the first one
    aliases: Mapping[str, str] = MappingProxyType({})  # other name -> the model there, as far as its list says so

    def runs(self, model: str) -> bool:
        """Whether it said that this model, or the one of this alias, runs there."""
        return model in self.models or self.aliases.get(model) in self.models

    def state_of(self, model: str) -> str:
        """In which state it said that this model, or the one of this alias, runs there; '' where it did not."""
        one = self.models.get(model) or self.models.get(self.aliases.get(model, ""))
        return "" if one is None else one.state

    @property
    def is_usable(self) -> bool:
        """Whether to send it requests, while there is another one that could get them."""
        return self.is_up is not False

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        if self.is_up is False:
            doublings = max(0, min(self.failures, 9) - FAILURES_UNTIL_OUT)
            return min(EVERY * (1 << doublings), LONGEST_PAUSE)
        return EVERY if self.failures or self.kind == LLAMASWAP else EVERY_OTHER


UNKNOWN = PeerState()
Known = Mapping[str, tuple[str, PeerState]]
"""By the name of a peer: its address, and what is known of it."""


def described(state: PeerState) -> dict[str, Any]:
    """The same for JSON, for another process of this machine."""
    offers = None if state.offers is None else entries_of(state.offers)
    return {**state._asdict(), "models": dict(state.models), "offers": offers, "aliases": {}}


def read(told: Mapping[str, Any]) -> PeerState:
    """What was described; raises KeyError, TypeError and ValueError."""
    models = {name: ModelThere(*one) for name, one in told["models"].items()}
    offers, known = told["offers"], {name: told[name] for name in PeerState._fields if name in told}
    state = PeerState(**{**known, "models": models, "offers": None})
    return state if offers is None else after_list(state, offers_in(offers) or ())


def after_success(state: PeerState, now: float, kind: str, models: Mapping[str, ModelThere]) -> PeerState:
    """The look was answered: it is a peer of that kind, and these run there."""
    number = sum(one.state != "stopping" for one in models.values())
    is_leaving = any(name not in models or models[name].state == "stopping" for name in state.models)
    gone_at = now if is_leaving else state.gone_at
    has_swapped = state.has_swapped or (now - gone_at <= SWAP and not models.keys() <= state.models.keys())
    return state._replace(
        is_up=True,
        since=state.since if state.is_up else now,
        kind=kind,
        models=models,
        most_models=max(state.most_models, number),
        has_swapped=has_swapped and number <= state.most_models,
        gone_at=gone_at,
        failures=0,
    )


def after_list(state: PeerState, offers: tuple[Offer, ...]) -> PeerState:
    """It says that it has these."""
    return state._replace(offers=offers, aliases={offer.name: offer.alias_of for offer in offers if offer.alias_of})


def after_failure(state: PeerState, now: float, error: str) -> PeerState:
    """The look was not answered as it should be."""
    return _failed(state, now, error, state.failures + 1)


def after_refusal(state: PeerState, now: float, error: str) -> PeerState:
    """No connection could be opened for a request."""
    if state.is_up is False:
        return state
    out = _failed(state, now, error, FAILURES_UNTIL_OUT)
    return out._replace(failures=0)  # of looks: the next one is at once


def _failed(state: PeerState, now: float, error: str, failures: int) -> PeerState:
    failed = state._replace(last_error=error[:MOST_ERROR_CHARACTERS], failures=failures)
    if failures < FAILURES_UNTIL_OUT or state.is_up is False:
        return failed
    return failed._replace(is_up=False, since=now, models=NOTHING)
