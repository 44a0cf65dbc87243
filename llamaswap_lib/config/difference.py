"""What a new configuration changes in the one that is in force.

Owns what counts as the same process, which automatic ports stay, and the summary of a change that people read. Pure.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from llamaswap_lib.typed_yaml.problems import quoted
from llamaswap_lib.typed_yaml.secrets import visible

from .addresses import address_of
from .grouping import meeting
from .load import Loaded
from .schema import Config, Model
from .show import shown


class Difference(NamedTuple):
    """Names of models in order. `replaced`: their process would be started otherwise; `updated`: all else.

    `settings`: keys of the top level whose values differ, in order; those of models are not among them.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(tuple(self))

    def text(self) -> str:
        """For a line of the log."""
        parts = (f"{kind} {', '.join(map(visible, names))}" for kind, names in self._asdict().items() if names)
        return "; ".join(parts) or "nothing has changed"


def difference(old: Config, new: Config) -> Difference:
    """What has changed from `old` to `new`."""
    before, after = shown(old, mask=False), shown(new, mask=False)
    models_before, models_after = before.pop("models", {}), after.pop("models", {})
    kept = [name for name in new.models if name in old.models]
    replaced = [name for name in kept if not is_same_process(old.models[name], new.models[name])]
    _keep_models(before, kept)
    _keep_models(after, kept)
    return Difference(
        added=tuple(name for name in new.models if name not in old.models),
        removed=tuple(name for name in old.models if name not in new.models),
        replaced=tuple(replaced),
        updated=tuple(
            name for name in kept if name not in replaced and _text(models_before, name) != _text(models_after, name)
        ),
        settings=tuple(sorted(key for key in {**before, **after} if _text(before, key) != _text(after, key))),
    )


def _text(keys: Mapping[str, Any], key: str) -> str:
    """What stands under the key; order counts, in the sets of a matrix say, and so does that `true` is not 1."""
    return json.dumps(keys.get(key), default=str)


def _keep_models(keys: dict[str, Any], kept: Collection[str]) -> None:
    """Leave out of the groups the models that come or go: that they do is said already."""
    settings = keys.get("routing", {}).get("router", {}).get("settings", {})
    for group in settings.get("groups", {}).values():
        group["members"] = [member for member in group.get("members", ()) if member in kept]


def is_same_process(old: Model, new: Model) -> bool:
    """Whether the two start, reach, check, put to sleep and stop the same server.

    Which automatic port it has does not count.
    """
    return _process(old) == _process(new)


def _process(model: Model) -> tuple[object, ...]:
    at = (model.unplaced or model).at_port(0)
    env = dict(entry.partition("=")[::2] for entry in at.variables)
    return (
        at.argv,
        at.stop_argv,
        env,
        at.proxy,
        at.check_endpoint,
        at.automatic_port is None,
        at.gpus,
        at.sleep and at.sleep.orders,
    )


def keep_ports(old: Config, new: Config, in_use: Collection[int]) -> Config:
    """`new` with the automatic ports of `old` for the models that are in both, and free numbers for the others.

    `in_use`: automatic ports of processes that run. A number that another model names itself is free for nobody. With
    another `startPort` all are counted anew.
    """
    if new.start_port != old.start_port:
        return new
    told = [model for model in new.models.values() if not (model.automatic_port or model.is_announced)]
    fixed = {address_of(model.proxy)[1] for model in told}
    numbers = {
        name: before.automatic_port.number
        for name, model in new.models.items()
        if model.automatic_port
        and (before := old.models.get(name))
        and before.automatic_port
        and before.automatic_port.number not in fixed
    }
    taken = {*numbers.values(), *in_use, *fixed}
    free = (number for number in itertools.count(new.start_port) if number not in taken)
    for name in sorted(new.models):  # the order in which the loader counts
        if new.models[name].automatic_port and name not in numbers:
            numbers[name] = next(free)
    models = {name: model.at_port(numbers.get(name, 0)) for name, model in new.models.items()}
    return replace(new, models=models)


def refuse_taken_ports(loaded: Loaded, running: Mapping[str, Model]) -> None:
    """Report a fixed port of the new configuration that a process which goes on has, beside which its model may run.

    `running`: models as they were started. Who may not run beside it waits until it has gone.
    """
    config, meet = loaded.config, meeting(loaded.config.routing)
    staying = {
        name: address_of(model.proxy)
        for name, model in running.items()
        if not model.is_announced and name in config.models and is_same_process(model, config.models[name])
    }
    for name, model in config.models.items():
        if model.automatic_port or model.is_announced or name in staying:
            continue
        wanted = address_of(model.proxy)
        for other, address in staying.items():
            if wanted == address and meet(name, other):
                message = f"the running {quoted(other)} has port {address[1]}, and both may run together"
                loaded.document.error(("models", name, "proxy"), f"{message}; take another one, or unload it first")
