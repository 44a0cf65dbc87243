"""Changes of the configuration in the simulated worlds: who is configured, who is replaced, which rules hold then."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from llamaswap_lib.core.events import ModelsChanged
from llamaswap_lib.core.handover import State
from llamaswap_lib.core.model_spec import ModelSpec
from tests.core import policies
from tests.core.memory_policies import other_rules
from tests.core.policies import Policy
from tests.core.worlds import Habits, Plan


@dataclass(frozen=True, slots=True)
class Reload(ModelsChanged):
    """What the scheduler is told, and the plan from then on, for the witness."""

    plan: Plan = field(repr=False)


class Upgrade(Reload):
    """Another scheduler goes on from here, under a configuration which may be another."""

    __slots__ = ()

    def going_on_from(self, state: State) -> Upgrade:
        return replace(self, state=state)


def specs(plan: Plan) -> dict[str, ModelSpec]:
    """Of the models that are configured."""
    chosen = ((model, plan.habits[model]) for model in plan.configured)
    return {
        model: ModelSpec(
            *(habit.priority, habit.ttl, habit.unload_timeout),
            *(habit.announces, habit.queue_timeout, habit.sleep is not None),
            engine="engine" if plan.slots and habit.announces else "",
            makes_room=habit.makes_room,
            lost_after=plan.lost_after,
        )
        for model, habit in chosen
    }


def any_reload(plan: Plan, rng: random.Random) -> Reload:
    """At least one model is configured; those that are not may come back with the next change."""
    everybody = plan.models
    chosen = rng.sample(everybody, rng.choice([len(everybody), rng.randint(1, len(everybody))]))
    configured = [model for model in everybody if model in chosen]
    share = rng.choice([0.0, 0.3, 1.0])
    replaced = frozenset(model for model in configured if rng.random() < share)
    changed = replace(
        plan,
        habits=plan.habits | {model: _other_habits(plan, plan.habits[model], rng) for model in configured},
        policy=policies.noting_strangers(_other_policy(plan, configured, rng), configured),
        max_wait=rng.choice([plan.max_wait, plan.max_wait, 0.5, 2.0, 5.0 if plan.hung_after else 0.0]),
        missing=frozenset(everybody) - frozenset(configured),
    )
    blocked = {
        model: frozenset(rng.sample(configured, rng.randint(0, len(configured))))
        for model in everybody
        if rng.random() < 0.3
    }
    if plan.policy.truth is not None:  # what is not configured is not seen by the policy, so nothing starts beside it
        blocked |= dict.fromkeys(changed.missing, frozenset(configured))
    return _reload(changed, replaced, blocked)


def other_priorities(plan: Plan, rng: random.Random) -> Reload:
    """Nothing but priorities change: some models have another one, the others have none any more."""
    named = rng.sample(plan.models, rng.randint(0, len(plan.models)))
    priorities = {model: rng.randint(-3, 9) for model in named}
    habits = {model: replace(habit, priority=priorities.get(model, 0)) for model, habit in plan.habits.items()}
    return _reload(replace(plan, habits=habits), frozenset(), {})


def upgrade(plan: Plan, rng: random.Random) -> Upgrade:
    """Mostly with the configuration as it is."""
    change = any_reload(plan, rng) if rng.random() < 0.3 else _reload(plan, frozenset(), {})
    return Upgrade(change.models, change.replaced, change.rules, change.max_wait, change.blocked, change.plan)


def _reload(plan: Plan, replaced: frozenset[str], blocked: Mapping[str, frozenset[str]]) -> Reload:
    return Reload(specs(plan), replaced, plan.policy.rules(), plan.max_wait, blocked, plan)


def _other_habits(plan: Plan, habit: Habits, rng: random.Random) -> Habits:
    """What a configuration says of a model; how its process behaves stays.

    Where models hang none has a ttl: it would be looked at for ever whether that is over.
    """
    if rng.random() < 0.6:
        return habit
    return replace(
        habit,
        ttl=rng.choice([0.0, habit.ttl, 0.5, 3.0]) if not plan.hung_after else habit.ttl,
        priority=rng.choice([0, habit.priority, 1, 5]),
        unload_timeout=rng.choice([habit.unload_timeout, 0.5, 3.0]),
    )


def _other_policy(plan: Plan, models: list[str], rng: random.Random) -> Policy:
    """One place stays one place most often, since it is known there who is next; memory is always memory."""
    if plan.policy.truth is not None:
        return other_rules(rng, plan.policy, models)
    if plan.policy.name == "one place" and rng.random() < 0.8:
        return policies.one_place(models)
    return policies.whims(rng, models) if rng.random() < 0.2 else policies.any_policy(rng, models)
