"""From the configuration to what the scheduler goes by: the models, the rules for who may run together.

Any thread. What may raise, a policy of the user's own above all, raises here, before anything has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from llamaswap_lib.config.addresses import address_of, leads_elsewhere
from llamaswap_lib.config.grouping import policy_of
from llamaswap_lib.config.own_policy import load_policy
from llamaswap_lib.config.schema import Config, Model
from llamaswap_lib.core.events import ModelsChanged
from llamaswap_lib.core.eviction import Evict, Rules
from llamaswap_lib.core.eviction.devices import Memory
from llamaswap_lib.core.eviction.group import GroupPolicy
from llamaswap_lib.core.eviction.matrix import MatrixPolicy
from llamaswap_lib.core.eviction.own import OwnPolicy
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.errors import ConfigError
from llamaswap_lib.typed_yaml.secrets import visible

if TYPE_CHECKING:
    from llamaswap_lib.core.eviction.room import Floors


@dataclass(frozen=True, slots=True)
class MadeRules:
    """Rules, and what they were made of: the file of a policy of the user's own, if it is one.

    `keeps_to_itself`: only the thread that decides may ask them, and two names are not enough to ask for. `floors`:
    what models that ran out of memory are taken to need, under any configuration; None where nobody has gone by memory.
    """

    rules: Rules
    use: str = ""
    text: bytes = b""
    keeps_to_itself: bool = False
    floors: Floors | None = None


def nothing_known() -> Memory:
    """Then one model runs at a time."""
    return Memory()


def make_rules(
    config: Config, before: MadeRules | None = None, read: Callable[[], Memory] = nothing_known
) -> MadeRules:
    """The rules that the configuration names. Raises ConfigError for a policy of the user's own that cannot be used.

    One whose file is as it was `before` goes on, with all that it has learned. `read` is for `use: memory`: what is
    known of the memory now, at once; the thread that decides calls it.
    """
    routing = config.routing
    policy = policy_of(routing)
    if routing.router == "memory":
        return _rules_by_memory(config, policy, None if before is None else before.floors, read)
    if policy is not None:
        return MadeRules(Rules(policy.evict, policy.explain))
    file = Path(routing.policy.rpartition(":")[0])
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{visible(routing.policy).rpartition(':')[0]}: {error.strerror}") from error
    if before is not None and (before.use, before.text) == (routing.policy, text):
        return before
    own = OwnPolicy(load_policy(routing.policy), Path(visible(routing.policy)).name)
    return MadeRules(Rules(own.evict, own.explain, own.observe), routing.policy, text, keeps_to_itself=True)


def _rules_by_memory(
    config: Config, policy: GroupPolicy | MatrixPolicy | None, floors: Floors | None, read: Callable[[], Memory]
) -> MadeRules:
    from llamaswap_lib.core.eviction.manners import Manners  # noqa: PLC0415 - few go by it; see `needed.py`
    from llamaswap_lib.core.eviction.memory import MemoryPolicy  # noqa: PLC0415 - as above
    from llamaswap_lib.core.eviction.room import Floors  # noqa: PLC0415 - as above

    routing, floors = config.routing, floors or Floors()
    pinned = frozenset(name for name, model in config.models.items() if model.pinned)
    manners = Manners(pinned, routing.fifo_priority, routing.memory.min_residency, policy)
    by_memory = MemoryPolicy(read, manners, floors, routing.memory.settle_timeout)
    return MadeRules(by_memory.rules(), keeps_to_itself=True, floors=floors)


def model_specs(config: Config) -> dict[str, ModelSpec]:
    """What the scheduler knows of each model."""
    priority, engines = config.routing.fifo_priority, _engines(config)
    return {
        name: ModelSpec(
            *(priority.get(name, 0), model.ttl, model.unload_timeout),
            *(model.is_announced, model.queue_timeout, model.sleep is not None),
            *engines.get(name, ("", False)),
            lost_after=model.lost_after if leads_elsewhere(model.proxy) and model.check_endpoint != "none" else 0.0,
        )
        for name, model in config.models.items()
    }


def _engines(config: Config) -> dict[str, tuple[str, bool]]:
    """What each model that runs elsewhere shares there with others, and whether it makes room for them.

    A pool of its own counts, else its group. In a pool, those of a persistent group stay.
    """
    routing = config.routing
    group_of = {member: group for group in routing.groups for member in group.members}
    found = {}
    for name, model in config.models.items():
        group = group_of.get(name)
        is_evicting = group is not None and group.when_queued == "evict" and routing.router in ("group", "memory")
        if leads_elsewhere(model.proxy) and (model.pool or is_evicting):
            engine = f"pool {model.pool}" if model.pool else f"group {group and group.name}"
            is_persistent = bool(model.pool) and group is not None and group.persistent
            found[name] = engine, not (model.pinned or is_persistent)
    return found


def concurrency_limits(config: Config) -> dict[str, int]:
    """Places of each model, 0 for no limit."""
    return {name: model.concurrency_limit for name, model in config.models.items()}


class Standing(NamedTuple):
    """A configuration with the rules made of it."""

    config: Config
    made: MadeRules


def models_changed(
    old: Standing | None,
    new: Standing,
    replaced: Collection[str],
    running: Mapping[str, str],
    former: Collection[str] = (),
) -> ModelsChanged:
    """The event for the scheduler. `running`: model -> the URL of its run, of all that there are.

    `old` is None where that was the configuration of another process; `former` are the models of `running` that were
    not in it any more.
    """
    former = former if old is None else running.keys() - old.config.models.keys()
    leaving = [model for model in running if model not in new.config.models or model in replaced]
    return ModelsChanged(
        models=model_specs(new.config),
        replaced=frozenset(replaced),
        rules=new.made.rules,
        max_wait=new.config.routing.max_wait,
        blocked={model: _blocked_by(model, running[model], old, new, is_former=model in former) for model in leaving},
    )


def _blocked_by(leaving: str, proxy: str, old: Standing | None, new: Standing, *, is_former: bool) -> frozenset[str]:
    """Who cannot start while it is there: models that need its port, and those that may not run beside it.

    For one that is configured still, the new rules say the latter; else the old ones, as far as they can. The scheduler
    keeps what they have said of one that is former. Rules that go by memory are not told of what is not configured.
    """
    is_judged = leaving in new.config.models or (is_former and new.made.rules.refuse is None)
    return frozenset(
        name
        for name, model in new.config.models.items()
        if _has_same_address(model, proxy) or not (is_judged or (old and _may_run_together(old, new, name, leaving)))
    )


def _may_run_together(old: Standing, new: Standing, one: str, other: str) -> bool:
    """Of `other`, which is not configured any more, new rules that go by what runs are told nothing."""
    known = old.config.models
    if old.made.keeps_to_itself or new.made.rules.refuse or one not in known or other not in known:
        return False
    evict: Evict = old.made.rules.evict
    return not evict(one, (other,)) and not evict(other, (one,))


def _has_same_address(model: Model, proxy: str) -> bool:
    """An automatic port does not count: a free one is chosen when the model starts."""
    if model.is_announced or not proxy:
        return False
    return model.automatic_port is None and address_of(model.proxy) == address_of(proxy)
