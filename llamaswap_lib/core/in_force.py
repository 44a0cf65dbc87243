"""The configuration in force: the models, which are unloaded for which, and which must wait for a retired run.

Pure and immutable, replaced as a whole, so any thread may read it and ask it (except for a policy that has to be told
what runs first: see `Rules.observe`). It decides nothing: the scheduler does, by these rules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from llamaswap_lib.core.eviction import NoRoom, Rules, RunningModel
from llamaswap_lib.core.model_spec import ModelSpec


@dataclass(frozen=True, slots=True)
class InForce:
    """The models, the rules, and `blocked`: retired model -> those that cannot start before its run has gone."""

    models: Mapping[str, ModelSpec]
    rules: Rules
    blocked: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def evict(self, target: str, running: Collection[str]) -> list[str]:
        """Which of `running` the policy wants unloaded for `target`, unknown names left out. Raises what it raises."""
        if len(running) == (target in running):  # nobody but the target itself
            return []
        return self._complete(target, running, set(self.rules.evict(target, tuple(self._known(running)))))

    def everybody(self, target: str, running: Collection[str]) -> list[str]:
        """The answer when the policy fails: all of them, which is always safe."""
        return self._complete(target, running, set(self._known(running)))

    def refusal(self, target: str, running: Collection[str]) -> NoRoom | None:
        """Why the target cannot be loaded even if all go that may. Raises what the policy raises."""
        return self.rules.refuse(target, tuple(self._known(running))) if self.rules.refuse else None

    def seconds_to_return(self, model: str, loads: Mapping[str, float], wakes: Mapping[str, float]) -> float | None:
        """How long a model that makes room takes to serve again: a load, or a wake if it sleeps; None if unknown."""
        can_sleep = model in self.models and self.models[model].can_sleep
        return wakes[model] if can_sleep and model in wakes else loads.get(model)

    def still(self, running: Callable[[], Mapping[str, RunningModel]]) -> InForce:
        """The same for any thread, if it is a policy that can be told what runs without being changed by it."""
        return replace(self, rules=self.rules.still(running())) if self.rules.still else self

    def _known(self, running: Iterable[str]) -> list[str]:
        return [model for model in running if model in self.models]

    def _complete(self, target: str, running: Collection[str], unwanted: set[str]) -> list[str]:
        if self.blocked and target not in running:  # what runs beside one that is being stopped may go on doing so
            unwanted.update(model for model in running if target in self.blocked.get(model, ()))
        return [model for model in running if model in unwanted and model != target]


def find_clash(
    model: str,
    places: Sequence[str],
    staying: Iterable[str],
    is_up: Callable[[str], bool],
    evict: Callable[[str, Collection[str]], Collection[str]],
) -> str:
    """Which model of `places` would be unloaded for `model`, or `model` for it; '' for none.

    `places` are the models in front that wait. `staying` are the models that still run when those have started: the
    answer is for that moment. `is_up` says which of `places` are loaded: a policy may want less for a loaded model.
    """
    future = list(dict.fromkeys([*staying, *places]))
    unwanted = evict(model, future)
    for holder in places:
        others = [other for other in future if other != holder or is_up(holder)]
        if holder in unwanted or model in evict(holder, [*others, model]):
            return holder
    return ""


def with_time(times: Mapping[str, float], model: str, took: float) -> dict[str, float]:
    """The times that models took, with one more of this model: its last ones count most."""
    return {**times, model: (took + times.get(model, took)) / 2}
