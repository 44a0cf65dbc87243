"""Models that are loaded before a request asks for them. Pure; part of the scheduler."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from llamaswap_lib.core.effects import WriteLog
from llamaswap_lib.core.eviction import NOWHERE
from llamaswap_lib.core.failures import ModelFailures
from llamaswap_lib.core.run import Run
from llamaswap_lib.core.world import World


class Preload:
    """Models to load before a request asks for them: in order, one at a time, and without delaying any request.

    One is started when no request waits and nothing is being loaded (what is queued elsewhere is not), and only if it
    can run beside all that runs; otherwise it is left out. Its load is like one whose clients have all left: a request
    for the model joins it, and a request that needs it unloaded gets that at once.
    """

    def __init__(self, failures: ModelFailures) -> None:
        self._failures = failures
        self._models: deque[str] = deque()

    def add(self, models: Collection[str]) -> None:
        self._models.extend(models)

    def drop(self, models: Collection[str]) -> None:
        """Somebody wants these unloaded."""
        self._models = deque(model for model in self._models if model not in models)

    def models(self) -> tuple[str, ...]:
        return tuple(self._models)

    def go_on(self, world: World) -> tuple[str, ...]:
        """Start the next one; call it when nobody waits. Returns the one that waits for others to be gone."""
        while self._models and not any(_loads(run) for run in world.runs.values()):
            model = self._models[0]
            if model not in world.by_model and not self._failures.refusal(model, world.now):
                staying = world.staying()
                clashes = [other for other in staying if _clash(world, model, other, staying)]
                refusal = world.refusal(model)
                if refusal and refusal.is_unread:
                    return ()
                if refusal:
                    world.out.append(WriteLog("warn", f"{model}: not preloaded: {refusal.message}"))
                    self._models.popleft()
                    continue
                placement = world.place(model, ()) or NOWHERE
                clashes += [run.model for run in world.heavy_sleepers(model, placement.gpus)]
                if not clashes and (world.evict(model, world.existing()) or world.unfreed(model, placement.gpus)):
                    return (model,)  # what is in the way is on its way out, or its memory is
                if clashes:
                    message = f"{model}: not preloaded, it cannot run together with {', '.join(clashes)}"
                    world.out.append(WriteLog("warn", message))
                else:
                    world.out.append(WriteLog("info", f"{model}: preloading"))
                    world.load(model, placement, is_preloaded=True)
            self._models.popleft()
        return ()


def _loads(run: Run) -> bool:
    return run.state.is_loading and not run.is_queued


def _clash(world: World, model: str, other: str, staying: list[str]) -> bool:
    """Whether one of the two would have to go for the other."""
    return other in world.evict(model, staying) or model in world.evict(other, [*staying, model])
