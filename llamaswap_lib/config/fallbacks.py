"""`fallback` of models and selectors: which models answer in place of one that cannot. Pure but for what it reports.

A model that answers in place of another has a `fallback` of its own, which follows behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llamaswap_lib.typed_yaml.problems import KeyPath, quoted, shortened

from .document import Document
from .schema import Config

MOST_WAY_CHARS = 500  # that an error shows


def same(name: str, config: Config) -> str:
    """The model that a name means: the id of one of ours, or `peer/model`."""
    offered = config.resolve_peer(name)
    return f"{offered.peer}/{offered.model}" if offered else config.resolve(name) or name


def chain_of(name: str, config: Config) -> tuple[str, ...]:
    """What answers in place of a model of ours, a selector or a pool, the first one first; each model once.

    Behind what a selector or a pool says itself, that of its targets follows.
    """
    found: dict[str, str] = {}
    chooser = config.selectors.get(name) or config.pools.get(name)
    if chooser is None:
        _add(_own(name, config), config, found)
        return tuple(found.values())
    _add(chooser.fallback, config, found)
    for target in chooser.targets:
        _add(_own(target, config), config, found)
    return tuple(found.values())


def _add(fallback: Sequence[str], config: Config, found: dict[str, str]) -> None:
    """Each with what follows behind it; `found`: model -> the name by which it is asked."""
    following = [*reversed(fallback)]  # a chain may have thousands of models: no call for each
    while following:
        name = following.pop()
        if (model := same(name, config)) not in found:
            found[model] = name
            following += reversed(_own(name, config))


def _own(name: str, config: Config) -> tuple[str, ...]:
    model = config.resolve(name)
    return () if model is None else config.models[model].fallback


def check_fallbacks(config: Config, document: Document) -> None:
    """Report names that lead nowhere, and models that would answer in place of themselves."""
    for path, fallback in _written(config):
        for index, other in enumerate(fallback):
            at: KeyPath = (*path, "fallback", index)
            is_model = config.resolve(other) is not None or other in config.peer_models
            if is_model:
                continue
            if other in config.selectors:
                document.error(at, f"the fallback {quoted(other)} is a selector; expected a model")
            else:
                known = [*config.models, *config.aliases, *config.peer_models]
                document.error(at, document.unknown_model(other, known))
    for name in config.models:
        if circle := _circle(name, config):
            way = shortened(" -> ".join(map(quoted, circle)), MOST_WAY_CHARS)
            document.error(("models", name, "fallback"), f"leads back to the model: {way}")


def _written(config: Config) -> Iterator[tuple[KeyPath, tuple[str, ...]]]:
    for name, model in config.models.items():
        yield ("models", name), model.fallback
    for name, selector in config.selectors.items():
        yield ("selectors", name), selector.fallback


def _circle(start: str, config: Config) -> list[str]:
    """The shortest way from a model over the fallbacks back to it; [] where there is none."""
    models, before = [start], dict[str, str]()
    for model in models:
        for other in _own(model, config):
            following = config.resolve(other)
            if following == start:
                way = [start, model]
                while way[-1] != start:
                    way.append(before[way[-1]])
                return way[::-1]
            if following is not None and following not in before:
                before[following] = model
                models.append(following)
    return []
