"""What a new configuration changes in the one that is in force.

Owns what counts as the same process, which automatic ports stay, and the summary of a change that people read. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import replace
from typing import Any, NamedTuple

from .hidden import visible
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
            name for name in kept if name not in replaced and models_before.get(name) != models_after.get(name)
        ),
        settings=tuple(sorted(key for key in {**before, **after} if before.get(key) != after.get(key))),
    )


def _keep_models(keys: dict[str, Any], kept: Collection[str]) -> None:
    """Leave out of the groups the models that come or go: that they do is said already."""
    settings = keys.get("routing", {}).get("router", {}).get("settings", {})
    for group in settings.get("groups", {}).values():
        group["members"] = [member for member in group.get("members", ()) if member in kept]


def is_same_process(old: Model, new: Model) -> bool:
    """Whether the two start, reach, check and stop the same server; which automatic port it has does not count."""
    return _process(old) == _process(new)


def _process(model: Model) -> tuple[object, ...]:
    at = model.at_port(0)
    env = dict(entry.partition("=")[::2] for entry in at.env)
    return at.argv, at.stop_argv, env, at.proxy, at.check_endpoint, at.automatic_port is None


def keep_ports(old: Config, new: Config, in_use: Collection[int]) -> Config:
    """`new` with the automatic ports of `old` for the models that are in both, and free numbers for the others.

    `in_use`: automatic ports of processes that run. With another `startPort` all are counted anew.
    """
    if new.start_port != old.start_port:
        return new
    numbers = {
        name: before.automatic_port.number
        for name, model in new.models.items()
        if model.automatic_port and (before := old.models.get(name)) and before.automatic_port
    }
    taken = {*numbers.values(), *in_use}
    free = (number for number in itertools.count(new.start_port) if number not in taken)
    for name in sorted(new.models):  # the order in which the loader counts
        if new.models[name].automatic_port and name not in numbers:
            numbers[name] = next(free)
    models = {name: model.at_port(numbers.get(name, 0)) for name, model in new.models.items()}
    return replace(new, models=models)
