"""The rules in use: the models, which must be unloaded for which, and which cannot start beside a retired run.

Pure and immutable, replaced as a whole, so any thread may read it and ask it (but for a policy that has to be told what
runs first: see `Rules.observe`). It decides nothing: the scheduler does, by these rules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from llamaswap_lib.core.eviction import Rules


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What deciding needs to know of a model. `ttl` in seconds, 0 for never; `unload_timeout` in seconds."""

    priority: int = 0
    ttl: float = 0.0
    unload_timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class InForce:
    """The models, the rules, and `blocked`: retired model -> those that cannot start before its run has gone."""

    models: Mapping[str, ModelSpec]
    rules: Rules
    blocked: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def evict(self, target: str, running: Collection[str]) -> list[str]:
        """Who of `running` must go for `target`: the policy's answer without strangers. Raises what it raises."""
        if len(running) == (target in running):  # nobody but the target itself
            return []
        return self._complete(target, running, set(self.rules.evict(target, tuple(self._known(running)))))

    def everybody(self, target: str, running: Collection[str]) -> list[str]:
        """The answer in place of a policy that fails, which is always safe."""
        return self._complete(target, running, set(self._known(running)))

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
    """Who of `places` it is that `model` would evict, or be evicted by; '' for nobody.

    `places` are held by models in front, `staying` are the models that run on when those have what they wait for.
    Judged on the world as it will be. `is_up` says who of `places` is loaded: a policy may want less for one that is.
    """
    future = list(dict.fromkeys([*staying, *places]))
    unwanted = evict(model, future)
    for holder in places:
        others = [other for other in future if other != holder or is_up(holder)]
        if holder in unwanted or model in evict(holder, [*others, model]):
            return holder
    return ""
