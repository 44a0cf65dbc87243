"""Every name that a request can have, and whether these names collide.

Owns aliases, peers' models, selectors and pins: what each name leads to, what collides, what leads nowhere. Everything
wrong is reported with its place; pure otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from llamaswap_lib.typed_yaml.nodes import MappingNode, Node, SequenceNode, is_null, is_refused
from llamaswap_lib.typed_yaml.problems import KeyPath, quoted
from llamaswap_lib.typed_yaml.secrets import changed, text_of, visible

from .document import Document
from .schema import Config, PeerModel
from .sections import Auto, Selector, SelectorSettings

SPREAD_AT = 8  # requests of a model on one box before it is loaded on another one: what a server batches well
RunTogether = Callable[[tuple[str, ...]], bool]


def aliases_of(config: Config, document: Document) -> dict[str, str]:
    """Alias -> id, in byte order of the models' ids; the keys of setParamsByID are aliases too."""
    found: dict[str, str] = {}
    for name, model in config.models.items():
        for index, alias in enumerate(model.aliases):
            if alias in found:
                document.error(
                    ("models", name, "aliases", index),
                    f"{quoted(alias)} is already an alias of {_owner(found[alias], name)}",
                )
            found.setdefault(alias, name)
    for name, path, alias in _keys_by_id(config):
        if alias in config.models:
            document.error(path, f"the key {quoted(alias)} becomes an alias, but is the id of a model", at_key=True)
        elif found.get(alias, name) != name:
            document.error(
                path,
                f"the key {quoted(alias)} becomes an alias, but is already an alias of {quoted(found[alias])}",
                at_key=True,
            )
        found.setdefault(alias, name)
    return found


def _owner(owner: str, name: str) -> str:
    return "this model" if owner == name else quoted(owner)


def _keys_by_id(config: Config) -> Iterator[tuple[str, KeyPath, str]]:
    for name in sorted(config.models):
        for alias in config.models[name].filters.set_params_by_id:
            if alias != name:
                yield name, ("models", name, "filters", "setParamsByID", alias), alias


def with_named(config: Config) -> Config:
    """With `models: auto`, a peer has the models that selectors, fallbacks and pins name, whatever it says itself."""
    targets = [target for selector in config.selectors.values() for target in selector.targets]
    targets += [name for selector in config.selectors.values() for name in selector.fallback]
    targets += [name for model in config.models.values() for name in model.fallback]
    targets += [target for profile in config.profiles.values() for target in profile.pins.values()]
    named: dict[str, list[str]] = {}
    for name, peer in config.peers.items():
        if isinstance(peer.models, Auto):
            named[name] = [target.removeprefix(f"{name}/") for target in targets if target.startswith(f"{name}/")]
    return _with_models(config, named)


def with_offers(config: Config, offers: Mapping[str, Iterable[str]]) -> Config:
    """With `models: auto`, the peers have what they say, by the name of each peer."""
    config = _with_models(config, {name: [*config.peers[name].models, *offers.get(name, ())] for name in config.peers})
    return replace(config, peer_models=peer_models_of(config), pools=pools_of(config))


def _with_models(config: Config, models: Mapping[str, Iterable[str]]) -> Config:
    peers = {
        name: replace(peer, models=Auto(dict.fromkeys(models[name]))) if isinstance(peer.models, Auto) else peer
        for name, peer in config.peers.items()
    }
    return replace(config, peers=peers)


def peer_models_of(config: Config, document: Document | None = None) -> dict[str, PeerModel]:
    """What peers offer, by full name, and by the bare one where it is one peer's alone.

    Without a document nothing is reported: of two full names that are the same the first one counts.
    """
    full: dict[str, PeerModel] = {}
    bare: dict[str, list[PeerModel]] = {}
    for name, peer in config.peers.items():
        for index, model in enumerate(dict.fromkeys(peer.models)):
            offered = PeerModel(name, model)
            path: KeyPath = ("peers", name, "models", index)
            full_name = text_of(f"{name}/{model}", f"{visible(name)}/{visible(model)}")
            if document is not None and not isinstance(peer.models, Auto):
                _report_full_name(full_name, path, config, full, document)
            full.setdefault(full_name, offered)
            bare.setdefault(model, []).append(offered)
    alone = {model: of_all[0] for model, offers in bare.items() if len(of_all := _pooled(offers, config)) == 1}
    return {**alone, **full}


