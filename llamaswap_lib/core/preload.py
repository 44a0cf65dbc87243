"""Models to load before a request asks for them: in order, one at a time, and without delaying any request.

Pure; the scheduler's. One is started when no request waits and nothing is being loaded, and only if it can run beside
all that runs; otherwise it is left out. Its load is like one whose clients have all left: a request for the model joins
it, and a request that needs it unloaded gets that at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from llamaswap_lib.core.effects import Report
from llamaswap_lib.core.failures import Failures
from llamaswap_lib.core.run import RunState
from llamaswap_lib.core.world import World


class Preload:
    """What is still to be loaded."""

    def __init__(self, failures: Failures) -> None:
        self._failures = failures
        self._models: deque[str] = deque()

    def add(self, models: Collection[str]) -> None:
        self._models.extend(models)

    def drop(self, models: Collection[str]) -> None:
        """Somebody wants these unloaded."""
        self._models = deque(model for model in self._models if model not in models)

    def go_on(self, world: World) -> None:
        """Start the next one; call it when nobody waits."""
        while self._models and not any(run.state is RunState.STARTING for run in world.runs.values()):
            model = self._models[0]
            if model not in world.by_model and not self._failures.refusal(model, world.now):
                staying = world.staying()
                clashes = [other for other in staying if _clash(world, model, other, staying)]
                if not clashes and world.evict(model, world.by_model):
                    return  # what is in the way is on its way out
                if clashes:
                    message = f"{model}: not preloaded, it cannot run together with {', '.join(clashes)}"
                    world.out.append(Report("warn", message))
                else:
                    world.out.append(Report("info", f"{model}: preloading"))
                    world.start(model)
            self._models.popleft()


def _clash(world: World, model: str, other: str, staying: list[str]) -> bool:
    """Whether one of the two would have to go for the other."""
    return other in world.evict(model, staying) or model in world.evict(other, [*staying, model])
