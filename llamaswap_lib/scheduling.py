"""From the configuration to what the scheduler goes by: the models, the rules for who may run together.

Any thread. What may raise, a policy of the user's own above all, raises here, before anything has changed.
"""

from __future__ import annotations

from pathlib import Path

from llamaswap_lib.config.own_policy import load_policy
from llamaswap_lib.config.schema import Config, Routing
from llamaswap_lib.core.eviction import Rules
from llamaswap_lib.core.eviction.explanation import explain_groups, explain_matrix, explain_own
from llamaswap_lib.core.eviction.group import Group, GroupPolicy
from llamaswap_lib.core.eviction.matrix import MatrixPolicy
from llamaswap_lib.core.eviction.own import OwnPolicy
from llamaswap_lib.core.scheduler import ModelSpec


def make_rules(routing: Routing) -> Rules:
    """The rules that the configuration names. Raises ConfigError for a policy of the user's own that cannot be used."""
    if not routing.policy:
        return _matrix_rules(routing) or _group_rules(routing)
    own = OwnPolicy(load_policy(routing.policy))
    return Rules(own.evict, explain_own(Path(routing.policy).name), own.observe)


def _matrix_rules(routing: Routing) -> Rules | None:
    if routing.matrix is None:
        return None
    matrix = MatrixPolicy(routing.matrix.sets, routing.matrix.evict_costs)
    return Rules(matrix.evict, explain_matrix(matrix, routing.matrix.sets))


def _group_rules(routing: Routing) -> Rules:
    groups = [Group(one.id, one.members, one.swap, one.exclusive, one.persistent) for one in routing.groups]
    return Rules(GroupPolicy(groups).evict, explain_groups(groups))


def model_specs(config: Config) -> dict[str, ModelSpec]:
    """What the scheduler knows of each model."""
    priority = config.routing.fifo_priority
    return {
        name: ModelSpec(priority.get(name, 0), model.ttl, model.unload_timeout) for name, model in config.models.items()
    }


def concurrency_limits(config: Config) -> dict[str, int]:
    """Places of each model, 0 for no limit."""
    return {name: model.concurrency_limit for name, model in config.models.items()}