def _pooled(offers: list[PeerModel], config: Config) -> list[PeerModel]:
    """Those that the bare name leads to: of peers that keep their models to themselves only where no other has it."""
    return [offer for offer in offers if config.peers[offer.peer].pooled] or offers


def pools_of(config: Config) -> dict[str, Selector]:
    """By name: what chooses among all that have it, where several peers do, or this server and a peer.

    A selector of that name takes its place, and so does the full name of a model of a peer. A peer may keep its models
    to themselves (`pooled: false`).
    """
    full = {f"{name}/{model}" for name, peer in config.peers.items() for model in peer.models}
    offers: dict[str, list[str]] = {}
    for name, peer in config.peers.items():
        for model in dict.fromkeys(peer.models) if peer.pooled else ():
            offers.setdefault(model, []).append(f"{name}/{model}")
    found = {}
    for name, targets in offers.items():
        own = [name] if config.resolve(name) is not None else []
        if len([*own, *targets]) > 1 and name not in config.selectors and name not in full:
            found[name] = Selector("spread", (*own, *targets), SelectorSettings(SPREAD_AT))
    return found


def _report_full_name(
    name: str, path: KeyPath, config: Config, full: Mapping[str, PeerModel], document: Document
) -> None:
    taken = [f"models.{name}"] if name in config.models else []
    taken += ["an alias"] if name in config.aliases else []
    taken += ["a selector"] if name in config.selectors else []
    taken += [f"the pin of profile {quoted(one)}" for one, profile in config.profiles.items() if name in profile.pins]
    taken += [f"a model of peer {quoted(full[name].peer)}"] if name in full else []
    for what in taken:
        document.error(path, f"the full name {quoted(name)} is that of {what} too")


def check_peers(config: Config, document: Document) -> None:
    for name, peer in config.peers.items():
        if is_refused(document.node(("peers", name)), MappingNode):
            continue
        if not (peer.models or isinstance(peer.models, Auto)) and not _has_refused(
            ("peers", name, "models"), SequenceNode, document
        ):
            document.error(("peers", name, "models"), "expected at least one model of this peer", at_key=True)
        if not peer.api_key.strip().isprintable():  # it would end the header that brings it
            document.error(("peers", name, "apiKey"), "expected a key in one line, without control characters")


def with_default_spillover(name: str, selector: Selector, document: Document) -> Selector:
    """The selector with the default of its strategy where the file does not say when it spills over."""
    if selector.strategy == "spread" and document.node(("selectors", name, "settings", "spillover")) is None:
        return replace(selector, settings=replace(selector.settings, spillover=SPREAD_AT))
    return selector


def check_selectors(config: Config, document: Document, run_together: RunTogether) -> None:
    for name, selector in config.selectors.items():
        path: KeyPath = ("selectors", name)
        if not name.strip():
            document.error(path, "expected a name for the selector", at_key=True)
        if name in config.models:
            document.error(path, f"the selector has the name of the model {quoted(name)}", at_key=True)
        elif name in config.aliases:
            document.error(
                path, f"the selector has the name of an alias of {quoted(config.aliases[name])}", at_key=True
            )
        if is_refused(document.node(path), MappingNode):
            continue
        if not selector.strategy and is_null(document.node((*path, "strategy"))):
            document.error(path, "expected a strategy: one of pin, warm, spillover, spread, failover", at_key=True)
        if not selector.targets and not _has_refused((*path, "targets"), SequenceNode, document):
            document.error((*path, "targets"), "expected at least one target", at_key=True)
        _check_targets(path, selector, config, document)
        if selector.strategy in ("spillover", "spread", "failover"):
            _check_twice(path, selector, config, document)
        if selector.strategy in ("spillover", "spread") and selector.settings.spillover < 1:
            got = visible(selector.settings.spillover)
            document.error((*path, "settings", "spillover"), f"expected an integer of at least 1, got {got}")
        if selector.strategy == "spillover":
            _check_together(path, selector, config, document, run_together)


