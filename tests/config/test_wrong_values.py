"""Every place of the schema with every wrong kind of value: an error that says where, what and what was expected.

Made from the descriptions of the keys, so a new key is tested without being named here.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from llamaswap_lib.config.check import Listen, check, check_text, report
from llamaswap_lib.config.load import Report, inspect_text, inspect_texts, load
from llamaswap_lib.config.schema import TOP_LEVEL
from llamaswap_lib.typed_yaml.kinds import Anything, ListOf, MapOf, Section, keys_of
from llamaswap_lib.typed_yaml.problems import InvalidConfig
from llamaswap_lib.typed_yaml.reader import Kind
from tests.batches import samples

ENVIRONMENT = {"HOME": "/home/me", "NO_TEXT": "\udcff", "MANY": "[a, {b: c}]"}
NAME = "q"  # of whatever a user may name
SCALARS = [
    *("text", '"quoted"', '""', "~", "1", "0", "-1", "1.5", ".nan", ".inf", "-.inf", "1e400", "9" * 30, "9" * 5000),
    *("true", "no", "2024-01-01", "2024-01-01T10:00:00Z", "!!binary aGVsbG8=", "!!timestamp 2024-01-01", "!!int x"),
    *("!!float x", "!!null x", "!!bool x", "!own x", "!!python/object:os.system x", '"a\\0b"', '"\\n"', '"a\\nb"'),
    *('"${PORT}"', '"x ${PORT}"', '"${m}"', '"${text}"', '"${nope}"', '"${MODEL_ID}"', '"${PID}"', '"${a b}"'),
    *('"${env.HOME}"', '"x ${env.HOME}"', '"${env.NOT_SET}"', '"${env.NO_TEXT}"', "${env.MANY}", "*scalar", "%", "@"),
    *('"http://[::1"', '"http://h:1x"', '"http://h:${a.b}"', '"http://\\u2100"', "a" * 5000, "'" + "a/" * 3000 + "'"),
    *("9" * 5000 + "d", "-" + "9" * 5000, "0x" + "f" * 5000, "1." + "0" * 5000),
    *('"/no\\nsuch/file"', '"/no/su\\u2028ch/file.py:P"'),
    *("*" + "n" * 5000, "'a{" + "9" * 5000 + "}'", '"${' + "m" * 5000 + '}"', "'" + "n" * 5000 + ":1'"),
]
LISTS = ["[]", "[a, b]", "[[a]]", "[~]", "[{a: b}]", '["x ${PORT}"]', "*list", "&loop [*loop]", "!!seq [a]"]
MAPPINGS = [
    *("{}", "{a: b}", "{a: {b: c}}", "{a: [b]}", "{a: ~}", "{1: 2}", "{true: x}", "{~: x}", '{"": x}', "!!set {a, b}"),
    *("{? [a] : b}", "{a: *mapping}", "&loop {a: *loop}", "{<<: *mapping}", "{<<: [*mapping, *mapping]}", "{<<: text}"),
    *("{<<: *list}", "{<<: ~}", "{<<: *mapping, <<: *mapping}", "{${PORT}: x}", '{"${env.HOME}": x}', "*mapping"),
    *('{a: "x ${PORT}"}', '{cmd: "x ${PORT}"}', "!!map {a: b}", "!!omap [a: b]", "{cmd: [x], proxy: {y: z}}"),
]
VALUES = [*SCALARS, *LISTS, *MAPPINGS]
LONGEST = 600  # characters of what is said of one value, however long that is
ANCHORS = "x-scalar: &scalar anchored\nx-list: &list [a]\nx-mapping: &mapping {a: b}\n"


class Spot(NamedTuple):
    """A place of the schema."""

    path: tuple[str | int, ...]
    kind: Kind


def spots(kind: Kind, path: tuple[str | int, ...]) -> Iterator[Spot]:
    yield Spot(path, kind)
    if isinstance(kind, Section):
        for known in keys_of(kind.cls):
            yield from spots(known.kind, (*path, known.name))
    elif isinstance(kind, ListOf):
        yield from spots(kind.item, (*path, 0))
    elif isinstance(kind, MapOf):
        yield from spots(kind.item, (*path, NAME))


ALL_VALUES = os.environ.get("LLAMASWAP_WRONG_VALUES") == "all"  # at each place
SPOTS = [spot for cls in TOP_LEVEL for known in keys_of(cls) for spot in spots(known.kind, (known.name,))]


def text_with(path: tuple[str | int, ...], value: str) -> str:
    """A configuration with the value at this place, and all else in order."""
    for step in reversed(path[1:]):
        value = f"[{value}]" if step == 0 else f"{{{step}: {value}}}"
    others = {"macros": "{m: 5, text: t}", "models": f"{{{NAME}: {{cmd: 'x ${{PORT}}'}}}}"}
    lines = [f"{name}: {text}\n" for name, text in others.items() if name != path[0]]
    return "".join([ANCHORS, *lines, f"{path[0]}: {value}\n"])


def everywhere(value: str, depth: int) -> str:
    """A configuration with the value at every place that is so many steps down."""
    tops: dict[str, list[tuple[str | int, ...]]] = {}
    for spot in SPOTS:
        if len(spot.path) == depth:
            tops.setdefault(str(spot.path[0]), []).append(spot.path)
    return ANCHORS + "".join(f"{top}: {nested(paths, 1, value)}\n" for top, paths in tops.items())


def nested(paths: list[tuple[str | int, ...]], depth: int, value: str) -> str:
    if len(paths[0]) == depth:
        return value
    groups = {step: list(found) for step, found in itertools.groupby(paths, lambda path: path[depth])}
    inner = {step: nested(found, depth + 1, value) for step, found in groups.items()}
    if 0 in inner:
        return f"[{inner[0]}]"
    return "{" + ", ".join(f"{step}: {text}" for step, text in inner.items()) + "}"


def reports(text: str) -> Iterator[Report]:
    """What each way of reading a configuration says of it; none may fail."""
    yield report(inspect_text(text, "config.yaml", ENVIRONMENT), ENVIRONMENT, Listen())
    yield check_text(text.encode(), ENVIRONMENT, Listen())
    other = f"models: {{{NAME}2: {{cmd: 'x ${{PORT}}', aliases: [z]}}}}\nmacros: {{z: 1}}\napiKeys: [k]\n"
    yield report(inspect_texts([("a.yaml", other.encode()), ("b.yaml", text.encode())], ENVIRONMENT), ENVIRONMENT)


def assert_every_problem_is_clear(found: Report) -> None:
    for problem in (*found.errors, *found.warnings):
        first, *excerpt = problem.text().split("\n")
        assert first.isprintable(), first
        assert len(first) < LONGEST, first
        assert len(problem.message) > 8
        assert problem.place is not None or problem.message == "there are no models and no peers", first
        assert not excerpt or set(excerpt[1].partition("|")[2].strip()) == {"^"}, excerpt


@pytest.mark.parametrize("value", samples(VALUES, 8), ids=lambda value: value[:30])
def test_no_value_anywhere_ends_in_a_traceback(value: str) -> None:
    for depth in range(1, max(len(spot.path) for spot in SPOTS) + 1):
        for found in reports(everywhere(value, depth)):
            assert_every_problem_is_clear(found)
    for found in reports(value):
        assert_every_problem_is_clear(found)


@pytest.mark.slow
@pytest.mark.parametrize("spot", SPOTS, ids=lambda spot: ".".join(map(str, spot.path)))
def test_no_value_at_one_place_ends_in_a_traceback(spot: Spot) -> None:
    """A third of the values at each place, another one at the next; `.ci/long` tries all of them at all places."""
    for value in VALUES if ALL_VALUES else VALUES[SPOTS.index(spot) % 3 :: 3]:
        for found in reports(text_with(spot.path, value)):
            assert_every_problem_is_clear(found)


@pytest.mark.parametrize("spot", SPOTS, ids=lambda spot: ".".join(map(str, spot.path)))
def test_a_value_of_another_kind_is_refused_at_its_place_with_what_was_expected(spot: Spot) -> None:
    if isinstance(spot.kind, Anything):
        return  # a macro may not be a list, but that is said in other words
    is_mapping, is_list = isinstance(spot.kind, (MapOf, Section)), isinstance(spot.kind, ListOf)
    wrong = ([] if is_mapping else ["{a: b}"]) + ([] if is_list else ["[a, b]"])
    wrong += ["words", "5"] if is_mapping or is_list else []
    for value in wrong:
        text = text_with(spot.path, value)
        errors = inspect_text(text, "config.yaml", ENVIRONMENT).problems.errors
        (error,) = [one for one in errors if one.path == spot.path and ", got " in one.message]
        assert error.message.startswith("expected "), error
        assert error.place is not None
        assert error.place.line == text.count("\n") - 1


def test_every_top_level_key_and_level_is_among_the_places() -> None:
    paths = {spot.path for spot in SPOTS}
    assert ("models", NAME, "filters", "setParamsByID", NAME) in paths
    assert ("routing", "router", "settings", "groups", NAME, "members", 0) in paths
    assert len(paths) == len(SPOTS) > 150


@pytest.mark.parametrize(
    "text",
    [
        'models: {a: "llama-server --port ${PORT}"}\n',
        "models: {a: {cmd: [x]}}\n",
        "models: {a: [b]}\ngroups: [a]\n",
        "store: {path: " + "a" * 5000 + "}\n",
        "routing: {router: {use: '~nobody-at-all/p.py:P'}}\n",
        "models: {a: {cmd: x, proxy: 'http://h:${a.b}'}}\n",
        "models: {a: {cmd: 'x ${PORT}', name: '${env.NO_TEXT}'}}\n",
        "".join(f"x{n}: &x{n} {'[' * 90}{f'*x{n - 1}' if n else 'x'}{']' * 90}\n" for n in range(20)),
    ],
    ids=lambda text: text[:40],
)
def test_a_file_that_once_ended_in_a_traceback_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(InvalidConfig) as refused:
        load([file], ENVIRONMENT)
    found = check([file], ENVIRONMENT)
    assert [str(one) for one in found.errors] == [str(one) for one in refused.value.errors]
    assert_every_problem_is_clear(found)


def test_names_of_files_that_are_too_long_are_files_that_are_not_there() -> None:
    name = "b" * 5000
    text = f"models: {{a: {{cmd: '/{name} ${{PORT}} -m {name}.gguf', cmdStop: '/{name}'}}}}\n"
    found = report(inspect_text(text, "config.yaml", {}), {})
    assert_every_problem_is_clear(found)
    assert {one.path[-1] for one in found.warnings} == {"cmd", "cmdStop"}
