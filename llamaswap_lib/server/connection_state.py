"""What a client's connection does, and the table of its legal moves.

Pure; thread `loop`.
"""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """What a connection does."""

    SHAKING_HANDS = auto()  # TLS begins
    IDLE = auto()  # no request has begun
    IN_HEAD = auto()  # the rest of a head is waited for
    SERVED = auto()  # a request is being served
    LINGERING = auto()  # its client has all that it will get, and may still send
    CLOSED = auto()  # nothing is left of it

    __hash__ = object.__hash__  # members are single; that of Enum is a call into Python


_TARGETS = {
    State.SHAKING_HANDS: (State.IDLE, State.LINGERING, State.CLOSED),
    State.IDLE: (State.IN_HEAD, State.SERVED, State.LINGERING, State.CLOSED),
    State.IN_HEAD: (State.SERVED, State.LINGERING, State.CLOSED),
    State.SERVED: (State.IDLE, State.IN_HEAD, State.SERVED, State.LINGERING, State.CLOSED),
    State.LINGERING: (State.CLOSED,),
    State.CLOSED: (),
}
MOVES = {state: {target: target for target in targets} for state, targets in _TARGETS.items()}  # KeyError: not legal
