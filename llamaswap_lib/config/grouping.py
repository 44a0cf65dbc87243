"""From either spelling of groups and matrix to the one `Routing`.

Owns which spelling counts, and that groups and matrix make sense: members are models, each in one group, sets refer to
what is there and not in circles. Only the kind in use is validated. Reports what is wrong; pure otherwise.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from llamaswap_lib.core.eviction import dsl
from llamaswap_lib.core.eviction.group import GroupPolicy
from llamaswap_lib.core.eviction.matrix import MatrixPolicy
from llamaswap_lib.typed_yaml.nodes import MappingNode, ScalarNode, is_null, is_refused
from llamaswap_lib.typed_yaml.problems import KeyPath, Place, did_you_mean, quoted, shortened
from llamaswap_lib.typed_yaml.secrets import MASK, Hidden, changed, hidden, visible, visible_keys

from .document import Document
from .routing_keys import DeviceKeys, Group, Matrix, MatrixKeys, Routing, RoutingInput
from .schema import Config

DEFAULT_GROUP = "(default)"
MOST_CHARS = 200  # of what is said of a set, which may name a long chain of them
POLICY = re.compile(r"(?P<file>.+\.py):(?P<name>[^\W\d]\w*)\Z")
SHORT_NAME = re.compile(r"[a-zA-Z0-9.-]{1,32}\Z")
SETTINGS: KeyPath = ("routing", "router", "settings")
USE: KeyPath = ("routing", "router", "use")


def routing_of(given: RoutingInput, priorities: Mapping[str, int], config: Config, document: Document) -> Routing:
    """What the core is built from. `config` has its models and aliases; `priorities` are by id."""
    router, policy, matrix_keys, groups, path = _in_use(given, document)
    if given.routing.scheduler.use not in ("fifo", ""):
        got = quoted(given.routing.scheduler.use)
        document.error(("routing", "scheduler", "use"), f"expected fifo, got {got}")
    matrix = None
    if router in ("matrix", "memory") and matrix_keys is not None:
        matrix = _matrix(matrix_keys, (*path, "matrix"), config, document)
        groups = {}
    memory = given.routing.router.settings.memory
    _check_devices(memory.devices, document)
    return Routing(
        router=router,
        groups=_groups(groups, (*path, "groups"), config, document, is_whole=router != "memory"),
        matrix=matrix,
        memory=memory,
        policy=policy,
        fifo_priority=priorities,
        max_wait=given.routing.scheduler.settings.fifo.max_wait,
    )


def policy_of(routing: Routing) -> GroupPolicy | MatrixPolicy | None:
    """Who must go for whom; None for a policy of the user's own: only its code knows, and that is not executed here.

    With `use: memory` it says what may not run together whatever the memory; None if nothing is written of that.
    """
    if routing.router == "policy" or (routing.router == "memory" and not routing.groups and routing.matrix is None):
        return None
    if routing.matrix is not None:
        return MatrixPolicy(routing.matrix.sets, routing.matrix.evict_costs)
    return GroupPolicy(routing.groups)


def run_together(routing: Routing, models: tuple[str, ...]) -> bool:
    """Whether these models can all stay ready while each is asked for.

    With groups that is one group that does not swap: what the Go program demands of the targets of a spillover.
    """
    policy = policy_of(routing)
    if policy is None:
        return True
    if routing.router == "memory":
        models = tuple(filter(policy.names, models))
    elif isinstance(policy, GroupPolicy) and not any(set(models) <= set(group.members) for group in routing.groups):
        return False
    return not any(policy.evict(model, tuple(other for other in models if other != model)) for model in models)


def meeting(routing: Routing) -> Callable[[str, str], bool]:
    """Whether two models may ever be running at the same time, in whatever order they are asked for."""
    policy = policy_of(routing)
    if policy is None:
        return lambda _one, _other: True
    if routing.router != "memory":
        return policy.may_meet
    return lambda one, other: not (policy.names(one) and policy.names(other)) or policy.may_meet(one, other)


def _in_use(
    given: RoutingInput, document: Document
) -> tuple[str, str, MatrixKeys | None, Mapping[str, Group], KeyPath]:
    """Kind of router, policy, matrix, groups, and the path under which the last two stand."""
    router = given.routing.router
    settings = router.settings
    has_top_level = given.matrix is not None or bool(given.groups)
    written_use = document.node(USE) is not None and bool(router.use)
    if has_top_level and (written_use or settings.matrix is not None or settings.groups):
        older = ("matrix",) if given.matrix is not None else ("groups",)
        document.error(
            older, "cannot be used together with routing.router; move it into routing.router.settings", at_key=True
        )
    if given.matrix is not None and given.groups:
        document.error(("groups",), "cannot be used together with matrix; keep one of them", at_key=True)
    if has_top_level:
        return ("group" if given.matrix is None else "matrix"), "", given.matrix, given.groups, ()
    if router.use == "matrix" and settings.matrix is None:
        document.error(USE, "is matrix, but routing.router.settings.matrix is missing")
    if router.use == "memory" and settings.matrix is not None and settings.groups:
        document.error((*SETTINGS, "groups"), "cannot be used together with matrix; keep one of them", at_key=True)
    if router.use in ("", "group", "matrix", "memory"):
        return router.use or "group", "", settings.matrix, settings.groups, SETTINGS
    policy = _policy(router.use, document)
    policy = hidden(policy, MASK) if isinstance(router.use, Hidden) else policy
    return "policy", policy, None, settings.groups, SETTINGS


def _policy(use: str, document: Document) -> str:
    """The user's own policy, its file found from the folder of the configuration."""
    match = POLICY.match(use)
    if match is None:
        near = did_you_mean(use, ("group", "matrix", "memory"))
        document.error(USE, f"expected group, matrix, memory or path/to/file.py:ClassName, got {quoted(use)}{near}")
        return ""
    if document.problems.is_text_only:
        return use
    place = document.place(USE)
    folder = Path(place.source.name).parent if place is not None else Path()
    named = os.path.expanduser(match["file"])  # noqa: PTH111 - Path.expanduser fails where there is no such user
    file = os.path.abspath(folder / named)  # noqa: PTH100 - Path.absolute keeps '..'
    if not os.path.isfile(file):  # noqa: PTH113 - Path.is_file fails where a name is too long
        document.error(USE, f"there is no file {MASK if isinstance(use, Hidden) else file}")
    return f"{file}:{match['name']}"


