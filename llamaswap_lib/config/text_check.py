"""What `check` says of a text that somebody has sent: nothing but the text is looked at.

Owns what keeps such a text from telling its sender about this machine. No file is opened, not even to see whether it is
there, no policy is imported, and of the environment only the names of variables are read: a stand-in takes the place of
each value. What depends on a value cannot be judged, and is a warning. Pure; as costly as loading the text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from .check import Listen, Report, report, with_hints_last
from .hidden import Hidden
from .load import inspect_text, inspect_texts
from .nodes import MACRO, MappingNode, Node, ScalarNode, SequenceNode
from .problems import Place, Problem
from .schema import Config

NAME = "config.yaml"  # of the text, in what is said of it
UNKNOWN = "depends on the environment, whose values are not looked at here, so it is not checked"


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
    """Everything that can be said of the text alone; `variables` are the names of those that are set."""
    names = Names(variables)
    loaded = inspect_text(text, NAME, names, is_text_only=True)
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
