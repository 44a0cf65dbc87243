"""A policy that the user has written: what it gets, what it may answer, and what happens if it fails.

Pure except for the policy itself, which may use idle times or random numbers, or raise. The core needs a function of
(target, what runs). So an answer is kept until the scheduler has looked again at what runs. For a target whose swap
has begun or is overdue, the answer is kept until the swap is over: otherwise a policy that changes its answer could
keep the target waiting for ever. If a policy fails or its answer is invalid, all other models are unloaded, which is
always safe. Each kind of failure is raised once.
"""

from __future__ import annotations

import reprlib
import traceback
from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from llamaswap_lib.core.eviction import Explanation, RunningModel


class Policy(Protocol):
    """What a user's class must have. One object of it is made, without arguments."""

    def evict(self, target: str, running: Sequence[RunningModel]) -> Collection[str] | Sequence[Collection[str]]:
        """The models that must be unloaded for `target`, by name; or several such choices, the best first.

        Of several, the first one counts whose models are all idle, or else the first one. `running` holds the target's
        own process too, if it has one.
        """


class PolicyFailedError(Exception):
    """The policy raised, or its answer was invalid; the cause says where."""


_Question = tuple[str, frozenset[str]]
_Kind = tuple[type[BaseException], frozenset[tuple[str, int]]]


class OwnPolicy:
    """`evict` for the scheduler, by a policy that the user has written; call `observe` first. `name` is for people."""

    def __init__(self, policy: Policy, name: str = "the policy") -> None:
        self._policy = policy
        self._name = name
        self._view: Callable[[str], RunningModel] = RunningModel
        self._answers: dict[_Question, Collection[str]] = {}
        self._known_failures: set[_Kind] = set()

    def observe(self, view: Callable[[str], RunningModel], stands: Callable[[str], bool]) -> None:
        """Something happened. `view` shows a model as it is now; only the answers for targets in `stands` are kept."""
        self._view = view
        self._answers = {question: answer for question, answer in self._answers.items() if stands(question[0])}

    def evict(self, target: str, running: tuple[str, ...]) -> Collection[str]:
        """All of `running` after a failure; a new kind of failure raises PolicyFailedError the first time."""
        question = target, frozenset(running)
        answer = self._answers.get(question)
        if answer is None:
            self._answers[question] = running  # should it fail
            answer = self._answers[question] = self._ask(target, running)
        return answer

    def explain(self, target: str, running: tuple[str, ...]) -> Explanation:
        """Only the name of such a policy is known."""
        del target, running
        return Explanation(f"decided by {self._name}")

    def _ask(self, target: str, running: tuple[str, ...]) -> Collection[str]:
        shown = tuple(map(self._view, running))
        try:
            return self._choose(self._policy.evict(target, shown), frozenset(running) - {target})
        except BaseException as error:  # SystemExit, too, would end the thread that decides
            if self._is_known(error):
                return running
            raise PolicyFailedError(f"{type(error).__name__}: {error}") from error

    def _choose(self, answer: object, others: frozenset[str]) -> Collection[str]:
        names = _names(answer)
        if names is not None:
            return names
        choices = []
        for choice in answer if isinstance(answer, Sequence) else (None,):
            names = _names(choice)
            if names is None:
                raise TypeError(f"expected names of models, or a list of choices of names, got {reprlib.repr(answer)}")
            choices.append(others.intersection(names))
        return next((choice for choice in choices if all(map(self._is_free, choice))), choices[0])

    def _is_free(self, model: str) -> bool:
        seen = self._view(model)
        return seen.state != "starting" and not seen.in_flight

    def _is_known(self, error: BaseException) -> bool:
        """Whether an error of this type was raised through the same lines before."""
        places = frozenset((frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__))
        kind = type(error), places
        if kind in self._known_failures:
            return True
        self._known_failures.add(kind)
        return False


def _names(value: object) -> tuple[str, ...] | None:
    """Of a set, list or tuple of names, else None. A copy: the policy may go on using its own."""
    if not isinstance(value, AbstractSet | Sequence) or isinstance(value, str):
        return None
    return tuple(value) if all(isinstance(name, str) for name in value) else None
