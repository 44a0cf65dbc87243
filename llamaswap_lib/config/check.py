"""`llamaswap check`: everything that is wrong or odd about a configuration, all at once.

Owns the warnings that need more than one value: ports that clash, models in no group or set, names that hide others,
keys without effect; and whether a policy that the user has written can be made. Errors and the loader's own warnings
come from `load.py`, those of commands from `command_check.py`. Looks at the file system and PATH; starts no model. The
server has the same warnings, in its log. It also makes sure that checking a text that a client has sent tells that
client nothing about this machine.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from llamaswap_lib.core.eviction.matrix import MatrixPolicy
from llamaswap_lib.errors import ConfigError
from llamaswap_lib.typed_yaml.nodes import MACRO, MappingNode, Node, ScalarNode, SequenceNode, walk
from llamaswap_lib.typed_yaml.problems import KeyPath, Place, Problem, in_order, quoted
from llamaswap_lib.typed_yaml.secrets import Hidden

from . import grouping
from .addresses import address_of, leads_elsewhere
from .command_check import CommandCheck
from .document import Document
from .hints import renamed
from .load import Loaded, Report, inspect, inspect_text, inspect_texts, secret_values
from .own_policy import load_policy
from .routing_keys import Group, RoutingInput
from .schema import Config
from .sections import Auto

TEXT_NAME = "config.yaml"  # of a text that somebody has sent, in what is said of it
UNKNOWN = "depends on the environment, whose values are not looked at here, so it is not checked"
EVERYWHERE = ("", "0.0.0.0", "::")
Also = Callable[[Config, Document], None]  # warns of more


class Listen(NamedTuple):
    """Where the server will listen: `host` '' for every address; `is_told`: somebody has said so."""

    host: str = ""
    port: int = 8080
    is_told: bool = False


def check(
    files: Sequence[Path],
    environment: Mapping[str, str] | None = None,
    listen: Listen | None = None,
    also: Also | None = None,
) -> Report:
    """Everything there is to say about the configuration that these files make together."""
    return report(inspect(files, environment), os.environ if environment is None else environment, listen, also)


def report(
    loaded: Loaded, environment: Mapping[str, str], listen: Listen | None = None, also: Also | None = None
) -> Report:
    """The same for one that is loaded already. `also` looks at what is not for this room to know."""
    if not loaded.problems.errors:
        _look_around(loaded, environment, listen or Listen())
        _check_policy(loaded.config, loaded.document)
    if also is not None and not loaded.problems.errors:
        also(loaded.config, loaded.document)
    errors, warnings = in_order(loaded.problems.errors), with_hints_last(loaded.problems.warnings)
    return Report(errors, warnings, None if errors else replace(loaded.config, warnings=warnings))


def to_be_served(loaded: Loaded, listen: Listen | None) -> Config:
    """The configuration with all its warnings, to be served; raises InvalidConfig for errors.

    Where it listens is not known yet if `listen` is None. The user's own policy is not looked at here: it is made right
    after that, and executed once.
    """
    loaded.problems.raise_errors()
    _look_around(loaded, os.environ, listen)
    return replace(loaded.config, warnings=with_hints_last(loaded.problems.warnings))


def with_hints_last(warnings: Iterable[Problem]) -> tuple[Problem, ...]:
    """In the order in which they are told."""
    return tuple(sorted(in_order(warnings), key=lambda problem: problem.is_hint))


def _look_around(loaded: Loaded, environment: Mapping[str, str], listen: Listen | None) -> None:
    config, document = loaded.config, loaded.document
    if not config.models and not config.peers:
        document.warn((), "there are no models and no peers")
    commands = CommandCheck(environment, loaded.written, document)
    for model in config.models.values():
        commands.check(model)
    _check_ports(config, document)
    _check_groups(loaded.given, document)
    _check_places(config, document)
    _check_names(config, document)
    if listen is not None:
        _check_loops(config, document, listen)
    _check_idle_keys(loaded, document)
    if loaded.written is not None:
        _check_macros(loaded.written, document)
    document.problems.keep_secret(secret_values(config))


# -- ports --


def _check_ports(config: Config, document: Document) -> None:
    meet = grouping.meeting(config.routing)
    found: dict[tuple[str, int], list[str]] = {}
    for model in config.models.values():
        if model.is_announced:
            continue
        found.setdefault(address_of(model.proxy), []).append(model.id)
    for (_, port), models in found.items():
        for number, other in enumerate(models):
            one = next((one for one in models[:number] if meet(one, other)), None)  # one of them is enough
            if one is not None:
                is_hidden = any(isinstance(config.models[model].proxy, Hidden) for model in (one, other))
                where = "the same port" if is_hidden else f"port {port}"
                message = f"listens on {where}, as {quoted(one)} does; they may run at the same time"
                document.warn(("models", other, "proxy"), message, family="same port")


def _check_loops(config: Config, document: Document, listen: Listen) -> None:
    """Proxies that lead to the server itself, as far as that can be seen without a look-up."""
    where = f"port {listen.port}, where llamaswap itself listens"
    where += "" if listen.is_told else " unless -listen says otherwise"
    for name, model in config.models.items():
        makes_way = model.automatic_port is not None and model.automatic_port.number == listen.port
        if not (makes_way or model.is_announced) and _leads_to(model.proxy, listen):
            message = f"leads to {where}; the model could not be loaded"
            document.warn(("models", name, "proxy"), message, family="loop")
    for name, peer in config.peers.items():
        if _leads_to(peer.proxy, listen):
            document.warn(("peers", name, "proxy"), f"leads to {where}; requests would go round in a circle")


def _leads_to(proxy: str, listen: Listen) -> bool:
    host, port = address_of(proxy)
    if listen.host in EVERYWHERE:
        is_here = _is_loopback(host) or host == socket.gethostname().lower()
    else:
        is_here = host == listen.host or (_is_loopback(host) and _is_loopback(listen.host))
    return is_here and port == listen.port


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1", *EVERYWHERE) or host.startswith("127.")


# -- places and names --


def _check_groups(given: RoutingInput, document: Document) -> None:
    """Groups that do nothing, or are mistaken for the one of all models in no group."""
    settings = given.routing.router.settings
    for base, groups in (((), given.groups), (grouping.SETTINGS, settings.groups)):
        for name, group in groups.items():
            path: KeyPath = (*base, "groups", name)
            if not group.members and not _has_misnamed_members(document.node(path)):
                message = "has no members, so it does nothing; list ids of models under members, or delete it"
                document.warn(path, message, at_key=True, family="empty group")
            if name == grouping.DEFAULT_GROUP:
                message = (
                    f"{quoted(name)} is the name of the group of all models that are in no other; take another name"
                )
                document.warn(path, message, at_key=True)


def _has_misnamed_members(group: object) -> bool:
    """Whether a key stands there that is an unknown one and means the members."""
    return isinstance(group, MappingNode) and any(renamed(Group, name) == "members" for name in group.entries)


def _check_places(config: Config, document: Document) -> None:
    """Models that no group or set names, where the user has begun to name them."""
    policy = grouping.policy_of(config.routing)
    if config.routing.router == "memory":
        return
    if isinstance(policy, MatrixPolicy):
        for model in config.models:
            if not policy.names(model):
                message = "is in no set of the matrix, so it runs alone"
                document.hint(("models", model), message, at_key=True, family="no set")
        return
    groups = config.routing.groups
    if len(groups) > 1 and groups[-1].name.startswith(grouping.DEFAULT_GROUP):
        for model in groups[-1].members:
            message = "is in no group; it is in the default one, which swaps and is exclusive"
            document.hint(("models", model), message, at_key=True, family="no group")


def _check_names(config: Config, document: Document) -> None:
    for name, model in config.models.items():
        for index, alias in enumerate(model.aliases):
            path: KeyPath = ("models", name, "aliases", index)
            if alias == name:
                document.hint(path, "is the id of this model already")
            elif alias in config.models:
                document.warn(path, f"{quoted(alias)} is the id of a model, which wins; the alias does nothing")
    for name, peer in config.peers.items():
        for index, offered in enumerate(() if isinstance(peer.models, Auto) else peer.models):
            path = ("peers", name, "models", index)
            full = quoted(f"{name}/{offered}")
            if offered in config.selectors or (config.resolve(offered) is not None and not peer.pooled):
                message = f"{quoted(offered)} is also a name on this server, so this one is only {full}"
                document.hint(path, message)
            elif config.resolve(offered) is not None:
                message = f"{quoted(offered)} is also a model of this server, so requests for it go to either;"
                document.hint(path, f"{message} with pooled: false this one is only {full}")
            elif offered not in config.peer_models and not peer.pooled:
                document.hint(path, f"other peers have {quoted(offered)} too, so this one is only {full}")


def _check_policy(config: Config, document: Document) -> None:
    """The one error that only a look around finds: the loader does not execute what the user wrote."""
    if config.routing.policy and not document.problems.is_text_only:
        try:
            load_policy(config.routing.policy)
        except ConfigError as error:
            document.error(grouping.USE, str(error))


# -- keys without effect --


def _check_idle_keys(loaded: Loaded, document: Document) -> None:
    settings = loaded.given.routing.router.settings
    base: KeyPath = grouping.SETTINGS
    router = loaded.config.routing.router
    if settings.matrix is not None and router not in ("matrix", "memory"):
        document.warn((*base, "matrix"), "does nothing while routing.router.use is not matrix", at_key=True)
    _check_idle_keys_of_memory(loaded, document)
    if settings.groups and router == "matrix":
        document.warn((*base, "groups"), "does nothing while routing.router.use is matrix", at_key=True)
    if loaded.config.store.path and document.node(("metricsMaxInMemory",)) is not None:
        document.hint(("metricsMaxInMemory",), "does nothing beside store.path", at_key=True)
    for name in ("maxRows", "maxAge"):
        if not loaded.config.store.path and document.node(("store", name)) is not None:
            document.warn(("store", name), "does nothing without store.path", at_key=True)
    for name, model in loaded.config.models.items():
        if not model.is_announced and document.node(("models", name, "queueTimeout")) is not None:
            document.warn(("models", name, "queueTimeout"), "does nothing without proxy: announced", at_key=True)
    _check_idle_keys_of_queues(loaded.config, document)
    for name, selector in loaded.config.selectors.items():
        for key in ("spillover", "sticky") if selector.strategy not in ("spillover", "spread") else ():
            if document.node(("selectors", name, "settings", key)) is not None:
                message = f"does nothing with the strategy {selector.strategy}"
                document.warn(("selectors", name, "settings", key), message, at_key=True)


def _check_idle_keys_of_queues(config: Config, document: Document) -> None:
    """`whenQueued`, `pool` and `lostAfter`, where no model is ever queued, or one runs on this machine."""
    for group in config.routing.groups:
        if group.when_queued == "evict" and not any(config.models[member].is_announced for member in group.members):
            found = [(*base, "groups", group.name, "whenQueued") for base in ((), grouping.SETTINGS)]
            at = next((path for path in found if document.node(path) is not None), found[0])
            document.warn(at, "does nothing without a member with proxy: announced", at_key=True)
    queued = {model.pool for model in config.models.values() if model.is_announced}
    for name, model in config.models.items():
        for key in ("pool", "lostAfter") if not leads_elsewhere(model.proxy) else ():
            if document.node(("models", name, key)) is not None:
                document.warn(("models", name, key), "does nothing: its proxy is on this machine", at_key=True)
        if leads_elsewhere(model.proxy) and model.pool and model.pool not in queued:
            message = "does nothing without a model of this pool with proxy: announced"
            document.warn(("models", name, "pool"), message, at_key=True)


def _check_idle_keys_of_memory(loaded: Loaded, document: Document) -> None:
    base: KeyPath = (*grouping.SETTINGS, "memory")
    devices = loaded.config.routing.memory.devices
    if loaded.config.routing.router != "memory":
        paths: list[KeyPath] = [("models", name, key) for name in loaded.config.models for key in ("pinned", "gpus")]
        paths += [(*base, "devices", name, "yieldTo") for name in devices]
        for path in ((*base, "minResidency"), (*base, "settleTimeout"), *paths):
            if document.node(path) is not None:
                document.warn(path, "does nothing while routing.router.use is not memory", at_key=True)
        return
    for name, device in devices.items():
        if device.yield_to == "others" and device.reserve == 0:
            path = (*base, "devices", name, "yieldTo")
            document.warn(path, "does nothing with a reserve of 0: others cannot leave less than that", at_key=True)


def _check_macros(written: MappingNode, document: Document) -> None:
    """Macros that nothing uses."""
    models = written.mapping("models")
    holders: list[tuple[KeyPath, MappingNode]] = [((), written)]
    for name, (_, model) in () if models is None else models.entries.items():
        if isinstance(model, MappingNode):
            holders.append((("models", name), model))
    everywhere = _all_text(written)
    for path, holder in holders:
        macros = holder.mapping("macros")
        for name in () if macros is None else macros.entries:
            if "${" + name + "}" not in everywhere:
                document.hint((*path, "macros", name), "nothing uses this macro", at_key=True)


def _all_text(node: MappingNode) -> str:
    """Every scalar of the tree that has a macro in it, and the keys that may."""
    values = [scalar.text for _, scalar in walk(node) if scalar.has_macro]
    return "\n".join([*values, *_keys(node)])


def _keys(node: MappingNode) -> Iterator[str]:
    for name, (_, value) in node.entries.items():
        if "${" in name:
            yield name
        if isinstance(value, MappingNode):
            yield from _keys(value)


# -- texts that somebody has sent --


class Names(Mapping[str, str]):
    """Variables by name, each with a stand-in for its value. They cannot be listed: a typing error finds no other."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def __getitem__(self, name: str) -> str:
        if name not in self._names:
            raise KeyError(name)
        return f"env-{name}"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def check_text(text: bytes, variables: Collection[str], listen: Listen) -> Report:
    """Everything that can be said of the text alone; `variables` are the names of those that are set.

    No file is opened, not even to see whether it is there, no policy is imported, and of the environment only the names
    of variables are read: a stand-in takes the place of each value. What depends on a value cannot be judged, and is a
    warning. As costly as loading the text.
    """
    names = Names(variables)
    loaded = inspect_text(text, TEXT_NAME, names, is_text_only=True)
    problems = loaded.problems
    unknown = {place for root in (loaded.document.root, loaded.written) if root for place in _unknown_places(root)}
    forgiven = [Problem(one.place, one.path, UNKNOWN) for one in problems.errors if one.place in unknown]
    problems.errors[:] = [one for one in problems.errors if one.place not in unknown]
    found = report(loaded._replace(config=_without_unknown_urls(loaded.config)), names, listen)
    known = [one for one in found.warnings if one.place not in unknown]
    return found._replace(warnings=with_hints_last([*known, *forgiven]))


