"""`${env.X}` in every key of the schema, in names and in values: what is said of the configuration has none of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from llamaswap_lib.config.check import report
from llamaswap_lib.config.load import inspect_text
from llamaswap_lib.config.render import json_of, text_of
from llamaswap_lib.config.schema import TOP_LEVEL
from llamaswap_lib.typed_yaml.kinds import Anything, ListOf, MapOf, Section, keys_of
from llamaswap_lib.typed_yaml.reader import Kind
from tests.batches import batches

TEXT, NUMBER = "s3cr3tw0rd", "4815"
SYNTAX = {
    "ALIAS": f"*{TEXT}",
    "TAG": f"!{TEXT}!x y",
    "ANCHOR": f"&{TEXT} x",
    "CLOSING": f"{TEXT}] {TEXT}: [",
    "AT": "@",
}
ENVIRONMENT = {
    **SYNTAX,
    "TEXT": TEXT,
    "NUMBER": NUMBER,
    "LIST": f"[{TEXT}, {NUMBER}]",
    "EXPRESSION": f"{TEXT} & {NUMBER}",
}
VALUES = (
    *("${env.TEXT}", "${env.NUMBER}", "-${env.NUMBER}", "${env.LIST}", "a ${env.TEXT} b", "(${env.TEXT}"),
    *("http://u:${env.TEXT}@h:${env.NUMBER}/", "${from_env}", "${from_env}/${from_env}", "A=${env.TEXT}"),
    *("/${env.TEXT}/x.py:Class", "${env.EXPRESSION}", "${${env.TEXT}}", "m & ${env.TEXT} | +m"),
)
BASE: dict[str, Any] = {
    "macros": {"from_env": "${env.TEXT}"},
    "models": {"m": {"cmd": "server ${PORT}"}, "${env.TEXT}": {"cmd": "server ${PORT} ${MODEL_ID}"}},
    "peers": {"p": {"proxy": "http://h:1", "models": ["x"]}},
}
PORTS = ("startPort",)  # the numbers that it leads to are shown: clients and firewalls need them


def places(kind: Kind) -> Iterator[tuple[str, Any]]:
    """Everything of this kind with a variable at one place, and where that is."""
    if isinstance(kind, Section):
        for known in keys_of(kind.cls):
            for place, value in places(known.kind):
                yield f"{known.name}.{place}", {known.name: value}
    elif isinstance(kind, MapOf):
        yield "name", {"${env.TEXT}": sample(kind.item)}
        yield "name by macro", {"${from_env}": sample(kind.item)}
        yield from ((f"m.{place}", {"m": value}) for place, value in places(kind.item))
    elif isinstance(kind, ListOf):
        yield from ((f"item.{place}", [value]) for place, value in places(kind.item))
    elif isinstance(kind, Anything):
        yield "inside", {"${env.TEXT}": {"${env.TEXT}": ["${env.TEXT}", {"a": "${env.NUMBER}"}]}}
    yield from ((value, value) for value in VALUES)


def sample(kind: Kind) -> Any:
    if isinstance(kind, (Section, MapOf, ListOf)):
        return [] if isinstance(kind, ListOf) else {}
    return "m"


def merged(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return {**one, **{name: merged(one.get(name), value) for name, value in other.items()}}
    return other


TOP_KEYS = {known.name: known for cls in TOP_LEVEL for known in keys_of(cls)}


def assert_hidden(text: str, where: str) -> None:
    loaded = inspect_text(text, environment=ENVIRONMENT)
    found = report(loaded, {"PATH": "/nowhere"})
    for said in (json_of(found, show=True), text_of(found, show=True), text_of(found)):
        assert TEXT not in said, f"{where}: {text}\n{said}"
        assert NUMBER not in said, f"{where}: {text}\n{said}"


BATCHES = 16


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_nothing_of_the_environment_is_told_whatever_key_it_is_in(batch: int) -> None:
    names = [name for name in TOP_KEYS if name not in PORTS]
    everywhere = [(name, place, value) for name in names for place, value in places(TOP_KEYS[name].kind)]
    assert len(everywhere) >= len(names) * len(VALUES)
    for name, place, value in everywhere[batch::BATCHES]:
        assert_hidden(json.dumps(merged(BASE, {name: value})), f"{name}.{place}")


ODD = [
    "upstream: {ignorePaths: ['(?P<${env.TEXT} a>b)']}",
    "'${env.TEXT}': 1",
    "models: {m: {cmd: x, '${env.TEXT}': 1}}",
    "macros: {'${env.TEXT}': '${${env.TEXT}}', '${env.TEXT} ': 1}",
    "models: {'${env.TEXT}': {cmd: x}, '${env.TEXT}': {cmd: y}}",
    "models: {'${env.TEXT}': {cmd: 'x ${PORT}'}, '[hidden]': {cmd: 'x ${PORT}'}, '${env.NUMBER}': {cmd: 'x ${PORT}'}}",
    "models: {m: *${env.TEXT} }",
    "models: {m: &${env.TEXT} {cmd: x}, n: *${env.TEXT} }",
    "models: {m: !${env.TEXT} x}",
    "models: [${env.TEXT}",
    *(f"models: {{m: ${{env.{name}}} }}" for name in SYNTAX),
    *(f"models: [${{env.{name}}}]\nm: ${{env.{name}}}" for name in SYNTAX),
    'models: "${env.TEXT}\\q"',
    "models: {m: @${env.TEXT}}",
    "models: {m: {cmd: 'x ${PORT}', aliases: ['${env.TEXT}']}, n: {cmd: 'x ${PORT}', aliases: ['${env.TEXT}']}}",
    (
        "models: {m: {cmd: x, proxy: 'http://h:${env.NUMBER}'}, n: {cmd: x, proxy: 'http://h:${env.NUMBER}'}}\n"
        "groups: {g: {swap: false, members: [m, n]}}"
    ),
    (
        "models: {m: {cmd: 'x ${PORT}'}}\npeers: {'${env.TEXT}': {proxy: 'http://h', models: ['${env.TEXT}']}}\n"
        "selectors: {'${env.TEXT}/${env.TEXT}': {strategy: pin, targets: [m]}}"
    ),
    "macros: {k: '${env.TEXT}'}\nmodels: {m: {cmd: x, filters: {setParamsByID: {'${k}': {'${env.TEXT}': 1}}}}}",
    (
        "matrix: {vars: {a: '${env.TEXT}'}, sets: {'${env.TEXT}': a}, evict_costs: {a: 4}}\n"
        "models: {'${env.TEXT}': {cmd: 'x ${PORT}'}}"
    ),
    "matrix: {sets: {a: '${env.TEXT} & +b', b: '${env.TEXT}'}}\nmodels: {'${env.TEXT}': {cmd: 'x ${PORT}'}}",
]


@pytest.mark.parametrize("text", ODD)
def test_odd_places_of_variables_tell_nothing_either(text: str) -> None:
    assert_hidden(text, "odd")


def test_names_from_the_environment_are_told_apart_where_a_configuration_is_shown() -> None:
    models = "'${env.TEXT}': {cmd: 'x ${PORT}'}, '${env.NUMBER}': {cmd: 'y ${PORT}'}, '[hidden]': {cmd: 'z ${PORT}'}"
    text = f"models: {{{models}}}"
    found = json.loads(json_of(report(inspect_text(text, environment=ENVIRONMENT), {}), show=True))
    commands = {name: model["cmd"] for name, model in found["config"]["models"].items()}
    assert commands == {"[hidden] (2)": "x 5802", "[hidden] (3)": "y 5800", "[hidden]": "z 5801"}
