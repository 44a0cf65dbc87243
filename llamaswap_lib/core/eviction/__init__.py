"""Policies: (the model that is wanted, what runs) -> which models must be unloaded. Pure functions of their arguments.

`running` holds the names of the models that have a process, the target's own among them if it has one. Here are the
types that all policies share. A policy that the user has written gets `RunningModel`s; import that from here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why models must be unloaded for another one, as data: what the log says of a swap.

    `rule` is a clause for people, '' if no model must be unloaded. `set_name`, `expression` and `cost` are the choice
    of a matrix; a `set_name` of '' means that the model runs alone. `reasons` has a clause for each model that must be
    unloaded, if they differ. `room` is the memory that is lacking, if there is too little, and `for_room` are those of
    them that go for it.
    """

    rule: str
    set_name: str = ""
    expression: str = ""
    cost: int | None = None
    reasons: Mapping[str, str] = field(default_factory=dict, hash=False)
    room: str = ""
    for_room: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """What says so: `memory`, `matrix`, `group`, or `policy` for one of the user's own."""
        if self.room:
            return "memory"
        if self.cost is not None:
            return "matrix"
        return "group" if self.reasons else "policy"

    def __str__(self) -> str:
        return self.rule if self.cost is None else f"{self.rule}, cost {self.cost}"


@dataclass(frozen=True, slots=True)
class RunningModel:
    """A model that has a process, or is about to have one, as a policy sees it."""

    model: str
    state: str = "starting"
    """`starting`, `ready`, or `stopping`; `sleeping` of one that is about to be woken in its turn."""
    idle_seconds: float = 0.0
    """Since its last request ended; 0 while it serves one, or starts."""
    in_flight: int = 0
    """Requests inside it: its places in use."""
    load_seconds: float | None = None
    """How long it took to load, averaged in favour of the last times; None before the first."""
    ready_seconds: float = 0.0
    """Since it became ready; 0 while it starts."""
    is_planned: bool = False
    """It has no process yet, and is about to start in its turn."""
    gpus: tuple[str, ...] = ()
    """The names of the GPUs that were chosen for it; none where nothing was chosen."""
    asleep_since: float | None = None
    """When it fell asleep, in monotonic seconds; None of one that does not sleep."""


class NoRoom(NamedTuple):
    """Why a model cannot be loaded whatever goes for it. `is_final`: nor later, unless the configuration changes.

    `room` is the memory that it lacks, where others than models may give it back. `is_unread`: nothing is known of the
    memory yet, and soon will be. `is_elsewhere`: it sleeps where there is no room, and could start on other GPUs.
    """

    message: str
    is_final: bool
    room: str = ""
    is_unread: bool = False
    is_elsewhere: bool = False


class Relief(NamedTuple):
    """Models go though none asks for their room: for other programs (`yield`), or for one that has grown (`growth`).

    `models` are to go at once, `later` would help too and cannot go now. `reason` is for people.
    """

    kind: Literal["yield", "growth"]
    models: tuple[str, ...]
    later: tuple[str, ...]
    reason: str


class Placement(NamedTuple):
    """The GPUs that are chosen for a model, by name; `where` for people. None: nothing is chosen for it."""

    gpus: tuple[str, ...] = ()
    where: str = ""


NOWHERE = Placement()


class Shortfall(NamedTuple):
    """What a model that has run out of memory needs and what was free, in words; and whether it can have more."""

    text: str
    has_more: bool


class Unfreed(NamedTuple):
    """Memory that is not shown to be free yet, in words, and the models that have ended last there."""

    room: str
    after: tuple[str, ...]


class Room(Protocol):
    """What a policy that goes by memory is asked and told beside who goes; `running` and `staying` are the others.

    `gpus` are those that were chosen for it."""

    settle_timeout: float
    """Seconds from the end of a process for which its memory is waited for at most."""

    def unfreed(
        self, target: str, running: tuple[str, ...], gpus: tuple[str, ...], ended: Mapping[str, float]
    ) -> Unfreed | None:
        """What the target needs and its devices do not show yet. `ended`: model -> when its process was gone."""
        ...

    def heavy_sleepers(
        self, target: str, running: tuple[str, ...], gpus: tuple[str, ...], since: Mapping[str, float]
    ) -> tuple[str, ...]:
        """Those that have slept `since` then and hold what the target needs, as few as will do, as far as was read."""
        ...

    def note_start(self, target: str, running: tuple[str, ...], gpus: tuple[str, ...], *, is_early: bool) -> None:
        """It starts beside these; `is_early`: before its devices have shown that there is room."""
        ...

    def note_ready(self, target: str) -> None:
        """It had enough."""
        ...

    def note_out_of_memory(self, target: str, words: str, staying: tuple[str, ...]) -> Shortfall | None:
        """It had not, its log says. From now on it is taken to need more than what was free."""
        ...

    def forget(self, models: Collection[str]) -> None:
        """What they were short of says nothing any more."""
        ...

    def hand_over(self) -> Mapping[str, Mapping[str, int]]:
        """What models are taken to need since they were short of it: bytes by model and device, for `restore`."""
        ...

    def restore(self, floors: Mapping[str, Mapping[str, int]]) -> None: ...


Evict = Callable[[str, tuple[str, ...]], Collection[str]]
Explain = Callable[[str, tuple[str, ...]], Explanation]
"""Why the models that `Evict` names must be unloaded. Asked once for each swap."""
Observe = Callable[[Callable[[str], RunningModel], Callable[[str], bool]], None]
"""Is told what runs before each decision, for policies that go by more than names: see `own.OwnPolicy.observe`."""
Refuse = Callable[[str, tuple[str, ...]], NoRoom | None]
"""Why the model cannot be loaded even if all go that may; what runs and is to stay is the second argument."""
Relieve = Callable[[tuple[str, ...], Collection[str]], Relief | None]
"""Who goes though none asks for room: of those that run and are to stay, and those of them that may go if idle."""
Place = Callable[[str, tuple[str, ...]], Placement | None]
"""Where the model is put if it starts now, beside what is named; None if that needs others to go first."""


def unexplained(target: str, running: tuple[str, ...]) -> Explanation:
    """For a policy that does not explain itself."""
    del target, running
    return Explanation("decided by the policy")


class Rules(NamedTuple):
    """A policy, and what belongs to it.

    `observe` is None for a policy that goes by names alone: any thread may ask such a policy. `still`, where there is
    one, makes such rules for any thread of one that has to be told: with these models running. `stays`: seconds that a
    model stays after it was loaded, unless somebody has waited for `max_wait`.
    """

    evict: Evict
    explain: Explain = unexplained
    observe: Observe | None = None
    refuse: Refuse | None = None
    place: Place | None = None
    still: Callable[[Mapping[str, RunningModel]], Rules] | None = None
    stays: float = 0.0
    relieve: Relieve | None = None
    room: Room | None = None