def _has_refused(path: KeyPath, expected: type[SequenceNode] | type[MappingNode], document: Document) -> bool:
    """Whether something stands there that was refused, or items that were, so that their absence is no news."""
    node = document.node(path)
    items: list[Node] = node.items if isinstance(node, SequenceNode) else []
    if isinstance(node, MappingNode):
        items = [entry.value for entry in node.entries.values()]
    return is_refused(node, expected) or not all(map(is_null, items))


def _check_targets(path: KeyPath, selector: Selector, config: Config, document: Document) -> None:
    for index, target in enumerate(selector.targets):
        at: KeyPath = (*path, "targets", index)
        if target in config.selectors and config.resolve(target) is None:
            document.error(at, f"the target {quoted(target)} is a selector; selectors cannot lead to selectors")
        elif config.resolve(target) is None and target not in config.peer_models:
            document.error(at, document.unknown_model(target, _targets(config)))


def _check_twice(path: KeyPath, selector: Selector, config: Config, document: Document) -> None:
    """Targets that are the same model: its requests would be counted twice, and it would be asked again in vain."""
    models = [config.resolve(target) or config.resolve_peer(target) or target for target in selector.targets]
    repeated = sorted({_name_of(model) for model in models if models.count(model) > 1})
    if repeated:
        document.error((*path, "targets"), f"the model {quoted(repeated[0])} is a target twice")


def _name_of(model: str | PeerModel) -> str:
    return model if isinstance(model, str) else f"{model.peer}/{model.model}"


def _check_together(
    path: KeyPath, selector: Selector, config: Config, document: Document, together: RunTogether
) -> None:
    local = [config.resolve(target) for target in selector.targets]
    models = tuple(dict.fromkeys(model for model in local if model is not None))
    if len(models) == len(local) > 1 and not together(models):
        document.error((*path, "targets"), "these models cannot run together, so nothing can spill over")


def check_profiles(config: Config, document: Document) -> None:
    for name, profile in config.profiles.items():
        path: KeyPath = ("profiles", name)
        if not name.strip():
            document.error(path, "expected a name for the profile", at_key=True)
        is_whole = not is_refused(document.node(path), MappingNode)
        if is_whole and not profile.pins and not _has_refused((*path, "pins"), MappingNode, document):
            document.error((*path, "pins"), "expected at least one pin", at_key=True)
        for pin, target in profile.pins.items():
            at: KeyPath = (*path, "pins", pin)
            if not pin.strip():
                document.error(at, "expected a name for the pin", at_key=True)
            known = config.resolve(target) is not None or target in config.peer_models or target in config.selectors
            if target and not known:
                document.error(at, document.unknown_model(target, [*_targets(config), *config.selectors]))


def priorities_of(priority: Mapping[str, int], config: Config, document: Document) -> dict[str, int]:
    """Priorities by id; a name that is no model is reported."""
    path: KeyPath = ("routing", "scheduler", "settings", "fifo", "priority")
    found: dict[str, int] = {}
    for name, value in priority.items():
        model = config.resolve(name)
        if model is None:
            document.error((*path, name), document.unknown_model(name, _local(config)), at_key=True)
        elif model in found and found[model] != value:
            document.error(
                (*path, name), f"{quoted(model)} has the priority {visible(found[model])} already", at_key=True
            )
        else:
            found[model] = value
    return found


def preload_of(config: Config, document: Document) -> tuple[str, ...]:
    """The ids to load at start; unknown ones are skipped with a warning."""
    path: KeyPath = ("hooks", "on_startup", "preload")
    found: list[str] = []
    for index, name in enumerate(config.hooks.on_startup.preload):
        name = changed(name, str.strip)
        model = config.resolve(name)
        if model is not None:
            found.append(model)
        elif name:
            document.warn((*path, index), f"{document.unknown_model(name, _local(config))}; it is skipped")
    return tuple(dict.fromkeys(found))


def _local(config: Config) -> Iterable[str]:
    return [*config.models, *config.aliases]


def _targets(config: Config) -> Iterable[str]:
    return [*_local(config), *config.peer_models]
