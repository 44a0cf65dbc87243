"""One life of a model's process, as the scheduler sees it: its state, and the legal moves between states.

Pure. `MOVES` is the only place that says which state may follow which. There is no state for a run that has exited.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class RunState(Enum):
    """The states of a run; `public_name` is what `/running` shows."""

    STARTING = "starting"  # it loads
    READY = "ready"  # requests may enter
    DRAINING = "draining"  # shut for somebody who has waited too long; may return to READY
    UNLOADING = "unloading"  # shut for good, finishing what is inside
    STOPPING = "stopping"  # told to end
    FALLING_ASLEEP = "falling asleep"  # told to sleep, in place of an end
    SLEEPING = "sleeping"  # its server is there, has given back most of its memory, and serves nobody
    WAKING = "waking"  # told to wake: a load

    @property
    def is_leaving(self) -> bool:
        """Whether it is on its way out: it will never serve again, or not before it was asleep."""
        return self in (RunState.UNLOADING, RunState.STOPPING, RunState.FALLING_ASLEEP)

    @property
    def is_loading(self) -> bool:
        """Whether it will serve as soon as it is ready."""
        return self in (RunState.STARTING, RunState.WAKING)

    @property
    def can_wake(self) -> bool:
        """Whether it sleeps, or is about to."""
        return self in (RunState.FALLING_ASLEEP, RunState.SLEEPING)

    @property
    def is_up(self) -> bool:
        """Whether it may serve more."""
        return self in (RunState.READY, RunState.DRAINING)

    @property
    def is_serving(self) -> bool:
        """Whether requests may be inside."""
        return self.is_up or self is RunState.UNLOADING

    @property
    def public_name(self) -> str:
        """The word for it in `/running`."""
        return _PUBLIC_NAMES.get(self.value, self.value)

    @property
    def phase(self) -> str:
        """What `/running` says beside that word, which clients know who know nothing of sleep; '' for nothing."""
        return "sleeping" if self.can_wake else "waking" if self is RunState.WAKING else ""


_PUBLIC_NAMES = {
    "draining": "ready",
    "unloading": "stopping",
    "falling asleep": "stopping",
    "sleeping": "stopped",
    "waking": "starting",
}
_OUT = frozenset({RunState.UNLOADING, RunState.STOPPING, RunState.FALLING_ASLEEP})
MOVES: dict[RunState, frozenset[RunState]] = {
    RunState.STARTING: frozenset({RunState.READY, RunState.STOPPING}),
    RunState.READY: _OUT | {RunState.DRAINING},
    RunState.DRAINING: _OUT | {RunState.READY},
    RunState.UNLOADING: frozenset({RunState.STOPPING}),
    RunState.STOPPING: frozenset(),
    RunState.FALLING_ASLEEP: frozenset({RunState.SLEEPING, RunState.STOPPING}),
    RunState.SLEEPING: frozenset({RunState.WAKING, RunState.STOPPING}),
    RunState.WAKING: frozenset({RunState.READY, RunState.STOPPING}),
}


class Silence(NamedTuple):
    """A run gave no sign of life since `since`: `what` it did not do, and the `proof` that it hangs, '' for none."""

    since: float
    what: str
    proof: str

    def describe(self, now: float) -> str:
        return f"{self.what} for {now - self.since:.0f} s"


@dataclass(slots=True)
class Run:
    """One life of a process. Times are monotonic seconds.

    What `deadline` means depends on the state. STARTING: until when it may be queued. READY: when to look whether its
    ttl is over. SLEEPING: when that is so. UNLOADING: when to stop it even if requests are inside (None if it is
    retired). STOPPING: when to kill it.
    """

    run_id: int
    model: str
    incarnation: int
    started_at: float
    state: RunState = RunState.STARTING
    ready_at: float | None = None
    deadline: float | None = None
    is_new: bool = False  # it has just loaded, and the requests that joined the load are not admitted yet
    is_open: bool = False  # what its gate was last told
    is_watched: bool = False  # it was busy, and its gate will tell when it is idle: no need to ask before
    has_news: bool = False  # it is shut, and may have emptied since it was last asked
    is_retired: bool = False  # its model was removed from the configuration, or has changed there
    has_died: bool = False  # its first process exited by itself, and other processes of it are left
    check_at: float | None = None  # when to begin to check whether it is alive, if it is still in the way then
    is_checked: bool = False  # it is being checked, because a request waits for it to stop
    silence: Silence | None = None  # what these checks found
    inside: int = 0  # how many requests it had when it was last asked, and how many were let in by ticket since
    gpus: tuple[str, ...] = ()  # that were chosen for it when it was started, by name
    loading_since: float = 0.0  # from when on the time counts in which it is to be ready
    is_queued: bool = False  # it has yet to say where it listens, and may wait for a machine until then
    queued_at: float | None = None  # when it has said first what it waits for while it is queued
    is_preloaded: bool = False  # it was started for nobody
    reason: str = ""  # what it waits for while it is queued, as it says itself
    address: str = ""  # where it listens, if it says so itself, as it did last
    is_moving: bool = False  # it has served, and now listens elsewhere, where it is not known to be ready yet
    idle_since: float = 0.0  # when the last request had left; without meaning before it was asked
    asleep_since: float | None = None  # while it sleeps, and to its end if that is stopped: it is in nobody's way
    woken_at: float | None = None  # when it was told to wake last
    load_took: float = 0.0  # seconds, or its last wake
    is_here: bool = False  # it listens on this machine, as it said itself
    is_unreachable: bool = False  # its server is being looked for, and nobody enters meanwhile
    others_left_at: float = 0.0  # when one was gone last that might have made room for it while it is queued

    @property
    def is_probed(self) -> bool:
        """Whether it is looked for, and is to be ready soon."""
        return (self.state.is_loading and not self.is_queued) or (self.is_moving and self.state.is_up)

    @property
    def phase(self) -> str:
        """What it does, where its state does not say it."""
        if self.is_queued and self.state is RunState.STARTING:
            return "queued"
        if self.is_unreachable and self.state.is_up:
            return "unreachable"
        return "moving" if self.is_moving and self.state.is_up else self.state.phase

    @property
    def public_state(self) -> str:
        """The word of `/running`. One that moves is, for who looks from outside, as one that starts."""
        return RunState.STARTING.value if self.is_probed else self.state.public_name

    @property
    def is_untimed(self) -> bool:
        """Whether it may take as long as its requests do to finish: if it hangs, for ever."""
        return self.state is RunState.UNLOADING and self.deadline is None

    def move(self, state: RunState, deadline: float | None = None) -> None:
        """Enter `state`; an illegal move is our own mistake."""
        assert state in MOVES[self.state], f"{self!r} cannot become {state.value}"
        self.state = state
        self.deadline = deadline
        self.is_open = False
        self.is_watched = False

    def __repr__(self) -> str:
        return f"<run {self.run_id} {self.model} #{self.incarnation} {self.state.value}{' open' * self.is_open}>"
