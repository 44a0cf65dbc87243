"""What a load of a model would do now: which models would be unloaded for it, and what it would wait for.

Pure, any thread. It decides nothing and changes nothing: it asks the policy what the scheduler would ask next, about
the state that the scheduler has published last, and takes the same steps as `decision.Pass` does for one model. A
policy that keeps state about what runs is not asked, because it runs on one thread, and a question may change it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from llamaswap_lib.core.eviction import Explanation, RunningModel
from llamaswap_lib.core.in_force import InForce, find_clash
from llamaswap_lib.core.run import RunState
from llamaswap_lib.core.snapshot import Queue, Reason, RunView, estimate_loads

STOPPED = "stopped"  # the state of a model without a run


class Published(NamedTuple):
    """What the scheduler publishes after each decision; it is never changed later."""

    runs: tuple[RunView, ...]
    queue: Queue
    in_force: InForce


class Victim(NamedTuple):
    """A model that would be unloaded. `state` as in `/running`; `stopped` for one in front that is yet to start."""

    model: str
    state: str
    inside: int  # requests
    reason: str


class Wait(NamedTuple):
    """What would be waited for: its `load`, the `requests` inside it, its `stop`, or its `turn`, which comes first."""

    model: str
    kind: str
    inside: int  # requests


class Plan(NamedTuple):
    """For one model. `evicts` is None if only the policy itself could tell, when it is asked.

    `estimate`: seconds of loading until it can serve, its own and those that it would wait for; None if one of these
    models was never loaded before, or if it is not known which they are. Requests and stops are not counted.
    `refusal`: why it cannot be loaded as things are, whatever goes; nothing is unloaded for it then.
    """

    model: str
    state: str
    evicts: tuple[Victim, ...] | None
    waits_for: tuple[Wait, ...]
    why: Explanation
    estimate: float | None
    refusal: str = ""


def make_plan(
    seen: Published, target: str, inside: Mapping[str, int], now: float, idle_since: Mapping[str, float] | None = None
) -> Plan:
    """`inside`: requests inside each model that runs, counted now; `idle_since`: of those without. In seconds."""
    seen = seen._replace(in_force=seen.in_force.still(lambda: _views(seen, inside, now, idle_since or {})))
    look = _Look(seen, target, inside)
    is_known = target in seen.in_force.models  # else the configuration has changed, and is not in force yet
    if not is_known or seen.in_force.rules.observe is not None:
        why = seen.in_force.rules.explain(target, ()) if is_known else Explanation("")
        return Plan(target, look.state_of(target), None, tuple(look.own_waits()), why, None)
    if not look.is_there() and (refusal := seen.in_force.refusal(target, look.staying)):
        return Plan(target, look.state_of(target), (), tuple(look.own_waits()), Explanation(""), None, refusal.message)
    holder = look.find_holder()
    running = look.future if holder else look.staying
    evicted = seen.in_force.evict(target, running)
    why = seen.in_force.rules.explain(target, tuple(running))
    waits = (*look.own_waits(), *look.waits(evicted, holder))
    victims = [
        Victim(model, look.state_of(model), inside.get(model, 0), why.reasons.get(model, str(why))) for model in evicted
    ]
    return Plan(target, look.state_of(target), tuple(victims), waits, why, look.estimate(waits, now))


def _views(
    seen: Published, inside: Mapping[str, int], now: float, idle_since: Mapping[str, float]
) -> dict[str, RunningModel]:
    """What runs, as a policy sees it."""
    found = {}
    for run in seen.runs:
        model, ready_at = run.model, now if run.ready_at is None else run.ready_at
        if run.detail is RunState.SLEEPING:
            asleep = RunningModel(model, "sleeping", is_planned=True, gpus=run.gpus, asleep_since=run.asleep_since)
            found[model] = asleep
            continue
        idle = 0.0 if inside.get(model) else now - max(ready_at, idle_since.get(model, ready_at))
        load_seconds = seen.in_force.seconds_to_return(model, seen.queue.load_times, seen.queue.wake_times)
        seconds = load_seconds, now - ready_at
        found[model] = RunningModel(model, run.state, idle, inside.get(model, 0), *seconds, gpus=run.gpus)
    return found


class _Look:
    """What the model would find now."""

    def __init__(self, seen: Published, target: str, inside: Mapping[str, int]) -> None:
        self._seen = seen
        self._target = target
        self._inside = inside
        self._runs = {run.model: run for run in seen.runs}
        self._leaving = [run.model for run in seen.runs if run.detail.is_leaving]
        self._places = [model for model in self._in_front() if self._holds_place(model)]
        self._existing = [run.model for run in seen.runs if not run.is_asleep]
        self.staying = [model for model in self._existing if model not in self._leaving]
        self._remaining = [model for model in self.staying if model not in seen.queue.outgoing]
        self.future = list(dict.fromkeys([*self._remaining, *self._places]))

    def state_of(self, model: str) -> str:
        run = self._runs.get(model)
        return STOPPED if run is None else run.state

    def is_there(self) -> bool:
        """Whether it runs, and is to stay."""
        return self._target in self.staying

    def _in_front(self) -> Collection[str]:
        """The models that others wait for and that are served before the target, should they clash.

        The last decision may itself have made one urgent, which then stands where it stood.
        """
        queue, own = self._seen.queue, self._priority(self._target)
        if self._target in queue.models:
            before = queue.models[: queue.models.index(self._target)]
        else:
            before = [model for model in queue.models if self._priority(model) >= own]
        if self._target in queue.urgent:
            return [model for model in before if model in queue.urgent]
        return [model for model in queue.models if model in before or model in queue.urgent]

    def _holds_place(self, model: str) -> bool:
        """Also if it was started by the last decision itself."""
        run = self._runs.get(model)
        return model in self._seen.queue.places or (run is not None and run.detail.is_loading)

    def _priority(self, model: str) -> int:
        spec = self._seen.in_force.models.get(model)
        return 0 if spec is None else spec.priority

    def find_holder(self) -> str:
        """The model in front with which the target clashes; '' for none, and for one that is loaded or loading."""
        run = self._runs.get(self._target)
        if not self._places or (run is not None and (run.detail.is_loading or run.detail is RunState.READY)):
            return ""
        return find_clash(self._target, self._places, self._remaining, self._is_up, self._seen.in_force.evict)

    def _is_up(self, model: str) -> bool:
        run = self._runs.get(model)
        return run is not None and run.detail.is_up

    def own_waits(self) -> Iterator[Wait]:
        """For the target's own run."""
        run = self._runs.get(self._target)
        if run is not None and run.state == RunState.STARTING.value:
            yield Wait(self._target, "load", 0)
        elif run is not None and run.detail.is_leaving:
            yield self._wait_for(self._target, "stop")

    def waits(self, evicted: Collection[str], holder: str) -> Iterator[Wait]:
        """For others: a model in front; victims that load for others, or serve; and runs that are being stopped."""
        if holder:
            yield self._wait_for_turn(holder)
        for model in evicted:
            run = self._runs.get(model)
            if run is None or model == holder:
                continue
            if run.detail.is_loading and model in self._seen.queue.models:
                yield self._wait_for(model, "load")
            elif model in self._places:
                yield self._wait_for_turn(model)
            elif self._inside.get(model):
                yield self._wait_for(model, "requests")
        if not holder:
            blocking = self._seen.in_force.evict(self._target, self._existing)
            leaving = [model for model in self._leaving if model != self._target]
            stopping = [model for model in blocking if model in leaving]
            for model in stopping or (leaving if blocking and not evicted else ()):
                yield self._wait_for(model, "stop")

    def _wait_for_turn(self, model: str) -> Wait:
        run = self._runs.get(model)
        is_loading = run is not None and run.detail.is_loading
        return self._wait_for(model, "load" if is_loading else "turn")

    def _wait_for(self, model: str, kind: str) -> Wait:
        return Wait(model, kind, self._inside.get(model, 0))

    def estimate(self, waits: Collection[Wait], now: float) -> float | None:
        in_front = [wait.model for wait in waits if wait.kind in ("load", "turn") and wait.model != self._target]
        queue = self._seen.queue
        models = [model for model in queue.models if model != self._target]
        reasons = {**queue.reasons, self._target: Reason("after" if in_front else "", tuple(in_front))}
        asked = queue._replace(models=[*models, self._target], reasons=reasons)
        return estimate_loads(asked, self._runs, now)[self._target]
