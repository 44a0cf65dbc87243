"""The language of the matrix: `a & (b | c) & +other` says which models may run together.

Owns the parser and the linker. `compile_sets` turns named texts into linked sets in which every name is a model's id
and every `+set` the index of an earlier set. No set is expanded: the work is linear in the length of the texts.
AND binds tighter than OR. Pure: any thread; the only error is `DslError`, which says which set and where in its text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Union

MAX_DEPTH = 100
TOKEN = re.compile(r"\s*(?:(?P<name>\+?[A-Za-z0-9_.-]+)|(?P<mark>[&|()])|(?P<end>$))")


@dataclass(frozen=True, slots=True)
class Member:
    """One model, by its id."""

    model: str


@dataclass(frozen=True, slots=True)
class Reference:
    """All that an earlier set allows; `index` is its place among the compiled sets."""

    index: int


@dataclass(frozen=True, slots=True)
class Both:
    """AND: everything that the parts allow may run together."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """OR: one of the parts, the earlier ones preferred."""

    parts: tuple[Expression, ...]


Expression = Union[Member, Reference, Both, Either]  # noqa: UP007 - the classes above refer to it before it exists


@dataclass(frozen=True, slots=True)
class MatrixSet:
    """A named expression. References point to sets that stand earlier."""

    name: str
    expression: Expression
    text: str = field(default="", compare=False)  # as written, except for line ends and repeated blanks


class DslError(Exception):
    """The text is not an expression, or it names a model or set that does not exist."""

    def __init__(self, set_name: str, position: int, message: str, unknown: str = "") -> None:
        super().__init__(message)
        self.set_name = set_name
        self.position = position  # in characters from the start of the set's text
        self.message = message
        self.unknown = unknown  # the name that does not exist, with its + if it is a set


class Token(NamedTuple):
    text: str  # '' is the end
    position: int


def compile_sets(texts: Mapping[str, str], model_of: Callable[[str], str | None]) -> tuple[MatrixSet, ...]:
    """Parse and link the sets, in the order in which ties are broken: as defined, but what a set uses before it.

    `model_of` gives the id that a name stands for, or None. Raises DslError.
    """
    parsed = {name: list(_tokens(name, text)) for name, text in texts.items()}
    order = _order(parsed)
    index = {name: place for place, name in enumerate(order)}
    return tuple(
        MatrixSet(name, _Parser(name, parsed[name], index, model_of).parse(), " ".join(texts[name].split()))
        for name in order
    )


def _tokens(name: str, text: str) -> Iterator[Token]:
    position = 0
    while True:
        match = TOKEN.match(text, position)
        if match is None:
            at = position + len(text[position:]) - len(text[position:].lstrip())
            raise DslError(name, at, f"unexpected character {text[at]!r}")
        kind = str(match.lastgroup)
        yield Token(match[kind], match.start(kind))
        if kind == "end":
            return
        position = match.end()


def _order(parsed: Mapping[str, Sequence[Token]]) -> list[str]:
    """The names of the sets, each after those that it uses; iterative, because chains may be long."""
    order: dict[str, None] = {}
    for start in parsed:
        trail: list[tuple[str, Iterator[Token]]] = [(start, iter(parsed[start]))]
        while trail:
            name, rest = trail[-1]
            token = next((t for t in rest if t.text.startswith("+") and t.text[1:] not in order), None)
            if token is None or name in order:
                order[name] = None
                trail.pop()
                continue
            used = token.text[1:]
            if used not in parsed:
                raise DslError(name, token.position, f"there is no set {used!r}", token.text)
            open_names = [open_name for open_name, _ in trail]
            if used in open_names:
                circle = " -> ".join([*open_names[open_names.index(used) :], used])
                raise DslError(name, token.position, f"sets use each other in a circle: {circle}")
            trail.append((used, iter(parsed[used])))
    return list(order)


class _Parser:
    """Recursive descent over the tokens of one set."""

    def __init__(
        self, name: str, tokens: Sequence[Token], index: Mapping[str, int], model_of: Callable[[str], str | None]
    ) -> None:
        self.name = name
        self.tokens = tokens
        self.at = 0
        self.index = index
        self.model_of = model_of

    def parse(self) -> Expression:
        expression = self.either(0)
        if self.tokens[self.at].text:
            raise self.error("expected & or | here")
        return expression

    def either(self, depth: int) -> Expression:
        parts = [self.both(depth)]
        while self.take("|"):
            parts.append(self.both(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def both(self, depth: int) -> Expression:
        parts = [self.operand(depth)]
        while self.take("&"):
            parts.append(self.operand(depth))
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def operand(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise self.error("too many brackets inside each other")
        if self.take("("):
            inner = self.either(depth + 1)
            if not self.take(")"):
                raise self.error("expected ) here")
            return inner
        text = self.tokens[self.at].text
        if text in ("", "&", "|", ")"):
            raise self.error("expected a model, a short name of vars, +set or ( here")
        if text.startswith("+"):
            self.at += 1
            return Reference(self.index[text[1:]])
        model = self.model_of(text)
        if model is None:
            raise self.error(f"there is no model and no short name {text!r}", text)
        self.at += 1
        return Member(model)

    def take(self, mark: str) -> bool:
        if self.tokens[self.at].text != mark:
            return False
        self.at += 1
        return True

    def error(self, message: str, unknown: str = "") -> DslError:
        return DslError(self.name, self.tokens[self.at].position, message, unknown)
