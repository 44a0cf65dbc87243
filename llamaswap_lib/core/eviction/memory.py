"""The memory policy: all models stay as long as they fit, and those go whose loss costs least.

Pure but for what it is handed: it is told what runs before each decision, and asks for a picture of the memory then.

- Nothing goes that can stay: `look.py` says who goes for want of memory, `manners.py` what the loss of each costs,
  `memory_words.py` what the log and clients are told of it.
- `pressure.py` says who goes though no model asks for room.
- What else may not run together, groups or a matrix say of the models that they name; memory is judged for what stays.
- A model whose GPUs are chosen is put where that costs least: see `placing.py`. Where it runs is told by the view, and
  so it is of one that sleeps; one that is yet to start counts as on those on which it would be put now.
- An answer for a target whose swap has begun or is overdue is kept as long as others would have to be waited for too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from llamaswap_lib.core.eviction import Explanation, NoRoom, Placement, Relief, Rules, RunningModel
from llamaswap_lib.core.eviction.devices import Memory
from llamaswap_lib.core.eviction.look import Look
from llamaswap_lib.core.eviction.manners import Manners, is_passing
from llamaswap_lib.core.eviction.memory_words import (
    lack_in_words,
    refusal,
    refusal_anywhere,
    what_is_needed,
    what_it_holds,
)
from llamaswap_lib.core.eviction.placing import Placed, place
from llamaswap_lib.core.eviction.pressure import relieve
from llamaswap_lib.core.eviction.readings import was_read
from llamaswap_lib.core.eviction.room import Floors, MemoryRoom

Gpus = tuple[str, ...]

_Question = tuple[str, frozenset[str], frozenset[str]]  # the target, what runs, what of that is ending or yet to start


@dataclass(frozen=True, slots=True)
class Choice:
    """Who must go: by `rules` of the configuration, and for the `lack` of memory by device, in bytes.

    `gpus` are those on which the target would be, if they are chosen for it.
    """

    rules: tuple[str, ...] = ()
    room: tuple[str, ...] = ()
    lack: Mapping[str, int] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()

    @property
    def evicted(self) -> tuple[str, ...]:
        return self.rules + self.room


_NOBODY = Choice()
SETTLE_TIMEOUT = 5.0


class MemoryPolicy:
    """`read` gives the picture of now, at once, to any thread. Call `observe` first, on the thread that decides."""

    def __init__(
        self,
        read: Callable[[], Memory],
        manners: Manners,
        floors: Floors | None = None,
        settle_timeout: float = SETTLE_TIMEOUT,
    ) -> None:
        """`settle_timeout`: seconds from the end of a process for which its memory is waited for at most."""
        self._floors = floors or Floors()
        self._settle_timeout = settle_timeout
        self._read = read
        self._manners = manners
        self._view: Callable[[str], RunningModel] = RunningModel
        self._memory = Memory()
        self._answers: dict[_Question, Choice] = {}
        self._kept: dict[_Question, Choice] = {}

    def rules(self) -> Rules:
        return Rules(
            self.evict,
            self.explain,
            self.observe,
            refuse=self.refuse,
            place=self.place,
            still=self.still,
            stays=self._manners.min_residency,
            relieve=self.relieve,
            room=MemoryRoom(self._look, self._more_for, self._floors, self._settle_timeout),
        )

    def observe(self, view: Callable[[str], RunningModel], stands: Callable[[str], bool]) -> None:
        """Something happened. The answers for the targets in `stands` are kept as far as they can be."""
        self._view, self._memory = view, replace(self._read(), floors=self._floors.now)
        known = {**self._kept, **self._answers}
        self._kept = {question: choice for question, choice in known.items() if stands(question[0])}
        self._answers = {}

    def still(self, views: Mapping[str, RunningModel]) -> Rules:
        """The same for any thread, which calls this: what runs as told, the memory as it is when they are asked."""

        def asked() -> MemoryPolicy:
            copy = MemoryPolicy(self._read, self._manners, self._floors)
            copy.observe(lambda model: views.get(model) or RunningModel(model, is_planned=True), lambda _: False)
            return copy

        return Rules(
            lambda target, others: asked().evict(target, others),
            lambda target, others: asked().explain(target, others),
            refuse=lambda target, others: asked().refuse(target, others),
            place=lambda target, others: asked().place(target, others),
        )

    def evict(self, target: str, running: tuple[str, ...]) -> Collection[str]:
        return self._choose(target, running).evicted

    def explain(self, target: str, running: tuple[str, ...]) -> Explanation:
        """With the numbers: what it needs, what is free there, and what each of those that go holds."""
        choice, together = self._choose(target, running), self._manners.together
        by_rules = Explanation("")
        if choice.rules and together is not None:
            by_rules = together.explain(target, self._manners.named(running))
        if not choice.room:
            return by_rules
        look = self._look(target, [model for model in running if model not in choice.rules], choice.gpus)
        reasons = {model: by_rules.reasons.get(model, str(by_rules)) for model in choice.rules}
        reasons |= {model: what_it_holds(look, model) for model in choice.room}
        clauses = [str(by_rules), what_is_needed(look)]
        clauses += [f"{model} {reasons[model]}" for model in choice.room]
        rule = "; ".join(clause for clause in clauses if clause)
        return Explanation(rule, reasons=reasons, room=lack_in_words(look, choice.lack), for_room=choice.room)

    def refuse(self, target: str, running: tuple[str, ...]) -> NoRoom | None:
        """Why the target does not fit even if all go that may; `running` are those that stay as things are."""
        if not self._memory.is_read:
            return NoRoom(f"model {target}: how much memory is free was not read yet", False, is_unread=True)
        others = self._manners.others_first(target, running)
        look = self._look(target, [model for model in running if model != target and model not in others])
        movable = self._memory.movable.get(target)
        if movable is None:
            return refusal(look)
        here = refusal(look) if self._home(target) else None
        if self._home(target) and here is None:
            return None
        anywhere = refusal_anywhere(look, movable)
        return here._replace(is_elsewhere=True) if here is not None and anywhere is None else anywhere

    def place(self, target: str, running: tuple[str, ...]) -> Placement | None:
        """Where it starts; None if it would have to be where others must go first."""
        choice = self._choose(target, running)
        return None if choice.evicted else Placement(choice.gpus, self._memory.where(choice.gpus))

    def relieve(self, running: tuple[str, ...], free: Collection[str]) -> Relief | None:
        """Who goes though none asks for room: see `pressure.py`."""
        seen = {model: self._view(model) for model in running}
        return relieve(self._placed_on(running, {}), self._manners, seen, free)

    def _more_for(self, target: str, staying: tuple[str, ...], gpus: Gpus) -> bool:
        """Whether it gets more than it had on these GPUs: others go, or it is put on other ones."""
        choice = self._choose(target, staying)
        return bool(choice.room) or choice.gpus != gpus

    def _raise_floors(self) -> None:
        """A model that has just run out of memory is asked about in the same decision."""
        if self._memory.floors is not self._floors.now:
            self._memory = replace(self._memory, floors=self._floors.now)
            self._answers = {}

    def _choose(self, target: str, running: tuple[str, ...]) -> Choice:
        self._raise_floors()
        if target in running and self._manners.together is None:
            return _NOBODY
        question = target, frozenset(running), frozenset(model for model in running if is_passing(self._view(model)))
        choice = self._answers.get(question)
        if choice is None:
            choice = self._answers[question] = self._decide(question, running)
        return choice

    def _decide(self, question: _Question, running: tuple[str, ...]) -> Choice:
        target = question[0]
        first = self._manners.others_first(target, running)
        rules = tuple(model for model in running if model in first and model != target)
        if target in running:
            return Choice(rules)
        staying = [model for model in running if model not in rules]
        kept = self._kept.get(question)
        room = kept.room if kept else ()
        placed = self._placed(target, staying, room, self._homes(target, staying))
        return Choice(rules, placed.room, placed.lack, placed.gpus)

    def _placed(self, target: str, staying: Sequence[str], kept: Collection[str], homes: Mapping[str, Gpus]) -> Placed:
        """Who goes for the target, and where it is put if its GPUs are chosen. `homes`: of models yet to start."""
        look, movable = self._look(target, staying, homes=homes), self._memory.movable.get(target)
        home = () if movable is None else self._home(target)
        if movable is None or home:
            return Placed(home, *look.choose(kept))
        return place(look, movable, kept, _sleepers(look.memory, self._view, {target, *staying}))

    def _home(self, model: str) -> Gpus:
        """The GPUs of one that sleeps: it can be woken nowhere else."""
        seen = self._view(model)
        return seen.gpus if seen.is_planned else ()

    def _homes(self, target: str, staying: Sequence[str]) -> dict[str, Gpus]:
        """Where those would be that are yet to start: beside the target, if it is where it would be without them."""
        is_planned = {model: self._view(model).is_planned for model in staying}
        planned = [model for model in staying if is_planned[model] and model in self._memory.movable]
        homes: dict[str, Gpus] = {}
        if planned:
            there = [model for model in staying if model not in planned]
            if target in self._memory.movable:
                homes[target] = self._placed(target, there, (), {}).gpus
            for model in planned:
                others = [other for other in planned if other in homes]
                homes[model] = self._placed(model, [*there, *others, target], (), homes).gpus
        return homes

    def _look(
        self, target: str, staying: Collection[str], gpus: Gpus = (), homes: Mapping[str, Gpus] | None = None
    ) -> Look:
        """`gpus`: on which the target would be; `homes` of models yet to start, worked out where they are not given."""
        self._raise_floors()
        memory = self._memory
        if memory.movable:
            homes = self._homes(target, [*staying]) if homes is None else homes
            memory = self._placed_on([*staying, target], {**homes, target: gpus})
        return Look(memory, self._manners, self._view, target, staying)

    def _placed_on(self, models: Iterable[str], homes: Mapping[str, Gpus]) -> Memory:
        """What is known, with what movable models need on the GPUs on which they run, or else are to be."""
        places = {model: self._view(model).gpus or homes.get(model, ()) for model in models}
        movable = self._memory.movable
        return self._memory.placed({model: at for model, at in places.items() if at and model in movable})


def _sleepers(memory: Memory, view: Callable[[str], RunningModel], but: Collection[str]) -> tuple[str, ...]:
    """All that sleep, in order, as far as what they hold was read since then."""
    found = []
    for model in memory.held.keys() - but if memory.readings else ():
        seen = view(model)
        if seen.state == "sleeping" and seen.asleep_since is not None and was_read(memory, seen.asleep_since):
            found.append(model)
    return tuple(sorted(found))
