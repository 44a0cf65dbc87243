"""How an upgrade goes, as the old process and the new one see it: the tables of legal moves. Pure.

The old process starts the new one, and waits until that has read its configuration. Then it decides nothing more and
sends its state, from which the new one builds itself. Up to here it can go on as if nothing had been. COMMIT is the one
moment after which nobody goes back: from then on the new process decides and serves, and the old one retires.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple


class News(str, Enum):
    """What is heard of. Where the other process says it, this is the kind of its message."""

    PREPARED = "prepared"  # the new one: it has read its configuration
    STATE = "state"  # the old one: this is how things are
    READY = "ready"  # the new one: it is built
    COMMIT = "commit"  # the old one: serve
    COMMITTED = "committed"  # the new one: it does
    GONE = "gone"  # the other process has ended
    LATE = "late"  # the time is over
    CALLED_OFF = "called off"  # the old process is told to end
    BROKEN = "broken"  # something of ours has failed, or the other process has said what does not belong here


LEFT = "left"  # what the old process says in between: how many requests it still has, which changes no phase


class Old(Enum):
    """Phases of the old process."""

    STARTING = "starting"  # the new one reads its configuration
    FROZEN = "frozen"  # nothing is decided; the new one is built
    COMMITTED = "committed"  # the new one decides; that it serves is not known yet
    RETIRING = "retiring"  # requests that were begun here end here
    ALONE = "alone"  # the same, and the new one has ended
    FAILED = "failed"  # there was no upgrade


class New(Enum):
    """Phases of the new process."""

    PREPARED = "prepared"  # it waits for the state
    BUILDING = "building"
    READY = "ready"  # it waits for the word to serve
    SERVING = "serving"
    ALONE = "alone"  # the same, and the old one has ended
    ENDING = "ending"  # the old one has ended too soon


class Deed(Enum):
    """What the old process does at a move."""

    FREEZE = "freeze"  # decide nothing more, and send the state
    RETIRE = "retire"  # say COMMIT, and begin nothing new
    GIVE_UP = "give up"  # end the new one
    RESUME = "resume"  # the same, and decide again


class Move(NamedTuple):
    """Where it leads to, and what is done on the way."""

    phase: Old
    deed: Deed | None = None


DECIDED = (Old.RETIRING, Old.ALONE, Old.FAILED)
_FAILURES = (News.GONE, News.LATE, News.CALLED_OFF, News.BROKEN)
OLD_MOVES: Mapping[tuple[Old, News], Move] = {
    (Old.STARTING, News.PREPARED): Move(Old.FROZEN, Deed.FREEZE),
    (Old.FROZEN, News.READY): Move(Old.COMMITTED, Deed.RETIRE),
    (Old.COMMITTED, News.COMMITTED): Move(Old.RETIRING),
    (Old.COMMITTED, News.LATE): Move(Old.RETIRING),
    (Old.COMMITTED, News.CALLED_OFF): Move(Old.RETIRING),
    (Old.COMMITTED, News.BROKEN): Move(Old.RETIRING),
    (Old.COMMITTED, News.GONE): Move(Old.ALONE),
    (Old.RETIRING, News.GONE): Move(Old.ALONE),
    **{(Old.STARTING, failure): Move(Old.FAILED, Deed.GIVE_UP) for failure in _FAILURES},
    **{(Old.FROZEN, failure): Move(Old.FAILED, Deed.RESUME) for failure in _FAILURES},
}
NEW_MOVES: Mapping[tuple[New, News], New] = {
    (New.PREPARED, News.STATE): New.BUILDING,
    (New.BUILDING, News.READY): New.READY,
    (New.READY, News.COMMIT): New.SERVING,
    (New.SERVING, News.GONE): New.ALONE,
    **{(phase, News.GONE): New.ENDING for phase in (New.PREPARED, New.BUILDING, New.READY)},
}


def move(phase: Old, news: News) -> Move:
    """What the old process does about news; those that do not belong to a phase before COMMIT end the upgrade."""
    return OLD_MOVES.get((phase, news)) or OLD_MOVES.get((phase, News.BROKEN)) or Move(phase)