def _groups(
    groups: Mapping[str, Group], path: KeyPath, config: Config, document: Document, *, is_whole: bool
) -> tuple[Group, ...]:
    """The groups with their real members; their names may be shown. `is_whole`: one more for the models in none."""
    holder: dict[str, str] = {}
    found = []
    for shown, (name, group) in zip(visible_keys(groups), groups.items(), strict=True):
        members = []
        for index, member in enumerate(group.members):
            at: KeyPath = (*path, name, "members", index)
            if member in holder:
                where = "this group" if holder[member] == name else f"the group {quoted(holder[member])}"
                document.error(at, f"{quoted(member)} is in {where} already")
            elif member in config.models:
                members.append(member)
            elif member in config.aliases:
                real = quoted(config.aliases[member])
                document.warn(at, f"{quoted(member)} is an alias and does nothing here; the model's id is {real}")
            else:
                document.error(at, document.unknown_model(member, config.models))
            holder.setdefault(member, name)
        found.append(replace(group, name=shown, members=tuple(members)))
    rest = tuple(sorted(model for model in config.models if model not in holder))
    if rest and is_whole:
        found.append(Group(_free_name(DEFAULT_GROUP, groups), members=rest))
    return tuple(found)


def _check_devices(devices: Mapping[str, DeviceKeys], document: Document) -> None:
    for name, device in devices.items():
        if device.capacity is not None and device.reserve is not None and _reserved(device) >= device.capacity:
            at = (*SETTINGS, "memory", "devices", name, "reserve")
            document.error(at, "expected less than the capacity: nothing would be left for models")


def _reserved(device: DeviceKeys) -> float:
    """Bytes of one whose capacity is given."""
    reserve, capacity = device.reserve or 0, device.capacity or 0
    return reserve * capacity if isinstance(reserve, float) else reserve


def _free_name(name: str, taken: Mapping[str, Group]) -> str:
    while name in taken:
        name += "'"
    return name


def _matrix(keys: MatrixKeys, path: KeyPath, config: Config, document: Document) -> Matrix:
    if not keys.sets and not is_refused(document.node((*path, "sets")), MappingNode):
        document.error((*path, "sets"), "expected at least one set", at_key=True)
    variables: dict[str, str] = {}
    for name, model in keys.variables.items():
        at: KeyPath = (*path, "vars", name)
        if not SHORT_NAME.match(name):
            document.error(at, "expected a short name of 1 to 32 letters, digits, - and .", at_key=True)
        if model in config.models:
            variables[name] = model
        elif is_null(document.node(at)):
            document.error(at, "expected the id of a model")
        else:
            document.error(at, document.unknown_model(model, config.models))

    def model_of(name: str) -> str | None:
        if name in keys.variables:
            return variables.get(name, name)  # a wrong one has been reported
        return name if name in config.models else None

    costs: dict[str, int] = {}
    for name, cost in keys.evict_costs.items():
        model_id = model_of(name)
        if model_id is None:
            message = document.unknown_model(name, [*keys.variables, *config.models])
            document.error((*path, "evict_costs", name), message, at_key=True)
        else:
            costs[model_id] = cost
    try:
        return Matrix(_shown_sets(dsl.compile_sets(keys.sets, model_of), keys.sets), costs)
    except dsl.DslError as error:
        _report(error, keys, (*path, "sets", error.set_name), config, document)
        return Matrix((), costs)


def _shown_sets(sets: tuple[dsl.MatrixSet, ...], texts: Mapping[str, str]) -> tuple[dsl.MatrixSet, ...]:
    """The sets with names and texts that may be shown; models and references are linked already."""
    shown = {
        name: (key, changed(text, _on_one_line))
        for key, (name, text) in zip(visible_keys(texts), texts.items(), strict=True)
    }
    return tuple(replace(one, name=shown[one.name][0], text=visible(shown[one.name][1])) for one in sets)


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _report(error: dsl.DslError, keys: MatrixKeys, path: KeyPath, config: Config, document: Document) -> None:
    message = shortened(error.message, MOST_CHARS)
    if isinstance(keys.sets[error.set_name], Hidden):
        message = (
            "with the values from the environment this is not an expression, or it names something that does not exist"
        )
    elif error.unknown:
        known = keys.sets if error.unknown.startswith("+") else [*keys.variables, *config.models]
        message += did_you_mean(error.unknown.lstrip("+"), known)
    node = document.node(path)
    place = document.place(path)
    if isinstance(node, ScalarNode) and place is not None and node.shown is None:
        place = _inside(node, error.position)
    document.problems.error(place, path, message)


def _inside(node: ScalarNode, position: int) -> Place:
    """The place of one character of a scalar, as far as it can be told."""
    place = node.place
    quotes = place.end_column - place.column - len(node.text)
    if quotes not in (0, 2):
        return place  # it goes over several lines, or has escapes in it
    column = place.column + quotes // 2 + position
    return place._replace(column=column, end_column=column + 1)
