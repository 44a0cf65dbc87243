"""A witness of who goes though none asks for room, with sums of its own, by the truth."""

from __future__ import annotations

from collections.abc import Collection

from llamaswap_lib.core import effects
from llamaswap_lib.core.effects import Effect
from llamaswap_lib.core.events import Event
from tests.core.books import Life
from tests.core.memory import MOMENT, MemoryWitness

ROOM = ("yield", "growth")


class PressureWitness(MemoryWitness):
    """The witness, and what is promised to other programs and to models that grow."""

    _asked: tuple[int, ...]  # the runs whose gates were asked for the room last
    _why: set[str]  # and for which kind of it, as far as they tell
    _relieved: int | None  # the run that is being stopped for it
    _grew: set[tuple[int, str]]

    def __post_init__(self) -> None:
        MemoryWitness.__post_init__(self)
        self._asked, self._why, self._relieved = (), set(), None
        self.changed_at = 0.0  # when the memory was otherwise last
        self._grew: set[tuple[int, str]] = set()  # runs that took more of a device, which has not had enough left since

    def note(self, event: Event) -> None:
        self._check_prompt()
        MemoryWitness.note(self, event)

    def note_growth(self, life: Life, device: str) -> None:
        """It has taken more."""
        if device in [*self._short("yield"), *self._short("growth")]:
            self._grew.add((life.run_id, device))

    def check(self, effect: Effect) -> None:
        match effect:
            case effects.StopProcess(run_id, kind, reason) if kind in ROOM:
                self._relieved = run_id
                self._check_relief(self.lives[run_id], kind, reason)
                self.disturbances += 1
            case _:
                self._relieved = None
        MemoryWitness.check(self, effect)

    def _is_over(self, life: Life) -> bool:
        return life.run_id == self._relieved or MemoryWitness._is_over(self, life)

    def _check_shut_question(self, question: effects.ShutIfIdle | effects.ShutGates) -> None:
        lives = [self.lives[run_id] for run_id in question.run_ids]
        is_for_room = isinstance(question, effects.ShutIfIdle) and not question.idle_for
        if is_for_room and (why := {kind for kind in ROOM if self._is_relief(lives, kind)}):
            self._asked, self._why = question.run_ids, why
        else:
            MemoryWitness._check_shut_question(self, question)

    # -- who goes --

    def _is_relief(self, lives: list[Life], kind: str) -> bool:
        """All of them may go and help, and none of them could stay."""
        names = {life.model for life in lives}
        short = self._short(kind)
        rest = [model for model in self._there() if model not in names]
        helps = all(any(self._takes(model, name) for name in short) for model in names)
        spared = [one for one in names if not any(self._left(name, [*rest, one]) < 0 for name in short)]
        return helps and not spared and all(map(self._may_go, lives))

    def _check_relief(self, life: Life, kind: str, reason: str) -> None:
        manners = self.plan.policy.manners
        is_asked = life.run_id in self._asked and kind in self._why
        self.require(is_asked, f"stopped {life.model} {reason}, for which its gate was not asked")
        self.require(life.model not in manners.pinned, f"stopped {life.model} for room, which is pinned")
        age = self.now - (life.ready_at or 0.0)
        self.require(age >= manners.min_residency - MOMENT, f"stopped {life.model} for room after {age:.2f} s")
        truth = self._truth
        if kind == "growth" and truth is not None:
            whom = {one.model: one for one in self.lives.values() if f"for {one.model}, which has grown" in reason}
            self.require(bool(whom) and life.model not in whom, f"stopped {life.model} {reason}")
            self.require(whom.keys() <= truth.ever_grown, f"stopped {life.model} {reason}, which has not")

    # -- nobody stays who should go --

    def settle(self, is_quiet: bool) -> None:
        MemoryWitness.settle(self, is_quiet)
        for life in self._too_many("yield"):
            self.require(False, f"{life.model} could make room for other programs, and stays")
        short = {*self._short("yield"), *self._short("growth")}
        staying = {life.run_id for life in self.lives.values() if life.is_staying}
        self._grew = {(run_id, name) for run_id, name in self._grew if name in short and run_id in staying}
        for life in self._too_many("growth"):
            self.require(False, f"{life.model} could make room for one that has grown, and stays")

    def _check_prompt(self) -> None:
        """Who could go since a while before this, and stays: it has not been noticed."""
        stays = self.plan.policy.manners.min_residency
        for life in [*self._too_many("yield"), *self._too_many("growth")]:
            could = max(life.gate.idle_since, (life.ready_at or 0.0) + stays, self.changed_at)
            self.require(self.now <= could + self._hop + MOMENT, f"{life.model} could go since {could:.2f}, and stays")

    def _too_many(self, kind: str) -> list[Life]:
        """Those that could go, and would help; one whose gate is shut goes for somebody who waits."""
        short = self._short(kind)
        if kind == "growth":
            short = [name for name in short if name in {device for _, device in self._grew}]
        return [
            life
            for life in self.lives.values()
            if self._may_go(life)
            and not life.gate.shut
            and any(self._takes(life.model, name) for name in short)
            and (kind == "yield" or not any(run_id == life.run_id for run_id, _ in self._grew))
        ]

    # -- sums --

    def _may_go(self, life: Life) -> bool:
        manners = self.plan.policy.manners
        is_calm = life.is_ready and life.is_staying and not len(life.gate) and not self.waits(life.model)
        is_old = life.ready_at is not None and self.now >= life.ready_at + manners.min_residency
        return is_calm and is_old and life.model not in manners.pinned and life.model in self.plan.configured

    def _there(self) -> list[str]:
        return [model for model in self._staying() if model in self.plan.configured]

    def _takes(self, model: str, device: str) -> int:
        return self._truth.sizes[model].get(device, 0) if self._truth else 0

    def _left(self, device: str, staying: Collection[str]) -> int:
        """Of it beside them, above its reserve."""
        return self._truth.room(device, staying) if self._truth else 0

    def _short(self, kind: str) -> list[str]:
        """The devices that have less left than their reserve, for which others come first, or not."""
        if self._truth is None:
            return []
        devices = self._truth.devices
        names = [name for name, device in devices.items() if (device.yields and device.others > 0) == (kind == "yield")]
        return [name for name in names if self._left(name, self._there()) < 0]