def _without_unknown_urls(config: Config) -> Config:
    """The configuration with a good URL, another one each time, for each that is not known."""
    models = {
        name: replace(model, proxy=f"http://unknown-{number}.invalid") if _is_unknown(model.proxy) else model
        for number, (name, model) in enumerate(config.models.items())
    }
    peers = {
        name: replace(peer, proxy="http://unknown.invalid") if isinstance(peer.proxy, Hidden) else peer
        for name, peer in config.peers.items()
    }
    return replace(config, models=models, peers=peers)


def _is_unknown(url: str) -> bool:
    return isinstance(url, Hidden) or MACRO.search(url) is not None  # a port that only a command of ours has is one


def check_files(texts: Sequence[tuple[str, bytes]], environment: Mapping[str, str], listen: Listen) -> Report:
    """What `check` says of the files with these names and texts: everything is looked at, as at the start."""
    return report(inspect_texts(texts, environment), environment, listen)


def _unknown_places(node: Node) -> Iterator[Place]:
    """Where values and keys stand that hold something of the environment."""
    if isinstance(node, ScalarNode):
        if node.shown is not None:
            yield node.place
    elif isinstance(node, SequenceNode):
        for item in node.items:
            yield from _unknown_places(item)
    elif isinstance(node, MappingNode):
        for key, value in node.entries.values():
            yield from _unknown_places(key)
            yield from _unknown_places(value)
